//! Address conflicts: another host has an address of ours too, or it only looks like that. What is believed, what
//! is said, and that the detection of failures goes on.

use std::net::IpAddr;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content};
use mpathd_tests::config::Member;
use mpathd_tests::inject::Injector;
use mpathd_tests::lab::nic_mac;
use mpathd_tests::observe::addrs;
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{rows, wait_ok};
use mpathd_tests::{Config, Daemon, Lab, NetNs, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
/// All questions that follow the start have been asked and judged.
const QUESTIONS: Duration = Duration::from_secs(4);
const NICS: [&str; 2] = ["eth0", "eth1"];
const CLIENT: &str = "02:00:00:00:02:00";
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0x0e, 1];

fn ip(host: &NetNs, words: &str) {
    host.expect("ip", &words.split(' ').collect::<Vec<_>>());
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn bytes(mac: &str) -> [u8; 6] {
    let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a MAC address"));
    bytes.collect::<Vec<_>>().try_into().expect("six bytes")
}

/// What `mpathd status` says, and its exit code.
fn status(daemon: &Daemon) -> (Option<i32>, String) {
    let output = daemon.mpathd(&["status"]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn wait_status(daemon: &Daemon, code: i32, text: &str) {
    wait_for(&format!("status {code} with {text:?}"), LIMIT, || match status(daemon) {
        (it, said) if it == Some(code) && said.contains(text) => Ok(()),
        other => Err((other, daemon.log_text())),
    });
}

/// A silent cut of eth0 is found.
fn check_detection(lab: &Lab, daemon: &Daemon) {
    let cut = lab.cut(0);
    daemon.wait_log("IP interface failure detected on eth0 of group ipmp0", cut, LIMIT);
}

/// The targets do not ask the LAN where a test address is.
fn pin_test_addresses(lab: &Lab) {
    for n in 1..=3 {
        for (nic, tests) in
            [["192.0.2.11", "2001:db8::11"], ["192.0.2.12", "2001:db8::12"]].iter().enumerate()
        {
            for test in tests {
                let mac = nic_mac(nic);
                ip(
                    lab.target(n),
                    &format!("neigh replace {test} lladdr {mac} dev eth0 nud permanent"),
                );
            }
        }
    }
}

/// Behaviour 23, as far as another host can bring it about: in one group the file can't. The replies keep
/// coming, so that they prove what they always prove.
#[test]
fn another_host_with_a_test_address_is_named_and_probing_goes_on() {
    isolated(|| {
        let lab = Lab::builder().build();
        pin_test_addresses(&lab);
        for address in ["192.0.2.11/24", "2001:db8::12/64"] {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            ip(lab.client(), &format!("address add {address} dev eth0{nodad}"));
        }
        let begun = clock::now();
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        for (nic, test) in [("eth0", "192.0.2.11"), ("eth1", "2001:db8::12")] {
            let text = format!("Test address {test} on {nic} is also used by {CLIENT}");
            daemon.wait_log(&text, begun, LIMIT);
            wait_status(&daemon, 3, &format!("{test} on {nic} is also used by {CLIENT}"));
        }
        wait_ok(&daemon, &NICS);
        let mut tests = rows(&daemon, "-t", "interface,testaddr");
        tests.sort();
        let all = ["192.0.2.11", "2001:db8::11", "192.0.2.12", "2001:db8::12"];
        assert!(all.iter().all(|it| tests.iter().any(|row| row[1] == *it)), "{tests:?}");
        let text = daemon.log_text();
        assert!(!text.contains("failure detected"), "{text}");
    });
}

/// The kernel of the original finds it out; nothing moves, for it would be the other's on any NIC. A group
/// without probes has no other socket to hear it by.
#[test]
fn another_host_with_a_data_address_is_named_once() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let group = "[groups.ipmp0]\ndata_addresses = [\"192.0.2.50/24\", \"2001:db8::50/64\"]\n\
                     [groups.ipmp0.interfaces.eth0]\n[groups.ipmp0.interfaces.eth1]\nstandby = true\n";
        let begun = clock::now();
        let daemon = Daemon::start(host, group);
        let told = |address: &str, nic: &str| {
            format!("Data address {address} on {nic} is also used by {CLIENT}")
        };
        let count = || daemon.log_text().matches("is also used by").count();
        wait_held(host, "192.0.2.50", "eth0", LIMIT);
        clock::pass(Duration::from_millis(500));
        assert_eq!(count(), 0, "{}", daemon.log_text());

        // Nobody is asked again before 20 s are over, but where an address is put on another NIC.
        ip(lab.client(), "address add 192.0.2.50/24 dev eth0");
        ip(lab.client(), "address add 2001:db8::50/64 dev eth0 nodad");
        lab.carrier(0, false);
        for address in ["192.0.2.50", "2001:db8::50"] {
            daemon.wait_log(&told(address, "eth1"), begun, LIMIT);
        }
        lab.carrier(0, true);
        for address in ["192.0.2.50", "2001:db8::50"] {
            wait_held(host, address, "eth0", LIMIT);
        }
        clock::pass(QUESTIONS);
        assert_eq!(count(), 2, "once each: {}", daemon.log_text());
    });
}

