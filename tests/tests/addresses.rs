//! Addresses and routes beside those of others: test addresses are nobody's source, the neighbours are told the
//! truth, what is not ours stays, what is ours is put back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content};
use mpathd_tests::config::Member;
use mpathd_tests::lab::{CLIENT_V4, CLIENT_V6, FAR_V4, FAR_V6};
use mpathd_tests::observe::{addrs, holders, link, routes_v4, routes_v6};
use mpathd_tests::owner::{OwnerWatch, wait_held};
use mpathd_tests::ping::ping;
use mpathd_tests::told::wait_ok;
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::{Config, Daemon, Lab, NetNs, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 7007;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn running(lab: &Lab, config: &Config) -> Daemon {
    let daemon = Daemon::start(lab.host(), &config.to_string());
    wait_ok(&daemon, &["eth0", "eth1"]);
    daemon
}

/// IPv4 is on eth0, IPv6 on eth1: the other NIC has a test address alone. Routes to far are others' business.
fn without_routes() -> Config {
    let mut config = Config::dual_stack(2);
    config.data = vec!["192.0.2.50/24", "2001:db8::50/64"];
    config.routes.clear();
    config
}

/// The source that the kernel gives to an echo request to `to`.
fn source_of_ping(lab: &Lab, from: Option<IpAddr>, to: &str) -> IpAddr {
    let router = Capture::start(lab.lan(), "p1");
    let asked = clock::now();
    // Whether an answer comes is not the question.
    ping(lab.host(), from, ip(to), Duration::from_millis(200));
    let frame = router.wait(&format!("echo request to {to}"), asked, LIMIT, |frame| {
        matches!(frame.content, Content::Echo { request: true, destination, .. } if destination == ip(to))
    });
    match frame.content {
        Content::Echo { source, .. } => source,
        other => panic!("no echo request: {other:?}"),
    }
}

/// Behaviour 25: whoever does not bind has a data address for source.
#[test]
fn a_route_of_somebody_else_takes_no_test_address_for_source() {
    isolated(|| {
        let lab = Lab::builder().far().build();
        let _daemon = running(&lab, &without_routes());
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        wait_held(lab.host(), "2001:db8::50", "eth1", LIMIT);
        let routes = [("198.51.100.0/24", "192.0.2.1"), ("2001:db8:1::/64", "2001:db8::1")];
        for nic in ["eth0", "eth1"] {
            for (to, via) in routes {
                lab.host().expect("ip", &["route", "add", to, "via", via, "dev", nic]);
            }
            assert_eq!(source_of_ping(&lab, None, FAR_V4), ip("192.0.2.50"), "over {nic}");
            assert_eq!(source_of_ping(&lab, None, FAR_V6), ip("2001:db8::50"), "over {nic}");
            for (to, _) in routes {
                lab.host().expect("ip", &["route", "del", to, "dev", nic]);
            }
        }
    });
}

#[test]
fn masquerading_takes_no_test_address() {
    isolated(|| {
        const INSIDE: &str = "10.9.9.9";
        let lab = Lab::builder().far().build();
        let _daemon = running(&lab, &without_routes());
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        lab.host().expect("ip", &["address", "add", "10.9.9.9/32", "dev", "lo", "scope", "host"]);
        lab.host().nft(
            "table ip nat {
               chain out {
                 type nat hook postrouting priority 100
                 ip saddr 10.9.9.9 masquerade
               }
             }",
        );
        for nic in ["eth0", "eth1"] {
            let route = ["route", "replace", "198.51.100.0/24", "via", "192.0.2.1"];
            lab.host().expect("ip", &[&route[..], &["dev", nic]].concat());
            let source = source_of_ping(&lab, Some(ip(INSIDE)), FAR_V4);
            assert_eq!(source, ip("192.0.2.50"), "masqueraded over {nic}");
        }
    });
}

/// So that what takes minutes by default takes seconds: neighbours are asked for again and again.
fn forgetful(namespace: &NetNs, device: &str) {
    for family in ["ipv4", "ipv6"] {
        namespace.sysctl(&format!("{family}/neigh/{device}/base_reachable_time_ms"), "1000");
        namespace.sysctl(&format!("{family}/neigh/{device}/delay_first_probe_time"), "1");
    }
}

/// Sends from the host to the LAN, and to the host's data addresses, for so long.
fn check_owners(lab: &Lab, owner: &OwnerWatch, time: Duration) {
    let data = ["192.0.2.50", "192.0.2.51", "2001:db8::50", "2001:db8::51"];
    forgetful(lab.client(), "eth0");
    (0..lab.nics()).for_each(|nic| forgetful(lab.host(), &format!("eth{nic}")));
    let _servers = [lab.client(), lab.host()].map(|it| EchoServer::start(it, PORT));
    let interval = Duration::from_millis(10);
    let outward = [CLIENT_V4, CLIENT_V6].map(|to| (lab.host(), to));
    // A client that is quiet for a while has to ask again when it is not.
    let inward = data.map(|to| (lab.client(), to));
    let streams: Vec<Stream> = outward
        .into_iter()
        .chain(inward)
        .map(|(from, to)| Stream::udp(from, SocketAddr::new(ip(to), PORT), interval))
        .collect();
    let begun = clock::now();
    streams.iter().for_each(|stream| {
        stream.wait_answered(begun, LIMIT);
    });
    clock::sleep_until(begun + clock::nanos(time));
    for address in data {
        assert_eq!(owner.check(address), 0, "the entry of {address} has changed");
    }
    for stream in streams {
        let report = stream.finish(Duration::from_secs(1));
        assert!(report.unanswered() <= 2, "{} datagrams lost", report.unanswered());
    }
}

