//! Where targets come from, which of them are probed, and what becomes of them when a group fails
//! (behaviour file 4, 12.10).

mod lan;

use std::net::IpAddr;
use std::time::Duration;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::event::{Event, FoundBy, GatewayKind};
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::Request;
use mpathd_core::state::Saved;
use mpathd_core::view::{GroupState, InterfaceState, ProbeState, TargetMode};

const FDT: Duration = Duration::from_secs(1);

/// Neither targets nor routers are configured.
fn unaided(members: usize) -> Group {
    let mut group = group(members, 2, FDT);
    group.targets.clear();
    group.routes.clear();
    group
}

/// A running host in a LAN with these targets.
fn lan_with(targets: &[&str], prepare: impl FnOnce(&mut Lan)) -> Lan {
    let mut lan = Lan::new(unaided(2), Saved::default());
    lan.add_targets(targets);
    prepare(&mut lan);
    lan.survey();
    lan.run(6 * S);
    lan
}

fn probed(mode: TargetMode, targets: &[&str]) -> (TargetMode, Vec<String>) {
    (mode, targets.iter().map(ToString::to_string).collect())
}

fn searches(lan: &Lan) -> usize {
    lan.requests.iter().filter(|(_, r)| matches!(r, Request::Search { .. })).count()
}

fn assert_targets(lan: &Lan, mode: TargetMode, targets: &[&str]) {
    for i in 0..2 {
        assert_eq!(lan.targets_of(i, Family::Inet), probed(mode, targets), "eth{i}");
    }
}

/// Behaviours 112, 114, 115.
#[test]
fn routers_beat_hosts_and_hosts_are_looked_for_when_the_last_router_goes() {
    const HOSTS: [&str; 2] = ["192.0.2.21", "192.0.2.22"];
    let mut lan = lan_with(&["192.0.2.1", "192.0.2.21", "192.0.2.22"], |lan| {
        lan.responders = ip(&HOSTS);
        lan.gateways(&["192.0.2.1", "198.51.100.1"]);
    });
    assert_targets(&lan, TargetMode::Routes, &["192.0.2.1"]);
    assert_eq!(searches(&lan), 0, "no multicast while a router is known");

    lan.gateways(&[]);
    lan.run(MS);
    assert_targets(&lan, TargetMode::Multicast, &[]);
    assert!(lan.view().interfaces.iter().all(|i| i.state == InterfaceState::Unknown && i.active));
    lan.run(2 * S);
    assert_targets(&lan, TargetMode::Multicast, &HOSTS);

    lan.gateways(&["192.0.2.1"]);
    lan.run(S);
    assert_targets(&lan, TargetMode::Routes, &["192.0.2.1"]);
    assert_eq!(lan.told("IP interface failure detected on eth0 of group g"), 0);
    assert_eq!(lan.view().groups[0].state, GroupState::Ok);
}

/// Behaviour 113.
#[test]
fn the_first_five_that_answer_are_probed() {
    const ALL: [&str; 7] = [
        "192.0.2.27",
        "192.0.2.26",
        "192.0.2.25",
        "192.0.2.24",
        "192.0.2.23",
        "192.0.2.22",
        "192.0.2.21",
    ];
    let mut lan = lan_with(&ALL, |lan| {
        lan.responders = ip(&ALL);
        lan.targets.values_mut().rev().zip(1..).for_each(|(t, n)| t.rtt = n * MS / 10);
    });
    assert_targets(&lan, TargetMode::Multicast, &ALL[..5]);
    let found = searches(&lan);
    lan.run(60 * S);
    assert_eq!(searches(&lan), found, "enough is found");
    // The sixth was heard too, and stands in for one that dies.
    lan.target("192.0.2.24").alive = false;
    lan.run(3 * S);
    let left = ["192.0.2.27", "192.0.2.26", "192.0.2.25", "192.0.2.22", "192.0.2.23"];
    assert_targets(&lan, TargetMode::Multicast, &left);
}

/// Behaviour 118.
#[test]
fn one_host_is_too_few() {
    let mut lan =
        lan_with(&["192.0.2.21", "192.0.2.22"], |lan| lan.responders = ip(&["192.0.2.21"]));
    assert_targets(&lan, TargetMode::Multicast, &["192.0.2.21"]);
    let before = searches(&lan);
    lan.run(60 * S);
    assert!(searches(&lan) >= before + 10, "{} searches", searches(&lan) - before);
    lan.responders = ip(&["192.0.2.21", "192.0.2.22"]);
    lan.run(11 * S);
    assert_targets(&lan, TargetMode::Multicast, &["192.0.2.21", "192.0.2.22"]);
    let found = searches(&lan);
    lan.run(60 * S);
    assert_eq!(searches(&lan), found);
}

