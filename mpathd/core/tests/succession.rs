//! A new configuration takes over from the old one while probes are on their way (behaviours 11, 165).

mod lan;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lan::*;
use mpathd_core::config::{Config, Datapath, Group, TestAddress};
use mpathd_core::event::{Address, Command, Event};
use mpathd_core::ids::{Family, IfName, IpNet};
use mpathd_core::request::Request;
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;
use mpathd_core::view::{InterfaceState, TargetState, View};

const FDT: Duration = Duration::from_millis(600);

fn one_address_more(mut group: Group) -> Group {
    group.data.push("192.0.2.60/24".parse().unwrap());
    group
}

/// Of each target on each NIC: number of its path, probes sent, answered, and smoothed RTT.
fn history(view: &View) -> BTreeMap<(IfName, IpAddr), (u16, u64, u64, u64)> {
    let row = |t: &mpathd_core::view::TargetView| (t.path, t.sent, t.acked, t.srtt);
    view.targets.iter().map(|t| ((t.interface, t.target), row(t))).collect()
}

fn failed(lan: &Lan, i: usize) -> bool {
    let view = lan.view();
    view.interfaces.iter().any(|it| it.name == name(i) && it.state == InterfaceState::Failed)
}

fn until_failed(lan: &mut Lan, i: usize, limit: Duration) -> Duration {
    lan.until(limit, |lan| failed(lan, i))
}

fn requests(lan: &Lan) -> Vec<Request> {
    let asked = lan.requests.iter().map(|(_, request)| *request);
    asked.filter(|request| !matches!(request, Request::Prepare { .. })).collect()
}

#[test]
fn behaviour_165_what_did_not_change_keeps_its_history() {
    let group = dual_stack(group(3, 3, FDT));
    let mut lan = Lan::settled(group.clone());
    // What has come in is read, as it is at the reload.
    lan.engine.stir();
    lan.turn();
    let before = lan.view();
    lan.reload_group(group.clone());
    let after = lan.view();
    assert_eq!(history(&after), history(&before));
    let same = View { at: before.at, revision: 0, tidied: true, ..after };
    assert_eq!(same, before);
    lan.run(S);
    assert_eq!(requests(&lan), [Request::RemoveUnconfigured]);
    assert!(lan.texts().is_empty(), "{:#?}", lan.texts());

    lan.reload_group(one_address_more(group));
    let begun = history(&lan.view());
    lan.run(2 * S);
    lan.assert_at_rest();
    assert_eq!(lan.holders("192.0.2.60").len(), 1);
    for (path, (number, sent, acked, _)) in history(&lan.view()) {
        let (before, had_sent, had_acked, _) = begun[&path];
        assert_eq!(number, before);
        // Twenty rounds, none lost on the way.
        let (sent, acked) = (sent - had_sent, acked - had_acked);
        assert!((19..=21).contains(&sent) && sent.abs_diff(acked) <= 1, "{sent} {acked}");
    }
    assert_eq!(lan.texts().len(), 1, "{:#?}", lan.texts());
}

#[test]
fn a_cut_around_a_reload_is_judged_in_time() {
    let group = dual_stack(group(3, 3, FDT));
    for phase in 0..60 {
        let mut lan = Lan::settled(group.clone());
        lan.run(phase * 7 * MS);
        lan.wire(1, Wire::Cut);
        let cut = lan.now;
        lan.run(phase * 10 * MS);
        if !failed(&lan, 1) {
            lan.reload_group(one_address_more(group.clone()));
        }
        until_failed(&mut lan, 1, FDT);
        let took = lan.now.since(cut);
        assert!(took <= FDT, "phase {phase}: {took:?}");
        lan.run(50 * MS);
        lan.assert_at_rest();
        assert!(lan.view().addresses.iter().all(|a| a.inbound != Some(name(1))));
    }
}

#[test]
fn reloads_without_end_never_put_off_a_verdict_or_a_repair() {
    let small = dual_stack(group(2, 2, FDT));
    let large = one_address_more(small.clone());
    let mut lan = Lan::settled(small.clone());
    let reloads = |lan: &mut Lan, done: &dyn Fn(&Lan) -> bool| {
        let begun = lan.now;
        for group in [&large, &small].into_iter().cycle() {
            if done(lan) {
                break;
            }
            lan.reload_group(group.clone());
            lan.run(37 * MS);
        }
        lan.now.since(begun)
    };
    lan.wire(0, Wire::Cut);
    assert!(reloads(&mut lan, &|lan| failed(lan, 0)) <= FDT + 37 * MS);
    lan.run(S);
    lan.wire(0, Wire::Works);
    let repaired = reloads(&mut lan, &|lan| !failed(lan, 0));
    assert!((2 * FDT..3 * FDT).contains(&repaired), "{repaired:?}");
}

