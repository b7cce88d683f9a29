//! Which targets are probed, and when another one takes the place of one that does not answer.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::ids::Family;
use mpathd_core::message::Message;
use mpathd_core::state::Saved;

/// A target that was replaced is not taken again for so long.
const SET_ASIDE: Duration = Duration::from_secs(60);

fn six_targets(members: usize, fdt: Duration) -> mpathd_core::config::Group {
    let mut group = group(members, 1, fdt);
    group.targets =
        ip(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"]);
    group
}

fn replaced(lan: &Lan) -> usize {
    let replaced = |message: &Message| matches!(message, Message::TargetReplaced { .. });
    lan.messages.iter().filter(|(_, message)| replaced(message)).count()
}

#[test]
fn a_new_target_is_given_five_probes_before_another_one_takes_its_place() {
    let fdt = 600 * MS;
    for lost in [1, 4] {
        let mut lan = Lan::new(six_targets(1, fdt), Saved::default());
        lan.target("192.0.2.5").alive = false;
        lan.survey();
        let sent = |lan: &Lan| {
            let view = lan.view();
            let rows = view.targets.iter().filter(|row| row.target == ip(&["192.0.2.5"])[0]);
            rows.map(|row| row.sent).sum::<u64>()
        };
        lan.until(5 * S, |lan| sent(lan) >= lost);
        lan.run(fdt / 12);
        lan.target("192.0.2.5").alive = true;
        lan.run(2 * S);
        let (_, targets) = lan.targets_of(0, Family::Inet);
        assert!(targets.contains(&"192.0.2.5".into()), "{lost} lost: {targets:?}");
    }
}

/// One that died a while ago could be replaced again just now; but who is to say that the new one is
/// alive.
#[test]
fn no_target_is_replaced_while_all_are_silent() {
    let fdt = 1200 * MS;
    let mut lan = Lan::settled(six_targets(2, fdt));
    lan.target("192.0.2.1").alive = false;
    lan.until(10 * S, |lan| replaced(lan) == 2);
    let (at, _) = *lan
        .messages
        .iter()
        .rev()
        .find(|(_, m)| matches!(m, Message::TargetReplaced { .. }))
        .unwrap();
    lan.target("192.0.2.2").alive = false;
    lan.run(10 * S);
    lan.target("192.0.2.1").alive = true;
    lan.messages.clear();
    lan.run((at + SET_ASIDE).since(lan.now) - fdt / 3);
    lan.wire(0, Wire::Cut);
    lan.wire(1, Wire::Cut);
    lan.until(2 * fdt, |lan| lan.told("All IP interfaces in group g are now unusable") > 0);
    assert!(lan.now > at + SET_ASIDE);
    assert_eq!(replaced(&lan), 0, "{:#?}", lan.texts());
}

/// Of routers that come and go, those that are targets are remembered, and no more than there is room for.
#[test]
fn verified_targets_that_come_and_go_do_not_displace_those_in_use() {
    let mut group = group(2, 1, 600 * MS);
    group.targets.clear();
    let mut lan = Lan::new(group, Saved::default());
    lan.add_targets(&["192.0.2.1"]);
    lan.survey();
    let room = 2 * 2 * mpathd_core::config::MAX_TARGETS;
    for n in 0..2 * room {
        let router = format!("192.0.2.{}", 100 + n);
        lan.add_targets(&[&router]);
        lan.gateways(&["192.0.2.1", &router]);
        lan.run(3 * S);
        let proven = lan.view().proven;
        assert!(proven.len() <= room, "{} after {n}", proven.len());
        for target in ip(&["192.0.2.1", &router]) {
            assert!(proven.contains(&target), "{target} after {n}: {proven:?}");
        }
    }
}