/// Behaviour 120: what one finds is offered to all whose subnet it is on.
#[test]
fn a_host_found_by_one_member_is_offered_to_all() {
    let mut group = unaided(3);
    let elsewhere = "198.51.100.13/24".parse().unwrap();
    group.members[2].test[0] = Some(mpathd_core::config::TestAddress::Static(elsewhere));
    let mut lan = Lan::new(group, Saved::default());
    lan.add_targets(&["192.0.2.21", "192.0.2.22"]);
    lan.survey();
    lan.run(6 * S);
    for host in ip(&["192.0.2.21", "192.0.2.22"]) {
        let by = FoundBy::Echo;
        lan.post(Duration::ZERO, Event::Found { ifindex: Ifindex(2), address: host, by });
    }
    lan.run(S);
    assert_targets(&lan, TargetMode::Multicast, &["192.0.2.21", "192.0.2.22"]);
    assert_eq!(lan.targets_of(2, Family::Inet), probed(TargetMode::Multicast, &[]));
    assert_eq!(lan.told("Host 192.0.2.21 answers on eth0 and becomes a target"), 1);
    assert_eq!(lan.told("Host 192.0.2.21 answers on eth1 and becomes a target"), 0);
    // A member that comes later begins with what the others have.
    lan.unplug(name(1));
    lan.run(S);
    lan.plug(name(1), 9);
    lan.run(3 * S);
    assert_targets(&lan, TargetMode::Multicast, &["192.0.2.21", "192.0.2.22"]);
}

/// An own address is no target, whoever tells of it.
#[test]
fn own_addresses_and_other_subnets_are_no_targets() {
    let mut lan = lan_with(&[], |_| {});
    for host in ip(&["192.0.2.50", "192.0.2.12", "198.51.100.7"]) {
        let by = FoundBy::Echo;
        lan.post(Duration::ZERO, Event::Found { ifindex: Ifindex(2), address: host, by });
    }
    lan.run(S);
    assert!(lan.view().targets.is_empty(), "{:#?}", lan.view().targets);
}

#[test]
fn neighbours_are_tried_where_nobody_answers_to_all() {
    let mut lan = lan_with(&["192.0.2.21", "192.0.2.22"], |lan| {
        lan.neighbours = ip(&["192.0.2.99", "192.0.2.21", "192.0.2.22"]);
    });
    assert_targets(&lan, TargetMode::Neighbors, &["192.0.2.21", "192.0.2.22"]);
    let told = "No host answers an echo request to 224.0.0.1 on eth0 (many ignore such requests); \
                inet neighbors that the kernel knows are tried instead";
    assert_eq!(lan.told(told), 1, "{:#?}", lan.texts());
    assert_eq!(lan.told("Neighbor 192.0.2.21 on eth0 becomes a target"), 1, "{:#?}", lan.texts());
    lan.run(60 * S);
    assert_eq!(lan.told(told), 1);
    assert!(lan.view().interfaces.iter().all(|i| i.state == InterfaceState::Ok));
}

#[test]
fn hosts_that_never_answer_a_probe_make_room_for_others() {
    let silent: Vec<String> = (101..=107).map(|n| format!("192.0.2.{n}")).collect();
    let mut lan = lan_with(&["192.0.2.21"], |lan| {
        lan.neighbours = silent.iter().map(|t| t.parse().unwrap()).collect();
        lan.neighbours.push("192.0.2.21".parse().unwrap());
    });
    lan.run(10 * S);
    assert_targets(&lan, TargetMode::Neighbors, &["192.0.2.21"]);
}

/// Behaviours 60, 116: the unused takes the place of the dead, which is tried again after a minute.
#[test]
fn seven_routers_five_are_probed() {
    let routers: Vec<String> = (1..=7).map(|n| format!("192.0.2.{n}")).collect();
    let routers: Vec<&str> = routers.iter().map(String::as_str).collect();
    let mut lan = lan_with(&routers, |lan| lan.gateways(&routers));
    assert_targets(&lan, TargetMode::Routes, &routers[..5]);
    lan.target("192.0.2.2").alive = false;
    lan.run(2 * S);
    let now = ["192.0.2.1", "192.0.2.6", "192.0.2.3", "192.0.2.4", "192.0.2.5"];
    assert_targets(&lan, TargetMode::Routes, &now);
    assert_eq!(lan.told("Target 192.0.2.6 takes the place of 192.0.2.2 on eth0"), 1);
    lan.target("192.0.2.6").alive = false;
    lan.run(2 * S);
    let now = ["192.0.2.1", "192.0.2.7", "192.0.2.3", "192.0.2.4", "192.0.2.5"];
    assert_targets(&lan, TargetMode::Routes, &now);
    // No more are left: a third dead one keeps its place, until the first has had its minute.
    lan.target("192.0.2.7").alive = false;
    lan.target("192.0.2.2").alive = true;
    lan.run(10 * S);
    let now = ["192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.5"];
    assert_targets(&lan, TargetMode::Routes, &now);
    lan.run(60 * S);
    let now = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"];
    assert_targets(&lan, TargetMode::Routes, &now);
    assert!(lan.view().interfaces.iter().all(|i| i.state == InterfaceState::Ok));
    assert!(lan.told("IP interface failure detected on eth0 of group g") == 0);
}

