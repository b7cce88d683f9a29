//! What `egress_redirect` is worth: silences of four UDP streams over silent cuts while containers come and go.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::report::{Csv, Plot, Table};
use super::{Plan, Report};
use crate::clock::{self, ms_between};
use crate::cuts::{DATA_V4, DATA_V6, Rig};
use crate::figures::Figures;
use crate::lab::{FAR_V4, FAR_V6};
use crate::load::Containers;
use crate::traffic::{EchoServer, Stream};

/// Milliseconds.
const FDTS: [u64; 2] = [10, 30];
/// At a time: enough to hold RTNL for some tens of ms on two busy cores.
const CONTAINERS: usize = 16;
/// Cuts for each class, of those that are planned: each takes a second.
const ONE_IN: u32 = 5;
const PORT: u16 = 7007;
const MESSAGE_EACH: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(20);
/// Multiples of it spread evenly over an interval.
const GOLDEN: f64 = 0.618_034;
const STREAMS: [&str; 4] = ["in IPv4", "in IPv6", "out IPv4", "out IPv6"];

/// Cuts with the same setting.
struct Series {
    name: String,
    /// ms, per stream.
    silences: [Figures; 4],
    verdict: Figures,
    address: Figures,
    /// Longest wait for RTNL from cut to move.
    rtnl: Figures,
    longest_stall: Duration,
}

pub(super) fn run(plan: &Plan, report: &mut Report) {
    let cuts = plan.choose(plan.cuts.div_ceil(ONE_IN), 3);
    report.text(format!(
        "{cuts} silent cuts a class while {CONTAINERS} containers at a time (a namespace and a pair of devices each) \
         come and go, which holds RTNL, the kernel's lock for network configuration. Longest silence of UDP streams \
         with a message each millisecond: into the host to a data address, and out of it by the default route. ms."
    ));
    let mut rig = Rig::start(Duration::from_millis(FDTS[0]), 2);
    let _servers = [rig.lab.host(), rig.lab.far()].map(|it| EchoServer::start(it, PORT));
    let mut all = Vec::new();
    for fdt in FDTS {
        for redirect in [false, true] {
            all.push(Series::measure(&mut rig, Duration::from_millis(fdt), redirect, cuts));
        }
    }
    let mut table = Table::of_figures("silence, all streams");
    let mut plot = Plot::of_distributions("Silence of a stream while RTNL is held", "ms").log_x();
    let mut csv = Csv::new("class,stream,silence_ms");
    for it in &all {
        let together: Figures = it.silences.iter().flat_map(Figures::values).collect();
        table.figures(&it.name, &together);
        plot.distribution(&it.name, &together);
        for (stream, silences) in STREAMS.iter().zip(&it.silences) {
            silences.values().for_each(|ms| csv.row(&[&it.name.replace(", ", " "), stream, &ms]));
        }
    }
    report.table(&table);
    let mut table = Table::of_figures("cut to verdict");
    all.iter().for_each(|it| table.figures(&it.name, &it.verdict));
    report.table(&table);
    let mut table = Table::of_figures("cut to address");
    all.iter().for_each(|it| table.figures(&it.name, &it.address));
    report.table(&table);
    let mut table =
        Table::new(&["the machine meanwhile", "longest stall", "longest wait for RTNL, ms"]);
    for it in &all {
        let (stall, rtnl) = (format!("{:.1?}", it.longest_stall), format!("{:.1}", it.rtnl.max()));
        table.row(&[&it.name, &stall, &rtnl]);
    }
    report.table(&table);
    report.plot("silence", &plot);
    report.csv("silences", &csv);
}

impl Series {
    fn measure(rig: &mut Rig, fdt: Duration, redirect: bool, cuts: u32) -> Self {
        rig.restart_with(fdt, &format!("egress_redirect = {redirect}"));
        let mut series = Self {
            name: format!("{fdt:?}, {}", if redirect { "redirected" } else { "not redirected" }),
            silences: Default::default(),
            verdict: Figures::default(),
            address: Figures::default(),
            rtnl: Figures::default(),
            longest_stall: Duration::ZERO,
        };
        let begun = clock::now();
        let containers = Containers::start(CONTAINERS);
        for number in 0..cuts {
            rig.wait_for_spare();
            series.add(rig, f64::from(number) * GOLDEN % 1.0);
        }
        drop(containers);
        rig.wait_repaired();
        series.longest_stall = rig.stalls.longest(begun, clock::now());
        println!("measured: {}", series.name);
        series
    }

    fn add(&mut self, rig: &mut Rig, phase: f64) {
        let streams = streams(rig);
        let cut = rig.cut(phase);
        for it in &cut.moves {
            self.verdict.push(ms_between(cut.at, it.verdict));
            self.address.push(ms_between(cut.at, it.added));
        }
        let moved = cut.moves.iter().map(|it| it.added).max().unwrap_or(cut.at);
        self.rtnl.push(rig.rtnl.longest(cut.at, moved).as_secs_f64() * 1e3);
        for (stream, silences) in streams.iter().zip(&mut self.silences) {
            stream.wait_answered(moved, LIMIT);
            silences.push(stream.report().longest_silence(cut.at).as_secs_f64() * 1e3);
        }
    }
}

/// In the order of [`STREAMS`].
fn streams(rig: &Rig) -> Vec<Stream> {
    let ways = [(rig.lab.client(), [DATA_V4, DATA_V6]), (rig.lab.host(), [FAR_V4, FAR_V6])];
    let of = |(client, servers): (_, [&str; 2])| {
        servers.map(|server| {
            let ip: IpAddr = server.parse().expect("an address");
            Stream::udp(client, SocketAddr::new(ip, PORT), MESSAGE_EACH)
        })
    };
    let all: Vec<Stream> = ways.into_iter().flat_map(of).collect();
    let now = clock::now();
    for stream in &all {
        stream.wait_answered(now, LIMIT);
    }
    all
}
