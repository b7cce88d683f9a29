//! What has happened, for whoever asks later or listens: the records of the log from notice up, each with a
//! number larger than the one before (behaviour 157).

use mpathd_core::message::Severity;
use serde::{Deserialize, Serialize};

use super::log::{Record, time, word};

/// Older ones are forgotten.
pub const KEPT: usize = 200;

/// One of them. What its interface, group and reason are depends on the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// As MPATHD_SEQ of the log.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// The moment of the decision, CLOCK_MONOTONIC.
    pub at_ns: u64,
    pub severity: String,
    pub event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As the log has it.
    pub text: String,
    /// Its evidence or cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl EventRecord {
    /// `None`: nothing has changed by it.
    pub(super) fn of(seq: u64, record: &Record) -> Option<Self> {
        if record.severity == Severity::Info {
            return None;
        }
        let field = |name: &str| {
            let value = record.fields.iter().find(|(known, _)| *known == name);
            value.and_then(|(_, value)| value.as_str()).map(str::to_owned)
        };
        Some(Self {
            seq,
            time: time(record.at),
            at_ns: record.at.0,
            severity: word(record.severity).to_owned(),
            event: field("MPATHD_EVENT")?,
            group: field("MPATHD_GROUP"),
            interface: field("MPATHD_INTERFACE"),
            reason: field("MPATHD_REASON"),
            text: record.text.clone(),
            detail: record.detail.clone(),
        })
    }
}

/// Adds one to those that are kept.
pub(super) fn keep(kept: &mut Vec<EventRecord>, event: EventRecord) {
    let surplus = (kept.len() + 1).saturating_sub(KEPT);
    kept.drain(..surplus);
    kept.push(event);
}
