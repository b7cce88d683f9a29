//! `ipmpstat -e`: what has happened, a line each, the newest last.

use super::text::or_empty;
use crate::cli::columns::{Column, Row, column};
use crate::cli::daemon::EventRecord;

pub const COLUMNS: &[Column] = &[
    column("TIME", 25),
    column("GROUP", 12),
    column("INTERFACE", 12),
    column("EVENT", 20),
    column("REASON", 11),
    column("SEVERITY", 10),
    column("SEQ", 8),
    column("TEXT", 72),
    column("DETAIL", 72),
];

pub fn row(event: &EventRecord) -> Row {
    let known = |value: &Option<String>| or_empty(value.as_ref());
    vec![
        event.time.clone(),
        known(&event.group),
        known(&event.interface),
        event.event.clone(),
        known(&event.reason),
        event.severity.clone(),
        event.seq.to_string(),
        event.text.clone(),
        known(&event.detail),
    ]
}
