//! Silent cuts at any phase of the probing: when the verdict is, when the address is on another NIC, and when the
//! neighbours are told. Idle, and on a host whose CPUs and softirqs have other things to do.

use std::time::Duration;

use super::report::{Csv, Plot, Table};
use super::{Plan, Report};
use crate::capture::Capture;
use crate::clock::{self, Nanos, ms_between};
use crate::cuts::{Cut, INTERVALS_AT_LEAST, Move, Rig};
use crate::figures::Figures;
use crate::flood::Flood;
use crate::load::Stress;
use crate::wait_for;

/// Milliseconds.
const FDTS: [u64; 4] = [100, 30, 10, 5];
/// One carries the data, one is being repaired, one is ready.
const NICS: usize = 3;
/// Datagrams a second between two others.
const FLOOD: u64 = 60_000;
/// Of a probe that is on its way at the cut, at the most: it is lost with it.
const ROUND_TRIP: Duration = Duration::from_micros(100);
/// Multiples of it spread evenly over an interval.
const GOLDEN: f64 = 0.618_034;
const LIMIT: Duration = Duration::from_secs(5);

/// What is claimed, ms.
const VERDICT_AFTER_FDT: f64 = 0.5;
const ANNOUNCED_P50: f64 = 0.15;
const ANNOUNCED_P99: f64 = 1.0;
/// Rows of the table of late ones.
const LATE_SHOWN: usize = 30;

/// Cuts under the same conditions.
struct Series {
    name: String,
    fdt: Duration,
    samples: Vec<Sample>,
    took: Duration,
    longest_stall: Duration,
    longest_rtnl: Duration,
}

/// One address that had to move. Spans in ms.
struct Sample {
    cut: u32,
    nic: usize,
    moved: Move,
    verdict: f64,
    address: f64,
    announced: f64,
    /// Stalls of the machine from two FDTs before the cut on: they teach the daemon to wait longer.
    stalls: f64,
    rtnl: f64,
}

pub(super) fn run(plan: &Plan, report: &mut Report) {
    let mut rig = Rig::start(Duration::from_millis(FDTS[0]), NICS);
    let ports = (0..NICS).map(|nic| format!("sw{nic}"));
    let ports: Vec<_> = ports.map(|it| Capture::of_announcements(rig.lab.lan(), &it)).collect();
    let mut all = every_fdt("idle", &mut rig, &ports, plan.cuts);
    let load = (Stress::start(&["--cpu", "0"]), Flood::of_others(FLOOD));
    all.extend(every_fdt("loaded", &mut rig, &ports, plan.cuts));
    let flood = load.1.rate();
    drop(load);

    report.text(format!(
        "{} silent cuts in each class, at phases spread evenly over the probing interval; both families, three \
         targets, three NICs of which two stand by. Loaded: `stress-ng --cpu 0` and a flood of {:.0} datagrams a \
         second between two namespaces that have nothing to do with it. The verdict is the daemon's own stamp \
         (`mpathd_at_ns` less `mpathd_took_ms` of its log), the address the kernel's notice as the lab heard it, the \
         announcement the kernel's stamp of the first frame at the switch. An address that waits for RTNL is \
         announced as late. Cuts that are not counted, for another NIC took the addresses before the verdict, \
         repaired just then or no longer damped: {}. A probe that is on its way at the cut is lost with it, so \
         a verdict may come by its round trip before four intervals. Milliseconds.",
        plan.cuts,
        flood,
        rig.overtaken()
    ));
    all.iter().for_each(|it| it.judge(report));
    tables(&all, report);
    late(&all, report);
    plots(&all, report);
    report.csv("cuts", &csv(&all));
}

fn every_fdt(load: &str, rig: &mut Rig, ports: &[Capture], cuts: u32) -> Vec<Series> {
    let each = FDTS.map(|ms| {
        let fdt = Duration::from_millis(ms);
        rig.restart(fdt);
        let series = Series::measure(format!("{fdt:?}, {load}"), rig, ports, cuts);
        println!("measured: {}, {:.0?}", series.name, series.took);
        series
    });
    each.into()
}

impl Series {
    fn measure(name: String, rig: &mut Rig, ports: &[Capture], cuts: u32) -> Self {
        let begun = clock::now();
        let mut samples = Vec::new();
        for number in 0..cuts {
            let cut = rig.cut(f64::from(number) * GOLDEN % 1.0);
            samples.extend(cut.moves.iter().map(|it| Sample::of(number, &cut, it, rig, ports)));
        }
        rig.wait_repaired();
        let now = clock::now();
        Self {
            name,
            fdt: rig.fdt(),
            samples,
            took: Duration::from_nanos(now - begun),
            longest_stall: rig.stalls.longest(begun, now),
            longest_rtnl: rig.rtnl.longest(begun, now),
        }
    }

    fn of(&self, span: impl Fn(&Sample) -> f64) -> Figures {
        self.samples.iter().map(span).collect()
    }

    fn fdt_ms(&self) -> f64 {
        self.fdt.as_secs_f64() * 1e3
    }

    fn earliest_allowed(&self) -> f64 {
        let interval = self.fdt / crate::cuts::INTERVALS_PER_FDT;
        (interval * INTERVALS_AT_LEAST - ROUND_TRIP).as_secs_f64() * 1e3
    }

    fn latest_claimed(&self) -> f64 {
        self.fdt_ms() + VERDICT_AFTER_FDT
    }

