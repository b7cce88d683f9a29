//! What clients notice: the longest silence of their UDP streams through a silent cut, with few and many addresses and
//! routes, and when the last of those had moved.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_route::route::RouteAttribute;

use super::report::{Csv, Plot, Table};
use super::{Plan, Report};
use crate::clock::{self, Nanos, ms_between};
use crate::cuts::{Cut, Rig, Size};
use crate::figures::Figures;
use crate::lab::{FAR_V4, FAR_V6};
use crate::traffic::{EchoServer, Stream};
use crate::wait_for;
use crate::watch::RouteWatch;

/// Milliseconds.
const FDTS: [u64; 3] = [100, 30, 10];
/// Of each family, so half of what the tables say.
const SIZES: [Size; 4] = [
    Size { addresses: 1, routes: 1 },
    Size { addresses: 50, routes: 1 },
    Size { addresses: 1, routes: 500 },
    Size { addresses: 50, routes: 500 },
];
const NICS: usize = 3;
const PORT: u16 = 7007;
/// Between two messages of a stream.
const PACE: Duration = Duration::from_millis(1);
/// What is claimed, beyond the FDT: ms.
const BEYOND_FDT: f64 = 5.0;
/// Multiples of it spread evenly over an interval.
const GOLDEN: f64 = 0.618_034;
const LIMIT: Duration = Duration::from_secs(10);
/// Traffic is watched so long after the last address has moved.
const AFTER: Nanos = 50_000_000;

/// Cuts under the same conditions.
struct Series {
    name: String,
    fdt: Duration,
    samples: Vec<Sample>,
    longest_stall: Duration,
    longest_rtnl: Duration,
}

/// A cut. Spans in ms; those of moves from the first verdict on.
struct Sample {
    verdict: f64,
    first_address: f64,
    last_address: f64,
    last_route: f64,
    /// As [`STREAMS`].
    silences: [f64; 4],
    stalls: f64,
    rtnl: f64,
}

const STREAMS: [&str; 4] = ["in, IPv4", "in, IPv6", "out, IPv4", "out, IPv6"];

pub(super) fn run(plan: &Plan, report: &mut Report) {
    let cuts = plan.choose(plan.cuts / 8, 3).max(1);
    let mut rig = Rig::start(Duration::from_millis(FDTS[0]), NICS);
    let routes = RouteWatch::start(rig.lab.host());
    let servers = [EchoServer::start(rig.lab.host(), PORT), EchoServer::start(rig.lab.far(), PORT)];
    let mut all = Vec::new();
    for size in SIZES {
        for ms in FDTS {
            rig.restart_sized(Duration::from_millis(ms), size);
            all.push(Series::measure(&mut rig, &routes, size, cuts));
        }
    }
    drop(servers);

    report.text(format!(
        "{cuts} silent cuts in each class, at phases spread evenly over the probing interval; three targets, three NICs \
         of which two stand by, so that all addresses and routes move. Half of the addresses and routes are IPv4, \
         half IPv6; all routes go by one gateway. Four UDP streams with a message each {PACE:?}: a client asks the \
         last of the data addresses (in), and the host asks a server behind the last of the routes (out); a silence \
         is the longest time without an answer. The verdict is the daemon's own stamp, addresses and routes are the \
         kernel's notices as the lab heard them. Milliseconds."
    ));
    all.iter().for_each(|it| it.judge(report));
    tables(&all, report);
    plot(&all, report);
    report.csv("cuts", &csv(&all));
}

impl Series {
    fn measure(rig: &mut Rig, routes: &RouteWatch, size: Size, cuts: u32) -> Self {
        let begun = clock::now();
        let streams = streams(rig, size);
        let samples =
            (0..cuts).map(|number| Sample::take(rig, routes, &streams, size, number)).collect();
        rig.wait_repaired();
        let now = clock::now();
        let (addresses, of_routes) = (2 * size.addresses, 2 * size.routes);
        let name = format!("{:?}, {addresses} addresses, {of_routes} routes", rig.fdt());
        println!("measured: {name}");
        Self {
            name,
            fdt: rig.fdt(),
            samples,
            longest_stall: rig.stalls.longest(begun, now),
            longest_rtnl: rig.rtnl.longest(begun, now),
        }
    }

    fn of(&self, span: impl Fn(&Sample) -> f64) -> Figures {
        self.samples.iter().map(span).collect()
    }

    /// The longest of all streams at each cut.
    fn silences(&self) -> Figures {
        self.of(|it| it.silences.into_iter().fold(0.0, f64::max))
    }

    fn judge(&self, report: &mut Report) {
        let limit = self.fdt.as_secs_f64() * 1e3 + BEYOND_FDT;
        let p99 = self.silences().quantile(0.99);
        let claim = format!("{}: no silence beyond {limit} ms", self.name);
        report.claim(claim, format!("p99 {p99:.2} ms"), p99 <= limit);
    }
}

fn streams(rig: &Rig, size: Size) -> [Stream; 4] {
    let far = [FAR_V4, FAR_V6].map(|it| it.parse::<IpAddr>().expect("the lab's own address"));
    let into =
        |v6| Stream::udp(rig.lab.client(), SocketAddr::new(size.last_address(v6), PORT), PACE);
    let out = |ip| Stream::udp(rig.lab.host(), SocketAddr::new(ip, PORT), PACE);
    let streams = [into(false), into(true), out(far[0]), out(far[1])];
    let now = clock::now();
    for stream in &streams {
        stream.wait_answered(now, LIMIT);
    }
    streams
}

