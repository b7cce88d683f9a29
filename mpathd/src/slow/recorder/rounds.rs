//! Probes as rounds: a line only when other targets answer than before, else a counter, or a file
//! grows by megabytes a minute.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use mpathd_core::event::{Event, Fate};
use mpathd_core::ids::{Family, IfName, PathId, Seq};
use mpathd_core::time::Instant;
use mpathd_core::view::View;
use serde_json::{Map, Value, json};

/// A round is told when so many newer ones have begun, or when all have answered and one has.
const PATIENCE: usize = 4;
/// Probes of paths that the picture doesn't name yet.
const HELD: usize = 1024;

type Instance = (IfName, Family);

#[derive(Default)]
pub(super) struct Rounds {
    paths: BTreeMap<PathId, (Instance, IpAddr)>,
    instances: BTreeMap<Instance, Series>,
    held: VecDeque<Event>,
    lines: VecDeque<(Instant, Value)>,
}

/// The rounds of an instance.
#[derive(Default)]
struct Series {
    open: VecDeque<Round>,
    /// What was told last.
    told: Option<Round>,
    /// Rounds like that one since, itself included.
    count: u64,
}

#[derive(Clone)]
struct Round {
    start: Instant,
    probes: Vec<Probe>,
}

#[derive(Clone)]
struct Probe {
    path: PathId,
    target: IpAddr,
    seq: Seq,
    at: Instant,
    fate: Fate,
    rtt: Option<u64>,
}

impl Rounds {
    pub(super) fn learn(&mut self, view: &View) {
        for row in &view.targets {
            let instance = (row.interface, row.family);
            self.paths.insert(PathId(row.path), (instance, row.target));
        }
        for event in std::mem::take(&mut self.held) {
            self.known(event);
        }
    }

    /// The next picture says whose paths they are.
    pub(super) fn forget_paths(&mut self) {
        self.paths.clear();
    }

    /// `Sent`, `Left`, `Reply` or `Resolved`.
    pub(super) fn take(&mut self, event: Event) {
        let held = !self.held.is_empty() || !self.known(event);
        if held && self.held.len() < HELD {
            self.held.push_back(event);
        }
    }

    /// `false`: no picture has named the path.
    fn known(&mut self, event: Event) -> bool {
        let (Event::Sent { path, .. }
        | Event::Left { path, .. }
        | Event::Reply { path, .. }
        | Event::Resolved { path, .. }) = event
        else {
            return true;
        };
        let Some(&(instance, target)) = self.paths.get(&path) else { return false };
        let series = self.instances.entry(instance).or_default();
        match event {
            Event::Sent { seq, at, fate, .. } => {
                series.sent(Probe { path, target, seq, at, fate, rtt: None });
            }
            Event::Left { seq, at, .. } => {
                if let Some(probe) = series.probe(path, seq) {
                    (probe.at, probe.fate) = (at, Fate::Left);
                }
            }
            Event::Reply { seq, at, .. } => {
                if let Some(probe) = series.probe(path, seq) {
                    probe.fate = Fate::Left;
                    probe.rtt = Some(at.0.saturating_sub(probe.at.0));
                }
            }
            Event::Resolved { seq, at, .. } => {
                if let Some(probe) = series.probe(path, seq) {
                    probe.rtt = Some(at.0.saturating_sub(probe.at.0));
                }
            }
            _ => {}
        }
        while let Some(round) = series.judged() {
            self.lines.extend(series.tell(instance, round));
        }
        true
    }

    pub(super) fn next_line(&mut self) -> Option<(Instant, Value)> {
        self.lines.pop_front()
    }

    /// Tells all rounds, and how long the last ones have lasted.
    pub(super) fn finish(&mut self) {
        for (instance, series) in &mut self.instances {
            for round in std::mem::take(&mut series.open) {
                self.lines.extend(series.tell(*instance, round));
            }
            if let Some(told) = series.told.take() {
                self.lines.push_back((told.start, told.line(*instance, series.count)));
            }
        }
    }
}

impl Series {
    /// A second probe of one path begins a round.
    fn sent(&mut self, probe: Probe) {
        match self.open.back_mut() {
            Some(round) if round.probes.iter().all(|p| p.path != probe.path) => {
                round.probes.push(probe);
            }
            _ => self.open.push_back(Round { start: probe.at, probes: vec![probe] }),
        }
    }

    fn probe(&mut self, path: PathId, seq: Seq) -> Option<&mut Probe> {
        let probes = self.open.iter_mut().rev().flat_map(|round| &mut round.probes);
        probes.into_iter().find(|probe| probe.path == path && probe.seq == seq)
    }

    /// The oldest round, when its fate is known.
    fn judged(&mut self) -> Option<Round> {
        let answered = self.open.front()?.probes.iter().all(|probe| probe.rtt.is_some());
        let newer = self.open.len() - 1;
        let judged = newer >= PATIENCE || (newer > 0 && answered);
        if judged { self.open.pop_front() } else { None }
    }

    /// A line, if the round differs from the one told last.
    fn tell(&mut self, instance: Instance, round: Round) -> Option<(Instant, Value)> {
        if self.told.as_ref().is_some_and(|told| told.pattern().eq(round.pattern())) {
            self.count += 1;
            return None;
        }
        let line = (round.start, round.line(instance, self.count));
        self.told = Some(round);
        self.count = 1;
        Some(line)
    }
}

impl Round {
    /// What must change for a line: who is asked, and how; who answers; what never left.
    fn pattern(&self) -> impl Iterator<Item = (IpAddr, bool, Option<Fate>)> + '_ {
        self.probes.iter().map(|p| (p.target, p.rtt.is_some(), p.odd()))
    }

    /// `rounds`: how many the line before this one stood for.
    fn line(&self, (interface, family): Instance, rounds: u64) -> Value {
        let mut targets = Map::new();
        let (mut unsent, mut resolving) = (Map::new(), Vec::new());
        for probe in &self.probes {
            targets.insert(probe.target.to_string(), probe.rtt.into());
            match probe.odd() {
                Some(Fate::Resolving) => resolving.push(probe.target),
                Some(fate) => drop(unsent.insert(probe.target.to_string(), json!(fate))),
                None => {}
            }
        }
        let mut line = json!({
            "interface": interface,
            "family": family,
            "rounds": rounds,
            "targets": targets,
        });
        if !unsent.is_empty() {
            line["unsent"] = Value::Object(unsent);
        }
        if !resolving.is_empty() {
            line["resolving"] = json!(resolving);
        }
        line
    }
}

impl Probe {
    /// Any fate but that of a probe that has left.
    fn odd(&self) -> Option<Fate> {
        match self.fate {
            Fate::Waiting | Fate::Refused if self.rtt.is_none() => Some(self.fate),
            Fate::Resolving => Some(self.fate),
            Fate::Waiting | Fate::Refused | Fate::Left => None,
        }
    }
}
