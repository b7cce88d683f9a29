//! What a reload keeps and what it does not: interfaces outside of groups, test addresses that change
//! their kind, addresses that change their group, and requests that are on their way.

mod lan;

use std::net::IpAddr;
use std::time::Duration;

use lan::*;
use mpathd_core::config::{Config, Group, TestAddress};
use mpathd_core::event::{Event, Gateway, GatewayKind, Gateways, OwnAddress};
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::Request;
use mpathd_core::state::Saved;
use mpathd_core::view::{InstanceView, InterfaceState, View};

const FDT: Duration = Duration::from_millis(100);
const ROUTER: &str = "198.51.100.1";

fn config(seats: usize, group: Group) -> Config {
    Config { groups: vec![Group::anonymous(FDT, 40 * S, seats), group] }
}

/// A group of eth0 and eth1; eth2 and eth3 are in no group, and have an address and a router.
fn with_ungrouped(seats: usize) -> Lan {
    let mut lan = Lan::bare(config(seats, group(2, 2, FDT)), Saved::default(), 7);
    let works = Target { alive: true, rtt: MS / 5, lose_percent: 0, limit: None };
    for target in [ROUTER, "192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        lan.targets.insert(target.parse().unwrap(), works);
    }
    (0..4).for_each(|i| lan.plug(name(i), 2 + i as u32));
    lan.survey();
    for i in 2..4 {
        let (ifindex, family) = (Ifindex(2 + i), Family::Inet);
        let address = Some(format!("198.51.100.{}/24", 10 + i).parse().unwrap());
        lan.post(MS, Event::OwnAddress(OwnAddress { ifindex, family, address }));
        let mut gateways = Gateways::new(ifindex, family);
        gateways.push(Gateway { address: ROUTER.parse().unwrap(), kind: GatewayKind::Default });
        lan.post(MS, Event::Gateways(gateways));
    }
    lan.run(6 * S);
    lan
}

fn state(lan: &Lan, i: usize) -> Option<InterfaceState> {
    lan.view().interfaces.iter().find(|row| row.name == name(i)).map(|row| row.state)
}

fn instance(view: &View, i: usize, family: Family) -> InstanceView {
    let of = |row: &&InstanceView| row.interface == name(i) && row.family == family;
    *view.instances.iter().find(of).unwrap()
}

/// Probes sent to the router.
fn sent(lan: &Lan, i: usize) -> u64 {
    let router: IpAddr = ROUTER.parse().unwrap();
    let view = lan.view();
    let row = view.targets.iter().find(|row| row.interface == name(i) && row.target == router);
    row.map_or(0, |row| row.sent)
}

#[test]
fn interfaces_outside_of_groups_are_watched_as_soon_as_the_groups_are_settled() {
    let mut lan = Lan::bare(config(2, group(2, 2, FDT)), Saved::default(), 7);
    (0..4).for_each(|i| lan.plug(name(i), 2 + i as u32));
    let started = lan.now;
    lan.survey();
    lan.run(30 * S);
    let attached = lan.requests.iter().filter_map(|(at, request)| match request {
        Request::Attach { ifindex, .. } if ifindex.0 > 3 => Some(at.since(started)),
        _ => None,
    });
    let attached: Vec<Duration> = attached.collect();
    assert_eq!(attached.len(), 2, "{attached:?}");
    assert!(attached.iter().all(|after| *after < S), "{attached:?}");
}

#[test]
fn interfaces_outside_of_groups_keep_their_state_and_history_over_a_reload() {
    let mut lan = with_ungrouped(2);
    lan.wire(3, Wire::Cut);
    lan.run(S);
    let of = |lan: &Lan| [state(lan, 2), state(lan, 3)];
    let expected = [Some(InterfaceState::Ok), Some(InterfaceState::Failed)];
    assert_eq!(of(&lan), expected);
    let (before, probes) = (lan.view(), sent(&lan, 2));
    assert!(probes > 100);
    let mut more = group(2, 2, FDT);
    more.data.push("192.0.2.60/24".parse().unwrap());
    lan.messages.clear();
    lan.reload(config(2, more), 5);
    assert_eq!(of(&lan), expected);
    assert!(sent(&lan, 2) >= probes, "{} after {probes}", sent(&lan, 2));
    for i in 2..4 {
        let test = |view: &View| instance(view, i, Family::Inet).test;
        assert_eq!(test(&lan.view()), test(&before));
    }
    lan.run(S);
    assert_eq!(of(&lan), expected);
    assert!(!lan.texts().iter().any(|text| text.contains("eth2") || text.contains("eth3")));
    lan.wire(2, Wire::Cut);
    lan.wire(3, Wire::Works);
    lan.until(2 * FDT, |lan| state(lan, 2) == Some(InterfaceState::Failed));
    lan.until(5 * FDT, |lan| state(lan, 3) == Some(InterfaceState::Ok));
}

