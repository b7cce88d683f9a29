//! How often a target is probed. Control planes, firewalls and hosts answer only so many echo requests a
//! second (RFC 4443 2.4(f), `icmp_ratelimit`): such a target is recognised and probed less often. Each of
//! its answers still proves that the path works; its silence counts at its own pace.

use core::time::Duration;

use crate::config::LOSSES_TO_FAIL;
use crate::time::Instant;

/// Half of the time that is looked at, and as many probes at the least.
const HALF_WINDOW: Duration = Duration::from_millis(2_500);
const HALF_WINDOW_PROBES: u32 = 16;
/// Losses that were followed by an answer: one may be a hiccup of the network. More where nothing
/// else tells that the path is well.
pub const HOLES: u16 = 2;
const HOLES_OF_ALL: u16 = 3;
/// A target that answers more than this part is not limiting us: 3 of 4.
const LOST_ONE_IN: u16 = 4;
/// A trial at a higher rate must lose less than this part: 9 of 10 are answered.
const LOST_IN_TRIAL: u16 = 10;
/// One run of losses in so many probes: chance makes more where it loses a tenth or more.
const ERRATIC: u16 = 16;
/// Before a target has been asked for so long, nothing is said about it.
const TOO_NEW: Duration = Duration::from_secs(1);
/// So many silences in common are more than outages: several targets limit their answers alike.
const COMMON_HOLES: u16 = 4;
/// So many long silences of a target that is asked as seldom as it answers are more than outages: it
/// answers less now.
const LONG_HOLES: u16 = 2;
/// However little it answers, it is asked as often as this.
const LONGEST_SPACING: Duration = Duration::from_secs(5);
/// After so long without a loss it is asked twice as often again (behaviour file 0.3,
/// MIN_RECOVERY_TIME).
const TRY_FASTER: Duration = Duration::from_secs(60);
/// The longest wait is 64 minutes.
const MOST_FAILED: u8 = 6;
/// If asking less often does not help, the network loses the probes; it is not tried again so soon.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// What became of probes in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub answered: u16,
    pub lost: u16,
    /// Answers before the first loss: a limit lets a burst pass before it is felt, or has just begun.
    burst: u16,
    /// Runs of losses that an answer has ended.
    holes: u16,
    /// Of those, the ones too short for a verdict.
    short_holes: u16,
    /// The longest of them that was the target's own.
    longest_hole: u16,
    /// Runs of losses that do not count, because all targets were silent at the same time.
    outages: u16,
}

const NO_TALLY: Tally =
    Tally { answered: 0, lost: 0, burst: 0, holes: 0, short_holes: 0, longest_hole: 0, outages: 0 };

impl Tally {
    /// The stretch before this one together with it.
    fn after(self, earlier: Self) -> Self {
        let answered = self.answered.saturating_add(earlier.answered);
        Self {
            answered,
            lost: self.lost.saturating_add(earlier.lost),
            burst: match (earlier.lost, self.lost) {
                (0, 0) => 0,
                (0, _) => earlier.answered.saturating_add(self.burst),
                _ => earlier.burst,
            },
            holes: self.holes.saturating_add(earlier.holes),
            short_holes: self.short_holes.saturating_add(earlier.short_holes),
            longest_hole: self.longest_hole.max(earlier.longest_hole),
            outages: self.outages.saturating_add(earlier.outages),
        }
    }

    fn asked(self) -> u16 {
        self.answered.saturating_add(self.lost).max(1)
    }

    /// Part that was lost, in thousandths.
    fn lost_part(self) -> u32 {
        u32::from(self.lost) * 1000 / u32::from(self.asked())
    }

    fn without_burst(self) -> Self {
        Self { answered: self.answered.saturating_sub(self.burst), burst: 0, ..self }
    }

    fn is_gappy(self) -> bool {
        self.holes > 0 && self.lost >= self.asked() / LOST_ONE_IN
    }
}

/// Of one path.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// It is asked in every so many rounds: 1 is in all.
    every: u16,
    /// Rounds to be left out before it is asked again.
    skip: u16,
    /// Since when it is asked so often.
    since: Option<Instant>,
    /// Beginning of the newer half.
    begun: Option<Instant>,
    halves: [Tally; 2],
    /// Losses since the last answer.
    hole: u16,
    /// Losses before the present answers, while it is open whether all targets were silent then.
    ended_hole: u16,
    /// Answers since the last loss, and those before the present run of losses.
    answers: u16,
    answers_before: u16,
    last_loss: Option<Instant>,
    /// What part was lost before it was asked less often, in thousandths.
    lost_before: Option<u32>,
    /// The present pace is a trial.
    trial: bool,
    left_alone_until: Option<Instant>,
    /// Trials at a higher rate that have failed: the next one waits twice as long.
    failed_trials: u8,
}

