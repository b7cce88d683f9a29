//! Other programs in the kernel: one that takes our hook away, and one that goes before it in tcx. Nothing
//! fails by that, and the hook comes back.

use std::os::fd::OwnedFd;

use mpathd_tests::observe::link;
use mpathd_tests::told::{rows, wait_interface};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Daemon, Lab, bpf, clock, isolated, wait_for};

use super::{FDT, LIMIT, config, detects_a_cut, pin_paths, receive, running};

/// Long enough for a verdict by silence, had one to come.
fn pass_verdicts() {
    clock::pass(FDT * 4);
}

fn nothing_failed(daemon: &Daemon, addresses: &AddressWatch) {
    let log = daemon.log_text();
    assert!(!log.contains("failure detected"), "{log}");
    assert!(!log.contains("now unusable"), "{log}");
    assert_eq!(addresses.events(), [], "{log}");
}

fn wait_receive(daemon: &Daemon, nic: &str, mode: &str) {
    wait_for(&format!("{mode} on {nic}"), LIMIT * 2, || match receive(daemon, nic) {
        now if now == mode => Ok(()),
        now => Err((now, daemon.log_text())),
    });
}

/// What `bpftool link detach` does; `false`: there is nothing to detach now.
fn detach(lab: &Lab, mode: &str, nic: &str) -> bool {
    let name = format!("{mode}-{}", link(lab.host(), nic).ifindex);
    let pin = pin_paths("/sys/fs/bpf").into_iter().find(|it| it.ends_with(&name));
    pin.is_some_and(|pin| bpf::detach_link(pin.to_str().expect("a path in UTF-8")).is_ok())
}

fn a_detached_hook_comes_back(mode: &str) {
    let lab = Lab::builder().build();
    let daemon = running(&lab, &format!("datapath = \"{mode}\""));
    let addresses = AddressWatch::start(lab.host());
    let begun = clock::now();
    assert!(detach(&lab, mode, "eth0"));
    daemon.wait_log("receive hook", begun, LIMIT);
    pass_verdicts();
    wait_receive(&daemon, "eth0", mode);
    nothing_failed(&daemon, &addresses);
    // Whoever insists is answered after a pause, and the sockets receive until then.
    wait_for("a pause", LIMIT, || {
        detach(&lab, mode, "eth0");
        let log = daemon.log_text();
        if log.contains("attached again after a pause") { Ok(()) } else { Err(log) }
    });
    wait_receive(&daemon, "eth0", "socket");
    assert_eq!(receive(&daemon, "eth1"), mode);
    pass_verdicts();
    nothing_failed(&daemon, &addresses);
    wait_receive(&daemon, "eth0", mode);
    nothing_failed(&daemon, &addresses);
    detects_a_cut(&lab, &daemon);
}

#[test]
fn native_xdp_that_is_detached_comes_back_and_nothing_fails() {
    isolated(|| a_detached_hook_comes_back("xdp"));
}

#[test]
fn generic_xdp_that_is_detached_comes_back_and_nothing_fails() {
    isolated(|| a_detached_hook_comes_back("xdp-generic"));
}

#[test]
fn tcx_that_is_detached_comes_back_and_nothing_fails() {
    isolated(|| a_detached_hook_comes_back("tcx"));
}

/// A cut path brings no reply that could tell that the hook is gone.
#[test]
fn a_hook_that_is_taken_while_the_path_is_cut_is_attached_again() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, "datapath = \"xdp\"");
        lab.cut(0);
        wait_interface(&daemon, "eth0", "state,reason", &["failed", "probes"]);
        let begun = clock::now();
        assert!(detach(&lab, "xdp", "eth0"));
        daemon.wait_log("detached or replaced the receive hook (native XDP) of eth0", begun, LIMIT);
        wait_receive(&daemon, "eth0", "xdp");
        lab.mend(0);
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);
    });
}

