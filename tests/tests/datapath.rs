//! How replies come in: four kinds of hook, somebody else's program, pins, and life without a BPF file system.

#[path = "datapath/contested.rs"]
mod contested;
#[path = "datapath/mtu.rs"]
mod mtu;

use std::path::PathBuf;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Frame};
use mpathd_tests::daemon::bin_dir;
use mpathd_tests::load::Hogs;
use mpathd_tests::observe::link;
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{json, rows, wait_interface, wait_ok};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, bpf, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
/// Of the configuration.
const FDT: Duration = Duration::from_millis(100);
const NATIVE: u8 = 1;
const GENERIC: u8 = 2;

fn config(top: &str) -> String {
    Config { top: top.to_owned(), ..Config::dual_stack(2) }.to_string()
}

fn running(lab: &Lab, top: &str) -> Daemon {
    let daemon = Daemon::start(lab.host(), &config(top));
    wait_ok(&daemon, &["eth0", "eth1"]);
    daemon
}

/// RECEIVE of `ipmpstat -i`.
fn receive(daemon: &Daemon, nic: &str) -> String {
    let rows = rows(daemon, "-i", "interface,receive");
    let row = rows.iter().find(|row| row[0] == nic);
    row.unwrap_or_else(|| panic!("no {nic} in {rows:?}"))[1].clone()
}

fn detects_a_cut(lab: &Lab, daemon: &Daemon) {
    wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
    lab.cut(0);
    wait_interface(daemon, "eth0", "link,state,reason", &["up", "failed", "probes"]);
    wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
    lab.mend(0);
    wait_interface(daemon, "eth0", "active,state", &["yes", "ok"]);
}

fn detects_a_cut_through(mode: &str, program: Option<u8>) {
    let lab = Lab::builder().build();
    let daemon = running(&lab, &format!("datapath = \"{mode}\""));
    for nic in ["eth0", "eth1"] {
        assert_eq!(receive(&daemon, nic), mode, "{}", daemon.log_text());
        assert_eq!(link(lab.host(), nic).xdp.map(|it| it.mode), program);
    }
    detects_a_cut(&lab, &daemon);
}

#[test]
fn a_cut_is_detected_through_native_xdp() {
    isolated(|| detects_a_cut_through("xdp", Some(NATIVE)));
}

#[test]
fn a_cut_is_detected_through_generic_xdp() {
    isolated(|| detects_a_cut_through("xdp-generic", Some(GENERIC)));
}

#[test]
fn a_cut_is_detected_through_tcx() {
    isolated(|| detects_a_cut_through("tcx", None));
}

#[test]
fn a_cut_is_detected_through_a_packet_socket() {
    isolated(|| detects_a_cut_through("socket", None));
}

#[test]
fn a_program_of_somebody_else_is_left_alone() {
    isolated(|| {
        let lab = Lab::builder().build();
        let program = bpf::foreign_xdp().expect("a program can be loaded");
        lab.host().expect("ip", &["link", "set", "dev", "eth0", "xdp", "pinned", &program]);
        let theirs = link(lab.host(), "eth0").xdp;
        assert!(theirs.is_some());
        let mut daemon = running(&lab, "");
        assert_eq!(receive(&daemon, "eth0"), "tcx", "{}", daemon.log_text());
        assert_eq!(receive(&daemon, "eth1"), "xdp", "{}", daemon.log_text());
        detects_a_cut(&lab, &daemon);
        assert_eq!(link(lab.host(), "eth0").xdp, theirs);
        daemon.stop();
        assert_eq!(link(lab.host(), "eth0").xdp, theirs);
        // It stays theirs at a restart, too.
        daemon.restart();
        wait_ok(&daemon, &["eth0", "eth1"]);
        assert_eq!(receive(&daemon, "eth0"), "tcx", "{}", daemon.log_text());
        assert_eq!(link(lab.host(), "eth0").xdp, theirs);
    });
}

fn is_reply(frame: &Frame) -> bool {
    matches!(frame.content, Content::Echo { request: false, .. })
}

/// What the host's stack, and so tcpdump, gets to see.
#[test]
fn replies_are_consumed_unless_the_configuration_says_no() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = running(&lab, "consume_replies = false");
        let seen = |nic: &str, since| {
            let capture = Capture::start(lab.host(), nic);
            clock::sleep_until(since + clock::nanos(FDT * 5));
            capture.frames().iter().filter(|it| is_reply(it)).count()
        };
        for nic in ["eth0", "eth1"] {
            let count = seen(nic, clock::now());
            assert!(count >= 10, "{count} replies passed {nic}");
        }
        daemon.stop();
        daemon.configure(&config("consume_replies = true"));
        daemon.restart();
        wait_ok(&daemon, &["eth0", "eth1"]);
        for nic in ["eth0", "eth1"] {
            assert_eq!(seen(nic, clock::now()), 0, "replies have passed {nic}");
        }
        detects_a_cut(&lab, &daemon);
    });
}

