//! Limits in time and number that keep the promise of the failure detection time: how early a round may
//! leave, which losses count as random, how long a NIC that loses probes is tolerated, and how often a
//! rate-limited target is asked more often on trial.

mod lan;

use std::collections::BTreeMap;
use std::time::Duration;

use lan::*;
use mpathd_core::event::Event;
use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::time::Instant;

fn one_target(fdt: Duration) -> Lan {
    let mut group = group(2, 2, fdt);
    group.targets.truncate(1);
    Lan::settled(group)
}

/// Wake-ups by other events take a round along that is due within a thirty-second of its interval, no
/// more: five probes must not fit into less than four intervals.
#[test]
fn no_round_leaves_earlier_than_a_thirty_second_of_its_interval() {
    let interval = 5 * MS / 6;
    let mut lan = Lan::settled(group(2, 1, 5 * MS));
    lan.engine.stream_probes(true);
    for n in 0..2_000 {
        let wakes = Event::Transmits { ifindex: Ifindex(9), frames: 0 };
        lan.post(n * Duration::from_micros(11), wakes);
    }
    lan.run(25 * MS);
    let mut sent: BTreeMap<(IfName, String), Vec<Instant>> = BTreeMap::new();
    for probe in &lan.probes {
        sent.entry((probe.interface, probe.target.to_string())).or_default().push(probe.sent);
    }
    let gaps: Vec<Duration> =
        sent.values().flat_map(|times| times.windows(2).map(|two| two[1].since(two[0]))).collect();
    assert!(gaps.len() > 100, "{}", gaps.len());
    let least = gaps.iter().min().unwrap();
    assert!(*least >= interval - interval / 32 - Duration::from_micros(1), "{least:?}");
    assert!(*least < interval - Duration::from_micros(1), "none was taken along: {least:?}");
}

/// Short losses that end in a failure are the beginning of that failure, not random loss.
#[test]
fn losses_that_lead_to_a_failure_do_not_raise_the_threshold() {
    let fdt = 100 * MS;
    let interval = fdt / 6;
    let mut lan = one_target(fdt);
    let failed = |lan: &Lan| lan.view().interfaces[0].reason.is_some();
    for cycle in 0..40 {
        for _ in 0..6 {
            lan.wire(0, Wire::Cut);
            lan.run(interval * 2);
            lan.wire(0, Wire::Works);
            lan.run(interval * 10);
        }
        lan.wire(0, Wire::Cut);
        lan.until(2 * fdt, failed);
        lan.wire(0, Wire::Works);
        lan.until(10 * fdt, |lan| !failed(lan));
        let view = lan.view();
        let instance = view.instances.iter().find(|row| row.interface == name(0)).unwrap();
        assert_eq!(instance.loss.losses_to_fail, 5, "cycle {cycle}");
    }
}

/// Three rounds are answered and two are lost, again and again, so the repair is never earned.
#[test]
fn losses_of_a_failed_interface_do_not_raise_the_threshold() {
    let fdt = 100 * MS;
    let interval = fdt / 6;
    let mut lan = one_target(fdt);
    lan.wire(0, Wire::Cut);
    lan.run(5 * fdt);
    for _ in 0..600 {
        lan.wire(0, Wire::Works);
        lan.run(interval * 3);
        lan.wire(0, Wire::Cut);
        lan.run(interval * 2);
    }
    let view = lan.view();
    assert!(view.interfaces[0].reason.is_some());
    let instance = view.instances.iter().find(|row| row.interface == name(0)).unwrap();
    assert_eq!(instance.loss.losses_to_fail, 5);
}

/// The device takes no probe, but how much it transmits is read too seldom to tell whether it is stuck.
#[test]
fn a_transmit_queue_is_not_called_stuck_before_its_counter_was_read_over_an_fdt() {
    let fdt = 600 * MS;
    let mut lan = one_target(fdt);
    lan.kernel = fdt;
    lan.wire(0, Wire::Stuck);
    let took = lan.until(10 * fdt, |lan| lan.view().interfaces[0].reason.is_some());
    assert!(took >= 2 * fdt, "{took:?}");
}

/// A failed NIC that answers some probes keeps an address that has moved too often; once it is cut, the
/// address leaves within twice the failure detection time.
#[test]
fn a_tolerated_nic_that_is_cut_is_left_soon() {
    let fdt = 100 * MS;
    let mut lan = one_target(fdt);
    let failed = |lan: &Lan, i: usize| lan.view().interfaces[i].reason.is_some();
    // Both come back so often that addresses return to neither.
    for nic in [0, 1, 0, 1, 0, 1] {
        lan.wire(nic, Wire::Cut);
        lan.until(S, |lan| failed(lan, nic));
        lan.wire(nic, Wire::Works);
        lan.until(S, |lan| !failed(lan, nic));
        lan.run(MS);
    }
    let here = |lan: &Lan| ["192.0.2.50", "192.0.2.51"].iter().all(|it| lan.holders(it) == [0]);
    assert!(here(&lan), "{:#?}", lan.texts());
    lan.wire(1, Wire::Cut);
    lan.until(S, |lan| failed(lan, 1));
    lan.wire(0, Wire::Cut);
    lan.until(S, |lan| failed(lan, 0));
    lan.lossy.insert(name(0), 50);
    lan.wire(0, Wire::Works);
    // A slower rate does not help, so its losses are found to be random.
    lan.run(20 * S);
    lan.wire(1, Wire::Works);
    lan.until(S, |lan| !failed(lan, 1));
    lan.run(2 * fdt);
    assert!(failed(&lan, 0) && here(&lan), "tolerated: {:#?}", lan.texts());
    lan.wire(0, Wire::Cut);
    let left = |lan: &Lan| ["192.0.2.50", "192.0.2.51"].iter().all(|it| lan.holders(it) == [1]);
    let took = lan.until(10 * S, left);
    assert!(took <= 5 * fdt, "{took:?}");
}

/// Trials at a higher rate cost answers: each one that fails doubles the wait for the next, from one
/// minute to about an hour.
#[test]
fn a_rate_limited_target_is_tried_faster_less_and_less_often() {
    let mut lan = one_target(600 * MS);
    let limit = Limit { per_second: 2, burst: 2, per_source: true };
    lan.target("192.0.2.1").limit = Some(limit);
    lan.run(120 * S);
    let interval = |lan: &Lan| {
        let view = lan.view();
        view.targets.iter().find(|row| row.interface == name(0)).unwrap().interval
    };
    assert!(interval(&lan) > 100 * MS, "{:#?}", lan.texts());
    let (mut before, mut trials) = (interval(&lan), 0);
    for _ in 0..2 * 3600 {
        lan.run(S);
        trials += u32::from(interval(&lan) < before);
        before = interval(&lan);
    }
    assert!((2..=16).contains(&trials), "{trials} in two hours");
}
