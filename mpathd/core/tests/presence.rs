//! Who is there, and under which MAC, in a LAN in virtual time.

mod lan;

use std::net::IpAddr;
use std::time::Duration;

use lan::{Lan, MS, S, Wire, group, name};
use mpathd_core::config::TestAddress;
use mpathd_core::event::{Command, Event};
use mpathd_core::ids::{Family, Mac};
use mpathd_core::request::Request;
use mpathd_core::state::Saved;
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

/// One question of ours for `address` on a NIC is answered by another host.
fn answer(lan: &mut Lan, i: usize, address: &str, mac: [u8; 6]) {
    let ifindex = lan.nics[&name(i)].link.ifindex;
    let address = address.parse().unwrap();
    lan.post(Duration::ZERO, Event::Claimed { ifindex, address, mac });
}

/// Questions are answered for `time`, as the netlink thread asks: again after a second, then every 20 s.
fn conflict(lan: &mut Lan, i: usize, address: &str, time: Duration) {
    answer(lan, i, address, TWIN);
    lan.run(S);
    let mut left = time.saturating_sub(S);
    loop {
        answer(lan, i, address, TWIN);
        let span = left.min(20 * S);
        lan.run(span);
        left -= span;
        if left.is_zero() {
            return;
        }
    }
}

fn told_of(lan: &Lan, part: &str) -> usize {
    lan.texts().iter().filter(|text| text.contains(part)).count()
}

const DATA_CONFLICT: &str = "Data address 192.0.2.50 on eth0 is also used by ";

#[test]
fn a_data_address_conflict_is_reported_once_and_moves_nothing() {
    let mut lan = Lan::settled(group(2, 2, 10 * S));
    let before = lan.view().addresses;
    let own = lan.nics[&name(1)].link.mac;
    for _ in 0..3 {
        answer(&mut lan, 0, "192.0.2.50", own);
        lan.run(S);
    }
    assert_eq!(told_of(&lan, DATA_CONFLICT), 0, "our own");
    // One answer alone is none that was asked for twice.
    for _ in 0..3 {
        answer(&mut lan, 0, "192.0.2.50", TWIN);
        lan.run(60 * S);
    }
    assert_eq!(told_of(&lan, DATA_CONFLICT), 0, "{:#?}", lan.texts());
    assert_eq!(lan.view().addresses, before);

    conflict(&mut lan, 0, "192.0.2.50", 600 * S);
    assert_eq!(told_of(&lan, &format!("{DATA_CONFLICT}02:00:00:00:00:aa")), 1);
    assert_eq!(lan.view().addresses[0].conflict, Some(Mac(TWIN)));
    // Another one has taken its place.
    for _ in 0..4 {
        answer(&mut lan, 0, "192.0.2.50", [2, 0, 0, 0, 0, 0xbb]);
        lan.run(20 * S);
    }
    assert_eq!(told_of(&lan, &format!("{DATA_CONFLICT}02:00:00:00:00:bb")), 1);
    assert_eq!(told_of(&lan, DATA_CONFLICT), 2, "{:#?}", lan.texts());
    lan.run(60 * S);
    assert_eq!(told_of(&lan, "192.0.2.50 on eth0 is no longer used by another host"), 1);
    assert_eq!(lan.view().addresses, before);
    lan.assert_at_rest();
}

fn test_row(lan: &Lan, i: usize) -> mpathd_core::view::InstanceView {
    *lan.view().instances.iter().find(|row| row.interface == name(i)).unwrap()
}

