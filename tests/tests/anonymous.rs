//! Interfaces outside of groups, with `track_interfaces_only_with_groups = false`: watched, and left as they are.

use std::net::IpAddr;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content};
use mpathd_tests::observe::{Address, all_addrs, link, routes_v4, routes_v6};
use mpathd_tests::told::{interface, json, rows, wait_interface, wait_ok};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, NetNs, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
const OWN: &str = "203.0.113.31";
const ROUTER: &str = "203.0.113.1";

fn ip(host: &NetNs, words: &str) {
    host.expect("ip", &words.split(' ').collect::<Vec<_>>());
}

/// eth2 has an address and a route of its own, by a router of its own, and is in no group.
fn lab() -> Lab {
    let lab = Lab::builder().nics(3).build();
    ip(lab.target(1), &format!("address add {ROUTER}/24 dev eth0"));
    // The lab has one LAN for all.
    lab.host().sysctl("ipv4/conf/eth2/arp_ignore", "1");
    ip(lab.host(), &format!("address add {OWN}/24 dev eth2"));
    ip(lab.host(), &format!("route add 198.51.100.0/24 via {ROUTER}"));
    lab
}

fn watching() -> Config {
    let top = "track_interfaces_only_with_groups = false\n".to_owned();
    Config { top, ..Config::dual_stack(2) }
}

/// All that could have been changed about eth2.
fn whole(host: &NetNs) -> (Vec<Address>, Vec<String>, Vec<String>, bool) {
    let addresses = all_addrs(host).into_iter().filter(|it| it.ifname == "eth2").collect();
    let routes = routes_v4(host).into_iter().chain(routes_v6(host));
    let routes = routes.filter(|it| it.dev.as_deref() == Some("eth2"));
    let keys = [
        "ipv4/conf/eth2/arp_ignore",
        "ipv4/conf/eth2/arp_announce",
        "ipv4/conf/eth2/rp_filter",
        "ipv4/conf/eth2/ignore_routes_with_linkdown",
        "ipv4/conf/eth2/promote_secondaries",
        "ipv6/conf/eth2/keep_addr_on_down",
        "ipv6/conf/eth2/ignore_routes_with_linkdown",
    ];
    let sysctls = keys.map(|key| host.read_sysctl(key)).into();
    (addresses, routes.map(|it| it.dst).collect(), sysctls, link(host, "eth2").xdp.is_some())
}

