//! An instance (interface x family): its rounds of probes, and what they say about it (design 2).

use core::net::IpAddr;
use core::time::Duration;

use crate::bench::Bench;
use crate::chance::Chance;
use crate::claim::{self, Claim};
use crate::config::{LOSSES_TO_FAIL, MAX_TARGETS};
use crate::event::Fate;
use crate::hosts::Hosts;
use crate::ids::{Family, Ifindex, PathId, Seq};
use crate::message::{Evidence, Reason};
use crate::path::{Outcome, Path};
use crate::request::{Probe, Round};
use crate::rounds::{self, Rounds};
use crate::rtt::{LOSS_FLOOR, Rtt};
use crate::time::Instant;
use crate::unwatched::Coverage;
use crate::view::TargetMode;

mod inherit;
mod suspicion;
mod targets;

use suspicion::PATIENCE;
pub use suspicion::Suspicion;
pub use targets::DOUBT;
use targets::LOSSES_TO_URGE;

/// Rounds in one failure detection time (design 2).
const ROUNDS_PER_FDT: u32 = 6;
/// The same where a verdict may have to wait for a receive witness: the promise stands.
const ROUNDS_PER_FDT_DEFERRED: u32 = ROUNDS_PER_FDT + PATIENCE;
/// Losses in a row after which the target's MAC is asked for again (N9).
const LOSSES_TO_REFRESH: u8 = 3;

/// Rounds that are due so soon are sent with one that is due: NICs share a wake-up and keep their
/// phases. A probe may so leave before its time by less than any loss takes to be one, or a verdict
/// could come before four intervals have passed.
fn slack(interval: Duration) -> Duration {
    LONGEST_SLACK.min(interval / 32)
}

pub const LONGEST_SLACK: Duration = LOSS_FLOOR;

pub struct Instance {
    pub family: Family,
    pub paths: [Path; MAX_TARGETS],
    first_path: PathId,
    fdt: Duration,
    pub mode: TargetMode,
    /// Found where no router is known; and how often they were asked for since something changed.
    pub hosts: Hosts,
    pub searches: u32,
    /// Next hops that were left out of the candidates, as last logged, and when that was.
    pub omitted: u32,
    pub omitted_told: Option<Instant>,
    /// Targets set aside.
    pub bench: Bench,
    /// Targets are looked after again then, or at once where they are to be chosen anew.
    pub review_at: Instant,
    pub unsettled: bool,
    /// The test address, once it stands and may be used.
    pub test: Option<IpAddr>,
    /// Another host that answers for the test address.
    pub claim: Option<Claim>,
    /// No reply comes while the test address is in conflict: they may go to the other host, so that their
    /// absence proves nothing.
    pub silenced_by_conflict: bool,
    pub failure: Option<Failure>,
    /// Since when all targets that count have been silent for long enough.
    pub case_since: Option<Instant>,
    rounds: Rounds,
    /// What chance does here.
    chance: Chance,
    /// When the first probe left that no pause of probing followed.
    asked_since: Option<Instant>,
    /// `None` while nothing may be sent.
    next_round: Option<Instant>,
    /// Since when every round was refused or kept waiting.
    stuck_since: Option<Instant>,
    /// Equal readings of the device's transmit counter since then: the first and the last.
    still: Option<(Instant, Instant)>,
    /// Until then a verdict asks for one more round: our own thread was late (design 2.12).
    doubtful_until: Instant,
    /// When probing began; the quiet period counts from here.
    pub started: Option<Instant>,
    /// A target has answered since probing began.
    pub replied: bool,
    first_reply: Option<Instant>,
    pub missed: u32,
    /// Frames can wait on this NIC although we run.
    pub deferred: bool,
    /// A verdict waits until what has come in has been handled.
    pub seeks_receive_witness: bool,
    /// Whether it has been reported as unwatched.
    pub coverage: Coverage,
    /// One of its targets that answer all probes answers on another member as well: if that one falls
    /// silent here alone, no target that limits its answers has to be waited for.
    pub confirmed_elsewhere: bool,
}

/// A failed instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub since: Instant,
    /// No other member heard anything either: the cause may be the targets or the switch.
    pub together: bool,
    /// The administrator has been told of this family by itself.
    pub told: bool,
    pub evidence: Evidence,
}

impl Failure {
    /// One that the state file tells of.
    pub fn restored() -> Self {
        let evidence = Evidence {
            reason: Reason::Probes,
            silent: 0,
            counted: 0,
            last_reply: None,
            detected: Duration::ZERO,
        };
        Self { since: Instant(0), together: false, told: true, evidence }
    }
}