/// eth0 is cut, and so much later its targets change to `then`, which have all been proven before.
fn assert_found_in_time(first: &[&str], then: &[&str], dead: Option<&str>) {
    for step in 0..100 {
        let proven = ip(then);
        let mut lan = Lan::new(unaided(2), Saved { proven, ..Saved::default() });
        lan.add_targets(then);
        lan.targets.values_mut().for_each(|target| target.rtt = 40 * MS);
        lan.gateways(first);
        lan.survey();
        lan.run(6 * S);
        if let Some(dead) = dead {
            lan.target(dead).alive = false;
            lan.run(step * 10 * MS);
        }
        lan.wire(0, Wire::Cut);
        let cut = lan.now;
        lan.run(step * 10 * MS);
        lan.gateways(then);
        let failed = |lan: &Lan| lan.told("IP interface failure detected on eth0 of group g") == 1;
        lan.until(3 * FDT, failed);
        let took = lan.messages.iter().find(|(_, m)| m.to_string().starts_with("IP interface"));
        let took = took.unwrap().0.since(cut);
        assert!(took <= FDT, "{took:?} at step {step}");
    }
}

/// A new target would have to lose five probes first: it is not taken while a failure may have begun.
#[test]
fn a_failure_is_found_in_time_though_targets_are_added() {
    assert_found_in_time(
        &["192.0.2.1", "192.0.2.2"],
        &["192.0.2.1", "192.0.2.2", "192.0.2.3"],
        None,
    );
}

#[test]
fn a_failure_is_found_in_time_though_a_target_is_exchanged() {
    let routers: Vec<String> = (1..=7).map(|n| format!("192.0.2.{n}")).collect();
    let routers: Vec<&str> = routers.iter().map(String::as_str).collect();
    assert_found_in_time(&routers, &routers, Some("192.0.2.2"));
}

/// Host routes that fill the list do not hide the router, whatever the order of their addresses.
#[test]
fn a_default_gateway_comes_before_eighteen_host_routes() {
    let hosts: Vec<String> = (101..=118).map(|n| format!("192.0.2.{n}")).collect();
    let mut all: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let (router, other) = ("192.0.2.200", "192.0.2.199");
    all.extend([other, router]);
    let kind = |address: IpAddr| match address.to_string().as_str() {
        "192.0.2.200" => GatewayKind::Default,
        "192.0.2.199" => GatewayKind::Other,
        _ => GatewayKind::Host,
    };
    let mut lan = lan_with(&all, |lan| lan.next_hops(&all, kind));
    let first = [router, other, "192.0.2.101", "192.0.2.102", "192.0.2.103"];
    assert_targets(&lan, TargetMode::Routes, &first);
    let told =
        "inet targets on eth0 are chosen from 16 candidates, and at least 4 more are left out";
    let count = lan.texts().iter().filter(|text| text.starts_with(told)).count();
    assert_eq!(count, 1, "{:#?}", lan.texts());

    // Host routes with lower addresses and more gateways: what answers stays, though it may be left out now.
    let more: Vec<String> = (70..=90).map(|n| format!("192.0.2.{n}")).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).chain([router]).collect();
    lan.add_targets(&more);
    lan.next_hops(&more, |it| {
        if it == ip(&[router])[0] { GatewayKind::Default } else { GatewayKind::Other }
    });
    lan.run(5 * S);
    assert_targets(&lan, TargetMode::Routes, &first);
    // A list that is complete has the last word.
    lan.next_hops(&[router], |_| GatewayKind::Default);
    lan.run(S);
    assert_targets(&lan, TargetMode::Routes, &[router]);
}

