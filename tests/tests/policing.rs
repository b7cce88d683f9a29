//! Targets that limit what they answer: a router's control plane, a firewall (N23).

use std::time::Duration;

use mpathd_tests::config::TARGETS_V4;
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{json, rows, wait_interface, wait_ok};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);
/// "Recognised within five seconds", and what a busy machine adds.
const FOUND_OUT: Duration = Duration::from_secs(6);

/// Ten echo requests a second, whoever sends them; two NICs at FDT 100 ms send 120.
const IN_ALL: &str = "table inet police {
   chain in {
     type filter hook input priority 0
     icmp type echo-request limit rate 10/second burst 5 packets accept
     icmp type echo-request drop
   }
 }";

/// Ten a second from each source.
const EACH: &str = "table inet police {
   set sources { type ipv4_addr; flags dynamic; }
   chain in {
     type filter hook input priority 0
     icmp type echo-request add @sources { ip saddr limit rate 10/second burst 5 packets } accept
     icmp type echo-request drop
   }
 }";

const MUTE: &str = "table inet mute {
   chain in {
     type filter hook input priority 0
     icmp type echo-request drop
   }
 }";

/// As Linux routers do by themselves for most ICMP: one echo reply to each host in so many milliseconds.
fn limit(lab: &Lab, target: usize, ms: u32) {
    let target = lab.target(target);
    target.sysctl("ipv4/icmp_ratemask", "6169");
    target.sysctl("ipv4/icmp_ratelimit", &ms.to_string());
}

fn two_nics(targets: &[&'static str]) -> Config {
    let mut config = Config::dual_stack(2);
    config.data = vec!["192.0.2.50/24", "192.0.2.51/24"];
    config.targets = targets.to_vec();
    config.routes.truncate(1);
    config.members.iter_mut().for_each(|member| member.test_addresses.truncate(1));
    config
}

fn assert_nothing_failed(daemon: &Daemon, watch: &AddressWatch) {
    let text = daemon.log_text();
    assert!(!text.contains("failure detected") && !text.contains("unusable"), "{text}");
    assert_eq!(watch.events(), [], "an address has moved\n{text}");
}

fn targets(daemon: &Daemon, target: &str) -> Vec<Value> {
    json(daemon, "-t").into_iter().filter(|it| it["target"] == target).collect()
}

fn sent(daemon: &Daemon, target: &str) -> u64 {
    targets(daemon, target).iter().map(|it| it["sent"].as_u64().expect("a number")).sum()
}

#[test]
fn they_are_named_asked_less_often_and_fail_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = Daemon::start(lab.host(), &two_nics(&TARGETS_V4).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        let watch = AddressWatch::start(lab.host());
        let begun = clock::now();
        lab.target(2).nft(IN_ALL);
        lab.target(3).nft(EACH);
        for target in ["192.0.2.2", "192.0.2.3"] {
            for nic in ["eth0", "eth1"] {
                let start = format!("Target {target} answers only ");
                let line = wait_for(&format!("{start} on {nic}"), FOUND_OUT, || {
                    let log = daemon.log();
                    let of_nic = format!("of the probes on {nic}, as if it limited their rate");
                    let fits = |text: &str| text.contains(&start) && text.contains(&of_nic);
                    log.into_iter().find(|it| it.at > begun && fits(&it.text)).ok_or(())
                });
                assert!(line.text.contains("it is probed every "), "{}", line.text);
            }
            wait_for(&format!("policed {target}"), LIMIT, || {
                let all = targets(&daemon, target);
                if all.iter().all(|it| it["state"] == "policed") { Ok(()) } else { Err(all) }
            });
        }
        for row in rows(&daemon, "-t", "interface,targets,policed") {
            assert_eq!(row[2].split(' ').count(), 2, "{row:?}");
        }
        // Sixty a second from each NIC it was; a second later what it is now has settled.
        clock::pass(Duration::from_secs(1));
        let (before, from) = (sent(&daemon, "192.0.2.2"), clock::now());
        clock::pass(Duration::from_secs(2));
        let seconds = clock::ms_between(from, clock::now()) / 1e3;
        let rate = (sent(&daemon, "192.0.2.2") - before) as f64 / seconds;
        assert!(rate < 40.0, "{rate} a second");
        assert_nothing_failed(&daemon, &watch);
        for nic in ["eth0", "eth1"] {
            wait_interface(&daemon, nic, "active,probe,state", &["yes", "ok", "ok"]);
        }
        // They hide no dead path.
        let cut = lab.cut(0);
        daemon.wait_log("IP interface failure detected on eth0", cut, LIMIT);
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
    });
}

/// Two targets that limit their answers still prove that the paths work.
#[test]
fn the_death_of_the_only_free_target_fails_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        (1..=2).for_each(|target| limit(&lab, target, 50));
        let daemon = Daemon::start(lab.host(), &two_nics(&TARGETS_V4).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        for target in ["192.0.2.1", "192.0.2.2"] {
            wait_for(&format!("policed {target}"), LIMIT, || {
                let all = targets(&daemon, target);
                if all.iter().all(|it| it["state"] == "policed") { Ok(()) } else { Err(all) }
            });
        }
        let watch = AddressWatch::start(lab.host());
        let dead = clock::now();
        lab.target(3).nft(MUTE);
        daemon.wait_log("Target 192.0.2.3 is silent on eth", dead, LIMIT);
        clock::pass(Duration::from_secs(5));
        assert_nothing_failed(&daemon, &watch);
        for nic in ["eth0", "eth1"] {
            wait_interface(&daemon, nic, "active,probe,state", &["yes", "ok", "ok"]);
        }
    });
}

/// While one of them is known to limit its answers and the other not yet, neither is dropped; and a path that
/// was cut is repaired though its targets are asked at different paces.
#[test]
fn targets_with_different_limits_fail_nothing_and_a_mended_path_is_repaired() {
    isolated(|| {
        let lab = Lab::builder().build();
        limit(&lab, 1, 100);
        limit(&lab, 2, 500);
        let daemon = Daemon::start(lab.host(), &two_nics(&TARGETS_V4[..2]).to_string());
        daemon.wait_log("first reply on eth1", 0, LIMIT);
        let watch = AddressWatch::start(lab.host());
        for target in ["192.0.2.1", "192.0.2.2"] {
            wait_for(&format!("policed {target}"), 2 * LIMIT, || {
                let all = targets(&daemon, target);
                if all.iter().all(|it| it["state"] == "policed") { Ok(()) } else { Err(all) }
            });
        }
        clock::pass(Duration::from_secs(5));
        assert_nothing_failed(&daemon, &watch);
        let cut = lab.cut(0);
        daemon.wait_log("IP interface failure detected on eth0", cut, 3 * LIMIT);
        let mended = lab.mend(0);
        daemon.wait_log("IP interface repair detected on eth0", mended, 6 * LIMIT);
    });
}
