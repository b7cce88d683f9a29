//! A path that dies silently, fifty times over: when the addresses are on the other NIC, and that nobody's
//! connection breaks. IPv4 and IPv6 in one group; each series has one lab and one daemon.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mpathd_tests::clock::{self, Nanos, ms_between};
use mpathd_tests::cuts::{Cut, DATA_V4, DATA_V6, Judgement, Rig};
use mpathd_tests::delays::Delays;
use mpathd_tests::figures::Figures;
use mpathd_tests::isolated;
use mpathd_tests::lab::{FAR_V4, FAR_V6};
use mpathd_tests::traffic::{EchoServer, Stream};

const CUTS: u32 = 50;
/// Multiples of it spread evenly over an interval.
const GOLDEN: f64 = 0.618_034;
const PORT: u16 = 7007;
const MESSAGE_EACH: Duration = Duration::from_millis(10);
/// TCP doubles its wait with each retransmission: after a silence it is quiet for as long again.
const RECOVERY: Duration = Duration::from_secs(10);

/// Two NICs that share the data: addresses also go back, as far as their returns are not damped.
#[test]
fn fifty_cuts_at_100_ms() {
    isolated(|| series(Duration::from_millis(100), 2));
}

/// Three NICs, one after the other: the repair of one, 2 x FDT, goes on while the next is cut.
#[test]
fn fifty_cuts_at_1_s() {
    isolated(|| series(Duration::from_secs(1), 3));
}

fn series(fdt: Duration, nics: usize) {
    let begun = clock::now();
    let mut rig = Rig::start(fdt, nics);
    let traffic = Traffic::start(&rig);
    let mut score = Score::default();
    for number in 0..CUTS {
        let cut = rig.cut(f64::from(number) * GOLDEN % 1.0);
        score.add(&rig, &cut);
        let moved = cut.moves.iter().map(|it| it.added).max().expect("the busiest NIC holds one");
        traffic.wait_answered(moved);
    }
    rig.wait_repaired();
    score.tell(&rig);
    traffic.finish();
    assert_eq!(rig.daemon.has_ended(), None, "the daemon has ended");
    println!("  took {:.0} s", ms_between(begun, clock::now()) / 1e3);
    assert!(score.broken.is_empty(), "FDT {fdt:?}:\n{}", score.broken.join("\n"));
}

/// Per family: ms from the cut to the verdict and to the address, and from verdict to address.
#[derive(Default)]
struct Score {
    verdict: [Figures; 2],
    address: [Figures; 2],
    took: [Figures; 2],
    excused: Vec<String>,
    broken: Vec<String>,
}

impl Score {
    fn add(&mut self, rig: &Rig, cut: &Cut) {
        for it in &cut.moves {
            let family = usize::from(it.address.is_ipv6());
            self.verdict[family].push(ms_between(cut.at, it.verdict));
            self.address[family].push(ms_between(cut.at, it.added));
            self.took[family].push(it.took().as_secs_f64() * 1e3);
            match rig.judge(cut, it) {
                Judgement::Kept => {}
                Judgement::Excused(line) => self.excused.push(line),
                Judgement::Broken(line) => self.broken.push(line),
            }
        }
    }

    fn tell(&self, rig: &Rig) {
        println!("FDT {:?}, {CUTS} silent cuts, ms:", rig.fdt());
        for (family, name) in ["IPv4", "IPv6"].iter().enumerate() {
            println!("  {name}: cut to verdict      {}", self.verdict[family]);
            println!("  {name}: cut to address      {}", self.address[family]);
            println!("  {name}: verdict to address  {}", self.took[family]);
        }
        let longest = |delays: &Delays| delays.longest(0, Nanos::MAX);
        println!(
            "  longest stall of this machine {:.1?}, longest wait for RTNL {:.1?}",
            longest(&rig.stalls),
            longest(&rig.rtnl)
        );
        println!("  excused by those within their own time: {}", self.excused.len());
        self.excused.iter().for_each(|line| println!("    {line}"));
        for moved in &self.address {
            assert!(moved.len() > CUTS as usize / 2, "a family moved {} times only", moved.len());
        }
    }
}

/// What users have over the group: into the host from its LAN, and out of it by the default route.
struct Traffic {
    streams: Vec<(String, Stream)>,
    // They outlive their clients.
    _servers: [EchoServer; 2],
}

impl Traffic {
    fn start(rig: &Rig) -> Self {
        let servers = [rig.lab.host(), rig.lab.far()].map(|it| EchoServer::start(it, PORT));
        let mut streams = Vec::new();
        for (client, servers) in
            [(rig.lab.client(), [DATA_V4, DATA_V6]), (rig.lab.host(), [FAR_V4, FAR_V6])]
        {
            for server in servers {
                let ip: IpAddr = server.parse().expect("an address");
                let to = SocketAddr::new(ip, PORT);
                let name = |kind| format!("{kind} from {} to {ip}", client.name());
                streams.push((name("TCP"), Stream::tcp(client, to, MESSAGE_EACH)));
                streams.push((name("UDP"), Stream::udp(client, to, MESSAGE_EACH)));
            }
        }
        let traffic = Self { streams, _servers: servers };
        traffic.wait_answered(clock::now());
        traffic
    }

    fn wait_answered(&self, since: Nanos) {
        for (name, stream) in &self.streams {
            let report = stream.report();
            assert_eq!(report.broken, None, "{name}");
            stream.wait_answered(since, RECOVERY);
        }
    }

    /// TCP has lost nothing, and all are alive to the end.
    fn finish(self) {
        for (name, stream) in self.streams {
            let report =
                stream.finish(RECOVERY.mul_f64(if name.starts_with("TCP") { 1.0 } else { 0.01 }));
            assert_eq!(report.broken, None, "{name}");
            println!(
                "  {name}: longest silence {:.0?}, {} of {} unanswered, {} refused{}",
                report.longest_silence(0),
                report.unanswered(),
                report.sent,
                report.refused,
                report.last_refusal.as_deref().map_or_else(String::new, |it| format!(" ({it})"))
            );
            if name.starts_with("TCP") {
                assert_eq!(report.unanswered(), 0, "{name} has lost data");
            }
        }
    }
}
