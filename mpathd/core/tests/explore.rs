//! Every order of events in small groups, to a depth that ends in seconds: what must never happen
//! does not, and at rest all is in order (issue: standby, FAILBACK and capacity).

mod lan;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::event::Command;
use mpathd_core::ids::IfName;
use mpathd_core::message::Message;
use mpathd_core::request::Request;
use mpathd_core::view::{InterfaceState, View};

/// What may happen to a member; each undoes itself when it happens again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The path falls silent, or answers again.
    Path,
    Link,
    Offline,
    /// The NIC is removed, or comes back with another ifindex.
    Presence,
}

const KINDS: [Kind; 4] = [Kind::Path, Kind::Link, Kind::Offline, Kind::Presence];

type Step = (usize, Kind);

fn take(lan: &mut Lan, (i, kind): Step, nth: usize) {
    let (interface, there) = (name(i), lan.nics.contains_key(&name(i)));
    match kind {
        Kind::Path if there => {
            let works = lan.nics[&interface].wire == Wire::Works;
            lan.wire(i, if works { Wire::Cut } else { Wire::Works });
        }
        Kind::Link if there => lan.carrier(i, !lan.nics[&interface].link.running),
        Kind::Offline => {
            if !lan.command(Command::Offline { interface }) {
                lan.command(Command::Online { interface });
            }
        }
        Kind::Presence if there => lan.unplug(interface),
        Kind::Presence => lan.plug(interface, 100 + nth as u32),
        Kind::Path | Kind::Link => {}
    }
}

fn usable(view: &View) -> impl Iterator<Item = bool> {
    let of_state = |s| s == InterfaceState::Ok || s == InterfaceState::Unknown;
    view.interfaces.iter().map(move |i| of_state(i.state) && i.ifindex.is_some())
}

/// What holds at every moment.
fn assert_sound(view: &View, told: &dyn Fn() -> String) {
    let active = view.interfaces.iter().filter(|i| i.active).count();
    assert_eq!(active > 0, usable(view).any(|u| u), "{}: {:#?}", told(), view.interfaces);
    for (interface, usable) in view.interfaces.iter().zip(usable(view)) {
        let at_most_one = u8::from(interface.active) + u8::from(interface.inactive);
        assert_eq!(at_most_one == 1, usable, "{}: {interface:#?}", told());
    }
}

/// What holds after any history, once nothing happens any more.
fn assert_settled(lan: &Lan, group: &Group, told: &dyn Fn() -> String) {
    let view = lan.view();
    assert_sound(&view, told);
    let active = view.interfaces.iter().filter(|i| i.active).count();
    let intended = group.members.iter().filter(|m| !m.standby).count().max(1);
    let fit = usable(&view).filter(|u| *u).count();
    assert_eq!(active, intended.min(fit), "{}: {:#?}", told(), view.interfaces);
    assert!(view.settled, "{}: {:#?} {:#?}", told(), view.addresses, lan.routes);
    let there = usize::from(!lan.nics.is_empty());
    for address in &view.addresses {
        let on = lan.holders(&address.address.address.to_string());
        assert_eq!(on.len(), there, "{}: {address:?}", told());
        let holder = view.interfaces.iter().find(|i| Some(i.name) == address.inbound);
        let well = holder.is_some_and(|holder| holder.active);
        assert!(well || active == 0, "{}: {address:?} on {holder:?}", told());
    }
}

/// Nobody's address comes back to where it left without another event.
fn assert_straight(lan: &Lan, from: usize, told: &dyn Fn() -> String) {
    let mut left: BTreeMap<IpAddr, Vec<IfName>> = BTreeMap::new();
    for (_, message) in &lan.messages[from..] {
        if let Message::Moved { address, from: Some(from), to, .. } = message {
            let left = left.entry(*address).or_default();
            assert!(
                !left.contains(to),
                "{}: {address} is on {to} again\n{:#?}",
                told(),
                lan.texts()
            );
            left.push(*from);
        }
    }
}

fn is_change(request: &Request) -> bool {
    !matches!(request, Request::Prepare { .. } | Request::CountTransmits { .. })
}

/// `pause`: between two events.
fn explore(group: &Group, depth: u32, pause: Duration) -> usize {
    let members = group.members.len();
    let steps: Vec<Step> = (0..members).flat_map(|i| KINDS.map(|kind| (i, kind))).collect();
    let count = steps.len().pow(depth);
    for n in 0..count {
        let history: Vec<Step> =
            (0..depth).map(|d| steps[n / steps.len().pow(d) % steps.len()]).collect();
        // The same thing twice is told by shorter histories, unless it is quick.
        if pause >= group.fdt && history.windows(2).any(|w| w[0] == w[1]) {
            continue;
        }
        let told = || format!("{history:?}");
        let mut lan = Lan::settled(group.clone());
        let mut last = 0;
        for (nth, step) in history.iter().enumerate() {
            last = lan.messages.len();
            take(&mut lan, *step, nth);
            lan.run(pause);
            assert_sound(&lan.view(), &told);
        }
        // Longer than any damping, and what it delays.
        lan.run(250 * S);
        assert_settled(&lan, group, &told);
        assert_straight(&lan, last, &told);
        let requests = lan.requests.len();
        lan.run(100 * S);
        let later = lan.requests[requests..].iter().find(|(_, r)| is_change(r));
        assert!(later.is_none(), "{}: {later:?} without an event", told());
    }
    count
}

fn small(members: usize, standbys: usize, failback: bool) -> Group {
    let mut group = group(members, 2, 10 * S);
    group.failback = failback;
    group.targets.truncate(1);
    for member in group.members.iter_mut().rev().take(standbys) {
        member.standby = true;
    }
    group
}

#[test]
fn two_members() {
    for (standbys, failback) in [(0, true), (1, true), (0, false), (1, false), (2, true)] {
        explore(&small(2, standbys, failback), 3, 45 * S);
    }
}

#[test]
fn two_members_with_events_close_together() {
    for (standbys, pause) in [(0, 20 * MS), (1, 20 * MS), (0, 8 * S), (1, 8 * S)] {
        explore(&small(2, standbys, true), 3, pause);
    }
}

#[test]
fn three_members_one_standby() {
    explore(&small(3, 1, true), 3, 45 * S);
}

#[test]
fn three_members_one_standby_without_failback() {
    explore(&small(3, 1, false), 3, 45 * S);
}

#[test]
fn three_members() {
    for (standbys, failback) in
        [(0, true), (2, true), (3, true), (0, false), (2, false), (3, false)]
    {
        explore(&small(3, standbys, failback), 2, 45 * S);
    }
}

#[test]
fn three_members_with_events_close_together() {
    for (standbys, pause) in [(1, 20 * MS), (3, 20 * MS), (1, 8 * S), (3, 8 * S)] {
        explore(&small(3, standbys, true), 2, pause);
    }
}
