//! Members that appear: when they are given addresses, and what is said of it.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::state::Saved;

const FDT: Duration = Duration::from_millis(600);

/// Nobody is there to answer.
fn without_targets() -> Group {
    let mut group = group(2, 2, FDT);
    group.targets.clear();
    group.routes.clear();
    group
}

#[test]
fn a_member_without_targets_gets_its_share_when_its_link_was_up_for_the_quiet_period() {
    let group = without_targets();
    let quiet = group.quiet_period;
    let mut lan =
        Lan::bare(mpathd_core::config::Config { groups: vec![group] }, Saved::default(), 7);
    lan.plug(name(0), 2);
    lan.survey();
    lan.run(quiet * 2);
    assert_eq!([lan.holders("192.0.2.50"), lan.holders("192.0.2.51")], [[0], [0]]);
    lan.plug(name(1), 3);
    lan.run(quiet - S);
    assert_eq!([lan.holders("192.0.2.50"), lan.holders("192.0.2.51")], [[0], [0]]);
    lan.run(2 * S);
    let on_new = ["192.0.2.50", "192.0.2.51"].iter().filter(|it| lan.holders(it) == [1]).count();
    assert_eq!(on_new, 1);
}

#[test]
fn a_member_that_appears_for_the_first_time_is_not_said_to_have_failed_before() {
    let mut lan = Lan::new(group(2, 2, FDT), Saved::default());
    lan.survey();
    lan.run(6 * S);
    let damped = |text: &String| text.contains("addresses return to it");
    assert!(!lan.texts().iter().any(damped), "{:#?}", lan.texts());
    lan.unplug(name(1));
    lan.run(S);
    lan.plug(name(1), 13);
    lan.run(6 * S);
    assert!(!lan.texts().iter().any(damped), "its first return: {:#?}", lan.texts());
}
