//! The daemon names its own blindness, and `mpathd check --measure` says beforehand what a host can honour.

use std::process::Command;
use std::time::Duration;

use mpathd_tests::daemon::bin_dir;
use mpathd_tests::told::{json, rows, wait_ok};
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn what_made_it_late_is_counted_and_told() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_for("two samples of the machine", LIMIT, || {
            let delays = json(&daemon, "-l");
            let count = |row: usize| delays[row]["count"].as_u64().unwrap_or(0);
            let wakes = if delays[0]["delay"] == "wake-up" { count(0) } else { 0 };
            // Addresses and routes were set; steal and waits for a CPU are sampled each second.
            if wakes > 20 && count(1) > 5 && count(2) >= 2 && count(3) >= 2 {
                Ok(())
            } else {
                Err(delays)
            }
        });
        let begun = clock::now();
        let stop = Duration::from_millis(300);
        daemon.signal(Signal::SIGSTOP);
        clock::sleep_until(clock::now() + clock::nanos(stop));
        daemon.signal(Signal::SIGCONT);
        daemon.wait_log("missed sending", begun, LIMIT);
        daemon.wait_log("likely cause", begun, LIMIT);
        let wake = &rows(&daemon, "-l", "delay,max,age")[0];
        let max = wake[1].trim_end_matches("ms").parse::<f64>().expect("milliseconds");
        assert!(wake[0] == "wake-up" && max >= 250.0, "{wake:?}");
        daemon.signal(Signal::SIGUSR1);
        daemon.wait_log("statistics: lateness of a wake-up: p50", begun, LIMIT);
        daemon.wait_log("statistics: steal in a second: ", begun, LIMIT);
    });
}

#[test]
fn a_measurement_says_what_a_host_can_honour() {
    isolated(|| {
        let lab = Lab::builder().build();
        let file = "/run/quick.toml";
        let quick = Config { fdt: "5ms", ..Config::dual_stack(2) };
        std::fs::write(file, quick.to_string()).expect("our own /run");
        // Duplicate address detection of the link-local ones ends by itself.
        let before = wait_for("addresses that stand", LIMIT, || {
            let told = lab.host().expect("ip", &["-d", "address"]);
            if told.contains("tentative") { Err(told) } else { Ok(told) }
        });
        let mpathd = bin_dir().join("mpathd");
        let check = |time: &str, command: &[&str]| {
            let run = || {
                let words =
                    [command, &[mpathd.to_str().expect("UTF-8"), "check", "--config", file]];
                let words = words.concat();
                Command::new(words[0]).args(&words[1..]).args(["--measure", time]).output()
            };
            let output = lab.host().run(run).expect("it can be run");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let (code, said, _) = check("1s", &[]);
        assert_eq!(code, Some(0), "{said}");
        let line = |said: &str, words: &str| {
            let found = said.lines().find(|it| it.contains(words)).map(str::to_owned);
            found.unwrap_or_else(|| panic!("no `{words}` in {said}"))
        };
        assert!(line(&said, "that wakes each ms").contains("(1000 times)"), "{said}");
        assert!(line(&said, "network configuration, takes p50").contains(" times)"), "{said}");
        line(&said, "steal");
        // No machine is that quick that nothing can be said, and the group asks for the least there is.
        let honoured = line(&said, "can honour a failure detection time of");
        let warned =
            said.contains("warning: group ipmp0 has an FDT of 5ms, and this host can honour");
        assert_eq!(warned, !honoured.contains("time of 5ms"), "{said}");
        assert_eq!(lab.host().expect("ip", &["-d", "address"]), before, "something was touched");

        let (code, said, _) = check("1s", &["setpriv", "--bounding-set=-net_admin,-sys_nice"]);
        assert_eq!(code, Some(0), "{said}");
        line(&said, "CAP_NET_ADMIN is needed");
        line(&said, "can honour");

        let (code, _, error) = check("10", &[]);
        assert_eq!(code, Some(2));
        assert!(error.contains("write \"10s\" or \"10ms\""), "{error}");
    });
}

/// Scheduling policies of the daemon's threads: 0 ordinary, 1 SCHED_FIFO, 6 SCHED_DEADLINE.
fn policies(daemon: &Daemon) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs");
    let stat = |thread: &std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat"));
    let stats = threads.flatten().filter_map(|thread| stat(&thread).ok());
    // Field 41 of proc_pid_stat(5); the name in parentheses is the second one.
    let policy = |stat: String| {
        let after_name = stat.rsplit_once(") ")?.1.to_owned();
        after_name.split(' ').nth(38).map(str::to_owned)
    };
    stats.filter_map(policy).collect()
}

#[test]
fn a_daemon_with_a_deadline_detects_failures_and_gives_the_deadline_up_at_a_reload() {
    isolated(|| {
        let lab = Lab::builder().build();
        let with = |priority: &str| {
            let top = format!("realtime_priority = {priority}\n");
            Config { top, fdt: "300ms", ..Config::dual_stack(2) }.to_string()
        };
        let daemon = Daemon::start(lab.host(), &with("\"deadline\""));
        wait_ok(&daemon, &["eth0", "eth1"]);
        let has = |policy: &str| policies(&daemon).iter().any(|it| it == policy);
        // A CPU set or a cgroup can forbid deadlines; then the log says what it is instead.
        if !has("6") {
            daemon.wait_log("instead of SCHED_DEADLINE", 0, LIMIT);
            assert!(has("1"), "{:?}", policies(&daemon));
        }
        let cut = lab.cut(0);
        daemon.wait_log("IP interface failure detected on eth0", cut, LIMIT);
        lab.mend(0);
        daemon.wait_log("IP interface repair detected on eth0", cut, LIMIT);

        daemon.configure(&with("51"));
        let output = daemon.mpathd(&["reload"]);
        assert!(output.status.success(), "{output:?}");
        wait_for("SCHED_FIFO alone", LIMIT, || {
            let policies = policies(&daemon);
            let fifo = policies.iter().any(|it| it == "1");
            if fifo && !policies.iter().any(|it| it == "6") { Ok(()) } else { Err(policies) }
        });
        let cut = lab.cut(1);
        daemon.wait_log("IP interface failure detected on eth1", cut, LIMIT);
    });
}
