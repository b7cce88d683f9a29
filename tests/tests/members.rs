//! NICs that are missing, come, go, are down, are none for a group, or have a device under them.

use std::ffi::OsString;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mpathd_tests::config::{Member, TARGETS_V4};
use mpathd_tests::lab::{CLIENT_V4, nic_mac};
use mpathd_tests::observe::{addrs, link};
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{interface, rows, wait_interface, wait_ok};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};
use nix::sys::socket::{setsockopt, sockopt};

const LIMIT: Duration = Duration::from_secs(10);
const DATA: [&str; 3] = ["192.0.2.50", "192.0.2.51", "2001:db8::50"];
/// Of the configuration.
const FDT: Duration = Duration::from_millis(100);

fn unplug(lab: &Lab, nic: usize) {
    lab.host().expect("ip", &["link", "del", &format!("eth{nic}")]);
}

/// A new NIC of the old name, down, with another ifindex.
fn plug(lab: &Lab, nic: usize) {
    let (device, port, mac) = (format!("eth{nic}"), format!("sw{nic}"), nic_mac(nic));
    let ends = ["address", &mac, "type", "veth", "peer", "name", &port, "netns", "lan"];
    // Taken, the number of the one before would tell nothing.
    lab.host().expect("ip", &["link", "add", "type", "bridge"]);
    lab.host().expect("ip", &[&["link", "add", &device], &ends[..]].concat());
    lab.lan().expect("ip", &["link", "set", &port, "master", "br0", "up"]);
}

fn wait_all_on(lab: &Lab, nic: &str) {
    for address in DATA {
        wait_held(lab.host(), address, nic, LIMIT);
    }
}

fn wait_some_on(lab: &Lab, nic: &str) {
    wait_for(&format!("a data address on {nic}"), LIMIT, || {
        let all = addrs(lab.host());
        let data = |it: &str| DATA.contains(&it);
        let there = all.iter().any(|it| it.ifname == nic && data(&it.info.local.to_string()));
        if there { Ok(()) } else { Err(all) }
    });
}

fn is_up(lab: &Lab, nic: &str) -> bool {
    link(lab.host(), nic).flags.iter().any(|flag| flag == "UP")
}

#[test]
fn a_missing_nic_joins_when_it_appears_and_may_go_and_come_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        unplug(&lab, 1);
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0"]);
        wait_all_on(&lab, "eth0");
        wait_interface(&daemon, "eth1", "active,link,state", &["no", "down", "failed"]);

        plug(&lab, 1);
        let first = link(lab.host(), "eth1").ifindex;
        wait_ok(&daemon, &["eth1"]);
        wait_interface(&daemon, "eth1", "active,state", &["yes", "ok"]);
        wait_some_on(&lab, "eth1");
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth1/arp_ignore"), "1");

        let removed = clock::now();
        unplug(&lab, 1);
        wait_all_on(&lab, "eth0");
        daemon.wait_log("inet eth1 has been removed from kernel", removed, LIMIT);
        wait_interface(&daemon, "eth1", "active,state", &["no", "failed"]);

        plug(&lab, 1);
        assert_ne!(link(lab.host(), "eth1").ifindex, first, "the number tells nothing");
        // Whether its addresses may come back at once is for damping to say.
        wait_interface(&daemon, "eth1", "state", &["ok"]);
        wait_ok(&daemon, &["eth1"]);
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth1/arp_ignore"), "1");
        lab.cut(0);
        wait_all_on(&lab, "eth1");

        lab.mend(0);
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
        unplug(&lab, 1);
        wait_all_on(&lab, "eth0");
        wait_interface(&daemon, "eth1", "reason", &["removed"]);
    });
}

#[test]
fn the_nic_that_has_all_may_go() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut config = Config::dual_stack(1);
        config.members.push(Member::of_nic(1).standby());
        let daemon = Daemon::start(lab.host(), &config.to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_all_on(&lab, "eth0");
        unplug(&lab, 0);
        wait_all_on(&lab, "eth1");
        wait_interface(&daemon, "eth1", "active,flags", &["yes", "-s-----"]);
    });
}

