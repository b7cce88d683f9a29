//! A silent cut: when the verdict is, when the address is on the other NIC, and when the neighbours are told.

use std::time::Duration;

use super::report::{Csv, Plot, Table};
use super::{Plan, Report};
use crate::capture::Capture;
use crate::clock::{self, Nanos, ms_between};
use crate::cuts::{Cut, Move, Rig};
use crate::figures::Figures;

/// Multiples of it spread evenly over an interval.
const GOLDEN: f64 = 0.618_034;
const LIMIT: Duration = Duration::from_secs(5);
const FDT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Spans {
    verdict: Figures,
    address: Figures,
    announced: Figures,
}

pub(super) fn run(plan: &Plan, report: &mut Report) {
    let mut rig = Rig::start(FDT, 2);
    let begun = clock::now();
    let mut spans: [Spans; 2] = Default::default();
    let mut csv = Csv::new(
        "cut,nic,address,cut_to_verdict_ms,verdict_to_address_ms,verdict_to_announcement_ms,stalls_ms,rtnl_ms",
    );
    for number in 0..plan.cuts {
        rig.wait_for_spare();
        let (nic, _) = rig.busiest();
        let other = Capture::start(rig.lab.lan(), &format!("sw{}", 1 - nic));
        let cut = rig.cut(f64::from(number) * GOLDEN % 1.0);
        for it in &cut.moves {
            let announced = announced(&other, &cut, it);
            let of = &mut spans[usize::from(it.address.is_ipv6())];
            let verdict = ms_between(cut.at, it.verdict());
            let address = ms_between(it.verdict(), it.added);
            let told = ms_between(it.verdict(), announced);
            of.verdict.push(verdict);
            of.address.push(address);
            of.announced.push(told);
            let stalls = rig.stalls.within(cut.at, announced).as_secs_f64() * 1e3;
            let rtnl = rig.rtnl.within(cut.at, announced).as_secs_f64() * 1e3;
            csv.row(&[&number, &nic, &it.address, &verdict, &address, &told, &stalls, &rtnl]);
        }
    }
    report.heading(format!("{} silent cuts at a failure detection time of {FDT:?}", plan.cuts));
    let mut table = Table::of_figures("ms");
    let mut plot = Plot::of_distributions("Cut to verdict", "ms");
    for (family, of) in ["IPv4", "IPv6"].iter().zip(&spans) {
        table.figures(format!("{family}: cut to verdict"), &of.verdict);
        table.figures(format!("{family}: verdict to address"), &of.address);
        table.figures(format!("{family}: verdict to announcement"), &of.announced);
        plot.distribution(*family, &of.verdict);
    }
    plot.mark("FDT", FDT.as_secs_f64() * 1e3);
    report.table(&table);
    report.text(rig.machine(begun, clock::now()));
    report.plot("verdict", &plot);
    report.csv("cuts", &csv);
}

/// When the first frame that tells where the address is now came to the switch.
fn announced(port: &Capture, cut: &Cut, it: &Move) -> Nanos {
    let what = format!("announcement of {}", it.address);
    let frame =
        port.wait(&what, cut.at, LIMIT, |frame| frame.from_device && frame.announces(it.address));
    frame.at
}
