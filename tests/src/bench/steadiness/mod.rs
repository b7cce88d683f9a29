//! Hostile load for minutes: no failover without a failure, and a real one in the middle is found all the same.

mod bed;
mod loads;

use std::time::Duration;

use super::report::{Csv, Table};
use super::{Plan, Report};
use crate::clock::{self, Nanos, ms_between};
use crate::flood::received;
use bed::{Bed, Cut, GROUPS, Lateness, stamp};
use loads::{LOADS, Load, NICS};

/// What the load leaves behind it may still be judged, but not called the load's.
const REST: Duration = Duration::from_millis(500);

/// What came of one load.
struct Outcome {
    load: &'static str,
    cuts: Vec<Cut>,
    /// Per group: what was told without a cause.
    false_failures: [u32; 2],
    lateness: Lateness,
    longest_stall: Duration,
    stalled: Duration,
    longest_rtnl: Duration,
    /// A second, by each flooded NIC.
    received: [f64; 2],
}

pub(super) fn run(plan: &Plan, report: &mut Report) {
    let mut bed = Bed::start();
    let mut csv = Csv::new("load,at_s,event,interface,group,false,stalls_ms,rtnl_ms,evidence");
    report.text(format!(
        "{:?} under each load; one daemon with two groups of two NICs, three targets and both families, at FDTs of \
         {:?} and {:?}. In the middle the first NIC of each group is cut until its failure is told. {}",
        plan.endure,
        GROUPS[0].fdt,
        GROUPS[1].fdt,
        real_time_limits()
    ));
    let mut outcomes = Vec::new();
    for load in LOADS {
        if !outcomes.is_empty() {
            bed.restart();
        }
        let outcome = endure(&bed, load, plan.endure, &mut csv);
        outcome.judge(report);
        outcomes.push(outcome);
    }
    report.table(&verdicts(&outcomes));
    report.table(&machine(&outcomes));
    report.csv("failures", &csv);
}

fn endure(bed: &Bed, load: &Load, time: Duration, csv: &mut Csv) -> Outcome {
    let begun = clock::now();
    let before = NICS.map(|nic| received(bed.lab.host(), &format!("eth{nic}")));
    let running = (load.start)(&bed.lab);
    clock::pass(time / 2);
    let cuts: Vec<Cut> = GROUPS.iter().map(|group| bed.cut(group)).collect();
    clock::sleep_until((begun + clock::nanos(time)).max(clock::now()));
    drop(running);
    let end = clock::now();
    let after = NICS.map(|nic| received(bed.lab.host(), &format!("eth{nic}")));
    clock::pass(REST);
    let lateness = bed.lateness();
    bed.wait_healthy();
    let seconds = (end - begun) as f64 / 1e9;
    Outcome {
        load: load.name,
        false_failures: false_failures(bed, load, begun, &cuts, csv),
        cuts,
        lateness,
        longest_stall: bed.stalls.longest(begun, end),
        stalled: bed.stalls.within(begun, end),
        longest_rtnl: bed.rtnl.longest(begun, end),
        received: [0, 1].map(|nic| (after[nic] - before[nic]) as f64 / seconds),
    }
}

/// All that was told to have failed, but for the NIC that was cut, while it was. Evidence goes to the raw data, and
/// for a false one to the terminal at once.
fn false_failures(bed: &Bed, load: &Load, begun: Nanos, cuts: &[Cut], csv: &mut Csv) -> [u32; 2] {
    let mut count = [0; 2];
    for (line, told) in bed.failures(begun) {
        let at = stamp(&told);
        let word = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        let group = usize::from(word("mpathd_group") == "ipmp1");
        let cut_nic = format!("eth{}", GROUPS[group].nics[0]);
        let cut = &cuts[group];
        let is_real = word("mpathd_interface") == cut_nic && (cut.at..cut.repaired).contains(&at);
        let since = at - 3 * clock::nanos(GROUPS[group].fdt);
        let ms = |span: Duration| format!("{:.2}", span.as_secs_f64() * 1e3);
        let (stalls, rtnl) = (ms(bed.stalls.within(since, at)), ms(bed.rtnl.within(since, at)));
        let [event, interface, name, evidence] =
            ["mpathd_event", "mpathd_interface", "mpathd_group", "mpathd_evidence"].map(word);
        let seconds = ms_between(begun, at) / 1e3;
        let evidence = evidence.replace(',', ";");
        let is_false = !is_real;
        csv.row(&[
            &load.name, &seconds, &event, &interface, &name, &is_false, &stalls, &rtnl, &evidence,
        ]);
        if is_false {
            count[group] += 1;
            println!("FALSE, {} after {seconds:.3} s: {}", load.name, line.text);
            println!("  stalls in the three FDTs before: {stalls} ms, waits for RTNL: {rtnl} ms");
        }
    }
    count
}

impl Outcome {
    fn judge(&self, report: &mut Report) {
        for ((group, count), cut) in GROUPS.iter().zip(self.false_failures).zip(&self.cuts) {
            let what = format!("{}, FDT {:?}", self.load, group.fdt);
            let verdict = ms_between(cut.at, cut.verdict);
            let measured = format!("{count}; real one after {verdict:.2} ms");
            let claim = format!("{what}: no false failure, a real one is found");
            report.claim(claim, measured, count == 0);
        }
    }
}

fn verdicts(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(&[
        "load",
        "FDT",
        "false failures",
        "cut to verdict, ms",
        "cut to last address, ms",
        "rounds missed",
        "latest round, ms",
    ]);
    for it in outcomes {
        for ((group, count), cut) in GROUPS.iter().zip(it.false_failures).zip(&it.cuts) {
            let verdict = format!("{:.2}", ms_between(cut.at, cut.verdict));
            let moved = cut.moved.map(|at| format!("{:.2}", ms_between(cut.at, at)));
            let moved = moved.unwrap_or_else(|| "-".to_owned());
            let (fdt, Lateness { max_ms, rounds_missed }) =
                (format!("{:?}", group.fdt), it.lateness);
            table.row(&[&it.load, &fdt, &count, &verdict, &moved, &rounds_missed, &max_ms]);
        }
    }
    table
}

fn machine(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(&[
        "the machine meanwhile",
        "longest stall",
        "stalls in all",
        "longest wait for RTNL",
        "eth0 received / s",
        "eth2 received / s",
    ]);
    for it in outcomes {
        let spans = [it.longest_stall, it.stalled, it.longest_rtnl].map(|it| format!("{it:.1?}"));
        let rates = it.received.map(|it| format!("{it:.0}"));
        table.row(&[&it.load, &spans[0], &spans[1], &spans[2], &rates[0], &rates[1]]);
    }
    table
}

/// What keeps real-time programs from taking all: it stops the daemon's threads, too.
fn real_time_limits() -> String {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    let (runtime, period) = (read("sched_rt_runtime_us"), read("sched_rt_period_us"));
    let fair = std::fs::read_to_string("/sys/kernel/debug/sched/fair_server/cpu0/runtime");
    let fair = fair.map_or("cannot be read".to_owned(), |it| format!("{} ns", it.trim()));
    format!(
        "Real-time programs, ours included, may run {runtime} of {period} us (sched_rt_runtime_us); the runtime of \
         the kernel's fair server {fair}."
    )
}
