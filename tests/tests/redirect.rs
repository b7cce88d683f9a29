//! Traffic leaves a dead NIC at the verdict though nobody can change an address or a route: RTNL is held, as where
//! containers come and go, only longer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Frame};
use mpathd_tests::clock::{self, Nanos, ms_between, nanos};
use mpathd_tests::cuts::{DATA_V4, DATA_V6, Rig, Size};
use mpathd_tests::lab::{FAR_V4, FAR_V6};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::{isolated, rtnl};

const FDT: Duration = Duration::from_millis(100);
/// So long that stalls of a busy machine are short beside it.
const HELD: Duration = Duration::from_secs(2);
const PORT: u16 = 7007;
const MESSAGE_EACH: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn traffic_moves_at_the_verdict_while_rtnl_is_held() {
    isolated(|| {
        let mut rig = Rig::start_with(FDT, 2, Size::SMALL, "egress_redirect = true");
        let streams = Streams::start(&rig);
        let (nic, _) = rig.busiest();
        let healthy = Capture::start(rig.lab.lan(), &format!("sw{}", 1 - nic));
        let (cut, answered, held_until) = cut_while_held(&rig, &streams, nic);
        for (name, at) in &answered {
            let at = at.unwrap_or_else(|| panic!("{name}: no answer before RTNL was free again"));
            assert!(at < held_until, "{name}");
            println!("  {name}: answered {:.1} ms after the cut", ms_between(cut, at));
        }
        let text = format!("traffic of eth{nic} left by another interface");
        let line = rig.daemon.wait_log(&text, cut, LIMIT);
        assert!(
            line.at > held_until,
            "it lasts until addresses and routes have moved: {}",
            line.text
        );
        only_its_own_mac(&healthy, nic);
        rig.mend(nic, cut);
        rig.wait_repaired();
        streams.wait_answered(clock::now());
        assert_eq!(rig.daemon.has_ended(), None, "the daemon has ended");
    });
}

/// What the test above is worth: without the redirect no answer comes before RTNL is free. The way in is open all
/// the same, for at the verdict the healthy NIC announces the addresses that it is to have.
#[test]
fn without_it_only_the_way_in_does_not_wait_for_rtnl() {
    isolated(|| {
        let mut rig = Rig::start(FDT, 2);
        let streams = Streams::start(&rig);
        let (nic, addresses) = rig.busiest();
        let healthy = Capture::start(rig.lab.lan(), &format!("sw{}", 1 - nic));
        let (cut, answered, held_until) = cut_while_held(&rig, &streams, nic);
        assert!(answered.iter().any(|(_, at)| at.is_none()), "{answered:?}");
        let frames = healthy.frames();
        for address in addresses {
            let while_held = |it: &&Frame| (cut..held_until).contains(&it.at);
            let mut announced = frames.iter().filter(while_held);
            let announced = announced.find(|it| it.from_device && it.announces(address));
            let announced = announced.unwrap_or_else(|| panic!("{address} was not announced")).at;
            let for_it = |it: &&Frame| matches!(it.content, Content::Udp { destination, .. } if destination == address);
            let came = frames.iter().filter(while_held).filter(|it| it.at > announced);
            let came = came.filter(for_it).filter(|it| !it.from_device).count();
            assert!(came > 50, "{came} datagrams for {address} came to the healthy NIC");
            println!("  {address}: announced {:.1} ms after the cut", ms_between(cut, announced));
        }
        rig.mend(nic, cut);
        rig.wait_repaired();
    });
}

/// The cut; when each stream was answered first that was asked later than FDT after it; and the end of all that
/// was seen while RTNL was held.
fn cut_while_held(
    rig: &Rig,
    streams: &Streams,
    nic: usize,
) -> (Nanos, Vec<(String, Option<Nanos>)>, Nanos) {
    rtnl::while_held(|| {
        let cut = rig.lab.cut(nic);
        clock::sleep_until(cut + nanos(FDT + HELD));
        (cut, streams.first_answers(cut + nanos(FDT)), clock::now())
    })
}

/// The switch must not learn the dead NIC's MAC at the healthy one's port.
fn only_its_own_mac(port: &Capture, dead: usize) {
    let dead_mac = [2, 0, 0, 0, 0, dead as u8];
    let wrong = port.frames().into_iter().filter(|it| it.from_device && it.source_mac == dead_mac);
    assert_eq!(wrong.count(), 0, "frames with the MAC of eth{dead} came by the other port");
}

/// Datagrams into the host and out of it, by both families.
struct Streams {
    all: Vec<(String, Stream)>,
    // They outlive their clients.
    _servers: [EchoServer; 2],
}

impl Streams {
    fn start(rig: &Rig) -> Self {
        let servers = [rig.lab.host(), rig.lab.far()].map(|it| EchoServer::start(it, PORT));
        let ways = [(rig.lab.client(), [DATA_V4, DATA_V6]), (rig.lab.host(), [FAR_V4, FAR_V6])];
        let mut all = Vec::new();
        for (client, servers) in ways {
            for server in servers {
                let ip: IpAddr = server.parse().expect("an address");
                let stream = Stream::udp(client, SocketAddr::new(ip, PORT), MESSAGE_EACH);
                all.push((format!("UDP from {} to {ip}", client.name()), stream));
            }
        }
        let streams = Self { all, _servers: servers };
        streams.wait_answered(clock::now());
        streams
    }

    fn wait_answered(&self, since: Nanos) {
        for (_, stream) in &self.all {
            stream.wait_answered(since, LIMIT);
        }
    }

    fn first_answers(&self, since: Nanos) -> Vec<(String, Option<Nanos>)> {
        let first =
            |(name, stream): &(String, Stream)| (name.clone(), stream.report().first_answer(since));
        self.all.iter().map(first).collect()
    }
}