/// What is to be told of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Answers only some: is asked less often. Per cent that it answered.
    Slowed { answered: u8 },
    /// Asked in every round again.
    Full,
}

impl Pace {
    pub const fn new() -> Self {
        Self {
            every: 1,
            skip: 0,
            since: None,
            begun: None,
            halves: [NO_TALLY; 2],
            hole: 0,
            ended_hole: 0,
            answers: 0,
            answers_before: 0,
            last_loss: None,
            lost_before: None,
            trial: false,
            left_alone_until: None,
            failed_trials: 0,
        }
    }

    pub fn every(&self) -> u32 {
        u32::from(self.every)
    }

    /// Is known to limit what it answers.
    pub fn policed(&self) -> bool {
        self.every > 1
    }

    /// Whether to ask in this round.
    pub fn is_due(&mut self) -> bool {
        let due = self.skip == 0;
        self.skip = if due { self.every - 1 } else { self.skip - 1 };
        due
    }

    /// It was asked before its time: the next probe waits as long as ever.
    pub fn postpone(&mut self) {
        self.skip = self.every - 1;
    }

    pub fn answered(&mut self, late: bool) {
        let tally = &mut self.halves[0];
        tally.answered = tally.answered.saturating_add(1);
        if late {
            tally.lost = tally.lost.saturating_sub(1);
        } else {
            let short = is_short(self.hole);
            tally.holes = tally.holes.saturating_add(u16::from(self.hole > 0));
            tally.short_holes = tally.short_holes.saturating_add(u16::from(short));
            if self.hole > 0 {
                self.ended_hole = self.hole;
            }
            // Asked as seldom as it answers: so long a silence is one of the path, or of a dead target.
            let long = self.policed() && self.hole >= u16::from(LOSSES_TO_FAIL);
            // Where a limit loses many in a row, its answers are few.
            let died = self.hole >= u16::from(LOSSES_TO_FAIL) && self.answers_before >= self.hole;
            if (long || died) && self.tally().outages < LONG_HOLES {
                self.forgive_hole();
            }
            self.answers = self.answers.saturating_add(1);
        }
        self.hole = 0;
    }

    pub fn losses_in_a_row(&self) -> u16 {
        self.hole
    }

    /// Whether the last run of losses belongs to this target alone has not been found out yet.
    pub fn may_be_outage(&self) -> bool {
        self.ended_hole > 0
    }

    /// The last run of losses was its own.
    pub fn confirm_hole(&mut self) {
        let hole = core::mem::take(&mut self.ended_hole);
        self.halves[0].longest_hole = self.halves[0].longest_hole.max(hole);
    }

    /// The last run of losses was shared by all targets: it says nothing about this one.
    pub fn forgive_hole(&mut self) {
        let hole = core::mem::take(&mut self.ended_hole);
        if self.tally().outages >= COMMON_HOLES {
            return;
        }
        self.halves[0].outages = self.halves[0].outages.saturating_add(1);
        let (mut lost, mut holes, mut short) =
            (hole, u16::from(hole > 0), u16::from(is_short(hole)));
        for half in &mut self.halves {
            take_from(&mut half.lost, &mut lost);
            take_from(&mut half.holes, &mut holes);
            take_from(&mut half.short_holes, &mut short);
        }
    }

    pub fn lost(&mut self, now: Instant) {
        let tally = &mut self.halves[0];
        if tally.lost == 0 {
            tally.burst = tally.answered;
        }
        tally.lost = tally.lost.saturating_add(1);
        if self.hole == 0 {
            self.answers_before = core::mem::take(&mut self.answers);
        }
        self.hole = self.hole.saturating_add(1);
        // A target that goes on as before an outage answers more than one or two probes.
        self.confirm_hole();
        self.last_loss = Some(now);
    }

    /// Nothing was asked for a while: what was before proves nothing.
    pub fn forget(&mut self) {
        self.begin(self.every);
    }

    /// The same, but how long it has been asked is still known.
    pub fn forget_losses(&mut self) {
        let Self { since, begun, .. } = *self;
        self.forget();
        (self.since, self.begun) = (since, begun);
    }

    fn begin(&mut self, every: u16) {
        let Self { left_alone_until, failed_trials, lost_before, .. } = *self;
        *self = Self { every, left_alone_until, failed_trials, lost_before, ..Self::new() };
    }

