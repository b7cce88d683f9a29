//! The last rounds of an instance: which left, and which were answered by some target.

use core::time::Duration;

use crate::path::RING;
use crate::time::Instant;

#[derive(Clone, Copy)]
pub struct Round {
    number: u32,
    pub at: Instant,
    /// At least one probe left.
    left: bool,
    pub answered: bool,
}

const NONE: Round = Round { number: u32::MAX, at: Instant(0), left: false, answered: false };

#[derive(Clone, Copy)]
pub struct Rounds {
    ring: [Round; RING],
    next: u32,
}

impl Rounds {
    pub const fn new() -> Self {
        Self { ring: [NONE; RING], next: 0 }
    }

    /// Number of the round that comes next.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The newest one.
    pub fn newest(&self) -> u32 {
        self.next.wrapping_sub(1)
    }

    pub fn begin(&mut self, now: Instant) {
        let number = self.next;
        self.ring[number as usize % RING] = Round { number, at: now, left: false, answered: false };
        self.next += 1;
    }

    pub fn left(&mut self, number: u32) {
        if let Some(round) = self.round(number) {
            round.left = true;
        }
    }

    pub fn answered(&mut self, number: u32) {
        if let Some(round) = self.round(number) {
            (round.left, round.answered) = (true, true);
        }
    }

    /// What was answered before proves nothing any more.
    pub fn forget(&mut self) {
        self.ring = [NONE; RING];
    }

    /// Those that have left and had their time, newest first; an answered one has had it.
    pub fn decided(&self, now: Instant, wait: Duration) -> impl Iterator<Item = &Round> {
        (1..=RING as u32)
            .map(|back| self.next.wrapping_sub(back))
            .map(|number| (number, &self.ring[number as usize % RING]))
            .take_while(|(number, round)| round.number == *number)
            .map(|(_, round)| round)
            .filter(move |r| r.left && (r.answered || r.at + wait <= now))
    }

    /// How long every round has been answered. Rounds that did not leave are passed over.
    pub fn streak(&self, now: Instant, wait: Duration) -> Duration {
        let mut answered = self.decided(now, wait).take_while(|r| r.answered);
        let Some(newest) = answered.next() else { return Duration::ZERO };
        newest.at.since(answered.last().unwrap_or(newest).at)
    }

    fn round(&mut self, number: u32) -> Option<&mut Round> {
        Some(&mut self.ring[number as usize % RING]).filter(|r| r.number == number)
    }
}