#[test]
fn a_failed_member_stays_failed_and_earns_its_repair_as_if_nothing_had_happened() {
    let group = dual_stack(group(3, 3, FDT));
    let repaired_after = |reload_at: Option<Duration>| {
        let mut lan = Lan::settled(group.clone());
        lan.wire(0, Wire::Cut);
        lan.run(2 * S);
        lan.wire(0, Wire::Works);
        let mended = lan.now;
        if let Some(at) = reload_at {
            lan.run(at);
            lan.reload_group(one_address_more(group.clone()));
            assert!(failed(&lan, 0));
        }
        lan.until(3 * S, |lan| !failed(lan, 0));
        lan.now.since(mended)
    };
    let undisturbed = repaired_after(None);
    for at in [MS, 500 * MS, S, 1150 * MS] {
        assert_eq!(repaired_after(Some(at)), undisturbed, "reload at {at:?}");
    }
}

#[test]
fn flags_and_damping_hold_on() {
    let group = group(3, 3, FDT);
    let mut lan = Lan::settled(group.clone());
    assert!(lan.command(Command::Offline { interface: name(2) }));
    for _ in 0..2 {
        lan.wire(0, Wire::Cut);
        lan.run(2 * S);
        lan.wire(0, Wire::Works);
        lan.until(5 * S, |lan| !failed(lan, 0));
    }
    let before = lan.view();
    assert!(before.interfaces[0].damped.is_some());
    lan.reload_group(one_address_more(group));
    assert_eq!(lan.view().interfaces, before.interfaces);
    lan.run(5 * S);
    assert!(lan.view().interfaces[0].damped.is_some());
    assert!(lan.holders("192.0.2.50") != [0] && lan.view().interfaces[2].offline);
    lan.run(10 * S);
    assert!(lan.view().interfaces[0].damped.is_none());
}

/// Behaviour 93: FAILBACK=no goes on, and so does an active standby.
#[test]
fn who_is_active_stays_so() {
    for failback in [false, true] {
        let mut group = Group { failback, ..group(3, 2, FDT) };
        group.members[1].standby = true;
        group.members[2].standby = true;
        let mut lan = Lan::settled(group.clone());
        lan.wire(0, Wire::Cut);
        lan.wire(1, Wire::Cut);
        lan.run(2 * S);
        lan.wire(1, Wire::Works);
        if !failback {
            lan.wire(0, Wire::Works);
        }
        lan.run(5 * S);
        let active = |lan: &Lan| lan.view().interfaces.iter().map(|i| i.active).collect::<Vec<_>>();
        assert_eq!(active(&lan), [false, false, true], "{failback}: {:#?}", lan.texts());
        lan.reload_group(one_address_more(group));
        lan.run(5 * S);
        assert_eq!(active(&lan), [false, false, true], "{failback}");
    }
}

#[test]
fn who_stays_keeps_its_paths_when_others_come_and_go() {
    let three = group(3, 3, FDT);
    let mut without_first = three.clone();
    without_first.members.remove(0);
    let mut lan = Lan::settled(three.clone());
    let before = history(&lan.view());
    lan.reload_group(without_first.clone());
    assert_eq!(history(&lan.view()).keys().filter(|(nic, _)| *nic == name(0)).count(), 0);
    lan.run(S);
    lan.assert_at_rest();
    assert!(lan.texts().iter().any(|text| text.starts_with("moved 192.0.2.50 from eth0 to eth")));
    assert!(lan.addresses.iter().all(|(ifindex, _)| ifindex.0 != 2), "eth0 is bare");
    assert!(lan.view().tidied);

    // The number that became free is used again, and nothing comes of it for the others.
    let mut another = without_first.clone();
    lan.plug(name(3), 9);
    another.members.insert(0, member(3));
    lan.reload_group(another);
    lan.run(2 * S);
    lan.assert_at_rest();
    let after = history(&lan.view());
    let numbers = |view: &BTreeMap<_, (u16, u64, u64, u64)>, nic| {
        let of_nic = view.iter().filter(|((name, _), _): &(&(IfName, IpAddr), _)| *name == nic);
        of_nic.map(|(_, row)| row.0).collect::<Vec<_>>()
    };
    for nic in [1, 2] {
        assert_eq!(numbers(&after, name(nic)), numbers(&before, name(nic)));
    }
    assert_eq!(numbers(&after, name(3)), numbers(&before, name(0)));
    let active = |t: &mpathd_core::view::TargetView| t.state == TargetState::Active && t.lost == 0;
    assert!(lan.view().targets.iter().all(active), "{:#?}", lan.view().targets);
}

