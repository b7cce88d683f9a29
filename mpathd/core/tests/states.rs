//! The states of members, families and groups, and what follows what: a group failure moves nothing,
//! and no data address leaves a NIC that answers for one that has not answered yet.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::event::Command;
use mpathd_core::message::Message;
use mpathd_core::view::{GroupState, InterfaceState};

fn group_state(lan: &Lan) -> GroupState {
    lan.view().groups[0].state
}

fn set_alive(lan: &mut Lan, ipv6: bool, alive: bool) {
    let targets = lan.targets.iter_mut().filter(|(ip, _)| ip.is_ipv6() == ipv6);
    targets.for_each(|(_, target)| target.alive = alive);
}

/// The family is silent on all members at once, as when its router dies, or on one after the other.
#[test]
fn a_family_that_is_dead_everywhere_degrades_the_group() {
    let mut lan = Lan::settled(dual_stack(group(2, 1, 100 * MS)));
    assert_eq!(group_state(&lan), GroupState::Ok);
    set_alive(&mut lan, true, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Degraded, "{:#?}", lan.texts());
    set_alive(&mut lan, true, true);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Ok);
    lan.deaf = Some((name(0), true));
    lan.run(S);
    set_alive(&mut lan, true, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Degraded);
    set_alive(&mut lan, false, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Failed);
}

/// All data addresses are of the family that is dead: nothing can be reached, whatever the other one does.
#[test]
fn a_group_fails_with_the_only_family_of_its_data() {
    let mut group = dual_stack(group(2, 0, 100 * MS));
    group.routes.clear();
    let mut lan = Lan::settled(group);
    set_alive(&mut lan, true, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Failed);
    set_alive(&mut lan, true, true);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Ok);
    set_alive(&mut lan, false, false);
    lan.run(S);
    assert_eq!(group_state(&lan), GroupState::Degraded);
}

const FDT: Duration = Duration::from_millis(100);

fn failed(lan: &Lan, i: usize) -> bool {
    lan.view().interfaces[i].state == InterfaceState::Failed
}

fn damped(lan: &Lan, i: usize) -> bool {
    lan.view().interfaces[i].damped.is_some()
}

/// Its path dies and comes back.
fn flap(lan: &mut Lan, i: usize) {
    lan.wire(i, Wire::Cut);
    lan.until(S, |l| failed(l, i));
    lan.wire(i, Wire::Works);
    lan.until(S, |l| !failed(l, i));
    lan.run(MS);
}

/// Every address of the group is on this NIC alone, now and for so long.
#[track_caller]
fn assert_stays(lan: &mut Lan, i: usize, span: Duration) {
    let end = lan.now + span;
    while lan.now < end {
        for address in lan.view().addresses {
            let on = lan.holders(&address.address.address.to_string());
            assert_eq!(on, [i], "{} {:#?}", address.address, lan.texts());
        }
        lan.run(10 * MS);
    }
}

/// Two NICs, the second as a spare or not, which has failed so often that damping holds it.
fn with_held_eth1(standby: bool, flaps: usize) -> Lan {
    let mut group = group(2, 2, FDT);
    group.members[1].standby = standby;
    let mut lan = Lan::settled(group);
    (0..flaps).for_each(|_| flap(&mut lan, 1));
    assert!(damped(&lan, 1), "{:#?}", lan.texts());
    lan
}

/// Item 14: the active NIC returns behind a port that passes nothing.
#[test]
fn a_nic_that_returns_without_an_answer_gets_nothing_from_one_that_damping_holds() {
    for (standby, flaps) in [(true, 2), (true, 3), (false, 2), (false, 3)] {
        for away in [0, 1, 30, 400, 3_000] {
            let mut lan = with_held_eth1(standby, flaps);
            lan.unplug(name(0));
            lan.run(MS * away);
            lan.plug(name(0), 77);
            lan.wire(0, Wire::Cut);
            lan.run(5 * MS);
            // Longer than the hold, and than the quiet period.
            assert_stays(&mut lan, 1, 70 * S);
            lan.wire(0, Wire::Works);
            lan.run(70 * S);
            lan.assert_at_rest();
            assert_eq!(lan.holders("192.0.2.50"), [0], "{standby} {flaps} {away}");
        }
    }
}

