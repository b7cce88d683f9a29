//! Which targets of an instance count for what, and how long a verdict that rests on them takes.

use core::net::IpAddr;
use core::time::Duration;

use super::suspicion::PATIENCE;
use super::{Instance, rounds};
use crate::config::LOSSES_TO_FAIL;
use crate::message::Loss;
use crate::pace::HOLES;
use crate::path::Path;
use crate::time::Instant;

/// Whoever limits its answers shows it by then.
const NEW_TARGETS: Duration = Duration::from_secs(5);
/// A limit lets so many answers pass at first, at the most: Linux six (XRLIM_BURST_FACTOR, 6.18).
const LONGEST_BURST: u64 = 20;
/// How long a silence lasts at the least that may come from limits nobody knows of yet.
pub const DOUBT: Duration = Duration::from_secs(1);
/// Losses in a row of all other targets after which those that limit their answers are asked in every
/// round, and the rounds in which that comes about.
pub(super) const LOSSES_TO_URGE: u8 = 2;
const ROUNDS_TO_URGE: u32 = LOSSES_TO_URGE as u32 + 2;

impl Instance {
    /// Those that have a say in the verdict.
    pub fn counted(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|p| p.counts())
    }

    /// Those of them that are asked in every round.
    pub fn unlimited(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|p| p.has_a_say())
    }

    /// Those of them that limit their answers.
    pub fn limited(&self) -> impl Iterator<Item = &Path> {
        self.counted().filter(|p| p.pace.policed())
    }

    /// Those whose silence is known first: all that count, where each limits its answers.
    pub fn leading(&self) -> impl Iterator<Item = &Path> {
        let free = self.unlimited().next().is_some();
        self.counted().filter(move |p| !(free && p.pace.policed()))
    }

    /// Between two probes to one target: more than an interval where all targets limit their answers.
    pub fn spacing(&self) -> Duration {
        let every = self.leading().map(|p| p.pace.every()).max();
        self.interval() * every.unwrap_or(1)
    }

    /// The same, of the target that is asked most often.
    pub(super) fn pace(&self) -> rounds::Pace {
        let (interval, every) = (self.interval(), self.counted().map(|p| p.pace.every()).min());
        rounds::Pace { interval, spacing: interval * every.unwrap_or(1) }
    }

    /// The longest time for which a verdict without a witness waits for one.
    pub fn longest_spacing(&self) -> Duration {
        let every = self.counted().map(|p| p.pace.every()).max();
        self.interval() * every.unwrap_or(1)
    }

    /// The targets have begun to answer just now, or answer some probes and others not: a silence in
    /// common may be theirs, and moves nothing anyway.
    pub fn may_be_limited(&self, now: Instant) -> bool {
        self.is_new(now) || self.leading().any(|p| p.pace.is_gappy())
    }

    /// Its targets may limit their answers without that being known: they are new, or answer by turns.
    /// Their silence needs time, whoever answers elsewhere.
    pub fn is_doubtful(&self, now: Instant) -> bool {
        let new = || self.is_new(now) && self.open_paths().any(|p| p.pace.is_doubtful(1));
        self.is_within_first_burst(now) || new() || self.answers_by_turns(HOLES)
    }

    /// A limit would still let the first answers pass.
    fn is_within_first_burst(&self, now: Instant) -> bool {
        let young = self.first_reply.is_some_and(|at| now.since(at) < DOUBT);
        young && self.leading().any(|p| p.acked < LONGEST_BURST)
    }

    /// Its targets have begun to answer so lately that a limit may not have shown itself yet.
    pub(super) fn is_new(&self, now: Instant) -> bool {
        self.first_reply.is_some_and(|at| now.since(at) < NEW_TARGETS)
    }

    fn answers_by_turns(&self, times: u16) -> bool {
        let mut leading = self.leading().peekable();
        leading.peek().is_some() && leading.all(|p| p.pace.is_doubtful(times))
    }

    /// Losses in a row that make a verdict, our own lateness aside.
    pub fn losses_to_fail(&self) -> u8 {
        let (interval, losses) = (self.interval(), self.chance.losses());
        // So many the ring has room for, however long a reply is waited for.
        if losses == LOSSES_TO_FAIL {
            return losses;
        }
        self.counted().map(|p| p.most_losses(interval)).fold(losses, u8::min)
    }

    /// How many rounds are silent here, and what follows.
    pub fn loss(&self) -> Loss {
        let silent = self.chance.memory().silent();
        Loss { losses_to_fail: self.losses_to_fail(), silent_ppm: (silent * 1e6) as u32 }
    }

    /// Expected by chance at the present number of losses.
    pub fn false_failures_per_year(&self) -> f64 {
        self.chance.memory().alarms_a_year(self.losses_to_fail(), self.interval())
    }

    /// What a failure of the interface takes to be found at present, with the doubt about new targets.
    pub fn shown_fdt(&self, now: Instant) -> Duration {
        let (achieved, _) = self.achieved_fdt();
        if !self.is_within_first_burst(now) {
            return achieved;
        }
        achieved.max(DOUBT + self.interval() * u32::from(LOSSES_TO_FAIL))
    }

    /// kT + L where it takes more than five losses or L > T, with the wait for a receive witness; the
    /// requested one otherwise. And the target to blame: the slowest, or the one that has lost most.
    /// Targets that limit their answers are waited for where nobody else can tell a dead target from a
    /// dead path, and alone where all do. A path that is cut on all members at once is reported later.
    pub fn achieved_fdt(&self) -> (Duration, Option<IpAddr>) {
        let (interval, losses) = (self.interval(), self.losses_to_fail());
        let patience = if self.deferred { PATIENCE } else { 0 };
        let rounds = u32::from(losses) + patience;
        let urged = self.unlimited().next().is_some();
        let detected = |p: &Path| {
            let takes = match urged && p.pace.policed() {
                // In the round after the second loss they are asked in every round.
                true => p.spacing(interval) * 2 + interval * (ROUNDS_TO_URGE + patience),
                // A witness may have to be waited for, for one of its probes.
                false if p.pace.policed() => p.spacing(interval) * (rounds + 1),
                false => interval * rounds,
            };
            let doubt = if self.answers_by_turns(HOLES) { DOUBT } else { Duration::ZERO };
            takes.max(interval * u32::from(LOSSES_TO_FAIL) + doubt) + p.limit(interval)
        };
        let waited_for = |p: &&Path| !(urged && self.confirmed_elsewhere && p.pace.policed());
        let late = self.counted().filter(waited_for);
        let late = late.filter(|p| p.pace.policed() && !urged || detected(p) > self.fdt);
        let Some((fdt, slowest)) = late.map(|p| (detected(p), p.target())).max() else {
            return (self.fdt, None);
        };
        let lossiest = || self.counted().max_by_key(|p| p.lost_part()).and_then(Path::target);
        (fdt, if losses > LOSSES_TO_FAIL { lossiest() } else { slowest })
    }
}
