//! Proves the lab itself: a test that stands on it may trust that a cut cuts, and that what it reads is so.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content};
use mpathd_tests::clock;
use mpathd_tests::lab::{CLIENT_V4, CLIENT_V6, FAR_V4, FAR_V6};
use mpathd_tests::observe::{addrs, holders, link, neighbour_mac, routes_v4};
use mpathd_tests::ping::ping;
use mpathd_tests::reflector::Reflector;
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::valve::Closed;
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Lab, NetNs, bpf, isolate, isolated, wait_for};

const HOST_V4: &str = "192.0.2.50";
const HOST_V6: &str = "2001:db8::50";
const SHORT: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(5);
const PORT: u16 = 7007;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn give_addresses(host: &NetNs, nic: usize) {
    // Else each NIC answers ARP for the other's address, and neighbours come in by either.
    host.sysctl("ipv4/conf/all/arp_ignore", "1");
    let device = format!("eth{nic}");
    host.expect("ip", &["address", "add", "192.0.2.50/24", "dev", &device]);
    host.expect("ip", &["address", "add", "2001:db8::50/64", "dev", &device, "nodad"]);
}

fn answers(from: &NetNs, address: &str) -> bool {
    ping(from, None, ip(address), SHORT)
}

/// After a silence a neighbour may be asked for again only after a second.
fn wait_for_answer(from: &NetNs, address: &str) {
    wait_for(&format!("answer of {address}"), LIMIT, || {
        if answers(from, address) { Ok(()) } else { Err("silent") }
    });
}

#[test]
fn everything_is_reached_through_the_switch_and_the_router() {
    isolated(|| {
        let lab = Lab::builder().far().build();
        let host = lab.host();
        give_addresses(host, 1);
        for address in ["192.0.2.1", "192.0.2.3", "2001:db8::2", CLIENT_V4, CLIENT_V6] {
            wait_for_answer(host, address);
        }
        host.expect("ip", &["route", "add", "default", "via", "192.0.2.1"]);
        host.expect("ip", &["route", "add", "default", "via", "2001:db8::1"]);
        for address in [FAR_V4, FAR_V6] {
            wait_for_answer(host, address);
        }
        for address in [HOST_V4, HOST_V6] {
            wait_for_answer(lab.far(), address);
        }
        assert!(!answers(host, "192.0.2.99"), "an address that nobody has answers");
    });
}

#[test]
fn a_cut_stops_frames_both_ways_and_the_carrier_stays() {
    isolated(|| {
        let lab = Lab::builder().build();
        give_addresses(lab.host(), 0);
        wait_for_answer(lab.host(), "192.0.2.1");
        wait_for_answer(lab.client(), HOST_V6);

        let at_target = Capture::start(lab.target(1), "eth0");
        let at_host = Capture::start(lab.host(), "eth0");
        lab.cut(0);
        let after = clock::now();
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert!(!answers(lab.host(), address), "{address} answers through the cut");
        }
        for address in [HOST_V4, HOST_V6] {
            assert!(!answers(lab.client(), address), "{address} answers through the cut");
        }
        assert!(link(lab.host(), "eth0").has_carrier(), "the carrier is gone");
        let nic = [2, 0, 0, 0, 0, 0];
        let sent = at_host.frames().into_iter().filter(|it| it.source_mac == nic && it.at > after);
        assert!(sent.count() > 0, "the host has sent nothing, so nothing is proved");
        let came = at_target.frames().into_iter().find(|it| it.source_mac == nic && it.at > after);
        assert_eq!(came, None, "a frame of the host has passed");
        let came = at_host.frames().into_iter().find(|it| it.source_mac != nic && it.at > after);
        assert_eq!(came, None, "a frame has come to the host");

        lab.mend(0);
        wait_for_answer(lab.host(), "192.0.2.1");
        wait_for_answer(lab.client(), HOST_V6);
    });
}

#[test]
fn a_cut_of_one_way_leaves_the_other() {
    isolated(|| {
        let lab = Lab::builder().build();
        give_addresses(lab.host(), 0);
        wait_for_answer(lab.host(), "192.0.2.1");
        let at_target = Capture::start(lab.target(1), "eth0");
        for (way, reaches_target) in [(Closed::ToDevice, true), (Closed::FromDevice, false)] {
            lab.cut_way(0, way);
            let since = clock::now();
            assert!(!answers(lab.host(), "192.0.2.1"), "it answers, closed {way:?}");
            let is_request = |it: &Content| matches!(it, Content::Echo { request: true, .. });
            let requests = at_target.frames();
            let requests = requests.iter().filter(|it| it.at > since && is_request(&it.content));
            assert_eq!(requests.count() > 0, reaches_target, "closed {way:?}");
            lab.mend(0);
            wait_for_answer(lab.host(), "192.0.2.1");
        }
    });
}