#[test]
fn behaviour_11_a_new_failure_detection_time_is_in_force_and_fails_nothing() {
    for (old, new) in [(100 * MS, 2 * S), (2 * S, 100 * MS)] {
        for phase in 0..20 {
            let mut lan = Lan::settled(group(2, 2, old));
            lan.run(old / 20 * phase);
            // Four probes of the old pace go astray.
            lan.wire(0, Wire::Cut);
            lan.run(old / 6 * 4);
            lan.reload_group(group(2, 2, new));
            lan.run(MS);
            lan.wire(0, Wire::Works);
            lan.run(10 * S);
            let quick = new < old;
            assert!(!failed(&lan, 0) && (quick || lan.texts().is_empty()), "{:#?}", lan.texts());
            assert_eq!(lan.view().groups[0].fdt, Some(new));

            lan.wire(0, Wire::Cut);
            let took = until_failed(&mut lan, 0, new);
            assert!(took >= new / 6 * 4, "{took:?}");
        }
    }
}

#[test]
fn a_cut_while_the_failure_detection_time_changes_is_judged_within_the_new_one() {
    for (old, new) in [(100 * MS, 600 * MS), (600 * MS, 100 * MS)] {
        for phase in 0..24 {
            let mut lan = Lan::settled(group(2, 2, old));
            lan.run(phase * 9 * MS);
            lan.wire(0, Wire::Cut);
            lan.run(old / 40 * phase);
            lan.reload_group(group(2, 2, new));
            let took = until_failed(&mut lan, 0, new);
            assert!(took <= new, "{took:?} after the reload");
        }
    }
}

/// An address that is to come elsewhere is put there first, and answers to what the old engine had
/// asked are not lost: no request is made twice.
#[test]
fn requests_under_way_are_answered_to_the_heir() {
    let group = group(2, 4, FDT);
    let mut lan = Lan::settled(group.clone());
    lan.kernel = 300 * MS;
    lan.wire(0, Wire::Cut);
    until_failed(&mut lan, 0, FDT);
    lan.run(MS);
    let asked = requests(&lan);
    assert!(!asked.is_empty());
    lan.reload_group(group);
    lan.run(100 * MS);
    let twice = |request: &&Request| requests(&lan).iter().filter(|it| it == request).count() > 1;
    assert_eq!(asked.iter().find(twice), None);
    lan.run(3 * S);
    lan.assert_at_rest();
}

#[test]
fn groups_come_and_go() {
    let first = group(2, 2, FDT);
    let mut second = group(2, 1, FDT);
    second.name = "h".parse().unwrap();
    second.data = vec!["198.51.100.50/24".parse().unwrap()];
    second.routes.clear();
    second.targets.clear();
    second.members = vec![member(2), member(3)];
    second.members.iter_mut().for_each(|m| m.test = [None, None]);
    let mut lan = Lan::settled(first.clone());
    let before = history(&lan.view());
    (2..4).for_each(|i| lan.plug(name(i), 20 + i as u32));
    lan.reload(Config { groups: vec![second.clone(), first.clone()] }, 3);
    lan.run(2 * S);
    lan.assert_at_rest();
    lan.reload(Config { groups: vec![second] }, 4);
    lan.run(2 * S);
    lan.assert_at_rest();
    assert!(!lan.addresses.iter().any(|(ifindex, _)| ifindex.0 < 20), "{:?}", lan.addresses);
    lan.reload(Config::default(), 5);
    lan.run(2 * S);
    assert!(lan.addresses.is_empty() && lan.routes.is_empty() && lan.view().tidied);
    lan.reload_group(first);
    lan.run(5 * S);
    lan.assert_at_rest();
    assert_eq!(history(&lan.view()).len(), before.len());
}

#[test]
fn without_groups_at_the_start_nothing_is_touched() {
    let mut lan = Lan::bare(Config::default(), Default::default(), 1);
    lan.plug(name(0), 2);
    lan.survey();
    lan.run(30 * S);
    assert!(requests(&lan).is_empty() && lan.view().settled && !lan.view().tidied);
    assert!(lan.now > Instant(0));
}