/// The same by `if_mpadm -r`.
#[test]
fn a_nic_put_back_in_service_gets_nothing_before_it_answers() {
    for (standby, flaps) in [(true, 2), (true, 3), (false, 2), (false, 3)] {
        for (cut_first, away) in [(false, 20), (true, 20), (false, 2_000), (true, 2_000)] {
            let mut lan = with_held_eth1(standby, flaps);
            if cut_first {
                lan.run(50 * MS);
            }
            assert!(lan.command(Command::Offline { interface: name(0) }));
            lan.wire(0, Wire::Cut);
            lan.run(MS * away);
            assert!(lan.command(Command::Online { interface: name(0) }));
            assert_stays(&mut lan, 1, 70 * S);
        }
    }
}

/// The same by `if_mpadm -d`: of two others one is held, and one has not answered since its return.
#[test]
fn what_leaves_an_offline_nic_goes_to_one_that_answers() {
    for (standbys, flaps) in [(0, 2), (0, 3), (1, 2), (2, 2), (2, 3)] {
        for held in [1, 2] {
            let silent = 3 - held;
            let mut group = group(3, 2, FDT);
            group.members.iter_mut().rev().take(standbys).for_each(|m| m.standby = true);
            let mut lan = Lan::settled(group);
            (0..flaps).for_each(|_| flap(&mut lan, held));
            lan.unplug(name(silent));
            lan.run(20 * MS);
            lan.plug(name(silent), 77);
            lan.wire(silent, Wire::Cut);
            lan.run(500 * MS);
            assert!(lan.command(Command::Offline { interface: name(0) }));
            lan.run(5 * MS);
            assert_stays(&mut lan, held, 30 * S);
        }
    }
}

/// The last NIC that answers is not taken out of service for the sake of one that does not.
#[test]
fn the_last_nic_that_answers_stays_in_service() {
    let mut lan = Lan::settled(group(2, 2, FDT));
    lan.unplug(name(1));
    lan.run(S);
    lan.plug(name(1), 77);
    lan.wire(1, Wire::Cut);
    lan.run(S);
    assert!(!lan.command(Command::Offline { interface: name(0) }));
    assert!(lan.command(Command::Offline { interface: name(1) }));
    assert!(lan.command(Command::Online { interface: name(1) }));
    lan.wire(1, Wire::Works);
    lan.run(S);
    assert!(lan.command(Command::Offline { interface: name(0) }));
}

/// The same while the other one flaps: whenever it answers the addresses are its own.
#[test]
fn flaps_of_the_other_one_send_nothing_to_a_nic_that_has_not_answered() {
    for (standby, up) in [(true, 700), (false, 700), (true, 5_000), (false, 5_000)] {
        let mut group = group(2, 2, FDT);
        group.members[1].standby = standby;
        let mut lan = Lan::settled(group);
        lan.unplug(name(0));
        lan.run(S);
        lan.plug(name(0), 77);
        lan.wire(0, Wire::Cut);
        lan.run(S);
        for _ in 0..4 {
            lan.carrier(1, false);
            lan.run(300 * MS);
            lan.carrier(1, true);
            // Its repair takes 2 x FDT, and the other one has an FDT to answer too.
            lan.run(3 * FDT + 50 * MS);
            assert_stays(&mut lan, 1, MS * up);
        }
    }
}

/// A NIC that comes while the only other one has failed, but answers again, takes nothing from it either.
#[test]
fn a_failed_nic_that_answers_keeps_its_addresses_from_one_that_has_not() {
    for mended in [60, 100, 150, 190] {
        let mut lan = Lan::settled(group(2, 2, FDT));
        lan.unplug(name(0));
        lan.run(S);
        lan.wire(1, Wire::Cut);
        lan.until(S, |l| failed(l, 1));
        lan.run(S);
        lan.wire(1, Wire::Works);
        lan.run(MS * mended);
        lan.plug(name(0), 77);
        lan.wire(0, Wire::Cut);
        assert_stays(&mut lan, 1, 30 * S);
    }
}

fn moves(lan: &Lan) -> usize {
    let moved = |m: &Message| matches!(m, Message::Moved { from: Some(_), .. });
    lan.messages.iter().filter(|(_, m)| moved(m)).count()
}

/// All paths die and come back, the last one `skew` after the first.
fn fail_all(lan: &mut Lan, skew: Duration) {
    let members = lan.nics.len();
    (0..members).for_each(|i| lan.wire(i, Wire::Cut));
    lan.run(S);
    for i in 0..members {
        lan.wire(i, Wire::Works);
        lan.run(skew / (members as u32 - 1));
    }
    lan.run(8 * S);
}

