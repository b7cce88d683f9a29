//! NICs that come late, under another name or another MAC, or without a family: in the end everything is as if
//! they had been there from the start.

use std::collections::BTreeSet;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Mac};
use mpathd_tests::lab::{CLIENT_V4, nic_mac};
use mpathd_tests::observe::{addrs, holders, link, neighbour_mac, routes_v4, routes_v6};
use mpathd_tests::owner::wait_held;
use mpathd_tests::ping::ping;
use mpathd_tests::told::{interface, wait_interface, wait_ok};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
const DATA: [&str; 3] = ["192.0.2.50", "192.0.2.51", "2001:db8::50"];
const SYSCTLS: [&str; 7] = [
    "ipv4/conf/eth1/arp_ignore",
    "ipv4/conf/eth1/arp_announce",
    "ipv4/conf/eth1/rp_filter",
    "ipv4/conf/eth1/ignore_routes_with_linkdown",
    "ipv4/conf/eth1/promote_secondaries",
    "ipv6/conf/eth1/keep_addr_on_down",
    "ipv6/conf/eth1/ignore_routes_with_linkdown",
];
const NEW_MAC: &str = "02:00:00:00:0f:01";

fn ip(host: &mpathd_tests::NetNs, words: &str) {
    host.expect("ip", &words.split(' ').collect::<Vec<_>>());
}

fn mac(text: &str) -> Mac {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a MAC address"));
    bytes.collect::<Vec<_>>().try_into().expect("six bytes")
}

/// A new device with the cable of a NIC, under any name.
fn plug(lab: &Lab, nic: usize, device: &str) {
    let (port, mac) = (format!("sw{nic}"), nic_mac(nic));
    let host = format!("link add {device} address {mac} type veth peer name {port} netns lan");
    ip(lab.host(), &host);
    ip(lab.lan(), &format!("link set {port} master br0 up"));
}

fn wait_all_on(lab: &Lab, nic: &str) {
    for address in DATA {
        wait_held(lab.host(), address, nic, LIMIT);
    }
}

fn wait_spread(lab: &Lab) {
    wait_for("data addresses on both NICs, each on one", LIMIT, || {
        let on: Vec<_> = DATA.iter().map(|address| holders(lab.host(), address)).collect();
        let each = on.iter().all(|nics| nics.len() == 1);
        let both = on.iter().flatten().collect::<BTreeSet<_>>().len() == 2;
        if each && both { Ok(()) } else { Err(on) }
    });
}

/// What a member leaves in the kernel, but for its number and for which of the data addresses it has.
#[derive(Debug, PartialEq)]
struct EndState {
    addresses: BTreeSet<String>,
    routes: BTreeSet<String>,
    sysctls: Vec<String>,
    receive: String,
    state: Vec<String>,
}

fn end_state(lab: &Lab, daemon: &Daemon) -> EndState {
    let host = lab.host();
    let addresses = addrs(host).into_iter().map(|it| {
        let data = DATA.iter().any(|data| it.info.local.to_string() == *data);
        let nic = if data { String::new() } else { it.ifname };
        let label = it.info.label.filter(|_| !data);
        format!(
            "{nic} {}/{} {} {label:?} {:?} {} {}",
            it.info.local,
            it.info.prefixlen,
            it.info.scope,
            it.info.broadcast,
            it.info.deprecated,
            it.info.noprefixroute
        )
    });
    let routes = routes_v4(host).into_iter().chain(routes_v6(host)).map(|mut route| {
        let mut hops: Vec<_> = route.nexthops.drain(..).map(|hop| hop.dev).collect();
        hops.extend(route.dev);
        hops.sort();
        let (to, via, metric) = (route.dst, route.gateway, route.metric);
        format!("{to} {via:?} {} {:?} {metric:?} {hops:?}", route.protocol, route.prefsrc)
    });
    let told = interface(daemon, "eth1");
    EndState {
        addresses: addresses.collect(),
        routes: routes.filter(|route| !route.starts_with("fe80")).collect(),
        sysctls: SYSCTLS.iter().map(|key| host.read_sysctl(key)).collect(),
        receive: told["receive"].to_string(),
        state: ["active", "state", "probe", "link", "standby"]
            .map(|key| told[key].to_string())
            .into(),
    }
}

/// Behaviours 139 and 140: "the final network configuration is identical to the configuration that would have
/// been made if the system had been booted with the interface present" (founding text).
#[test]
fn a_nic_that_comes_late_is_as_one_that_was_there() {
    isolated(|| {
        let lab = Lab::builder().build();
        let config = Config::dual_stack(2).to_string();
        let mut daemon = Daemon::start(lab.host(), &config);
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_spread(&lab);
        let there = end_state(&lab, &daemon);
        daemon.stop();
        let released = daemon.mpathd(&["release"]);
        assert!(released.status.success(), "{released:?}");
        assert_eq!(addrs(lab.host()), [], "nothing is left of it");

        ip(lab.host(), "link del eth1");
        let begun = clock::now();
        daemon.restart();
        for version in ["IPv4", "IPv6"] {
            let text = format!(
                "moving addresses from missing {version} interfaces: eth1 (moved to ipmp0)"
            );
            daemon.wait_log(&text, begun, LIMIT);
        }
        wait_all_on(&lab, "eth0");
        // udev's way: the device is there before it has its name.
        plug(&lab, 1, "nic7");
        ip(lab.host(), "link set nic7 name eth1");
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_spread(&lab);
        wait_for("the same end state", LIMIT, || {
            let late = end_state(&lab, &daemon);
            if late == there { Ok(()) } else { Err(Box::new((late, &there))) }
        });
        let text = daemon.log_text();
        assert!(!text.contains("failure detected on eth1"), "{text}");
        lab.cut(0);
        wait_all_on(&lab, "eth1");
    });
}

