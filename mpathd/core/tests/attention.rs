//! That only what is due or has changed is looked at changes no decision: a run in which everything is
//! looked at in every turn comes to the same requests, texts and rounds at the same moments.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::{Config, Group};
use mpathd_core::event::Command;
use mpathd_core::message::{Evidence, Message, Reason};
use mpathd_core::request::Request;
use mpathd_core::time::Instant;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wire(usize),
    Link(usize),
    Presence(usize),
    Offline(usize),
    Target(usize),
    /// A NIC loses so many of a hundred probes.
    Lossy(usize, u64),
    /// A target answers later, in us.
    Slow(usize, u64),
    /// The daemon was stopped for so many ms.
    Stopped(u64),
    Restart,
    Reload,
}

type Told = (Vec<(Instant, Message)>, Vec<(Instant, Request)>, String);

fn take(lan: &mut Lan, step: Step, nth: usize, group: &Group) {
    let there = |lan: &Lan, i| lan.nics.contains_key(&name(i));
    match step {
        Step::Wire(i) if there(lan, i) => {
            let works = lan.nics[&name(i)].wire == Wire::Works;
            lan.wire(i, if works { Wire::Cut } else { Wire::Works });
        }
        Step::Link(i) if there(lan, i) => lan.carrier(i, !lan.nics[&name(i)].link.running),
        Step::Presence(i) if there(lan, i) => lan.unplug(name(i)),
        Step::Presence(i) => lan.plug(name(i), 100 + nth as u32),
        Step::Offline(i) => {
            if !lan.command(Command::Offline { interface: name(i) }) {
                lan.command(Command::Online { interface: name(i) });
            }
        }
        Step::Target(t) => {
            let target = lan.targets.values_mut().nth(t).unwrap();
            target.alive = !target.alive;
        }
        Step::Lossy(i, percent) => drop(lan.lossy.insert(name(i), percent)),
        Step::Slow(t, us) => {
            lan.targets.values_mut().nth(t).unwrap().rtt = Duration::from_micros(us);
        }
        Step::Stopped(ms) => lan.stop_daemon(MS * ms as u32),
        Step::Restart => lan.restart(),
        Step::Reload => lan.reload(Config { groups: vec![group.clone()] }, 7),
        Step::Wire(_) | Step::Link(_) => {}
    }
}

fn run(group: &Group, steps: &[(Step, u64)], watchful: bool) -> Told {
    let mut lan = Lan::new(group.clone(), Default::default());
    lan.watchful = watchful;
    lan.survey();
    lan.run(3 * S);
    for (nth, (step, pause)) in steps.iter().enumerate() {
        take(&mut lan, *step, nth, group);
        lan.run(MS * *pause as u32);
    }
    // Longer than what a second return waits.
    lan.run(12 * S);
    let view = lan.view();
    let states = view.interfaces.iter().map(|i| format!("{:?} {:?}", i.name, i.state));
    let states: Vec<_> = states.collect();
    let messages = lan.messages.into_iter().map(|(at, message)| (at, without_last_reply(message)));
    (messages.collect(), lan.requests, states.join(", "))
}

/// Replies of a calm instance are read at its next round: the evidence of a link that goes down names the
/// last that was read, up to an interval older.
fn without_last_reply(message: Message) -> Message {
    match message {
        Message::InterfaceFailed { interface, group, evidence }
            if evidence.reason == Reason::Link =>
        {
            let evidence = Evidence { last_reply: None, ..evidence };
            Message::InterfaceFailed { interface, group, evidence }
        }
        Message::FamilyFailed { interface, family, group, evidence }
            if evidence.reason == Reason::Link =>
        {
            let evidence = Evidence { last_reply: None, ..evidence };
            Message::FamilyFailed { interface, family, group, evidence }
        }
        other => other,
    }
}

fn any_step(members: usize) -> impl Strategy<Value = Step> {
    let nic = 0..members;
    prop_oneof![
        6 => nic.clone().prop_map(Step::Wire),
        3 => nic.clone().prop_map(Step::Link),
        2 => nic.clone().prop_map(Step::Presence),
        2 => nic.clone().prop_map(Step::Offline),
        3 => (0..3usize).prop_map(Step::Target),
        2 => (nic, prop::sample::select(vec![0, 5, 30, 60])).prop_map(|(i, n)| Step::Lossy(i, n)),
        2 => (0..3usize, prop::sample::select(vec![200, 5_000, 60_000]))
            .prop_map(|(t, us)| Step::Slow(t, us)),
        1 => (1..3_000u64).prop_map(Step::Stopped),
        1 => Just(Step::Restart),
        1 => Just(Step::Reload),
    ]
}

fn any_group() -> impl Strategy<Value = Group> {
    (2..4usize, prop::sample::select(vec![20, 100, 1_000]), any::<(bool, bool, bool)>()).prop_map(
        |(members, fdt, (dual, failback, standby))| {
            let mut group = group(members, 3, MS * fdt);
            group.failback = failback;
            group.members[members - 1].standby = standby;
            if dual { dual_stack(group) } else { group }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_looked_at_would_have_changed_nothing(
        group in any_group(),
        steps in prop::collection::vec((any_step(2), 1..1_500u64), 1..7),
    ) {
        let (watchful, sparing) = (run(&group, &steps, true), run(&group, &steps, false));
        prop_assert_eq!(&sparing.0, &watchful.0);
        prop_assert_eq!(&sparing.1, &watchful.1);
        prop_assert_eq!(&sparing.2, &watchful.2);
    }
}