/// Item 20: however often the group fails, and whenever the holds end.
#[test]
fn group_failures_move_nothing_and_end_in_no_moves() {
    let mut standby = group(3, 2, FDT);
    standby.members[2].standby = true;
    let kept = Group { failback: false, ..group(3, 3, FDT) };
    for group in [group(2, 2, FDT), group(2, 3, FDT), dual_stack(group(2, 3, FDT)), standby, kept] {
        for skew in [0, 1, 5, 10] {
            let mut lan = Lan::settled(group.clone());
            for nth in 0..5 {
                lan.run(MS * (7 * nth));
                fail_all(&mut lan, MS * skew);
            }
            lan.run(70 * S);
            assert_eq!(moves(&lan), 0, "skew {skew} ms: {:#?}", lan.texts());
            lan.assert_at_rest();
        }
    }
}

/// One of them had failed alone before, so its hold is another one.
#[test]
fn holds_of_different_lengths_end_without_addresses_that_cross_over() {
    for (flaps, pause) in [(1, 0), (1, 30), (2, 15), (3, 65)] {
        for skew in [0, 5, 10] {
            let mut lan = Lan::settled(group(2, 4, FDT));
            (0..flaps).for_each(|_| flap(&mut lan, 0));
            lan.run(pause * S);
            let before: Vec<_> = lan.view().addresses.iter().map(|a| a.inbound).collect();
            lan.messages.clear();
            for _ in 0..2 {
                fail_all(&mut lan, MS * skew);
                let now: Vec<_> = lan.view().addresses.iter().map(|a| a.inbound).collect();
                assert_eq!(now, before, "{flaps} {pause} {skew}: {:#?}", lan.texts());
            }
            // Where damping had kept addresses away from it, half of them return once.
            let away = before.iter().filter(|on| **on == Some(name(1))).count() - 2;
            lan.run(70 * S);
            assert_eq!(moves(&lan), away, "{flaps} {pause} {skew}: {:#?}", lan.texts());
        }
    }
}

/// A NIC that took over while it was held keeps what it has when another one returns.
#[test]
fn a_held_nic_that_has_taken_over_gives_back_half_and_no_more() {
    let mut lan = with_held_eth1(false, 3);
    lan.messages.clear();
    flap(&mut lan, 0);
    lan.run(20 * S);
    assert!(damped(&lan, 0) || lan.holders("192.0.2.50") == [0]);
    lan.run(70 * S);
    lan.assert_at_rest();
    assert_eq!(moves(&lan), 2 + 1, "{:#?}", lan.texts());
}