    fn judge(&self, report: &mut Report) {
        let (verdict, announced) = (self.of(|it| it.verdict), self.of(|it| it.announced));
        let earliest = self.earliest_allowed();
        let mut claim = |what: String, of: &str, measured: f64, kept: bool| {
            report.claim(format!("{}: {what}", self.name), format!("{of} {measured:.3} ms"), kept);
        };
        let min = verdict.min();
        claim(format!("no verdict before {earliest:.2} ms"), "min", min, min >= earliest);
        let p99 = verdict.quantile(0.99);
        let latest = self.latest_claimed();
        claim(format!("cut to verdict <= {latest} ms"), "p99", p99, p99 <= latest);
        let p50 = announced.median();
        let what = "verdict to announcement <=";
        claim(format!("{what} {ANNOUNCED_P50} ms"), "p50", p50, p50 <= ANNOUNCED_P50);
        let p99 = announced.quantile(0.99);
        claim(format!("{what} {ANNOUNCED_P99} ms"), "p99", p99, p99 <= ANNOUNCED_P99);
    }
}

impl Sample {
    fn of(number: u32, cut: &Cut, it: &Move, rig: &Rig, ports: &[Capture]) -> Self {
        let announced = announced(ports, cut, it);
        let before = cut.at - 2 * clock::nanos(rig.fdt());
        let end = announced.max(it.added);
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        Self {
            cut: number,
            nic: cut.nic,
            moved: *it,
            verdict: ms_between(cut.at, it.verdict),
            address: ms_between(it.verdict, it.added),
            announced: ms_between(it.verdict, announced),
            stalls: ms(rig.stalls.within(before, end)),
            rtnl: ms(rig.rtnl.within(cut.at, end)),
        }
    }
}

/// When the first frame that tells where the address is now came to the switch.
fn announced(ports: &[Capture], cut: &Cut, it: &Move) -> Nanos {
    wait_for(&format!("announcement of {}", it.address), LIMIT, || {
        let others = ports.iter().enumerate().filter(|(nic, _)| *nic != cut.nic);
        let frames: Vec<_> = others.flat_map(|(_, port)| port.frames()).collect();
        let ours = frames
            .iter()
            .filter(|it| it.at >= cut.at && it.from_device)
            .filter(|frame| frame.announces(it.address));
        ours.map(|it| it.at).min().ok_or(())
    })
}

fn tables(all: &[Series], report: &mut Report) {
    let mut distribution = |name: &str, span: fn(&Sample) -> f64| {
        let mut table = Table::of_figures(name);
        all.iter().for_each(|it| table.figures(&it.name, &it.of(span)));
        report.table(&table);
    };
    distribution("cut to verdict", |it| it.verdict);
    distribution("verdict to address", |it| it.address);
    distribution("verdict to announcement", |it| it.announced);
    let mut table =
        Table::new(&["the machine meanwhile", "longest stall", "wait for RTNL", "took"]);
    for it in all {
        let shown = [it.longest_stall, it.longest_rtnl].map(|it| format!("{it:.1?}"));
        table.row(&[&it.name, &shown[0], &shown[1], &format!("{:.0?}", it.took)]);
    }
    report.table(&table);
}

/// Each that was later than claimed, and what the machine did meanwhile.
fn late(all: &[Series], report: &mut Report) {
    let mut late: Vec<(&Series, &Sample)> = Vec::new();
    for series in all {
        let is_late =
            |it: &&Sample| it.verdict > series.latest_claimed() || it.announced > ANNOUNCED_P99;
        late.extend(series.samples.iter().filter(is_late).map(|it| (series, it)));
    }
    if late.is_empty() {
        return report.text("None was later than claimed for 99 %.");
    }
    report.text(format!(
        "{} of {} were later than claimed for 99 %, the first {LATE_SHOWN} of them here; all are in the raw data.",
        late.len(),
        all.iter().map(|it| it.samples.len()).sum::<usize>()
    ));
    let names = ["late", "cut", "to verdict", "to announcement", "stalls meanwhile", "RTNL waits"];
    let mut table = Table::new(&names);
    for (series, it) in late.iter().take(LATE_SHOWN) {
        let shown = [it.verdict, it.announced, it.stalls, it.rtnl].map(|it| format!("{it:.2}"));
        table.row(&[&series.name, &it.cut, &shown[0], &shown[1], &shown[2], &shown[3]]);
    }
    report.table(&table);
}

fn plots(all: &[Series], report: &mut Report) {
    let mut plot = Plot::of_distributions("Cut to verdict", "in failure detection times");
    for it in all {
        plot.distribution(&it.name, &it.of(|sample| sample.verdict / it.fdt_ms()));
    }
    plot.mark(
        "4 intervals",
        f64::from(INTERVALS_AT_LEAST) / f64::from(crate::cuts::INTERVALS_PER_FDT),
    );
    plot.mark("FDT", 1.0);
    report.plot("verdict", &plot);
    let mut plot = Plot::of_distributions("Verdict to announcement on the wire", "ms").log_x();
    all.iter().for_each(|it| plot.distribution(&it.name, &it.of(|sample| sample.announced)));
    plot.mark("claimed for 50 %", ANNOUNCED_P50);
    plot.mark("claimed for 99 %", ANNOUNCED_P99);
    report.plot("announcement", &plot);
}

fn csv(all: &[Series]) -> Csv {
    let mut csv = Csv::new(
        "class,fdt_ms,cut,nic,address,cut_to_verdict_ms,verdict_to_address_ms,verdict_to_announcement_ms,\
         stalls_ms,rtnl_ms",
    );
    for series in all {
        let (name, fdt) = (series.name.replace(", ", " "), series.fdt_ms());
        for it in &series.samples {
            let (verdict, address, announced) = (it.verdict, it.address, it.announced);
            let ip = it.moved.address;
            csv.row(&[
                &name, &fdt, &it.cut, &it.nic, &ip, &verdict, &address, &announced, &it.stalls,
                &it.rtnl,
            ]);
        }
    }
    csv
}