    /// Moves the window; `interval` is that of the rounds.
    pub fn pass(&mut self, now: Instant, interval: Duration) {
        self.since.get_or_insert(now);
        let begun = *self.begun.get_or_insert(now);
        let half = HALF_WINDOW.max(interval * self.every() * HALF_WINDOW_PROBES);
        if now.since(begun) >= half {
            self.halves = [Tally::default(), self.halves[0]];
            self.begun = Some(now);
        }
    }

    fn tally(&self) -> Tally {
        self.halves[0].after(self.halves[1])
    }

    /// Asked in every round, and all was answered for as long as is looked back: nothing to adapt.
    pub fn is_calm(&self) -> bool {
        let calm = |tally: &Tally| tally.lost == 0 && tally.holes == 0;
        self.every == 1 && self.hole == 0 && self.halves.iter().all(calm)
    }

    /// Losses and answers by turns, more than chance makes: somebody limits the rate, or loses much.
    pub fn is_gappy(&self) -> bool {
        self.tally().is_gappy()
    }

    /// It has lost some and answered some lately: five losses may be no more than that.
    pub fn has_holes(&self) -> bool {
        self.tally().holes >= HOLES
    }

    /// Losses and answers in quick succession, as in a network that loses some of all: a path that has
    /// been cut now and then is none of that, for its runs of losses are long.
    pub fn is_erratic(&self) -> bool {
        let tally = self.tally();
        tally.asked() >= 16 && tally.short_holes >= (tally.asked() / ERRATIC).max(2)
    }

    /// Answers nearly all.
    pub fn is_steady(&self) -> bool {
        let tally = self.tally();
        tally.answered > 0 && tally.lost_part() < 1000 / u32::from(LOST_ONE_IN) / 2
    }

    /// It has answered by turns before the present run of losses, `times` at the least, and it has neither
    /// been found nor ruled out yet that it limits its answers.
    pub fn is_doubtful(&self, times: u16) -> bool {
        let mut before = self.tally();
        before.lost = before.lost.saturating_sub(self.hole);
        let by_turns = before.holes >= times && before.is_gappy();
        self.every == 1 && self.left_alone_until.is_none() && by_turns
    }

    /// Asked long enough for a limit to show.
    pub fn is_known(&self, now: Instant) -> bool {
        let long = self.since.is_some_and(|since| now.since(since) >= TOO_NEW);
        long && u32::from(self.tally().asked()) >= HALF_WINDOW_PROBES
    }

    /// Answered nearly all before the present run of losses.
    pub fn was_steady(&self) -> bool {
        let Tally { answered, lost, .. } = self.tally();
        u32::from(lost.saturating_sub(self.hole)) * 2 * u32::from(LOST_ONE_IN)
            <= u32::from(answered)
    }

    /// It is time to say that the target limits us, if nothing speaks against it.
    pub fn is_limited(&self, now: Instant, path_is_well: bool) -> bool {
        let tally = self.tally();
        let holes = if path_is_well { HOLES } else { HOLES_OF_ALL };
        let gappy = tally.is_gappy()
            || self.trial && tally.holes > 0 && tally.lost >= tally.asked() / LOST_IN_TRIAL;
        let alone = self.left_alone_until.is_some_and(|until| now < until);
        !alone
            && self.is_known(now)
            && self.hole <= 1
            && !self.may_be_outage()
            && gappy
            && tally.holes >= holes
            && u32::from(tally.asked()) >= HALF_WINDOW_PROBES
    }

    /// Asked half as often as it has answered, and no more than once in its longest silence: it may have begun
    /// to answer less in between. `None`: that is nothing to tell.
    pub fn slow_down(&mut self, now: Instant, interval: Duration) -> Option<Change> {
        let lost_part = self.tally().lost_part();
        let tally = self.tally().without_burst();
        let (first, trial) = (self.every == 1, self.trial);
        let helped = |before| lost_part * 5 <= before * 4;
        if !first && !trial && !self.lost_before.is_some_and(helped) {
            self.begin(1);
            self.left_alone_until = Some(now + LEFT_ALONE);
            return Some(Change::Full);
        }
        let longest = LONGEST_SPACING.as_nanos() / interval.as_nanos().max(1);
        let wanted = 2 * self.every() * u32::from(tally.asked()) / u32::from(tally.answered.max(1));
        let wanted = wanted.max(self.every() * (u32::from(tally.longest_hole) + 1));
        self.begin(u128::from(wanted).clamp(1, longest.clamp(1, 60_000)) as u16);
        self.failed_trials += u8::from(trial && self.failed_trials < MOST_FAILED);
        self.lost_before = Some(lost_part);
        let answered = 100 - (tally.lost_part() / 10) as u8;
        (first && self.every > 1).then_some(Change::Slowed { answered })
    }

