//! Where targets come from, if none are configured: next hops of all tables as they come and go, else
//! hosts that answer an echo request to all, else neighbours; and what becomes of them when all die.

use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Frame};
use mpathd_tests::config::Member;
use mpathd_tests::observe::{addrs, routes_v4};
use mpathd_tests::ping::ping;
use mpathd_tests::told::{Family, json, rows, targets, wait_interface, wait_ok, wait_targets};
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
const NICS: [&str; 2] = ["eth0", "eth1"];

/// Neither targets nor routes are configured; IPv4 only, unless `both`.
fn unaided(both: bool) -> Config {
    let mut config = Config::dual_stack(2);
    config.targets.clear();
    config.routes.clear();
    if !both {
        config.data = vec!["192.0.2.50/24", "192.0.2.51/24"];
        config.members.iter_mut().for_each(|member| member.test_addresses.truncate(1));
    }
    config
}

/// From now on this target answers echo requests to 224.0.0.1 too, as hosts do not by default.
fn answers_to_all(lab: &Lab, target: usize) {
    lab.target(target).sysctl("ipv4/icmp_echo_ignore_broadcasts", "0");
}

fn modes(daemon: &Daemon) -> Vec<String> {
    rows(daemon, "-t", "interface,mode").into_iter().map(|mut row| row.remove(1)).collect()
}

fn count(daemon: &Daemon, text: &str) -> usize {
    daemon.log().iter().filter(|line| line.text.contains(text)).count()
}

/// Sent by the NIC behind the port that is captured.
fn is_request_to(frame: &Frame, to: &str) -> bool {
    frame.from_device
        && matches!(frame.content, Content::Echo { request: true, destination, .. } if destination.to_string() == to)
}

/// Behaviours 113, 120 and 12: found, offered to all, proven, and remembered.
#[test]
fn hosts_that_answer_to_all_are_targets() {
    isolated(|| {
        let lab = Lab::builder().build();
        (2..=3).for_each(|n| answers_to_all(&lab, n));
        // The NIC with fewer data addresses is probed first, and so finds the hosts.
        let wire = Capture::start(lab.lan(), "sw1");
        let mut daemon = Daemon::start(lab.host(), &unaided(true).to_string());
        wait_ok(&daemon, &NICS);
        for nic in NICS {
            wait_targets(&daemon, nic, Family::Inet, &["192.0.2.2", "192.0.2.3"]);
            let all = ["2001:db8::1", "2001:db8::100", "2001:db8::2", "2001:db8::3"];
            wait_targets(&daemon, nic, Family::Inet6, &all);
        }
        assert_eq!(modes(&daemon), ["multicast"; 4]);
        for to in ["224.0.0.1", "ff02::1"] {
            let frames = wire.frames();
            let asked = frames.iter().find(|frame| is_request_to(frame, to)).expect("it was sent");
            // TTL or hop limit.
            assert_eq!(asked.bytes[if to.contains(':') { 21 } else { 22 }], 1, "{asked:?}");
            let Content::Echo { source, .. } = asked.content else { unreachable!() };
            let test = if to.contains(':') { "2001:db8::12" } else { "192.0.2.12" };
            assert_eq!(source.to_string(), test);
        }

        let cut = lab.cut(0);
        daemon.wait_log("IP interface failure detected on eth0 of group ipmp0", cut, LIMIT);
        let state = daemon.run_dir().join("state.json");
        wait_for("proven hosts and the failure in the state file", LIMIT, || {
            let text = std::fs::read_to_string(&state).expect("it is there");
            let all = ["192.0.2.2", "192.0.2.3", "2001:db8::100", "\"failed\": true"];
            if all.iter().all(|host| text.contains(host)) { Ok(()) } else { Err(text) }
        });
        // Hosts that eth1 finds again count on eth0 at once, for they were proven.
        daemon.kill();
        daemon.restart();
        wait_targets(&daemon, "eth0", Family::Inet, &["192.0.2.2", "192.0.2.3"]);
        wait_interface(&daemon, "eth0", "probe,state", &["failed", "failed"]);
        let mended = lab.mend(0);
        daemon.wait_log("IP interface repair detected on eth0 of group ipmp0", mended, LIMIT);
    });
}

