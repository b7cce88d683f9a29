//! A configuration that changes under way: what it leaves as it was goes on as if nothing had happened, what it
//! takes away is gone when the answer comes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content};
use mpathd_tests::observe::{Route, all_addrs, holders, link, routes_v4, routes_v6};
use mpathd_tests::{Daemon, Lab, Nanos, NetNs, clock, isolated, told, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);
/// FDT of these tests; a sixth of it is the interval of probes.
const FDT: Duration = Duration::from_millis(600);

const GROUP: &str = r#"
failure_detection_time = "600ms"
[groups.ipmp0]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
routes = [{ to = "default", via = "192.0.2.1" }, { to = "default", via = "2001:db8::1" }]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24", "2001:db8::11/64"]
[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24", "2001:db8::12/64"]
"#;

const THIRD: &str = r#"
[groups.ipmp0.interfaces.eth2]
test_addresses = ["192.0.2.13/24"]
"#;

fn with_address(address: &str) -> String {
    GROUP.replace("\"192.0.2.50/24\"", &format!("\"192.0.2.50/24\", \"{address}/24\""))
}

fn reload(daemon: &Daemon, config: &str) -> String {
    daemon.configure(config);
    let output = daemon.mpathd(&["reload"]);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{out}{err}{}", daemon.log_text());
    out
}

type Path = (IpAddr, IpAddr);

/// Echo requests by source and destination: when each left, and its sequence number.
fn requests(port: &Capture) -> BTreeMap<Path, Vec<(Nanos, u16)>> {
    let mut all: BTreeMap<Path, Vec<(Nanos, u16)>> = BTreeMap::new();
    for frame in port.frames() {
        if let Content::Echo { request: true, source, destination, sequence, .. } = frame.content {
            all.entry((source, destination)).or_default().push((frame.at, sequence));
        }
    }
    all
}

/// `sent`, `acked`, `lost` and path of each target.
fn history(daemon: &Daemon) -> BTreeMap<String, [u64; 4]> {
    let number = |row: &Value, field: &str| row[field].as_u64().expect("a number");
    let row = |row: &Value| {
        let name = format!("{} {}", row["interface"], row["target"]);
        (name, ["sent", "acked", "lost", "path"].map(|field| number(row, field)))
    };
    told::json(daemon, "-t").iter().map(row).collect()
}

fn failed(daemon: &Daemon, name: &str) -> bool {
    told::interface(daemon, name)["state"] == "failed"
}

/// Behaviours 11, 165: probes go on in their pace and numbers, seen on the wire, while addresses, members and the
/// failure detection time change.
#[test]
fn no_probe_is_missed_and_no_history_lost() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let daemon = Daemon::start(lab.host(), GROUP);
        told::wait_ok(&daemon, &["eth0", "eth1"]);
        let ports = ["sw0", "sw1"].map(|port| Capture::start(lab.lan(), port));
        let before = history(&daemon);
        let begun = clock::now();
        for step in [with_address("192.0.2.51"), [GROUP, THIRD].concat(), GROUP.to_owned()] {
            reload(&daemon, &step);
            clock::pass(FDT / 2);
        }
        let ended = clock::now();
        for port in &ports {
            let all = requests(port);
            assert_eq!(all.len(), 3, "{all:?}");
            for (path, sent) in all {
                let numbers = sent.windows(2).all(|w| w[1].1 == w[0].1.wrapping_add(1));
                assert!(numbers, "{path:?}: {sent:?}");
                let rounds = (ended - begun) / clock::nanos(FDT / 6);
                assert!(sent.len() as u64 + 3 >= rounds, "{} of {rounds} to {path:?}", sent.len());
            }
        }
        let after = history(&daemon);
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        for (path, [sent, acked, lost, number]) in after {
            let [had_sent, had_acked, had_lost, had_number] = before[&path];
            assert!(sent > had_sent && acked > had_acked, "{path}");
            assert_eq!((lost, number), (had_lost, had_number), "{path}");
        }

        let slower = GROUP.replace("600ms", "3s");
        let told = reload(&daemon, &slower);
        assert_eq!(told, "group ipmp0: failure_detection_time 600ms -> 3s\n");
        assert_eq!(told::rows(&daemon, "-g", "group,fdt"), [["ipmp0", "3.00s"]]);
        let log = daemon.log_text();
        let quiet =
            ["failure detected", "repair detected", "missed sending", "first reply on eth0"];
        let since_start = log.split("reload: ").skip(1).collect::<String>();
        assert!(!quiet.iter().any(|text| since_start.contains(text)), "{log}");
    });
}