    /// Asked twice as often when all has been answered for a while.
    pub fn try_faster(&mut self, now: Instant) -> Option<Change> {
        let well_since = self.last_loss.max(self.since)?;
        if self.every == 1 || now.since(well_since) < TRY_FASTER * (1 << self.failed_trials) {
            return None;
        }
        self.begin(self.every / 2);
        self.trial = true;
        (self.every == 1).then_some(Change::Full)
    }
}

/// Too short for a verdict.
fn is_short(hole: u16) -> bool {
    (1..u16::from(LOSSES_TO_FAIL)).contains(&hole)
}

/// Takes as much of `wanted` from `part` as there is.
fn take_from(part: &mut u16, wanted: &mut u16) {
    let taken = (*part).min(*wanted);
    *part -= taken;
    *wanted -= taken;
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(20);

    /// Asks for `span`; the target answers `rate` times a second at the most.
    fn ask(pace: &mut Pace, from: Instant, span: Duration, rate: u32) -> (Instant, u16) {
        let (mut now, mut free, mut lost) = (from, from, 0);
        while now < from + span {
            if pace.is_due() {
                pace.pass(now, T);
                if now >= free {
                    free = now + Duration::from_secs(1) / rate;
                    pace.answered(false);
                } else {
                    pace.lost(now);
                    lost += 1;
                }
                if pace.is_limited(now, false) {
                    pace.slow_down(now, T);
                }
                pace.try_faster(now);
            }
            now = now + T;
        }
        (now, lost)
    }

    #[test]
    fn the_pace_follows_what_is_answered() {
        for rate in [1, 2, 5, 10, 20] {
            let mut pace = Pace::new();
            let (now, _) = ask(&mut pace, Instant(0), Duration::from_secs(20), rate);
            assert!(pace.policed());
            let (_, lost) = ask(&mut pace, now, Duration::from_secs(20), rate);
            assert!(lost <= 2, "{rate}: {lost} lost of one in {}", pace.every());
            assert!(T * pace.every() * rate <= Duration::from_secs(5), "{rate}: {pace:?}");
        }
    }

    /// What it answered before it began to limit its answers says nothing about the limit.
    #[test]
    fn a_limit_that_begins_later_is_measured_from_its_first_loss() {
        let mut pace = Pace::new();
        let (mut now, mut free) = (Instant(0), Instant(0));
        let slowed = loop {
            pace.pass(now, T);
            let unlimited = now < Instant(5_000_000_000);
            if unlimited || now >= free {
                free = now + Duration::from_millis(200);
                pace.answered(false);
            } else {
                pace.lost(now);
            }
            if pace.is_limited(now, true) {
                break pace.slow_down(now, T);
            }
            now = now + T;
        };
        assert!(matches!(slowed, Some(Change::Slowed { answered: 8..=12 })), "{slowed:?}");
        assert!((18..=24).contains(&pace.every()), "{}", pace.every());
    }

    #[test]
    fn the_full_rate_comes_back() {
        let mut pace = Pace::new();
        let (now, _) = ask(&mut pace, Instant(0), Duration::from_secs(20), 5);
        assert!(pace.policed());
        ask(&mut pace, now, Duration::from_secs(3600), 1000);
        assert!(!pace.policed(), "{pace:?}");
    }

    #[test]
    fn what_is_lost_at_any_pace_is_not_limited() {
        let mut pace = Pace::new();
        let (mut now, mut changes) = (Instant(0), (0, 0));
        for n in 0u32..20_000 {
            now = now + T;
            if !pace.is_due() {
                continue;
            }
            pace.pass(now, T);
            if n.wrapping_mul(2_654_435_761) >> 16 & 7 < 3 {
                pace.lost(now);
            } else {
                pace.answered(false);
            }
            match pace.is_limited(now, false).then(|| pace.slow_down(now, T)).flatten() {
                Some(Change::Slowed { .. }) => changes.0 += 1,
                Some(Change::Full) => changes.1 += 1,
                None => {}
            }
        }
        assert_eq!((changes, pace.policed()), ((1, 1), false), "left alone for ten minutes");
    }

    #[test]
    fn a_target_that_dies_and_comes_back_is_not_limited() {
        let mut pace = Pace::new();
        let mut now = Instant(0);
        for n in 0..400 {
            now = now + T;
            pace.pass(now, T);
            if (100..200).contains(&n) {
                pace.lost(now)
            } else {
                pace.answered(false)
            }
            assert!(!pace.is_limited(now, true));
        }
    }
}