/// Behaviours 126 and 155.
#[test]
fn an_interface_outside_groups_is_watched_and_left_alone() {
    isolated(|| {
        let lab = lab();
        let host = lab.host();
        let before = whole(host);
        let daemon = Daemon::start(host, &watching().to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        let fields = "active,group,flags,link,probe,state";
        wait_interface(&daemon, "eth2", fields, &["yes", "", "-------", "up", "ok", "ok"]);
        let groups = rows(&daemon, "-g", "group,groupname,state,interfaces");
        assert_eq!(groups[0][..3], ["ipmp0", "ipmp0", "ok"], "{groups:?}");
        assert_eq!(groups[1], ["", "", "ok", "eth2"], "{groups:?}");
        let shown = String::from_utf8(daemon.ipmpstat(&["-g"]).stdout).expect("text");
        assert!(shown.contains("\n--          --          ok "), "{shown}");
        let targets = rows(&daemon, "-t", "interface,mode,testaddr,targets");
        let expected = ["eth2", "routes", OWN, ROUTER];
        assert!(targets.iter().any(|row| *row == expected), "{targets:?}");
        let wire = Capture::start(lab.lan(), "sw2");
        wire.wait("a probe from its own address", clock::now(), LIMIT, |frame| {
            let [own, router] = [OWN, ROUTER].map(|it| it.parse::<IpAddr>().expect("an address"));
            matches!(frame.content, Content::Echo { request: true, source, destination, .. }
                if source == own && destination == router)
        });
        let refused = daemon.if_mpadm(&["-d", "eth2"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");

        let watch = AddressWatch::start(host);
        let cut = lab.cut(2);
        let line = daemon.wait_log("IP interface failure detected on eth2", cut, LIMIT);
        assert!(!line.text.contains("group"), "{}", line.text);
        wait_interface(&daemon, "eth2", "active,state,reason", &["no", "failed", "probes"]);
        assert_eq!(json(&daemon, "-g").iter().filter(|group| group["state"] == "ok").count(), 2);
        let mended = lab.mend(2);
        daemon.wait_log("IP interface repair detected on eth2", mended, LIMIT);
        wait_interface(&daemon, "eth2", "active,state", &["yes", "ok"]);
        let (gone, back) = (lab.carrier(2, false), "The link has come up on eth2");
        daemon.wait_log("The link has gone down on eth2", gone, LIMIT);
        let up = lab.carrier(2, true);
        daemon.wait_log(back, up, LIMIT);
        wait_interface(&daemon, "eth2", "active,state", &["yes", "ok"]);
        assert_eq!(watch.events(), [], "something has moved");
        wait_for("eth2 as it was", LIMIT, || {
            let after = whole(host);
            if after == before { Ok(()) } else { Err((after, &before)) }
        });
    });
}

/// They come and go, and change names and addresses, while the daemon runs.
#[test]
fn interfaces_outside_groups_come_and_go() {
    isolated(|| {
        let lab = lab();
        let host = lab.host();
        let daemon = Daemon::start(host, &watching().to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_interface(&daemon, "eth2", "state", &["ok"]);
        let watched = || {
            let list = json(&daemon, "-i");
            let name = |it: &serde_json::Value| it["name"].as_str().expect("a name").to_owned();
            let mut names: Vec<_> = list.iter().map(name).collect();
            names.sort();
            names
        };
        let wait_watched = |names: &[&str]| {
            wait_for(&format!("{names:?} in ipmpstat -i"), LIMIT, || {
                let seen = watched();
                if seen == names { Ok(()) } else { Err(seen) }
            });
        };
        wait_watched(&["eth0", "eth1", "eth2"]);
        ip(host, "link add nic7 type veth peer name nic8");
        wait_watched(&["eth0", "eth1", "eth2"]);
        ip(host, "link set nic7 up");
        wait_watched(&["eth0", "eth1", "eth2", "nic7"]);
        assert_eq!(interface(&daemon, "nic7")["link"], "down");
        ip(host, "link set nic8 up");
        wait_interface(&daemon, "nic7", "link", &["up"]);
        ip(host, "link add br9 type bridge");
        ip(host, "link set nic8 master br9");
        wait_watched(&["eth0", "eth1", "eth2", "nic7"]);
        ip(host, "link set nic7 name nic9");
        wait_watched(&["eth0", "eth1", "eth2", "nic9"]);
        ip(host, "link set nic9 down");
        wait_watched(&["eth0", "eth1", "eth2"]);
        ip(host, "link del nic9");

        // Another address: probes go on from there.
        ip(host, &format!("address del {OWN}/24 dev eth2"));
        ip(host, "address add 203.0.113.32/24 dev eth2");
        ip(host, &format!("route add 198.51.100.0/24 via {ROUTER}"));
        wait_for("another test address", LIMIT, || {
            let targets = rows(&daemon, "-t", "interface,mode,testaddr,targets");
            let expected = ["eth2", "routes", "203.0.113.32", ROUTER];
            if targets.iter().any(|row| *row == expected) { Ok(()) } else { Err(targets) }
        });
        wait_interface(&daemon, "eth2", "probe,state", &["ok", "ok"]);
        // Set down and up, as a new one.
        ip(host, "link set eth2 down");
        wait_watched(&["eth0", "eth1"]);
        ip(host, "link set eth2 up");
        ip(host, &format!("route add 198.51.100.0/24 via {ROUTER}"));
        wait_interface(&daemon, "eth2", "probe,state", &["ok", "ok"]);
        let text = daemon.log_text();
        assert!(!text.contains("failure detected"), "{text}");
    });
}