/// An ARP reply to all, or a neighbour advertisement to all nodes, of a host that is not there.
fn unasked(test: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    match address(test) {
        IpAddr::V4(ip) => {
            frame.extend([0xff; 6]);
            frame.extend(STRANGER);
            frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
            frame.extend(STRANGER);
            frame.extend(ip.octets());
            frame.extend([0xff; 6]);
            frame.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            let mut buffer = [0; mpathd_common::neighbour::NEIGHBOUR_MAX];
            let advertisement = mpathd_common::neighbour::unsolicited_advertisement(
                &mut buffer,
                STRANGER,
                ip,
                false,
            );
            frame.extend(advertisement);
        }
    }
    frame
}

#[test]
fn an_unasked_reply_does_not_stop_detection() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &NICS);
        clock::pass(QUESTIONS);
        let injector = Injector::open(lab.lan(), "sw0");
        for _ in 0..3 {
            for test in ["192.0.2.11", "2001:db8::11", "192.0.2.50"] {
                injector.send(&unasked(test));
            }
            clock::pass(Duration::from_millis(1500));
        }
        assert!(!daemon.log_text().contains("is also used by"), "{}", daemon.log_text());
        check_detection(&lab, &daemon);
    });
}

/// As local proxy ARP does, and the kernel of a host whose whole subnet is local.
#[test]
fn a_host_that_answers_for_everything_is_no_conflict() {
    isolated(|| {
        let lab = Lab::builder().build();
        pin_test_addresses(&lab);
        ip(lab.client(), "route add local 192.0.2.0/24 dev lo");
        let begun = clock::now();
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        for nic in NICS {
            let text = format!("{CLIENT} answers for every IPv4 address on {nic}, as a proxy does");
            daemon.wait_log(&text, begun, LIMIT);
        }
        wait_ok(&daemon, &NICS);
        clock::pass(QUESTIONS);
        let text = daemon.log_text();
        assert!(!text.contains("is also used by"), "{text}");
        assert_eq!(text.matches("answers for every").count(), 2, "{text}");
        assert_eq!(status(&daemon).0, Some(0), "{:?}", status(&daemon));
        check_detection(&lab, &daemon);
    });
}

/// A NIC outside of the group, and behind more links than anybody would have room for.
#[test]
fn a_nic_of_our_own_is_no_other_host_however_many_there_are() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let pairs: String =
            (0..40).map(|n| format!("link add a{n} type veth peer name b{n}\n")).collect();
        host.ip(&pairs);
        ip(host, "link add eth9 address 02:00:00:00:09:09 type veth peer name sw9 netns lan");
        ip(lab.lan(), "link set sw9 master br0 up");
        ip(host, "link set eth9 up");
        // It answers for the addresses of all other NICs.
        host.sysctl("ipv4/conf/eth9/arp_ignore", "0");
        let wire = Capture::start(lab.lan(), "sw9");
        let begun = clock::now();
        let daemon = Daemon::start(host, &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &NICS);
        wire.wait("an answer of our own NIC to our own question", begun, LIMIT, |frame| {
            matches!(frame.content, Content::Arp { request: false, sender, .. } if sender == address("192.0.2.11"))
        });
        clock::pass(QUESTIONS);
        let text = daemon.log_text();
        assert!(!text.contains("has it too") && !text.contains("is also used by"), "{text}");
        check_detection(&lab, &daemon);
    });
}