/// Behaviour 121, and neighbours where all ignore requests to all hosts.
#[test]
fn nobody_is_a_target_until_neighbours_are_known() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut config = unaided(false);
        config.top = "quiet_period = \"1s\"".to_owned();
        let begun = clock::now();
        let daemon = Daemon::start(lab.host(), &config.to_string());
        for nic in NICS {
            let told = format!("No host answers an echo request to 224.0.0.1 on {nic}");
            daemon.wait_log(&told, begun, LIMIT);
            wait_interface(&daemon, nic, "active,probe,state", &["yes", "unknown", "unknown"]);
            assert_eq!(targets(&daemon, nic, Family::Inet), [""; 0]);
        }
        assert_eq!(rows(&daemon, "-g", "state"), [["ok"]]);
        assert_eq!(modes(&daemon), ["multicast"; 2]);

        // Traffic to a data address makes its sender a neighbour.
        let data = "192.0.2.50".parse().expect("an address");
        assert!(ping(lab.client(), None, data, LIMIT), "it carries data");
        for nic in NICS {
            wait_targets(&daemon, nic, Family::Inet, &["192.0.2.100"]);
            wait_interface(&daemon, nic, "active,probe,state", &["yes", "ok", "ok"]);
        }
        assert_eq!(modes(&daemon), ["neighbors"; 2]);
        assert_eq!(count(&daemon, "failure detected"), 0, "{}", daemon.log_text());
    });
}

/// Behaviours 112, 114, 115, 117, 119: what the tables say, as it changes.
#[test]
fn next_hops_of_all_tables_come_and_go() {
    isolated(|| {
        const ROUTER: &str = "fe80::ff:fe00:101";
        let lab = Lab::builder().build();
        answers_to_all(&lab, 3);
        let host = lab.host();
        let daemon = Daemon::start(host, &unaided(true).to_string());
        let four = |wanted: &[&str]| {
            NICS.iter().for_each(|nic| wait_targets(&daemon, nic, Family::Inet, wanted));
        };
        let six = |wanted: &[&str]| {
            NICS.iter().for_each(|nic| wait_targets(&daemon, nic, Family::Inet6, wanted));
        };
        four(&["192.0.2.3"]);
        // A policy table, and a next hop that is in no test subnet.
        host.ip("route add default via 192.0.2.2 dev eth0 onlink table 100\n\
                 route add 203.0.113.0/24 via 198.51.100.1 dev eth1 onlink\n");
        four(&["192.0.2.2"]);
        // Pins: by themselves, and through themselves.
        host.ip("route add 192.0.2.1/32 dev eth0 scope link\n\
                 route add 192.0.2.100/32 via 192.0.2.100 dev eth1 onlink\n\
                 route add 2001:db8::2/128 dev eth1\n");
        four(&["192.0.2.1", "192.0.2.100", "192.0.2.2"]);
        six(&["2001:db8::2"]);
        // As a router advertisement would make it, and by next-hop objects.
        host.ip(&format!("route add default via {ROUTER} dev eth0 metric 1024\n"));
        host.ip("nexthop add id 7 via 192.0.2.3 dev eth1 onlink\n\
                 nexthop add id 8 group 7\n\
                 route add 203.0.113.0/25 nhid 8\n");
        four(&["192.0.2.1", "192.0.2.100", "192.0.2.2", "192.0.2.3"]);
        six(&["2001:db8::2", ROUTER]);
        let modes = modes(&daemon);
        assert_eq!(modes, ["routes"; 4]);
        host.ip("nexthop del id 7\n");
        four(&["192.0.2.1", "192.0.2.100", "192.0.2.2"]);
        // A next hop that becomes an address of this host, on any interface, is none.
        host.ip("address add 192.0.2.2/32 dev lo\n");
        four(&["192.0.2.1", "192.0.2.100"]);
        host.ip("address del 192.0.2.2/32 dev lo\n");
        four(&["192.0.2.1", "192.0.2.100", "192.0.2.2"]);
        // The last one goes: hosts are looked for again.
        host.ip("route del default table 100\n\
                 route del 192.0.2.1/32 dev eth0\n\
                 route del 192.0.2.100/32\n");
        four(&["192.0.2.3"]);
        assert_eq!(count(&daemon, "failure detected"), 0, "{}", daemon.log_text());
    });
}