#[test]
fn a_port_of_a_bridge_is_refused_until_it_is_released() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        lab.host().expect("ip", &["link", "add", "br9", "type", "bridge"]);
        lab.host().expect("ip", &["link", "set", "eth2", "master", "br9"]);
        let begun = clock::now();
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(3).to_string());
        let line = daemon.wait_log("eth2 can't be a member of a group", begun, LIMIT);
        assert!(line.text.contains("bridge") && line.text.contains("nomaster"), "{}", line.text);
        wait_ok(&daemon, &["eth0", "eth1"]);
        assert!(addrs(lab.host()).iter().all(|it| it.ifname != "eth2"), "it has addresses");
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth2/arp_ignore"), "0");

        lab.host().expect("ip", &["link", "set", "eth2", "nomaster"]);
        wait_ok(&daemon, &["eth2"]);
        wait_some_on(&lab, "eth2");
        // And the other way round.
        lab.host().expect("ip", &["link", "set", "eth2", "master", "br9"]);
        wait_for("data addresses elsewhere", LIMIT, || {
            let mut all = addrs(lab.host());
            all.retain(|it| it.ifname == "eth2" && DATA.contains(&&*it.info.local.to_string()));
            if all.is_empty() { Ok(()) } else { Err(all) }
        });
    });
}

#[test]
fn a_nic_is_set_up_once_and_never_against_the_administrator() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().expect("ip", &["link", "set", "eth1", "down"]);
        let mut daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        assert!(is_up(&lab, "eth1"));
        wait_some_on(&lab, "eth1");

        let down = clock::now();
        lab.host().expect("ip", &["link", "set", "eth1", "down"]);
        wait_all_on(&lab, "eth0");
        wait_interface(&daemon, "eth1", "link,state", &["down", "failed"]);
        daemon.wait_log("The link has gone down on eth1", down, LIMIT);
        // A restart is no reason either.
        daemon.stop();
        daemon.restart();
        wait_ok(&daemon, &["eth0"]);
        clock::sleep_until(clock::now() + clock::nanos(FDT * 10));
        assert!(!is_up(&lab, "eth1"), "it was set up again\n{}", daemon.log_text());

        // What was changed meanwhile is put right when it is up again.
        lab.host().sysctl("ipv4/conf/eth1/arp_ignore", "0");
        lab.host().sysctl("ipv6/conf/eth1/keep_addr_on_down", "0");
        lab.host().expect("ip", &["link", "set", "eth1", "up"]);
        wait_interface(&daemon, "eth1", "link,state", &["up", "ok"]);
        wait_ok(&daemon, &["eth1"]);
        wait_some_on(&lab, "eth1");
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth1/arp_ignore"), "1");
        assert_eq!(lab.host().read_sysctl("ipv6/conf/eth1/keep_addr_on_down"), "1");
        for test in ["192.0.2.12", "2001:db8::12"] {
            wait_held(lab.host(), test, "eth1", LIMIT);
        }
    });
}

/// m0, a macvlan device on eth0, and eth1; IPv4 only, all data on m0.
fn on_macvlan(lab: &Lab) -> Daemon {
    let add =
        ["link", "add", "m0", "link", "eth0", "address", "02:00:00:00:03:00", "type", "macvlan"];
    lab.host().expect("ip", &[&add[..], &["mode", "bridge"]].concat());
    lab.host().expect("ip", &["link", "set", "m0", "up"]);
    wait_for("running m0", LIMIT, || match link(lab.host(), "m0").operstate {
        state if state == "UP" => Ok(()),
        state => Err(state),
    });
    let mut config = Config::dual_stack(2);
    config.data = vec!["192.0.2.50/24"];
    config.targets = TARGETS_V4.to_vec();
    config.routes.truncate(1);
    config.members[0].name = "m0".to_owned();
    for member in &mut config.members {
        member.test_addresses.truncate(1);
    }
    let mut daemon = Daemon::launch(lab.host(), &config.to_string(), &["--log-format", "json"]);
    daemon.wait_ready(LIMIT);
    wait_ok(&daemon, &["m0", "eth1"]);
    wait_held(lab.host(), "192.0.2.50", "m0", LIMIT);
    daemon
}

