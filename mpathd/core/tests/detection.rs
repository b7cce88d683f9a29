//! Detection and repair in virtual time (design 2).

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::event::{Event, HookLoss, ReceiveMode};
use mpathd_core::message::{Message, Reason};
use mpathd_core::request::Request;

const FAILED: &str = "IP interface failure detected on eth0 of group g";
const REPAIRED: &str = "IP interface repair detected on eth0 of group g";
const UNUSABLE: &str = "All IP interfaces in group g are now unusable";

/// A silent cut of eth0 at 40 phases of the round: when was the verdict, after the cut?
fn verdicts(
    fdt: Duration,
    families: fn(mpathd_core::config::Group) -> mpathd_core::config::Group,
) -> Vec<Duration> {
    let mut all = Vec::new();
    for phase in 0..40 {
        let mut lan = Lan::settled(families(group(2, 2, fdt)));
        lan.run(fdt / 240 * phase);
        lan.wire(0, Wire::Cut);
        all.push(lan.until(2 * fdt, |l| l.told(FAILED) == 1));
        assert_eq!(lan.told(UNUSABLE), 0);
    }
    all
}

#[test]
fn a_silent_cut_is_found_within_the_fdt_and_not_before_four_intervals() {
    for fdt in [5 * MS, 100 * MS, 1 * S, 10 * S] {
        for took in verdicts(fdt, |g| g) {
            assert!(took <= fdt, "FDT {fdt:?}: {took:?}");
            assert!(took >= fdt / 6 * 4, "FDT {fdt:?}: {took:?}");
        }
    }
}

/// Behaviour 63.
#[test]
fn both_families_must_fail() {
    for took in verdicts(100 * MS, dual_stack) {
        assert!((66 * MS..=101 * MS).contains(&took), "{took:?}");
    }
}

/// Behaviours 57, 67, 103, 104.
#[test]
fn addresses_and_routes_move_and_come_back() {
    let mut lan = Lan::settled(group(2, 4, 100 * MS));
    lan.assert_at_rest();
    let on_eth0 =
        |l: &Lan| (0..4).filter(|i| l.holders(&format!("192.0.2.{}", 50 + i)) == [0]).count();
    assert_eq!(on_eth0(&lan), 2);
    lan.wire(0, Wire::Cut);
    lan.until(110 * MS, |l| on_eth0(l) == 0 && l.view().settled);
    lan.assert_at_rest();
    assert!(lan.routes.values().all(|r| r.hops.as_slice().len() == 1));
    let moves = lan.messages.iter().filter(|(_, m)| matches!(m, Message::Moved { .. })).count();
    assert_eq!(moves, 2);
    lan.wire(0, Wire::Works);
    let took = lan.until(S, |l| l.told(REPAIRED) == 1);
    assert!((200 * MS..=240 * MS).contains(&took), "repair after 2 x FDT, not {took:?}");
    lan.run(S);
    lan.assert_at_rest();
    assert_eq!(on_eth0(&lan), 2);
    assert!(lan.routes.values().all(|r| r.hops.as_slice().len() == 2));
}

/// Behaviours 60, 61: it goes on being probed, so it is not taken up a minute late.
#[test]
fn behaviour_60_one_dead_target_fails_nothing() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    lan.target("192.0.2.2").alive = false;
    lan.run(10 * S);
    assert_eq!(
        lan.told(
            "Target 192.0.2.2 is silent on eth0 while others answer; it no longer counts there"
        ),
        1
    );
    assert_eq!((lan.told(FAILED), lan.told(UNUSABLE)), (0, 0));
    lan.target("192.0.2.2").alive = true;
    lan.run(S);
    assert_eq!(lan.told("Target 192.0.2.2 answers on eth0 again"), 1);
    // The other two still find a cut.
    lan.target("192.0.2.2").alive = false;
    lan.run(S);
    lan.wire(0, Wire::Cut);
    let took = lan.until(S, |l| l.told(FAILED) == 1);
    assert!(took <= 100 * MS, "{took:?}");
}

