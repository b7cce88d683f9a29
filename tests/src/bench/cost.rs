//! What probing costs: the threads that send and receive, the whole machine, and the frames of others; beside fping at
//! the same rate in the same run. And a flood of frames that look like replies.

mod hook;
mod system;

use std::time::Duration;

use super::fping::{self, Fping};
use super::report::{Csv, Table};
use super::threads::Threads;
use super::{Plan, Report};
use crate::clock;
use crate::cuts::Rig;

const FDT: Duration = Duration::from_millis(100);

pub(super) fn run(plan: &Plan, report: &mut Report) {
    fping::demand();
    let mut rig = Rig::start(FDT, 2);
    per_probe_beside_fping(&rig, plan.measure, report);
    system::run(&mut rig, plan.measure, report);
    rig.restart(FDT);
    hook::run(&rig, plan.measure, report);
}

/// Two fpings for each NIC do what the daemon does: three targets in two families on two NICs.
fn fpings(rig: &Rig) -> Vec<Fping> {
    let period = rig.interval().as_secs_f64() * 1e3;
    let start = |nic: usize, net: &str| {
        let targets: Vec<String> = (1..=3).map(|n| format!("{net}{n}")).collect();
        // It prints nothing but a summary at the end; with -l it would print every reply, -q or not.
        let more = ["-c", "1000000", "-q", "-S", &format!("{net}1{nic}")];
        Fping::start(rig.lab.host(), nic, period, &more, &targets)
    };
    (0..2).flat_map(|nic| ["192.0.2.", "2001:db8::"].map(|net| start(nic, net))).collect()
}

fn per_probe_beside_fping(rig: &Rig, time: Duration, report: &mut Report) {
    let begun = clock::now();
    let sent_before = probes_sent(rig);
    let before = Threads::of(rig.daemon.pid());
    let peers = fpings(rig);
    std::thread::sleep(time);
    let spent = Threads::of(rig.daemon.pid()).since(&before);
    let sent = probes_sent(rig) - sent_before;
    let peer_cpu: u64 = peers.iter().map(|it| Threads::of(it.pid()).all).sum();
    let peer_sent: u64 = peers.into_iter().map(|it| transmitted(&it.finish().1)).sum();

    let fast = per_probe(spent.fast, sent);
    let all = per_probe(spent.all, sent);
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
