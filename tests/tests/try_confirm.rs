//! A configuration on trial goes back by itself, whatever becomes of the daemon; the last good one stands in for
//! a bad one; and `mpathd status` says how it is.

use std::process::Output;
use std::time::Duration;

use mpathd_tests::observe::holders;
use mpathd_tests::{Daemon, Lab, clock, isolated, told, wait_for};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(10);

const GROUP: &str = r#"
failure_detection_time = "600ms"
[groups.ipmp0]
data_addresses = ["192.0.2.50/24"]
targets = ["192.0.2.1", "192.0.2.2"]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24"]
"#;

/// What is tried: another data address in place of the one that there is.
fn other() -> String {
    GROUP.replace("192.0.2.50", "192.0.2.60")
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The data addresses that stand, of the two.
fn standing(lab: &Lab) -> Vec<&'static str> {
    let all = ["192.0.2.50", "192.0.2.60"].into_iter();
    all.filter(|address| !holders(lab.host(), address).is_empty()).collect()
}

fn wait_standing(lab: &Lab, daemon: &Daemon, wanted: &str) {
    wait_for(wanted, LIMIT, || match standing(lab) {
        now if now == [wanted] => Ok(()),
        now => Err((now, daemon.log_text())),
    });
}

fn begin(lab: &Lab, daemon: &Daemon, timeout: &str) {
    daemon.configure(&other());
    let (code, out, err) = said(&daemon.mpathd(&["try", "--timeout", timeout]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{}", daemon.log_text());
    let lines: Vec<&str> = out.lines().collect();
    let changes = ["group ipmp0: - 192.0.2.50/24", "group ipmp0: + 192.0.2.60/24"];
    assert_eq!(lines[..2], changes);
    assert_eq!(
        lines[2..],
        [format!(
            "trying for {timeout}: `mpathd confirm` keeps it, `mpathd revert` undoes it at once"
        )]
    );
    assert_eq!(standing(lab), ["192.0.2.60"], "{}", daemon.log_text());
}

/// By a word, by itself, by the end of the daemon, however it ends; and not once it is confirmed.
#[test]
fn what_is_not_confirmed_goes_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = Daemon::start(lab.host(), GROUP);
        told::wait_ok(&daemon, &["eth0", "eth1"]);
        let nothing = "mpathd: no configuration is on trial\n".to_owned();
        for word in ["confirm", "revert"] {
            let none = (Some(1), String::new(), nothing.clone());
            assert_eq!(said(&daemon.mpathd(&[word])), none);
        }
        begin(&lab, &daemon, "600s");
        let (code, _, err) = said(&daemon.mpathd(&["reload"]));
        assert_eq!((code, err.contains("is on trial")), (Some(1), true), "{err}");
        let (code, out, _) = said(&daemon.mpathd(&["revert"]));
        assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
        assert_eq!(standing(&lab), ["192.0.2.50"]);

        let begun = clock::now();
        begin(&lab, &daemon, "2s");
        wait_standing(&lab, &daemon, "192.0.2.50");
        let line = daemon.wait_log("try: not confirmed within 2 s", begun, LIMIT);
        assert!(clock::ms_between(begun, line.at) >= 2000.0);

        // The files still say what was tried, but nobody has confirmed it.
        for end in [Signal::SIGTERM, Signal::SIGKILL] {
            begin(&lab, &daemon, "600s");
            let begun = clock::now();
            daemon.signal(end);
            daemon.wait_ended(LIMIT);
            daemon.restart();
            wait_standing(&lab, &daemon, "192.0.2.50");
            daemon.wait_log("was tried and not confirmed", begun, LIMIT);
            let (_, _, err) = said(&daemon.mpathd(&["status"]));
            assert!(err.contains("mpathd: note: what "), "{err}");
        }

        begin(&lab, &daemon, "2s");
        let (code, out, err) = said(&daemon.mpathd(&["confirm"]));
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "confirmed\n", ""));
        daemon.kill();
        daemon.restart();
        assert_eq!(standing(&lab), ["192.0.2.60"], "{}", daemon.log_text());
        let (_, _, err) = said(&daemon.mpathd(&["status"]));
        assert_eq!(err, "");

        // What is bad is not tried.
        daemon.configure("[groups.ipmp0]\n");
        let (code, out, err) = said(&daemon.mpathd(&["try"]));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert_eq!(standing(&lab), ["192.0.2.60"]);
    });
}

/// The first group of a host may be on trial too: then all of it goes.
#[test]
fn the_first_group_goes_without_a_trace() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = Daemon::start(lab.host(), "");
        daemon.configure(GROUP);
        let (code, out, err) = said(&daemon.mpathd(&["try", "--timeout", "600s"]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert_eq!(standing(&lab), ["192.0.2.50"]);
        assert_eq!(said(&daemon.mpathd(&["revert"])).0, Some(0));
        assert_eq!(standing(&lab), [""; 0], "{}", daemon.log_text());
        assert_eq!(holders(lab.host(), "192.0.2.11"), [""; 0]);
    });
}

