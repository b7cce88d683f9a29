//! How the daemon grows: many NICs in many groups on one LAN, what they cost, and how soon a silent cut of one of
//! them is found.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::report::{Csv, Plot, Table};
use super::threads::Threads;
use super::{Plan, Report};
use crate::clock::{self, Nanos};
use crate::cuts::{INTERVALS_AT_LEAST, INTERVALS_PER_FDT};
use crate::daemon::Daemon;
use crate::delays::Delays;
use crate::figures::Figures;
use crate::lab::{Lab, nic_mac};
use crate::told::json;
use crate::wait_for;

/// NICs of one group.
const GROUP: usize = 4;
const FAMILIES: usize = 2;
/// Last part of the test addresses of eth0.
const FIRST_TEST: usize = 101;
/// To start, or to find a failure, on a machine that does more than this.
const LIMIT: Duration = Duration::from_secs(60);
/// All targets answer on all NICs, the round-trip times are known, and no target is new (README).
const ANSWERS: u64 = 20;
/// Beyond FDT, for the way of the frames and a wake-up.
const MARGIN: Duration = Duration::from_micros(500);

/// What is run.
#[derive(Clone, Copy, Debug)]
struct Size {
    nics: usize,
    /// For each family.
    targets: usize,
    fdt: Duration,
    /// One of the series over the number of NICs.
    grows: bool,
}

const fn size(nics: usize, targets: usize, fdt_ms: u64, grows: bool) -> Size {
    Size { nics, targets, fdt: Duration::from_millis(fdt_ms), grows }
}

/// The last three are what was promised.
const SIZES: &[Size] = &[
    size(8, 2, 100, true),
    size(16, 2, 100, true),
    size(32, 2, 100, true),
    size(64, 2, 100, true),
    size(128, 2, 100, true),
    size(64, 5, 1000, false),
    size(8, 3, 10, false),
];
const QUICK: &[Size] = &[size(8, 2, 100, true), size(32, 2, 100, true), size(8, 3, 10, false)];

/// What came of it.
struct Outcome {
    size: Size,
    probes: f64,
    wakeups: f64,
    /// Of one CPU, in per cent.
    fast: f64,
    all: f64,
    us_per_probe: f64,
    /// From cut to verdict, ms.
    verdicts: Figures,
    /// By how much each was later than the failure detection time that the daemon then said it achieves.
    late: Figures,
    stalls: Duration,
}

pub(super) fn run(plan: &Plan, report: &mut Report) {
    let sizes = plan.choose(SIZES, QUICK);
    let most = |of: fn(&Size) -> usize| sizes.iter().map(of).max().unwrap_or_default();
    let lab = Lab::builder().nics(most(|it| it.nics)).targets(most(|it| it.targets)).build();
    // NICs that are in no group answer for addresses of those that are, and the daemon knows 64 of its host's.
    lab.host().sysctl("ipv4/conf/all/arp_ignore", "1");
    let targets = most(|it| it.targets);
    (1..=targets).for_each(|n| know_neighbours(&lab, n));
    let stalls = Delays::of_cpus();
    let cuts = plan.choose(20, 3).min(plan.cuts);
    let outcomes: Vec<Outcome> =
        sizes.iter().map(|size| measure(&lab, *size, plan.measure, cuts, &stalls)).collect();
    show(&outcomes, report);
}

/// The kernels of all namespaces share one table of neighbours, which is swept from 128 entries on and full at 1 024
/// (gc_thresh1, gc_thresh3): targets would ask for our addresses again and again, and answer late. Permanent entries
/// do not count.
fn know_neighbours(lab: &Lab, target: usize) {
    let known = |nic: usize| {
        let (mac, n) = (nic_mac(nic), FIRST_TEST + nic);
        let entry =
            |ip: String| format!("neighbour replace {ip} lladdr {mac} dev eth0 nud permanent\n");
        entry(format!("192.0.2.{n}")) + &entry(format!("2001:db8::{n}"))
    };
    lab.target(target).ip(&(0..lab.nics()).map(known).collect::<String>());
}

