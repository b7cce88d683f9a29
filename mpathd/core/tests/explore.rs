//! Every order of events in small groups, to a depth that ends in seconds: what must never happen
//! does not, and at rest all is in order.

mod lan;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::event::Command;
use mpathd_core::view::GroupState;

#[derive(Clone, Copy, Debug)]
enum Step {
    Cut(usize),
    Mend(usize),
    Down(usize),
    Up(usize),
    Offline(usize),
    Online(usize),
}

fn steps(members: usize) -> Vec<Step> {
    (0..members)
        .flat_map(|i| {
            [
                Step::Cut(i),
                Step::Mend(i),
                Step::Down(i),
                Step::Up(i),
                Step::Offline(i),
                Step::Online(i),
            ]
        })
        .collect()
}

fn take(lan: &mut Lan, step: Step) {
    match step {
        Step::Cut(i) => lan.wire(i, Wire::Cut),
        Step::Mend(i) => lan.wire(i, Wire::Works),
        Step::Down(i) => lan.carrier(i, false),
        Step::Up(i) => lan.carrier(i, true),
        Step::Offline(i) => drop(lan.command(Command::Offline { interface: name(i) })),
        Step::Online(i) => drop(lan.command(Command::Online { interface: name(i) })),
    }
}

/// What holds after any history, once nothing happens any more.
fn assert_settled(lan: &Lan, group: &Group, history: &[Step]) {
    let view = lan.view();
    let usable = view.groups[0].state != GroupState::Failed;
    let active = view.interfaces.iter().filter(|i| i.active).count();
    let intended = group.members.iter().filter(|m| !m.standby).count().max(1);
    assert_eq!(active > 0, usable, "{history:?}: {:#?}", view.interfaces);
    assert!(active <= intended, "{history:?}: {active} active");
    assert!(view.settled, "{history:?}: {:#?} {:#?}", view.addresses, lan.routes);
    for address in &view.addresses {
        assert_eq!(lan.holders(&address.address.address.to_string()).len(), 1, "{history:?}");
        let holder = view.interfaces.iter().find(|i| Some(i.name) == address.inbound).unwrap();
        assert!(holder.active || !usable, "{history:?}: {address:?} on {holder:?}");
    }
}

fn explore(group: Group, depth: usize, pause: std::time::Duration) -> usize {
    let steps = steps(group.members.len());
    let count = steps.len().pow(depth as u32);
    for n in 0..count {
        let history: Vec<Step> =
            (0..depth).map(|d| steps[n / steps.len().pow(d as u32) % steps.len()]).collect();
        let mut lan = Lan::settled(group.clone());
        for step in &history {
            take(&mut lan, *step);
            lan.run(pause);
        }
        lan.run(200 * S);
        assert_settled(&lan, &group, &history);
        let requests = lan.requests.len();
        lan.run(15 * S);
        let later = &lan.requests[requests..];
        assert!(
            later.iter().all(|(_, r)| format!("{r:?}").starts_with("Prepare")),
            "no oscillation"
        );
    }
    count
}

fn small(members: usize, standbys: usize, failback: bool) -> Group {
    let mut group = group(members, 2, S);
    group.failback = failback;
    group.targets.truncate(1);
    for member in group.members.iter_mut().rev().take(standbys) {
        member.standby = true;
    }
    group
}

#[test]
fn two_members() {
    assert_eq!(explore(small(2, 0, true), 3, 3 * S), 1728);
}

#[test]
fn two_members_with_events_close_together() {
    assert_eq!(explore(small(2, 1, true), 3, 20 * MS), 1728);
}

#[test]
fn three_members_one_standby() {
    assert_eq!(explore(small(3, 1, true), 2, 3 * S), 324);
}

#[test]
fn three_members_one_standby_without_failback() {
    assert_eq!(explore(small(3, 1, false), 2, 3 * S), 324);
}

#[test]
fn three_standbys() {
    assert_eq!(explore(small(3, 3, true), 2, 3 * S), 324);
}
