//! The achieved failure detection time (design 2.4; behaviours 12.4).

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::event::Fate;
use mpathd_core::ids::{Family, IfName};
use mpathd_core::message::Message;

const CANNOT: &str = "Cannot meet requested failure detection time of 100 ms";
const IMPROVED: &str = "Improved failure detection time 100 ms";

/// All targets answer on this NIC after `rtt`.
fn answers(lan: &mut Lan, nic: usize, rtt: Duration) {
    for target in lan.targets.keys().copied().collect::<Vec<_>>() {
        lan.answers.insert((name(nic), target), Answer { fate: Fate::Left, rtt: Some(rtt) });
    }
}

fn told(lan: &Lan, start: &str) -> Vec<String> {
    lan.texts().into_iter().filter(|t| t.starts_with(start)).collect()
}

fn achieved(lan: &Lan) -> Duration {
    lan.view().groups[0].fdt.unwrap()
}

/// Interface, family and target that a message blames.
fn blamed(message: &Message) -> Option<(IfName, Family, String)> {
    match *message {
        Message::CannotMeetFdt { interface, family, target, .. }
        | Message::ImprovedFdt { interface, family, target, .. } => {
            Some((interface, family, target.to_string()))
        }
        _ => None,
    }
}

/// Behaviours 46, 51, 52, 55: told with the interface and the target to blame, taken back not before
/// a minute has passed, and of the same one.
#[test]
fn a_slow_path_is_told_and_its_end_too() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    assert_eq!(achieved(&lan), 100 * MS);
    let slow = "192.0.2.2".parse().unwrap();
    lan.answers.insert((name(1), slow), Answer { fate: Fate::Left, rtt: Some(60 * MS) });
    lan.run(20 * S);
    assert!((140 * MS..150 * MS).contains(&achieved(&lan)), "5T + L: {:?}", achieved(&lan));
    assert_eq!(told(&lan, CANNOT).len(), 1, "{:#?}", lan.texts());
    answers(&mut lan, 1, MS);
    lan.run(30 * S);
    assert_eq!(achieved(&lan), 100 * MS, "shown at once");
    assert_eq!(told(&lan, IMPROVED).len(), 0, "told a minute later");
    lan.run(15 * S);
    assert_eq!(told(&lan, IMPROVED).len(), 1, "{:#?}", lan.texts());
    let all: Vec<_> = lan.messages.iter().filter_map(|(_, m)| blamed(m)).collect();
    assert_eq!(all, vec![(name(1), Family::Inet, "192.0.2.2".to_owned()); 2]);
    assert!(!lan.texts().iter().any(|t| t.contains("failure detected")));
}

/// Behaviours 45, 47: single slow replies, however slow, change nothing.
#[test]
fn spikes_change_nothing() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    for _ in 0..20 {
        answers(&mut lan, 0, 300 * MS);
        lan.run(16 * MS);
        answers(&mut lan, 0, MS);
        lan.run(S);
        assert_eq!(achieved(&lan), 100 * MS);
    }
    assert_eq!(told(&lan, CANNOT).len(), 0);
}

/// Behaviour 53: one slow member is enough.
#[test]
fn the_slowest_member_rules() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    (0..2).for_each(|nic| answers(&mut lan, nic, 60 * MS));
    lan.run(20 * S);
    answers(&mut lan, 0, MS);
    lan.run(120 * S);
    assert!(achieved(&lan) > 100 * MS);
    assert_eq!(told(&lan, IMPROVED).len(), 0);
    answers(&mut lan, 1, MS);
    lan.run(20 * S);
    let last = lan.messages.iter().rev().find_map(|(_, m)| blamed(m)).unwrap();
    assert_eq!((told(&lan, IMPROVED).len(), last.0), (1, name(1)));
}

