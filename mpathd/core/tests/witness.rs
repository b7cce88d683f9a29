//! Whose answers decide whether an interface has failed alone or the whole group has.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::event::{Command, Fate};
use mpathd_core::message::Message;
use mpathd_core::state::Saved;

const FDT: Duration = Duration::from_millis(600);
const INTERVAL: Duration = Duration::from_millis(100);
/// All IPv4 targets of the groups of this file.
const TARGETS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];

/// A dual-stack group of eth0, which is probed, and eth1, which has no test addresses.
fn probed_beside_link_only() -> Lan {
    let mut group = dual_stack(group(2, 2, FDT));
    group.members[1].test = [None, None];
    Lan::settled(group)
}

fn silence_inet(lan: &mut Lan) {
    TARGETS.iter().for_each(|target| lan.target(target).alive = false);
    lan.run(3 * FDT);
}

fn failed_alone(lan: &Lan) -> bool {
    lan.texts().iter().any(|text| text.starts_with("inet failure detected on eth0 "))
}

fn silent_everywhere(lan: &Lan) -> bool {
    lan.messages.iter().any(|(_, message)| matches!(message, Message::FamilySilent { .. }))
}

fn silence(lan: &mut Lan, interface: usize, target: &str) {
    let silent = Answer { fate: Fate::Left, rtt: None };
    lan.answers.insert((name(interface), target.parse().unwrap()), silent);
}

fn group_failed(lan: &Lan) -> bool {
    lan.told("All IP interfaces in group g are now unusable") > 0
}

#[test]
fn a_member_without_test_addresses_is_a_witness_by_its_link() {
    let mut lan = probed_beside_link_only();
    silence_inet(&mut lan);
    assert!(failed_alone(&lan) && !silent_everywhere(&lan), "{:#?}", lan.texts());
    lan.run(S);
    assert_eq!(lan.holders("192.0.2.50"), [1]);
    assert_eq!(lan.holders("192.0.2.51"), [1]);
}

#[test]
fn a_member_without_test_addresses_that_is_offline_or_down_is_no_witness() {
    let mut offline = probed_beside_link_only();
    assert!(offline.command(Command::Offline { interface: name(1) }));
    offline.run(S);
    let mut down = probed_beside_link_only();
    down.carrier(1, false);
    for mut lan in [offline, down] {
        silence_inet(&mut lan);
        assert!(!failed_alone(&lan) && silent_everywhere(&lan), "{:#?}", lan.texts());
    }
}

/// Its link is up, and it is held as failed because that link comes and goes.
#[test]
fn a_member_without_test_addresses_that_has_failed_is_no_witness() {
    let mut lan = probed_beside_link_only();
    for _ in 0..4 {
        lan.carrier(1, false);
        lan.run(S);
        lan.carrier(1, true);
        lan.run(S);
    }
    assert!(lan.view().interfaces[1].reason.is_some(), "{:#?}", lan.texts());
    silence_inet(&mut lan);
    assert!(!failed_alone(&lan) && silent_everywhere(&lan), "{:#?}", lan.texts());
}

#[test]
fn a_member_that_is_offline_does_not_fail_with_the_others() {
    let mut lan = Lan::settled(group(2, 2, FDT));
    // Its addresses, and so its test address, stay on it for a while.
    lan.kernel = 60 * S;
    lan.post(
        Duration::ZERO,
        mpathd_core::event::Event::Command(Command::Offline { interface: name(1) }),
    );
    lan.run(MS);
    lan.wire(0, Wire::Cut);
    lan.run(3 * FDT);
    let view = lan.view();
    assert!(view.interfaces[0].reason.is_some(), "{:#?}", lan.texts());
    assert_eq!(view.interfaces[1].reason, None, "{:#?}", lan.texts());
}

#[test]
fn a_common_silence_of_new_targets_is_judged_after_about_a_second() {
    let mut lan = Lan::new(group(1, 1, FDT / 6), Saved::default());
    lan.survey();
    lan.run(2 * S);
    lan.wire(0, Wire::Cut);
    let took = lan.until(3 * S / 2, group_failed);
    assert!(took >= 900 * MS, "{took:?}");
}

/// The witness must have been asked after the fourth loss of the target that fell silent last: what
/// answered before may be cut by the same fault.
#[test]
fn an_answer_before_the_fourth_loss_of_the_last_target_is_no_witness() {
    let mut two = group(2, 2, FDT);
    two.targets.truncate(2);
    let mut lan = Lan::settled(two);
    silence(&mut lan, 0, TARGETS[0]);
    lan.run(3 * INTERVAL);
    silence(&mut lan, 0, TARGETS[1]);
    lan.run(3 * INTERVAL);
    lan.wire(1, Wire::Cut);
    lan.until(2 * FDT, group_failed);
    let alone = lan.told("IP interface failure detected on eth0 of group g");
    assert_eq!(alone, 0, "{:#?}", lan.texts());
}

/// It answers some, never five in a row, and so has not come back; but its answers came by this NIC.
#[test]
fn a_target_that_was_given_up_and_answers_again_keeps_the_interface_from_failing() {
    let mut lan = Lan::settled(group(2, 2, FDT));
    lan.target(TARGETS[0]).alive = false;
    lan.run(2 * FDT);
    let losing = Target { alive: true, lose_percent: 40, ..*lan.target(TARGETS[0]) };
    *lan.target(TARGETS[0]) = losing;
    lan.target(TARGETS[1]).alive = false;
    lan.target(TARGETS[2]).alive = false;
    lan.run(2 * FDT);
    assert!(lan.view().interfaces.iter().all(|it| it.reason.is_none()), "{:#?}", lan.texts());
    assert!(!group_failed(&lan), "{:#?}", lan.texts());
}

#[test]
fn the_evidence_of_a_failure_counts_the_silent_targets() {
    let mut lan = Lan::settled(group(2, 2, FDT));
    lan.wire(0, Wire::Cut);
    lan.run(2 * FDT);
    let mut all = lan.messages.iter();
    let evidence = all.find_map(|(_, message)| match message {
        Message::InterfaceFailed { evidence, .. } => Some(*evidence),
        _ => None,
    });
    let evidence = evidence.unwrap_or_else(|| panic!("{:#?}", lan.texts()));
    assert_eq!((evidence.silent, evidence.counted), (3, 3));
    assert!(evidence.detected >= 4 * INTERVAL && evidence.detected <= FDT, "{evidence:?}");
}
