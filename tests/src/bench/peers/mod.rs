//! mpathd beside the BFD daemons that a Linux host can have, all at once: what each finds how fast at the same budget, what
//! it takes for dead by mistake while the host is busy, and what it costs.

mod bfd;
mod contest;
mod contestant;
mod load;
mod mpathd;
mod pair;
mod shown;
mod usage;
mod wire;

use std::time::Duration;

use super::{Plan, Report};
use crate::clock;
use crate::delays::Delays;
use crate::lab::Lab;
use bfd::SETTINGS;
use contest::{Contest, Measured, Size};
use load::Load;
use wire::Wire;

/// Within so many ms a failure shall be found.
const BUDGETS: &[u64] = &[10, 30, 50, 100];
const QUICK_BUDGETS: &[u64] = &[30, 100];
const WATCH: Duration = Duration::from_secs(20);
const QUICK_WATCH: Duration = Duration::from_secs(4);

/// One budget under one load.
struct Run {
    budget: Duration,
    load: Load,
    /// mpathd first.
    measured: Vec<Measured>,
    longest_stall: Duration,
}

pub(super) fn run(plan: &Plan, report: &mut Report) {
    shown::introduction(report);
    let wire = Wire::build(SETTINGS.len());
    let lab = Lab::builder().build();
    let stalls = Delays::of_cpus();
    let mut runs = Vec::new();
    for budget in plan.choose(BUDGETS, QUICK_BUDGETS).iter().map(|ms| Duration::from_millis(*ms)) {
        let contest = Contest::start(budget, &lab, &wire, &stalls);
        for load in Load::ALL {
            println!("  {budget:?}, {load}");
            let begun = clock::now();
            let measured = contest.measure(load, size(plan, load));
            let longest_stall = stalls.longest(begun, clock::now());
            runs.push(Run { budget, load, measured, longest_stall });
        }
    }
    shown::detection(report, &runs);
    shown::falls(report, &runs);
    shown::cost(report, &runs);
}

/// A session takes three seconds to come back, so that cuts are fewer here than elsewhere.
fn size(plan: &Plan, load: Load) -> Size {
    let share = if load == Load::Idle { 5 } else { 20 };
    Size { watch: plan.choose(WATCH, QUICK_WATCH), cuts: (plan.cuts / share).max(1) }
}
