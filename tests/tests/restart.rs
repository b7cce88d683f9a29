//! The daemon may stop, die and come back, at any moment: traffic goes on, nothing is forgotten.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mpathd_tests::daemon::bin_dir;
use mpathd_tests::observe::{addrs, holders, link, neighbours, routes_v4, routes_v6};
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{interface, json as json_of, wait_interface, wait_ok};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::watch::{AddressWatch, RouteWatch};
use mpathd_tests::{Config, Daemon, Lab, NetNs, clock, isolated, wait_for};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);
const DATA: [&str; 3] = ["192.0.2.50", "192.0.2.51", "2001:db8::50"];
const PORT: u16 = 7007;
/// Of the configuration.
const FDT: Duration = Duration::from_millis(100);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn running(lab: &Lab) -> Daemon {
    let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
    wait_ok(&daemon, &["eth0", "eth1"]);
    wait_for("routes over both", LIMIT, || {
        let all = [routes_v4(lab.host()), routes_v6(lab.host())].concat();
        let both = all.iter().filter(|it| it.protocol == "109" && it.nexthops.len() == 2).count();
        if both == 4 { Ok(()) } else { Err(all) }
    });
    daemon
}

/// Lines of `ipmpstat -e --follow --json`, until dropped.
struct Subscriber {
    tool: Child,
    lines: Receiver<Value>,
}

impl Subscriber {
    fn start(daemon: &Daemon) -> Self {
        let mut tool = Command::new(bin_dir().join("ipmpstat"))
            .args(["-e", "--follow", "--json"])
            .env("MPATHD_RUN_DIR", daemon.run_dir())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ipmpstat can be run");
        let told = BufReader::new(tool.stdout.take().expect("it is a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("it says JSON");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { tool, lines }
    }

    /// All up to the first of this kind.
    fn until(&self, event: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let next = self.lines.recv_timeout(LIMIT);
            all.push(next.unwrap_or_else(|error| panic!("no {event}: {error}; {all:#?}")));
            if all.last().is_some_and(|it| it["event"] == event) {
                return all;
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.tool.kill().unwrap_or_default();
        self.tool.wait().ok();
    }
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|it| it["seq"].as_u64().expect("a number")).collect()
}

/// Also of what was before a daemon that died.
#[test]
fn behaviour_157_who_subscribes_hears_of_each_change_once() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = running(&lab);
        let subscriber = Subscriber::start(&daemon);
        lab.cut(0);
        let mut told = subscriber.until("interface-failed");
        let failed = told.last().expect("it has come").clone();
        assert_eq!(
            (&failed["interface"], &failed["group"], &failed["reason"]),
            (&json!("eth0"), &json!("ipmp0"), &json!("probes"))
        );
        lab.mend(0);
        told.extend(subscriber.until("interface-repaired"));
        let numbers = seqs(&told);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let failures = told.iter().filter(|it| it["event"] == "interface-failed");
        assert_eq!(failures.count(), 1, "{told:#?}");

        daemon.kill();
        daemon.restart();
        wait_ok(&daemon, &["eth0", "eth1"]);
        let after = json_of(&daemon, "-e");
        assert!(after.contains(&failed), "{after:#?}");
        let subscriber = Subscriber::start(&daemon);
        lab.carrier(1, false);
        let told = subscriber.until("link-down");
        assert!(seqs(&told).is_sorted_by(|a, b| a < b), "{told:#?}");
        assert!(seqs(&told).last() > numbers.last());
    });
}

/// Two a data address, from the LAN.
fn streams(lab: &Lab) -> Vec<Stream> {
    let to = DATA.map(|it| SocketAddr::new(ip(it), PORT));
    let interval = Duration::from_millis(5);
    let of =
        |it| [Stream::tcp(lab.client(), it, interval), Stream::udp(lab.client(), it, interval)];
    let streams: Vec<Stream> = to.into_iter().flat_map(of).collect();
    wait_answered(&streams);
    streams
}

fn wait_answered(streams: &[Stream]) {
    let now = clock::now();
    for stream in streams {
        stream.wait_answered(now, LIMIT);
    }
}

