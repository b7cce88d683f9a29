//! `mpathd status`: a line a group, and an exit code for scripts and monitoring (O22).

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use mpathd_core::ids::{Family, IfName, Mac};
use mpathd_core::message::Unwatched;
use mpathd_core::view::{GroupState, GroupView, InterfaceState, InterfaceView};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::ipmpstat::text::{families, words};
use crate::config::words::duration;
use crate::slow::client::Snapshot;

/// Of the exit; nowhere else 3 or 4 are used (contract).
const CANNOT_ASK: u8 = 1;
/// Some group is degraded, or has an interface that nothing watches.
const DEGRADED: u8 = 3;
const FAILED: u8 = 4;

/// Of all groups, or of one.
pub fn run<D: Daemon>(
    run_dir: &Path,
    group: Option<&str>,
    as_json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    match show::<D>(run_dir, group, as_json, out, err) {
        Ok(code) => ExitCode::from(code),
        Err(text) => {
            // Nobody is left to be told of an error here.
            drop(writeln!(err, "mpathd: {text}"));
            ExitCode::from(CANNOT_ASK)
        }
    }
}

fn show<D: Daemon>(
    run_dir: &Path,
    name: Option<&str>,
    as_json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8, String> {
    let snapshot =
        D::connect(run_dir).and_then(|mut daemon| daemon.snapshot()).map_err(|e| e.to_string())?;
    let wanted = |group: &&GroupView| name.is_none_or(|name| group.name.as_str() == name);
    let groups: Vec<&GroupView> = snapshot.view.groups.iter().filter(wanted).collect();
    let refused: BTreeMap<&String, &String> =
        snapshot.not_started.iter().filter(|(it, _)| name.is_none_or(|name| name == *it)).collect();
    if let Some(name) = name.filter(|_| groups.is_empty() && refused.is_empty()) {
        return Err(format!("{name}: no such group"));
    }
    let written = if as_json {
        let all: Vec<Value> = groups.iter().map(|group| object(&snapshot, group)).collect();
        writeln!(
            out,
            "{:#}",
            json!({ "groups": all, "not_started": refused, "note": snapshot.note })
        )
    } else {
        let lines = groups.iter().try_for_each(|group| writeln!(out, "{}", line(&snapshot, group)));
        let lines = lines.and_then(|()| refused.values().try_for_each(|it| writeln!(out, "{it}")));
        let ungrouped = groups.iter().all(|group| group.name.is_anonymous());
        let none = (ungrouped && refused.is_empty()).then_some("no group is configured");
        let mut notes = snapshot.note.as_deref().into_iter().chain(none);
        lines.and_then(|()| notes.try_for_each(|note| writeln!(err, "mpathd: note: {note}")))
    };
    written.map_err(|error| format!("cannot write: {error}"))?;
    let states = groups.iter().map(|group| match group.state {
        GroupState::Ok
            if is_watched(&snapshot, group) && conflicts(&snapshot, group).is_empty() =>
        {
            0
        }
        GroupState::Ok | GroupState::Degraded => DEGRADED,
        GroupState::Failed => FAILED,
    });
    Ok(states.chain((!refused.is_empty()).then_some(FAILED)).max().unwrap_or(0))
}

fn members<'a>(
    snapshot: &'a Snapshot,
    group: &'a GroupView,
) -> impl Iterator<Item = &'a InterfaceView> {
    snapshot.view.interfaces.iter().filter(|it| it.group == group.name)
}

/// An address of a group that another host has too.
struct Conflict {
    address: IpAddr,
    interface: IfName,
    /// As long as it answers.
    mac: Option<Mac>,
}

fn conflicts(snapshot: &Snapshot, group: &GroupView) -> Vec<Conflict> {
    let view = &snapshot.view;
    let here = |name: IfName| members(snapshot, group).any(|it| it.name == name);
    let tests = view.instances.iter().filter_map(|it| {
        let mac = Some(it.conflict?);
        Some(Conflict { address: it.test?, interface: it.interface, mac })
    });
    let data = view.addresses.iter().filter(|it| it.group == group.name).filter_map(|it| {
        let (address, mac) = (it.address.address, it.conflict);
        let interface = it.refused.or(it.inbound.or(it.wanted).filter(|_| mac.is_some()))?;
        Some(Conflict { address, interface, mac })
    });
    tests.filter(|it| here(it.interface)).chain(data).collect()
}