/// Every address of ours has the form of what it is now, and nobody was accused.
fn assert_reformed(lan: &Lan, what: &str) {
    lan.assert_at_rest();
    assert!(
        !lan.texts().iter().any(|text| text.contains("somebody")),
        "{what}: {:#?}",
        lan.texts()
    );
    for (ifindex, address) in &lan.addresses {
        assert!(!lan.address_of_ours(*ifindex, *address).stale_form, "{what}: {address}");
    }
    let instances = lan.view().instances;
    let tested = |i: &&mpathd_core::view::InstanceView| i.family == Family::Inet;
    assert!(instances.iter().filter(tested).all(|i| i.test.is_some()), "{what}: {instances:#?}");
}

/// What our own reload does is nobody else's change (14 of 14 such reloads accused somebody).
#[test]
fn addresses_may_change_their_roles_and_nobody_is_accused() {
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    let test = |group: &mut Group, m: usize, text: &str| {
        group.members[m].test[0] = Some(TestAddress::Static(net(text)));
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Group));
    let changes: &[Change<'_>] = &[
        ("a data address becomes a test address", &|group| {
            group.data.remove(0);
            test(group, 0, "192.0.2.50/24");
        }),
        ("that of the other interface", &|group| {
            group.data.remove(0);
            test(group, 1, "192.0.2.50/24");
        }),
        ("a test address becomes a data address", &|group| {
            group.data.push(net("192.0.2.11/24"));
            test(group, 0, "192.0.2.31/24");
        }),
        ("a data and a test address take each other's place", &|group| {
            group.data[0] = net("192.0.2.11/24");
            test(group, 0, "192.0.2.50/24");
        }),
        ("test addresses take each other's place", &|group| {
            test(group, 0, "192.0.2.12/24");
            test(group, 1, "192.0.2.11/24");
        }),
        ("prefix lengths change", &|group| {
            group.data[0] = net("192.0.2.50/25");
            test(group, 0, "192.0.2.11/25");
        }),
        ("a route gets a source and a gateway", &|group| {
            group.routes[0].src = Some("192.0.2.51".parse().unwrap());
            group.routes[0].via = "192.0.2.2".parse().unwrap();
        }),
        ("a route gets another metric", &|group| group.routes[0].metric = 7),
        ("an interface becomes a standby", &|group| group.members[0].standby = true),
        ("an interface leaves", &|group| group.members.truncate(1)),
        ("a data address becomes a target", &|group| {
            group.targets.push(group.data.remove(0).address);
        }),
    ];
    for (what, change) in changes {
        let old = group(2, 2, FDT);
        let mut new = old.clone();
        change(&mut new);
        let mut lan = Lan::settled(old.clone());
        lan.reload_group(new);
        lan.run(5 * S);
        assert_reformed(&lan, what);
        lan.reload_group(old);
        lan.run(5 * S);
        assert_reformed(&lan, &format!("{what}, and back"));
    }
}

/// What somebody else makes of an address is still told, and put right.
#[test]
fn a_form_that_somebody_else_changes_is_drift() {
    let mut lan = Lan::settled(group(2, 2, FDT));
    lan.run(S);
    let (ifindex, address) = *lan.addresses.iter().next().unwrap();
    let seen = lan.address_of_ours(ifindex, address);
    lan.post(Duration::ZERO, Event::Address(Address { stale_form: true, ..seen }));
    lan.run(S);
    let accused = lan.texts().iter().filter(|text| text.contains("somebody")).count();
    assert_eq!(accused, 1, "{:#?}", lan.texts());
    lan.assert_at_rest();
}

/// An address that goes to another group, with its interface or without it, was not taken away.
#[test]
fn an_address_may_go_to_another_group_and_nobody_is_accused() {
    let mut first = group(2, 2, FDT);
    first.data.insert(0, "203.0.113.50/24".parse().unwrap());
    let mut second = group(2, 1, FDT);
    second.name = "h".parse().unwrap();
    second.data = vec!["198.51.100.50/24".parse().unwrap()];
    second.routes.clear();
    second.targets.clear();
    second.members = vec![member(2), member(3)];
    second.members.iter_mut().for_each(|m| m.test = [None, None]);
    let mut lan = Lan::of_groups(vec![first.clone(), second.clone()]);
    lan.survey();
    lan.run(6 * S);
    lan.messages.clear();
    let mut with_address = [first.clone(), second.clone()];
    let moved = with_address[0].data.remove(0);
    with_address[1].data.push(moved);
    let mut with_interface = [first.clone(), second.clone()];
    let moved = with_interface[0].members.remove(0);
    with_interface[1].members.push(moved);
    let before = [first, second];
    for groups in [&with_address, &before, &with_interface, &before] {
        lan.reload(Config { groups: groups.to_vec() }, 5);
        lan.run(5 * S);
        lan.assert_at_rest();
        let accused = lan.texts().into_iter().find(|text| text.contains("somebody"));
        assert_eq!(accused, None);
    }
}

