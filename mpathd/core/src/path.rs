//! One path (member x family x target): the ring of its last probes and what became of them.

use core::net::IpAddr;
use core::time::Duration;

use crate::config::LOSSES_TO_FAIL;
use crate::event::Fate;
use crate::ids::Seq;
use crate::pace::Pace;
use crate::request::PathKey;
use crate::rtt::Rtt;
use crate::time::Instant;

/// Probes remembered; as many as the kernel's slot has words (design 4).
pub const RING: usize = 32;
/// No reply is waited for longer than this many intervals, or it would leave the ring unjudged.
const LONGEST_WAIT: u32 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Unused,
    /// Accepted by a queue, not out yet: neither sent nor lost.
    Waiting,
    /// Never left. Counts for nothing.
    Refused,
    Pending,
    /// The target's MAC was asked for and told: no loss, and no proof that echo works.
    Resolved,
    Acked,
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: Seq,
    /// Number of the instance's round it belongs to.
    round: u32,
    at: Instant,
    mark: Mark,
    /// Our own ARP request or NS stood in for it.
    resolving: bool,
}

const UNUSED: Entry =
    Entry { seq: Seq(0), round: 0, at: Instant(0), mark: Mark::Unused, resolving: false };

/// Places of the ring by what became of their probes, a bit each: as a rule one is open, and a walk
/// over all 32 of each path at each turn was half of what the engine cost.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    pending: u32,
    waiting: u32,
    lost: u32,
}

const _: () = assert!(RING == u32::BITS as usize);

impl Places {
    const NONE: Self = Self { pending: 0, waiting: 0, lost: 0 };

    fn set(&mut self, seq: Seq, mark: Mark) {
        let bit = 1 << (usize::from(seq.0) % RING);
        let [pending, waiting, lost] =
            [Mark::Pending, Mark::Waiting, Mark::Lost].map(|m| if m == mark { bit } else { 0 });
        self.pending = self.pending & !bit | pending;
        self.waiting = self.waiting & !bit | waiting;
        self.lost = self.lost & !bit | lost;
    }
}

/// The places in a word, lowest first.
fn places(mut word: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let place = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(place)
    })
}

/// The losses since the last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Run {
    pub losses: u8,
    /// Stamp of the first lost probe.
    pub first: Instant,
    /// Stamp of the fourth; a witness must have been asked later (N11).
    pub fourth: Instant,
    /// Stamp of the oldest of the five newest.
    pub last_five: Instant,
    /// When the reply to the fifth was due: from then on there is a case.
    pub fifth_due: Instant,
}

/// A probe that has come to its end, for `ipmpstat -p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seq: Seq,
    pub sent: Instant,
    pub received: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub key: Option<PathKey>,
    /// The target has answered this host, on any member (N3).
    pub proven: bool,
    /// Silent here while others answered; does not count until it has answered five in a row.
    pub dead: bool,
    pub rtt: Rtt,
    pub pace: Pace,
    pub sent: u64,
    pub acked: u64,
    pub lost: u64,
    /// When the newest answered probe had left.
    pub last_acked: Option<Instant>,
    pub last_reply: Option<Instant>,
    /// Stamp of the first probe of the present run of answers.
    answering_since: Option<Instant>,
    answers_in_a_row: u8,
    /// Probes before it were sent at a quicker pace: their loss is no evidence at the present one.
    evidence_since: Instant,
    /// Replies in a row that left it too slow for its interval.
    slow_in_a_row: u8,
    next: Seq,
    ring: [Entry; RING],
    places: Places,
}

impl Path {
    pub const fn new() -> Self {
        Self {
            key: None,
            proven: false,
            dead: false,
            rtt: Rtt::new(),
            pace: Pace::new(),
            sent: 0,
            acked: 0,
            lost: 0,
            last_acked: None,
            last_reply: None,
            answering_since: None,
            answers_in_a_row: 0,
            evidence_since: Instant(0),
            slow_in_a_row: 0,
            next: Seq(1),
            ring: [UNUSED; RING],
            places: Places::NONE,
        }
    }

    /// Starts anew with another target or address; sequence numbers go on, so that a late reply to
    /// the former one can't be taken for ours.
    pub fn open(&mut self, key: Option<PathKey>, proven: bool) {
        *self = Self { key, proven, next: self.next, ..Self::new() };
    }

    /// It has answered everything since a probe that left no later than `moment`.
    pub fn answers_since(&self, moment: Instant) -> bool {
        self.answering_since.is_some_and(|since| since <= moment)
    }

