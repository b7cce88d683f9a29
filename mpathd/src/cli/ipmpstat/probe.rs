//! `ipmpstat -p` (behaviour file 7.7): a line for each probe that was answered or given up.

use std::time::Duration;

use mpathd_core::time::Instant;
use mpathd_core::view::{TargetMode, View};
use serde_json::{Value, json};

use super::text::millis;
use crate::cli::columns::{Column, Row, column};
use crate::cli::daemon::ProbeRecord;
use crate::cli::names::Names;

pub const COLUMNS: &[Column] = &[
    column("TIME", 10),
    column("INTERFACE", 12),
    column("PROBE", 7),
    column("NETRTT", 10),
    column("RTT", 10),
    column("RTTAVG", 10),
    column("TARGET", 20),
    column("RTTDEV", 10),
];

/// Some member is probed.
pub(super) fn enabled(view: &View) -> bool {
    view.instances.iter().any(|instance| instance.mode != TargetMode::Disabled)
}

/// `started`: start of the tool; probes sent before have a negative time.
pub fn row(record: &ProbeRecord, started: Instant, names: &Names) -> Row {
    let known = |ns: u64| if ns == 0 { String::new() } else { millis(Duration::from_nanos(ns)) };
    let (netrtt, rtt) = round_trips(record).unzip();
    vec![
        format!("{:.2}s", seconds_after(started, record.sent_ns)),
        record.interface.to_string(),
        record.seq.to_string(),
        netrtt.map(millis).unwrap_or_default(),
        rtt.map(millis).unwrap_or_default(),
        known(record.srtt_ns),
        names.of(record.target),
        known(record.rttvar_ns),
    ]
}

/// Wire and kernel alone, and what the daemon's timers see; `None` when lost.
fn round_trips(record: &ProbeRecord) -> Option<(Duration, Duration)> {
    let since_sent = |ns: u64| Instant(ns).since(Instant(record.sent_ns));
    record.received_ns.map(|received| (since_sent(received), since_sent(record.processed_ns)))
}

fn seconds_after(started: Instant, ns: u64) -> f64 {
    let after = Instant(ns).since(started).as_secs_f64();
    let before = started.since(Instant(ns)).as_secs_f64();
    after - before
}

pub fn as_json(record: &ProbeRecord, started: Instant) -> Value {
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (netrtt, rtt) = round_trips(record).unzip();
    json!({
        "time_s": seconds_after(started, record.sent_ns),
        "interface": record.interface,
        "family": record.family,
        "target": record.target,
        "probe": record.seq,
        "state": if record.received_ns.is_some() { "acked" } else { "lost" },
        "netrtt_ns": netrtt.map(ns),
        "rtt_ns": rtt.map(ns),
        "srtt_ns": record.srtt_ns,
        "rttvar_ns": record.rttvar_ns,
        "sent_ns": record.sent_ns,
    })
}
