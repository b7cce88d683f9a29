//! What is configured to be probed and is not watched is reported, by an event and in the snapshot, and
//! no longer than it lasts.

mod lan;

use std::time::Duration;

use lan::{Lan, MS, S, dual_stack, group, ip, name};
use mpathd_core::config::{Group, TestAddress};
use mpathd_core::event::{Command, Event};
use mpathd_core::ids::Family;
use mpathd_core::message::{Message, Unwatched};
use mpathd_core::state::Saved;

const FDT: Duration = Duration::from_millis(100);

fn started(group: Group, before: impl FnOnce(&mut Lan)) -> Lan {
    let mut lan = Lan::new(group, Saved::default());
    before(&mut lan);
    lan.survey();
    lan.run(MS);
    lan
}

fn shown(lan: &Lan, i: usize, family: Family) -> Option<Unwatched> {
    let view = lan.view();
    let row = view.instances.iter().find(|it| (it.interface, it.family) == (name(i), family));
    row.unwrap().unwatched
}

/// Reports about one interface and family so far: the reason of each `unwatched`, `None` for `watched`.
fn reports(lan: &Lan, i: usize, of: Family) -> Vec<Option<Unwatched>> {
    let about = |message: &Message| match *message {
        Message::Unwatched { interface, family, reason, .. }
            if (interface, family) == (name(i), of) =>
        {
            Some(Some(reason))
        }
        Message::Watched { interface, family } if (interface, family) == (name(i), of) => {
            Some(None)
        }
        _ => None,
    };
    lan.messages.iter().filter_map(|(_, message)| about(message)).collect()
}

fn report_within(lan: &mut Lan, limit: Duration, i: usize, family: Family) -> Duration {
    let before = reports(lan, i, family).len();
    lan.until(limit, |lan| reports(lan, i, family).len() > before)
}

#[test]
fn targets_that_have_never_answered_are_reported_after_the_quiet_period() {
    let quiet = Group { quiet_period: 2 * S, ..group(2, 1, FDT) };
    let mute = |lan: &mut Lan| lan.targets.values_mut().for_each(|t| t.alive = false);
    let mut lan = started(quiet, mute);
    assert_eq!(shown(&lan, 0, Family::Inet), Some(Unwatched::NotAttached), "at once");
    let took = report_within(&mut lan, 2 * S + 100 * MS, 0, Family::Inet);
    assert!(took >= 1900 * MS, "{took:?}");
    assert_eq!(reports(&lan, 0, Family::Inet), [Some(Unwatched::NoReply)]);
    assert_eq!(lan.view().groups[0].fdt, None, "nothing is watched");
    let text = "Nothing watches inet of eth0: none of its targets has ever answered \
                (192.0.2.1 and 2 more)";
    assert_eq!(lan.told(text), 1, "{:#?}", lan.texts());
    lan.run(60 * S);
    assert_eq!(reports(&lan, 0, Family::Inet).len(), 1, "once");
    lan.target("192.0.2.1").alive = true;
    report_within(&mut lan, S, 0, Family::Inet);
    assert_eq!(reports(&lan, 0, Family::Inet), [Some(Unwatched::NoReply), None]);
    assert_eq!(lan.told("inet of eth0 is watched again"), 1);
    assert_eq!(shown(&lan, 0, Family::Inet), None);
    // New targets are in doubt for a second.
    lan.run(S);
    assert_eq!(lan.view().groups[0].fdt, Some(FDT));
}

#[test]
fn an_interface_that_is_watched_is_never_reported() {
    let mut lan = Lan::settled(dual_stack(group(3, 2, FDT)));
    lan.run(100 * S);
    lan.wire(0, lan::Wire::Cut);
    lan.run(100 * S);
    let view = lan.view();
    assert!(view.instances.iter().all(|it| it.unwatched.is_none()), "{:#?}", view.instances);
    assert!(!lan.messages.iter().any(|(_, m)| matches!(m, Message::Unwatched { .. })));
}

#[test]
fn one_family_without_targets_is_reported_by_itself() {
    let mut both = dual_stack(group(2, 1, FDT));
    both.targets = ip(&["192.0.2.1", "192.0.2.2"]);
    both.quiet_period = 2 * S;
    let mut lan = started(both, |_| {});
    lan.run(30 * S);
    assert_eq!(reports(&lan, 0, Family::Inet6), [Some(Unwatched::NoTarget)]);
    assert_eq!(reports(&lan, 0, Family::Inet), []);
}

#[test]
fn a_test_address_that_is_lost_is_reported_within_a_second() {
    let mut local = group(2, 1, FDT);
    local.targets = ip(&["fe80::1"]);
    for member in &mut local.members {
        member.test = [None, Some(TestAddress::LinkLocal)];
    }
    let mut lan = started(local, |lan| {
        lan.link_local(0, "fe80::a");
        lan.link_local(1, "fe80::b");
        lan.add_targets(&["fe80::1"]);
    });
    lan.run(10 * S);
    assert_eq!(shown(&lan, 0, Family::Inet6), None);
    let ifindex = lan.nics[&name(0)].link.ifindex;
    lan.post(Duration::ZERO, Event::AddressGone { ifindex, address: ip(&["fe80::a"])[0] });
    report_within(&mut lan, S + 10 * MS, 0, Family::Inet6);
    assert_eq!(reports(&lan, 0, Family::Inet6), [Some(Unwatched::NoTestAddress)]);
    lan.link_local(0, "fe80::a");
    report_within(&mut lan, S, 0, Family::Inet6);
    assert_eq!(reports(&lan, 0, Family::Inet6).last(), Some(&None));
}

#[test]
fn an_interface_that_carries_nothing_is_not_expected_to_be_watched() {
    let mut lan = Lan::settled(group(3, 1, FDT));
    assert!(lan.command(Command::Offline { interface: name(1) }));
    lan.carrier(2, false);
    lan.run(100 * S);
    assert_eq!((shown(&lan, 1, Family::Inet), shown(&lan, 2, Family::Inet)), (None, None));
    assert!(reports(&lan, 1, Family::Inet).is_empty() && reports(&lan, 2, Family::Inet).is_empty());
}