#[test]
fn the_carrier_goes_and_comes_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        give_addresses(lab.host(), 0);
        lab.carrier(0, false);
        let carrier = || link(lab.host(), "eth0").has_carrier();
        wait_for("loss of carrier", LIMIT, || if carrier() { Err(()) } else { Ok(()) });
        assert!(link(lab.host(), "eth1").has_carrier(), "the other NIC's carrier is gone too");
        lab.carrier(0, true);
        wait_for_answer(lab.client(), HOST_V4);
    });
}

#[test]
fn a_dead_target_is_the_only_one_that_is_silent() {
    isolated(|| {
        let lab = Lab::builder().build();
        give_addresses(lab.host(), 0);
        lab.kill_target(2);
        assert!(!answers(lab.host(), "192.0.2.2") && !answers(lab.host(), "2001:db8::2"));
        wait_for_answer(lab.host(), "192.0.2.1");
        wait_for_answer(lab.host(), "2001:db8::3");
        lab.revive_target(2);
        wait_for_answer(lab.host(), "192.0.2.2");
        wait_for_answer(lab.host(), "2001:db8::2");
    });
}

#[test]
fn streams_tell_silence_loss_and_survival() {
    isolated(|| {
        const CUT: Duration = Duration::from_millis(300);
        let lab = Lab::builder().build();
        give_addresses(lab.host(), 0);
        let server = EchoServer::start(lab.host(), PORT);
        let interval = Duration::from_millis(2);
        let to = |address: &str| SocketAddr::new(ip(address), server.port());
        let streams: Vec<Stream> = [HOST_V4, HOST_V6]
            .into_iter()
            .flat_map(|address| {
                [
                    Stream::tcp(lab.client(), to(address), interval),
                    Stream::udp(lab.client(), to(address), interval),
                ]
            })
            .collect();
        let begun = clock::now();
        for stream in &streams {
            stream.wait_answered(begun, LIMIT);
        }

        let cut = lab.cut(0);
        clock::sleep_until(cut + clock::nanos(CUT));
        let mended = lab.mend(0);
        for (index, stream) in streams.into_iter().enumerate() {
            let is_tcp = index % 2 == 0;
            stream.wait_answered(mended, LIMIT);
            let report = stream.finish(if is_tcp { LIMIT } else { SHORT });
            let silence = report.longest_silence(cut);
            assert_eq!(report.broken, None);
            assert!(silence >= CUT - interval * 2, "stream {index} tells {silence:?} of {CUT:?}");
            if is_tcp {
                assert_eq!(report.unanswered(), 0, "TCP loses nothing");
            } else {
                // 150 fall into the cut; on a loaded machine fewer have been sent, or it has lasted longer.
                let lost = report.unanswered();
                let span = clock::ms_between(cut, mended).max(silence.as_secs_f64() * 1e3) as u64;
                assert!((20..=20 + span / 2).contains(&lost), "UDP has lost {lost} in {span} ms");
                assert!(silence < CUT + Duration::from_secs(2), "UDP silent for {silence:?}");
            }
        }
    });
}

#[test]
fn a_connection_that_ends_is_told() {
    isolated(|| {
        let lab = Lab::builder().build();
        give_addresses(lab.host(), 0);
        let server = EchoServer::start(lab.host(), PORT);
        let to = SocketAddr::new(ip(HOST_V4), PORT);
        let stream = Stream::tcp(lab.client(), to, Duration::from_millis(5));
        stream.wait_answered(0, LIMIT);
        drop(server);
        wait_for("end of the connection", LIMIT, || stream.report().broken.ok_or(()));
    });
}

#[test]
fn address_changes_are_seen_and_stamped() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let watch = AddressWatch::start(host);
        let begun = clock::now();
        give_addresses(host, 0);
        let added = watch.wait_added(HOST_V4, "eth0", begun, LIMIT);
        watch.wait_added(HOST_V6, "eth0", begun, LIMIT);
        assert_eq!(holders(host, HOST_V4), ["eth0"]);
        let of_host: Vec<String> =
            addrs(host).into_iter().map(|it| format!("{} {}", it.ifname, it.info.local)).collect();
        assert_eq!(of_host, ["eth0 192.0.2.50", "eth0 2001:db8::50"]);
        assert_eq!(routes_v4(host)[0].dst, "192.0.2.0/24");
        host.expect("ip", &["address", "del", "192.0.2.50/24", "dev", "eth0"]);
        let deleted = watch.wait_deleted(HOST_V4, "eth0", added, LIMIT);
        assert!(begun < added && added < deleted && deleted < clock::now());
        assert_eq!(holders(host, HOST_V4), [""; 0]);
    });
}

