//! Interfaces outside of groups, in a LAN in virtual time.

mod lan;

use std::net::IpAddr;
use std::time::Duration;

use lan::{Lan, MS, S, Target, Wire, group, name};
use mpathd_core::config::{Config, Datapath, Group};
use mpathd_core::event::{Command, Event, FoundBy, Gateway, GatewayKind, Gateways, OwnAddress};
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::Request;
use mpathd_core::state::Saved;
use mpathd_core::view::{GroupState, InterfaceState};

const ROUTER: &str = "198.51.100.1";
const FDT: Duration = Duration::from_millis(100);

/// A group of eth0 and eth1, and seats for two more; eth2 and eth3 are there, each with an address and
/// a router of its own that is one and the same.
fn watched() -> Lan {
    let groups = vec![Group::anonymous(FDT, 40 * S, 2), group(2, 2, FDT)];
    let mut lan = Lan::bare(Config { groups }, Saved::default(), 7);
    let works = Target { alive: true, rtt: MS / 5, lose_percent: 0, limit: None };
    for target in [ROUTER, "192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        lan.targets.insert(target.parse().unwrap(), works);
    }
    (0..2).for_each(|i| lan.plug(name(i), 2 + i as u32));
    lan.survey();
    (2..4).for_each(|i| plug(&mut lan, i));
    for ifindex in [4, 5, 6].map(Ifindex) {
        let mut gateways = Gateways::new(ifindex, Family::Inet);
        let router = Gateway { address: ROUTER.parse().unwrap(), kind: GatewayKind::Default };
        gateways.push(router);
        lan.post(MS, Event::Gateways(gateways));
    }
    lan.run(6 * S);
    lan
}

fn plug(lan: &mut Lan, i: usize) {
    lan.plug(name(i), 2 + i as u32);
    own(lan, i, Some(&format!("198.51.100.{}/24", 10 + i)));
}

fn own(lan: &mut Lan, i: usize, address: Option<&str>) {
    let (ifindex, family) = (Ifindex(2 + i as u32), Family::Inet);
    let address = address.map(|text| text.parse().unwrap());
    lan.post(MS, Event::OwnAddress(OwnAddress { ifindex, family, address }));
}

fn state(lan: &Lan, i: usize) -> Option<InterfaceState> {
    let view = lan.view();
    let row = view.interfaces.iter().find(|row| row.name == name(i))?;
    assert_eq!(row.group.is_anonymous(), i > 1);
    Some(row.state)
}

/// Behaviour 155: the anonymous group is there, and always ok.
#[test]
fn each_is_judged_by_itself_and_by_its_own_address() {
    let mut lan = watched();
    let groups = |lan: &Lan| lan.view().groups.iter().map(|g| g.state).collect::<Vec<_>>();
    assert_eq!([state(&lan, 2), state(&lan, 3)], [Some(InterfaceState::Ok); 2]);
    let view = lan.view();
    let test = |i: usize| view.instances.iter().find(|row| row.interface == name(i)).unwrap().test;
    assert_eq!(test(3), Some("198.51.100.13".parse::<IpAddr>().unwrap()));

    lan.wire(2, Wire::Cut);
    lan.run(FDT * 2);
    assert_eq!(state(&lan, 2), Some(InterfaceState::Failed));
    assert_eq!(state(&lan, 3), Some(InterfaceState::Ok));
    assert_eq!(lan.told("IP interface failure detected on eth2"), 1, "{:#?}", lan.texts());
    lan.wire(3, Wire::Cut);
    lan.run(FDT * 2);
    assert_eq!(lan.told("IP interface failure detected on eth3"), 1, "no witness is asked for");
    assert_eq!(groups(&lan), [GroupState::Ok; 2]);
    lan.wire(2, Wire::Works);
    lan.run(FDT * 4);
    assert_eq!(lan.told("IP interface repair detected on eth2"), 1);
    assert!(!lan.command(Command::Offline { interface: name(3) }), "nobody could stand in for it");
    lan.carrier(2, false);
    lan.run(S);
    assert_eq!(state(&lan, 2), Some(InterfaceState::Failed));
    assert_eq!(lan.told("The link has gone down on eth2"), 1);
    lan.assert_at_rest();
}

