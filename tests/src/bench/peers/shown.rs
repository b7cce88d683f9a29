//! The contest in words, tables and plots.

use std::time::Duration;

use super::Run;
use super::bfd::{Bfd, MULTIPLIER, REAL_TIME};
use super::contest::{Found, Measured};
use super::load::Load;
use crate::bench::Report;
use crate::bench::report::{Csv, Plot, Table};
use crate::figures::Figures;

pub(super) fn introduction(report: &mut Report) {
    let versions = [Bfd::Frr, Bfd::Bird, Bfd::Keepalived].map(Bfd::version).join(", ");
    report.text(format!(
        "mpathd beside the BFD daemons of Debian 12 ({versions}), all running at once, each on a path of its own \
         with the same number of hops, cut by the same means: a classifier in the switch drops all frames both \
         ways, carrier up. At the same budget: mpathd's failure detection time, or {MULTIPLIER} BFD intervals \
         of a third of it, in whole milliseconds from 10 ms on. bfdd refuses less than 10 ms, so it is not in \
         the shortest budget."
    ));
    report.text(format!(
        "Each daemon is shown as it comes, and, marked *real-time*, at its best: at priority {REAL_TIME}, which \
         mpathd gives itself (bfdd and bird by `chrt --fifo {REAL_TIME}`, keepalived by `bfd_rt_priority \
         {REAL_TIME}`)."
    ));
    report.text(
        "The comparison limps in one respect, and that is the point: BFD needs its daemon at both ends, and here \
         both ends are on the same busy machine, so that each pair can be late twice; beside an idle router about \
         half of its false downs would remain. mpathd's targets answer in their kernels.",
    );
}

/// When a path is taken for dead.
pub(super) fn detection(report: &mut Report, runs: &[Run]) {
    report.heading("Cut to verdict");
    report.text(
        "From the cut to the daemon's own stamp of its verdict (keepalived has none finer than a second: until \
         its log line was read by a SCHED_FIFO 90 thread). *Late* are those past what the daemon was told; *down already* are \
         cuts that found the path taken for dead by mistake. Of BFD both ends count, of mpathd the NIC that is \
         cut, one of two.",
    );
    let mut csv = Csv::new(
        "budget_ms,load,who,told,cut,end,outcome,cut_to_verdict_ms,cut_to_log_read_ms,stalls_ms",
    );
    for load in Load::ALL {
        let mut table = Table::new(&[
            "",
            "budget",
            "told",
            "count",
            "min",
            "p50",
            "p99",
            "max",
            "late",
            "missed",
            "down already",
        ]);
        for run in runs.iter().filter(|it| it.load == load) {
            for measured in &run.measured {
                found(&mut table, &mut csv, run, measured);
            }
        }
        report.text(format!("**{load}**, ms"));
        report.table(&table);
        report.text(stalls(runs, load));
    }
    plots(report, runs);
    report.csv("cuts", &csv);
}

fn found(table: &mut Table, csv: &mut Csv, run: &Run, it: &Measured) {
    let times = times(it);
    let count =
        |wanted: fn(&Found) -> bool| it.cuts.iter().filter(|cut| wanted(&cut.found)).count();
    let late = it
        .cuts
        .iter()
        .filter(|cut| matches!(cut.found, Found::After { took, .. } if took > it.promise));
    table.row(&[
        &it.name,
        &ms(run.budget),
        &it.told,
        &times.len(),
        &shown(times.min()),
        &shown(times.median()),
        &shown(times.quantile(0.99)),
        &shown(times.max()),
        &late.count(),
        &count(|found| matches!(found, Found::Never)),
        &count(|found| matches!(found, Found::DownAlready)),
    ]);
    for cut in &it.cuts {
        let (outcome, spans) = match cut.found {
            Found::After { took, heard, stalls } => {
                ("found", [took, heard, stalls].map(exact).join(","))
            }
            Found::Never => ("missed", ",,".to_owned()),
            Found::DownAlready => ("down already", ",,".to_owned()),
        };
        let who = it.name.replace(", ", " ");
        csv.row(&[
            &ms(run.budget),
            &run.load,
            &who,
            &it.told,
            &cut.number,
            &cut.end,
            &outcome,
            &spans,
        ]);
    }
}

fn plots(report: &mut Report, runs: &[Run]) {
    for run in runs.iter().filter(|it| it.load == Load::Idle) {
        let title = format!("Cut to verdict at a budget of {:?}, idle", run.budget);
        let mut plot = Plot::of_distributions(&title, "ms").log_x();
        for it in run.measured.iter().filter(|it| !times(it).is_empty()) {
            plot.distribution(it.name.clone(), &times(it));
        }
        plot.mark("budget", run.budget.as_secs_f64() * 1e3);
        report.plot(&format!("{}ms", run.budget.as_millis()), &plot);
    }
}