/// Behaviours 84, 118: dead hosts are forgotten, another one repairs the group, and nothing has moved.
#[test]
fn a_failed_group_is_repaired_by_another_host() {
    isolated(|| {
        const UNUSABLE: &str = "All IP interfaces in group ipmp0 are now unusable";
        const USABLE: &str = "At least 1 IP interface (";
        let lab = Lab::builder().build();
        (2..=3).for_each(|n| answers_to_all(&lab, n));
        let daemon = Daemon::start(lab.host(), &unaided(false).to_string());
        for nic in NICS {
            wait_targets(&daemon, nic, Family::Inet, &["192.0.2.2", "192.0.2.3"]);
            wait_interface(&daemon, nic, "probe,state", &["ok", "ok"]);
        }
        let before = (addrs(lab.host()), routes_v4(lab.host()));
        let killed = clock::now();
        for n in 2..=3 {
            lab.kill_target(n);
        }
        daemon.wait_log(UNUSABLE, killed, LIMIT);
        wait_for("no targets", LIMIT, || match json(&daemon, "-t") {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        });
        let wire = Capture::start(lab.lan(), "sw0");
        wait_for("two searches", LIMIT, || {
            let frames = wire.frames();
            let asked = frames.iter().filter(|frame| is_request_to(frame, "224.0.0.1")).count();
            if asked >= 2 { Ok(()) } else { Err(frames) }
        });
        for nic in NICS {
            wait_interface(&daemon, nic, "probe,state", &["failed", "failed"]);
        }
        let helped = clock::now();
        answers_to_all(&lab, 1);
        let back = daemon.wait_log(USABLE, helped, LIMIT);
        assert!(back.text.contains("in group ipmp0 is now usable"), "{}", back.text);
        for nic in NICS {
            wait_targets(&daemon, nic, Family::Inet, &["192.0.2.1"]);
            wait_interface(&daemon, nic, "active,probe,state", &["yes", "ok", "ok"]);
        }
        // One is too few: the search goes on.
        lab.revive_target(3);
        for nic in NICS {
            wait_targets(&daemon, nic, Family::Inet, &["192.0.2.1", "192.0.2.3"]);
        }
        assert_eq!((count(&daemon, UNUSABLE), count(&daemon, USABLE)), (1, 1));
        assert_eq!(before, (addrs(lab.host()), routes_v4(lab.host())));
    });
}

/// Behaviour 83: the router of a failed group stays though its route is withdrawn meanwhile.
#[test]
fn routers_outlive_their_routes_while_the_group_has_failed() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().ip("route add default via 192.0.2.2 dev eth0 onlink\n");
        let daemon = Daemon::start(lab.host(), &unaided(false).to_string());
        wait_ok(&daemon, &NICS);
        let killed = lab.kill_target(2);
        daemon.wait_log("All IP interfaces in group ipmp0 are now unusable", killed, LIMIT);
        lab.host().ip("route del default via 192.0.2.2\n");
        // What the daemon makes of it shows in the second route, which is told later.
        lab.host().ip("route add default via 192.0.2.3 dev eth0 onlink\n");
        for nic in NICS {
            wait_for("both routers", LIMIT, || {
                let all: Vec<_> =
                    json(&daemon, "-t").into_iter().filter(|t| t["interface"] == nic).collect();
                let both = ["192.0.2.2", "192.0.2.3"];
                let found = both.iter().all(|b| all.iter().any(|t| t["target"] == *b));
                if found { Ok(()) } else { Err(all) }
            });
        }
    });
}

/// Behaviours 20, 22: a global test address is enough here; another prefix moves the border of what may
/// be a target.
#[test]
fn another_prefix_of_the_test_address_admits_other_targets() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().ip("route add default via 192.0.2.2 dev eth0 onlink table 100\n\
                       route add default via 192.0.2.100 dev eth0 onlink table 101\n");
        let mut config = unaided(true);
        let daemon = Daemon::start(lab.host(), &config.to_string());
        wait_targets(&daemon, "eth0", Family::Inet, &["192.0.2.100", "192.0.2.2"]);
        let all = ["2001:db8::1", "2001:db8::100", "2001:db8::2", "2001:db8::3"];
        wait_targets(&daemon, "eth0", Family::Inet6, &all);
        for (n, member) in config.members.iter_mut().enumerate() {
            let test_addresses =
                vec![format!("192.0.2.{}/26", 11 + n), format!("2001:db8::{}/124", 11 + n)];
            *member = Member { test_addresses, ..member.clone() };
        }
        daemon.configure(&config.to_string());
        let reload = daemon.mpathd(&["reload"]);
        assert!(reload.status.success(), "{reload:?}");
        wait_targets(&daemon, "eth0", Family::Inet, &["192.0.2.2"]);
        assert!(targets(&daemon, "eth0", Family::Inet6).is_empty());
    });
}