#[test]
fn frames_are_decoded() {
    isolated(|| {
        let lab = Lab::builder().build();
        give_addresses(lab.host(), 0);
        let capture = Capture::start(lab.lan(), "sw0");
        let begun = clock::now();
        let _server = EchoServer::start(lab.host(), PORT);
        for address in [HOST_V4, HOST_V6] {
            wait_for_answer(lab.client(), address);
            let to = SocketAddr::new(ip(address), PORT);
            Stream::tcp(lab.client(), to, SHORT).wait_answered(begun, LIMIT);
            Stream::udp(lab.client(), to, SHORT).wait_answered(begun, LIMIT);
        }
        let see = |what: &str, from_device: bool, fits: &dyn Fn(&Content) -> bool| {
            let frame = capture.wait(what, begun, LIMIT, |frame| {
                frame.from_device == from_device && fits(&frame.content)
            });
            assert!(begun < frame.at && frame.at <= clock::now(), "{what}: stamp {}", frame.at);
        };
        let (v4, v6, nic) = (ip(HOST_V4), ip(HOST_V6), [2, 0, 0, 0, 0, 0]);
        see("ARP reply", true, &|it| {
            matches!(it, Content::Arp { request: false, sender, sender_mac, target }
                if *sender == v4 && *sender_mac == nic && *target == ip(CLIENT_V4))
        });
        see("neighbour advertisement", true, &|it| {
            matches!(it, Content::NeighbourAdvertisement { target, mac, .. }
                if *target == v6 && *mac == Some(nic))
        });
        for own in [v4, v6] {
            see(
                "echo request",
                false,
                &|it| matches!(it, Content::Echo { request: true, destination, .. } if *destination == own),
            );
            see(
                "echo reply",
                true,
                &|it| matches!(it, Content::Echo { request: false, source, .. } if *source == own),
            );
            see(
                "TCP segment",
                true,
                &|it| matches!(it, Content::Tcp { source, source_port: PORT, .. } if *source == own),
            );
            see(
                "datagram",
                true,
                &|it| matches!(it, Content::Udp { source, source_port: PORT, .. } if *source == own),
            );
        }
        assert_eq!(neighbour_mac(lab.client(), HOST_V4).as_deref(), Some("02:00:00:00:00:00"));
    });
}

/// Names the file that the victim of `nothing_is_left_behind_after_sigkill` writes; nobody else sets it.
const VICTIM: &str = "MPATHD_LAB_VICTIM";

/// By itself: a lab with four NICs can be made. As a victim: holds one until it is killed.
#[test]
fn a_lab_with_four_nics_can_be_made() {
    isolated(|| {
        let lab = Lab::builder().nics(4).targets(5).far().build();
        assert_eq!(link(lab.host(), "eth3").address.as_deref(), Some("02:00:00:00:00:03"));
        if let Some(file) = std::env::var_os(VICTIM) {
            let written = Path::new(&file).with_extension("part");
            std::fs::write(&written, isolate::outer_pid().to_string()).expect("a place in /tmp");
            std::fs::rename(&written, &file).expect("a place in /tmp");
            loop {
                std::thread::park();
            }
        }
    });
}

#[test]
fn nothing_is_left_behind_after_sigkill() {
    let folder = std::env::temp_dir().join(format!("mpathd-victim-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a place in /tmp");
    let file = folder.join("pid");
    let mut victim = Command::new(std::env::current_exe().expect("we run"))
        .args(["a_lab_with_four_nics_can_be_made", "--exact"])
        .env(VICTIM, &file)
        .stdout(Stdio::null())
        .spawn()
        .expect("we can run ourselves");
    let inside = wait_for("victim's lab", LIMIT * 4, || std::fs::read_to_string(&file));
    let namespaces = ["pid", "net", "mnt"].map(|kind| {
        let link =
            |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it runs");
        assert_ne!(link(&inside), link("self"), "the {kind} namespace is shared");
        (kind, link(&inside))
    });
    victim.kill().expect("it is our child");
    victim.wait().expect("it is our child");
    wait_for("end of all that was in its namespaces", LIMIT, || {
        let left: Vec<String> = std::fs::read_dir("/proc")
            .expect("/proc is mounted")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|pid| {
                namespaces.iter().any(|(kind, namespace)| {
                    std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))
                        .is_ok_and(|it| it == *namespace)
                })
            })
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert!(!Path::new("/run/netns/t5").exists(), "a name is left on the machine");
    assert!(!Path::new("/sys/fs/bpf/lab").exists(), "a pin is left on the machine");
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn targets_in_the_ports_answer_for_those_that_are_dead() {
    isolated(|| {
        let lab = Lab::builder().build();
        let targets = ["192.0.2.1", "2001:db8::1"];
        // What is sent back on the spot comes only to a NIC with a program of its own.
        let pass = bpf::foreign_xdp().expect("a program can be loaded");
        lab.host().expect("ip", &["link", "set", "dev", "eth0", "xdpdrv", "pinned", &pass]);
        lab.host().expect("ip", &["address", "add", "192.0.2.90/24", "dev", "eth0"]);
        lab.host().expect("ip", &["address", "add", "2001:db8::90/64", "dev", "eth0", "nodad"]);
        targets.iter().for_each(|it| wait_for_answer(lab.host(), it));
        let reflector = Reflector::install(lab.lan(), vec!["sw0".to_owned()]);
        // Its MAC is known.
        lab.kill_target(1);
        targets.iter().for_each(|it| wait_for_answer(lab.host(), it));
        drop(reflector);
        targets.iter().for_each(|it| assert!(!answers(lab.host(), it), "{it} is alive"));
    });
}
