//! The whole machine's cost at 1 000 and 10 000 probes a second: threads as the scheduler counts them, and what idle
//! soakers get done less while the prober runs.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{fpings, probes_sent, transmitted};
use crate::bench::Report;
use crate::bench::leftover::Leftover;
use crate::bench::report::{Csv, Table};
use crate::bench::threads::Threads;
use crate::clock::{self, Nanos};
use crate::cuts::Rig;
use crate::reflector::Reflector;

/// Three targets, two families, two NICs, six rounds in an FDT: 72 probes.
const FDTS: [(Duration, f64); 2] =
    [(Duration::from_millis(72), 1.0), (Duration::from_millis(7), 5.0)];
/// By turns with and without the prober, so that what else the machine does falls on both.
const TURN: Duration = Duration::from_millis(250);

/// Shares of one CPU, in per cent.
struct Cost {
    probes_s: f64,
    threads: f64,
    machine: f64,
}

pub(super) fn run(rig: &mut Rig, time: Duration, report: &mut Report) {
    report.heading(format!("The whole machine, {time:?} each"));
    let mut table =
        Table::new(&["prober", "probes/s", "its threads, % of a CPU", "whole machine, % of a CPU"]);
    let mut csv = Csv::new("prober,probes_s,threads_percent,machine_percent");
    let mut add = |name: &str, it: &Cost| {
        let [threads, machine] = [it.threads, it.machine].map(|n| format!("{n:.2}"));
        table.row(&[&name, &format!("{:.0}", it.probes_s), &threads, &machine]);
        csv.row(&[&name.replace(',', ":"), &it.probes_s, &it.threads, &it.machine]);
    };
    let mut claims = Vec::new();
    for (fdt, limit) in FDTS {
        by_sockets(rig, true);
        rig.restart(fdt);
        add("mpathd, sockets", &of_daemon(rig, time));
        by_sockets(rig, false);
        rig.restart(fdt);
        add("mpathd, XDP", &of_daemon(rig, time));
        add("fping", &of_fping(rig, time));
        let ports = (0..rig.lab.nics()).map(|nic| format!("sw{nic}")).collect();
        let near = Reflector::install(rig.lab.lan(), ports);
        (0..rig.lab.nics()).for_each(|nic| rig.wait_healthy(nic));
        let alone = of_daemon(rig, time);
        add("mpathd, XDP, targets in the ports", &alone);
        add("fping, targets in the ports", &of_fping(rig, time));
        drop(near);
        claims.push((alone, limit));
    }
    report.table(&table);
    for (it, limit) in claims {
        let claim = format!(
            "{:.0} probes/s and their replies cost less than {limit} % of a CPU",
            it.probes_s
        );
        let measured = format!("{:.2} %, by its threads {:.2} %", it.machine, it.threads);
        report.claim(claim, measured, it.machine < limit);
    }
    report.text(
        "Whole machine: what SCHED_IDLE soakers on all CPUs get done less while the prober runs than while it is \
         stopped, by turns of 250 ms; fping against the stopped daemon. Switch and targets are on this machine, so \
         all rows hold their share too. Least of it is in those with targets in the ports, where an XDP program on the \
         switch's end of the cable answers on the spot. Between two FDTs the targets' pace is the same, \
         but all that shares the machine is in these figures.",
    );
    report.csv("system", &csv);
}

fn by_sockets(rig: &Rig, on: bool) {
    const GROUP: &str = "[groups.ipmp0]\n";
    let sockets = format!("{GROUP}datapath = \"socket\"\n");
    let path = rig.daemon.config();
    let text = fs::read_to_string(&path).expect("the rig has written it");
    // The rig writes it anew at each restart, so this stays for the next one only.
    let text = if on { text.replace(GROUP, &sockets) } else { text.replace(&sockets, GROUP) };
    fs::write(path, text).expect("it can be written");
}

/// Runs `prober` by turns with nothing.
fn by_turns(time: Duration, mut switch: impl FnMut(bool)) -> (f64, Nanos) {
    let soakers = Leftover::soak();
    let (mut done, mut spans) = ([0_u64; 2], [0_u64; 2]);
    let end = clock::now() + clock::nanos(time) * 2;
    for on in [true, false].into_iter().cycle() {
        switch(on);
        let (begun, before) = (clock::now(), soakers.done());
        std::thread::sleep(TURN);
        done[usize::from(on)] += soakers.done() - before;
        spans[usize::from(on)] += clock::now() - begun;
        if !on && clock::now() >= end {
            break;
        }
    }
    switch(true);
    let rate = |i: usize| done[i] as f64 / spans[i] as f64;
    ((1.0 - rate(1) / rate(0)) * 100.0 * soakers.cpus() as f64, spans[1])
}

fn of_daemon(rig: &Rig, time: Duration) -> Cost {
    let pid = rig.daemon.pid();
    let (before, sent) = (Threads::of(pid), probes_sent(rig));
    let (machine, span) = by_turns(time, |on| {
        signal(pid, if on { Signal::SIGCONT } else { Signal::SIGSTOP });
    });
    let (spent, sent) = (Threads::of(pid).since(&before), probes_sent(rig) - sent);
    let seconds = span as f64 / 1e9;
    Cost { probes_s: sent as f64 / seconds, threads: spent.all as f64 / 1e7 / seconds, machine }
}

/// The switch's ports drop what the NICs send, so nobody answers.
fn of_fping(rig: &Rig, time: Duration) -> Cost {
    signal(rig.daemon.pid(), Signal::SIGSTOP);
    let peers = fpings(rig);
    let pids: Vec<u32> = peers.iter().map(|it| it.pid()).collect();
    let of_all = || pids.iter().map(|pid| Threads::of(*pid).all).sum::<u64>();
    let before = of_all();
    let (machine, span) = by_turns(time, |on| {
        let switch = if on { Signal::SIGCONT } else { Signal::SIGSTOP };
        pids.iter().for_each(|pid| signal(*pid, switch));
    });
    let spent = of_all() - before;
    let sent: u64 = peers.into_iter().map(|it| transmitted(&it.finish().1)).sum();
    signal(rig.daemon.pid(), Signal::SIGCONT);
    let seconds = span as f64 / 1e9;
    Cost { probes_s: sent as f64 / seconds, threads: spent as f64 / 1e7 / seconds, machine }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("it is our child");
}
