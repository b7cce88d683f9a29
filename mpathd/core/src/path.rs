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

mod silence;

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
    round: u64,
    at: Instant,
    mark: Mark,
    /// Our own ARP request or NS stood in for it.
    resolving: bool,
    /// Sent before a target that limits its answers was due: an answer counts, a missing one does not.
    extra: bool,
}

const UNUSED: Entry = Entry {
    seq: Seq(0),
    round: 0,
    at: Instant(0),
    mark: Mark::Unused,
    resolving: false,
    extra: false,
};

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

/// So many losses since the last answer, as a case against the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Stamp of the first lost probe.
    pub first: Instant,
    /// Stamp of the fourth; a witness must have been asked later (N11).
    pub fourth: Instant,
    /// When the reply to the last one that it takes was due: from then on there is a case.
    pub due: Instant,
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
    /// The same, of one that was answered like the probe before, or like the one before that where the
    /// target is asked as seldom as it answers: no single answer of a target that limits them.
    pub last_steady: Option<Instant>,
    pub last_reply: Option<Instant>,
    /// Stamp of the first probe of the present run of answers.
    answering_since: Option<Instant>,
    answers_in_a_row: u8,
    /// Stamp of the last answered probe before that run.
    answered_before: Option<Instant>,
    /// A target that limits its answers has been asked in every round since then, without an answer.
    urged_since: Option<Instant>,
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
            last_steady: None,
            last_reply: None,
            answering_since: None,
            answers_in_a_row: 0,
            answered_before: None,
            urged_since: None,
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

    /// Part of all probes that was lost, in thousandths.
    pub fn lost_part(&self) -> u64 {
        self.lost * 1000 / self.sent.max(1)
    }

    /// In use, and known to limit what it answers.
    pub fn is_limited(&self) -> bool {
        self.key.is_some() && self.proven && self.pace.policed()
    }

    /// The same, and it counts, or has begun to answer again.
    pub fn may_contradict(&self) -> bool {
        self.is_limited() && (!self.dead || self.answering_since.is_some())
    }

    /// Has a say in the verdict at the pace of the rounds.
    pub fn has_a_say(&self) -> bool {
        self.counts() && !self.pace.policed()
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
        self.urged_since = None;
    }

    /// Losses count from here on; what was learnt otherwise stays.
    pub fn begin_evidence(&mut self, now: Instant) {
        self.evidence_since = now;
    }

    /// Takes the next sequence number for `round`. Its fate follows by [`Path::sent`].
    pub fn next_probe(&mut self, round: u64, now: Instant) -> Seq {
        self.urged_since = None;
        self.probe(round, now, false)
    }

    /// The same for a target that limits its answers and is asked before its time.
    pub fn urge(&mut self, round: u64, now: Instant) -> Seq {
        self.urged_since.get_or_insert(now);
        self.pace.postpone();
        self.probe(round, now, true)
    }

    fn probe(&mut self, round: u64, now: Instant, extra: bool) -> Seq {
        let seq = self.next;
        self.next = seq.next();
        let (mark, resolving) = (Mark::Refused, false);
        *self.entry_at(seq) = Entry { seq, round, at: now, mark, resolving, extra };
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
    pub fn left(&mut self, seq: Seq, at: Instant) -> Option<u64> {
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
    pub fn reply(&mut self, seq: Seq, at: Instant, interval: Duration) -> Option<(u64, Outcome)> {
        let entry = self.entry(seq).filter(|e| {
            matches!(e.mark, Mark::Pending | Mark::Lost | Mark::Waiting | Mark::Resolved)
        })?;
        let Entry { round, at: sent, mark, extra, .. } = *entry;
        entry.mark = Mark::Acked;
        self.places.set(seq, Mark::Acked);
        self.lost -= u64::from(mark == Mark::Lost);
        // A target that has just begun to answer limited nothing before.
        if self.last_acked.is_none() {
            self.pace.forget_losses();
        }
        let hiccup = self.pace.policed() && self.pace.losses_in_a_row() <= 1;
        if !extra {
            self.pace.answered(mark == Mark::Lost);
        }
        self.urged_since = None;
        self.acked += 1;
        // When a waiting one left is not known: the time in the queue is none of the path's.
        if mark != Mark::Waiting {
            self.rtt.take(at.since(sent), interval);
        }
        if self.answering_since.is_none() {
            self.answered_before = self.last_acked;
        }
        self.last_acked = self.last_acked.max(Some(sent));
        self.last_reply = self.last_reply.max(Some(at));
        self.answering_since = self.answering_since.or(Some(sent));
        self.answers_in_a_row = self.answers_in_a_row.saturating_add(1);
        if self.answers_in_a_row >= 2 || hiccup {
            self.last_steady = self.last_steady.max(Some(sent));
        }
        // One that is asked seldom would be away for too long.
        let enough = if self.pace.policed() { 2 } else { LOSSES_TO_FAIL };
        if self.answers_in_a_row >= enough {
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

    /// The target told its MAC instead of answering a probe. Returns the probe's round.
    pub fn resolved(&mut self, seq: Seq) -> Option<u64> {
        let open = |e: &&mut Entry| matches!(e.mark, Mark::Pending | Mark::Lost) && e.resolving;
        let entry = self.entry(seq).filter(open)?;
        let Entry { round, mark, .. } = *entry;
        entry.mark = Mark::Resolved;
        self.places.set(seq, Mark::Resolved);
        self.lost -= u64::from(mark == Mark::Lost);
        Some(round)
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
                if !entry.extra {
                    self.pace.lost(now);
                    self.answering_since = None;
                    self.answers_in_a_row = 0;
                }
                told(Outcome { seq: entry.seq, sent: entry.at, received: None });
            }
        }
    }

    /// From the newest probe to the last answer.
    fn unanswered(&self) -> impl Iterator<Item = &Entry> {
        self.newest_first()
            .take_while(|e| !matches!(e.mark, Mark::Acked | Mark::Resolved | Mark::Unused))
    }

    /// What is open, waiting or was refused is passed over: only what left can be lost.
    fn lost_in_a_row(&self) -> impl Iterator<Item = &Entry> {
        self.unanswered().filter(|e| e.mark == Mark::Lost && !e.extra)
    }

    /// Losses since the last answer.
    pub fn losses(&self) -> u8 {
        if self.places.lost == 0 { 0 } else { self.lost_in_a_row().count() as u8 }
    }

    /// The losses since the last answer, if `needed` of them at least left after `moment`; five or more.
    pub fn run(&self, needed: u8, moment: Option<Instant>, interval: Duration) -> Option<Run> {
        if self.places.lost == 0 {
            return None;
        }
        let losses = || self.lost_in_a_row().take_while(|e| Some(e.at) > moment);
        let newer = losses().count().checked_sub(usize::from(needed))?;
        let mut from_last = losses().skip(newer);
        let last = from_last.next()?;
        let fourth = from_last.nth(usize::from(needed).saturating_sub(5))?;
        let first = from_last.last()?;
        Some(Run { first: first.at, fourth: fourth.at, due: self.due(last, interval) })
    }

    /// Between two probes.
    pub fn spacing(&self, interval: Duration) -> Duration {
        interval * self.pace.every()
    }

    /// Stamps of the first and the last but one of the newest `losses` since the last answer, if there are
    /// so many; two at least.
    pub fn silence(&self, losses: u8) -> Option<(Instant, Instant)> {
        let mut newest = self.lost_in_a_row().skip(1);
        let later = newest.next()?.at;
        let first = newest.nth(usize::from(losses).checked_sub(3)?)?.at;
        Some((first, later))
    }

    /// Ends asking it before its time.
    pub fn calm_down(&mut self) {
        self.urged_since = None;
    }

    /// Losses in a row that the ring can show, beside the probes whose time is not over.
    pub fn most_losses(&self, interval: Duration) -> u8 {
        let open = self.limit(interval).as_nanos().div_ceil(interval.as_nanos().max(1));
        (RING as u8 - 1).saturating_sub(open as u8)
    }

    /// Its newest probe is lost, or open though answers come before the next one.
    pub fn owes_an_answer(&self, interval: Duration) -> bool {
        let open = self.newest_first().next().is_some_and(|entry| entry.mark == Mark::Pending);
        self.losses() > 0 || open && self.limit(interval) <= interval
    }

    /// When the open probe is due that would make the run `needed` losses long.
    pub fn verdict_due(&self, needed: u8, interval: Duration) -> Option<Instant> {
        let missing = needed.checked_sub(self.losses())?.checked_sub(1)?;
        if self.places.pending.count_ones() <= u32::from(missing) {
            return None;
        }
        let open = || self.unanswered().filter(|e| e.mark == Mark::Pending && !e.extra);
        // Newest first; the one that decides is the `missing`th oldest.
        let newer = open().count().checked_sub(usize::from(missing) + 1)?;
        open().nth(newer).map(|entry| self.due(entry, interval))
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