/// A NIC is a member by its name: under another one it is nobody's, and is left as it was.
#[test]
fn a_nic_that_is_renamed_leaves_and_comes_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let before: Vec<_> = SYSCTLS.iter().map(|key| host.read_sysctl(key)).collect();
        let daemon = Daemon::start(host, &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_spread(&lab);
        assert!(link(host, "eth1").xdp.is_some());

        ip(host, "link set eth1 name spare");
        wait_all_on(&lab, "eth0");
        wait_interface(&daemon, "eth1", "active,state", &["no", "failed"]);
        wait_for("a bare device", LIMIT, || {
            let mut left = addrs(host);
            left.retain(|it| it.ifname == "spare");
            let hook = link(host, "spare").xdp;
            if left.is_empty() && hook.is_none() { Ok(()) } else { Err((left, hook)) }
        });
        let renamed = |key: &&str| host.read_sysctl(&key.replace("eth1", "spare"));
        assert_eq!(SYSCTLS.iter().map(renamed).collect::<Vec<_>>(), before);

        ip(host, "link set spare name eth1");
        wait_ok(&daemon, &["eth1"]);
        wait_interface(&daemon, "eth1", "active,state,receive", &["yes", "ok", "xdp"]);
        wait_spread(&lab);
        lab.cut(0);
        wait_all_on(&lab, "eth1");
    });
}

/// Nor does it keep our sysctls where nobody saw it renamed: the next daemon knows the device, and so does
/// `release`.
#[test]
fn a_nic_that_is_renamed_while_no_daemon_runs_gets_its_sysctls_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let before: Vec<_> = SYSCTLS.iter().map(|key| host.read_sysctl(key)).collect();
        let of = |nic: &str| -> Vec<_> {
            SYSCTLS.iter().map(|key| host.read_sysctl(&key.replace("eth1", nic))).collect()
        };
        let mut daemon = Daemon::start(host, &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        assert!(daemon.stop().success());
        ip(host, "link set eth1 name spare");
        assert_ne!(of("spare"), before);
        daemon.restart();
        wait_for("the values before ours", LIMIT, || {
            if of("spare") == before { Ok(()) } else { Err((of("spare"), daemon.log_text())) }
        });

        ip(host, "link set spare name eth1");
        wait_ok(&daemon, &["eth1"]);
        assert!(daemon.stop().success());
        ip(host, "link set eth1 name spare");
        assert_ne!(of("spare"), before);
        let released = daemon.mpathd(&["release"]);
        assert!(released.status.success(), "{released:?}");
        assert_eq!(of("spare"), before, "{released:?}");
    });
}

/// Behaviours 133, 134 and 136.
#[test]
fn a_nic_with_the_mac_of_another_is_offline_until_it_has_its_own() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let mut daemon = Daemon::start(host, &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        let twin = clock::now();
        ip(host, &format!("link set eth1 address {}", nic_mac(0)));
        let text = "IP interface eth1 has a hardware address which is not unique in group ipmp0; offlining";
        daemon.wait_log(text, twin, LIMIT);
        let fields = "active,flags,state,reason";
        wait_interface(&daemon, "eth1", fields, &["no", "------h", "offline", "duplicate-mac"]);
        wait_all_on(&lab, "eth0");
        let undo = daemon.if_mpadm(&["-r", "eth1"]);
        assert_eq!(undo.status.code(), Some(1), "{undo:?}");
        let said = String::from_utf8_lossy(&undo.stderr);
        let refusal = "cannot undo-offline eth1: interface has duplicate hardware address";
        assert!(said.contains(refusal), "{said}");
        // It is known over a restart, though eth0 is not the first to speak then.
        daemon.stop();
        daemon.restart();
        wait_ok(&daemon, &["eth0"]);
        wait_interface(&daemon, "eth1", fields, &["no", "------h", "offline", "duplicate-mac"]);

        let unique = clock::now();
        ip(host, &format!("link set eth1 address {}", nic_mac(1)));
        let text = "IP interface eth1 now has a unique hardware address in group ipmp0; onlining";
        daemon.wait_log(text, unique, LIMIT);
        wait_interface(&daemon, "eth1", "active,flags,state", &["yes", "-------", "ok"]);
        wait_spread(&lab);
    });
}

