//! Makes a failing history small: the same promise stays broken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::history::{History, Step};
use crate::referee::{Fault, Kind};
use crate::world::{Played, play};

/// Histories that are tried for one.
const TRIES: usize = 600;

/// Plays it; an assertion that fails is a fault too.
pub fn judge(history: &History) -> Played {
    catch_unwind(AssertUnwindSafe(|| play(history))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        let text = text.unwrap_or_default().lines().take(3).collect::<Vec<_>>().join(" ");
        let fault = Fault { kind: Kind::Panic, at: Duration::ZERO, text };
        Played { fault: Some(fault), steps: 0, time: Duration::ZERO, turns: 0 }
    })
}

pub fn shrink(history: &History, kind: Kind) -> History {
    let mut tries = 0;
    let mut fails = |candidate: &History| {
        tries += 1;
        tries <= TRIES && judge(candidate).fault.is_some_and(|fault| fault.kind == kind)
    };
    let mut best = history.clone();
    loop {
        let before = best.clone();
        fewer_steps(&mut best, &mut fails);
        simpler_setup(&mut best, &mut fails);
        simpler_steps(&mut best, &mut fails);
        if best == before {
            return best;
        }
    }
}

fn fewer_steps(best: &mut History, fails: &mut impl FnMut(&History) -> bool) {
    let mut size = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < best.steps.len() {
            let to = (from + size).min(best.steps.len());
            let mut without = best.clone();
            let gone: u64 = without.steps.drain(from..to).map(|(after, _)| after).sum();
            let mut later = without.clone();
            if let Some((after, _)) = later.steps.get_mut(from) {
                *after += gone;
            }
            if fails(&without) {
                *best = without;
            } else if fails(&later) {
                *best = later;
            } else {
                from += size;
            }
        }
        if size == 1 {
            return;
        }
        size = size.div_ceil(2);
    }
}

fn simpler_setup(best: &mut History, fails: &mut impl FnMut(&History) -> bool) {
    let attempts: [fn(&mut History); 9] = [
        |h| h.setup.dual = false,
        |h| h.setup.link_only = 0,
        |h| h.setup.standby = 0,
        |h| h.setup.failback = true,
        |h| h.setup.members = (h.setup.members - 1).max(1),
        |h| h.setup.targets = (h.setup.targets - 1).max(1),
        |h| h.setup.data = (h.setup.data - 1).max(1),
        |h| h.setup.quiet_ms = 10_000,
        |h| h.setup.seed = 1,
    ];
    for simplify in attempts {
        let mut simpler = best.clone();
        simplify(&mut simpler);
        if simpler != *best && fails(&simpler) {
            *best = simpler;
        }
    }
}

/// Round numbers, and no steps of another kind than are needed.
fn simpler_steps(best: &mut History, fails: &mut impl FnMut(&History) -> bool) {
    for n in 0..best.steps.len() {
        let after = best.steps[n].0;
        let mut unit = 10_000;
        while unit >= 10 {
            let rounded = after / unit * unit;
            let mut simpler = best.clone();
            simpler.steps[n].0 = rounded;
            if rounded != after && fails(&simpler) {
                *best = simpler;
                break;
            }
            unit /= 10;
        }
        if let Step::Limit(t, ms, burst) = best.steps[n].1
            && burst > 1
        {
            let mut simpler = best.clone();
            simpler.steps[n].1 = Step::Limit(t, ms, 1);
            if fails(&simpler) {
                *best = simpler;
            }
        }
    }
}
