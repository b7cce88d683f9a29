//! What became of the replies of each path: for the picture, for USR1, and for the warnings about
//! forged and stray replies. Reads the counts of the kernel program and of the fast thread, and shows
//! of a slot what came since its present path was opened. Held by the hub; decides nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use aya::maps::MapError;
use mpathd_common::abi::{Outcome, Skip};
use mpathd_core::ids::{Family, IfName, PathId};
use mpathd_core::time::Instant;
use mpathd_core::view::{TargetView, View};
use serde::{Deserialize, Serialize};

use super::machine::Seconds;
use super::now;
use crate::host::counters::{Row, Source};

/// The picture as the tools get it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(flatten)]
    pub view: View,
    /// Of the targets, as far as the counts can be read.
    #[serde(default)]
    pub counts: Vec<TargetCounts>,
    /// Frames that the hooks have passed on because they were no reply to a probe, by reason, since
    /// the kernel program was loaded first.
    #[serde(default)]
    pub skips: BTreeMap<String, u64>,
    /// What an administrator is to know of the configuration: that it is on trial, or not what the
    /// files say.
    #[serde(default)]
    pub note: Option<String>,
    /// Groups that are configured, but that this host does not let start: name and reason.
    #[serde(default)]
    pub not_started: BTreeMap<String, String>,
    /// What the machine did to the fast thread.
    #[serde(default)]
    pub machine: Seconds,
}

impl Snapshot {
    pub fn counts_of(&self, target: &TargetView) -> Option<&TargetCounts> {
        self.counts
            .iter()
            .find(|counts| (counts.interface, counts.target) == (target.interface, target.target))
    }
}

/// The replies of one target on one interface since it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCounts {
    pub interface: IfName,
    pub family: Family,
    pub target: IpAddr,
    /// By [`Outcome`].
    pub outcomes: BTreeMap<String, u64>,
    /// 32 counts: bucket b is of RTTs of 2^b to 2^(b+1) - 1 ns, the last one of all from 2.1 s.
    pub rtt_histogram: Vec<u64>,
}

impl TargetCounts {
    fn new(target: &TargetView, row: &Row) -> Self {
        let outcomes = Outcome::ALL.iter().map(|&it| (name(it.label()), row.count(it)));
        Self {
            interface: target.interface,
            family: target.family,
            target: target.target,
            outcomes: outcomes.collect(),
            rtt_histogram: row.rtt.to_vec(),
        }
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&name(outcome.label())).copied().unwrap_or(0)
    }
}

/// A label as the name of a field.
fn name(label: &str) -> String {
    label.replace('-', "_")
}

/// Replies of a path that should not be there, to be told to the administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alarm {
    pub(super) interface: IfName,
    pub(super) target: IpAddr,
    pub(super) outcome: Outcome,
    /// Since the last alarm of this kind.
    pub(super) replies: u64,
}

/// Which outcomes are alarming: a wrong MAC at a neighbour (N2), and somebody who pretends.
const ALARMING: [Outcome; 2] = [Outcome::WrongNic, Outcome::Forged];
/// A path is told of at most once in this time, for each outcome.
const QUIET: Duration = Duration::from_secs(60);
/// Nobody makes us read for more than a tenth of the time.
const REST: u32 = 9;

#[derive(Default)]
pub(super) struct Counts {
    source: Option<Source>,
    /// By path: who has the slot.
    uses: BTreeMap<u16, Use>,
    last: Option<Reading>,
}

/// The use of a slot by a path.
struct Use {
    interface: IfName,
    target: IpAddr,
    /// Probes, in the last picture.
    sent: u64,
    /// What the slot had counted before.
    before: Row,
    alarms: [Told; ALARMING.len()],
}

#[derive(Clone, Copy, Default)]
struct Told {
    /// Of what was counted; `None` until the first look, for answers to probes that an earlier path
    /// of this slot has sent are forged by their looks.
    count: Option<u64>,
    at: Option<Instant>,
}

struct Reading {
    at: Instant,
    took: Duration,
    counts: Vec<TargetCounts>,
    skips: BTreeMap<String, u64>,
}

impl Counts {
    /// From now on these are read.
    pub(super) fn set(&mut self, source: Source) {
        *self = Self { source: Some(source), ..Self::default() };
    }