/// The pins below a BPF file system, by name.
fn pins(bpffs: &str) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().map(|it| it.to_string_lossy().into_owned());
    pin_paths(bpffs).into_iter().filter_map(name).collect()
}

fn pin_paths(bpffs: &str) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(bpffs).join("mpathd")];
    let mut pins = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|it| it.expect("it can be listed").path()) {
            if path.is_dir() { folders.push(path) } else { pins.push(path) }
        }
    }
    pins
}

/// Gives the daemon the /sys of its network namespace, with the BPF file system of before, and the machine's
/// /proc below ours, which shows the kernel's threads.
const AS_ON_A_MACHINE: &str = "umount /proc && mkdir -p /run/bpf && mount --bind /sys/fs/bpf /run/bpf && \
    mount -t sysfs sysfs /sys && mount --bind /run/bpf /sys/fs/bpf && exec \"$0\" \"$@\"";

#[test]
fn a_cut_is_found_where_receiving_is_left_to_a_thread() {
    isolated(|| {
        let lab = Lab::builder().build();
        let program = bin_dir().join("mpathd");
        let program = program.to_str().expect("a path in UTF-8");
        let command = ["unshare", "--mount", "sh", "-c", AS_ON_A_MACHINE, program];
        let mut daemon = Daemon::launch_by(lab.host(), &config("datapath = \"xdp\""), &command);
        daemon.wait_ready(LIMIT);
        wait_ok(&daemon, &["eth0", "eth1"]);
        // veth has NAPI only with XDP, so its thread can be asked for only now.
        for nic in ["eth0", "eth1"] {
            let threaded = format!("/proc/{}/root/sys/class/net/{nic}/threaded", daemon.pid());
            std::fs::write(threaded, "1").expect("NAPI can be a thread");
        }
        daemon.kill();
        let begun = clock::now();
        daemon.restart();
        for nic in ["eth0", "eth1"] {
            daemon.wait_log(&format!("received frames can wait on {nic} while"), begun, LIMIT);
        }
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        let hogs = Hogs::start(8);
        clock::pass(Duration::from_secs(5));
        drop(hogs);
        let log = daemon.log_text();
        assert!(
            !log.contains("failure detected"),
            "frames that waited were taken for lost:\n{log}"
        );
        let addresses = AddressWatch::start(lab.host());
        let cut = lab.cut(0);
        let moved = addresses.wait_added("192.0.2.50", "eth1", cut, LIMIT);
        // Nine rounds in the FDT, at least four of them before a verdict.
        assert!(moved - cut >= clock::nanos(FDT) * 4 / 9, "after {} ns", moved - cut);
        wait_interface(&daemon, "eth0", "link,state,reason", &["up", "failed", "probes"]);
        lab.mend(0);
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
    });
}

#[test]
fn hooks_outlive_the_daemon_and_are_adopted_without_a_lost_probe() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = running(&lab, "");
        let links = ["eth0", "eth1"].map(|nic| format!("xdp-{}", link(lab.host(), nic).ifindex));
        for pin in &links {
            assert!(pins("/sys/fs/bpf").contains(pin), "no {pin} in {:?}", pins("/sys/fs/bpf"));
        }
        for _ in 0..2 {
            daemon.kill();
            for nic in ["eth0", "eth1"] {
                let xdp = link(lab.host(), nic).xdp;
                assert_eq!(xdp.map(|it| it.mode), Some(NATIVE), "{nic} has lost its program");
            }
            daemon.restart();
            wait_ok(&daemon, &["eth0", "eth1"]);
            clock::sleep_until(clock::now() + clock::nanos(FDT * 3));
            for target in json(&daemon, "-t") {
                assert_eq!(target["lost"], 0, "{target}");
                assert!(target["acked"].as_u64() > Some(0), "{target}");
            }
            assert_eq!(receive(&daemon, "eth0"), "xdp");
            let after = pins("/sys/fs/bpf");
            for pin in &links {
                assert_eq!(after.iter().filter(|it| *it == pin).count(), 1, "{after:?}");
            }
        }
        detects_a_cut(&lab, &daemon);
    });
}

#[test]
fn without_a_bpf_file_system_it_runs_unpinned_and_says_so() {
    isolated(|| {
        let lab = Lab::builder().build();
        std::fs::create_dir("/run/plain").expect("our own /run");
        for place in ["/run/nowhere", "/run/plain"] {
            let begun = clock::now();
            let mut daemon = Daemon::launch(lab.host(), &config(""), &["--bpffs", place]);
            daemon.wait_ready(LIMIT);
            daemon.wait_log("nothing is pinned", begun, LIMIT);
            wait_ok(&daemon, &["eth0", "eth1"]);
            assert_eq!(receive(&daemon, "eth0"), "xdp", "{}", daemon.log_text());
            if place == "/run/plain" {
                detects_a_cut(&lab, &daemon);
            }
            daemon.stop();
            wait_for("end of the hooks", LIMIT, || match link(lab.host(), "eth0").xdp {
                None => Ok(()),
                there => Err(there),
            });
            let left: Vec<_> = std::fs::read_dir(place).into_iter().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    });
}