    pub fn target(&self) -> Option<IpAddr> {
        self.key.map(|key| key.target)
    }

    /// It has answered the last two probes: no single answer of one that limits them.
    pub fn is_steady(&self) -> bool {
        self.answers_in_a_row >= 2
    }

    /// In use, proven, and not silent alone: it has a say in the verdict.
    pub fn counts(&self) -> bool {
        self.key.is_some() && self.proven && !self.dead
    }

    /// Forgets the probes, not the path: what was answered before a link loss proves nothing now.
    pub fn clear_ring(&mut self) {
        self.ring = [UNUSED; RING];
        self.places = Places::NONE;
        self.pace.forget();
        self.answering_since = None;
        self.answers_in_a_row = 0;
    }

    /// Losses count from here on; what was learnt otherwise stays.
    pub fn begin_evidence(&mut self, now: Instant) {
        self.evidence_since = now;
    }

    /// Takes the next sequence number for `round`. Its fate follows by [`Path::sent`].
    pub fn next_probe(&mut self, round: u32, now: Instant) -> Seq {
        let seq = self.next;
        self.next = seq.next();
        *self.entry_at(seq) = Entry { seq, round, at: now, mark: Mark::Refused, resolving: false };
        self.places.set(seq, Mark::Refused);
        seq
    }

    pub fn sent(&mut self, seq: Seq, at: Instant, fate: Fate) {
        let Some(entry) = self.entry(seq) else { return };
        entry.at = at;
        entry.resolving = fate == Fate::Resolving;
        entry.mark = match fate {
            Fate::Left | Fate::Resolving => Mark::Pending,
            Fate::Waiting => Mark::Waiting,
            Fate::Refused => Mark::Refused,
        };
        let mark = entry.mark;
        self.places.set(seq, mark);
        if mark == Mark::Pending {
            self.sent += 1;
        }
    }

    /// A waiting probe has left. Returns its round.
    pub fn left(&mut self, seq: Seq, at: Instant) -> Option<u32> {
        let entry = self.entry(seq).filter(|e| e.mark == Mark::Waiting)?;
        entry.mark = Mark::Pending;
        entry.at = at;
        let round = entry.round;
        self.places.set(seq, Mark::Pending);
        self.sent += 1;
        Some(round)
    }

    /// A reply; turns even a lost probe into an answered one. Returns its round and the outcome,
    /// `None` for a probe that is not remembered or was answered before.
    pub fn reply(&mut self, seq: Seq, at: Instant, interval: Duration) -> Option<(u32, Outcome)> {
        let entry = self.entry(seq).filter(|e| {
            matches!(e.mark, Mark::Pending | Mark::Lost | Mark::Waiting | Mark::Resolved)
        })?;
        let Entry { round, at: sent, mark, .. } = *entry;
        entry.mark = Mark::Acked;
        self.places.set(seq, Mark::Acked);
        self.lost -= u64::from(mark == Mark::Lost);
        self.pace.answered(mark == Mark::Lost);
        self.acked += 1;
        // When a waiting one left is not known: the time in the queue is none of the path's.
        if mark != Mark::Waiting {
            self.rtt.take(at.since(sent), interval);
        }
        self.last_acked = self.last_acked.max(Some(sent));
        self.last_reply = self.last_reply.max(Some(at));
        self.answering_since = self.answering_since.or(Some(sent));
        self.answers_in_a_row = self.answers_in_a_row.saturating_add(1);
        if self.answers_in_a_row >= LOSSES_TO_FAIL {
            self.dead = false;
        }
        Some((round, Outcome { seq, sent, received: Some(at) }))
    }

    /// After a reply: is the target quick enough for probes at this interval?
    pub fn note_pace(&mut self, interval: Duration) {
        let slow = self.limit(interval) > interval;
        self.slow_in_a_row = if slow { self.slow_in_a_row.saturating_add(1) } else { 0 };
    }

    /// One reply that was late does not make a slow target.
    pub fn is_slow(&self) -> bool {
        self.slow_in_a_row >= LOSSES_TO_FAIL
    }

    /// The target told its MAC instead of answering a probe.
    pub fn resolved(&mut self, seq: Seq) {
        if let Some(entry) = self.entry(seq).filter(|e| e.resolving)
            && matches!(entry.mark, Mark::Pending | Mark::Lost)
        {
            let was_lost = entry.mark == Mark::Lost;
            entry.mark = Mark::Resolved;
            self.places.set(seq, Mark::Resolved);
            self.lost -= u64::from(was_lost);
        }
    }

