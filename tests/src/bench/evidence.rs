//! How often chance alone makes a failure: what five losses in a row are worth, and what the engine asks for instead
//! where it has measured loss. Calculated by the engine's own rule, not measured.

use std::time::Duration;

use mpathd_core::chance::Tally;

use super::report::Table;
use super::{Plan, Report};

const YEAR: f64 = 31_557_600.0;
const FIVE: u8 = 5;
const ROUNDS_PER_FDT: u32 = 6;
/// So many rounds are taken to be known.
const ROUNDS: f64 = 1e6;

pub(super) fn run(_: &Plan, report: &mut Report) {
    report.text(
        "Failures a year that chance makes on one interface and family, where each probe is lost by itself and all \
         targets must be silent: with five losses in a row, and with as many as the engine asks for when it has \
         measured that loss (12 at the most; five on a path that loses nothing). More losses take longer: the \
         achieved failure detection time, shown by `ipmpstat -g` and told in the log, without the wait for the last \
         reply. Calculated.",
    );
    let names = [
        "targets",
        "loss",
        "FDT",
        "a year with five",
        "losses asked for",
        "a year with those",
        "FDT achieved",
    ];
    let mut table = Table::new(&names);
    for targets in 1..=3 {
        for percent in [0.1, 1.0, 5.0, 10.0] {
            for fdt in [10, 30, 100] {
                row(&mut table, targets, percent, Duration::from_millis(fdt));
            }
        }
    }
    report.table(&table);
}

fn row(table: &mut Table, targets: i32, percent: f64, fdt: Duration) {
    let interval = fdt / ROUNDS_PER_FDT;
    let silent = (percent / 100.0).powi(targets);
    let losses = independent(silent).losses_for(1.0, interval);
    let a_year = |losses: u8| {
        let rounds = YEAR / interval.as_secs_f64();
        format!("{:.1e}", rounds * (1.0 - silent) * silent.powi(i32::from(losses)))
    };
    let achieved = fdt.max(interval * u32::from(losses));
    table.row(&[
        &targets,
        &format!("{percent} %"),
        &format!("{fdt:?}"),
        &a_year(FIVE),
        &losses,
        &a_year(losses),
        &format!("{achieved:.1?}"),
    ]);
}

/// Of a path of which that part of all rounds is silent, each by itself.
fn independent(silent: f64) -> Tally {
    let runs = silent * (1.0 - silent) * ROUNDS;
    Tally { rounds: ROUNDS as u32, runs: runs as u32, repeats: (silent * ROUNDS - runs) as u32 }
}
