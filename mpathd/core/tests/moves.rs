//! Placement, standby, failback, restart and refusal in virtual time (design 2.8 to 2.11, 5).

mod lan;

use lan::*;
use mpathd_core::config::{Group, TestAddress};
use mpathd_core::event::Command;
use mpathd_core::ids::Ifindex;
use mpathd_core::message::Message;
use mpathd_core::request::Request;
use mpathd_core::state::Saved;
use mpathd_core::view::InterfaceState;

fn with_standby(members: usize) -> Group {
    let mut group = group(members, members - 1, 100 * MS);
    group.members[members - 1].standby = true;
    group
}

fn active(lan: &Lan) -> Vec<usize> {
    let interfaces = lan.view().interfaces;
    (0..interfaces.len()).filter(|i| interfaces[*i].active).collect()
}

/// NIC of each data address.
fn places(lan: &Lan) -> Vec<Vec<usize>> {
    lan.view().addresses.iter().map(|a| lan.holders(&a.address.address.to_string())).collect()
}

fn unset(request: &Request) -> Option<std::net::IpAddr> {
    match request {
        Request::UnsetAddress { address, .. } => Some(address.address),
        _ => None,
    }
}

/// Behaviours 86, 87, 88.
#[test]
fn behaviours_86_to_88_a_standby_stands_in_and_steps_back() {
    let mut lan = Lan::settled(with_standby(3));
    assert_eq!((active(&lan), places(&lan)), (vec![0, 1], vec![vec![0], vec![1]]));
    lan.wire(0, Wire::Cut);
    lan.run(150 * MS);
    assert_eq!((active(&lan), places(&lan)), (vec![1, 2], vec![vec![2], vec![1]]));
    lan.wire(0, Wire::Works);
    lan.run(S);
    assert_eq!((active(&lan), places(&lan)), (vec![0, 1], vec![vec![0], vec![1]]));
    lan.assert_at_rest();
}

/// Behaviours 89, 90, 91, 100.
#[test]
fn a_standby_that_fails_or_leaves_and_comes_back() {
    let flags = |lan: &Lan| {
        let standby = lan.view().interfaces[2];
        (standby.active, standby.inactive, standby.state)
    };
    let mut group = with_standby(4);
    group.members[2].standby = true;
    let mut lan = Lan::settled(group);
    lan.wire(2, Wire::Cut);
    lan.run(S);
    assert_eq!(flags(&lan), (false, false, InterfaceState::Failed), "FAILED excludes INACTIVE");
    lan.wire(2, Wire::Works);
    lan.run(S);
    assert_eq!(flags(&lan), (false, true, InterfaceState::Ok));
    let moved = |m: &Message| matches!(m, Message::Moved { .. });
    assert!(!lan.messages.iter().any(|(_, m)| moved(m)), "it changes no traffic");

    lan.wire(0, Wire::Cut);
    lan.run(S);
    assert_eq!(active(&lan), [1, 2]);
    lan.unplug(name(2));
    lan.run(S);
    assert_eq!((active(&lan), places(&lan)), (vec![1, 3], vec![vec![3], vec![1], vec![1]]));
    lan.wire(3, Wire::Cut);
    lan.run(S);
    assert_eq!(active(&lan), [1]);
    lan.wire(3, Wire::Works);
    lan.run(S);
    assert_eq!(active(&lan), [1, 3], "it is needed");
    lan.assert_at_rest();
}

#[test]
fn a_cold_start_moves_nothing() {
    for group in
        [with_standby(2), with_standby(3), dual_stack(with_standby(3)), group(2, 4, 100 * MS)]
    {
        let members = group.members.len();
        let mut lan = Lan::new(group, Saved::default());
        lan.survey();
        lan.run(5 * S);
        lan.assert_at_rest();
        let moved = |m: &&(_, Message)| matches!(m.1, Message::Moved { from: Some(_), .. });
        assert_eq!(lan.messages.iter().filter(moved).count(), 0, "{members}: {:#?}", lan.texts());
    }
}

#[test]
fn a_member_that_joins_later_is_given_nothing_before_its_first_reply() {
    let mut lan = Lan::settled(group(2, 4, 100 * MS));
    lan.unplug(name(0));
    lan.run(S);
    lan.plug(name(0), 77);
    lan.wire(0, Wire::Cut);
    lan.run(30 * S);
    assert_eq!(places(&lan), [[1], [1], [1], [1]], "{:#?}", lan.texts());
    lan.wire(0, Wire::Works);
    lan.run(S);
    assert_eq!(places(&lan).iter().filter(|p| **p == [0]).count(), 2);
}

