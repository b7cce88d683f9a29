//! The probes themselves, as a station on the wire sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_tests::capture::{Capture, Content, Frame};
use mpathd_tests::config::{Member, TARGETS_V4, TARGETS_V6};
use mpathd_tests::told::{wait_interface, wait_ok};
use mpathd_tests::{Config, Daemon, Lab, Nanos, clock, isolated, wait_for};

/// A sixth of the FDT, 1.8 s.
const INTERVAL: Nanos = 300_000_000;
const ROUNDS: usize = 20;
const TARGETS: usize = TARGETS_V4.len() + TARGETS_V6.len();
const LIMIT: Duration = Duration::from_secs(20);

/// Sequence numbers of the probes to each target since a moment, with their times.
fn probes(capture: &Capture, since: Nanos) -> BTreeMap<IpAddr, Vec<(u16, Nanos)>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for Frame { at, content, .. } in capture.frames() {
        if let Content::Echo { request: true, destination, sequence, .. } = content
            && at >= since
        {
            all.entry(destination).or_default().push((sequence, at));
        }
    }
    all
}

fn count(capture: &Capture, since: Nanos) -> usize {
    probes(capture, since).values().map(Vec::len).sum()
}

/// Behaviours 27, 29, 30, 31, 32.
#[test]
fn every_target_is_probed_in_each_round_on_every_nic_that_may() {
    isolated(|| {
        let lab = Lab::builder().build();
        let members = vec![Member::of_nic(0), Member::of_nic(1).standby()];
        let config = Config { fdt: "1800ms", members, ..Config::dual_stack(2) };
        let daemon = Daemon::start(lab.host(), &config.to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        wait_interface(&daemon, "eth1", "active,flags", &["no", "is-----"]);

        let ports = ["sw0", "sw1"].map(|port| Capture::start(lab.lan(), port));
        let begun = clock::now();
        wait_for("the rounds", LIMIT, || match ports[0].frames().len() {
            enough
                if enough >= ROUNDS * TARGETS
                    && clock::now() > begun + ROUNDS as Nanos * INTERVAL =>
            {
                Ok(())
            }
            few => Err(few),
        });
        let seen = ports.each_ref().map(|port| probes(port, begun));
        for targets in &seen {
            assert_eq!(targets.len(), TARGETS, "{targets:?}");
            for probes in targets.values() {
                let gaps = probes.windows(2).map(|pair| pair[1].1 - pair[0].1);
                assert!(gaps.clone().all(|it| (INTERVAL / 2..INTERVAL * 3 / 2).contains(&it)));
                let mean = gaps.sum::<Nanos>() / (probes.len() as Nanos - 1);
                assert!((INTERVAL * 97 / 100..INTERVAL * 103 / 100).contains(&mean), "{mean} ns");
                let next = |pair: &[(u16, Nanos)]| pair[1].0 == pair[0].0.wrapping_add(1);
                assert!(probes.windows(2).all(next), "{probes:?}");
            }
        }
        // The standby, which carries nothing, as often.
        let counts = seen.each_ref().map(|it| it.values().map(Vec::len).sum::<usize>());
        assert!(counts[0].abs_diff(counts[1]) <= 2 * TARGETS, "{counts:?}");

        assert!(daemon.if_mpadm(&["-d", "eth1"]).status.success());
        wait_interface(&daemon, "eth1", "state", &["offline"]);
        let offline = clock::now();
        clock::pass(Duration::from_nanos(3 * INTERVAL));
        assert_eq!(count(&ports[1], offline), 0, "an offline NIC is probed");
        assert!(daemon.if_mpadm(&["-r", "eth1"]).status.success());
        wait_for("probes after the end of offline", LIMIT, || {
            let found = count(&ports[1], offline);
            if found > 0 { Ok(()) } else { Err(found) }
        });

        lab.carrier(1, false);
        wait_interface(&daemon, "eth1", "link", &["down"]);
        let down = clock::now();
        clock::pass(Duration::from_nanos(3 * INTERVAL));
        assert_eq!(count(&ports[1], down), 0, "a NIC without carrier is probed");
        let up = lab.carrier(1, true);
        wait_for("probes after the return of the link", LIMIT, || {
            let found = count(&ports[1], up);
            if found > 0 { Ok(()) } else { Err(found) }
        });
    });
}