/// The host's own address and default route are on trial with the group: they come back as they were.
#[test]
fn what_was_taken_over_comes_back() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        host.expect("ip", &["address", "add", "192.0.2.50/24", "dev", "eth0"]);
        host.expect("ip", &["address", "add", "2001:db8::50/64", "dev", "eth0", "nodad"]);
        host.expect("ip", &["route", "add", "default", "via", "192.0.2.1", "dev", "eth0"]);
        let seen = || {
            let of = |arguments: &[&str]| host.expect("ip", arguments);
            let routes = of(&["route", "show"]);
            // In the order of the kernel's list, which is not promised.
            let mut lines: Vec<String> = routes.lines().map(|it| it.trim().to_owned()).collect();
            lines.sort();
            (of(&["-o", "address", "show", "scope", "global"]), lines)
        };
        let before = seen();
        let mut daemon = Daemon::start(host, "");
        let group = GROUP
            .replace("[\"192.0.2.50/24\"]", "[\"192.0.2.50/24\", \"2001:db8::50/64\"]")
            + "[[groups.ipmp0.routes]]\nto = \"default\"\nvia = \"192.0.2.1\"\n";
        daemon.configure(&group);
        for ending in ["time", "revert", "death"] {
            let timeout = if ending == "time" { "2s" } else { "600s" };
            let (code, out, err) = said(&daemon.mpathd(&["try", "--timeout", timeout]));
            assert_eq!((code, err.as_str()), (Some(0), ""), "{out}{}", daemon.log_text());
            wait_for("the take-over", LIMIT, || {
                let text = seen().0;
                if text.contains("192.0.2.50/24") { Err((text, daemon.log_text())) } else { Ok(()) }
            });
            match ending {
                "revert" => {
                    let reverted = said(&daemon.mpathd(&["revert"]));
                    assert_eq!((reverted.0, seen()), (Some(0), before.clone()), "{reverted:?}");
                }
                "death" => {
                    daemon.kill();
                    daemon.restart();
                }
                _ => {}
            }
            wait_for(&format!("all as it was, by {ending}"), LIMIT, || match seen() {
                now if now == before => Ok(()),
                now => Err((now, before.clone(), daemon.log_text())),
            });
        }
    });
}

/// A bad file after a good start: the last good one is run instead, and is shown.
#[test]
fn the_last_good_configuration_stands_in() {
    isolated(|| {
        let lab = Lab::builder().build();
        let folder = "/run/mpathd-state";
        std::fs::create_dir_all(folder).expect("/run is the lab's own");
        let good = format!("{folder}/last-good.toml");
        let program = mpathd_tests::daemon::bin_dir().join("mpathd");
        let program = program.to_str().expect("a path in UTF-8");
        let state = format!("STATE_DIRECTORY={folder}");
        let command = ["env", &state, program, "--fallback", &good];

        // Without a last good one a bad file is an error as ever.
        let mut daemon = Daemon::launch_by(lab.host(), "[groups.ipmp0]\n", &command);
        assert_eq!(daemon.wait_ended(LIMIT).code(), Some(2));
        drop(daemon);

        let mut daemon = Daemon::launch_by(lab.host(), GROUP, &command);
        daemon.wait_ready(LIMIT);
        daemon.configure(&other());
        assert_eq!(said(&daemon.mpathd(&["reload"])).0, Some(0));
        daemon.configure("[groups.ipmp0\n");
        assert_eq!(said(&daemon.mpathd(&["reload"])).0, Some(2));
        let begun = clock::now();
        daemon.kill();
        daemon.restart();
        daemon.wait_log("running on the last good configuration of 20", begun, LIMIT);
        assert_eq!(standing(&lab), ["192.0.2.60"], "{}", daemon.log_text());
        let (_, out, _) = said(&daemon.mpathd(&["status", "--json"]));
        assert!(out.contains("running on the last good configuration"), "{out}");
        let output = daemon.ipmpstat(&["-g", "--json"]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("last good configuration"));
    });
}

/// Exit codes 0, 3, 4 and 1.
#[test]
fn status_says_how_it_is() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut daemon = Daemon::start(lab.host(), GROUP);
        told::wait_ok(&daemon, &["eth0", "eth1"]);
        let wait = |code: i32, line: &str| {
            wait_for(line, LIMIT, || match said(&daemon.mpathd(&["status", "ipmp0"])) {
                (Some(now), out, _) if now == code && out.trim_end() == line => Ok(()),
                other => Err((other, daemon.log_text())),
            });
        };
        wait(0, "ipmp0 ok 2 of 2 interfaces, FDT 600ms");
        lab.cut(0);
        wait(3, "ipmp0 degraded 1 of 2 interfaces, FDT 600ms; eth0 failed (probes)");
        lab.cut(1);
        wait(
            4,
            "ipmp0 failed 0 of 2 interfaces, FDT 600ms; eth0 failed (probes), eth1 failed (probes)",
        );
        assert_eq!(said(&daemon.mpathd(&["status", "ipmp1"])).0, Some(1));
        assert!(daemon.stop().success());
        assert_eq!(said(&daemon.mpathd(&["status"])).0, Some(1));
    });
}
