//! `--record FILE`: what the host did, for replay. A header, then one JSON object a line,
//! `{"t":NS,"KIND":{...}}`, t in ns since the start; host facts by name, not engine types; kinds and
//! fields are only ever added (review of the architecture, 4). Lines of one kind are in order; an
//! `answers` line carries the time of its round, which lies some rounds before its neighbours. The
//! last line, `end`, tells how long nothing else has happened.

mod facts;
mod rounds;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mpathd_core::event::Event;
use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;
use mpathd_core::view::View;
use nix::net::if_::if_indextoname;
use serde::Serialize;
use serde_json::{Value, json};

use rounds::Rounds;
use writer::Writer;

/// Of the file. Readers ignore kinds and fields that they don't know, so it seldom changes.
const FORMAT: u32 = 1;

/// What to record, and into what.
#[derive(Clone, Debug)]
pub struct Recording {
    pub file: PathBuf,
    /// The configuration's text: a replay starts from it.
    pub config: String,
    /// Of the engine's random phases.
    pub seed: u64,
    /// What the daemon began with.
    pub state: Saved,
}

/// The first line.
#[derive(Serialize)]
struct Header<'a> {
    mpathd_replay: u32,
    config: &'a str,
    seed: u64,
    kernel: &'a str,
    state: &'a Saved,
}

pub(super) struct Recorder {
    /// Of the first fact: the two other threads begin before this one.
    start: Option<Instant>,
    /// When the latest line was due.
    end: Instant,
    names: Names,
    rounds: Rounds,
    /// A quarter of the shortest interval: later wake-ups matter to a verdict (design 2.12).
    late: Option<Duration>,
    woken: Option<Instant>,
    out: Writer,
}

/// Names of interfaces, as the link notices told them; who is gone is still called so. Addresses may
/// be told before the links: then the kernel is asked.
#[derive(Default)]
struct Names(BTreeMap<Ifindex, IfName>);

impl Names {
    fn of(&self, ifindex: Ifindex) -> Value {
        if let Some(name) = self.0.get(&ifindex) {
            return name.as_str().into();
        }
        match if_indextoname(ifindex.0) {
            Ok(name) if !name.is_empty() => name.to_string_lossy().into(),
            Ok(_) | Err(_) => format!("#{}", ifindex.0).into(),
        }
    }
}

impl Recorder {
    /// # Errors
    /// Where the file can't be made.
    pub(super) fn start(recording: &Recording) -> io::Result<Self> {
        let out = Writer::create(&recording.file)?;
        let kernel = nix::sys::utsname::uname().map_err(io::Error::from)?;
        let header = Header {
            mpathd_replay: FORMAT,
            config: &recording.config,
            seed: recording.seed,
            kernel: &kernel.release().to_string_lossy(),
            state: &recording.state,
        };
        let header = serde_json::to_string(&header)?;
        let mut recorder = Self {
            start: None,
            end: Instant::default(),
            names: Names::default(),
            rounds: Rounds::default(),
            late: None,
            woken: None,
            out,
        };
        recorder.out.line(header);
        Ok(recorder)
    }

    /// Paths, targets and intervals have their names from the picture.
    pub(super) fn learn(&mut self, view: &View) {
        self.late = view.instances.iter().map(|row| row.interval / 4).min();
        self.rounds.learn(view);
        self.write_rounds();
    }

    pub(super) fn fact(&mut self, at: Instant, event: &Event) {
        self.end = self.end.max(at);
        if let Event::Link(link) = event {
            self.names.0.insert(link.ifindex, link.name);
        }
        match facts::of(event, &self.names) {
            Some((kind, fact)) => self.write(at, kind, &fact),
            None => {
                self.rounds.take(*event);
                self.write_rounds();
            }
        }
    }

    /// The latest wake-up since the last time this was told.
    pub(super) fn woken(&mut self, at: Instant, late: Duration) {
        let since = self.woken.replace(at).unwrap_or(at);
        self.end = self.end.max(at);
        if self.late.is_some_and(|limit| late > limit) {
            let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
            let since = self.since_start(since);
            self.write(at, "wake", &json!({ "late": late, "since": since }));
        }
    }

    /// Another configuration is in force, with this seed: numbers of paths may have changed hands.
    pub(super) fn reloaded(&mut self, at: Instant, config: &str, seed: u64) {
        self.rounds.forget_paths();
        self.write(at, "reload", &json!({ "config": config, "seed": seed }));
    }

    /// Facts that never came here.
    pub(super) fn overrun(&mut self, at: Instant, lost: u64) {
        self.write(at, "lost", &json!({ "facts": lost }));
    }

    /// The file can't be written any more.
    pub(super) fn has_ended(&self) -> bool {
        self.out.has_ended()
    }

    /// Writes what is held back, and waits for the file.
    ///
    /// # Errors
    /// What kept the file from being written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.rounds.finish();
        self.write_rounds();
        self.write(self.end, "end", &json!({}));
        self.out.finish()
    }

    fn write_rounds(&mut self) {
        while let Some((at, answers)) = self.rounds.next_line() {
            self.write(at, "answers", &answers);
        }
    }

    fn write(&mut self, at: Instant, kind: &str, fact: &Value) {
        let t = self.since_start(at);
        if let Some(lost) = self.out.lost() {
            self.out.line(format!("{{\"t\":{t},\"lost\":{{\"lines\":{lost}}}}}"));
        }
        self.out.line(format!("{{\"t\":{t},\"{kind}\":{fact}}}"));
    }

    fn since_start(&mut self, at: Instant) -> u64 {
        at.0.saturating_sub(self.start.get_or_insert(at).0)
    }
}

#[cfg(test)]
mod tests;