#[test]
fn behaviour_68_all_targets_dead_is_a_group_failure_that_moves_nothing() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    for target in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        lan.target(target).alive = false;
    }
    lan.until(130 * MS, |l| l.told(UNUSABLE) == 1);
    lan.run(10 * S);
    assert_eq!((lan.told(FAILED), lan.told(UNUSABLE)), (0, 1));
    assert!(
        lan.requests.iter().all(|(_, r)| !format!("{r:?}").contains("etAddress")),
        "{:#?}",
        lan.requests
    );
    for target in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        lan.target(target).alive = true;
    }
    lan.until(S, |l| l.texts().iter().any(|t| t.starts_with("At least 1 IP interface")));
    lan.run(10 * S);
    lan.assert_at_rest();
    assert!(
        lan.requests.iter().all(|(_, r)| !format!("{r:?}").contains("etAddress")),
        "nothing moved"
    );
}

#[test]
fn a_group_failure_leaves_the_routes_alone() {
    let mut lan = Lan::settled(dual_stack(group(2, 2, 100 * MS)));
    lan.targets.values_mut().for_each(|t| t.alive = false);
    lan.run(10 * S);
    assert_eq!(lan.told(UNUSABLE), 1);
    lan.targets.values_mut().for_each(|t| t.alive = true);
    lan.run(10 * S);
    let quiet = |r: &mpathd_core::request::Request| {
        use mpathd_core::request::Request;
        let looks = matches!(r, Request::Prepare { .. } | Request::CountTransmits { .. });
        looks || matches!(r, Request::Announce { .. })
    };
    assert!(lan.requests.iter().all(|(_, r)| quiet(r)), "{:#?}", lan.requests);
}

#[test]
fn a_target_that_never_answers_fails_nothing() {
    let mut lan = Lan::new(group(2, 2, 100 * MS), Default::default());
    lan.targets.values_mut().for_each(|t| t.alive = false);
    lan.survey();
    lan.run(120 * S);
    assert_eq!((lan.told(FAILED), lan.told(UNUSABLE)), (0, 0));
    lan.assert_at_rest();
    assert!(lan.view().interfaces.iter().all(|i| i.reason.is_none()));
}

#[test]
fn a_member_that_is_dead_from_the_start_carries_nothing_and_fails_after_the_quiet_period() {
    let mut lan = Lan::new(group(2, 2, 100 * MS), Default::default());
    lan.wire(0, Wire::Cut);
    lan.survey();
    lan.run(2 * S);
    assert_eq!(lan.holders("192.0.2.50"), [1], "{:#?}", lan.texts());
    assert_eq!(lan.told(FAILED), 0);
    lan.run(40 * S);
    assert_eq!(lan.told(FAILED), 1);
    lan.assert_at_rest();
}

/// Behaviours 71, 72.
#[test]
fn behaviour_71_carrier_loss_is_judged_at_once() {
    let mut lan = Lan::settled(group(2, 2, 10 * S));
    lan.carrier(0, false);
    lan.run(2 * MS);
    assert_eq!(lan.told("The link has gone down on eth0"), 1);
    assert_eq!(lan.told(FAILED), 1);
    assert_eq!(lan.holders("192.0.2.50"), [1]);
    // Behaviour 72: the link alone repairs nothing where probes decide.
    lan.carrier(0, true);
    lan.run(19 * S);
    assert_eq!(lan.told(REPAIRED), 0);
    lan.run(5 * S);
    assert_eq!(lan.told(REPAIRED), 1);
    lan.assert_at_rest();
}

/// Behaviours 73, 74.
#[test]
fn behaviours_73_and_74_the_flap_guard() {
    let mut lan = Lan::settled(link_only(group(2, 2, S)));
    for _ in 0..2 {
        lan.carrier(0, false);
        lan.run(S);
        lan.carrier(0, true);
        lan.run(S);
    }
    assert_eq!(lan.told(REPAIRED), 2);
    lan.carrier(0, false);
    lan.run(S);
    lan.carrier(0, true);
    lan.run(10 * S);
    let held = "The link has come up on eth0 more than 2 times in the last minute; disabling repair until it stabilizes";
    assert_eq!((lan.told(REPAIRED), lan.told(held)), (2, 1));
    lan.run(60 * S);
    assert_eq!((lan.told(REPAIRED), lan.told(held)), (3, 1));
}

#[test]
fn behaviour_76_both_links_down_is_one_line() {
    let mut lan = Lan::settled(group(2, 2, S));
    lan.carrier(0, false);
    lan.carrier(1, false);
    lan.run(S);
    assert_eq!((lan.told(UNUSABLE), lan.told(FAILED)), (1, 0));
    lan.assert_at_rest();
}