/// Neither family's next hops take the places of the other's.
#[test]
fn routers_of_both_families_are_probed_beside_many_host_routes() {
    let hosts: Vec<String> = (101..=118).map(|n| format!("192.0.2.{n}")).collect();
    let mut all: Vec<&str> = hosts.iter().map(String::as_str).collect();
    all.push("2001:db8::1");
    let mut group = dual_stack(group(2, 2, FDT));
    group.targets.clear();
    group.routes.clear();
    let mut lan = Lan::new(group, Saved::default());
    lan.add_targets(&all);
    lan.next_hops(&all, |_| GatewayKind::Host);
    lan.survey();
    lan.run(6 * S);
    for i in 0..2 {
        let probed6 = probed(TargetMode::Routes, &["2001:db8::1"]);
        assert_eq!(lan.targets_of(i, Family::Inet6), probed6, "eth{i}");
    }
    let left_out = |text: &String| text.contains("left out");
    assert_eq!(lan.texts().into_iter().filter(left_out).count(), 2, "{:#?}", lan.texts());
}

/// Behaviours 48, 49: a slow one is set aside, as long as enough others are quick.
#[test]
fn a_slow_target_is_set_aside_where_others_are_quick() {
    let routers = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    let mut lan = lan_with(&routers, |lan| lan.gateways(&routers));
    lan.target("192.0.2.3").rtt = 900 * MS;
    lan.run(20 * S);
    assert_targets(&lan, TargetMode::Routes, &["192.0.2.1", "192.0.2.2", "192.0.2.4"]);
    let told = "Target 192.0.2.3 is too slow on eth0 for the failure detection time; \
                it is not probed there for a minute";
    assert_eq!(lan.told(told), 1, "{:#?}", lan.texts());
    assert_eq!(lan.view().groups[0].fdt, Some(FDT));
    // Were the next one set aside too, two would be left: both are needed, and the time can't be met.
    lan.target("192.0.2.4").rtt = 900 * MS;
    lan.run(20 * S);
    assert_eq!(lan.targets_of(0, Family::Inet).1.len(), 4);
    assert!(lan.view().groups[0].fdt > Some(FDT));
    lan.target("192.0.2.3").rtt = MS;
    lan.target("192.0.2.4").rtt = MS;
    lan.run(60 * S);
    assert_targets(&lan, TargetMode::Routes, &routers);
    assert_eq!(lan.view().groups[0].fdt, Some(FDT));
}

/// Behaviour 121, and 85 as we have it: nothing proves or disproves, so the link decides.
#[test]
fn without_any_target_the_interface_carries_data() {
    let mut lan = lan_with(&[], |_| {});
    let assert_unknown = |lan: &Lan| {
        let view = lan.view();
        for row in &view.interfaces {
            assert_eq!((row.state, row.probe), (InterfaceState::Unknown, ProbeState::Unknown));
            assert!(row.active);
        }
        assert_eq!(view.groups[0].state, GroupState::Ok);
    };
    lan.run(60 * S);
    assert_unknown(&lan);
    assert_targets(&lan, TargetMode::Multicast, &[]);
    lan.assert_at_rest();
    assert_eq!((lan.holders("192.0.2.50"), lan.holders("192.0.2.51")), (vec![0], vec![1]));

    lan.carrier(0, false);
    lan.run(5 * S);
    assert_eq!(lan.holders("192.0.2.50"), [1]);
    lan.carrier(0, true);
    lan.run(5 * S);
    assert_unknown(&lan);
    lan.assert_at_rest();
}

/// Behaviour 83.
#[test]
fn routers_of_a_failed_group_stay_without_their_routes() {
    let mut lan = lan_with(&["192.0.2.1"], |lan| lan.gateways(&["192.0.2.1"]));
    lan.target("192.0.2.1").alive = false;
    lan.until(2 * FDT, |lan| lan.told("All IP interfaces in group g are now unusable") == 1);
    lan.gateways(&[]);
    lan.run(90 * S);
    assert_targets(&lan, TargetMode::Routes, &["192.0.2.1"]);
    assert_eq!(lan.view().groups[0].state, GroupState::Failed);
    assert_eq!(searches(&lan), 0);
    lan.target("192.0.2.1").alive = true;
    lan.run(4 * S);
    assert_eq!(lan.view().groups[0].state, GroupState::Ok);
    assert_eq!(lan.told("All IP interfaces in group g are now unusable"), 1);
    let usable = "At least 1 IP interface (";
    assert_eq!(lan.texts().iter().filter(|text| text.starts_with(usable)).count(), 1);
}