/// Behaviours 54, 56: a member that has failed has no say, and its round-trip times are forgotten.
#[test]
fn a_failed_member_has_no_say() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    answers(&mut lan, 0, 60 * MS);
    lan.run(20 * S);
    assert!(achieved(&lan) > 100 * MS);
    lan.answers.clear();
    lan.wire(0, Wire::Cut);
    lan.run(S);
    assert_eq!(lan.told("IP interface failure detected on eth0 of group g"), 1);
    assert_eq!(achieved(&lan), 100 * MS);
    let targets = lan.view().targets;
    let of = |nic: usize| targets.iter().filter(move |t| t.interface == name(nic));
    assert!(of(0).all(|t| t.srtt == 0) && of(1).all(|t| t.srtt > 0), "{targets:#?}");
    lan.run(60 * S);
    assert_eq!(told(&lan, IMPROVED).len(), 1);
}

/// Behaviour 55: of each group by itself.
#[test]
fn other_groups_are_not_concerned() {
    let other = |i: usize| Group {
        name: "h".parse().unwrap(),
        data: vec!["192.0.2.60/24".parse().unwrap()],
        members: vec![member(i)],
        ..group(1, 1, 100 * MS)
    };
    let mut lan = Lan::of_groups(vec![group(2, 2, 100 * MS), other(2)]);
    lan.survey();
    lan.run(6 * S);
    answers(&mut lan, 0, 60 * MS);
    lan.run(20 * S);
    let fdt: Vec<_> = lan.view().groups.iter().map(|g| g.fdt.unwrap()).collect();
    assert!(fdt[0] > 100 * MS && fdt[1] == 100 * MS, "{fdt:?}");
    assert_eq!(told(&lan, CANNOT).len(), 1, "{:#?}", lan.texts());
}

/// Its slow path has left with it; the others never missed anything.
#[test]
fn nothing_is_told_of_an_interface_that_has_left() {
    let mut lan = Lan::settled(group(3, 2, 100 * MS));
    answers(&mut lan, 2, 60 * MS);
    lan.run(20 * S);
    assert_eq!(told(&lan, CANNOT).len(), 1, "{:#?}", lan.texts());
    lan.reload_group(group(2, 2, 100 * MS));
    lan.run(120 * S);
    assert_eq!(achieved(&lan), 100 * MS);
    assert!(!lan.texts().iter().any(|t| t.starts_with("Improved")), "{:#?}", lan.texts());
    // And what is missed by one that stays is told, and taken back.
    answers(&mut lan, 1, 60 * MS);
    lan.run(20 * S);
    answers(&mut lan, 1, MS);
    lan.run(80 * S);
    assert_eq!((told(&lan, CANNOT).len(), told(&lan, IMPROVED).len()), (2, 1));
}

/// Departure from behaviours 50, 55: probing goes on at the pace of the request.
#[test]
fn probing_is_not_slowed() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    let sent = |lan: &Lan| -> u64 { lan.view().targets.iter().map(|t| t.sent).sum() };
    (0..2).for_each(|nic| answers(&mut lan, nic, 60 * MS));
    lan.run(20 * S);
    let before = sent(&lan);
    lan.run(10 * S);
    // Two NICs, three targets, 60 a second.
    assert!((3590..=3610).contains(&(sent(&lan) - before)), "{}", sent(&lan) - before);
}

/// Behaviour 150: NETRTT is the network's share; RTT grows with a daemon that is late.
#[test]
fn what_the_network_takes_and_what_the_daemon_saw() {
    let mut lan = Lan::settled(group(1, 1, S));
    lan.engine.stream_probes(true);
    lan.targets.values_mut().for_each(|t| t.rtt = 20 * MS);
    let shares = |lan: &mut Lan| -> Vec<(Duration, Duration)> {
        let all = std::mem::take(&mut lan.probes).into_iter();
        all.filter_map(|p| Some((p.received?.since(p.sent), p.processed.since(p.sent)))).collect()
    };
    lan.run(2 * S);
    shares(&mut lan);
    for late in [Duration::ZERO, 400 * MS] {
        for _ in 0..5 {
            lan.run(S);
            lan.stop_daemon(late);
        }
        let told = shares(&mut lan);
        assert!(told.len() > 20 && told.iter().all(|(net, rtt)| *net == 20 * MS && rtt >= net));
        let longest = told.iter().map(|(_, rtt)| *rtt).max().unwrap();
        assert_eq!(longest > 200 * MS, late > Duration::ZERO, "{longest:?}");
    }
}