/// TCP comes first of each pair.
fn check_survived(streams: Vec<Stream>) {
    wait_answered(&streams);
    for (n, stream) in streams.into_iter().enumerate() {
        let is_tcp = n % 2 == 0;
        // What TCP sends again may take its time.
        let report = stream.finish(if is_tcp { LIMIT } else { Duration::from_secs(1) });
        assert_eq!(report.broken, None, "a connection was lost");
        assert!(!is_tcp || report.unanswered() == 0, "TCP has lost something");
    }
}

fn state_of(host: &NetNs) -> impl PartialEq + std::fmt::Debug {
    (addrs(host), routes_v4(host), routes_v6(host))
}

/// A daemon that is killed before it has written its state file has changed sysctls already.
#[test]
fn sysctls_are_restored_though_no_state_file_was_written() {
    isolated(|| {
        let lab = Lab::builder().build();
        let keys = ["ipv4/conf/eth0/arp_ignore", "ipv4/conf/eth0/rp_filter"];
        let values = || keys.map(|key| lab.host().read_sysctl(key));
        let before = values();
        let mut daemon = running(&lab);
        assert_ne!(values(), before);
        daemon.kill();
        std::fs::remove_file(daemon.run_dir().join("state.json")).expect("it has one");
        let released = daemon.mpathd(&["release"]);
        assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
        assert_eq!(values(), before);
    });
}

#[test]
fn a_stop_leaves_all_in_place_and_a_start_adopts_it() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = running(&lab);
        let _server = EchoServer::start(lab.host(), PORT);
        let streams = streams(&lab);
        let before = state_of(lab.host());
        let (addresses, routes) = (AddressWatch::start(lab.host()), RouteWatch::start(lab.host()));
        assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.log_text());
        assert_eq!(state_of(lab.host()), before, "it has not left all in place");
        wait_answered(&streams);
        // After a stop, and after a death.
        for _ in 0..2 {
            daemon.restart();
            wait_ok(&daemon, &["eth0", "eth1"]);
            clock::sleep_until(clock::now() + clock::nanos(FDT * 5));
            assert_eq!(addresses.events(), [], "an address was touched\n{}", daemon.log_text());
            assert_eq!(routes.events(), [], "a route was touched\n{}", daemon.log_text());
            assert_eq!(state_of(lab.host()), before);
            daemon.kill();
        }
        check_survived(streams);
    });
}

/// Behaviour 163.
#[test]
fn a_death_in_the_middle_of_a_move_is_made_good_at_once() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = running(&lab);
        let _server = EchoServer::start(lab.host(), PORT);
        let streams = streams(&lab);
        let watch = AddressWatch::start(lab.host());
        lab.cut(0);
        wait_for("first step of the move", LIMIT, || watch.events().first().map(drop).ok_or(()));
        daemon.kill();
        let killed = clock::now();
        daemon.restart();
        for address in DATA {
            wait_held(lab.host(), address, "eth1", Duration::from_secs(1));
        }
        wait_for("routes over eth1 alone", Duration::from_secs(1), || {
            let all = [routes_v4(lab.host()), routes_v6(lab.host())].concat();
            let others = all.iter().filter(|it| {
                let by_eth0 = it.nexthops.iter().any(|hop| hop.dev == "eth0");
                it.protocol == "109" && (by_eth0 || it.dev.as_deref() == Some("eth0"))
            });
            if others.count() == 0 { Ok(()) } else { Err(all) }
        });
        wait_answered(&streams);

        // Not trusted again before it has answered, whether its failure was written down in time or not.
        clock::sleep_until(killed + clock::nanos(FDT * 10));
        let text = daemon.log_text();
        assert_eq!(interface(&daemon, "eth0")["active"], false, "{text}");
        let since =
            |text: &str| daemon.log().iter().any(|it| it.at > killed && it.text.contains(text));
        assert!(!since("repair detected") && !since("first reply on eth0"), "{text}");
        lab.mend(0);
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
        check_survived(streams);
    });
}