/// A VRRP address, for one; and the one in use may be taken away.
#[test]
fn probing_goes_on_while_link_local_addresses_come_and_go() {
    isolated(|| {
        const ROUTER: &str = "fe80::ff:fe00:101";
        let lab = Lab::builder().build();
        let host = lab.host();
        let mut config = Config::dual_stack(2);
        config.data = vec!["2001:db8::50/64"];
        config.targets.clear();
        config.routes = vec![("default", ROUTER)];
        for member in &mut config.members {
            *member = Member { test_addresses: vec!["link-local".to_owned()], ..member.clone() };
        }
        let daemon = Daemon::start(host, &config.to_string());
        wait_ok(&daemon, &NICS);
        let used = || {
            let rows = rows(&daemon, "-t", "interface,testaddr");
            rows.into_iter().find(|row| row[0] == "eth0").map(|row| row[1].clone())
        };
        let own = used().expect("the kernel's own");
        ip(host, "address add fe80::5/64 dev eth0 nodad");
        clock::pass(Duration::from_millis(500));
        assert_eq!(used().as_ref(), Some(&own), "it stays in use");
        ip(host, "address del fe80::5/64 dev eth0");
        clock::pass(Duration::from_millis(500));
        assert_eq!(used().as_ref(), Some(&own), "{}", daemon.log_text());
        ip(host, "address add fe80::6/64 dev eth0 nodad");
        ip(host, &format!("address del {own}/64 dev eth0"));
        wait_for("fe80::6 in use", LIMIT, || match used() {
            Some(it) if it == "fe80::6" => Ok(()),
            other => Err((other, daemon.log_text())),
        });
        clock::pass(Duration::from_millis(500));
        assert!(!daemon.log_text().contains("failure detected"), "{}", daemon.log_text());
        check_detection(&lab, &daemon);
    });
}

/// It is left where and as it is: this host does not answer for what another one has.
#[test]
fn an_address_whose_duplicate_detection_has_failed_is_not_taken_over() {
    isolated(|| {
        const DATA: &str = "2001:db8::50";
        let lab = Lab::builder().build();
        let host = lab.host();
        ip(lab.client(), "address add 2001:db8::50/64 dev eth0 nodad");
        host.sysctl("ipv6/conf/eth0/accept_dad", "1");
        ip(host, "address add 2001:db8::50/64 dev eth0");
        wait_for("the end of duplicate detection", LIMIT, || {
            let shown = host.expect("ip", &["-6", "address", "show", "dev", "eth0"]);
            if shown.contains("dadfailed") { Ok(()) } else { Err(shown) }
        });
        let of_data = || -> Vec<_> {
            let all = addrs(host).into_iter().filter(|it| it.info.local == address(DATA));
            all.map(|it| (it.ifname, it.info.prefixlen, it.info.tentative)).collect()
        };
        let before = of_data();
        let wire = Capture::start(lab.lan(), "pc");
        let begun = clock::now();
        let daemon = Daemon::start(host, &Config::dual_stack(2).to_string());
        daemon.wait_log("2001:db8::50 on eth0 is not usable", begun, LIMIT);
        let named = format!("Data address {DATA} on eth0 is also used by {CLIENT}");
        daemon.wait_log(&named, begun, LIMIT);
        wait_status(&daemon, 3, &format!("{DATA} on eth0 is also used by {CLIENT}"));
        wait_ok(&daemon, &NICS);
        // Nor is it set on the NIC that takes over.
        check_detection(&lab, &daemon);
        wait_held(host, "192.0.2.50", "eth1", LIMIT);
        assert_eq!(of_data(), before, "{}", daemon.log_text());
        let ours = [0, 1].map(|nic| bytes(&nic_mac(nic)));
        let claimed = wire.frames().into_iter().find(|frame| {
            let ours = ours.contains(&frame.source_mac);
            ours && matches!(frame.content, Content::NeighbourAdvertisement { target, .. } if target == address(DATA))
        });
        assert!(claimed.is_none(), "{claimed:?}");

        // The other host has given it up, and the administrator has removed the copy.
        ip(lab.client(), "address del 2001:db8::50/64 dev eth0");
        ip(host, "address del 2001:db8::50/64 dev eth0");
        wait_held(host, DATA, "eth1", LIMIT);
    });
}
