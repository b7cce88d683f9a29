//! The daemon names its own blindness: how late its turns were, and how slow the kernel.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::message::Message;

fn told<T>(lan: &Lan, one: impl Fn(&Message) -> Option<T>) -> Vec<T> {
    lan.messages.iter().filter_map(|(_, message)| one(message)).collect()
}

#[test]
fn a_late_turn_is_told_with_its_own_lateness_once_a_minute() {
    let mut lan = Lan::settled(group(2, 1, 100 * MS));
    for (wait, stop) in [(S, 400 * MS), (S, 300 * MS), (61 * S, 50 * MS)] {
        lan.run(wait);
        lan.stop_daemon(stop);
        lan.run(100 * MS);
    }
    let late = told(&lan, |message| match message {
        Message::Late { by, missed } => Some((*by, *missed)),
        _ => None,
    });
    let [first, last] = late[..] else { panic!("{late:?}") };
    assert!(first.0 > 380 * MS && first.0 <= 400 * MS && first.1 > 20, "{first:?}");
    assert!(last.0 > 30 * MS && last.0 <= 50 * MS, "of this turn, not of all: {last:?}");
    let lateness = lan.view().lateness;
    assert_eq!((lateness.max, lateness.wakes.max), (first.0, first.0));
    let wakes = lateness.wakes.count();
    assert!(wakes > 1000, "{wakes} wake-ups in a minute");
    // Nearly all of them are in time.
    assert!(lateness.wakes.quantile(990).is_some_and(|late| late < MS), "{lateness:?}");
}

#[test]
fn a_kernel_that_holds_moves_up_is_told_once() {
    let slow = |lan: &Lan| -> Vec<Duration> {
        told(lan, |message| match message {
            Message::KernelSlow { took } => Some(*took),
            _ => None,
        })
    };
    let mut lan = Lan::settled(group(2, 1, 100 * MS));
    let before = lan.view().lateness.requests;
    assert!(before.count() > 0 && before.max < 100 * MS, "{before:?}");
    lan.kernel = 150 * MS;
    for wire in [Wire::Cut, Wire::Works, Wire::Cut] {
        lan.wire(0, wire);
        lan.run(2 * S);
    }
    assert_eq!(slow(&lan), [150 * MS]);
    let lateness = lan.view().lateness;
    assert_eq!((lateness.request_max, lateness.requests.max), (150 * MS, 150 * MS));
    assert!(lateness.requests.count() > before.count());
}