#[test]
fn behaviour_40_a_stopped_daemon_fails_nothing() {
    for fdt in [10 * MS, 100 * MS, S] {
        let mut lan = Lan::settled(group(2, 2, fdt));
        for stop in [2 * S, 100 * MS, 30 * MS] {
            lan.stop_daemon(stop);
            lan.run(2 * S);
        }
        assert_eq!((lan.told(FAILED), lan.told(UNUSABLE)), (0, 0), "{:#?}", lan.texts());
    }
}

#[test]
fn a_full_queue_is_late_and_a_stuck_one_is_failed() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    lan.wire(0, Wire::Congested);
    lan.run(5 * S);
    assert_eq!((lan.told(FAILED), lan.told(UNUSABLE)), (0, 0));
    lan.wire(0, Wire::Stuck);
    lan.until(S, |l| l.told(FAILED) == 1);
    let reason = lan.messages.iter().find_map(|(_, m)| match m {
        Message::InterfaceFailed { evidence, .. } => Some(evidence.reason),
        _ => None,
    });
    assert_eq!(reason, Some(Reason::TransmitStuck));
}

/// Behaviour 62.
#[test]
fn one_dead_family_moves_that_family_alone() {
    let mut lan = Lan::settled(dual_stack(group(2, 1, 100 * MS)));
    assert_eq!((lan.holders("192.0.2.50"), lan.holders("2001:db8::50")), (vec![0], vec![1]));
    // eth1 hears no IPv6 any more: as if a filter had been set on its port.
    lan.deaf = Some((name(1), true));
    lan.run(S);
    assert_eq!(lan.told("inet6 failure detected on eth1 of group g"), 1, "{:#?}", lan.texts());
    assert_eq!((lan.holders("192.0.2.50"), lan.holders("2001:db8::50")), (vec![0], vec![0]));
    assert!(lan.view().interfaces.iter().all(|i| i.reason.is_none()));
    assert_eq!(lan.view().interfaces[1].degraded, [false, true]);
    lan.deaf = None;
    lan.run(S);
    assert_eq!(lan.told("inet6 repair detected on eth1 of group g"), 1);
    lan.assert_at_rest();
}

#[test]
fn a_dual_stack_member_fails_and_comes_back_whole() {
    for phase in 0..20 {
        let mut lan = Lan::settled(dual_stack(group(2, 1, 100 * MS)));
        lan.run(MS * phase);
        lan.wire(0, Wire::Cut);
        lan.run(S);
        lan.wire(0, Wire::Works);
        lan.run(S);
        let moves = lan.messages.iter().filter(|(_, m)| matches!(m, Message::Moved { .. })).count();
        assert_eq!((lan.told(FAILED), lan.told(REPAIRED), moves), (1, 1, 2), "{:#?}", lan.texts());
        assert!(!lan.texts().iter().any(|t| t.starts_with("inet")), "{:#?}", lan.texts());
    }
}

/// Also where one of its families hears its answers later.
#[test]
fn a_repair_waits_for_the_slower_family() {
    let mut lan = Lan::settled(dual_stack(group(2, 1, 100 * MS)));
    for (address, target) in &mut lan.targets {
        target.rtt = if address.is_ipv6() { 15 * MS } else { MS / 5 };
    }
    lan.run(S);
    lan.wire(0, Wire::Cut);
    lan.run(S);
    lan.wire(0, Wire::Works);
    lan.until(S, |l| l.told(REPAIRED) == 1);
    assert_eq!(lan.view().interfaces[0].degraded, [false; 2]);
    lan.run(S);
    assert!(!lan.texts().iter().any(|t| t.starts_with("inet")), "{:#?}", lan.texts());
}

/// All of IPv6 was silent, which moves nothing; nor does its return, but where it fails to return it is left.
#[test]
fn a_family_that_comes_back_on_one_member_alone_goes_there() {
    let six = |lan: &mut Lan, alive| {
        lan.targets.iter_mut().filter(|(ip, _)| ip.is_ipv6()).for_each(|(_, t)| t.alive = alive);
    };
    for (phase, deaf) in (0..20).flat_map(|phase| [(phase, false), (phase, true)]) {
        let mut lan = Lan::settled(dual_stack(group(2, 1, 100 * MS)));
        lan.run(MS * phase);
        let at = lan.holders("2001:db8::50")[0];
        six(&mut lan, false);
        lan.run(2 * S);
        lan.deaf = deaf.then_some((name(at), true));
        six(&mut lan, true);
        lan.run(5 * S);
        let moved = |(_, m): &(_, Message)| matches!(m, Message::Moved { .. });
        assert_eq!(lan.messages.iter().filter(|m| moved(m)).count(), usize::from(deaf));
        assert_eq!(lan.holders("2001:db8::50"), [if deaf { 1 - at } else { at }]);
        assert_eq!(lan.view().interfaces[at].degraded, [false, deaf]);
        lan.assert_at_rest();
    }
}