impl Instance {
    /// `first_path`: number of the first of its [`MAX_TARGETS`] paths.
    pub fn new(family: Family, first_path: PathId, fdt: Duration) -> Self {
        Self {
            family,
            paths: [Path::new(); MAX_TARGETS],
            first_path,
            fdt,
            mode: TargetMode::Disabled,
            hosts: Hosts::default(),
            searches: 0,
            omitted: 0,
            omitted_told: None,
            bench: Bench::default(),
            review_at: Instant(0),
            unsettled: true,
            test: None,
            claim: None,
            silenced_by_conflict: false,
            failure: None,
            case_since: None,
            rounds: Rounds::new(),
            chance: Chance::new(),
            asked_since: None,
            next_round: None,
            stuck_since: None,
            still: None,
            doubtful_until: Instant(0),
            started: None,
            replied: false,
            first_reply: None,
            missed: 0,
            deferred: false,
            seeks_receive_witness: false,
            coverage: Coverage::default(),
            confirmed_elsewhere: false,
        }
    }

    /// T of design 2.
    pub fn interval(&self) -> Duration {
        self.fdt / if self.deferred { ROUNDS_PER_FDT_DEFERRED } else { ROUNDS_PER_FDT }
    }

    pub fn path_id(&self, i: usize) -> PathId {
        PathId(self.first_path.0 + i as u16)
    }

    pub fn path_mut(&mut self, path: PathId) -> Option<&mut Path> {
        self.paths.get_mut(usize::from(path.0.wrapping_sub(self.first_path.0)))
    }

