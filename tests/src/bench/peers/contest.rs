//! All contestants at once, on paths of their own: the same cuts, the same load at the same moments.

use std::time::Duration;

use super::bfd::SETTINGS;
use super::contestant::{Change, Contestant};
use super::load::Load;
use super::mpathd::Mpathd;
use super::pair::Pair;
use super::wire::Wire;
use crate::clock::{self, Nanos};
use crate::delays::{self, Delays};
use crate::lab::Lab;
use crate::wait_for;

/// Multiples of it spread evenly over an interval.
const GOLDEN: f64 = 0.618_034;
/// BFD begins with a packet a second, and may go on so for a while after it is up.
const SETTLED: Duration = Duration::from_secs(1);
const START_LIMIT: Duration = Duration::from_secs(20);
/// For a session that falls again and again under load: then it is not there to be cut.
const SOUND_LIMIT: Duration = Duration::from_secs(8);
/// What is not found until then is missed.
const FOUND_LIMIT: Duration = Duration::from_secs(5);

/// How much is measured under each load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Nothing is cut so long, and what is taken for dead is taken so by mistake.
    pub(super) watch: Duration,
    pub(super) cuts: u32,
}

pub(super) struct Contest<'a> {
    budget: Duration,
    contestants: Vec<Box<dyn Contestant + Sync + 'a>>,
    stalls: &'a Delays,
}

/// What became of one contestant under one load.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) told: String,
    pub(super) promise: Duration,
    pub(super) watched: Duration,
    /// By mistake: when, since the watch began.
    pub(super) falls: Vec<Duration>,
    /// By mistake: how long in all.
    pub(super) down: Duration,
    pub(super) cpu: Duration,
    pub(super) sent: u64,
    pub(super) cuts: Vec<Cut>,
}

/// A cut, as one end of the path has found it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) number: u32,
    pub(super) end: usize,
    pub(super) found: Found,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    After {
        took: Duration,
        /// Until its word was read.
        heard: Duration,
        /// What the machine stood still of that time.
        stalls: Duration,
    },
    Never,
    /// The path was taken for dead already when it was to be cut.
    DownAlready,
}

impl<'a> Contest<'a> {
    /// Starts all that take this budget, and waits until all paths are up.
    pub(super) fn start(
        budget: Duration,
        lab: &'a Lab,
        wire: &'a Wire,
        stalls: &'a Delays,
    ) -> Self {
        let mut contestants: Vec<Box<dyn Contestant + Sync>> =
            vec![Box::new(Mpathd::start(lab, budget))];
        for (number, setting) in SETTINGS.into_iter().enumerate() {
            if let Some(interval) = setting.bfd.interval(budget) {
                contestants.push(Box::new(Pair::start(setting, interval, wire, number)));
            }
        }
        let contest = Self { budget, contestants, stalls };
        for it in &contest.contestants {
            wait_for(&format!("path that is up for {}", it.name()), START_LIMIT, || {
                it.sound_since().ok_or_else(|| it.log())
            });
        }
        contest
    }

    /// The load ends in time whatever else it holds up: whoever ends it comes first.
    pub(super) fn measure(&self, load: Load, size: Size) -> Vec<Measured> {
        urgently(|| self.wait_settled());
        let load = load.start();
        urgently(move || {
            let mut all = self.watch(size.watch);
            for number in 0..size.cuts {
                for (measured, cuts) in all.iter_mut().zip(self.round(number)) {
                    measured.cuts.extend(cuts);
                }
            }
            drop(load);
            all
        })
    }

    /// Cuts nothing; counts what falls.
    fn watch(&self, span: Duration) -> Vec<Measured> {
        let used = || self.contestants.iter().map(|it| (it.cpu(), it.sent())).collect::<Vec<_>>();
        let (from, before) = (clock::now(), used());
        clock::pass(span);
        let (to, after) = (clock::now(), used());
        let mut all = Vec::new();
        for (it, (before, after)) in self.contestants.iter().zip(before.iter().zip(&after)) {
            let down =
                it.outages().into_iter().map(|(fell, back)| (fell, back.unwrap_or(to).min(to)));
            let down: Vec<_> = down.filter(|(fell, back)| *fell < to && *back > from).collect();
            let falls = down.iter().map(|(fell, _)| *fell).filter(|at| (from..to).contains(at));
            all.push(Measured {
                name: it.name(),
                told: it.told(),
                promise: it.promise(),
                watched: Duration::from_nanos(to - from),
                falls: falls.map(|at| Duration::from_nanos(at - from)).collect(),
                down: down
                    .iter()
                    .map(|(fell, back)| Duration::from_nanos(back - fell.max(&from)))
                    .sum(),
                cpu: Duration::from_nanos(after.0 - before.0),
                sent: after.1 - before.1,
                cuts: Vec::new(),
            });
        }
        all
    }