#[test]
fn a_family_that_is_dead_on_the_only_active_member_goes_to_the_standby() {
    let mut group = dual_stack(group(2, 1, 100 * MS));
    group.members[1].standby = true;
    let mut lan = Lan::settled(group);
    lan.deaf = Some((name(0), true));
    lan.run(S);
    assert_eq!((lan.holders("192.0.2.50"), lan.holders("2001:db8::50")), (vec![0], vec![1]));
    lan.deaf = None;
    lan.run(S);
    assert_eq!((lan.holders("192.0.2.50"), lan.holders("2001:db8::50")), (vec![0], vec![0]));
    lan.assert_at_rest();
}

/// One family is found dead a moment before the other, and with it the interface.
#[test]
fn no_address_goes_by_way_of_another_standby() {
    for phase in 0..20 {
        let mut group = dual_stack(group(3, 6, 100 * MS));
        group.members[1..].iter_mut().for_each(|m| m.standby = true);
        let mut lan = Lan::settled(group);
        let six = lan.targets.iter_mut().filter(|(ip, _)| ip.is_ipv6());
        six.for_each(|(_, target)| target.rtt = 15 * MS);
        lan.run(S + MS * phase);
        lan.wire(0, Wire::Cut);
        lan.run(2 * S);
        let moved = lan.messages.iter().filter(|(_, m)| matches!(m, Message::Moved { .. }));
        assert_eq!(moved.count(), 7, "each once: {:#?}", lan.texts());
        assert_eq!(lan.holders("192.0.2.55"), [1]);
        lan.assert_at_rest();
    }
}

#[test]
fn random_loss_below_what_five_in_a_row_needs_fails_nothing() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    lan.targets.values_mut().for_each(|t| t.lose_percent = 20);
    lan.run(600 * S);
    assert_eq!((lan.told(FAILED), lan.told(UNUSABLE)), (0, 0), "{:#?}", lan.texts());
}

/// A settled group whose frames can wait on both NICs although the daemon runs.
fn deferred(fdt: Duration) -> Lan {
    let mut lan = Lan::settled(group(2, 2, fdt));
    for ifindex in lan.nics.values().map(|n| n.link.ifindex).collect::<Vec<_>>() {
        lan.post(Duration::ZERO, Event::ReceiveDeferred { ifindex, deferred: true });
    }
    lan.run(2 * fdt);
    lan.messages.clear();
    lan
}

#[test]
fn frames_that_wait_are_no_failure() {
    let fdt = 90 * MS;
    for (tells_handled, longest) in [(true, 500), (false, 80)] {
        for starved in (0..longest).step_by(4) {
            let mut lan = deferred(fdt);
            lan.tells_handled = tells_handled;
            for nic in lan.nics.values_mut() {
                nic.starves_until = lan.now + starved * MS;
            }
            lan.run(2 * S);
            assert_eq!((lan.told(FAILED), lan.told(UNUSABLE)), (0, 0), "{starved} ms");
        }
    }
}

#[test]
fn a_verdict_on_frames_that_may_wait_is_quicker_with_a_receive_witness() {
    let (fdt, interval) = (90 * MS, 10 * MS);
    for phase in 0..20 {
        for tells_handled in [true, false] {
            let mut lan = deferred(fdt);
            lan.tells_handled = tells_handled;
            lan.run(interval / 20 * phase);
            lan.wire(0, Wire::Cut);
            let took = lan.until(2 * fdt, |l| l.told(FAILED) == 1);
            let late = interval * if tells_handled { 0 } else { 3 };
            let range = 4 * interval + late..6 * interval + late;
            assert!(range.contains(&took) && took <= fdt, "{took:?} not in {range:?}");
        }
    }
}

