//! The log: one record a line, to the journal with fields, or to stderr as text or JSON. Only the
//! slow thread writes it. Not `tracing`: its five levels have no place for crit and notice, and its
//! field names are fixed at compile time, where ours depend on the message.

mod fields;
mod journal;
mod managers;
mod sink;

use std::collections::BTreeMap;

use mpathd_core::ids::{GroupName, IfName};
use mpathd_core::message::{Message, Severity};
use mpathd_core::time::Instant;
use mpathd_core::view::View;
use serde_json::Value;

use super::counts::Alarm;
use super::events::EventRecord;

pub(crate) use sink::rfc3339;
pub use sink::{Format, Sink};
pub(super) use sink::{time, word};

/// What is written down: the text for people, the fields for searching.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) at: Instant,
    pub(super) severity: Severity,
    pub(super) text: String,
    /// Further words to the text; in the text format a line of their own.
    pub(super) detail: Option<String>,
    /// Names in upper case, as the journal has them.
    pub(super) fields: Vec<(&'static str, Value)>,
}

pub struct Log {
    sink: Sink,
    /// Of messages, from 1.
    seq: u64,
    groups: BTreeMap<IfName, GroupName>,
    /// Records that could not be written.
    lost: u64,
}

impl Log {
    pub fn new(sink: Sink) -> Self {
        Self { sink, seq: 0, groups: BTreeMap::new(), lost: 0 }
    }

    /// Goes on behind the number of the last message that an earlier daemon has kept.
    pub(super) fn resume(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// What the engine said, with its fields. `cause`: what else is known of it. The event that it tells of, if
    /// it tells of one.
    pub fn message(
        &mut self,
        at: Instant,
        message: &Message,
        cause: Option<String>,
    ) -> Option<EventRecord> {
        self.seq += 1;
        let mut fields = fields::of(message, &self.groups);
        fields.push(("MPATHD_SEQ", self.seq.into()));
        // The moment of the decision on CLOCK_MONOTONIC, where `time` is rounded, and may be set.
        fields.push(("MPATHD_AT_NS", at.0.into()));
        let detail = match message.event() {
            "drift" => managers::likely(),
            _ => fields::evidence(message).map(fields::words).or(cause),
        };
        let (severity, text) = (message.severity(), message.to_string());
        let record = Record { at, severity, text, detail, fields };
        self.write(&record);
        EventRecord::of(self.seq, &record)
    }

    /// A line about the daemon itself.
    pub fn line(&mut self, severity: Severity, text: impl Into<String>) {
        let (at, text) = (super::now(), text.into());
        self.write(&Record { at, severity, text, detail: None, fields: Vec::new() });
    }

    /// Replies that should not be there.
    pub(super) fn alarm(&mut self, alarm: &Alarm) {
        let mut fields = vec![("MPATHD_EVENT", Value::from(alarm.outcome.label()))];
        let group = self.groups.get(&alarm.interface);
        fields.extend(group.map(|group| ("MPATHD_GROUP", group.to_string().into())));
        fields.push(("MPATHD_INTERFACE", alarm.interface.to_string().into()));
        fields.push(("MPATHD_TARGET", alarm.target.to_string().into()));
        let (severity, text) = (Severity::Warning, alarm.text());
        self.write(&Record { at: super::now(), severity, text, detail: None, fields });
    }

    /// Which group an interface is in: not every message knows.
    pub(super) fn learn(&mut self, view: &View) {
        self.groups = view.interfaces.iter().map(|row| (row.name, row.group)).collect();
    }

    fn write(&mut self, record: &Record) {
        if self.lost > 0 {
            let text = format!("{} lines of this log were lost", self.lost);
            let severity = Severity::Warning;
            let gap = Record { at: record.at, severity, text, detail: None, fields: Vec::new() };
            if self.sink.write(&gap).is_ok() {
                self.lost = 0;
            }
        }
        if self.sink.write(record).is_err() {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use mpathd_core::message::{Evidence, Reason};
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    fn failure() -> Message {
        Message::InterfaceFailed {
            interface: sample::name("eth0"),
            group: sample::group(),
            evidence: Evidence {
                reason: Reason::Probes,
                silent: 3,
                counted: 3,
                last_reply: Some(Duration::from_millis(952)),
                detected: Duration::from_micros(83_512),
            },
        }
    }

    fn moved() -> Message {
        Message::Moved {
            address: sample::target(50),
            from: Some(sample::name("eth0")),
            to: sample::name("eth1"),
            took: Duration::from_micros(400),
        }
    }

    #[test]
    fn text_keeps_the_original_line_and_adds_the_evidence() {
        let paper = Paper::default();
        let mut log = Log::new(Sink::Text(Box::new(paper.clone())));
        log.message(super::super::now(), &failure(), None);
        log.message(super::super::now(), &moved(), None);
        let lines = paper.lines();
        let texts: Vec<_> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(
            texts,
            [
                "err IP interface failure detected on eth0 of group ipmp0",
                "err probes: 3 of 3 targets silent, last reply 952 ms before, link up",
                "notice moved 192.0.2.50 from eth0 to eth1 in 0.4 ms",
            ]
        );
    }

    #[test]
    fn json_has_one_object_a_line_with_all_fields() {
        let paper = Paper::default();
        let mut log = Log::new(Sink::Json(Box::new(paper.clone())));
        log.learn(&sample::view());
        log.message(Instant(12_345_678_901), &failure(), None);
        log.message(super::super::now(), &moved(), None);
        log.line(Severity::Warning, "a \"quoted\" line");
        let lines: Vec<Value> =
            paper.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut first = lines[0].clone();
        assert!(first.as_object_mut().unwrap().remove("time").is_some());
        assert_eq!(
            first,
            serde_json::json!({
                "severity": "err",
                "message": "IP interface failure detected on eth0 of group ipmp0",
                "mpathd_event": "interface-failed",
                "mpathd_group": "ipmp0",
                "mpathd_interface": "eth0",
                "mpathd_reason": "probes",
                "mpathd_targets": "3 of 3",
                "mpathd_last_reply": 952.0,
                "mpathd_detected_ms": 83.512,
                "mpathd_evidence":
                    "probes: 3 of 3 targets silent, last reply 952 ms before, link up",
                "mpathd_seq": 1,
                "mpathd_at_ns": 12_345_678_901_u64,
            })
        );
        assert_eq!(lines[1]["mpathd_from"], "eth0");
        assert_eq!(lines[1]["mpathd_to"], "eth1");
        assert_eq!(lines[1]["mpathd_group"], "ipmp0", "known from the picture");
        assert_eq!(lines[2]["message"], "a \"quoted\" line");
    }

    /// Fails until it is let.
    struct Stuck(Arc<Mutex<bool>>, Paper);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *self.0.lock().unwrap() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_gap_is_named() {
        let (stuck, paper) = (Arc::new(Mutex::new(true)), Paper::default());
        let mut log = Log::new(Sink::Text(Box::new(Stuck(stuck.clone(), paper.clone()))));
        log.line(Severity::Info, "one");
        log.line(Severity::Info, "two");
        *stuck.lock().unwrap() = false;
        log.line(Severity::Info, "three");
        let lines = paper.lines();
        assert!(lines[0].ends_with("warning 2 lines of this log were lost"), "{lines:?}");
        assert!(lines[1].ends_with("info three"), "{lines:?}");
    }
}