/// A failed member stays failed, a cut is judged and a repair earned as if nobody reloaded all the while.
#[test]
fn verdicts_and_repairs_do_not_wait_for_reloads() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = Daemon::start(lab.host(), GROUP);
        told::wait_ok(&daemon, &["eth0", "eth1"]);
        let configs = [with_address("192.0.2.51"), with_address("192.0.2.52")];
        let reload_until = |what: &str, done: &dyn Fn() -> bool| {
            for config in configs.iter().cycle().take(100) {
                if done() {
                    return;
                }
                reload(&daemon, config);
            }
            panic!("no {what}\n{}", daemon.log_text());
        };
        let cut = lab.cut(0);
        reload_until("failure", &|| failed(&daemon, "eth0"));
        let line = daemon.wait_log("IP interface failure detected on eth0", cut, LIMIT);
        let took = clock::ms_between(cut, line.at);
        // Half of it is room for a machine with other work.
        assert!(took < 1.5 * FDT.as_millis() as f64, "judged after {took} ms");
        for address in ["192.0.2.50", "2001:db8::50"] {
            assert_eq!(holders(lab.host(), address), ["eth1"], "{}", daemon.log_text());
        }
        reload(&daemon, GROUP);
        assert!(failed(&daemon, "eth0"));
        let mended = lab.mend(0);
        reload_until("repair", &|| !failed(&daemon, "eth0"));
        let line = daemon.wait_log("IP interface repair detected on eth0", mended, LIMIT);
        let took = clock::ms_between(mended, line.at) / FDT.as_millis() as f64;
        assert!((1.9..3.5).contains(&took), "repaired after {took} FDT");
    });
}

fn sysctls(host: &NetNs, nic: &str) -> Vec<String> {
    let keys = ["arp_ignore", "arp_announce", "rp_filter", "ignore_routes_with_linkdown"];
    let v4 = keys.iter().map(|key| format!("net/ipv4/conf/{nic}/{key}"));
    let all = v4.chain([format!("net/ipv6/conf/{nic}/keep_addr_on_down")]);
    all.map(|key| host.expect("cat", &[&format!("/proc/sys/{key}")]).trim().to_owned()).collect()
}

fn nexthops(host: &NetNs) -> Vec<String> {
    host.expect("ip", &["nexthop", "show"]).lines().map(str::to_owned).collect()
}

fn own_routes(host: &NetNs) -> Vec<Route> {
    let all = routes_v4(host).into_iter().chain(routes_v6(host));
    all.filter(|route| ["109", "mpathd"].contains(&route.protocol.as_str())).collect()
}

/// Nothing of ours is left on a NIC that leaves, and in the end nothing on the host.
#[test]
fn who_leaves_is_as_it_was_before_us() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let host = lab.host();
        host.sysctl("ipv4/conf/eth2/rp_filter", "1");
        let bare = |nic: &str| {
            let ours = all_addrs(host).into_iter().filter(|it| it.ifname == nic);
            let ours: BTreeSet<_> = ours.map(|it| it.info.local).collect();
            (sysctls(host, nic), link(host, nic).xdp.is_some(), ours)
        };
        let before: BTreeMap<_, _> = ["eth0", "eth1", "eth2"].map(|nic| (nic, bare(nic))).into();
        let daemon = Daemon::start(host, &[GROUP, THIRD].concat());
        told::wait_ok(&daemon, &["eth0", "eth1", "eth2"]);
        assert!(before.iter().all(|(nic, was)| bare(nic) != *was && link(host, nic).xdp.is_some()));

        reload(&daemon, GROUP);
        assert_eq!(bare("eth2"), before["eth2"], "{}", daemon.log_text());
        let hops = |routes: Vec<_>| {
            let text = format!("{routes:?}{:?}", nexthops(host));
            assert!(!text.contains("eth2"), "{text}");
        };
        hops(own_routes(host));
        let state = std::fs::read_to_string(daemon.run_dir().join("state.json")).expect("it is");
        assert!(!state.contains("eth2"), "{state}");

        reload(&daemon, "");
        for (nic, was) in &before {
            assert_eq!(bare(nic), *was, "{nic}\n{}", daemon.log_text());
        }
        assert_eq!(own_routes(host), []);
        assert_eq!(nexthops(host), [""; 0]);
    });
}