/// The address is chased from NIC to NIC; that they have all failed again and again is no reason to stay.
#[test]
fn nics_that_are_cut_in_turn_are_all_left_in_time() {
    let usable = |l: &Lan| l.view().interfaces.iter().filter(|i| i.reason.is_none()).count();
    let mut lan = Lan::settled(dual_stack(group(3, 1, S)));
    for cut in 0..50 {
        let [holder] = lan.holders("192.0.2.50")[..] else { panic!("at rest on one NIC") };
        lan.wire(holder, Wire::Cut);
        let took = lan.until(3 * S, |l| !l.holders("192.0.2.50").contains(&holder));
        assert!(took <= S + MS, "cut {cut}: {took:?}");
        lan.wire(holder, Wire::Works);
        // One of the others is to be repaired again.
        lan.until(4 * S, |l| usable(l) >= 2);
        lan.run(S / 6 * (cut * 13 % 50) / 50);
    }
}

/// While targets are new, or answer by turns, their silence may be a limit of theirs, which shows itself
/// within a second for each member that asks. Longer than that a group failure never waits, however quick
/// the rounds are.
#[test]
fn a_group_failure_waits_for_doubtful_targets_one_second_a_member_and_no_longer() {
    for fdt in [30 * MS, 100 * MS, 300 * MS, 600 * MS] {
        // Cut soon after the start, or for targets that lose a third of the probes after a minute.
        for (loss, works_for) in [(0, 300 * MS), (0, 1500 * MS), (0, 3 * S), (33, 60 * S)] {
            let mut lan = Lan::new(group(2, 2, fdt), Default::default());
            lan.targets.values_mut().for_each(|target| target.lose_percent = loss);
            lan.survey();
            lan.run(works_for);
            lan.messages.clear();
            (0..2).for_each(|nic| lan.wire(nic, Wire::Cut));
            let took = lan.until(2 * S + fdt + MS, |lan| lan.told(UNUSABLE) == 1);
            // The last reply came before the cut, by one round or by some that were lost.
            let least = if loss == 0 { S - fdt / 5 } else { fdt / 2 };
            assert!(took >= least, "FDT {fdt:?}, loss {loss}: {took:?}");
        }
    }
}

/// The sockets receive what a hook that was taken away does not: no probe is lost by that, and the hook is
/// attached again, at once three times and then after a pause.
#[test]
fn a_lost_hook_is_attached_again_and_fails_nothing() {
    let fdt = 300 * MS;
    let mut lan = Lan::settled(group(2, 2, fdt));
    lan.requests.clear();
    let ifindex = lan.nics[&name(0)].link.ifindex;
    let receive =
        |lan: &Lan| lan.view().interfaces.iter().find(|it| it.name == name(0)).unwrap().receive;
    let asked = |lan: &Lan| {
        let bypassed = |request: &Request| match request {
            Request::Attach { bypassed, .. } => Some(*bypassed),
            _ => None,
        };
        lan.requests.iter().filter_map(|(_, request)| bypassed(request)).collect::<Vec<_>>()
    };
    lan.attach = 20 * MS;
    for n in 1..=3 {
        let loss = if n == 1 { HookLoss::Detached } else { HookLoss::Bypassed };
        lan.post(Duration::ZERO, Event::HookLost { ifindex, loss });
        lan.run(10 * MS);
        assert_eq!(receive(&lan), Some(ReceiveMode::Socket));
        lan.run(S);
        assert_eq!(receive(&lan), Some(ReceiveMode::Xdp));
        assert_eq!(asked(&lan).len(), n);
    }
    assert_eq!(asked(&lan), [false, true, true]);
    lan.post(Duration::ZERO, Event::HookLost { ifindex, loss: HookLoss::Detached });
    lan.run(900 * MS);
    assert_eq!((receive(&lan), asked(&lan).len()), (Some(ReceiveMode::Socket), 3));
    let said = |lan: &Lan, text: &str| lan.texts().iter().filter(|it| it.contains(text)).count();
    assert_eq!(said(&lan, "attached again after a pause"), 1);
    lan.run(2 * S);
    assert_eq!((receive(&lan), asked(&lan).len()), (Some(ReceiveMode::Xdp), 4));
    assert_eq!(said(&lan, "failure"), 0, "{:#?}", lan.texts());
    assert!(lan.view().targets.iter().all(|target| target.lost == 0));
    lan.wire(0, Wire::Cut);
    let took = lan.until(fdt, |lan| lan.told(FAILED) > 0);
    assert!(took <= fdt, "{took:?}");
}