    /// How long a reply is waited for; one interval until the path is known.
    pub fn limit(&self, interval: Duration) -> Duration {
        self.rtt.timeout().unwrap_or(interval).min(interval * LONGEST_WAIT)
    }

    fn due(&self, entry: &Entry, interval: Duration) -> Instant {
        entry.at + if entry.resolving { interval } else { self.limit(interval) }
    }

    /// Gives up the probes whose time has run out; `told` hears of each.
    pub fn expire(&mut self, now: Instant, interval: Duration, mut told: impl FnMut(Outcome)) {
        for i in places(self.places.pending) {
            let entry = self.ring[i];
            if self.due(&entry, interval) <= now {
                self.ring[i].mark = Mark::Lost;
                self.places.set(entry.seq, Mark::Lost);
                self.lost += 1;
                self.pace.lost(now);
                self.answering_since = None;
                self.answers_in_a_row = 0;
                told(Outcome { seq: entry.seq, sent: entry.at, received: None });
            }
        }
    }

    /// Walks from the newest probe to the last answer. What is open, waiting or was refused is
    /// passed over: only what left can be lost.
    pub fn run(&self, interval: Duration) -> Run {
        if self.places.lost == 0 {
            return Run::default();
        }
        let mut lost = [UNUSED; RING];
        let mut run = Run::default();
        for entry in self.newest_first() {
            match entry.mark {
                Mark::Lost => {
                    lost[usize::from(run.losses)] = *entry;
                    run.losses += 1;
                }
                Mark::Waiting | Mark::Refused | Mark::Pending => {}
                Mark::Acked | Mark::Resolved | Mark::Unused => break,
            }
        }
        let losses = usize::from(run.losses);
        if losses > 0 {
            run.first = lost[losses - 1].at;
            run.fourth = lost[losses.saturating_sub(4)].at;
            run.last_five = lost[losses.min(5) - 1].at;
            run.fifth_due = self.due(&lost[losses.saturating_sub(5)], interval);
        }
        run
    }

    /// Its newest probe is lost, or open though answers come before the next one.
    pub fn owes_an_answer(&self, interval: Duration) -> bool {
        let open = self.newest_first().next().is_some_and(|entry| entry.mark == Mark::Pending);
        self.run(interval).losses > 0 || open && self.limit(interval) <= interval
    }

    /// When the open probe is due that would make the run `needed` losses long.
    pub fn verdict_due(&self, needed: u8, interval: Duration) -> Option<Instant> {
        let lost = usize::from(self.run(interval).losses);
        let missing = usize::from(needed).checked_sub(lost)?.checked_sub(1)?;
        if self.places.pending.count_ones() as usize <= missing {
            return None;
        }
        let mut open = [Instant(0); RING];
        let mut count = 0;
        for entry in self.newest_first() {
            match entry.mark {
                Mark::Pending => {
                    open[count] = self.due(entry, interval);
                    count += 1;
                }
                Mark::Acked | Mark::Resolved | Mark::Unused => break,
                Mark::Lost | Mark::Waiting | Mark::Refused => {}
            }
        }
        // `open` is newest first; the one that decides is the `missing`th oldest.
        count.checked_sub(missing + 1).map(|i| open[i])
    }

    /// Probes whose reply would still change something.
    pub fn awaited(&self) -> impl Iterator<Item = Seq> + '_ {
        let Places { pending, waiting, lost } = self.places;
        places(pending | waiting | lost).map(|i| self.ring[i].seq)
    }

    /// Nothing is to be judged about it: what it was asked it has answered in time, and it counts. Only
    /// a loss changes that, or a slow reply.
    pub fn is_calm(&self) -> bool {
        self.key.is_none()
            || self.counts()
                && self.answering_since.is_some()
                && self.slow_in_a_row == 0
                && self.places.waiting == 0
                && self.pace.is_calm()
    }

    fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        (1..=RING as u16)
            .map(|back| Seq(self.next.0.wrapping_sub(back)))
            .map(|seq| (seq, &self.ring[usize::from(seq.0) % RING]))
            .take_while(|(seq, entry)| entry.seq == *seq && entry.mark != Mark::Unused)
            .take_while(|(_, entry)| entry.at >= self.evidence_since)
            .map(|(_, entry)| entry)
    }

    fn entry(&mut self, seq: Seq) -> Option<&mut Entry> {
        let entry = self.entry_at(seq);
        (entry.seq == seq && entry.mark != Mark::Unused).then_some(entry)
    }

    fn entry_at(&mut self, seq: Seq) -> &mut Entry {
        &mut self.ring[usize::from(seq.0) % RING]
    }
}

impl Default for Path {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