fn measure(lab: &Lab, size: Size, time: Duration, cuts: u32, stalls: &Delays) -> Outcome {
    let mut daemon = Daemon::launch(lab.host(), &size.config(), &["--log-format", "json"]);
    daemon.wait_ready(LIMIT);
    wait_probing(&daemon, size);
    let (begun, sent) = (clock::now(), probes_sent(&daemon));
    let before = Threads::of(daemon.pid());
    std::thread::sleep(time);
    let (ended, sent) = (clock::now(), probes_sent(&daemon) - sent);
    let spent = Threads::of(daemon.pid()).since(&before);
    let seconds = (ended - begun) as f64 / 1e9;
    let begun = clock::now();
    let (verdicts, late): (Vec<f64>, Vec<f64>) =
        (0..cuts).map(|n| cut(lab, &daemon, size, n)).unzip();
    let [verdicts, late] = [verdicts, late].map(Figures::from_iter);
    let stalls = stalls.longest(begun, clock::now());
    daemon.stop();
    daemon.mpathd(&["release"]);
    Outcome {
        size,
        probes: sent as f64 / seconds,
        wakeups: spent.wakeups as f64 / seconds,
        fast: spent.fast as f64 / 1e7 / seconds,
        all: spent.all as f64 / 1e7 / seconds,
        us_per_probe: spent.fast as f64 / 1e3 / sent as f64,
        verdicts,
        late,
        stalls,
    }
}

/// From a silent cut at a random phase to the verdict by the daemon's own stamp, ms, and the same without the failure
/// detection time that the daemon said before it achieves.
fn cut(lab: &Lab, daemon: &Daemon, size: Size, nth: u32) -> (f64, f64) {
    // Each time another group, as long as there are some: what was cut before is being repaired.
    let nic = (nth as usize * GROUP + nth as usize / size.groups()) % size.nics;
    wait_healthy(daemon, nic);
    let groups = json(daemon, "-g");
    let group = groups.iter().find(|it| it["name"] == format!("g{}", nic / GROUP));
    let achieved = group.and_then(|it| it["fdt_ms"].as_f64()).expect("it is probed");
    let interval = size.fdt / INTERVALS_PER_FDT;
    let phase = f64::from(nth.wrapping_mul(2_654_435_761) >> 8) / f64::from(u32::MAX >> 8);
    let at = lab.cut_at(nic, clock::now() + clock::nanos(interval.mul_f64(phase)));
    let text = format!("IP interface failure detected on eth{nic} ");
    let line = daemon.wait_log(&text, at, LIMIT);
    let told: Option<Nanos> =
        line.told("interface-failed").and_then(|it| it["mpathd_at_ns"].as_u64());
    lab.mend(nic);
    let took = (told.unwrap_or(line.at) - at) as f64 / 1e6;
    (took, took - achieved)
}

fn show(outcomes: &[Outcome], report: &mut Report) {
    report.text(format!(
        "Groups of {GROUP} NICs, both families, all on one switch of veth pairs. The far side (switch, targets' \
         kernels) runs on the same CPUs and mostly in the context of the thread that sends, so what is charged to \
         that thread is the whole way of a probe and its reply."
    ));
    let mut cost = Table::new(&[
        "NICs",
        "instances",
        "targets",
        "FDT ms",
        "probes/s",
        "wake-ups/s",
        "fast thread, % of a CPU",
        "all threads",
        "us per probe",
    ]);
    let mut found = Table::of_figures("cut to verdict, ms");
    let mut csv =
        Csv::new("nics,targets,fdt_ms,probes_s,wakeups_s,fast_percent,all_percent,us_per_probe");
    let mut verdicts = Csv::new("nics,targets,fdt_ms,verdict_ms");
    for it in outcomes {
        let Size { nics, targets, fdt, .. } = it.size;
        let fdt = fdt.as_millis();
        let [probes, wakeups] = [it.probes, it.wakeups].map(|n| format!("{n:.0}"));
        let [fast, all, us] = [it.fast, it.all, it.us_per_probe].map(|n| format!("{n:.2}"));
        let instances = nics * FAMILIES;
        cost.row(&[&nics, &instances, &targets, &fdt, &probes, &wakeups, &fast, &all, &us]);
        csv.row(&[&nics, &targets, &fdt, &probes, &wakeups, &fast, &all, &us]);
        found.figures(it.size.name(), &it.verdicts);
        it.verdicts.sorted().iter().for_each(|ms| verdicts.row(&[&nics, &targets, &fdt, ms]));
    }
    report.heading("Cost");
    report.table(&cost);
    report.heading("Detection");
    report.table(&found);
    outcomes.iter().for_each(|it| claim(it, report));
    let points = |of: fn(&Outcome) -> f64| {
        outcomes
            .iter()
            .filter(|it| it.size.grows)
            .map(move |it| (it.size.nics as f64, of(it)))
            .collect()
    };
    let mut plot =
        Plot::new("What NICs cost at FDT 100 ms", "NICs", "us per probe and reply").log_x();
    plot.line("fast thread", points(|it| it.us_per_probe));
    report.plot("us-per-probe", &plot);
    let mut plot = Plot::new("CPU at FDT 100 ms", "NICs", "% of a CPU").log_x();
    plot.line("fast thread", points(|it| it.fast));
    plot.line("all threads", points(|it| it.all));
    report.plot("cpu", &plot);
    report.csv("cost", &csv);
    report.csv("verdicts", &verdicts);
}

