//! What a probe costs: CPU time of the threads that send and receive, beside fping at the same rate in the same
//! run.

use std::time::Duration;

use super::fping::{self, Fping};
use super::report::{Csv, Table};
use super::{Plan, Report};
use crate::clock;
use crate::cuts::Rig;

const FAST: &str = "mpathd-fast";
const FDT: Duration = Duration::from_millis(100);

pub(super) fn run(plan: &Plan, report: &mut Report) {
    fping::demand();
    let rig = Rig::start(FDT, 2);
    per_probe_beside_fping(&rig, plan.measure, report);
}

/// The daemon probes three targets in two families on two NICs; two fpings do the same.
fn per_probe_beside_fping(rig: &Rig, time: Duration, report: &mut Report) {
    let period = rig.interval().as_secs_f64() * 1e3;
    let targets: Vec<Vec<String>> = ["192.0.2.", "2001:db8::"]
        .iter()
        .map(|net| (1..=3).map(|n| format!("{net}{n}")).collect())
        .collect();
    let start = |nic: usize, targets: &[String]| {
        let own = if targets[0].contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        let own = format!("{own}{nic}");
        Fping::start(rig.lab.host(), nic, period, &["-c", "1000000", "-q", "-S", &own], targets)
    };
    let begun = clock::now();
    let sent_before = probes_sent(rig);
    let before = Threads::of(rig.daemon.pid());
    // It prints nothing but a summary at the end; with -l it would print every reply, -q or not.
    let peers: Vec<Fping> = (0..2)
        .flat_map(|nic| targets.iter().map(move |it| (nic, it)))
        .map(|(nic, it)| start(nic, it))
        .collect();
    std::thread::sleep(time);
    let after = Threads::of(rig.daemon.pid());
    let sent = probes_sent(rig) - sent_before;
    let peer_cpu: u64 = peers.iter().map(|it| Threads::of(it.pid()).all).sum();
    let peer_sent: u64 = peers.into_iter().map(|it| transmitted(&it.finish().1)).sum();

    let fast = per_probe(after.fast - before.fast, sent);
    let all = per_probe(after.all - before.all, sent);
    let peer = per_probe(peer_cpu, peer_sent);
    report.heading(format!("CPU time of the prober's threads, per probe and reply, {time:?}"));
    let mut table = Table::new(&["prober", "probes", "us per probe"]);
    let mut csv = Csv::new("prober,probes,cpu_us_per_probe");
    for (name, probes, us) in [
        ("mpathd, the thread that probes", sent, fast),
        ("mpathd, all threads", sent, all),
        ("fping", peer_sent, peer),
    ] {
        table.row(&[&name, &probes, &format!("{us:.2}")]);
        csv.row(&[&name.replace(',', ":"), &probes, &us]);
    }
    report.table(&table);
    report.text(format!(
        "fping / mpathd: {:.2}. As the scheduler counts it: softirq work done in a thread's own context is in it \
         (here that is the whole way through switch and target, for both alike) unless the kernel has \
         CONFIG_IRQ_TIME_ACCOUNTING; softirq work that ksoftirqd or other threads were charged with is not; fping \
         includes its start. {}",
        peer / fast,
        rig.machine(begun, clock::now())
    ));
    report.csv("per-probe", &csv);
}

fn per_probe(ns: u64, probes: u64) -> f64 {
    ns as f64 / 1e3 / probes as f64
}

fn probes_sent(rig: &Rig) -> u64 {
    let told = rig.ipmpstat("-t");
    let targets = told["targets"].as_array().into_iter().flatten();
    targets.filter_map(|it| it["sent"].as_u64()).sum()
}

/// `192.0.2.1 : xmt/rcv/%loss = 589/589/0%, min/avg/max = ...`, a line for each target.
fn transmitted(summary: &str) -> u64 {
    let count = |line: &str| line.split("%loss = ").nth(1)?.split('/').next()?.parse::<u64>().ok();
    summary.lines().filter_map(count).sum()
}

/// CPU time of a process's threads so far, ns.
struct Threads {
    fast: u64,
    all: u64,
}

impl Threads {
    fn of(pid: u32) -> Self {
        let mut sum = Self { fast: 0, all: 0 };
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
        for task in tasks.map_while(Result::ok) {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name));
            let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
            let ns: u64 = times.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0);
            sum.all += ns;
            if name.trim() == FAST {
                sum.fast += ns;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::transmitted;

    #[test]
    fn the_summary_of_fping_is_added_up() {
        let summary = "192.0.2.1 : xmt/rcv/%loss = 589/588/0%, min/avg/max = 0.03/0.05/0.1\n\
                       192.0.2.2 : xmt/rcv/%loss = 11/0/100%\n";
        assert_eq!(transmitted(summary), 600);
    }
}
