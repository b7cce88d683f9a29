//! The case against an instance: what makes it, and what a verdict still waits for (design 2.4, 2.6,
//! 2.12).

use core::net::IpAddr;
use core::time::Duration;

use super::Instance;
use crate::config::{LOSSES_TO_FAIL, MAX_TARGETS, MOST_LOSSES_TO_FAIL};
use crate::message::{Evidence, Reason};
use crate::path::{Path, Run};
use crate::time::Instant;

/// How many rounds a verdict waits for a receive witness that nobody can give (design 2.12).
pub(super) const PATIENCE: u32 = 3;
/// How long it waits, at least, while frames are known to wait: late, not false. A thread that never
/// rests gives no witness.
const STARVING: Duration = Duration::from_secs(1);

/// All targets that count are silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// A witness is a reply to a probe that left after this.
    pub fourth: Instant,
    /// When the evidence was complete.
    pub ready: Instant,
    pub evidence: Evidence,
}

impl Instance {
    /// Losses that a verdict takes now.
    pub(super) fn needed(&self, now: Instant) -> u8 {
        self.losses_to_fail() + u8::from(now < self.doubtful_until)
    }

    /// A target that is silent while another one of this instance answers has died by itself, or is
    /// policed: it stops counting here (design 2.6). Its losses must all fall into the time in which
    /// the other one answered: after a common silence the slower of two is not dead. One that is asked
    /// seldom must have answered since, for before that nothing tells a dead target from a dead path. The other one
    /// must count itself: some target always does.
    /// Returns one of them at a time.
    pub fn find_dead_target(&mut self) -> Option<IpAddr> {
        let answers = |since: Instant, later: Instant| {
            self.counted().any(|p| p.answers_since(since) && p.last_acked >= Some(later))
        };
        let dead = (0..MAX_TARGETS).find(|i| {
            let path = &self.paths[*i];
            let silence = path.silence(losses_to_die(path)).filter(|_| path.counts());
            silence.is_some_and(|(since, later)| answers(since, later))
        })?;
        self.paths[dead].dead = true;
        self.paths[dead].target()
    }

    /// The case against this instance, if there is one. Silence is none while another host has the test
    /// address, for it may be getting the replies.
    pub fn suspicion(&self, now: Instant) -> Option<Suspicion> {
        self.stuck(now).or_else(|| self.silent(now).filter(|_| !self.in_conflict()))
    }

    /// Finds out whether replies still come in spite of a conflict.
    pub fn look_for_conflict(&mut self, now: Instant) {
        self.silenced_by_conflict = self.in_conflict()
            && self.running()
            && self.failure.is_none()
            && self.silent(now).is_some();
    }

    /// Every target that counts is silent since the newest answer of any. One that limits its answers
    /// has its own pace, or twice the time between two probes at that pace while it is asked in every
    /// round.
    fn silent(&self, now: Instant) -> Option<Suspicion> {
        let mut case = self.leading_silence(now)?;
        let (interval, needed, heard) = (self.interval(), self.needed(now), self.heard());
        let urged = self.unlimited().next().is_some();
        for path in self.open_paths().filter(|p| urged && p.may_contradict()) {
            let due = path.run_when_urged(needed, heard, interval)?;
            case.ready = case.ready.max(due);
            case.evidence.silent += 1;
        }
        (case.ready <= now).then_some(case)
    }

    /// The targets that answer every probe are silent, and those that limit their answers have been
    /// asked and did not contradict. That is a case if one of the former is known to live: it answers
    /// on another member. None while the test address is in conflict, as for [`Instance::suspicion`].
    pub fn early_suspicion(&self, now: Instant) -> Option<Suspicion> {
        // New ones that seem to answer every probe may limit their answers, as others do here.
        let unknown = self.is_new(now) && self.limited().next().is_some();
        if self.in_conflict() || unknown || self.unlimited().next().is_none() {
            return None;
        }
        let mut case = self.leading_silence(now)?;
        // An answer to a probe that was sent in their silence contradicts.
        let began = self.unlimited().filter_map(|p| p.last_acked).max();
        let lost = began.map(|at| at + self.interval() / 2);
        if self.limited().any(|p| p.last_acked > lost) {
            return None;
        }
        // Whoever answered lately, and may not answer again so soon, has one failure detection time.
        let answered = self.limited().filter_map(|p| p.last_reply).max();
        case.ready = case.ready.max(answered.map_or(case.ready, |at| at + self.fdt));
        Some(case)
    }

    fn leading_silence(&self, now: Instant) -> Option<Suspicion> {
        let (interval, needed, heard) = (self.interval(), self.needed(now), self.heard());
        let mut all: Option<Run> = None;
        let mut silent = 0;
        for path in self.leading() {
            let run = path.run(needed, heard, interval)?;
            silent += 1;
            all = Some(all.map_or(run, |all| Run {
                first: all.first.min(run.first),
                fourth: all.fourth.max(run.fourth),
                due: all.due.max(run.due),
            }));
        }
        let run = all?;
        Some(Suspicion {
            fourth: run.fourth,
            ready: run.due,
            evidence: self.evidence(Reason::Probes, silent, run.first, now),
        })
    }

    /// No probe left for one FDT while the device transmitted nothing: that is evidence itself (N1).
    /// Readings come late when the host thread waits for RTNL; without two of them nothing is known.
    pub(super) fn stuck(&self, now: Instant) -> Option<Suspicion> {
        let since = self.stuck_since?;
        let (first, last) = self.still?;
        let known = last.since(first) >= self.fdt - self.interval() * 2;
        (self.has_proven_targets() && known && now.since(since) >= self.fdt).then(|| Suspicion {
            fourth: since + self.interval() * 3,
            ready: since + self.fdt,
            evidence: self.evidence(Reason::TransmitStuck, 0, since, now),
        })
    }

    /// Whether a verdict has to wait, for five unanswered probes may have been answered: where frames
    /// that have come in can wait, all that came in before the replies were due must have been
    /// handled (design 2.12, N16). `handled`: until when they have been; `None` where nobody can tell.
    pub fn lacks_receive_witness(
        &self,
        case: &Suspicion,
        handled: Option<Instant>,
        now: Instant,
    ) -> bool {
        let patience = match handled {
            None => self.interval() * PATIENCE,
            Some(_) => self.fdt.max(STARVING),
        };
        let by_silence = case.evidence.reason == Reason::Probes;
        let lacks = self.deferred && by_silence && handled < Some(case.ready);
        lacks && now < case.ready + patience
    }

    fn evidence(&self, reason: Reason, silent: u8, first: Instant, now: Instant) -> Evidence {
        Evidence {
            reason,
            silent,
            counted: self.counted().count() as u8,
            last_reply: self
                .open_paths()
                .filter_map(|p| p.last_reply)
                .max()
                .map(|at| now.since(at)),
            detected: now.since(first),
        }
    }
}

/// One that loses some now and then needs more for it: its silence holds up no verdict meanwhile.
fn losses_to_die(path: &Path) -> u8 {
    if path.pace.has_holes() { MOST_LOSSES_TO_FAIL } else { LOSSES_TO_FAIL }
}