#[test]
fn nothing_is_asked_for_but_sockets() {
    let mut lan = watched();
    lan.wire(2, Wire::Cut);
    lan.run(S);
    let mut attached = 0;
    for (_, request) in &lan.requests {
        let about = match *request {
            Request::Prepare { ifindex, .. }
            | Request::SetAddress { ifindex, .. }
            | Request::UnsetAddress { ifindex, .. }
            | Request::Announce { ifindex, .. } => ifindex,
            Request::Attach { ifindex, datapath, .. } if ifindex.0 > 3 => {
                assert_eq!(datapath, Datapath::Socket);
                attached += 1;
                continue;
            }
            _ => continue,
        };
        assert!(about.0 <= 3, "{request:?}");
    }
    assert_eq!(attached, 2);
    for route in lan.routes.values() {
        assert!(route.hops.as_slice().iter().all(|hop| hop.0 <= 3), "{route:?}");
    }
}

#[test]
fn one_too_many_is_named_and_takes_the_next_seat() {
    let mut lan = watched();
    plug(&mut lan, 4);
    lan.run(S);
    assert_eq!(state(&lan, 4), None);
    let crowded = |lan: &Lan| lan.texts().iter().filter(|t| t.starts_with("eth4 is not")).count();
    assert_eq!(crowded(&lan), 1);
    lan.unplug(name(2));
    lan.run(S);
    assert_eq!(state(&lan, 2), None);
    assert_eq!(lan.told("inet eth2 has been removed from kernel"), 1);
    // The fast thread asks for a dump then.
    plug(&mut lan, 4);
    lan.run(S);
    assert_eq!(state(&lan, 4), Some(InterfaceState::Ok));
    assert_eq!(crowded(&lan), 1);
}

/// Behaviour 120: what one finds is its own.
#[test]
fn a_host_that_is_found_is_not_shared() {
    let mut lan = watched();
    for ifindex in [4, 5, 6].map(Ifindex) {
        lan.post(MS, Event::Gateways(Gateways::new(ifindex, Family::Inet)));
    }
    lan.run(S);
    let address: IpAddr = "198.51.100.77".parse().unwrap();
    lan.targets.insert(address, Target { alive: true, rtt: MS / 5, lose_percent: 0, limit: None });
    lan.post(MS, Event::Found { ifindex: Ifindex(4), address, by: FoundBy::Echo });
    lan.run(S);
    let view = lan.view();
    let of = |i: usize| view.targets.iter().filter(move |row| row.interface == name(i));
    assert!(of(2).any(|row| row.target == address), "{:#?}", view.targets);
    assert!(of(3).next().is_none(), "{:#?}", view.targets);
    assert_eq!(state(&lan, 3), Some(InterfaceState::Unknown));
    assert_eq!(state(&lan, 2), Some(InterfaceState::Ok));
}

/// What is set down by hand is left alone; its address is its own affair.
#[test]
fn who_is_down_is_not_watched_and_an_address_may_change() {
    let mut lan = watched();
    let mut link = lan.nics[&name(2)].link;
    (link.up, link.running) = (false, false);
    lan.link(link);
    lan.run(S);
    assert_eq!(state(&lan, 2), None);
    (link.up, link.running) = (true, true);
    lan.link(link);
    own(&mut lan, 2, Some("198.51.100.99/24"));
    lan.run(S);
    assert_eq!(state(&lan, 2), Some(InterfaceState::Ok));
    own(&mut lan, 2, None);
    lan.run(21 * S);
    let text = "No test address configured on interface eth2; \
                disabling probe-based failure detection on it";
    assert_eq!(lan.told(text), 1, "{:#?}", lan.texts());
    assert_eq!(state(&lan, 2), Some(InterfaceState::Ok), "it has its link");
    assert!(
        !lan.texts().iter().any(|text| text.contains("detected on eth2")),
        "{:#?}",
        lan.texts()
    );
}
