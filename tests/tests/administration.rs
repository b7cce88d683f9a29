//! `if_mpadm`, seen from outside: addresses, routes and a running connection, texts and exit codes
//! (behaviour file 6).

use std::net::SocketAddr;
use std::time::Duration;

use mpathd_tests::config::Member;
use mpathd_tests::daemon::bin_dir;
use mpathd_tests::observe::{addrs, holders};
use mpathd_tests::told::{rows, wait_interface, wait_ok};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
const DATA: [&str; 3] = ["192.0.2.50", "192.0.2.51", "2001:db8::50"];
const PORT: u16 = 7007;

/// Exit code and stderr.
fn if_mpadm(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String) {
    let output = daemon.if_mpadm(arguments);
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr).expect("it says UTF-8"))
}

#[track_caller]
fn done(daemon: &Daemon, arguments: &[&str]) {
    assert_eq!(if_mpadm(daemon, arguments), (Some(0), String::new()), "{}", daemon.log_text());
}

#[track_caller]
fn refused(daemon: &Daemon, arguments: &[&str], text: &str) {
    let expected = (Some(1), format!("if_mpadm: fatal: {text}\n"));
    assert_eq!(if_mpadm(daemon, arguments), expected, "{}", daemon.log_text());
}

/// Addresses of the NIC, link-local ones aside.
fn on(lab: &Lab, nic: &str) -> Vec<String> {
    let all = addrs(lab.host()).into_iter().filter(|it| it.ifname == nic);
    all.map(|it| it.info.local.to_string()).collect()
}

fn wait_empty(lab: &Lab, nic: &str) {
    wait_for(&format!("{nic} without addresses"), LIMIT, || match on(lab, nic) {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
}

fn wait_data(lab: &Lab, nic: &str) {
    wait_for(&format!("a data address on {nic}"), LIMIT, || {
        let all = on(lab, nic);
        if DATA.iter().any(|it| all.iter().any(|on| on == it)) { Ok(()) } else { Err(all) }
    });
}

fn wait_group(daemon: &Daemon, wanted: &[&str; 2]) {
    wait_for(&format!("group {wanted:?}"), LIMIT, || {
        let rows = rows(daemon, "-g", "state,interfaces");
        if rows == [wanted] { Ok(()) } else { Err(rows) }
    });
}

/// eth0, eth1 and the standby eth2.
fn with_standby(lab: &Lab) -> Daemon {
    let mut config = Config::dual_stack(2);
    config.members.push(Member::of_nic(2).standby());
    let daemon = Daemon::start(lab.host(), &config.to_string());
    wait_ok(&daemon, &["eth0", "eth1", "eth2"]);
    wait_group(&daemon, &["ok", "eth1 eth0 (eth2)"]);
    daemon
}

/// Behaviours 86, 111, 122, 125, 126, 127, 128, 131, 132, 156.
#[test]
fn offline_and_undo_over_a_running_connection() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let mut daemon = with_standby(&lab);
        let server = EchoServer::start(lab.host(), PORT);
        let to = |address: &str| SocketAddr::new(address.parse().expect("ours"), server.port());
        let streams = DATA.map(|it| Stream::tcp(lab.client(), to(it), Duration::from_millis(10)));
        for stream in &streams {
            stream.wait_answered(clock::now(), LIMIT);
        }

        let tool = bin_dir().join("if_mpadm");
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let as_nobody = [&nobody[..], &[tool.to_str().expect("UTF-8"), "-d", "eth0"]].concat();
        let output = lab.host().output("setpriv", &as_nobody);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("if_mpadm: fatal: cannot offline eth0: "), "{text}");
        let asks = bin_dir().join("ipmpstat");
        let as_nobody = [&nobody[..], &[asks.to_str().expect("UTF-8"), "-gPo", "state"]].concat();
        assert_eq!(lab.host().expect("setpriv", &as_nobody), "ok\n");
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);

        refused(&daemon, &["-r", "eth0"], "interface eth0 is not offline");
        let unknown = "not a physical interface or not in an IPMP group";
        refused(&daemon, &["-d", "lo"], &format!("cannot offline lo: {unknown}"));
        refused(&daemon, &["-r", "lo"], &format!("cannot undo-offline lo: {unknown}"));
        let missing = "cannot get interface flags on eth9: No such device";
        refused(&daemon, &["-d", "eth9"], missing);
        assert_eq!(if_mpadm(&daemon, &["eth0"]).0, Some(1), "usage");

        let begun = clock::now();
        done(&daemon, &["-d", "eth0"]);
        wait_empty(&lab, "eth0");
        wait_data(&lab, "eth2");
        wait_interface(&daemon, "eth0", "active,probe,state", &["no", "disabled", "offline"]);
        wait_interface(&daemon, "eth2", "active,flags", &["yes", "-s-----"]);
        wait_group(&daemon, &["degraded", "eth2 eth1 [eth0]"]);
        daemon.wait_log("eth0 is offline", begun, LIMIT);
        refused(&daemon, &["-d", "eth0"], "interface eth0 is already offline");

        let down = lab.carrier(0, false);
        daemon.wait_log("The link has gone down on eth0", down, LIMIT);
        wait_interface(&daemon, "eth0", "link,state", &["down", "offline"]);
        daemon.kill();
        daemon.restart();
        wait_ok(&daemon, &["eth1", "eth2"]);
        wait_interface(&daemon, "eth0", "active,state", &["no", "offline"]);
        assert_eq!(on(&lab, "eth0"), [] as [String; 0], "it was put back into service");
        lab.carrier(0, true);
        wait_interface(&daemon, "eth0", "link,state", &["up", "offline"]);

        done(&daemon, &["-r", "eth0"]);
        wait_data(&lab, "eth0");
        assert!(on(&lab, "eth0").contains(&"192.0.2.11".to_owned()), "no test address");
        wait_group(&daemon, &["ok", "eth1 eth0 (eth2)"]);
        assert!(on(&lab, "eth2").contains(&"192.0.2.13".to_owned()), "of an inactive one");
        wait_interface(&daemon, "eth2", "active,flags", &["no", "is-----"]);
        for stream in streams {
            stream.wait_answered(clock::now(), LIMIT);
            let report = stream.finish(LIMIT);
            assert_eq!((report.unanswered(), report.broken), (0, None));
        }
    });
}

