//! Who is there, and under which MAC, in a LAN in virtual time.

mod lan;

use std::net::IpAddr;

use lan::{Lan, MS, S, group, name};
use mpathd_core::event::{Command, Event};
use mpathd_core::request::Request;
use mpathd_core::view::InterfaceState;

const TWIN: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];

fn set_mac(lan: &mut Lan, i: usize, mac: [u8; 6]) {
    let mut link = lan.nics[&name(i)].link;
    link.mac = mac;
    lan.link(link);
    lan.run(S);
}

fn twins(members: usize) -> Lan {
    let mut lan = Lan::settled(group(members, members, 100 * MS));
    let mac = lan.nics[&name(0)].link.mac;
    set_mac(&mut lan, 1, mac);
    lan
}

/// Announcements since the last look.
fn announced(lan: &mut Lan) -> Vec<(IpAddr, Vec<IpAddr>)> {
    let all = lan.requests.drain(..).filter_map(|(_, request)| match request {
        Request::Announce { address, peers, .. } => Some((address, peers.iter().collect())),
        _ => None,
    });
    all.collect()
}

/// Behaviours 133, 134 and 136: a twin is out of service until its MAC is unique, and no command
/// brings it back earlier.
#[test]
fn a_twin_stays_offline_whoever_asks() {
    let mut lan = twins(2);
    let state = |lan: &Lan| lan.view().interfaces[1].state;
    assert_eq!(state(&lan), InterfaceState::Offline);
    assert!(lan.view().interfaces[1].duplicate_mac);
    assert!(!lan.command(Command::Online { interface: name(1) }));
    assert!(!lan.command(Command::Offline { interface: name(1) }));
    assert_eq!(lan.holders("192.0.2.51"), [0]);
    set_mac(&mut lan, 1, TWIN);
    assert_eq!(state(&lan), InterfaceState::Ok);
    assert!(!lan.view().interfaces[1].duplicate_mac);
    assert_eq!(lan.holders("192.0.2.51"), [1]);
}

/// Behaviour 136: nor is one that an administrator had taken offline before it became a twin.
#[test]
fn an_offline_nic_that_became_a_twin_stays_offline() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    assert!(lan.command(Command::Offline { interface: name(1) }));
    let mac = lan.nics[&name(0)].link.mac;
    set_mac(&mut lan, 1, mac);
    assert_eq!(lan.told("eth1 is offline"), 1);
    assert!(!lan.texts().iter().any(|text| text.contains("not unique")), "{:?}", lan.texts());
    assert!(!lan.command(Command::Online { interface: name(1) }));
    set_mac(&mut lan, 1, TWIN);
    assert_eq!(lan.view().interfaces[1].state, InterfaceState::Offline, "it was not ours to end");
    assert!(lan.command(Command::Online { interface: name(1) }));
}

/// Whoever has a data address too is told of once, and again after an hour without a word, or when it
/// is another one.
#[test]
fn another_host_with_a_data_address_is_told_and_moves_nothing() {
    let mut lan = Lan::settled(group(2, 2, 10 * S));
    let before = lan.view().addresses;
    let address: IpAddr = "192.0.2.50".parse().unwrap();
    let ifindex = lan.nics[&name(0)].link.ifindex;
    let claim = |lan: &mut Lan, mac| {
        lan.post(MS, Event::Claimed { ifindex, address, mac });
        lan.run(S);
        let text = "Data address 192.0.2.50 on eth0 is also used by ";
        lan.texts().iter().filter(|it| it.starts_with(text)).count()
    };
    let own = lan.nics[&name(1)].link.mac;
    assert_eq!(claim(&mut lan, own), 0, "our own");
    for _ in 0..3 {
        assert_eq!(claim(&mut lan, TWIN), 1);
        lan.run(60 * S);
    }
    lan.run(3600 * S);
    assert_eq!(claim(&mut lan, TWIN), 2);
    assert_eq!(claim(&mut lan, [2, 0, 0, 0, 0, 0xbb]), 3);
    assert_eq!(lan.view().addresses, before);
    lan.assert_at_rest();
}

#[test]
fn after_a_restart_the_same_twin_is_offline() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    let mac = lan.nics[&name(1)].link.mac;
    set_mac(&mut lan, 0, mac);
    let offline = |lan: &Lan| lan.view().interfaces.iter().map(|i| i.offline).collect::<Vec<_>>();
    assert_eq!(offline(&lan), [true, false]);
    lan.restart();
    lan.run(S);
    assert_eq!(offline(&lan), [true, false]);
    lan.assert_at_rest();
    set_mac(&mut lan, 0, TWIN);
    assert_eq!(offline(&lan), [false, false], "{:?}", lan.texts());
}

/// Its neighbours must learn it, its targets in person, or they answer to a MAC that is gone.
#[test]
fn a_new_mac_is_announced_with_all_addresses() {
    let mut lan = Lan::settled(lan::dual_stack(group(2, 2, 100 * MS)));
    announced(&mut lan);
    lan.run(S);
    assert_eq!(announced(&mut lan), []);
    set_mac(&mut lan, 0, TWIN);
    let told = announced(&mut lan);
    let of = |address: &str| told.iter().find(|(a, _)| *a == address.parse::<IpAddr>().unwrap());
    for data in ["192.0.2.50", "192.0.2.51", "2001:db8::50"] {
        assert!(of(data).is_some(), "{data}: {told:?}");
    }
    for (test, target) in [("192.0.2.11", "192.0.2.3"), ("2001:db8::11", "2001:db8::2")] {
        let (_, peers) = of(test).unwrap_or_else(|| panic!("{test}: {told:?}"));
        assert!(peers.contains(&target.parse().unwrap()), "{peers:?}");
    }
    assert!(of("192.0.2.12").is_none(), "eth1 has its MAC as before: {told:?}");
}
