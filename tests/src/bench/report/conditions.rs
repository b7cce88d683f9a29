//! Under which conditions a section was measured: figures mean little without them.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::bench::Plan;

#[derive(Debug)]
pub(super) struct Conditions {
    begun: Instant,
    /// What does not change.
    machine: String,
    load: String,
    steal: Steal,
}

/// Of all CPUs, in ticks since boot.
#[derive(Clone, Copy, Debug)]
struct Steal {
    stolen: u64,
    all: u64,
}

impl Conditions {
    pub(super) fn at_start(plan: &Plan) -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let kernel = read("/proc/sys/kernel/osrelease");
        let machine = format!(
            "{}{cpus} CPUs ({}), Linux {}; {}",
            plan.choose("", "A quick look, no record. "),
            processor().unwrap_or_else(|| "unknown".to_owned()),
            kernel.trim(),
            said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default(),
        );
        let commit = said_by("git", &["rev-parse", "--short", "HEAD"]);
        let machine = machine + &commit.map_or_else(String::new, |it| format!("; commit {it}"));
        Self { begun: Instant::now(), machine, load: load(), steal: Steal::now() }
    }

    pub(super) fn to_the_end(&self) -> String {
        let (before, now) = (self.steal, Steal::now());
        let share = (now.stolen - before.stolen) as f64 / (now.all - before.all).max(1) as f64;
        format!(
            "{}. Took {} s. Load average before and after: {}, {}; CPU time stolen by the hypervisor: {:.2} %.",
            self.machine,
            self.begun.elapsed().as_secs(),
            self.load,
            load(),
            share * 100.0
        )
    }
}

impl Steal {
    /// `cpu user nice system idle iowait irq softirq steal ...`; guests' time is in user and nice.
    fn now() -> Self {
        let stat = read("/proc/stat");
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).take(8).filter_map(|it| it.parse().ok()).collect();
        Self { stolen: ticks.get(7).copied().unwrap_or(0), all: ticks.iter().sum() }
    }
}

/// Of one minute.
fn load() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()
}

fn processor() -> Option<String> {
    let info = read("/proc/cpuinfo");
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