/// Behaviours 93, 94.
#[test]
fn behaviours_93_and_94_without_failback() {
    let mut group = with_standby(3);
    group.failback = false;
    let mut lan = Lan::settled(group);
    lan.wire(0, Wire::Cut);
    lan.run(150 * MS);
    assert_eq!(active(&lan), [1, 2]);
    lan.wire(0, Wire::Works);
    lan.run(S);
    assert_eq!((active(&lan), places(&lan)), (vec![1, 2], vec![vec![2], vec![1]]));
    lan.wire(1, Wire::Cut);
    lan.run(150 * MS);
    assert_eq!(active(&lan), [0, 2]);
    lan.assert_at_rest();
}

#[test]
fn behaviour_95_without_failback_a_repaired_nic_is_used_where_capacity_lacks() {
    let mut group = group(2, 2, 100 * MS);
    group.failback = false;
    let mut lan = Lan::settled(group);
    lan.wire(0, Wire::Cut);
    lan.run(150 * MS);
    lan.wire(0, Wire::Works);
    lan.run(S);
    assert_eq!(active(&lan), [0, 1]);
    assert_eq!(places(&lan), [[1], [1]], "an address that is well stays");
    assert!(lan.routes.values().all(|r| r.hops.as_slice().len() == 2), "but it carries traffic");
}

/// Who was active before the whole group failed is so again, whoever answers first (N4).
fn assert_a_group_failure_changes_nothing(group: &Group, before: &[usize]) {
    for phase in [0, 3, 6, 9, 12, 15] {
        let mut lan = Lan::settled(group.clone());
        assert_eq!(active(&lan), before);
        lan.run(MS * phase);
        (0..3).for_each(|i| lan.wire(i, Wire::Cut));
        lan.run(S);
        (0..3).for_each(|i| lan.wire(i, Wire::Works));
        lan.run(30 * S);
        assert_eq!(active(&lan), before, "{:#?}", lan.texts());
        let moved = |m: &Message| matches!(m, Message::Moved { .. });
        assert!(!lan.messages.iter().any(|(_, m)| moved(m)), "{:#?}", lan.texts());
        lan.assert_at_rest();
    }
}

#[test]
fn behaviour_99_a_group_of_standbys_keeps_one_active() {
    let mut group = group(3, 1, 100 * MS);
    group.members.iter_mut().for_each(|m| m.standby = true);
    assert_a_group_failure_changes_nothing(&group, &[0]);
}

#[test]
fn without_failback_a_group_failure_leaves_the_standby_where_it_was() {
    let group = Group { failback: false, ..with_standby(3) };
    assert_a_group_failure_changes_nothing(&group, &[0, 1]);
}

/// Behaviour 93, and who was put aside is needed as before.
#[test]
fn without_failback_a_restart_changes_nothing() {
    let group = Group { failback: false, ..with_standby(3) };
    let mut lan = Lan::settled(group);
    lan.wire(0, Wire::Cut);
    lan.run(S);
    lan.wire(0, Wire::Works);
    lan.run(S);
    let before = (vec![1, 2], vec![vec![2], vec![1]]);
    assert_eq!((active(&lan), places(&lan)), before);
    lan.restart();
    lan.run(10 * S);
    assert_eq!((active(&lan), places(&lan)), before, "{:#?}", lan.texts());
    let inactive = |lan: &Lan| lan.view().interfaces[0].inactive;
    assert!(inactive(&lan));
    lan.wire(1, Wire::Cut);
    lan.run(S);
    assert_eq!(active(&lan), [0, 2]);
    lan.assert_at_rest();
}

/// Of two standbys the one that stands in goes on.
#[test]
fn an_active_standby_is_active_after_a_restart() {
    let mut group = with_standby(3);
    group.members[1].standby = true;
    let mut lan = Lan::settled(group);
    lan.wire(0, Wire::Cut);
    lan.wire(1, Wire::Cut);
    lan.run(S);
    lan.wire(1, Wire::Works);
    lan.run(S);
    assert_eq!(active(&lan), [2]);
    lan.restart();
    lan.run(10 * S);
    assert_eq!(active(&lan), [2]);
    lan.assert_at_rest();
}