#[test]
fn neighbours_have_the_mac_of_the_owner() {
    isolated(|| {
        let lab = Lab::builder().build();
        let owner = OwnerWatch::start(lab.host(), lab.client());
        let mut config = Config::dual_stack(2);
        config.data = vec!["192.0.2.50/24", "192.0.2.51/24", "2001:db8::50/64", "2001:db8::51/64"];
        let _daemon = running(&lab, &config);
        check_owners(&lab, &owner, Duration::from_secs(15));
    });
}

/// N8: without addresses of their own NICs ask for neighbours with data addresses as senders.
#[test]
fn neighbours_have_the_mac_of_the_owner_in_a_group_without_test_addresses() {
    isolated(|| {
        let lab = Lab::builder().build();
        let owner = OwnerWatch::start(lab.host(), lab.client());
        let mut config = Config::dual_stack(2);
        config.data = vec!["192.0.2.50/24", "192.0.2.51/24", "2001:db8::50/64", "2001:db8::51/64"];
        config.targets.clear();
        config.routes.clear();
        for member in &mut config.members {
            *member = Member { test_addresses: Vec::new(), ..member.clone() };
        }
        let daemon = Daemon::start(lab.host(), &config.to_string());
        let begun = clock::now();
        // By hand, and nobody is told: found at the next comparison, every 20 s.
        lab.host().sysctl("ipv4/conf/eth1/arp_announce", "1");
        check_owners(&lab, &owner, Duration::from_secs(25));
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth1/arp_announce"), "2");
        daemon.wait_log("eth1/arp_announce", begun, LIMIT);

        lab.carrier(0, false);
        for address in ["192.0.2.50", "192.0.2.51", "2001:db8::50", "2001:db8::51"] {
            wait_held(lab.host(), address, "eth1", LIMIT);
        }
        daemon.wait_log("IP interface failure detected on eth0 of group ipmp0", begun, LIMIT);
    });
}

/// Everything that the daemon could have touched.
fn state_of(host: &NetNs) -> impl PartialEq + std::fmt::Debug {
    let sysctls: Vec<String> = ["arp_ignore", "arp_announce", "rp_filter", "promote_secondaries"]
        .iter()
        .flat_map(|key| {
            ["eth0", "eth1"].map(|nic| host.read_sysctl(&format!("ipv4/conf/{nic}/{key}")))
        })
        .collect();
    let flags = ["eth0", "eth1"].map(|nic| link(host, nic).flags);
    (addrs(host), routes_v4(host), routes_v6(host), sysctls, flags)
}

/// It ends with 1, says `text`, and leaves all as it was.
fn refuses(lab: &Lab, config: &Config, texts: &[&str]) {
    let before = state_of(lab.host());
    let mut daemon = Daemon::launch(lab.host(), &config.to_string(), &[]);
    let status = daemon.wait_ended(LIMIT);
    assert_eq!(status.code(), Some(1), "{}", daemon.log_text());
    for text in texts {
        daemon.wait_log(text, 0, LIMIT);
    }
    assert_eq!(state_of(lab.host()), before, "it has touched something");
}

#[test]
fn a_host_that_would_not_answer_arp_is_refused() {
    isolated(|| {
        let lab = Lab::builder().build();
        for (key, value) in [("arp_ignore", "2"), ("arp_filter", "1")] {
            lab.host().sysctl(&format!("ipv4/conf/all/{key}"), value);
            refuses(&lab, &Config::dual_stack(2), &[key]);
            lab.host().sysctl(&format!("ipv4/conf/all/{key}"), "0");
        }
    });
}

#[test]
fn a_foreign_route_at_our_key_is_left_alone_and_reported() {
    isolated(|| {
        let lab = Lab::builder().build();
        let theirs =
            ["via", "192.0.2.2", "dev", "eth1", "onlink", "metric", "5", "proto", "static"];
        lab.host().expect("ip", &[&["route", "add", "default"], &theirs[..]].concat());
        let begun = clock::now();
        let daemon = running(&lab, &Config::dual_stack(2));
        let line = daemon.wait_log("0.0.0.0/0", begun, LIMIT);
        assert!(line.text.contains("metric 5"), "{}", line.text);
        let defaults = || -> Vec<_> {
            let routes = routes_v4(lab.host());
            routes
                .into_iter()
                .filter(|it| it.dst == "default")
                .map(|it| (it.gateway, it.protocol))
                .collect()
        };
        let only = [(Some(ip("192.0.2.2")), "4".to_owned())];
        assert_eq!(defaults(), only);
        // Nor does a failover take it.
        lab.cut(0);
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
        assert_eq!(defaults(), only);
        assert!(
            routes_v4(lab.host()).iter().any(|it| it.dst == "192.0.2.0/24" && it.protocol == "109")
        );
    });
}