/// What is taken for dead though nothing was cut.
pub(super) fn falls(report: &mut Report, runs: &[Run]) {
    report.heading("False downs");
    let seconds = runs.first().map_or(0.0, |run| run.measured[0].watched.as_secs_f64());
    report.text(format!(
        "In {seconds:.0} s without a cut: how often a path was given up that was up. For BFD at either end (one \
         that gives up tells the other: that counts once), for mpathd a verdict on either NIC or on the group. \
         In brackets, \
         for what share of the time it was given up: what is down cannot fall. {}",
        throttling()
    ));
    let loads = Load::ALL.map(|it| it.to_string());
    let mut table = Table::new(&["", "budget", "told", &loads[0], &loads[1], &loads[2]]);
    let mut csv = Csv::new("budget_ms,load,who,told,seconds_since_load");
    for runs in by_budget(runs) {
        for (number, it) in runs[0].measured.iter().enumerate() {
            let told = |run: &Run| {
                let it = &run.measured[number];
                let share = it.down.as_secs_f64() / it.watched.as_secs_f64() * 100.0;
                format!("{} ({share:.0} %)", it.falls.len())
            };
            let [idle, hogs, real_time] = [0, 1, 2].map(|load| told(&runs[load]));
            table.row(&[&it.name, &ms(runs[0].budget), &it.told, &idle, &hogs, &real_time]);
        }
        for run in runs {
            for it in &run.measured {
                let who = it.name.replace(", ", " ");
                for at in &it.falls {
                    csv.row(&[&ms(run.budget), &run.load, &who, &it.told, &at.as_secs_f64()]);
                }
            }
        }
    }
    report.table(&table);
    report.csv("falls", &csv);
    for runs in by_budget(runs) {
        let false_verdicts: usize = runs.iter().map(|run| run.measured[0].falls.len()).sum();
        report.claim(
            format!(
                "mpathd at an FDT of {:?}: no false verdict, idle or under load",
                runs[0].budget
            ),
            format!("{false_verdicts} in {:.0} s", seconds * runs.len() as f64),
            false_verdicts == 0,
        );
    }
}

/// What watching costs while nothing happens.
pub(super) fn cost(report: &mut Report, runs: &[Run]) {
    report.heading("CPU time");
    report.text(
        "Idle, of all threads, as the scheduler counts it: softirq work done in a thread's own context is in it \
         (a sender's includes the way through the switch up to the peer's socket, or to the target and back), \
         that of ksoftirqd and other threads is not. A BFD pair watches one path from both ends; mpathd watches \
         two NICs by three targets each, and sends more frames for it at the same budget: \
         compare both columns.",
    );
    let mut table = Table::new(&[
        "",
        "budget",
        "told",
        "frames sent a second",
        "CPU ms a second",
        "CPU us a frame sent",
    ]);
    let mut csv =
        Csv::new("budget_ms,who,told,frames_per_second,cpu_ms_per_second,cpu_us_per_frame");
    for run in runs.iter().filter(|it| it.load == Load::Idle) {
        for it in &run.measured {
            let seconds = it.watched.as_secs_f64();
            let (rate, cpu) = (it.sent as f64 / seconds, it.cpu.as_secs_f64() * 1e3 / seconds);
            let each = it.cpu.as_secs_f64() * 1e6 / it.sent as f64;
            let values = [format!("{rate:.0}"), format!("{cpu:.2}"), format!("{each:.2}")];
            let [rate, cpu, each] = &values;
            table.row(&[&it.name, &ms(run.budget), &it.told, rate, cpu, each]);
            let who = it.name.replace(", ", " ");
            csv.row(&[&ms(run.budget), &who, &it.told, rate, cpu, each]);
        }
    }
    report.table(&table);
    report.csv("cpu", &csv);
}

/// The runs of each budget, one for each load.
fn by_budget(runs: &[Run]) -> impl Iterator<Item = &[Run]> {
    runs.chunk_by(|one, other| one.budget == other.budget)
}

fn times(it: &Measured) -> Figures {
    let took = |cut: &super::contest::Cut| match cut.found {
        Found::After { took, .. } => Some(took.as_secs_f64() * 1e3),
        Found::Never | Found::DownAlready => None,
    };
    it.cuts.iter().filter_map(took).collect()
}

fn stalls(runs: &[Run], load: Load) -> String {
    let of = runs.iter().filter(|it| it.load == load);
    let of: Vec<String> =
        of.map(|it| format!("{:?}: {:.1?}", it.budget, it.longest_stall)).collect();
    format!("Longest stall of the machine itself meanwhile, by budget: {}.", of.join(", "))
}

/// What holds real-time hogs back.
fn throttling() -> String {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().parse::<i64>().unwrap_or(-1)
    };
    let (runtime, period) = (read("sched_rt_runtime_us"), read("sched_rt_period_us"));
    if runtime < 0 {
        return "The kernel does not throttle real-time tasks.".to_owned();
    }
    format!("The kernel leaves real-time tasks {} of {} ms.", runtime / 1000, period / 1000)
}

fn ms(span: Duration) -> u128 {
    span.as_millis()
}

fn exact(span: Duration) -> String {
    format!("{:.3}", span.as_secs_f64() * 1e3)
}

fn shown(ms: f64) -> String {
    if ms.is_nan() { "-".to_owned() } else { format!("{ms:.1}") }
}
