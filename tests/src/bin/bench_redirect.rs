//! What `egress_redirect` is worth: silences of four UDP streams over silent cuts while containers come and go.
//! `bench_redirect FDT_MS true|false CUTS`, as root; one lab a process, so with and without it are two runs.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use mpathd_tests::clock::{self, Nanos};
use mpathd_tests::cuts::{DATA_V4, DATA_V6, Rig, Size};
use mpathd_tests::figures::Figures;
use mpathd_tests::isolate;
use mpathd_tests::lab::{FAR_V4, FAR_V6};
use mpathd_tests::load::Containers;
use mpathd_tests::traffic::{EchoServer, Stream};

/// At a time: enough to hold RTNL for some tens of ms on two busy cores.
const CONTAINERS: usize = 16;
const PORT: u16 = 7007;
const MESSAGE_EACH: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(20);
/// Multiples of it spread evenly over an interval.
const GOLDEN: f64 = 0.618_034;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [fdt, redirect, cuts] = arguments.as_slice() else {
        eprintln!("bench_redirect FDT_MS true|false CUTS");
        return ExitCode::from(2);
    };
    let (Ok(fdt), Ok(redirect), Ok(cuts)) = (fdt.parse(), redirect.parse(), cuts.parse()) else {
        eprintln!("bench_redirect: {arguments:?} is not understood");
        return ExitCode::from(2);
    };
    if let Some(code) = isolate::relaunched() {
        return code;
    }
    measure(Duration::from_millis(fdt), redirect, cuts);
    ExitCode::SUCCESS
}

fn measure(fdt: Duration, redirect: bool, cuts: u32) {
    let mut rig = Rig::start_with(fdt, 2, Size::SMALL, &format!("egress_redirect = {redirect}"));
    let servers = [rig.lab.host(), rig.lab.far()].map(|it| EchoServer::start(it, PORT));
    let (mut verdicts, mut addresses) = (Figures::default(), Figures::default());
    let mut silences: [Figures; 4] = Default::default();
    let mut waits = Figures::default();
    let begun = clock::now();
    let containers = Containers::start(CONTAINERS);
    for number in 0..cuts {
        rig.wait_for_spare();
        let streams = streams(&rig);
        let cut = rig.cut(f64::from(number) * GOLDEN % 1.0);
        let moved = cut.moves.iter().map(|it| it.added).max().unwrap_or(cut.at);
        for it in &cut.moves {
            verdicts.push(clock::ms_between(cut.at, it.verdict));
            addresses.push(clock::ms_between(cut.at, it.added));
        }
        waits.push(rig.rtnl.longest(cut.at, moved).as_secs_f64() * 1e3);
        for (stream, silence) in streams.iter().zip(&mut silences) {
            stream.wait_answered(moved, LIMIT);
            silence.push(silence_over(stream, cut.at));
        }
    }
    drop(containers);
    println!(
        "FDT {fdt:?}, egress_redirect = {redirect}, {cuts} silent cuts, {CONTAINERS} containers at a time"
    );
    println!("  {:<36} {:>4} {:>8} {:>8} {:>8} {:>8}", "ms", "", "p50", "p90", "p99", "max");
    let names = ["in, IPv4", "in, IPv6", "out, IPv4", "out, IPv6"];
    line("cut to verdict", &verdicts);
    line("cut to address", &addresses);
    line("longest wait for RTNL, cut to move", &waits);
    names.iter().zip(&silences).for_each(|(name, it)| line(&format!("silence {name}"), it));
    let now = clock::now();
    println!(
        "  longest stall {:.1?}, longest wait for RTNL {:.1?}",
        rig.stalls.longest(begun, now),
        rig.rtnl.longest(begun, now)
    );
    drop(servers);
}

/// Between the last answer before what the cut took and the first one to what was sent after it, in ms.
fn silence_over(stream: &Stream, cut: Nanos) -> f64 {
    stream.report().longest_silence(cut).as_secs_f64() * 1e3
}

fn streams(rig: &Rig) -> Vec<Stream> {
    let ways = [(rig.lab.client(), [DATA_V4, DATA_V6]), (rig.lab.host(), [FAR_V4, FAR_V6])];
    let all: Vec<Stream> = ways
        .into_iter()
        .flat_map(|(client, servers)| {
            servers.map(|server| {
                let ip: IpAddr = server.parse().expect("an address");
                Stream::udp(client, SocketAddr::new(ip, PORT), MESSAGE_EACH)
            })
        })
        .collect();
    let now = clock::now();
    for stream in &all {
        stream.wait_answered(now, LIMIT);
    }
    all
}

fn line(name: &str, it: &Figures) {
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| it.quantile(share));
    println!("  {name:<36} {:>4} {p50:>8.1} {p90:>8.1} {p99:>8.1} {:>8.1}", it.len(), it.max());
}