/// Replies that keep arriving prove that the test address works: a cut is found as ever before the conflict
/// is believed, and nothing fails while it lasts.
#[test]
fn a_test_address_conflict_does_not_end_probing() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    answer(&mut lan, 0, "192.0.2.11", TWIN);
    lan.run(100 * S);
    assert_eq!(test_row(&lan, 0).conflict, None, "one answer is no conflict");
    assert_eq!(told_of(&lan, "192.0.2.11"), 0, "{:#?}", lan.texts());

    conflict(&mut lan, 0, "192.0.2.11", 100 * S);
    let text = "Test address 192.0.2.11 on eth0 is also used by 02:00:00:00:00:aa; ";
    assert_eq!(told_of(&lan, text), 1, "{:#?}", lan.texts());
    let row = test_row(&lan, 0);
    assert_eq!((row.conflict, row.test), (Some(Mac(TWIN)), Some("192.0.2.11".parse().unwrap())));
    let state = |lan: &Lan| lan.view().interfaces[0].state;
    assert_eq!(state(&lan), InterfaceState::Ok);

    // The replies go to the other host: their absence is no failure.
    lan.wire(0, Wire::Cut);
    conflict(&mut lan, 0, "192.0.2.11", 100 * S);
    assert_eq!(told_of(&lan, "failure detected"), 0, "{:#?}", lan.texts());
    assert_eq!(state(&lan), InterfaceState::Unknown, "it is not watched, and that shows");
    let unwatched = "Nothing watches inet of eth0: another host uses its test address";
    assert_eq!(told_of(&lan, unwatched), 1, "{:#?}", lan.texts());
    lan.wire(0, Wire::Works);
    lan.run(S);
    assert_eq!(told_of(&lan, "inet of eth0 is watched again"), 1, "{:#?}", lan.texts());
    assert_eq!(state(&lan), InterfaceState::Ok, "replies end it by themselves");

    // And when nobody claims it any more, silence is a failure again.
    conflict(&mut lan, 0, "192.0.2.11", 20 * S);
    lan.wire(0, Wire::Cut);
    lan.run(29 * S);
    assert_eq!(told_of(&lan, "failure detected"), 0, "{:#?}", lan.texts());
    lan.run(2 * S);
    assert_eq!(told_of(&lan, "192.0.2.11 on eth0 is no longer used by another host"), 1);
    assert_eq!(told_of(&lan, "IP interface failure detected on eth0"), 1, "{:#?}", lan.texts());
    lan.run(S);
    lan.assert_at_rest();
}

/// Another family decides alone while a conflict hides the replies of one.
#[test]
fn a_family_that_a_conflict_silences_has_no_say() {
    let mut lan = Lan::settled(lan::dual_stack(group(2, 2, 100 * MS)));
    conflict(&mut lan, 0, "192.0.2.11", 2 * S);
    lan.deaf = Some((name(0), false));
    lan.run(S);
    assert_eq!(told_of(&lan, "failure detected"), 0, "{:#?}", lan.texts());
    assert_eq!(lan.view().interfaces[0].state, InterfaceState::Ok);
    lan.wire(0, Wire::Cut);
    lan.run(200 * MS);
    assert_eq!(told_of(&lan, "IP interface failure detected on eth0"), 1, "{:#?}", lan.texts());
}

#[test]
fn a_host_that_answers_for_everything_is_named() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    let ifindex = lan.nics[&name(0)].link.ifindex;
    lan.post(MS, Event::NeighbourProxy { ifindex, family: Family::Inet, mac: TWIN });
    lan.run(S);
    let text = "02:00:00:00:00:aa answers for every IPv4 address on eth0, as a proxy does";
    assert_eq!(told_of(&lan, text), 1, "{:#?}", lan.texts());
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

/// Two NICs that are probed by their link-local addresses; `fe80::a` and `fe80::b` are the kernel's.
fn by_link_local() -> Lan {
    let mut config = group(2, 2, 100 * MS);
    for member in &mut config.members {
        member.test = [None, Some(TestAddress::LinkLocal)];
    }
    config.targets = vec!["fe80::1".parse().unwrap()];
    let mut lan = Lan::new(config, Saved::default());
    lan.link_local(0, "fe80::a");
    lan.link_local(1, "fe80::b");
    lan.survey();
    lan.run(6 * S);
    lan
}

fn test_address(lan: &Lan, i: usize) -> Option<String> {
    test_row(lan, i).test.map(|test| test.to_string())
}

/// A VRRP address, for one. A cut is found while it is there, and after it has gone.
#[test]
fn a_link_local_address_that_comes_and_goes_does_not_end_probing() {
    for cut_after_it_has_gone in [false, true] {
        let mut lan = by_link_local();
        assert_eq!(test_address(&lan, 0).as_deref(), Some("fe80::a"));
        lan.link_local_of(0, "fe80::5", |_| {});
        lan.run(10 * S);
        assert_eq!(
            test_address(&lan, 0).as_deref(),
            Some("fe80::a"),
            "it stays as long as it is there"
        );
        if cut_after_it_has_gone {
            lan.link_local_gone(0, "fe80::5");
            lan.run(30 * S);
            assert_eq!(test_address(&lan, 0).as_deref(), Some("fe80::a"));
        }
        lan.wire(0, Wire::Cut);
        lan.run(S);
        assert_eq!(told_of(&lan, "IP interface failure detected on eth0"), 1, "{:#?}", lan.texts());
    }
}