    /// Learns who has which slot; to be told of every picture. What a slot has counted for somebody
    /// else is read then, 20 ms after the path was opened; a slot that nobody had begins with zero.
    pub(super) fn follow(&mut self, view: &View) {
        let Some(source) = &self.source else { return };
        for row in &view.targets {
            let known = self.uses.get_mut(&row.path);
            let unused = known.is_none() && !source.adopted;
            if let Some(known) = known
                && (known.interface, known.target) == (row.interface, row.target)
                // Else the path was opened anew.
                && known.sent <= row.sent
            {
                known.sent = row.sent;
                continue;
            }
            let before = if unused { Ok(Row::default()) } else { source.row(PathId(row.path)) };
            // An error comes again when the counts are wanted.
            let before = before.unwrap_or_default();
            let TargetView { interface, target, sent, .. } = *row;
            let told = Default::default();
            self.uses.insert(row.path, Use { interface, target, sent, before, alarms: told });
            self.last = None;
        }
    }

    /// The picture with the counts. A path costs 48 system calls, 0.09 ms.
    pub(super) fn complete(&mut self, view: View, now: Instant) -> Snapshot {
        self.follow(&view);
        let rested = |last: &Reading| now.since(last.at) >= last.took * REST;
        if self.last.as_ref().is_none_or(rested) {
            self.last = self.read(&view, now);
        }
        match &self.last {
            Some(Reading { counts, skips, .. }) => {
                let (counts, skips) = (counts.clone(), skips.clone());
                Snapshot { view, counts, skips, ..Snapshot::default() }
            }
            None => Snapshot { view, ..Snapshot::default() },
        }
    }

    fn read(&self, view: &View, at: Instant) -> Option<Reading> {
        let source = self.source.as_ref()?;
        let begun = now();
        let counts = view.targets.iter().filter_map(|target| {
            let before = &self.uses.get(&target.path)?.before;
            // What cannot be read is not shown; the next look for alarms says why.
            let row = source.row(PathId(target.path)).ok()?;
            Some(TargetCounts::new(target, &row.since(before)))
        });
        let counts = counts.collect();
        let skips = source.skips().unwrap_or_default();
        let skips = Skip::ALL.iter().map(|it| name(it.label())).zip(skips).collect();
        Some(Reading { at, took: now().since(begun), counts, skips })
    }

    /// What the administrator has to be told. Costs two system calls a path, 4 us.
    ///
    /// # Errors
    /// Where the kernel does not give its counts; they are not asked for any more.
    pub(super) fn alarms(&mut self, view: &View, now: Instant) -> Result<Vec<Alarm>, MapError> {
        let alarms = self.risen(view, now);
        if alarms.is_err() {
            *self = Self::default();
        }
        alarms
    }

    fn risen(&mut self, view: &View, now: Instant) -> Result<Vec<Alarm>, MapError> {
        let mut alarms = Vec::new();
        let Some(source) = &self.source else { return Ok(alarms) };
        for row in &view.targets {
            let Some(known) = self.uses.get_mut(&row.path) else { continue };
            for (outcome, told) in ALARMING.into_iter().zip(&mut known.alarms) {
                let count = source.count(PathId(row.path), outcome)?;
                let replies = count.saturating_sub(*told.count.get_or_insert(count));
                if replies > 0 && told.at.is_none_or(|at| now.since(at) >= QUIET) {
                    *told = Told { count: Some(count), at: Some(now) };
                    let (interface, target) = (row.interface, row.target);
                    alarms.push(Alarm { interface, target, outcome, replies });
                }
            }
        }
        Ok(alarms)
    }
}

impl Alarm {
    pub(super) fn text(&self) -> String {
        let Self { interface, target, outcome, replies } = self;
        let noun = if *replies == 1 { "reply" } else { "replies" };
        match outcome {
            Outcome::WrongNic => format!(
                "{replies} {noun} from {target} for {interface} came in on another interface: \
                 somebody has the wrong MAC address for the test address of {interface}, or the \
                 LAN floods"
            ),
            _ => format!(
                "{replies} {outcome} {noun} to probes of {target} on {interface} came in: they \
                 know no probe's secret, so somebody else has sent them",
                outcome = outcome.label()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