/// Sends as much as goes, from the data address by m0 to the client, until dropped.
struct Flood(Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Flood {
    fn start(lab: &Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = lab.host().spawn("flood", move || {
            let socket = UdpSocket::bind(("192.0.2.50", 0)).expect("the host has it");
            socket.set_nonblocking(true).expect("it can be");
            // By which NIC the flow went else, a number tells that the kernel draws at boot.
            let device = OsString::from("m0");
            setsockopt(&socket, sockopt::BindToDevice, &device).expect("it is there");
            let to: SocketAddr = (CLIENT_V4.parse::<std::net::IpAddr>().expect("ours"), 9).into();
            let mut refused = 0;
            while !stopped.load(Ordering::Relaxed) {
                // Full: that is what it is for.
                refused += u64::from(socket.send_to(&[0; 1400], to).is_err());
                clock::sleep_until(clock::now() + 200_000);
            }
            refused
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let ended = self.1.take().expect("joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the flood has panicked");
    }
}

#[test]
fn a_device_with_a_lower_one_is_a_member_like_others() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = on_macvlan(&lab);
        let receive = rows(&daemon, "-i", "interface,receive");
        let of = |nic: &str| receive.iter().find(|row| row[0] == nic).expect("a member")[1].clone();
        assert!(["tcx", "socket"].contains(&of("m0").as_str()), "{receive:?}");
        assert_eq!(of("eth1"), "xdp", "{receive:?}");
        lab.cut(0);
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
        wait_interface(&daemon, "m0", "link,state,reason", &["up", "failed", "probes"]);
        lab.mend(0);
        wait_interface(&daemon, "m0", "state", &["ok"]);
    });
}

/// N1: probes wait behind the host's own data for longer than FDT; they are not lost.
#[test]
fn a_full_queue_is_no_failure() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = on_macvlan(&lab);
        let watch = AddressWatch::start(lab.host());
        let shaper = ["rate", "1mbit", "burst", "8kb", "latency", "5s"];
        lab.host()
            .expect("tc", &[&["qdisc", "add", "dev", "eth0", "root", "tbf"], &shaper[..]].concat());
        let flood = Flood::start(&lab);
        let begun = clock::now();
        wait_for("a second in the queue", LIMIT, || {
            let text = lab.host().expect("tc", &["-s", "-j", "qdisc", "show", "dev", "eth0"]);
            let list: Vec<serde_json::Value> = serde_json::from_str(&text).expect("it says JSON");
            match list[0]["backlog"].as_u64() {
                Some(125_000..) => Ok(()),
                _ => Err(text),
            }
        });
        clock::sleep_until(begun + clock::nanos(Duration::from_secs(4)));
        drop(flood);
        lab.host().expect("tc", &["qdisc", "del", "dev", "eth0", "root"]);
        let text = daemon.log_text();
        assert!(!text.contains("failure detected"), "{text}");
        assert_eq!(watch.events(), [], "an address has moved\n{text}");
        wait_interface(&daemon, "m0", "active,state", &["yes", "ok"]);
    });
}

#[test]
fn a_stuck_transmitter_is_a_failure_of_its_own() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = on_macvlan(&lab);
        let stuck = clock::now();
        let shaper = ["rate", "8bit", "burst", "1600", "limit", "1000000"];
        lab.host()
            .expect("tc", &[&["qdisc", "add", "dev", "eth0", "root", "tbf"], &shaper[..]].concat());
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
        wait_interface(&daemon, "m0", "state,reason", &["failed", "transmit-stuck"]);
        assert_eq!(interface(&daemon, "m0")["reason"], "transmit-stuck");
        let line = daemon.wait_log("IP interface failure detected on m0", stuck, LIMIT);
        let line: serde_json::Value = serde_json::from_str(&line.text).expect("a JSON log");
        assert_eq!(line["mpathd_reason"], "transmit-stuck", "{line}");
        lab.host().expect("tc", &["qdisc", "del", "dev", "eth0", "root"]);
        wait_interface(&daemon, "m0", "active,state", &["yes", "ok"]);
    });
}