/// Behaviour 84: the dead hosts are forgotten, and a new one repairs the group.
#[test]
fn a_failed_group_looks_for_other_hosts() {
    const HOSTS: [&str; 2] = ["192.0.2.21", "192.0.2.22"];
    let mut lan =
        lan_with(&["192.0.2.21", "192.0.2.22", "192.0.2.23"], |lan| lan.responders = ip(&HOSTS));
    assert_targets(&lan, TargetMode::Multicast, &HOSTS);
    let before = lan.addresses.clone();
    HOSTS.iter().for_each(|host| lan.target(host).alive = false);
    lan.until(2 * FDT, |lan| lan.told("All IP interfaces in group g are now unusable") == 1);
    lan.run(MS);
    assert!(lan.view().targets.is_empty(), "{:#?}", lan.view().targets);
    let found = searches(&lan);
    lan.run(90 * S);
    assert!(searches(&lan) > found + 20, "{}", searches(&lan) - found);
    let view = lan.view();
    assert_eq!(view.groups[0].state, GroupState::Failed, "failed until somebody answers");
    assert!(view.interfaces.iter().all(|i| i.probe == ProbeState::Failed));
    assert_targets(&lan, TargetMode::Multicast, &[]);

    lan.responders.extend(ip(&["192.0.2.23"]));
    lan.run(14 * S);
    assert_targets(&lan, TargetMode::Multicast, &["192.0.2.23"]);
    let probed: Vec<_> = lan.view().targets.iter().map(|row| row.target).collect();
    assert_eq!(probed, ip(&["192.0.2.23", "192.0.2.23"]), "the dead are not asked any more");
    assert_eq!(lan.view().groups[0].state, GroupState::Ok);
    assert_eq!(lan.told("All IP interfaces in group g are now unusable"), 1);
    let usable = "At least 1 IP interface (";
    assert_eq!(lan.texts().iter().filter(|text| text.starts_with(usable)).count(), 1);
    assert_eq!(lan.addresses, before, "nothing has moved");
}

/// IPv6 by itself, from a link-local address to link-local hosts.
#[test]
fn hosts_are_found_for_each_family() {
    let mut group = unaided(2);
    group
        .members
        .iter_mut()
        .for_each(|m| m.test[1] = Some(mpathd_core::config::TestAddress::LinkLocal));
    let mut lan = Lan::new(group, Saved::default());
    lan.add_targets(&["fe80::21", "fe80::22", "192.0.2.1"]);
    lan.responders = ip(&["fe80::21", "fe80::22"]);
    lan.gateways(&["192.0.2.1"]);
    lan.link_local(0, "fe80::a");
    lan.link_local(1, "fe80::b");
    lan.survey();
    lan.run(6 * S);
    assert_targets(&lan, TargetMode::Routes, &["192.0.2.1"]);
    for i in 0..2 {
        let six = probed(TargetMode::Multicast, &["fe80::21", "fe80::22"]);
        assert_eq!(lan.targets_of(i, Family::Inet6), six);
    }
}

/// One family alone falls silent: the group has not failed, yet others are looked for.
#[test]
fn a_family_whose_hosts_have_died_is_repaired_by_another() {
    const HOSTS: [&str; 2] = ["2001:db8::21", "2001:db8::22"];
    let mut group = dual_stack(group(2, 2, FDT));
    group.targets.clear();
    group.routes.clear();
    let mut lan = Lan::new(group, Saved::default());
    lan.add_targets(&["192.0.2.1", "2001:db8::21", "2001:db8::22", "2001:db8::23"]);
    lan.responders = ip(&HOSTS);
    lan.gateways(&["192.0.2.1"]);
    lan.survey();
    lan.run(6 * S);
    HOSTS.iter().for_each(|host| lan.target(host).alive = false);
    lan.run(30 * S);
    assert_eq!(lan.told("All inet6 targets of group g are silent on every interface"), 1);
    lan.responders = ip(&["2001:db8::23"]);
    lan.run(15 * S);
    for i in 0..2 {
        assert!(lan.targets_of(i, Family::Inet6).1.contains(&"2001:db8::23".to_owned()));
        assert_eq!(lan.view().interfaces[i].degraded, [false; 2]);
    }
}

/// What was proven before the restart counts at once: also a host that is found again.
#[test]
fn a_found_host_that_was_proven_counts_after_a_restart() {
    const HOSTS: [&str; 2] = ["192.0.2.21", "192.0.2.22"];
    let mut lan = lan_with(&HOSTS, |lan| lan.responders = ip(&HOSTS));
    assert!(ip(&HOSTS).iter().all(|host| lan.view().proven.contains(host)));
    lan.wire(0, Wire::Cut);
    lan.restart();
    lan.run(60 * S);
    let eth0 = &lan.view().interfaces[0];
    assert_eq!((eth0.state, eth0.probe), (InterfaceState::Failed, ProbeState::Failed));
}
