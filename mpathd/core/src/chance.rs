//! How many silent rounds in a row does chance make? A path that loses a part of all probes makes
//! runs of losses now and then, and the quicker it is asked the more: at 5 % loss and 600 rounds a
//! second, five in a row come every 90 minutes. A verdict takes as many losses as are met by chance
//! less than once in a year.
//!
//! A run of k silent rounds comes by chance in `starts * again^(k-1)` of all rounds, where `starts` is
//! the part of rounds that begin a run, and `again` the part of silent rounds that another one follows.
//! Real loss comes in bursts, so `again` is measured, not taken from the loss. What counts are rounds in
//! which no target with a say answered: the more targets, the fewer.

use core::time::Duration;

use crate::config::{LOSSES_TO_FAIL, MOST_LOSSES_TO_FAIL};

/// 365.25 days.
const YEAR: Duration = Duration::from_secs(31_557_600);
/// The count comes down again only where even so many times the false alarms would be less than one a
/// year: an estimate is not exact, and the failure detection time must not go up and down with it.
const CALM: f64 = 4.0;
/// Rounds that are learnt from together. A path that begins to lose so much that five in a row come
/// within them is left first: a fault of its own, for all that is known.
const LESSON: u32 = 1024;
/// What is remembered: as many rounds as in this time, and so many at the least. The older half fades.
const MEMORY: Duration = Duration::from_secs(600);
const MEMORY_ROUNDS: u32 = 32 * LESSON;
/// With fewer runs nothing is told from: they may be hiccups of the network.
const ENOUGH_RUNS: u32 = 8;
/// So many silent rounds outweigh the assumption that losses do not depend on each other.
const INDEPENDENCE: f64 = 32.0;

/// Rounds, and how many of them were silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub rounds: u32,
    /// Runs of silent rounds that an answer has ended.
    pub runs: u32,
    /// Silent rounds in them beyond the first.
    pub repeats: u32,
}

impl Tally {
    fn and(self, other: Self) -> Self {
        Self {
            rounds: self.rounds + other.rounds,
            runs: self.runs + other.runs,
            repeats: self.repeats + other.repeats,
        }
    }

    fn half(self) -> Self {
        Self { rounds: self.rounds / 2, runs: self.runs / 2, repeats: self.repeats / 2 }
    }

    /// Part of all rounds that was silent, 0 to 1.
    pub fn silent(self) -> f64 {
        f64::from(self.runs + self.repeats) / f64::from(self.rounds.max(1))
    }

    /// Part of silent rounds that another one follows.
    fn again(self) -> f64 {
        let silent = f64::from(self.runs + self.repeats);
        let again = f64::from(self.repeats) + INDEPENDENCE * self.silent();
        again / (silent + INDEPENDENCE)
    }

    /// How often in a year chance makes `losses` silent rounds in a row, one `interval` apart.
    pub fn alarms_a_year(self, losses: u8, interval: Duration) -> f64 {
        let rounds = YEAR.as_secs_f64() / interval.as_secs_f64();
        let starts = f64::from(self.runs) / f64::from(self.rounds.max(1));
        let again = self.again();
        (1..losses).fold(rounds * starts, |alarms, _| alarms * again)
    }

    /// The fewest losses in a row that come by chance less than `allowed` times a year.
    pub fn losses_for(self, allowed: f64, interval: Duration) -> u8 {
        if self.runs < ENOUGH_RUNS {
            return LOSSES_TO_FAIL;
        }
        let rare = |losses: &u8| self.alarms_a_year(*losses, interval) < allowed;
        (LOSSES_TO_FAIL..MOST_LOSSES_TO_FAIL).find(rare).unwrap_or(MOST_LOSSES_TO_FAIL)
    }
}

/// What an instance has learnt of its losses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    /// Of the lessons before.
    memory: Tally,
    lesson: Tally,
    /// Silent rounds since the last answer.
    run: u32,
    /// [`LOSSES_TO_FAIL`] to [`MOST_LOSSES_TO_FAIL`].
    losses: u8,
}

impl Chance {
    pub const fn new() -> Self {
        let none = Tally { rounds: 0, runs: 0, repeats: 0 };
        Self { memory: none, lesson: none, run: 0, losses: LOSSES_TO_FAIL }
    }

    /// Losses in a row that chance makes less than once a year, as far as is known.
    pub fn losses(&self) -> u8 {
        self.losses
    }

    /// What it is known from. Why it takes more than five is told from this.
    pub fn memory(&self) -> Tally {
        self.memory
    }

    /// One more round is known to the end. One that is long enough for a verdict is no chance.
    pub fn round(&mut self, answered: bool, interval: Duration) {
        self.lesson.rounds += 1;
        if !answered {
            self.run += 1;
            return;
        }
        let run = core::mem::take(&mut self.run);
        if (1..u32::from(self.losses)).contains(&run) {
            self.lesson.runs += 1;
            self.lesson.repeats += run - 1;
        }
        if self.lesson.rounds >= LESSON {
            self.memory = self.memory.and(core::mem::take(&mut self.lesson));
            let longest = MEMORY.as_nanos() / interval.as_nanos().max(1);
            if u128::from(self.memory.rounds) > longest.max(u128::from(MEMORY_ROUNDS)) {
                self.memory = self.memory.half();
            }
            self.conclude(interval);
        }
    }

    /// Says anew how many losses it takes, at this pace.
    pub fn conclude(&mut self, interval: Duration) {
        let enough = self.memory.losses_for(1.0, interval);
        let calm = self.memory.losses_for(1.0 / CALM, interval);
        self.losses = self.losses.clamp(enough, calm);
    }

    /// Rounds are missing: what is silent before and after them is no run.
    pub fn interrupt(&mut self) {
        self.run = 0;
    }

    /// It came to a failure: what led to it teaches nothing.
    pub fn discard_lesson(&mut self) {
        (self.lesson, self.run) = (Tally::default(), 0);
    }
}

#[cfg(test)]
mod tests;