#[test]
fn a_restart_adopts_what_is_there_without_a_request() {
    let mut lan = Lan::settled(group(2, 4, 100 * MS));
    lan.run(S);
    lan.restart();
    lan.run(10 * S);
    let changed: Vec<_> = lan
        .requests
        .iter()
        .filter(|(_, r)| {
            !matches!(
                r,
                Request::Prepare { .. } | Request::Attach { .. } | Request::RemoveUnconfigured
            )
        })
        .collect();
    assert!(changed.is_empty(), "{changed:#?}");
    lan.assert_at_rest();
}

#[test]
fn behaviour_12_a_failed_member_stays_failed_over_a_restart() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    lan.wire(0, Wire::Cut);
    lan.run(S);
    lan.restart();
    lan.run(5 * S);
    assert_eq!(places(&lan), [[1], [1]]);
    assert_eq!(lan.told("IP interface repair detected on eth0 of group g"), 0);
    lan.wire(0, Wire::Works);
    lan.run(S);
    assert_eq!(lan.told("IP interface repair detected on eth0 of group g"), 1);
    lan.run(20 * S);
    lan.assert_at_rest();
}

#[test]
fn killed_at_any_moment_of_a_move_it_ends_in_the_same_state() {
    for step in 0..40 {
        let mut lan = Lan::settled(group(2, 4, 100 * MS));
        lan.kernel = 5 * MS;
        lan.wire(0, Wire::Cut);
        lan.until(200 * MS, |l| l.told("IP interface failure detected on eth0 of group g") == 1);
        lan.run(MS * step);
        lan.restart();
        lan.run(S);
        lan.assert_at_rest();
        assert_eq!(places(&lan), [[1], [1], [1], [1]], "killed after {step} ms");
    }
}

#[test]
fn what_the_kernel_refuses_is_tried_again_and_loses_nothing() {
    let mut lan = Lan::settled(group(2, 4, 100 * MS));
    lan.refuse = |r| matches!(r, Request::SetAddress { .. }).then_some(12);
    lan.wire(0, Wire::Cut);
    lan.run(5 * S);
    assert_eq!(places(&lan).iter().filter(|p| **p == [0]).count(), 2, "nothing was taken away");
    assert!(
        lan.texts().iter().any(|t| t.contains("adding 192.0.2.50/24 to eth1 failed: errno 12"))
    );
    lan.refuse = |_| None;
    lan.run(11 * S);
    lan.assert_at_rest();
    assert_eq!(places(&lan), [[1], [1], [1], [1]]);
}

#[test]
fn a_foreign_route_in_the_way_does_not_hold_up_the_addresses() {
    let mut lan = Lan::new(group(2, 2, 100 * MS), Saved::default());
    lan.refuse = |r| matches!(r, Request::SetRoute(r) if r.via.is_some()).then_some(17);
    lan.survey();
    lan.run(3 * S);
    lan.wire(0, Wire::Cut);
    lan.run(3 * S);
    assert_eq!(places(&lan), [[1], [1]]);
}

#[test]
fn drift_is_put_back_at_once_three_times_then_after_longer_pauses() {
    let mut lan = Lan::settled(group(2, 2, S));
    for _ in 0..3 {
        lan.steal("192.0.2.50");
        lan.run(20 * MS);
        lan.assert_at_rest();
        lan.run(S);
    }
    lan.steal("192.0.2.50");
    lan.run(900 * MS);
    assert!(lan.holders("192.0.2.50").is_empty());
    lan.run(200 * MS);
    lan.assert_at_rest();
    let put_back = "192.0.2.50 on eth0 was changed by somebody else; it was put back";
    assert_eq!(lan.told(put_back), 3);
    assert_eq!(lan.told(&format!("{put_back}; further repairs are delayed, by up to 10 s")), 1);
}

/// What a network manager does that restarts: all addresses and routes go, more than once.
#[test]
fn what_is_flushed_three_times_at_once_is_back_at_once() {
    let mut lan = Lan::settled(group(2, 2, S));
    for _ in 0..3 {
        lan.steal("192.0.2.50");
        lan.steal("192.0.2.51");
        lan.run(MS);
        let there = |lan: &Lan| !lan.holders("192.0.2.50").is_empty();
        lan.until(110 * MS, there);
        lan.run(MS);
    }
    lan.assert_at_rest();
    let put_back = "192.0.2.50 on eth0 was changed by somebody else; it was put back";
    assert_eq!(lan.told(put_back), 1, "{:#?}", lan.texts());
}

