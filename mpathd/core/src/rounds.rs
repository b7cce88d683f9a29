//! The last rounds of an instance: which left, and which were answered by some target.

use core::time::Duration;

use crate::path::RING;
use crate::time::Instant;

#[derive(Clone, Copy)]
pub struct Round {
    number: u64,
    pub at: Instant,
    /// At least one probe left.
    left: bool,
    pub answered: bool,
    /// A target that has a say in the verdict was heard.
    heard: bool,
}

/// Answers that follow each other closely enough to earn a repair.
#[derive(Clone, Copy)]
struct Streak {
    /// Stamp of the round that began it.
    from: Option<Instant>,
    /// Of the newest answered one.
    newest: Instant,
}

impl Streak {
    const NONE: Self = Self { from: None, newest: Instant(0) };

    /// One more round is known to the end. A lost one breaks the streak where an answer was due.
    fn take(&mut self, round: &Round, pace: Pace) {
        if round.answered {
            self.from.get_or_insert(round.at);
            self.newest = round.at;
        } else if round.at + pace.interval / 2 >= self.newest + pace.spacing {
            self.from = None;
        }
    }

    fn length(self) -> Duration {
        self.from.map_or(Duration::ZERO, |from| self.newest.since(from))
    }
}

/// How often something is asked.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Between two rounds.
    pub interval: Duration,
    /// Between two probes to the target that is asked most often.
    pub spacing: Duration,
}

const NONE: Round =
    Round { number: u64::MAX, at: Instant(0), left: false, answered: false, heard: false };

impl Round {
    /// It has left and had its time; an answered one has had it.
    fn is_decided(&self, now: Instant, wait: Duration) -> bool {
        self.left && (self.answered || self.at + wait <= now)
    }
}

#[derive(Clone, Copy)]
pub struct Rounds {
    ring: [Round; RING],
    next: u64,
    /// Those before it teach nothing.
    trusted_from: u64,
    /// Of the rounds that have left the ring.
    streak: Streak,
}

impl Rounds {
    pub const fn new() -> Self {
        Self { ring: [NONE; RING], next: 0, trusted_from: 0, streak: Streak::NONE }
    }

    /// Number of the round that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The newest one.
    pub fn newest(&self) -> u64 {
        self.next.wrapping_sub(1)
    }

    /// Begins a round. Returns whether a target with a say was heard in the one that leaves the ring
    /// for it, as nothing more can come of that; `None` where it has nothing to tell.
    pub fn begin(&mut self, now: Instant, pace: Pace) -> Option<bool> {
        let number = self.next;
        let new = Round { number, at: now, ..NONE };
        let old = core::mem::replace(&mut self.ring[number as usize % RING], new);
        self.next += 1;
        if old.left {
            self.streak.take(&old, pace);
        }
        let known = old.left && (self.trusted_from..number).contains(&old.number);
        known.then_some(old.heard)
    }

    /// What is in the ring, and so many rounds to come, say nothing about the path.
    pub fn distrust(&mut self, coming: u32) {
        self.trusted_from = self.trusted_from.max(self.next + u64::from(coming));
    }

    pub fn left(&mut self, number: u64) {
        if let Some(round) = self.round(number) {
            round.left = true;
        }
    }

    pub fn answered(&mut self, number: u64) {
        if let Some(round) = self.round(number) {
            (round.left, round.answered) = (true, true);
        }
    }

    pub fn heard(&mut self, number: u64) {
        if let Some(round) = self.round(number) {
            round.heard = true;
        }
    }

    /// What was answered before proves nothing any more.
    pub fn forget(&mut self) {
        self.ring = [NONE; RING];
        self.streak = Streak::NONE;
    }

    /// Those that have left and had their time, newest first; an answered one has had it.
    pub fn decided(&self, now: Instant, wait: Duration) -> impl Iterator<Item = &Round> {
        (1..=RING as u64)
            .map(|back| self.next.wrapping_sub(back))
            .map(|number| (number, &self.ring[number as usize % RING]))
            .take_while(|(number, round)| round.number == *number)
            .map(|(_, round)| round)
            .filter(move |r| r.is_decided(now, wait))
    }

    /// How long answers have come at the pace of the target that is asked most often. Rounds that did
    /// not leave are passed over.
    pub fn streak(&self, now: Instant, wait: Duration, pace: Pace) -> Duration {
        let mut streak = self.streak;
        let oldest_first = (1..=RING as u64).rev().map(|back| self.next.wrapping_sub(back));
        let rounds = oldest_first.map(|number| (number, &self.ring[number as usize % RING]));
        let known = rounds.filter(|(number, round)| round.number == *number);
        let decided = known.map(|(_, round)| round).filter(|r| r.is_decided(now, wait));
        decided.for_each(|round| streak.take(round, pace));
        streak.length()
    }

    /// Stamp of the newest answered one.
    pub fn newest_answered(&self) -> Option<Instant> {
        let answered = self.ring.iter().filter(|r| r.answered).map(|r| r.at).max();
        answered.or(self.streak.from.map(|_| self.streak.newest))
    }