#[test]
fn what_is_deleted_by_hand_comes_back_and_is_told() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, &Config::dual_stack(2));
        let routes = || (routes_v4(lab.host()), routes_v6(lab.host()));
        // The last thing that is set.
        wait_for("IPv6 routes over both", LIMIT, || {
            let all = routes_v6(lab.host());
            let both = all.iter().filter(|it| it.nexthops.len() == 2).count();
            if both == 2 { Ok(()) } else { Err(all) }
        });
        let (stood, before) = (routes(), addrs(lab.host()));
        let comes_back = |told: &str, arguments: &[&str]| {
            let deleted = clock::now();
            lab.host().expect("ip", arguments);
            let line = daemon.wait_log(told, deleted, LIMIT);
            assert!(line.text.contains("put back"), "{}", line.text);
            wait_for(&format!("what stood before {arguments:?}"), LIMIT, || {
                // The number of a nexthop group may be another one.
                let mut now = routes();
                now.1.iter_mut().zip(&stood.1).for_each(|(now, stood)| now.nhid = stood.nhid);
                let mut addresses = addrs(lab.host());
                addresses.sort_by_key(|it| (it.ifname.clone(), it.info.local));
                let mut wanted = before.clone();
                wanted.sort_by_key(|it| (it.ifname.clone(), it.info.local));
                if now == stood && addresses == wanted { Ok(()) } else { Err((now, addresses)) }
            });
        };
        comes_back("192.0.2.50", &["address", "del", "192.0.2.50/32", "dev", "eth0"]);
        comes_back("2001:db8::50", &["address", "del", "2001:db8::50/128", "dev", "eth0"]);
        comes_back("192.0.2.12", &["address", "del", "192.0.2.12/32", "dev", "eth1"]);
        comes_back("0.0.0.0", &["route", "del", "default", "metric", "5"]);
        comes_back("192.0.2.0", &["route", "del", "192.0.2.0/24", "metric", "5"]);
        comes_back("2001:db8::", &["-6", "route", "del", "2001:db8::/64", "metric", "5"]);
        let group = stood.1.iter().find(|it| it.dst == "default").and_then(|it| it.nhid);
        let group = group.expect("an IPv6 route over two NICs is a nexthop group").to_string();
        comes_back("::", &["nexthop", "del", "id", &group]);
        assert_eq!(holders(lab.host(), "192.0.2.50"), ["eth0"]);
    });
}

#[test]
fn sysctls_of_members_are_set_and_no_others() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let host = lab.host();
        let keys = [
            ("ipv4", "arp_ignore", "1"),
            ("ipv4", "arp_announce", "2"),
            ("ipv4", "rp_filter", "2"),
            ("ipv4", "ignore_routes_with_linkdown", "1"),
            ("ipv4", "promote_secondaries", "1"),
            ("ipv6", "keep_addr_on_down", "1"),
        ];
        let of_others = || -> Vec<String> {
            let path =
                |device: &str, family: &str, key: &str| format!("{family}/conf/{device}/{key}");
            let all = ["all", "default", "lo", "eth2"].into_iter();
            all.flat_map(|device| {
                keys.map(|(family, key, _)| host.read_sysctl(&path(device, family, key)))
            })
            .collect()
        };
        let before = of_others();
        let _daemon = running(&lab, &Config::dual_stack(2));
        for nic in ["eth0", "eth1"] {
            for (family, key, value) in keys {
                assert_eq!(
                    host.read_sysctl(&format!("{family}/conf/{nic}/{key}")),
                    value,
                    "{nic} {key}"
                );
            }
        }
        assert_eq!(of_others(), before);
    });
}

/// Design 5, "Form", and contract, "In the kernel".
#[test]
fn addresses_have_the_form_that_keeps_others_from_using_them() {
    isolated(|| {
        let lab = Lab::builder().build();
        let _daemon = running(&lab, &Config::dual_stack(2));
        for address in addrs(lab.host()) {
            let info = &address.info;
            let test = ["192.0.2.11", "192.0.2.12", "2001:db8::11", "2001:db8::12"]
                .contains(&info.local.to_string().as_str());
            if info.local.is_ipv4() {
                assert_eq!(info.prefixlen, 32, "{info:?}");
                assert_eq!(info.broadcast, Some(ip("192.0.2.255")), "{info:?}");
                assert_eq!(info.scope, if test { "link" } else { "global" }, "{info:?}");
                assert_eq!(info.label.as_deref(), Some(&*format!("{}:mpathd", address.ifname)));
            } else {
                assert_eq!(info.prefixlen, 128, "{info:?}");
                assert_eq!(info.preferred_life_time == 0, test, "{info:?}");
                assert!(info.nodad && !info.tentative, "{info:?}");
            }
        }
        assert_eq!(addrs(lab.host()).len(), 7);
    });
}
