//! Loss that a path has by chance: how many losses in a row a verdict takes follows from what is
//! measured (design 2.4).

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::{Group, MOST_LOSSES_TO_FAIL};
use mpathd_core::ids::IfName;

const FAILED: &str = "IP interface failure detected on eth0 of group g";
const REPAIRED: &str = "IP interface repair detected on eth0 of group g";

fn with_targets(targets: usize, fdt: Duration) -> Group {
    let mut group = group(2, 2, fdt);
    group.targets.truncate(targets);
    group
}

/// Both NICs lose so many of a hundred probes.
fn lossy(targets: usize, fdt: Duration, percent: u64) -> Lan {
    let mut lan = Lan::settled(with_targets(targets, fdt));
    lan.lossy = (0..2).map(|nic| (name(nic), percent)).collect();
    lan
}

fn losses_to_fail(lan: &Lan, nic: usize) -> u8 {
    let view = lan.view();
    let mut instances = view.instances.iter();
    instances.find(|i| i.interface == name(nic)).unwrap().loss.losses_to_fail
}

fn achieved(lan: &Lan) -> Duration {
    lan.view().groups[0].fdt.unwrap()
}

fn told(lan: &Lan, part: &str) -> Vec<String> {
    lan.texts().into_iter().filter(|t| t.contains(part)).collect()
}

/// Lets `span` pass; how often five probes in a row were lost on a NIC with one target.
fn fives(lan: &mut Lan, span: Duration) -> u32 {
    lan.engine.stream_probes(true);
    let mut runs: Vec<(IfName, u32)> = (0..2).map(|nic| (name(nic), 0)).collect();
    let mut fives = 0;
    for _ in 0..span.as_secs() {
        lan.run(S);
        for probe in lan.probes.drain(..) {
            let (_, run) = runs.iter_mut().find(|(nic, _)| *nic == probe.interface).unwrap();
            *run = if probe.received.is_none() { *run + 1 } else { 0 };
            fives += u32::from(*run == 5);
        }
    }
    fives
}

/// With five losses to a verdict, each of `fives` would have been one.
#[test]
fn random_loss_fails_nothing() {
    let mut lan = lossy(1, 10 * MS, 10);
    let fives = fives(&mut lan, 240 * S);
    assert!(fives >= 2, "{fives}");
    assert_eq!(told(&lan, "failure detected"), [] as [String; 0]);
    assert!((10..=MOST_LOSSES_TO_FAIL).contains(&losses_to_fail(&lan, 0)));
}

#[test]
fn losses_in_bursts_fail_nothing_once_they_are_known() {
    let mut lan = Lan::settled(with_targets(1, 10 * MS));
    let bursts = Bursts { begin: 10, go_on: 40, lost: false };
    lan.bursty = (0..2).map(|nic| (name(nic), bursts)).collect();
    lan.run(60 * S);
    lan.messages.clear();
    let fives = fives(&mut lan, 180 * S);
    assert!(fives >= 2, "{fives}");
    assert_eq!(told(&lan, "failure detected"), [] as [String; 0]);
    assert_eq!(losses_to_fail(&lan, 0), MOST_LOSSES_TO_FAIL);
}

/// Where only one of several targets loses some, or no round is lost as a whole.
#[test]
fn more_targets_need_no_more_losses() {
    for percent in [1, 5, 10] {
        let mut lan = lossy(3, 10 * MS, percent);
        lan.run(30 * S);
        assert_eq!((losses_to_fail(&lan, 0), achieved(&lan)), (5, 10 * MS), "{percent} %");
        assert_eq!(told(&lan, "is silent"), [] as [String; 0], "{percent} %");
    }
}

/// Told with the loss as the reason, and its end too.
#[test]
fn the_cost_is_told_and_goes_with_the_loss() {
    let mut lan = lossy(1, 100 * MS, 10);
    lan.run(600 * S);
    let cannot = told(&lan, "Cannot meet requested failure detection time of 100 ms");
    assert_eq!(cannot.len(), 1, "{:#?}", lan.texts());
    assert!(cannot[0].contains(" % of the rounds are lost, so a failure takes "), "{cannot:?}");
    assert!(achieved(&lan) > 140 * MS, "{:?}", achieved(&lan));
    let view = lan.view();
    assert!((80_000..120_000).contains(&view.instances[0].loss.silent_ppm), "{view:#?}");
    assert!(view.instances[0].false_failures_per_year < 1.0, "{view:#?}");
    lan.lossy.clear();
    lan.run(3600 * S);
    assert_eq!((losses_to_fail(&lan, 0), achieved(&lan)), (5, 100 * MS));
    assert_eq!(told(&lan, "Improved failure detection time 100 ms").len(), 1);
}

#[test]
fn a_cut_is_found_within_the_achieved_time() {
    let (fdt, interval) = (100 * MS, 100 * MS / 6);
    let mut lan = lossy(1, fdt, 5);
    lan.run(600 * S);
    for phase in 0..30 {
        lan.run(2 * S + interval / 30 * phase);
        let (promised, losses) = (achieved(&lan), u32::from(losses_to_fail(&lan, 0)));
        assert!(losses > 5 && promised > fdt);
        lan.messages.clear();
        lan.wire(0, Wire::Cut);
        let took = lan.until(2 * promised, |l| l.told(FAILED) == 1);
        // What was lost just before the cut counts as well.
        assert!(took <= promised && took >= interval * (losses - 3), "{phase}: {took:?}");
        lan.wire(0, Wire::Works);
        lan.until(60 * S, |l| l.told(REPAIRED) == 1);
    }
}

/// A cut, and a silence of all targets, are no loss by chance.
#[test]
fn failures_teach_nothing() {
    let mut lan = Lan::settled(with_targets(1, 100 * MS));
    for _ in 0..60 {
        lan.wire(0, Wire::Cut);
        lan.run(S);
        lan.wire(0, Wire::Works);
        lan.run(3 * S);
        lan.targets.values_mut().for_each(|t| t.alive = false);
        lan.run(300 * MS);
        lan.targets.values_mut().for_each(|t| t.alive = true);
        lan.run(3 * S);
        lan.stop_daemon(200 * MS);
        lan.run(3 * S);
    }
    assert_eq!((losses_to_fail(&lan, 1), achieved(&lan)), (5, 100 * MS));
}

#[test]
fn a_reload_keeps_what_was_learnt() {
    let mut lan = lossy(1, 100 * MS, 10);
    lan.run(120 * S);
    let before = losses_to_fail(&lan, 0);
    assert!(before > 5);
    let mut heir = with_targets(1, 100 * MS);
    heir.data.push("192.0.2.60/24".parse().unwrap());
    lan.reload_group(heir);
    lan.run(S);
    assert_eq!(losses_to_fail(&lan, 0), before);
}