/// The promise of design 2.4, but for what the machine itself took.
fn claim(it: &Outcome, report: &mut Report) {
    let (fdt, ms) = (it.size.fdt, |d: Duration| d.as_secs_f64() * 1e3);
    let earliest = fdt / INTERVALS_PER_FDT * INTERVALS_AT_LEAST;
    let (first, last, late) = (it.verdicts.min(), it.verdicts.max(), it.late.max());
    let kept = first >= ms(earliest) && late <= ms(MARGIN + it.stalls);
    let name = it.size.name();
    let claim = format!(
        "{name}: verdict after four intervals, within the achieved FDT, 0.5 ms and the longest stall"
    );
    let stall = it.stalls;
    let measured = format!(
        "{first:.2} to {last:.2} ms, {:.2} ms before it at the least; longest stall {stall:.1?}",
        -late
    );
    report.claim(claim, measured, kept);
}

impl Size {
    fn name(self) -> String {
        let Self { nics, targets, fdt, .. } = self;
        format!("{nics} NICs x {targets} targets x {FAMILIES}, FDT {fdt:?}")
    }

    fn groups(self) -> usize {
        self.nics.div_ceil(GROUP)
    }

    /// NIC n tests from .101 + n, group g has .10 + g; beside what the lab itself uses.
    fn config(self) -> String {
        let list = |of: &dyn Fn(usize) -> [String; 2], count| (1..=count).flat_map(of).collect();
        let targets: Vec<String> =
            list(&|n| [format!("192.0.2.{n}"), format!("2001:db8::{n}")], self.targets);
        let mut text = String::new();
        for g in 0..self.groups() {
            let at = 10 + g;
            write!(
                text,
                "[groups.g{g}]\nfailure_detection_time = \"{}ms\"\n\
                 data_addresses = [\"192.0.2.{at}/32\", \"2001:db8::1:{at}/128\"]\ntargets = {targets:?}\n",
                self.fdt.as_millis()
            )
            .expect("memory");
            for nic in g * GROUP..((g + 1) * GROUP).min(self.nics) {
                let test = FIRST_TEST + nic;
                write!(
                    text,
                    "[groups.g{g}.interfaces.eth{nic}]\n\
                     test_addresses = [\"192.0.2.{test}/24\", \"2001:db8::{test}/64\"]\n"
                )
                .expect("memory");
            }
        }
        text
    }
}

fn wait_probing(daemon: &Daemon, size: Size) {
    let expected = size.nics * FAMILIES * size.targets;
    wait_for("answers of all targets on all NICs", LIMIT, || {
        let answers =
            targets(daemon).iter().filter(|it| it["acked"].as_u64() >= Some(ANSWERS)).count();
        if answers == expected { Ok(()) } else { Err((answers, daemon.log_text())) }
    });
}

fn wait_healthy(daemon: &Daemon, nic: usize) {
    let name = format!("eth{nic}");
    wait_for(&format!("{name} to work"), LIMIT, || {
        let told = ipmpstat(daemon, "-i");
        let all = told["interfaces"].as_array().map_or(&[][..], Vec::as_slice);
        let healthy = |it: &Value| {
            it["name"] == name.as_str()
                && it["state"] == "ok"
                && it["degraded"] == serde_json::json!([])
        };
        if all.iter().any(healthy) { Ok(()) } else { Err(daemon.log_text()) }
    });
}

fn probes_sent(daemon: &Daemon) -> u64 {
    targets(daemon).iter().filter_map(|it| it["sent"].as_u64()).sum()
}

fn targets(daemon: &Daemon) -> Vec<Value> {
    ipmpstat(daemon, "-t")["targets"].as_array().cloned().unwrap_or_default()
}

fn ipmpstat(daemon: &Daemon, mode: &str) -> Value {
    let output = daemon.ipmpstat(&[mode, "--json"]);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}