/// What is done to one NIC is no matter of the other, and nobody moves.
#[test]
fn how_replies_are_received_changes_live() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        let daemon = Daemon::start(host, GROUP);
        told::wait_ok(&daemon, &["eth0", "eth1"]);
        let hook = |nic| link(host, nic).xdp.map(|xdp| (xdp.mode, xdp.prog.id));
        let attached = hook("eth0");
        let before = history(&daemon);
        // Replies that are not consumed reach a capture on the NIC.
        let seen = Capture::start(host, "eth0");
        reload(
            &daemon,
            &GROUP.replace("[groups.ipmp0]", "consume_replies = false\n[groups.ipmp0]"),
        );
        let reply = |content: &Content| matches!(content, Content::Echo { request: false, .. });
        seen.wait("replies", 0, LIMIT, |frame| reply(&frame.content));
        assert_eq!(hook("eth0"), attached, "it was attached anew");
        let after = history(&daemon);
        assert!(
            before.iter().all(|(path, row)| after[path][3] == row[3] && after[path][0] >= row[0])
        );

        let generic = [GROUP, "datapath = \"xdp-generic\"\n"].concat();
        reload(&daemon, &generic);
        wait_for("generic XDP on eth1", LIMIT, || match hook("eth1") {
            Some((2, _)) => Ok(()),
            other => Err((other, daemon.log_text())),
        });
        assert_eq!(hook("eth0"), attached);
        let rounds = history(&daemon);
        wait_for("answers through it", LIMIT, || {
            let now = history(&daemon);
            let more = |path: &&String| now[*path][1] > rounds[*path][1] + 2;
            let of_eth1 = rounds.keys().filter(|path| path.contains("eth1"));
            if of_eth1.clone().all(|path| more(&path)) { Ok(()) } else { Err(now.clone()) }
        });
        assert!(!daemon.log_text().contains("failure detected"), "{}", daemon.log_text());
    });
}

/// A group may have a file of its own beside the main one; what is wrong in it is said of it.
#[test]
fn drop_ins_come_and_go_live() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let daemon = Daemon::start(lab.host(), GROUP);
        let folder = daemon.config().with_extension("d");
        std::fs::create_dir(&folder).expect("the run folder is the lab's own");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("the run folder is the lab's own");
        };
        write("10-third.toml", THIRD);
        write("20-more.toml", "[groups.ipmp0]\nfailure_detection_time = \"900ms\"\n");
        let said = reload(&daemon, GROUP);
        let changes = ["group ipmp0: failure_detection_time 600ms -> 900ms", "eth2 joins ipmp0"];
        assert_eq!(said.lines().collect::<Vec<_>>(), changes);
        wait_for("the new member's test address", LIMIT, || {
            match holders(lab.host(), "192.0.2.13") {
                now if now == ["eth2"] => Ok(()),
                now => Err((now, daemon.log_text())),
            }
        });
        write("20-more.toml", "[groups.ipmp0]\nfailback = \"no\"\n");
        let place = folder.join("20-more.toml").display().to_string();
        let wrong = format!(
            "mpathd: {place}:2:12: groups.ipmp0.failback = \"no\": expected true or false\n"
        );
        let config = daemon.config().display().to_string();
        for arguments in [&["reload"][..], &["check", "--config", &config]] {
            let output = daemon.mpathd(arguments);
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(String::from_utf8_lossy(&output.stderr), wrong);
        }
        std::fs::remove_dir_all(&folder).expect("the run folder is the lab's own");
        reload(&daemon, GROUP);
        assert!(holders(lab.host(), "192.0.2.13").is_empty());
    });
}

/// A hang-up never ends the daemon, however early it comes.
#[test]
fn a_hangup_before_it_is_ready_harms_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        for _ in 0..3 {
            let begun = clock::now();
            let mut daemon = Daemon::launch(lab.host(), GROUP, &[]);
            daemon.wait_log("memory", begun, LIMIT);
            daemon.signal(Signal::SIGHUP);
            daemon.signal(Signal::SIGUSR1);
            daemon.wait_ready(LIMIT);
            daemon.wait_log("reload: nothing changed", begun, LIMIT);
            assert!(daemon.stop().success());
        }
    });
}
