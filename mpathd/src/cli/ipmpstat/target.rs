//! `ipmpstat -t` (behaviour file 7.6).

use std::net::IpAddr;

use mpathd_core::ids::IfName;
use mpathd_core::view::{InstanceView, TargetMode, TargetState, TargetView, View};
use serde_json::{Value, json};

use super::order;
use super::text::{millis, ms};
use crate::cli::columns::{Column, Row, column};
use crate::cli::daemon::Snapshot;
use crate::cli::names::Names;

pub const COLUMNS: &[Column] = &[
    column("INTERFACE", 12),
    column("MODE", 10),
    column("TESTADDR", 20),
    column("TARGETS", 38),
    column("SILENT", 38),
    column("POLICED", 38),
    column("INTERVAL", 12),
    column("MISSED", 8),
    column("FAMILY", 8),
    column("LOSSES", 8),
    column("LOSS", 8),
];

/// One row for each family that is probed; one that says "disabled" where none is.
pub(super) fn rows(view: &View, names: &Names) -> Vec<Row> {
    let mut rows = Vec::new();
    for interface in order::interfaces(view) {
        let before = rows.len();
        rows.extend(probed(view, interface.name).map(|instance| row(view, instance, names)));
        if rows.len() == before {
            let mut row = vec![String::new(); COLUMNS.len()];
            row[0] = interface.name.to_string();
            row[1] = mode(TargetMode::Disabled).to_owned();
            rows.push(row);
        }
    }
    rows
}

/// IPv4 first.
fn probed(view: &View, interface: IfName) -> impl Iterator<Item = &InstanceView> {
    let mut instances: Vec<&InstanceView> = view
        .instances
        .iter()
        .filter(|i| i.interface == interface && i.mode != TargetMode::Disabled)
        .collect();
    instances.sort_by_key(|instance| instance.family);
    instances.into_iter()
}

fn row(view: &View, instance: &InstanceView, names: &Names) -> Row {
    let name = |address: IpAddr| names.of(address);
    let listed = |states: &[TargetState]| {
        let of_instance = view.targets.iter().filter(|target| {
            (target.interface, target.family) == (instance.interface, instance.family)
                && states.contains(&target.state)
        });
        let list: Vec<String> = of_instance.map(|target| name(target.target)).collect();
        list.join(" ")
    };
    vec![
        instance.interface.to_string(),
        mode(instance.mode).to_owned(),
        instance.test.map(name).unwrap_or_default(),
        listed(&[TargetState::Active, TargetState::Policed]),
        listed(&[TargetState::Unproven, TargetState::Dead]),
        listed(&[TargetState::Policed]),
        millis(instance.interval),
        instance.rounds_missed.to_string(),
        instance.family.to_string(),
        instance.loss.losses_to_fail.to_string(),
        format!("{:.2}%", f64::from(instance.loss.silent_ppm) / 1e4),
    ]
}

fn mode(mode: TargetMode) -> &'static str {
    match mode {
        TargetMode::Disabled => "disabled",
        TargetMode::Pinned => "pinned",
        TargetMode::Routes => "routes",
        TargetMode::Multicast => "multicast",
        TargetMode::Neighbors => "neighbors",
    }
}

pub(super) fn instances_as_json(view: &View) -> Value {
    let one = |instance: &InstanceView| {
        json!({
            "interface": instance.interface,
            "family": instance.family,
            "mode": instance.mode,
            "test": instance.test,
            "interval_ms": ms(instance.interval),
            "rounds_missed": instance.rounds_missed,
            "losses_to_fail": instance.loss.losses_to_fail,
            "silent_ppm": instance.loss.silent_ppm,
            "false_failures_per_year": instance.false_failures_per_year,
            "unwatched": instance.unwatched,
        })
    };
    view.instances.iter().map(one).collect()
}

/// What became of the replies is null where the daemon cannot tell.
pub(super) fn as_json(snapshot: &Snapshot) -> Value {
    let view = &snapshot.view;
    let one = |target: &TargetView| {
        let counts = snapshot.counts_of(target);
        json!({
            "interface": target.interface,
            "family": target.family,
            "target": target.target,
            "state": target.state,
            "interval_ms": ms(target.interval),
            "path": target.path,
            "sent": target.sent,
            "acked": target.acked,
            "lost": target.lost,
            "srtt_ns": target.srtt,
            "rttvar_ns": target.rttvar,
            "last_reply_age_ms": target.last_reply.map(|at| ms(view.at.since(at))),
            "outcomes": counts.map(|counts| &counts.outcomes),
            "rtt_histogram": counts.map(|counts| &counts.rtt_histogram),
        })
    };
    view.targets.iter().map(one).collect()
}
