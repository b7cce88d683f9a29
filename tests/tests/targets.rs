//! What targets decide, and what they must not: a dead one, all dead, one that never answered; and where they
//! come from.

use std::net::IpAddr;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content};
use mpathd_tests::config::{Member, TARGETS_V4};
use mpathd_tests::observe::{addrs, holders, routes_v4, routes_v6};
use mpathd_tests::told::{Family, interface, rows, wait_interface, wait_ok, wait_targets};
use mpathd_tests::watch::{AddressWatch, RouteWatch};
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
/// Of the configuration.
const FDT: Duration = Duration::from_millis(100);

/// IPv4 only, with its three targets.
fn ipv4() -> Config {
    let mut config = Config::dual_stack(2);
    config.data = vec!["192.0.2.50/24", "192.0.2.51/24"];
    config.targets = TARGETS_V4.to_vec();
    config.routes = vec![("default", "192.0.2.1")];
    for member in &mut config.members {
        member.test_addresses.truncate(1);
    }
    config
}

fn running(lab: &Lab, config: &Config) -> Daemon {
    let daemon = Daemon::start(lab.host(), &config.to_string());
    wait_ok(&daemon, &["eth0", "eth1"]);
    daemon
}

fn count(daemon: &Daemon, text: &str) -> usize {
    daemon.log().iter().filter(|line| line.text.contains(text)).count()
}

#[test]
fn one_dead_target_of_three_fails_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, &ipv4());
        wait_targets(&daemon, "eth0", Family::Inet, &TARGETS_V4);
        let (addresses, routes) = (AddressWatch::start(lab.host()), RouteWatch::start(lab.host()));
        let killed = lab.kill_target(2);
        for nic in ["eth0", "eth1"] {
            daemon.wait_log(&format!("Target 192.0.2.2 is silent on {nic}"), killed, LIMIT);
            wait_targets(&daemon, nic, Family::Inet, &["192.0.2.1", "192.0.2.3"]);
            wait_interface(&daemon, nic, "active,probe,state", &["yes", "ok", "ok"]);
        }
        assert_eq!(addresses.events(), [], "an address has moved");
        assert_eq!(routes.events(), [], "a route has changed");
        let revived = lab.revive_target(2);
        for nic in ["eth0", "eth1"] {
            daemon.wait_log(&format!("Target 192.0.2.2 answers on {nic} again"), revived, LIMIT);
            wait_targets(&daemon, nic, Family::Inet, &TARGETS_V4);
        }
        // A dead target must not hide a dead path.
        lab.kill_target(2);
        wait_targets(&daemon, "eth0", Family::Inet, &["192.0.2.1", "192.0.2.3"]);
        lab.cut(0);
        wait_interface(&daemon, "eth0", "state", &["failed"]);
    });
}

#[test]
fn all_targets_dead_is_told_once_and_moves_nothing() {
    isolated(|| {
        const UNUSABLE: &str = "All IP interfaces in group ipmp0 are now unusable";
        let lab = Lab::builder().build();
        let daemon = running(&lab, &Config::dual_stack(2));
        let (addresses, routes) = (AddressWatch::start(lab.host()), RouteWatch::start(lab.host()));
        let before = (addrs(lab.host()), routes_v4(lab.host()), routes_v6(lab.host()));
        let killed = clock::now();
        for n in 1..=3 {
            lab.kill_target(n);
        }
        let told = daemon.wait_log(UNUSABLE, killed, LIMIT);
        wait_for("failed group", LIMIT, || match rows(&daemon, "-g", "state") {
            state if state == [["failed"]] => Ok(()),
            state => Err(state),
        });
        // Ten times as long as it took: were it told again, or were something moved, it would be by now.
        clock::sleep_until(told.at + clock::nanos(FDT * 10));

        let revived = clock::now();
        for n in 1..=3 {
            lab.revive_target(n);
        }
        let back = daemon.wait_log("At least 1 IP interface (", revived, LIMIT);
        assert!(back.text.contains("in group ipmp0 is now usable"), "{}", back.text);
        for nic in ["eth0", "eth1"] {
            wait_interface(&daemon, nic, "active,probe,state", &["yes", "ok", "ok"]);
        }
        assert_eq!(rows(&daemon, "-g", "state"), [["ok"]]);
        assert_eq!(count(&daemon, UNUSABLE), 1, "{}", daemon.log_text());
        assert_eq!(count(&daemon, "At least 1 IP interface ("), 1, "{}", daemon.log_text());
        assert_eq!(addresses.events(), [], "an address has moved");
        assert_eq!(routes.events(), [], "a route has changed");
        assert_eq!(before, (addrs(lab.host()), routes_v4(lab.host()), routes_v6(lab.host())));
    });
}