#[test]
fn a_minute_of_peace_ends_a_fight() {
    let mut lan = Lan::settled(group(2, 2, S));
    for _ in 0..4 {
        lan.steal("192.0.2.50");
        lan.run(1200 * MS);
    }
    lan.run(75 * S);
    lan.assert_at_rest();
    lan.steal("192.0.2.50");
    lan.run(20 * MS);
    lan.assert_at_rest();
}

/// Their source is another address of the subnet meanwhile.
#[test]
fn routes_do_not_wait_for_an_address_that_is_fought_over() {
    let mut lan = Lan::settled(group(2, 2, S));
    for _ in 0..4 {
        lan.run(S);
        lan.steal("192.0.2.50");
        lan.run(20 * MS);
    }
    let sources = |lan: &Lan| lan.routes.values().filter_map(|r| r.src).collect::<Vec<_>>();
    assert!(lan.holders("192.0.2.50").is_empty(), "it is held back");
    assert_eq!(sources(&lan), ip(&["192.0.2.51", "192.0.2.51"]));
    lan.run(11 * S);
    lan.assert_at_rest();
    assert_eq!(sources(&lan), ip(&["192.0.2.50", "192.0.2.50"]));
}

/// Behaviours 138, 139, 140.
#[test]
fn behaviours_138_to_140_missing_removed_and_returning() {
    let mut lan = Lan::new(group(2, 2, 100 * MS), Saved::default());
    lan.run(MS);
    lan.unplug(name(0));
    lan.survey();
    lan.run(3 * S);
    assert_eq!(places(&lan), [[1], [1]], "data of the missing NIC is up on the other");
    lan.plug(name(0), 77);
    lan.run(3 * S);
    lan.assert_at_rest();
    assert_eq!(places(&lan), [[1], [0]]);
    assert_made_ready(&lan, 77);
    lan.unplug(name(0));
    lan.run(S);
    assert_eq!(places(&lan), [[1], [1]]);
    lan.assert_at_rest();
    // Another NIC of the name has nothing of the last one's: nor its hook, nor its sysctls, nor its flags.
    lan.plug(name(0), 78);
    lan.run(20 * S);
    assert_made_ready(&lan, 78);
    assert!(lan.command(Command::Offline { interface: name(0) }));
    lan.run(S);
    lan.unplug(name(0));
    lan.run(S);
    lan.plug(name(0), 79);
    lan.run(80 * S);
    assert_made_ready(&lan, 79);
    assert_eq!(active(&lan), [0, 1]);
    lan.assert_at_rest();
}

#[track_caller]
fn assert_made_ready(lan: &Lan, ifindex: u32) {
    let of_it = |at: Ifindex| at == Ifindex(ifindex);
    let all = || lan.requests.iter().map(|(_, request)| request);
    assert!(all().any(|r| matches!(r, Request::Prepare { ifindex, .. } if of_it(*ifindex))));
    assert!(all().any(|r| matches!(r, Request::Attach { ifindex, .. } if of_it(*ifindex))));
}

#[test]
fn a_new_nic_that_is_still_down_has_not_failed() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    let damped = |lan: &Lan| lan.texts().iter().any(|t| t.contains("failed repeatedly"));
    for (ifindex, wait) in [(77, 0), (78, 10)] {
        lan.unplug(name(0));
        lan.run(S);
        lan.plug_down(name(0), ifindex);
        lan.run(20 * MS);
        lan.carrier(0, true);
        lan.run(wait * S + 3 * S);
        lan.assert_at_rest();
        assert_eq!(active(&lan), [0, 1]);
    }
    assert_eq!(lan.told("IP interface failure detected on eth0 of group g"), 0);
    assert!(damped(&lan), "the second return within a minute is");
}

/// Behaviours 122 to 127.
#[test]
fn behaviours_122_to_127_offline_and_undo() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    assert!(lan.command(Command::Offline { interface: name(0) }));
    lan.run(S);
    assert_eq!(places(&lan), [[1], [1]]);
    let gone: Vec<_> = lan.requests.iter().filter_map(|(_, r)| unset(r)).collect();
    assert_eq!(gone, ip(&["192.0.2.50", "192.0.2.11"]), "the test address is the last to go");
    assert!(!lan.command(Command::Offline { interface: name(0) }), "already offline");
    assert!(!lan.command(Command::Offline { interface: name(1) }), "no redundancy");
    assert!(!lan.command(Command::Offline { interface: name(7) }), "not a member");
    assert_eq!(lan.holders("192.0.2.11"), [] as [usize; 0], "the test address is gone");
    assert!(lan.command(Command::Online { interface: name(0) }));
    assert!(!lan.command(Command::Online { interface: name(0) }));
    lan.run(3 * S);
    lan.assert_at_rest();
    assert_eq!(active(&lan), [0, 1]);
}

