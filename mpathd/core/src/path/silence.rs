//! Silences of a path that are not its own alone, and those of a target that limits its answers.

use core::time::Duration;

use super::{Mark, Path, places};
use crate::time::Instant;

/// Answers in a row after a silence that do not come from a limit: that lets single ones pass.
const RESUMED: u8 = 3;

/// A silence of one path that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Stamp of the last answered probe before it.
    pub after: Instant,
    /// Stamp of the answered probe that ended it.
    pub until: Instant,
}

impl Path {
    /// When a case is complete against a target that limits its answers and is asked in every round: it has
    /// to be silent for twice the time between two probes at its own pace.
    pub fn run_when_urged(
        &self,
        needed: u8,
        moment: Option<Instant>,
        interval: Duration,
    ) -> Option<Instant> {
        let since = self.urged_since?;
        let asked = self.unanswered().filter(|e| e.mark == Mark::Lost && Some(e.at) > moment);
        let due = since.max(moment.unwrap_or(since)) + self.spacing(interval) * 2;
        (asked.count() >= usize::from(needed)).then(|| due + self.limit(interval))
    }

    /// Was it silent in the silence of another path? That one is asked every `spacing`. `None`: this one
    /// was not asked often enough to tell.
    pub fn shares_silence(
        &self,
        other: Silence,
        spacing: Duration,
        interval: Duration,
    ) -> Option<bool> {
        let Silence { after, until } = other;
        // Both silences begin and end between two probes.
        let tolerance = spacing.max(self.spacing(interval)) * 3 / 2;
        let inside = |at: Instant| at > after + tolerance && at + tolerance < until;
        let began_with_it = |at: Option<Instant>| at <= Some(after + tolerance);
        match self.answering_since {
            None => Some(began_with_it(self.last_acked)),
            Some(since) if since > after => {
                Some(began_with_it(self.answered_before) && since + tolerance >= until)
            }
            Some(_) if places(self.places.pending).any(|i| inside(self.ring[i].at)) => Some(true),
            Some(_) if !self.pace.policed() => Some(false),
            Some(_) => self.last_acked.is_some_and(inside).then_some(false),
        }
    }

    /// The silence before the present run of answers, while it is open whether others shared it.
    pub fn ended_silence(&self) -> Option<Silence> {
        let silence = Silence { after: self.answered_before?, until: self.answering_since? };
        self.pace.may_be_outage().then_some(silence)
    }

    /// Answers as it did before a silence: a target that limits them gives one at a time.
    pub fn has_resumed(&self) -> bool {
        self.answers_in_a_row >= RESUMED
    }
}