/// N3: a firewall, a gateway that does not answer echo requests: no evidence.
#[test]
fn a_target_that_never_answers_fails_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        for n in 1..=3 {
            lab.target(n).nft(
                "table inet deaf {
                   chain in {
                     type filter hook input priority 0
                     icmp type echo-request drop
                     icmpv6 type echo-request drop
                   }
                 }",
            );
        }
        let mut config = Config::dual_stack(2);
        config.top = "quiet_period = \"1s\"".to_owned();
        let begun = clock::now();
        let daemon = Daemon::start(lab.host(), &config.to_string());
        for nic in ["eth0", "eth1"] {
            daemon.wait_log(&format!("{nic} receives replies through"), begun, LIMIT);
        }
        let addresses = AddressWatch::start(lab.host());
        // The quiet period, and ten times FDT.
        clock::sleep_until(clock::now() + clock::nanos(Duration::from_secs(2)));
        for nic in ["eth0", "eth1"] {
            assert_eq!(interface(&daemon, nic)["state"], "unknown", "{nic}");
            assert_eq!(interface(&daemon, nic)["probe"], "unknown", "{nic}");
            assert_eq!(interface(&daemon, nic)["active"], true, "{nic}");
        }
        assert_eq!(addresses.events(), [], "an address has moved");
        assert_eq!(count(&daemon, "failure detected"), 0, "{}", daemon.log_text());
        assert_eq!(holders(lab.host(), "192.0.2.50"), ["eth0"]);
        assert_eq!(holders(lab.host(), "192.0.2.51"), ["eth1"]);
    });
}

/// One of two configured targets never answers; the other one decides.
#[test]
fn a_target_that_never_answers_beside_one_that_does_counts_for_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut config = ipv4();
        config.targets = vec!["192.0.2.1", "192.0.2.99"];
        let daemon = running(&lab, &config);
        let killed = lab.cut(0);
        daemon.wait_log("IP interface failure detected on eth0 of group ipmp0", killed, LIMIT);
        wait_interface(&daemon, "eth1", "active,state", &["yes", "ok"]);
        assert_eq!(count(&daemon, "failure detected on eth1"), 0, "{}", daemon.log_text());
    });
}

#[test]
fn next_hops_of_the_routing_table_are_targets_where_none_are_configured() {
    isolated(|| {
        let lab = Lab::builder().build();
        // Of somebody else, and for anywhere: what counts is that they are next hops on the subnet.
        lab.host().expect("ip", &["route", "add", "192.0.2.0/24", "dev", "eth1", "metric", "99"]);
        let route = ["route", "add", "203.0.113.0/24", "via", "192.0.2.2", "dev", "eth1"];
        lab.host().expect("ip", &[&route[..], &["onlink"]].concat());
        let mut config = ipv4();
        config.targets.clear();
        let daemon = running(&lab, &config);
        for nic in ["eth0", "eth1"] {
            wait_targets(&daemon, nic, Family::Inet, &["192.0.2.1", "192.0.2.2"]);
        }
        for row in rows(&daemon, "-t", "interface,mode") {
            assert_eq!(row[1], "routes", "{row:?}");
        }
        let cut = lab.cut(0);
        daemon.wait_log("IP interface failure detected on eth0 of group ipmp0", cut, LIMIT);
        // A next hop that goes is no target any more, one that comes is.
        lab.host().expect("ip", &["route", "del", "203.0.113.0/24"]);
        wait_targets(&daemon, "eth1", Family::Inet, &["192.0.2.1"]);
        let route = ["route", "add", "203.0.113.0/24", "via", "192.0.2.3", "dev", "eth1"];
        lab.host().expect("ip", &[&route[..], &["onlink"]].concat());
        wait_targets(&daemon, "eth1", Family::Inet, &["192.0.2.1", "192.0.2.3"]);
    });
}