/// Behaviour 123: who has failed can't stand in; but where the whole group has failed, nothing is lost by it.
#[test]
fn the_last_usable_member_stays_in_service() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    lan.wire(0, Wire::Cut);
    lan.run(S);
    assert!(!lan.command(Command::Offline { interface: name(1) }), "eth0 has failed");
    assert_eq!(active(&lan), [1]);
    lan.wire(1, Wire::Cut);
    lan.run(2 * S);
    assert_eq!(lan.told("All IP interfaces in group g are now unusable"), 1);
    assert!(lan.command(Command::Offline { interface: name(1) }));
    assert!(!lan.command(Command::Offline { interface: name(0) }), "eth1 is offline");
}

#[test]
fn behaviour_128_a_link_lost_while_offline_is_earned_back_by_probes() {
    let mut lan = Lan::settled(group(2, 2, S));
    assert!(lan.command(Command::Offline { interface: name(0) }));
    lan.run(S);
    lan.carrier(0, false);
    lan.run(S);
    assert!(lan.command(Command::Online { interface: name(0) }));
    lan.run(S);
    assert_eq!(active(&lan), [1]);
    lan.carrier(0, true);
    lan.run(S);
    assert_eq!(places(&lan), [[1], [1]], "the link alone repairs nothing: {:#?}", lan.texts());
    lan.run(3 * S);
    lan.assert_at_rest();
    assert_eq!(active(&lan), [0, 1]);
}

#[test]
fn a_link_only_group_routes_by_the_owner_alone() {
    let lan = Lan::settled(link_only(group(2, 1, S)));
    assert!(lan.routes.values().all(|r| r.hops.as_slice().len() == 1), "{:#?}", lan.routes);
    lan.assert_at_rest();
}

#[test]
fn neighbours_are_told_of_every_change_of_binding() {
    let mut lan = Lan::settled(group(2, 4, 100 * MS));
    lan.wire(0, Wire::Cut);
    lan.run(S);
    let told = |address: &str| {
        lan.requests
            .iter()
            .filter(|(_, r)| match r {
                Request::Announce { address: a, .. } => a.to_string() == address,
                Request::SetAddress { address: a, announce, .. } => {
                    announce.is_some() && a.address.to_string() == address
                }
                _ => false,
            })
            .count()
    };
    // Moved: with the address, and after it left the old NIC. Not moved: once.
    assert_eq!((told("192.0.2.50"), told("192.0.2.51")), (2, 1));
}

#[test]
fn an_all_silent_group_uses_the_first_member_that_answers() {
    let mut lan = Lan::settled(group(2, 1, S));
    lan.wire(0, Wire::Cut);
    lan.wire(1, Wire::Cut);
    lan.run(3 * S);
    let holder = lan.holders("192.0.2.50")[0];
    lan.wire(1 - holder, Wire::Works);
    lan.run(S);
    assert_eq!(lan.holders("192.0.2.50"), [1 - holder], "{:#?}", lan.texts());
}

#[test]
fn moves_carry_their_time_from_the_verdict() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    lan.kernel = 3 * MS;
    lan.wire(0, Wire::Cut);
    lan.run(S);
    let took = lan.messages.iter().find_map(|(_, m)| match m {
        Message::Moved { took, from: Some(_), .. } => Some(*took),
        _ => None,
    });
    assert_eq!(took, Some(3 * MS));
}

#[test]
fn link_local_test_addresses_cost_no_address() {
    let mut group = group(2, 1, 100 * MS);
    group.data.push("2001:db8::50/64".parse().unwrap());
    group.targets = ip(&["2001:db8::1"]);
    group.members.iter_mut().for_each(|m| m.test = [None, Some(TestAddress::LinkLocal)]);
    let mut lan = Lan::new(group, Saved::default());
    lan.link_local(0, "fe80::1:1");
    lan.link_local(1, "fe80::1:2");
    lan.survey();
    lan.run(6 * S);
    lan.assert_at_rest();
    lan.wire(0, Wire::Cut);
    lan.run(S);
    assert_eq!(places(&lan), [[1], [1]], "{:#?}", lan.texts());
}