/// IPv6 routes lead by these NICs, and the IPv6 data addresses stand there.
fn carry_ipv6(lan: &Lan) -> Vec<usize> {
    let hops = lan.routes.values().filter(|r| r.key.to.address.is_ipv6());
    let hops = hops.flat_map(|r| r.hops.as_slice().to_vec());
    let of_routes = hops.map(|hop| hop.0 as usize - 2);
    let of_addresses = lan.holders("2001:db8::50").into_iter().chain(lan.holders("2001:db8::51"));
    let mut all: Vec<usize> = of_routes.chain(of_addresses).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn with_ipv6() -> Group {
    let mut group = dual_stack(group(2, 1, FDT));
    group.data.push("2001:db8::51/64".parse().unwrap());
    group
}

/// Item 15: a reload adds a family to a NIC that has failed by the other one.
#[test]
fn a_family_that_is_added_and_never_answers_repairs_nothing() {
    for after in [0, 3, 9, 40, 250, 1_500] {
        let mut lan = Lan::settled(group(2, 2, FDT));
        lan.add_targets(&["2001:db8::1", "2001:db8::2"]);
        lan.wire(0, Wire::Cut);
        lan.until(S, |l| failed(l, 0));
        lan.run(MS * after);
        lan.reload_group(Group { data: with_ipv6().data, ..dual_stack(group(2, 2, FDT)) });
        let end = lan.now + 60 * S;
        while lan.now < end {
            lan.run(20 * MS);
            assert!(failed(&lan, 0), "{after}: {:#?}", lan.texts());
        }
        assert_eq!((lan.holders("192.0.2.50"), carry_ipv6(&lan)), (vec![1], vec![1]));
        lan.wire(0, Wire::Works);
        lan.until(3 * FDT, |l| !failed(l, 0));
        lan.run(S);
        lan.assert_at_rest();
    }
}

/// The same with a router that starts to advertise.
#[test]
fn a_router_that_starts_to_advertise_repairs_nothing_that_it_does_not_answer() {
    for after in [0, 7, 150, 2_000] {
        let mut group = with_ipv6();
        group.targets.retain(|target| target.is_ipv4());
        let mut lan = Lan::settled(group);
        lan.add_targets(&["2001:db8::9"]);
        lan.wire(0, Wire::Cut);
        lan.until(S, |l| failed(l, 0));
        lan.run(MS * after);
        lan.gateways(&["2001:db8::9"]);
        let end = lan.now + 60 * S;
        while lan.now < end {
            lan.run(20 * MS);
            assert!(failed(&lan, 0), "{after}: {:#?}", lan.texts());
        }
        assert_eq!(carry_ipv6(&lan), [1]);
        // Nor does a single answer of it, but what has earned a repair.
        let mended = lan.now;
        lan.wire(0, Wire::Works);
        lan.deaf = Some((name(0), false));
        lan.until(S, |l| !failed(l, 0));
        assert!(lan.now.since(mended) >= 2 * FDT, "{:?}", lan.now.since(mended));
        assert_eq!(lan.view().interfaces[0].degraded, [true, false]);
    }
}

/// A family whose path never answered on one NIC, and did on another: it is not led by the first.
#[test]
fn each_family_joins_by_itself() {
    for added_later in [false, true] {
        let mut lan = match added_later {
            false => Lan::new(with_ipv6(), Default::default()),
            true => Lan::settled(group(2, 2, FDT)),
        };
        lan.deaf = Some((name(0), true));
        if added_later {
            lan.add_targets(&["2001:db8::1", "2001:db8::2"]);
            lan.reload_group(Group { data: with_ipv6().data, ..dual_stack(group(2, 2, FDT)) });
        } else {
            lan.survey();
        }
        lan.run(2 * S);
        let end = lan.now + 60 * S;
        while lan.now < end {
            lan.run(50 * MS);
            assert_eq!(carry_ipv6(&lan), [1], "{added_later} {:#?}", lan.texts());
            assert_eq!(lan.view().interfaces[0].state, InterfaceState::Ok);
        }
        lan.deaf = None;
        lan.run(S);
        assert_eq!(carry_ipv6(&lan), [0, 1]);
        lan.assert_at_rest();
    }
}

/// A NIC that is repaired by one family is given nothing of the other before that has answered.
#[test]
fn a_repair_brings_back_no_family_that_never_answered() {
    for after in [0, 40, 500] {
        let mut lan = Lan::settled(group(2, 2, FDT));
        lan.add_targets(&["2001:db8::1", "2001:db8::2"]);
        lan.deaf = Some((name(0), true));
        lan.wire(0, Wire::Cut);
        lan.until(S, |l| failed(l, 0));
        lan.run(MS * after);
        lan.reload_group(Group { data: with_ipv6().data, ..dual_stack(group(2, 2, FDT)) });
        lan.run(S);
        lan.wire(0, Wire::Works);
        lan.until(S, |l| !failed(l, 0));
        let end = lan.now + 60 * S;
        while lan.now < end {
            lan.run(20 * MS);
            assert_eq!(carry_ipv6(&lan), [1], "{after}: {:#?}", lan.texts());
        }
        let view = lan.view();
        assert!(view.interfaces[0].active, "{:#?}", view.interfaces);
    }
}

/// Nor does it keep a NIC from failing whose other family dies.
#[test]
fn a_family_that_never_answered_keeps_no_nic_from_failing() {
    let mut lan = Lan::new(with_ipv6(), Default::default());
    lan.deaf = Some((name(0), true));
    lan.survey();
    lan.run(5 * S);
    lan.wire(0, Wire::Cut);
    lan.until(FDT + 20 * MS, |l| failed(l, 0));
    assert_eq!(lan.told("IP interface failure detected on eth0 of group g"), 1);
}

/// The group has failed, but this interface has begun to answer again: the only other one is missing.
#[test]
fn the_only_interface_that_answers_in_a_failed_group_stays_in_service() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    lan.unplug(name(0));
    lan.wire(1, Wire::Cut);
    lan.run(300 * MS);
    assert_eq!(lan.told("All IP interfaces in group g are now unusable"), 1);
    lan.wire(1, Wire::Works);
    lan.run(150 * MS);
    assert!(!lan.command(Command::Offline { interface: name(1) }), "{:#?}", lan.texts());
    lan.wire(1, Wire::Cut);
    lan.run(300 * MS);
    assert!(lan.command(Command::Offline { interface: name(1) }), "it is silent again");
}