impl Sample {
    fn take(
        rig: &mut Rig,
        routes: &RouteWatch,
        streams: &[Stream; 4],
        size: Size,
        number: u32,
    ) -> Self {
        let cut = rig.cut(f64::from(number) * GOLDEN % 1.0);
        let verdict = cut.moves.iter().map(|it| it.verdict).min().expect("both of them move");
        let (first, last) = addresses(rig, &cut, size);
        let last_route = last_route(routes, verdict, size);
        let end = last.max(last_route) + AFTER;
        clock::sleep_until(end);
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        Self {
            verdict: ms_between(cut.at, verdict),
            first_address: ms_between(verdict, first),
            last_address: ms_between(verdict, last),
            last_route: ms_between(verdict, last_route),
            silences: [0, 1, 2, 3].map(|n| silence(&streams[n], cut.at, end)),
            stalls: ms(rig.stalls.within(cut.at, last.max(last_route))),
            rtnl: ms(rig.rtnl.within(cut.at, last.max(last_route))),
        }
    }
}

/// When the first and the last were added on another NIC.
fn addresses(rig: &Rig, cut: &Cut, size: Size) -> (Nanos, Nanos) {
    let left = format!("eth{}", cut.nic);
    wait_for("the move of all addresses", LIMIT, || {
        let mut added: BTreeMap<IpAddr, Nanos> = BTreeMap::new();
        let events = rig.addresses.events();
        for it in events.iter().filter(|it| it.at >= cut.at && it.added && it.ifname != left) {
            added.entry(it.address).or_insert(it.at);
        }
        let (first, last) = (added.values().min(), added.values().max());
        match (first, last) {
            (Some(&first), Some(&last)) if added.len() >= 2 * size.addresses => Ok((first, last)),
            _ => Err(added.len()),
        }
    })
}

/// When the last of the routes was told to go another way.
fn last_route(routes: &RouteWatch, verdict: Nanos, size: Size) -> Nanos {
    wait_for("the move of all routes", LIMIT, || {
        let mut moved: BTreeMap<String, Nanos> = BTreeMap::new();
        for it in routes.events().iter().filter(|it| it.at >= verdict && it.added) {
            let to = it.route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(to) => Some(to),
                _ => None,
            });
            let by_gateway = it.route.attributes.iter().any(|attribute| {
                matches!(
                    attribute,
                    RouteAttribute::Gateway(_)
                        | RouteAttribute::MultiPath(_)
                        | RouteAttribute::NhId(_)
                )
            });
            if by_gateway {
                let key = format!("{to:?} {:?}", it.route.header.address_family);
                moved.entry(key).or_insert(it.at);
            }
        }
        match moved.values().max() {
            Some(&last) if moved.len() >= 2 * size.routes => Ok(last),
            _ => Err(moved.len()),
        }
    })
}

/// The longest time without an answer that reaches into this one: ms.
fn silence(stream: &Stream, from: Nanos, to: Nanos) -> f64 {
    let report = stream.report();
    let answers = report.echoes.iter().map(|echo| echo.answered);
    let (before, after): (Vec<Nanos>, Vec<Nanos>) = answers.partition(|at| *at < from);
    let begin = before.last().copied().unwrap_or(report.begun);
    let within = after.into_iter().take_while(|at| *at <= to);
    let mut last = begin;
    let mut longest = 0.0_f64;
    for at in within {
        longest = longest.max(ms_between(last, at));
        last = at;
    }
    // One that is silent to the end.
    if last == begin { ms_between(begin, to) } else { longest }
}

fn tables(all: &[Series], report: &mut Report) {
    let mut distribution = |name: &str, span: &dyn Fn(&Sample) -> f64| {
        let mut table = Table::of_figures(name);
        all.iter().for_each(|it| table.figures(&it.name, &it.of(span)));
        report.table(&table);
    };
    for (n, name) in STREAMS.iter().enumerate() {
        distribution(&format!("silence, {name}"), &|it| it.silences[n]);
    }
    distribution("cut to verdict", &|it| it.verdict);
    distribution("verdict to first address", &|it| it.first_address);
    distribution("verdict to last address", &|it| it.last_address);
    distribution("verdict to last route", &|it| it.last_route);
    let mut table = Table::new(&["the machine meanwhile", "longest stall", "wait for RTNL"]);
    for it in all {
        let shown = [it.longest_stall, it.longest_rtnl].map(|it| format!("{it:.1?}"));
        table.row(&[&it.name, &shown[0], &shown[1]]);
    }
    report.table(&table);
}

fn plot(all: &[Series], report: &mut Report) {
    let mut plot = Plot::of_distributions("Longest silence of a client", "ms beyond the FDT");
    for it in all {
        let fdt = it.fdt.as_secs_f64() * 1e3;
        let beyond = it.of(|sample| sample.silences.into_iter().fold(0.0, f64::max) - fdt);
        plot.distribution(&it.name, &beyond);
    }
    plot.mark("claimed", BEYOND_FDT);
    report.plot("silence", &plot);
}

fn csv(all: &[Series]) -> Csv {
    let mut csv = Csv::new(
        "class,cut,cut_to_verdict_ms,first_address_ms,last_address_ms,last_route_ms,\
         silence_in_v4_ms,silence_in_v6_ms,silence_out_v4_ms,silence_out_v6_ms,stalls_ms,rtnl_ms",
    );
    for series in all {
        let name = series.name.replace(", ", " ");
        for (number, it) in series.samples.iter().enumerate() {
            let [in4, in6, out4, out6] = it.silences;
            csv.row(&[
                &name,
                &number,
                &it.verdict,
                &it.first_address,
                &it.last_address,
                &it.last_route,
                &in4,
                &in6,
                &out4,
                &out6,
                &it.stalls,
                &it.rtnl,
            ]);
        }
    }
    csv
}