    /// Cuts all whose path is up, one a budget after the other, each round in another order and at another phase
    /// of the interval; waits until all have found it, and mends.
    fn round(&self, number: u32) -> Vec<Vec<Cut>> {
        let sound = self.wait_settled();
        let count = self.contestants.len();
        let begin = clock::now() + clock::nanos(self.budget);
        let phase = (self.budget / 3).mul_f64(f64::from(number) * GOLDEN % 1.0);
        let mut cut: Vec<Option<Nanos>> = vec![None; count];
        for turn in 0..count {
            let who = (turn + number as usize) % count;
            if sound[who] {
                let after = self.budget * u32::try_from(turn).expect("some") + phase;
                clock::sleep_until(begin + clock::nanos(after));
                cut[who] = Some(self.contestants[who].cut());
            }
        }
        let all_found = || {
            let mut pairs = self.contestants.iter().zip(&cut);
            pairs.all(|(it, at)| at.is_none_or(|at| is_found(&**it, at)))
        };
        let limit = clock::now() + clock::nanos(FOUND_LIMIT);
        while clock::now() < limit && !all_found() {
            pause();
        }
        let cuts = self.contestants.iter().zip(&cut);
        let cuts = cuts.map(|(it, at)| self.told(&**it, number, *at)).collect();
        self.contestants.iter().for_each(|it| it.mend());
        cuts
    }

    /// What all ends that are concerned have made of a cut.
    fn told(&self, it: &dyn Contestant, number: u32, cut: Option<Nanos>) -> Vec<Cut> {
        let changes = it.changes();
        let of_end = |&end: &usize| {
            let found = match cut {
                Some(cut) if is_up_at(&changes[end], cut) => self.found(&changes[end], cut),
                _ => Found::DownAlready,
            };
            Cut { number, end, found }
        };
        it.concerned().iter().map(of_end).collect()
    }

    fn found(&self, changes: &[Change], cut: Nanos) -> Found {
        let fall = changes.iter().find(|it| it.at >= cut && !it.up);
        fall.map_or(Found::Never, |fall| Found::After {
            took: Duration::from_nanos(fall.at - cut),
            heard: Duration::from_nanos(fall.heard - cut),
            stalls: self.stalls.within(cut, fall.at),
        })
    }

    /// Waits until all paths have been up for a while, or will not be; which have.
    fn wait_settled(&self) -> Vec<bool> {
        let limit = clock::now() + clock::nanos(SOUND_LIMIT);
        loop {
            let now = clock::now();
            let settled = |since: Nanos| now > since + clock::nanos(SETTLED);
            let sound = self.contestants.iter().map(|it| it.sound_since().is_some_and(settled));
            let sound: Vec<bool> = sound.collect();
            if now > limit || sound.iter().all(|it| *it) {
                return sound;
            }
            pause();
        }
    }
}

/// In a thread that comes before all load: what is due happens when it is due. Starts no process there, which would
/// come as early.
fn urgently<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let urgent = || {
        delays::come_first();
        work()
    };
    std::thread::scope(|scope| scope.spawn(urgent).join()).expect("it has told its panic")
}

fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// All that are concerned know it, or have it for dead anyway.
fn is_found(it: &dyn Contestant, cut: Nanos) -> bool {
    let changes = it.changes();
    it.concerned().iter().all(|end| {
        let fell = changes[*end].iter().any(|it| it.at >= cut && !it.up);
        fell || !is_up_at(&changes[*end], cut)
    })
}

fn is_up_at(changes: &[Change], at: Nanos) -> bool {
    changes.iter().rfind(|it| it.at < at).is_some_and(|it| it.up)
}
