//! `ipmpstat -l`: how late the daemon ran, how long the kernel took, and what the machine did to both.

use std::time::Duration;

use mpathd_core::histogram::Histogram;
use mpathd_core::time::Instant;
use serde_json::{Value, json};

use super::text::{millis, ms};
use crate::cli::columns::{Column, Row, column};
use crate::cli::daemon::Snapshot;

pub const COLUMNS: &[Column] = &[
    column("DELAY", 15),
    column("COUNT", 11),
    column("P50", 11),
    column("P99", 11),
    column("P99.9", 11),
    column("MAX", 12),
    column("AGE", 8),
];

/// What is counted, and once for what; nothing where the kernel does not tell.
fn delays(snapshot: &Snapshot) -> [(&'static str, &'static str, Option<Histogram>); 5] {
    let (late, machine) = (snapshot.view.lateness, snapshot.machine);
    [
        ("wake-up", "wake-up", Some(late.wakes)),
        ("request", "request", Some(late.requests)),
        ("cpu-wait", "second", machine.cpu_wait),
        ("steal", "second", machine.steal),
        ("interrupts", "second", machine.interrupts),
    ]
}

pub(super) fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let at = snapshot.view.at;
    let missed = snapshot.view.lateness.rounds_missed;
    let mut last = vec!["rounds-missed".to_owned(), missed.to_string()];
    last.resize(COLUMNS.len(), String::new());
    let delays = delays(snapshot).into_iter();
    let named = |name: &str, per| match per {
        "second" => format!("{name}/s"),
        _ => name.to_owned(),
    };
    delays
        .map(|(name, per, histogram)| row(named(name, per), histogram, at))
        .chain([last])
        .collect()
}

fn row(name: String, histogram: Option<Histogram>, at: Instant) -> Row {
    let quantile =
        |per_mille| histogram.and_then(|it| it.quantile(per_mille)).map(millis).unwrap_or_default();
    let age = histogram.and_then(|it| age(&it, at));
    vec![
        name,
        histogram.map(|it| it.count().to_string()).unwrap_or_default(),
        quantile(500),
        quantile(990),
        quantile(999),
        quantile(1000),
        age.map(|age| format!("{}s", age.as_secs())).unwrap_or_default(),
    ]
}

/// Of the longest one.
fn age(histogram: &Histogram, at: Instant) -> Option<Duration> {
    histogram.max_at.map(|max_at| at.since(max_at))
}

pub(super) fn as_json(snapshot: &Snapshot) -> Value {
    let one = |(name, per, histogram): (&str, &str, Option<Histogram>)| {
        let quantile = |per_mille| histogram.and_then(|it| it.quantile(per_mille)).map(ms);
        json!({
            "delay": name,
            "per": per,
            "known": histogram.is_some(),
            "count": histogram.map(|it| it.count()),
            "p50_ms": quantile(500),
            "p99_ms": quantile(990),
            "p999_ms": quantile(999),
            "max_ms": quantile(1000),
            "max_age_ms": histogram.and_then(|it| age(&it, snapshot.view.at)).map(ms),
            "histogram": histogram.map(|it| it.counts),
        })
    };
    delays(snapshot).map(one).into_iter().collect()
}