/// The netlink thread repeats what it knows now and then.
#[test]
fn the_address_of_an_ungrouped_interface_may_be_reported_again_and_again() {
    let mut lan = with_ungrouped(2);
    lan.wire(2, Wire::Cut);
    let cut = lan.now;
    while state(&lan, 2) == Some(InterfaceState::Ok) && lan.now.since(cut) < 5 * FDT {
        let (ifindex, family) = (Ifindex(4), Family::Inet);
        let address = Some("198.51.100.12/24".parse().unwrap());
        lan.post(MS, Event::OwnAddress(OwnAddress { ifindex, family, address }));
        lan.run(FDT / 5);
    }
    assert_eq!(state(&lan, 2), Some(InterfaceState::Failed), "{:#?}", lan.texts());
}

#[test]
fn an_ungrouped_interface_that_joins_a_group_leaves_its_seat() {
    let mut lan = with_ungrouped(2);
    let mut larger = group(3, 3, FDT);
    larger.members[2].test[0] = Some(TestAddress::Static("192.0.2.13/24".parse().unwrap()));
    lan.reload(config(2, larger), 5);
    lan.run(10 * S);
    let rows: Vec<_> =
        lan.view().interfaces.into_iter().filter(|row| row.name == name(2)).collect();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert!(!rows[0].group.is_anonymous() && rows[0].active);
    assert_eq!(state(&lan, 3), Some(InterfaceState::Ok));
    assert_eq!(lan.holders("192.0.2.52"), [2]);
}

#[test]
fn a_member_that_leaves_its_group_and_fewer_seats_leave_the_rest_watched() {
    let mut lan = with_ungrouped(3);
    let mut smaller = group(2, 2, FDT);
    smaller.members.truncate(1);
    lan.reload(config(1, smaller), 5);
    lan.run(S);
    let watched: Vec<_> = (1..4).filter(|i| state(&lan, *i).is_some()).collect();
    assert_eq!(watched, [2], "whoever had a seat first keeps one");
    assert_eq!(state(&lan, 2), Some(InterfaceState::Ok));
    assert!(!lan.texts().iter().any(|text| text.contains("failure detected on eth2")));
}

fn link_local(group: &mut Group) {
    for member in &mut group.members {
        member.test[1] = Some(TestAddress::LinkLocal);
    }
}

/// The first one is probed from an address of the kernel's own, the second one from ours.
#[test]
fn a_reload_that_turns_a_link_local_test_address_into_a_static_one_probes_from_that() {
    let statics = dual_stack(group(2, 2, FDT));
    let mut locals = statics.clone();
    link_local(&mut locals);
    let mut lan = Lan::new(locals.clone(), Saved::default());
    let addresses: Vec<IpAddr> = ip(&["fe80::a", "fe80::b", "2001:db8::b", "2001:db8::c"]);
    lan.link_local(0, "fe80::a");
    lan.link_local(1, "fe80::b");
    lan.survey();
    lan.run(6 * S);
    let tests = |lan: &Lan| [0, 1].map(|i| instance(&lan.view(), i, Family::Inet6).test);
    assert_eq!(tests(&lan), [Some(addresses[0]), Some(addresses[1])]);
    lan.messages.clear();

    lan.reload_group(statics.clone());
    assert_eq!(tests(&lan), [None; 2], "they are not there yet");
    lan.run(2 * S);
    let statics_of = |i: usize| statics.members[i].test[1];
    for (i, test) in tests(&lan).into_iter().enumerate() {
        let Some(TestAddress::Static(net)) = statics_of(i) else { unreachable!() };
        assert_eq!(test, Some(net.address));
        let probes = lan.view().targets.iter().filter(|row| row.interface == name(i)).count();
        assert_eq!(probes, 5, "three of IPv4, two of IPv6");
    }
    assert!(!lan.texts().iter().any(|text| text.contains("failure")), "{:#?}", lan.texts());

    lan.reload_group(locals);
    lan.link_local(0, "fe80::a");
    lan.link_local(1, "fe80::b");
    lan.run(2 * S);
    assert_eq!(tests(&lan), [Some(addresses[0]), Some(addresses[1])]);
    assert!(!lan.texts().iter().any(|text| text.contains("failure")), "{:#?}", lan.texts());
    lan.wire(0, Wire::Cut);
    lan.until(2 * FDT, |lan| state(lan, 0) == Some(InterfaceState::Failed));
}