fn other_first(lab: &Lab, nic: &str) -> (OwnedFd, u32) {
    lab.host().run(|| {
        let before = bpf::tcx_ingress(nic).expect("the kernel has tcx");
        let other = bpf::tcx_ok_first(nic).expect("it takes another program");
        // The daemon may have gone first again already.
        let after = bpf::tcx_ingress(nic).expect("the device is there");
        let new = after.into_iter().find(|id| !before.contains(id)).expect("it is attached");
        (other, new)
    })
}

fn first(lab: &Lab, nic: &str) -> u32 {
    lab.host().run(|| bpf::tcx_ingress(nic).expect("the device is there")[0])
}

#[test]
fn a_program_that_was_in_tcx_before_us_runs_after_us() {
    isolated(|| {
        let lab = Lab::builder().build();
        let (_other, theirs) = other_first(&lab, "eth0");
        let daemon = running(&lab, "datapath = \"tcx\"");
        assert_ne!(first(&lab, "eth0"), theirs);
        assert_eq!(receive(&daemon, "eth0"), "tcx");
        detects_a_cut(&lab, &daemon);
    });
}

#[test]
fn a_program_that_goes_before_us_in_tcx_makes_nothing_fail() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, "datapath = \"tcx\"");
        let addresses = AddressWatch::start(lab.host());
        let begun = clock::now();
        let (_other, theirs) = other_first(&lab, "eth0");
        daemon.wait_log("attached as the first one again", begun, LIMIT);
        wait_for("first place", LIMIT, || match first(&lab, "eth0") {
            now if now == theirs => Err(daemon.log_text()),
            _ => Ok(()),
        });
        pass_verdicts();
        wait_receive(&daemon, "eth0", "tcx");
        nothing_failed(&daemon, &addresses);
        detects_a_cut(&lab, &daemon);
    });
}

#[test]
fn where_others_keep_going_before_us_in_tcx_another_datapath_receives() {
    isolated(|| {
        let lab = Lab::builder().build();
        // Native XDP is not to be had, so that `auto` comes to tcx.
        let program = bpf::foreign_xdp().expect("a program can be loaded");
        for nic in ["eth0", "eth1"] {
            lab.host().expect("ip", &["link", "set", "dev", nic, "xdp", "pinned", &program]);
        }
        let daemon = running(&lab, "");
        assert_eq!(rows(&daemon, "-i", "receive"), [["tcx"], ["tcx"]]);
        let addresses = AddressWatch::start(lab.host());
        let mut others = Vec::new();
        for _ in 0..8 {
            others.push(other_first(&lab, "eth0"));
            let theirs = others.last().expect("one").1;
            let given_up = wait_for("first place", LIMIT * 2, || {
                let given_up = daemon.log_text().contains("tcx ingress is given up");
                let first = given_up || first(&lab, "eth0") != theirs;
                if first { Ok(given_up) } else { Err(daemon.log_text()) }
            });
            pass_verdicts();
            if given_up {
                break;
            }
        }
        wait_receive(&daemon, "eth0", "socket");
        assert_eq!(receive(&daemon, "eth1"), "tcx");
        nothing_failed(&daemon, &addresses);
        detects_a_cut(&lab, &daemon);
    });
}

/// Each is reached from another one, the better from the worse as well.
#[test]
fn a_reload_brings_the_datapath_that_the_file_asks_for() {
    isolated(|| {
        let lab = Lab::builder().build();
        let daemon = running(&lab, "datapath = \"socket\"");
        let addresses = AddressWatch::start(lab.host());
        let changes =
            ["tcx", "auto", "xdp-generic", "auto", "tcx", "xdp-generic", "socket", "xdp", "socket"];
        for datapath in changes {
            daemon.configure(&config(&format!("datapath = \"{datapath}\"")));
            let answer = daemon.mpathd(&["reload"]);
            assert!(answer.status.success(), "{answer:?}");
            let mode = if datapath == "auto" { "xdp" } else { datapath };
            for nic in ["eth0", "eth1"] {
                wait_receive(&daemon, nic, mode);
            }
            pass_verdicts();
        }
        nothing_failed(&daemon, &addresses);
        for target in mpathd_tests::told::json(&daemon, "-t") {
            assert_eq!(target["lost"], 0, "{target}");
        }
        detects_a_cut(&lab, &daemon);
    });
}
