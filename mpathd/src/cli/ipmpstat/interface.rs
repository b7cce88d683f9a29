//! `ipmpstat -i` (behaviour file 7.5).

use mpathd_core::event::ReceiveMode;
use mpathd_core::ids::{Family, IfName};
use mpathd_core::message::Unwatched;
use mpathd_core::view::{InterfaceState, InterfaceView, LinkState, ProbeState, View};
use serde_json::{Value, json};

use super::order;
use super::text::{families, ms, or_empty, remaining, words, yes};
use crate::cli::columns::{Column, Row, column};

pub const COLUMNS: &[Column] = &[
    column("INTERFACE", 12),
    column("ACTIVE", 8),
    column("GROUP", 12),
    column("FLAGS", 10),
    column("LINK", 10),
    column("PROBE", 10),
    column("STATE", 10),
    column("RECEIVE", 13),
    column("REASON", 16),
    column("DEGRADED", 12),
    column("DAMPED", 8),
    column("REDIRECT", 12),
    column("UNWATCHED", 24),
];

pub(super) fn rows(view: &View) -> Vec<Row> {
    order::interfaces(view).map(|interface| row(view, interface)).collect()
}

fn row(view: &View, interface: &InterfaceView) -> Row {
    vec![
        interface.name.to_string(),
        yes(interface.active),
        interface.group.to_string(),
        flags(interface),
        link(interface.link).to_owned(),
        probe(interface).to_owned(),
        state(interface.state).to_owned(),
        or_empty(interface.receive.map(receive)),
        or_empty(interface.reason),
        words(families(interface.degraded)),
        remaining(interface.damped),
        words(senders(interface)),
        words(unwatched(view, interface).map(|(family, why)| format!("{family}:{}", why.word()))),
    ]
}

/// Families that are configured to be probed and are not watched.
fn unwatched(view: &View, interface: &InterfaceView) -> impl Iterator<Item = (Family, Unwatched)> {
    let instances = view.instances.iter().filter(|it| it.interface == interface.name);
    instances.filter_map(|it| Some((it.family, it.unwatched?)))
}

/// Who sends for it; as a rule one for both families.
fn senders(interface: &InterfaceView) -> Vec<IfName> {
    let mut senders: Vec<IfName> = interface.redirected.into_iter().flatten().collect();
    senders.dedup();
    senders
}

/// m, b and M, the nominees for multicast and broadcast, are never set: Linux has none.
fn flags(interface: &InterfaceView) -> String {
    let off = |flag: bool, letter: char| if flag { letter } else { '-' };
    [
        off(interface.inactive, 'i'),
        off(interface.standby, 's'),
        '-',
        '-',
        '-',
        off(interface.down, 'd'),
        off(interface.duplicate_mac, 'h'),
    ]
    .iter()
    .collect()
}

fn link(link: LinkState) -> &'static str {
    match link {
        LinkState::Up => "up",
        LinkState::Down => "down",
        LinkState::Unknown => "unknown",
    }
}

/// "failed" is shown whenever the interface has failed and has a test address, even if only its link
/// did (behaviour 152).
fn probe(interface: &InterfaceView) -> &'static str {
    match interface.probe {
        ProbeState::Disabled => "disabled",
        _ if interface.state == InterfaceState::Failed => "failed",
        ProbeState::Ok => "ok",
        ProbeState::Failed => "failed",
        ProbeState::Unknown => "unknown",
    }
}

fn state(state: InterfaceState) -> &'static str {
    match state {
        InterfaceState::Ok => "ok",
        InterfaceState::Failed => "failed",
        InterfaceState::Unknown => "unknown",
        InterfaceState::Offline => "offline",
    }
}

/// The words of the configuration's `datapath`.
fn receive(mode: ReceiveMode) -> &'static str {
    match mode {
        ReceiveMode::Xdp => "xdp",
        ReceiveMode::Tcx => "tcx",
        ReceiveMode::XdpGeneric => "xdp-generic",
        ReceiveMode::Socket => "socket",
    }
}

pub(super) fn as_json(view: &View) -> Value {
    let one = |interface: &InterfaceView| {
        json!({
            "name": interface.name,
            "group": interface.group,
            "ifindex": interface.ifindex,
            "active": interface.active,
            "inactive": interface.inactive,
            "standby": interface.standby,
            "down": interface.down,
            "duplicate_mac": interface.duplicate_mac,
            "link": interface.link,
            "probe": interface.probe,
            "state": interface.state,
            "state_age_ms": ms(view.at.since(interface.since)),
            "reason": interface.reason,
            "degraded": families(interface.degraded),
            "receive": interface.receive.map(receive),
            "damped_ms": interface.damped.map(ms),
            "redirected": { "inet": interface.redirected[0], "inet6": interface.redirected[1] },
        })
    };
    order::interfaces(view).map(one).collect()
}