#[test]
fn a_family_without_a_test_address_after_a_reload_forgets_its_failure() {
    let both = dual_stack(group(2, 2, FDT));
    let mut lan = Lan::settled(both.clone());
    lan.deaf = Some((name(0), true));
    lan.run(S);
    assert!(lan.view().interfaces[0].degraded[1], "{:#?}", lan.texts());
    let mut one = both;
    for member in &mut one.members {
        member.test[1] = None;
    }
    one.targets.retain(IpAddr::is_ipv4);
    lan.reload_group(one);
    lan.run(S);
    assert_eq!(lan.view().interfaces[0].degraded, [false; 2]);
    let mut rows = lan.view().instances.into_iter();
    assert!(rows.all(|row| row.family == Family::Inet || row.test.is_none()));
}

/// A reply to a request of the old configuration is none to the request that has its place now.
#[test]
fn an_answer_that_comes_after_a_reload_is_not_taken_for_that_of_another_request() {
    let mut lan = Lan::settled(group(2, 1, FDT));
    let with = |address: &str| {
        let mut group = group(2, 1, FDT);
        group.data.push(address.parse().unwrap());
        group
    };
    lan.kernel = 2 * S;
    lan.refuse = |request| match request {
        Request::SetAddress { address, .. } if address.address.to_string() == "192.0.2.70" => {
            Some(13)
        }
        _ => None,
    };
    lan.reload_group(with("192.0.2.70/24"));
    lan.run(S);
    lan.requests.clear();
    lan.messages.clear();
    lan.reload_group(with("192.0.2.71/24"));
    lan.run(10 * S);
    let asked = lan.requests.iter().filter(|(_, request)| {
        matches!(request, Request::SetAddress { address, .. } if address.address.to_string() == "192.0.2.71")
    });
    assert_eq!(asked.count(), 1, "{:#?}", lan.requests);
    assert!(
        !lan.texts().iter().any(|text| text.contains("192.0.2.71") && !text.starts_with("placed ")),
        "{:#?}",
        lan.texts()
    );
}

/// Its moves in the other group say nothing about this one.
#[test]
fn an_address_that_changes_its_group_begins_anew() {
    let named = |text: &str, members: std::ops::Range<usize>, data: &[&str]| {
        let mut group = group(4, 0, FDT);
        group.name = text.parse().unwrap();
        group.members.drain(members.end..);
        group.members.drain(..members.start);
        group.data = data.iter().map(|net| net.parse().unwrap()).collect();
        if text == "h" {
            group.routes.clear();
        }
        group
    };
    let groups =
        |first: &[&str], second: &[&str]| vec![named("g", 0..2, first), named("h", 2..4, second)];
    let mut lan = Lan::of_groups(groups(&["192.0.2.51/24", "198.51.100.50/24"], &[]));
    lan.survey();
    lan.run(6 * S);
    let held = |lan: &Lan| {
        let view = lan.view();
        view.addresses
            .iter()
            .find(|row| row.address.address.to_string() == "198.51.100.50")
            .unwrap()
            .held
    };
    for _ in 0..4 {
        let holder = lan.holders("198.51.100.50")[0];
        lan.wire(holder, Wire::Cut);
        lan.run(S);
        lan.wire(holder, Wire::Works);
        lan.run(S);
    }
    assert!(held(&lan).is_some(), "{:#?}", lan.texts());
    lan.reload(Config { groups: groups(&["192.0.2.51/24"], &["198.51.100.50/24"]) }, 5);
    lan.run(5 * S);
    assert_eq!(held(&lan), None);
    let holder = lan.holders("198.51.100.50");
    assert!(holder == [2] || holder == [3], "{holder:?}");
}

#[test]
fn a_group_failure_is_over_for_the_new_configuration_too() {
    let mut lan = Lan::settled(group(2, 2, FDT));
    (0..2).for_each(|i| lan.wire(i, Wire::Cut));
    lan.run(S);
    let failed = "All IP interfaces in group g are now unusable";
    assert_eq!(lan.told(failed), 1);
    let mut more = group(2, 2, FDT);
    more.data.push("192.0.2.60/24".parse().unwrap());
    lan.reload_group(more);
    lan.run(S);
    assert_eq!(lan.told(failed), 1, "it is reported once: {:#?}", lan.texts());
    (0..2).for_each(|i| lan.wire(i, Wire::Works));
    lan.run(2 * S);
    let usable = |text: &String| text.starts_with("At least 1 IP interface");
    assert_eq!(lan.texts().iter().filter(|text| usable(text)).count(), 1, "{:#?}", lan.texts());
}