    fn open_paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|p| p.key.is_some())
    }

    /// It has targets that count: it has a say in the state of its interface.
    pub fn probing(&self) -> bool {
        self.has_proven_targets() && !self.silenced_by_conflict
    }

    fn has_proven_targets(&self) -> bool {
        self.counted().next().is_some()
    }

    /// Another host is known to have the test address too.
    pub fn in_conflict(&self) -> bool {
        claim::conflict(self.claim).is_some()
    }

    pub fn has_targets(&self) -> bool {
        self.open_paths().next().is_some()
    }

    /// Begins probing, the first round after `phase`.
    pub fn start(&mut self, now: Instant, phase: Duration) {
        if self.next_round.is_none() {
            self.next_round = Some(now + phase);
            self.started = self.started.or(Some(now));
            self.unstick();
        }
    }

    /// Ends probing; earlier answers prove nothing after a pause.
    pub fn stop(&mut self) {
        self.next_round = None;
        self.asked_since = None;
        self.unstick();
        self.rounds.forget();
        self.chance.interrupt();
        self.paths.iter_mut().for_each(Path::clear_ring);
    }

    /// Another NIC is to come: what was learnt of this one proves nothing.
    pub fn forget_replies(&mut self) {
        self.replied = false;
        self.first_reply = None;
        self.chance = Chance::new();
    }

    pub fn asked_since(&self) -> Option<Instant> {
        self.asked_since
    }

    pub fn next_round(&self) -> Option<Instant> {
        self.next_round
    }

    pub fn running(&self) -> bool {
        self.next_round.is_some()
    }

    /// When it wants to be looked at again: its next round, or the end of what makes a verdict.
    pub fn wake_at(&self) -> Option<Instant> {
        let next = self.next_round?;
        let interval = self.interval();
        let needed = self.needed(next);
        let verdict = self.leading().map(|p| p.verdict_due(needed, interval)).max().flatten();
        Some(verdict.map_or(next, |v| v.min(next)))
    }

    /// The round that is due, if one is. Rounds slept over are missed, never lost.
    pub fn round(&mut self, now: Instant, ifindex: Ifindex) -> Option<Round> {
        let interval = self.interval();
        let due = self.next_round.filter(|due| *due <= now + slack(interval))?;
        let behind = now.since(due);
        let slept_over = (behind.as_nanos() / interval.as_nanos().max(1)) as u32;
        if slept_over > 0 {
            self.missed += slept_over;
            self.doubtful_until = now + self.fdt;
            self.rounds.distrust(ROUNDS_PER_FDT);
        }
        self.next_round = Some(due + interval * (slept_over + 1));
        let number = self.rounds.next();
        let urges = self.urges_limited();
        let mut round = Round::new(ifindex, self.family);
        for i in 0..MAX_TARGETS {
            let path = &mut self.paths[i];
            if path.key.is_some() && path.proven {
                path.pace.pass(now, interval);
            }
            if !urges {
                path.calm_down();
            }
            let refresh = path.losses() >= LOSSES_TO_REFRESH;
            let seq = if path.key.is_some() && path.pace.is_due() {
                Some(path.next_probe(number, now))
            } else {
                (urges && path.is_limited()).then(|| path.urge(number, now))
            };
            if let Some(seq) = seq {
                round.push(Probe { path: self.path_id(i), seq, refresh });
            }
        }
        if round.probes().is_empty() {
            return None;
        }
        self.learn(now);
        Some(round)
    }

    /// A round begins, and another one is known to the end. What is told from that is the chance that
    /// verdicts have to allow for, so it does not count while another cause is known, or nobody is there
    /// whose silence means anything.
    fn learn(&mut self, now: Instant) {
        if self.failure.is_some() || !self.paths.iter().any(Path::has_a_say) {
            self.rounds.distrust(0);
        }
        let (interval, pace) = (self.interval(), self.pace());
        match self.rounds.begin(now, pace) {
            Some(heard) => self.chance.round(heard, interval),
            None => self.chance.interrupt(),
        }
    }

    pub fn sent(&mut self, path: PathId, seq: Seq, at: Instant, fate: Fate) {
        let number = self.rounds.newest();
        let Some(path) = self.path_mut(path) else { return };
        path.sent(seq, at, fate);
        match fate {
            Fate::Left | Fate::Resolving => {
                self.asked_since = self.asked_since.or(Some(at));
                self.progress(number);
            }
            Fate::Waiting | Fate::Refused => {
                self.stuck_since = self.stuck_since.or(Some(at));
            }
        }
    }

    pub fn left(&mut self, path: PathId, seq: Seq, at: Instant) {
        if let Some(round) = self.path_mut(path).and_then(|p| p.left(seq, at)) {
            self.progress(round);
        }
    }

    /// A reading of the device's transmit counter. If it transmits something, what waits is late, not
    /// stuck (N1).
    pub fn counted_transmits(&mut self, now: Instant, moved: bool) {
        let Some(since) = self.stuck_since else { return };
        if moved {
            self.unstick();
        } else {
            let first = self.still.map(|(first, _)| first).filter(|first| *first >= since);
            self.still = Some((first.unwrap_or(now), now));
        }
    }

    fn unstick(&mut self) {
        self.stuck_since = None;
        self.still = None;
    }

    fn progress(&mut self, round: u64) {
        self.unstick();
        self.rounds.left(round);
    }

    /// Refused or waiting rounds only: whether the device transmits at all must be asked.
    pub fn is_held_up(&self) -> bool {
        self.stuck_since.is_some()
    }

    /// A target has told its MAC.
    pub fn resolved(&mut self, path: PathId, seq: Seq) {
        if let Some(round) = self.path_mut(path).and_then(|p| p.resolved(seq)) {
            self.rounds.heard(round);
        }
    }

    /// Returns the outcome, if the probe was still waited for.
    pub fn reply(&mut self, path: PathId, seq: Seq, at: Instant) -> Option<Outcome> {
        let interval = self.interval();
        let path = self.path_mut(path)?;
        let (round, outcome) = path.reply(seq, at, interval)?;
        path.note_pace(interval);
        let has_a_say = path.has_a_say();
        self.replied = true;
        self.silenced_by_conflict = false;
        self.first_reply = self.first_reply.or(Some(at));
        self.unstick();
        self.rounds.answered(round);
        if has_a_say {
            self.rounds.heard(round);
        }
        Some(outcome)
    }

    pub fn expire(&mut self, now: Instant, mut told: impl FnMut(IpAddr, Rtt, Outcome)) {
        let interval = self.interval();
        for path in &mut self.paths {
            let (Some(target), rtt) = (path.target(), path.rtt) else { continue };
            path.expire(now, interval, |outcome| told(target, rtt, outcome));
        }
    }

    /// All targets that answer every probe have begun to be silent: whether it is they or the path is for
    /// those to say that limit their answers. An answer is worth as much as any, whenever it comes.
    fn urges_limited(&self) -> bool {
        let mut free = self.unlimited().peekable();
        self.failure.is_none()
            && free.peek().is_some()
            && free.all(|p| p.losses() >= LOSSES_TO_URGE)
    }

    /// Stamp of the newest probe that was answered, by any target.
    fn heard(&self) -> Option<Instant> {
        self.open_paths().filter_map(|p| p.last_acked).max()
    }

    /// Probes whose reply would still change something.
    pub fn awaited(&self) -> impl Iterator<Item = (PathId, Seq)> + '_ {
        let open = (0..MAX_TARGETS).filter(|n| self.paths[*n].key.is_some());
        open.flat_map(move |n| self.paths[n].awaited().map(move |seq| (self.path_id(n), seq)))
    }

    /// It does not probe, or all is answered as ever: its rounds and replies change no judgement.
    pub fn is_calm(&self) -> bool {
        let expected = self.chance.losses() == LOSSES_TO_FAIL;
        let settled = self.failure.is_none() && !self.unsettled && expected;
        let answered = || {
            let places = self.paths.iter().any(|p| p.key.is_none());
            self.replied
                && self.stuck_since.is_none()
                && (!places || self.bench.is_empty())
                && self.paths.iter().all(Path::is_calm)
        };
        settled && (!self.running() || answered())
    }

    /// Some target answered a probe that left after `moment`.
    pub fn answered_after(&self, moment: Instant) -> bool {
        self.open_paths().any(|p| p.last_acked > Some(moment))
    }

    /// The same, of a target whose answer is no single one.
    pub fn answers_after(&self, moment: Instant) -> bool {
        self.open_paths().any(|p| p.last_steady > Some(moment))
    }

    /// Fails, with the rounds forgotten: repair is earned by what comes after, maybe on another way
    /// through the network (behaviour 56). A silence that others did not share is no limit of the targets.
    pub fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
        for path in &mut self.paths {
            path.rtt = Rtt::new();
            if !failure.together {
                path.pace.forget();
            }
        }
        self.rounds.forget();
        self.chance.discard_lesson();
    }

    /// Works again. The silence of a path that had failed is no limit of its targets.
    pub fn repair(&mut self) {
        self.failure = None;
        self.paths.iter_mut().for_each(|path| path.pace.forget());
    }

    /// When its failure is told by itself, if it has not been: an interval later, for when the path is cut the
    /// other family follows at its own losses, and then the interface has failed.
    pub fn tells_failure_at(&self) -> Option<Instant> {
        let failure = self.failure.filter(|failure| !failure.told)?;
        Some(failure.since + self.interval())
    }

    /// A round was answered in the last 2 x FDT.
    pub fn answered_lately(&self, now: Instant) -> bool {
        let mut rounds = self.decided(now).take_while(|r| now.since(r.at) < self.repair_time());
        rounds.any(|r| r.answered)
    }

    /// It has lost some and answered some for a while: its last losses may be no more than that.
    pub fn is_erratic(&self) -> bool {
        self.leading().any(|p| p.pace.is_erratic())
    }

    /// One of the five newest rounds that had their time was answered, or one of so many probes to a
    /// target that is asked less often. Not on a device that has sent nothing for one failure detection time.
    pub fn answering(&self, now: Instant) -> bool {
        if self.stuck(now).is_some() {
            return false;
        }
        let pace = self.pace();
        let wait = pace.spacing * u32::from(LOSSES_TO_FAIL) + self.longest_limit();
        let limited = pace.spacing > pace.interval;
        self.decided(now).take(usize::from(LOSSES_TO_FAIL)).any(|r| r.answered)
            || limited && self.rounds.newest_answered().is_some_and(|at| now.since(at) < wait)
    }

    /// For 2 x FDT answers came at least as often as the target that is asked most often was asked.
    pub fn has_earned_repair(&self, now: Instant) -> bool {
        self.streak(now) >= self.repair_time()
    }

    /// The newest rounds were all answered: two at the least.
    pub fn answers_all(&self, now: Instant) -> bool {
        self.streak(now) > Duration::ZERO
    }

    fn repair_time(&self) -> Duration {
        self.fdt.max(self.pace().spacing * ROUNDS_PER_FDT) * 2
    }

    /// Will have earned it a round or two later, if nothing breaks.
    pub fn is_about_to_earn_repair(&self, now: Instant) -> bool {
        let streak = self.streak(now);
        (self.repair_time() - self.pace().spacing * 2..self.repair_time()).contains(&streak)
    }

    fn streak(&self, now: Instant) -> Duration {
        self.rounds.streak(now, self.longest_limit(), self.pace())
    }

    fn decided(&self, now: Instant) -> impl Iterator<Item = &rounds::Round> {
        self.rounds.decided(now, self.longest_limit())
    }

    fn longest_limit(&self) -> Duration {
        let interval = self.interval();
        self.open_paths().map(|p| p.limit(interval)).max().unwrap_or(interval)
    }

    /// A probe to each target leaves and is answered within this time, where the path works.
    pub fn answers_within(&self) -> Duration {
        self.longest_spacing() + self.longest_limit()
    }

    /// L of the slowest target: how long a group that comes back waits for the present holder (N4).
    pub fn settling(&self) -> Duration {
        self.spacing() + self.longest_limit().min(self.interval())
    }
}