/// Another one takes the place of the one in use: the kernel's own before all others.
#[test]
fn probing_goes_on_with_another_link_local_address() {
    let mut lan = by_link_local();
    lan.link_local_of(0, "fe80::3", |_| {});
    lan.link_local_of(0, "fe80::2", |_| {});
    lan.link_local(0, "fe80::f");
    lan.run(S);
    for next in ["fe80::f", "fe80::2", "fe80::3"] {
        let before = test_address(&lan, 0).unwrap();
        lan.link_local_gone(0, &before);
        lan.run(S);
        assert_eq!(test_address(&lan, 0).as_deref(), Some(next));
        assert_eq!(lan.view().interfaces[0].state, InterfaceState::Ok);
    }
    // Tentative, as after a loss of carrier, it is still the one; refused it is not.
    lan.link_local_of(0, "fe80::3", |seen| seen.tentative = true);
    lan.run(S);
    assert_eq!(test_address(&lan, 0).as_deref(), Some("fe80::3"));
    lan.link_local_of(0, "fe80::4", |seen| seen.tentative = true);
    lan.link_local_of(0, "fe80::3", |seen| (seen.tentative, seen.refused) = (true, true));
    lan.run(S);
    assert_eq!(test_address(&lan, 0), None, "neither of them can be used");
    lan.link_local_of(0, "fe80::4", |_| {});
    lan.run(S);
    assert_eq!(test_address(&lan, 0).as_deref(), Some("fe80::4"));
    lan.wire(0, Wire::Cut);
    lan.run(S);
    assert_eq!(told_of(&lan, "IP interface failure detected on eth0"), 1, "{:#?}", lan.texts());
}

/// However many a program adds, the kernel's own is remembered, and what is not is said.
#[test]
fn link_local_addresses_are_not_forgotten_in_silence() {
    let mut lan = by_link_local();
    lan.link_local_gone(0, "fe80::a");
    (0..40).for_each(|n| lan.link_local_of(0, &format!("fe80::5:{n:x}"), |_| {}));
    lan.link_local(0, "fe80::a");
    lan.run(S);
    assert_eq!(told_of(&lan, "one link-local address too many"), 40 + 1 - 16, "{:#?}", lan.texts());
    let used = test_address(&lan, 0).unwrap();
    lan.link_local_gone(0, &used);
    lan.run(S);
    assert_eq!(test_address(&lan, 0).as_deref(), Some("fe80::a"));
}

/// Another host has it, as the kernel has found out: this host answers for it nowhere, and all else works.
#[test]
fn an_address_refused_by_duplicate_detection_is_left_alone() {
    let mut config = lan::dual_stack(group(2, 2, 100 * MS));
    let address = config.data.iter().find(|net| net.address.is_ipv6()).unwrap().address;
    config.fdt = 100 * MS;
    let mut lan = Lan::new(config, Saved::default());
    let on = Some(lan.nics[&name(0)].link.ifindex);
    lan.post(Duration::ZERO, Event::Refused { address, on });
    lan.survey();
    lan.run(6 * S);
    assert!(!lan.stands(address));
    assert_eq!(told_of(&lan, &format!("{address} on eth0 is not usable")), 1, "{:#?}", lan.texts());
    assert!(lan.view().settled, "nothing waits for it");
    let row =
        |lan: &Lan| *lan.view().addresses.iter().find(|a| a.address.address == address).unwrap();
    assert_eq!(row(&lan).refused, Some(name(0)));
    conflict(&mut lan, 0, &address.to_string(), 30 * S);
    let text = format!("Data address {address} on eth0 is also used by 02:00:00:00:00:aa");
    assert_eq!(told_of(&lan, &text), 1, "{:#?}", lan.texts());
    assert_eq!(row(&lan).conflict, Some(Mac(TWIN)));
    // Nor does a failover set it.
    lan.wire(0, Wire::Cut);
    lan.run(S);
    assert!(!lan.stands(address));
    // The administrator has removed it.
    lan.post(MS, Event::Refused { address, on: None });
    lan.run(S);
    assert!(lan.stands(address));
    assert_eq!(row(&lan).refused, None);
}

/// Its addresses stayed where they were, but a neighbour may have learnt another MAC for them meanwhile.
#[test]
fn addresses_are_announced_when_a_group_comes_back_from_a_silence_of_all_paths() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    (0..2).for_each(|nic| lan.wire(nic, Wire::Cut));
    lan.until(3 * S, |lan| lan.told("All IP interfaces in group g are now unusable") == 1);
    lan.requests.clear();
    lan.run(S);
    assert_eq!(announced(&mut lan), [], "nothing has changed yet");
    (0..2).for_each(|nic| lan.wire(nic, Wire::Works));
    lan.until(3 * S, |lan| lan.told("IP interface repair detected on eth0 of group g") == 1);
    lan.run(100 * MS);
    let mut told: Vec<_> = announced(&mut lan).into_iter().map(|(address, _)| address).collect();
    told.sort();
    told.dedup();
    assert_eq!(told, ["192.0.2.50", "192.0.2.51"].map(|it| it.parse::<IpAddr>().unwrap()));
}