/// Behaviours 123, 124, 130, and what failures do to standbys meanwhile.
#[test]
fn offline_needs_somebody_else() {
    isolated(|| {
        const NOBODY: &str = "no other functioning interfaces are in its IPMP group";
        let lab = Lab::builder().nics(3).build();
        let mut daemon = with_standby(&lab);
        done(&daemon, &["-d", "eth1"]);
        wait_group(&daemon, &["degraded", "eth2 eth0 [eth1]"]);
        // Its standby goes: nobody is left but eth0.
        lab.cut(2);
        wait_group(&daemon, &["degraded", "eth0 [eth2 eth1]"]);
        refused(&daemon, &["-d", "eth0"], &format!("cannot offline eth0: {NOBODY}"));
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
        assert!(DATA.iter().all(|it| holders(lab.host(), it) == ["eth0"]));
        // A failed one may be taken offline: nothing is lost.
        done(&daemon, &["-d", "eth2"]);
        wait_interface(&daemon, "eth2", "state", &["offline"]);
        refused(&daemon, &["-d", "eth0"], &format!("cannot offline eth0: {NOBODY}"));

        lab.mend(2);
        done(&daemon, &["-r", "eth2"]);
        wait_group(&daemon, &["degraded", "eth2 eth0 [eth1]"]);
        lab.cut(0);
        lab.cut(2);
        wait_group(&daemon, &["failed", "[eth2 eth1 eth0]"]);
        let row = rows(&daemon, "-a", "state,inbound");
        assert!(row.iter().all(|row| row[0] == "up" && !row[1].is_empty()), "{row:?}");
        // In a failed group that takes nothing away.
        done(&daemon, &["-d", "eth0"]);
        wait_empty(&lab, "eth0");

        daemon.stop();
        let (code, text) = if_mpadm(&daemon, &["-r", "eth0"]);
        let socket = daemon.run_dir().join("mpathd.sock");
        let contact = format!("cannot contact mpathd(8) at {} -- is it running?", socket.display());
        assert_eq!(code, Some(1));
        assert_eq!(text, format!("if_mpadm: fatal: cannot undo-offline eth0: {contact}\n"));
    });
}