/// Behaviour 12.
#[test]
fn a_failed_nic_stays_failed_over_a_restart() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = running(&lab);
        lab.cut(0);
        wait_interface(&daemon, "eth0", "state", &["failed"]);
        for address in DATA {
            wait_held(lab.host(), address, "eth1", LIMIT);
        }
        daemon.stop();
        let watch = AddressWatch::start(lab.host());
        let restarted = clock::now();
        daemon.restart();
        assert_eq!(interface(&daemon, "eth0")["state"], "failed");
        wait_interface(&daemon, "eth1", "probe,state", &["ok", "ok"]);
        clock::sleep_until(restarted + clock::nanos(FDT * 10));
        assert_eq!(interface(&daemon, "eth0")["state"], "failed");
        let of_data = |it: &&mpathd_tests::watch::AddressEvent| DATA.map(ip).contains(&it.address);
        let moves = watch.events();
        assert_eq!(moves.iter().filter(of_data).count(), 0, "{moves:#?}");
        lab.mend(0);
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
        wait_for("an address on eth0", LIMIT, || {
            let on_eth0 = DATA.iter().any(|it| holders(lab.host(), it) == ["eth0"]);
            if on_eth0 { Ok(()) } else { Err(addrs(lab.host())) }
        });
    });
}

/// Behaviour 9.
#[test]
fn there_is_one_daemon_in_a_namespace() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab);
        let before = state_of(lab.host());
        let mpathd = bin_dir().join("mpathd");
        let config = daemon.config();
        for run_dir in ["/run/mpathd", "/run/other"] {
            let arguments = [
                "10",
                mpathd.to_str().expect("ASCII"),
                "--config",
                config.to_str().expect("ASCII"),
                "--run-dir",
                run_dir,
            ];
            let second = lab.host().output("timeout", &arguments);
            let said = String::from_utf8_lossy(&second.stderr).into_owned();
            assert_eq!(second.status.code(), Some(1), "{said}");
            assert!(
                said.contains(&daemon.pid().to_string()),
                "it does not name {}: {said}",
                daemon.pid()
            );
        }
        assert_eq!(state_of(lab.host()), before);
        // The first one has not been disturbed.
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
    });
}

/// What the daemon would touch in a host that is none of its business.
fn untouched(host: &NetNs) -> impl PartialEq + std::fmt::Debug {
    let sysctls = ["eth0", "eth1"].map(|nic| {
        ["arp_ignore", "arp_announce", "rp_filter"]
            .map(|key| host.read_sysctl(&format!("ipv4/conf/{nic}/{key}")))
    });
    let links = ["eth0", "eth1"].map(|nic| link(host, nic));
    (state_of(host), sysctls, links, neighbours(host))
}

/// Behaviours 1, 14: who asks right after READY is answered.
#[test]
fn without_configuration_it_runs_and_touches_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().expect("ip", &["link", "set", "eth1", "down"]);
        let before = untouched(lab.host());
        for config in [None, Some(""), Some("failure_detection_time = \"1s\"\n")] {
            let mut daemon =
                Daemon::launch(lab.host(), config.unwrap_or_default(), &["--fallback", "/none"]);
            if config.is_none() {
                daemon.stop();
                std::fs::remove_file(daemon.config()).expect("it was written");
                daemon.restart();
            } else {
                daemon.wait_ready(LIMIT);
            }
            let groups = daemon.ipmpstat(&["-g"]);
            assert!(groups.status.success() && groups.stdout.is_empty(), "{groups:?}");
            assert_eq!(untouched(lab.host()), before, "{}", daemon.log_text());
            assert_eq!(daemon.stop().code(), Some(0));
        }
    });
}

#[test]
fn a_bad_file_ends_it_with_2_and_touches_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        let before = untouched(lab.host());
        let bad = Config::dual_stack(2).to_string().replace("targets", "tragets");
        let mut daemon = Daemon::launch(lab.host(), &bad, &[]);
        assert_eq!(daemon.wait_ended(LIMIT).code(), Some(2), "{}", daemon.log_text());
        let text = daemon.log_text();
        for told in ["mpathd.toml", "tragets", "targets"] {
            assert!(text.contains(told), "no `{told}` in {text}");
        }
        assert_eq!(untouched(lab.host()), before);
    });
}

#[test]
fn a_bad_file_with_a_fallback_is_told_and_the_fallback_runs() {
    isolated(|| {
        let lab = Lab::builder().build();
        std::fs::write("/run/fallback.toml", Config::dual_stack(2).to_string())
            .expect("our own /run");
        let begun = clock::now();
        let bad = "failure_detection_time = 10\n";
        let mut daemon = Daemon::launch(lab.host(), bad, &["--fallback", "/run/fallback.toml"]);
        daemon.wait_ready(LIMIT);
        daemon.wait_log("mpathd.toml", begun, LIMIT);
        daemon.wait_log("/run/fallback.toml", begun, LIMIT);
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        lab.cut(0);
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
    });
}