fn usable(interface: &InterfaceView) -> bool {
    interface.active || interface.inactive
}

/// Families of the interface that are configured to be probed and are not watched.
fn unwatched(
    snapshot: &Snapshot,
    interface: &InterfaceView,
) -> impl Iterator<Item = (Family, Unwatched)> {
    let instances = snapshot.view.instances.iter().filter(|it| it.interface == interface.name);
    instances.filter_map(|it| Some((it.family, it.unwatched?)))
}

fn is_watched(snapshot: &Snapshot, group: &GroupView) -> bool {
    members(snapshot, group).all(|it| unwatched(snapshot, it).next().is_none())
}

fn state(snapshot: &Snapshot, group: &GroupView) -> &'static str {
    match group.state {
        GroupState::Ok if !is_watched(snapshot, group) => "unwatched",
        GroupState::Ok => "ok",
        GroupState::Degraded => "degraded",
        GroupState::Failed => "failed",
    }
}

/// `ipmp0 degraded 1 of 2 interfaces, FDT 100ms; eth0 failed (probes)`; for interfaces outside of groups, as
/// `ipmpstat` shows them, `-- ok 1 of 1 interfaces outside of groups, FDT 10s`.
fn line(snapshot: &Snapshot, group: &GroupView) -> String {
    let (all, able) = (
        members(snapshot, group).count(),
        members(snapshot, group).filter(|it| usable(it)).count(),
    );
    let (name, outside) = match group.name.as_str() {
        "" => ("--", " outside of groups"),
        name => (name, ""),
    };
    let state = state(snapshot, group);
    let mut line = format!("{name} {state} {able} of {all} interfaces{outside}");
    if let Some(fdt) = group.fdt {
        line += &format!(", FDT {}", duration(fdt));
    }
    let mut troubles: Vec<String> = members(snapshot, group).filter_map(trouble).collect();
    troubles.extend(members(snapshot, group).flat_map(|interface| {
        let name = interface.name;
        let families = unwatched(snapshot, interface);
        families.map(move |(family, why)| format!("{name} {family} unwatched ({why})"))
    }));
    let also_used = |it: Conflict| match it.mac {
        Some(mac) => format!("{} on {} is also used by {mac}", it.address, it.interface),
        None => format!("{} on {} is a duplicate", it.address, it.interface),
    };
    troubles.extend(conflicts(snapshot, group).into_iter().map(also_used));
    if !troubles.is_empty() {
        line += &format!("; {}", troubles.join(", "));
    }
    line
}

fn trouble(interface: &InterfaceView) -> Option<String> {
    let name = interface.name;
    let why = interface.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    match (interface.ifindex, interface.state) {
        (None, _) => Some(format!("{name} absent")),
        (_, InterfaceState::Failed) => Some(format!("{name} failed{why}")),
        (_, InterfaceState::Offline) => Some(format!("{name} offline")),
        (_, InterfaceState::Unknown) if !usable(interface) => Some(format!("{name} unknown")),
        (_, InterfaceState::Ok | InterfaceState::Unknown) => {
            let dead = words(families(interface.degraded));
            (!dead.is_empty()).then(|| format!("{name} {dead} failed"))
        }
    }
}

fn object(snapshot: &Snapshot, group: &GroupView) -> Value {
    let able = members(snapshot, group).filter(|it| usable(it)).count();
    let interfaces: Vec<Value> = members(snapshot, group)
        .map(|it| {
            json!({
                "name": it.name,
                "state": it.state,
                "usable": usable(it),
                "active": it.active,
                "present": it.ifindex.is_some(),
                "reason": it.reason,
                "unwatched": unwatched(snapshot, it).map(|(family, why)| (family.to_string(), json!(why))).collect::<serde_json::Map<_, _>>(),
                "families_down": families(it.degraded),
            })
        })
        .collect();
    let conflicts = conflicts(snapshot, group)
        .into_iter()
        .map(|it| json!({ "address": it.address, "interface": it.interface, "mac": it.mac }));
    let conflicts: Vec<Value> = conflicts.collect();
    json!({
        "name": group.name,
        "state": group.state,
        "watched": is_watched(snapshot, group),
        "usable": able,
        "fdt_ms": group.fdt.map(|fdt| fdt.as_secs_f64() * 1e3),
        "address_conflicts": conflicts,
        "interfaces": interfaces,
    })
}