/// Neighbours follow at once, and so do the targets: nothing is lost for long enough to be a failure.
#[test]
fn a_member_may_change_its_mac() {
    isolated(|| {
        let lab = Lab::builder().build();
        let (host, client) = (lab.host(), lab.client());
        let mut config = Config::dual_stack(2);
        config.fdt = "500ms";
        let daemon = Daemon::start(host, &config.to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_held(host, "192.0.2.50", "eth0", LIMIT);
        let address = "192.0.2.50".parse().expect("an address");
        assert!(ping(client, None, address, LIMIT));
        assert_eq!(neighbour_mac(client, "192.0.2.50").as_deref(), Some(&*nic_mac(0)));
        let watch = AddressWatch::start(host);
        let wire = Capture::start(lab.lan(), "sw0");

        let changed = clock::now();
        ip(host, &format!("link set eth0 address {NEW_MAC}"));
        wait_for("the new MAC at the client", LIMIT, || {
            let known = neighbour_mac(client, "192.0.2.50");
            if known.as_deref() == Some(NEW_MAC) { Ok(()) } else { Err(known) }
        });
        let (test, new) = ("192.0.2.11".parse().expect("an address"), mac(NEW_MAC));
        let probe = wire.wait("a probe from the new MAC", changed, LIMIT, |frame| {
            let request = |content: &Content| {
                matches!(content, Content::Echo { request: true, source, .. } if *source == test)
            };
            frame.source_mac == new && request(&frame.content)
        });
        wire.wait("a reply to the new MAC", probe.at, LIMIT, |frame| {
            frame.destination_mac == new
                && matches!(frame.content, Content::Echo { request: false, .. })
        });
        wire.wait("an announcement of the test address", changed, LIMIT, |frame| {
            frame.source_mac == new && frame.announces(test)
        });
        clock::pass(Duration::from_secs(1));
        let text = daemon.log_text();
        assert!(!text.contains("failure detected"), "{text}");
        assert_eq!(watch.events(), [], "an address has moved\n{text}");
        assert!(wire.frames().iter().any(|frame| frame.destination_mac == new));
        assert!(ping(client, None, address, LIMIT), "{CLIENT_V4} has lost it");
    });
}

/// Behaviour 137.
#[test]
fn a_member_without_ipv6_carries_ipv4_alone() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let mut config = Config::dual_stack(2);
        config.data = vec!["192.0.2.50/24", "2001:db8::50/64"];
        let daemon = Daemon::start(host, &config.to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_held(host, "2001:db8::50", "eth1", LIMIT);

        let off = clock::now();
        host.sysctl("ipv6/conf/eth1/disable_ipv6", "1");
        let lacks =
            "IP interface eth1 in group ipmp0 is not plumbed for IPv6, affecting IPv6 connectivity";
        daemon.wait_log(lacks, off, LIMIT);
        wait_held(host, "2001:db8::50", "eth0", LIMIT);
        wait_interface(&daemon, "eth1", "active,state", &["yes", "ok"]);

        let on = clock::now();
        host.sysctl("ipv6/conf/eth1/disable_ipv6", "0");
        // The two blanks are the original's.
        let consistent =
            "IP interface eth1 is now consistent with group ipmp0  and connectivity is restored";
        daemon.wait_log(consistent, on, Duration::from_secs(30));
        wait_held(host, "2001:db8::50", "eth1", LIMIT);
        wait_ok(&daemon, &["eth1"]);
        let text = daemon.log_text();
        assert_eq!(text.matches("is not plumbed").count(), 1, "{text}");
        assert!(!text.contains("changed by somebody else"), "{text}");
    });
}

/// Behaviours 161 and 162: a member's rp_filter and arp_ignore are what probing needs, and ARP for a test
/// address is answered by its NIC alone.
#[test]
fn a_test_address_is_answered_for_by_its_own_nic() {
    isolated(|| {
        let lab = Lab::builder().build();
        let (host, client) = (lab.host(), lab.client());
        for nic in ["eth0", "eth1"] {
            host.sysctl(&format!("ipv4/conf/{nic}/rp_filter"), "1");
        }
        let begun = clock::now();
        let daemon = Daemon::start(host, &Config::dual_stack(2).to_string());
        daemon.wait_log("set net/ipv4/conf/eth1/rp_filter from 1 to 2", begun, LIMIT);
        wait_ok(&daemon, &["eth0", "eth1"]);
        let wire = Capture::start(lab.lan(), "pc");
        for (nic, test) in [(0, "192.0.2.11"), (1, "192.0.2.12")] {
            let (address, asked) = (test.parse().expect("an address"), clock::now());
            // Known from announcements, it would not be asked for.
            client.output("ip", &["neigh", "flush", "dev", "eth0"]);
            assert!(ping(client, None, address, LIMIT), "{test} is silent");
            clock::pass(Duration::from_millis(200));
            let answers: BTreeSet<Mac> = wire
                .frames()
                .iter()
                .filter(|frame| frame.at >= asked && !frame.from_device)
                .filter_map(|frame| match frame.content {
                    Content::Arp { request: false, sender, sender_mac, .. }
                        if sender == address =>
                    {
                        Some(sender_mac)
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(answers, BTreeSet::from([mac(&nic_mac(nic))]), "{test}");
        }
    });
}