/// A route that goes to a group that cannot carry it stays where it leads, and that is said; it goes over
/// as soon as it can.
#[test]
fn a_route_waits_for_a_link_of_its_new_group_and_says_so() {
    let first = group(2, 2, FDT);
    let mut second = group(2, 1, FDT);
    second.name = "h".parse().unwrap();
    second.data = vec!["198.51.100.50/24".parse().unwrap()];
    second.routes.clear();
    second.targets.clear();
    second.members = vec![member(2), member(3)];
    second.members.iter_mut().for_each(|m| m.test = [None, None]);
    let mut lan = Lan::of_groups(vec![first.clone(), second.clone()]);
    lan.survey();
    lan.run(6 * S);
    assert_eq!(lan.view().waiting_route, None);
    (2..4).for_each(|i| lan.carrier(i, false));
    lan.run(S);
    assert_eq!(lan.view().waiting_route, None);

    let (mut without, mut with) = (first.clone(), second);
    let mut route = without.routes.remove(0);
    route.via = "198.51.100.1".parse().unwrap();
    with.routes.push(route);
    lan.reload(Config { groups: vec![without, with] }, 5);
    lan.run(2 * S);
    lan.assert_at_rest();
    let waiting = lan.view().waiting_route.map(|route| route.to_string());
    let expected = "the default route still leads via 192.0.2.1 dev eth0 as before: no link of group h \
                    can carry it yet";
    assert_eq!(waiting.as_deref(), Some(expected));
    let hops = |lan: &Lan| {
        let default = lan.routes.values().find(|it| it.key.to.len == 0).unwrap();
        (default.via, default.hops.as_slice().iter().map(|i| i.0).collect::<Vec<_>>())
    };
    assert_eq!(hops(&lan), (Some("192.0.2.1".parse().unwrap()), vec![2, 3]));

    lan.carrier(3, true);
    lan.run(S);
    assert_eq!(hops(&lan), (Some("198.51.100.1".parse().unwrap()), vec![5]));
    assert_eq!(lan.view().waiting_route, None);
    let accused = lan.texts().into_iter().find(|text| text.contains("somebody"));
    assert_eq!(accused, None);
}

/// The hook of another datapath is attached while the old one receives, one NIC after the other.
#[test]
fn another_datapath_is_attached_while_probing_goes_on() {
    let group = group(2, 2, FDT);
    let mut lan = Lan::settled(group.clone());
    let mut other = group;
    other.members.iter_mut().for_each(|member| member.datapath = Datapath::Tcx);
    lan.requests.clear();
    lan.reload_group(other);
    let begun = history(&lan.view());
    lan.run(3 * S);
    let attached: Vec<_> = lan
        .requests
        .iter()
        .filter_map(|(at, request)| match request {
            Request::Attach { name, datapath, .. } => Some((*at, *name, *datapath)),
            _ => None,
        })
        .collect();
    let [(first, one, Datapath::Tcx), (second, two, Datapath::Tcx)] = attached[..] else {
        panic!("{attached:?}")
    };
    assert!(one != two && second > first, "{attached:?}");
    for (path, (_, sent, acked, _)) in history(&lan.view()) {
        let (_, had_sent, had_acked, _) = begun[&path];
        let (sent, acked) = (sent - had_sent, acked - had_acked);
        assert!((29..=31).contains(&sent) && sent.abs_diff(acked) <= 1, "{sent} {acked}");
    }
    lan.assert_at_rest();
}

/// An answer to what the old configuration asked for is none to what the new one asks for.
#[test]
fn a_hook_that_was_on_its_way_at_a_reload_is_not_the_new_one() {
    let group = group(2, 2, FDT);
    let mut other = group.clone();
    other.members.iter_mut().for_each(|member| member.datapath = Datapath::Tcx);
    let mut lan = Lan::new(group, Saved::default());
    let asks = |lan: &Lan, wanted: Datapath| {
        let is_one = |request: &Request| matches!(request, Request::Attach { datapath, .. } if *datapath == wanted);
        lan.requests.iter().filter(|(_, request)| is_one(request)).count()
    };
    lan.attach = 50 * MS;
    lan.survey();
    lan.until(10 * S, |lan| asks(lan, Datapath::Auto) > 0);
    lan.reload_group(other);
    lan.run(5 * S);
    assert_eq!(asks(&lan, Datapath::Tcx), 2, "{:?}", lan.requests);
    lan.assert_at_rest();
}
