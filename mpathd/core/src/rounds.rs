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
    /// A target that has a say in the verdict was heard.
    heard: bool,
}

const NONE: Round =
    Round { number: u32::MAX, at: Instant(0), left: false, answered: false, heard: false };

#[derive(Clone, Copy)]
pub struct Rounds {
    ring: [Round; RING],
    next: u32,
    /// Those before it teach nothing.
    trusted_from: u32,
}

impl Rounds {
    pub const fn new() -> Self {
        Self { ring: [NONE; RING], next: 0, trusted_from: 0 }
    }

    /// Number of the round that comes next.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The newest one.
    pub fn newest(&self) -> u32 {
        self.next.wrapping_sub(1)
    }

    /// Begins a round. Returns whether a target with a say was heard in the one that leaves the ring
    /// for it, as nothing more can come of that; `None` where it has nothing to tell.
    pub fn begin(&mut self, now: Instant) -> Option<bool> {
        let number = self.next;
        let new = Round { number, at: now, ..NONE };
        let old = core::mem::replace(&mut self.ring[number as usize % RING], new);
        self.next += 1;
        let known = old.left && (self.trusted_from..number).contains(&old.number);
        known.then_some(old.heard)
    }

    /// What is in the ring, and so many rounds to come, say nothing about the path.
    pub fn distrust(&mut self, coming: u32) {
        self.trusted_from = self.trusted_from.max(self.next + coming);
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

    pub fn heard(&mut self, number: u32) {
        if let Some(round) = self.round(number) {
            round.heard = true;
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