    fn round(&mut self, number: u64) -> Option<&mut Round> {
        Some(&mut self.ring[number as usize % RING]).filter(|r| r.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(10);
    /// A target is asked in every round.
    const EACH: Pace = Pace { interval: T, spacing: T };

    fn at(n: u64) -> Instant {
        Instant(1_000_000_000) + T * n as u32
    }

    /// Rounds that have left, of which every third was heard; what each tells when it leaves the ring.
    fn begin(rounds: &mut Rounds, numbers: core::ops::Range<u64>) -> alloc::vec::Vec<Option<bool>> {
        let each = numbers.map(|n| {
            let told = rounds.begin(at(n), EACH);
            rounds.left(n);
            if n.is_multiple_of(3) {
                rounds.heard(n);
            }
            told
        });
        each.collect()
    }

    #[test]
    fn a_round_tells_whether_it_was_heard_when_it_leaves_the_ring() {
        let mut rounds = Rounds::new();
        assert!(begin(&mut rounds, 0..RING as u64).iter().all(Option::is_none));
        assert_eq!(begin(&mut rounds, 32..36), [Some(true), Some(false), Some(false), Some(true)]);
        assert_eq!((rounds.next(), rounds.newest()), (36, 35));
    }

    #[test]
    fn what_is_in_the_ring_and_what_follows_lateness_tells_nothing() {
        let mut rounds = Rounds::new();
        begin(&mut rounds, 0..40);
        rounds.distrust(6);
        // The 32 that are known now, and six that follow.
        assert!(begin(&mut rounds, 40..78).iter().all(Option::is_none));
        assert_eq!(begin(&mut rounds, 78..80), [Some(false), Some(false)]);
        rounds.distrust(0);
        assert!(begin(&mut rounds, 80..112).iter().all(Option::is_none));
        assert_eq!(begin(&mut rounds, 112..113), [Some(false)]);
    }

    #[test]
    fn a_round_that_did_not_leave_is_passed_over() {
        let mut rounds = Rounds::new();
        for n in 0..4 {
            rounds.begin(at(n), EACH);
            if n != 2 {
                rounds.left(n);
            }
        }
        rounds.answered(0);
        rounds.answered(3);
        let decided = |rounds: &Rounds, now| {
            rounds.decided(now, T).map(|r| (r.at, r.answered)).collect::<alloc::vec::Vec<_>>()
        };
        let all = [(at(3), true), (at(1), false), (at(0), true)];
        assert_eq!(decided(&rounds, at(4)), all);
        rounds.begin(at(4), EACH);
        rounds.left(4);
        assert_eq!(decided(&rounds, at(4)), all, "the newest one has time yet");
        assert_eq!(decided(&rounds, at(5))[0], (at(4), false));
        rounds.forget();
        assert!(decided(&rounds, at(5)).is_empty());
    }

    /// At an FDT of 5 ms a number of 32 bits would be used up after 41 days.
    #[test]
    fn rounds_go_on_after_the_range_of_32_bits() {
        let mut rounds = Rounds::new();
        let first = u64::from(u32::MAX) - 20;
        rounds.next = first;
        for n in 0..80 {
            assert_eq!(rounds.begin(at(n), EACH), (n >= RING as u64).then_some(false), "{n}");
            rounds.left(first + n);
            rounds.answered(first + n);
        }
        assert_eq!(rounds.streak(at(80), T, EACH), T * 79);
        assert_eq!(rounds.decided(at(80), T).count(), RING);
    }

    #[test]
    fn the_streak_is_as_long_as_every_round_was_answered() {
        let mut rounds = Rounds::new();
        assert_eq!(rounds.streak(at(0), T, EACH), Duration::ZERO);
        for n in 0..10 {
            rounds.begin(at(n), EACH);
            rounds.left(n);
            if n != 4 {
                rounds.answered(n);
            }
        }
        assert_eq!(rounds.streak(at(10), T, EACH), T * 4, "rounds 5 to 9");
        rounds.answered(4);
        assert_eq!(rounds.streak(at(10), T, EACH), T * 9);
        rounds.begin(at(10), EACH);
        rounds.left(10);
        assert_eq!(rounds.streak(at(10), T, EACH), T * 9);
        assert_eq!(rounds.streak(at(11), T, EACH), Duration::ZERO);
    }

    #[test]
    fn the_streak_goes_on_when_its_rounds_have_left_the_ring() {
        let mut rounds = Rounds::new();
        for n in 0..100 {
            rounds.begin(at(n), EACH);
            rounds.left(n);
            if n != 20 {
                rounds.answered(n);
            }
        }
        assert_eq!(rounds.streak(at(100), T, EACH), T * 78, "rounds 21 to 99");
        assert_eq!(rounds.newest_answered(), Some(at(99)));
    }

    /// Targets that limit their answers are asked in every third round.
    #[test]
    fn a_silent_round_breaks_the_streak_only_where_an_answer_was_due() {
        let third = Pace { interval: T, spacing: T * 3 };
        let mut rounds = Rounds::new();
        for n in 0..12 {
            rounds.begin(at(n), third);
            rounds.left(n);
            if n.is_multiple_of(3) {
                rounds.answered(n);
            }
        }
        assert_eq!(rounds.streak(at(12), T, third), T * 9);
        assert_eq!(rounds.streak(at(12), T, EACH), Duration::ZERO);
        rounds.begin(at(12), third);
        rounds.left(12);
        assert_eq!(rounds.streak(at(13), T, third), Duration::ZERO, "an answer was due");
    }
}