/// On-link host routes, more than targets are chosen from, with lower addresses than the routers; they are of
/// one family and hide no router of either.
#[test]
fn routers_are_probed_beside_eighteen_host_routes() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        // Neither router is configured: somebody else has set its route.
        for to in ["192.0.2.0/24", "2001:db8::/64"] {
            host.expect("ip", &["route", "add", to, "dev", "eth1", "metric", "99"]);
        }
        for n in 200..218 {
            let to = format!("192.0.2.{n}");
            host.expect("ip", &["route", "add", &to, "dev", "eth0"]);
        }
        lab.target(3).expect("ip", &["address", "add", "192.0.2.250/24", "dev", "eth0"]);
        for to in
            ["default via 192.0.2.250", "203.0.113.0/24 via 192.0.2.251", "default via 2001:db8::1"]
        {
            let v6 = if to.contains("::") { "-6" } else { "-4" };
            let route = to.split(' ').chain(["dev", "eth1", "metric", "99", "onlink"]);
            host.expect("ip", &[v6, "route", "add"].into_iter().chain(route).collect::<Vec<_>>());
        }
        let mut config = Config::dual_stack(2);
        config.targets.clear();
        config.routes.clear();
        let wire = Capture::start(lab.lan(), "sw0");
        let begun = clock::now();
        let daemon = Daemon::start(host, &config.to_string());
        for nic in ["eth0", "eth1"] {
            wait_targets(&daemon, nic, Family::Inet6, &["2001:db8::1"]);
            let told =
                format!("inet targets on {nic} are chosen from 16 candidates, and at least 4 more");
            daemon.wait_log(&told, begun, LIMIT);
            daemon.wait_log(&format!("first reply on {nic} from 192.0.2.250"), begun, LIMIT);
        }
        let rows = rows(&daemon, "-t", "interface,mode");
        assert!(rows.iter().all(|row| row[1] == "routes"), "{rows:?}");
        let router: IpAddr = "192.0.2.250".parse().expect("an address");
        wire.wait("probe of the router", begun, LIMIT, |frame| {
            matches!(frame.content, Content::Echo { request: true, destination, .. } if destination == router)
        });
    });
}

/// Behaviour 21: an address of the kernel's own on each NIC, and a router that is known by its link-local address.
#[test]
fn ipv6_is_probed_from_link_local_to_a_link_local_next_hop() {
    isolated(|| {
        const ROUTER: &str = "fe80::ff:fe00:101";
        let lab = Lab::builder().build();
        let mut config = Config::dual_stack(2);
        config.data = vec!["2001:db8::50/64"];
        config.targets.clear();
        config.routes = vec![("default", ROUTER)];
        for member in &mut config.members {
            *member = Member { test_addresses: vec!["link-local".to_owned()], ..member.clone() };
        }
        let wire = Capture::start(lab.lan(), "sw0");
        let daemon = running(&lab, &config);
        for nic in ["eth0", "eth1"] {
            wait_targets(&daemon, nic, Family::Inet6, &[ROUTER]);
        }
        let router: IpAddr = ROUTER.parse().expect("an address");
        let frames = wire.frames();
        let probe = frames.iter().find(|frame| {
            matches!(frame.content, Content::Echo { request: true, destination, .. } if destination == router)
        });
        let hop_limit = probe.expect("it is probed").bytes[21];
        assert_eq!(hop_limit, 1);
        for row in rows(&daemon, "-t", "interface,mode,testaddr") {
            assert_eq!(row[1], "routes", "{row:?}");
            assert!(row[2].starts_with("fe80::"), "{row:?}");
        }
        assert_eq!(holders(lab.host(), "2001:db8::50"), ["eth0"]);
        lab.cut(0);
        wait_for("the address on eth1", LIMIT, || match holders(lab.host(), "2001:db8::50") {
            nics if nics == ["eth1"] => Ok(()),
            nics => Err(nics),
        });
    });
}
