//! Targets that limit what they answer (N23): found out within five seconds, named, asked less often,
//! and no reason to fail anything.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::Group;
use mpathd_core::view::{InterfaceState, TargetState};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// How many targets limit their answers, and how.
fn limited(group: Group, targets: usize, limit: Limit) -> Lan {
    let mut lan = Lan::new(group, Default::default());
    lan.targets.values_mut().take(targets).for_each(|t| t.limit = Some(limit));
    lan.survey();
    lan
}

fn policed(lan: &Lan) -> Vec<String> {
    lan.texts().into_iter().filter(|t| t.contains("as if it limited their rate")).collect()
}

fn failures(lan: &Lan) -> Vec<String> {
    let texts = lan.texts().into_iter();
    texts.filter(|t| t.contains("failure detected") || t.contains("unusable")).collect()
}

fn limits() -> impl Iterator<Item = Limit> {
    [1, 2, 5, 10, 20].into_iter().flat_map(|per_second| {
        [(1, true), (5, true), (20, true), (1, false), (5, false), (20, false)]
            .map(|(burst, per_source)| Limit { per_second, burst, per_source })
    })
}

#[test]
fn one_of_three_is_found_out_and_fails_nothing() {
    for limit in limits() {
        let mut lan = limited(group(2, 2, 100 * MS), 1, limit);
        // The hooks stand after 100 ms.
        lan.run(5 * S + 200 * MS);
        assert!(!policed(&lan).is_empty(), "{limit:?}: {:#?}", lan.texts());
        assert!(policed(&lan)[0].starts_with("Target 192.0.2.1 answers only "));
        lan.run(60 * S);
        assert_eq!(failures(&lan), [] as [String; 0], "{limit:?}");
        // A cut is found as quickly as ever.
        lan.wire(0, Wire::Cut);
        let failed = "IP interface failure detected on eth0 of group g";
        let took = lan.until(S, |l| l.told(failed) == 1);
        assert!(took <= 100 * MS, "{limit:?}: {took:?}");
    }
}

#[test]
fn if_all_limit_together_the_achieved_fdt_is_longer_and_nothing_fails() {
    for limit in limits().filter(|l| !l.per_source) {
        let mut lan = limited(group(2, 2, 100 * MS), 3, limit);
        lan.run(60 * S);
        assert!(!policed(&lan).is_empty(), "{limit:?}: {:#?}", lan.texts());
        assert_eq!(failures(&lan), [] as [String; 0], "{limit:?} {:#?}", lan.texts());
        let fdt = lan.view().groups[0].fdt.unwrap();
        lan.wire(0, Wire::Cut);
        let failed = "IP interface failure detected on eth0 of group g";
        let took = lan.until(2 * fdt, |l| l.told(failed) == 1);
        assert!(took <= fdt + fdt / 5, "{limit:?}: {took:?}, achieved {fdt:?}");
    }
}

/// Until every target has answered as often as the longest burst of a limit, a silence may be a limit. The
/// failure detection time that is shown meanwhile says so, and is kept.
#[test]
fn the_achieved_fdt_counts_in_the_doubt_about_new_targets() {
    let failed = "IP interface failure detected on eth0 of group g";
    let answered = |lan: &Lan, times| {
        let targets = lan.view().targets;
        !targets.is_empty() && targets.iter().all(|t| t.acked >= times)
    };
    for (answers, longest, shortest) in [(10, 1100 * MS, S), (20, 100 * MS, 100 * MS)] {
        let mut lan = Lan::new(group(2, 2, 100 * MS), Default::default());
        lan.survey();
        lan.until(S, |lan| answered(lan, answers));
        lan.wire(0, Wire::Cut);
        let fdt = lan.view().groups[0].fdt.unwrap();
        assert!((shortest..=longest).contains(&fdt), "after {answers} answers: {fdt:?}");
        let took = lan.until(2 * S, |l| l.told(failed) == 1);
        assert!(took <= fdt, "after {answers} answers: {took:?} of {fdt:?}");
    }
}

/// A target that is cut off on one interface alone, and answers elsewhere, is evidence against that interface. An
/// answer of another target to a probe that was sent in its silence outweighs it.
#[test]
fn an_answer_within_the_silence_of_another_target_contradicts() {
    let failed = "IP interface failure detected on eth0 of group g";
    let mut contradicted = 0;
    for phase in 0..10 {
        let mut two = group(2, 2, 300 * MS);
        two.targets.truncate(2);
        let mut lan = limited(two, 1, Limit { per_second: 2, burst: 1, per_source: true });
        lan.run(20 * S + phase * 47 * MS);
        lan.cut_paths.insert((name(0), "192.0.2.2".parse().unwrap()));
        let answers = |lan: &Lan| {
            let of_limited = |t: &&mpathd_core::view::TargetView| {
                t.interface == name(0) && t.state == TargetState::Policed
            };
            lan.view().targets.iter().find(of_limited).unwrap().acked
        };
        // The first probe that is lost has been sent.
        lan.run(60 * MS);
        let before = answers(&lan);
        lan.until(S, |lan| lan.told(failed) == 1 || answers(lan) > before);
        if lan.told(failed) == 0 {
            contradicted += 1;
            lan.run(450 * MS);
            assert_eq!(lan.told(failed), 0, "phase {phase}: {:#?}", lan.texts());
        }
    }
    assert!(contradicted > 2, "{contradicted} of 10");
}

/// Single answers elsewhere prove nothing about a silence, but a device that sends nothing needs no such proof.
#[test]
fn a_stuck_device_fails_though_its_targets_answer_some_probes_only() {
    let mut one = group(2, 2, 100 * MS);
    one.targets.truncate(1);
    let mut lan = limited(one, 1, Limit { per_second: 4, burst: 1, per_source: true });
    lan.run(300 * MS);
    lan.wire(1, Wire::Stuck);
    let failed = "IP interface failure detected on eth1 of group g";
    lan.until(300 * MS, |lan| lan.told(failed) == 1);
    assert_eq!(policed(&lan), [] as [String; 0], "the limit is not known yet");
}

#[test]
fn a_single_target_that_limits_each_source() {
    for limit in limits().filter(|l| l.per_source) {
        let mut group = group(2, 2, 100 * MS);
        group.targets.truncate(1);
        let mut lan = limited(group, 1, limit);
        lan.run(120 * S);
        assert!(!policed(&lan).is_empty(), "{limit:?}: {:#?}", lan.texts());
        assert_eq!(failures(&lan), [] as [String; 0], "{limit:?} {:#?}", lan.texts());
    }
}

#[test]
fn the_full_rate_is_tried_again() {
    let limit = Limit { per_second: 10, burst: 5, per_source: true };
    let mut lan = limited(group(2, 2, 100 * MS), 1, limit);
    lan.run(10 * S);
    let state = |lan: &Lan| lan.view().targets[0];
    assert_eq!(state(&lan).state, TargetState::Policed);
    assert!(state(&lan).interval >= 100 * MS, "{:?}", state(&lan).interval);
    lan.targets.values_mut().for_each(|t| t.limit = None);
    lan.run(3600 * S);
    assert_eq!(lan.told("Target 192.0.2.1 is probed at the full rate on eth0 again"), 1);
    assert_eq!(state(&lan).state, TargetState::Active);
}

#[test]
fn a_lossy_nic_is_no_limit_of_the_target() {
    let mut group = group(2, 2, 100 * MS);
    group.targets.truncate(1);
    let mut lan = Lan::settled(group);
    lan.lossy = [(name(0), 40)].into();
    lan.run(60 * S);
    assert_eq!(policed(&lan), [] as [String; 0]);
    assert!(lan.told("IP interface failure detected on eth0 of group g") > 0);
}

/// Everything loses a third, whatever it is asked: the first attempt at asking less often shows it.
#[test]
fn a_lossy_network_is_probed_at_the_full_rate() {
    let mut group = group(2, 2, 100 * MS);
    group.targets.truncate(1);
    let mut lan = Lan::settled(group);
    lan.lossy = (0..2).map(|nic| (name(nic), 33)).collect();
    lan.run(100 * S);
    let interval: Vec<Duration> = lan.view().targets.iter().map(|t| t.interval).collect();
    assert!(interval.iter().all(|i| *i < 20 * MS), "{interval:?} {:#?}", lan.texts());
}

/// One NIC after the other dies, and the next as soon as one is repaired: none of them answers well for long. When it
/// comes back one more probe is lost.
#[test]
fn nics_that_are_cut_by_turns_make_no_limit_of_the_targets() {
    let works = |lan: &Lan, i: usize| lan.view().interfaces[i].state == InterfaceState::Ok;
    for wait in (0..170).step_by(10) {
        let mut group = dual_stack(group(3, 1, S));
        group.failback = false;
        group.members[1..].iter_mut().for_each(|m| m.standby = true);
        let mut lan = Lan::settled(group);
        for _ in 0..30 {
            let nic = lan.holders("192.0.2.50")[0];
            lan.until(5 * S, |lan| (0..3).any(|i| i != nic && works(lan, i)));
            lan.run(wait * MS);
            lan.wire(nic, Wire::Cut);
            lan.until(5 * S, |lan| !works(lan, nic));
            for wire in [Wire::Works, Wire::Cut] {
                lan.wire(nic, wire);
                lan.run(S / 6);
            }
            lan.wire(nic, Wire::Works);
        }
        assert_eq!(policed(&lan), [] as [String; 0], "cut after {wait} ms");
    }
}

const FAILED: &str = "IP interface failure detected on eth0 of group g";
const REPAIRED: &str = "IP interface repair detected on eth0 of group g";

/// One answer in so many milliseconds to each source, after a burst.
fn one_in(ms: u64, burst: u64) -> Option<Limit> {
    Some(Limit { per_second: 1000 / ms, burst, per_source: true })
}

fn with_limits(members: usize, limits: &[Option<Limit>]) -> Lan {
    let mut group = group(members, 2, 100 * MS);
    let names: Vec<String> = (1..=limits.len()).map(|t| format!("192.0.2.{t}")).collect();
    group.targets = ip(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut lan = Lan::new(group, Default::default());
    lan.targets.values_mut().zip(limits).for_each(|(t, limit)| t.limit = *limit);
    lan.survey();
    lan
}

fn achieved(lan: &Lan) -> Duration {
    lan.view().groups[0].fdt.unwrap()
}

/// The only target without a limit dies: the others answer, so nothing has failed.
#[test]
fn the_death_of_the_free_target_beside_limited_ones_fails_nothing() {
    for (burst, phase) in [(1, 0), (1, 30), (1, 70), (6, 0), (6, 50)] {
        for ms in [50, 100, 500, 1000] {
            for members in [1, 2, 3] {
                let limits = [one_in(ms, burst), one_in(ms, burst), None];
                let mut lan = with_limits(members, &limits);
                lan.run(20 * S + phase * MS);
                lan.target("192.0.2.3").alive = false;
                lan.run(40 * S);
                assert_eq!(
                    failures(&lan),
                    [] as [String; 0],
                    "{ms} {burst} {members} {:#?}",
                    lan.texts()
                );
                let down = "Target 192.0.2.3 is silent on eth0 while others answer; it no longer counts there";
                assert_eq!(lan.told(down), 1, "{:#?}", lan.texts());
                // The other two still find a cut.
                let fdt = achieved(&lan);
                lan.wire(0, Wire::Cut);
                lan.until(fdt + 5 * MS, |l| l.view().interfaces[0].reason.is_some());
            }
        }
    }
}

/// What is known of one of them first leaves the other as the only one that seems to answer always.
#[test]
fn different_limits_fail_nothing() {
    for (one, other) in [(100, 500), (50, 1000), (500, 100), (200, 250)] {
        for burst in [1, 6] {
            for members in [1, 2] {
                let mut lan = with_limits(members, &[one_in(one, burst), one_in(other, burst)]);
                lan.run(60 * S);
                let told = format!("{one} {other} {burst} {members} {:#?}", lan.texts());
                assert_eq!(failures(&lan), [] as [String; 0], "{told}");
            }
        }
    }
}

#[test]
fn a_repair_is_earned_at_any_mix_of_paces() {
    let mixes = [
        vec![one_in(100, 6), one_in(500, 6)],
        vec![one_in(50, 1), one_in(1000, 1)],
        vec![one_in(1000, 6), one_in(1000, 6)],
        vec![None, one_in(500, 6)],
        vec![one_in(500, 1)],
    ];
    for (limits, free_dies) in mixes.iter().flat_map(|mix| [(mix, false), (mix, true)]) {
        let mut lan = with_limits(2, limits);
        lan.run(20 * S);
        lan.wire(0, Wire::Cut);
        let cut = lan.until(achieved(&lan) + 5 * MS, |l| l.told(FAILED) == 1);
        lan.run(5 * S);
        if free_dies && limits[0].is_none() {
            lan.target("192.0.2.1").alive = false;
        }
        lan.wire(0, Wire::Works);
        let longest = lan.view().targets.iter().map(|t| t.interval).max().unwrap();
        let bound = longest.max(achieved(&lan) / 6) * 14 + S / 5;
        lan.until(bound, |l| l.told(REPAIRED) == 1);
        assert!(cut > 50 * MS);
    }
}

/// Of three targets on two NICs nobody answers for a second, twice: that is no limit of any.
#[test]
fn outages_in_common_are_no_limits() {
    for (members, targets) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
        for (outage, pause) in [(S, S), (S / 5, S / 2), (S, S / 5), (3 * S, 2 * S)] {
            let mut lan = with_limits(members, &vec![None; targets]);
            lan.run(10 * S);
            for _ in 0..3 {
                lan.targets.values_mut().for_each(|t| t.alive = false);
                lan.run(outage);
                lan.targets.values_mut().for_each(|t| t.alive = true);
                lan.run(pause);
            }
            lan.run(2 * S);
            assert_eq!(
                policed(&lan),
                [] as [String; 0],
                "{members} {targets} {outage:?} {pause:?}"
            );
            assert_eq!(achieved(&lan), 100 * MS);
            lan.run(10 * S);
            lan.wire(0, Wire::Cut);
            lan.until(if members == 1 { 130 } else { 101 } * MS, |l| {
                l.view().interfaces[0].reason.is_some()
            });
        }
    }
}

/// What happens to a group whose targets limit their answers, each in its own way.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// All targets but this one die.
    Spare(usize),
    /// No target answers for so many milliseconds.
    Outage(u64),
    /// eth0 is cut, and mended after so many milliseconds.
    Cut(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4usize).prop_map(Step::Spare),
        (100..3000u64).prop_map(Step::Outage),
        (100..8000u64).prop_map(Step::Cut),
    ]
}

fn any_limit() -> impl Strategy<Value = Option<Limit>> {
    let limit = (1..=20u64, 1..=20u64);
    let limit = limit.prop_map(|(per_second, burst)| Limit { per_second, burst, per_source: true });
    prop_oneof![1 => Just(None), 2 => limit.prop_map(Some)]
}

fn failed(lan: &Lan, i: usize) -> bool {
    lan.view().interfaces[i].reason.is_some()
}

fn works(lan: &Lan) -> bool {
    lan.view().interfaces.iter().all(|i| i.reason.is_none())
}

/// The longest time that a repair takes by what is shown.
fn repair_bound(lan: &Lan) -> Duration {
    let view = lan.view();
    let longest = view.targets.iter().map(|t| t.interval).max().unwrap_or_default();
    view.groups[0].fdt.unwrap().max(longest * 6) * 2 + longest * 4 + S
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_mix_of_limits_keeps_the_promise(
        limits in proptest::collection::vec(any_limit(), 1..=4),
        members in 1..=3usize,
        attach in 1..300u32,
        phase in 0..1000u32,
        steps in proptest::collection::vec(step(), 1..=4),
    ) {
        let mut lan = with_limits(members, &limits);
        lan.attach = MS * attach;
        lan.run(40 * S + MS * phase);
        prop_assert!(failures(&lan).is_empty(), "at the start: {:#?}", lan.texts());
        let targets: Vec<_> = lan.targets.keys().copied().collect();
        for step in steps {
            lan.messages.clear();
            match step {
                Step::Spare(n) => {
                    let spared = targets[n % targets.len()];
                    // One that was down has time to count again.
                    lan.targets.get_mut(&spared).unwrap().alive = true;
                    lan.run(30 * S);
                    lan.messages.clear();
                    lan.targets.iter_mut().for_each(|(t, it)| it.alive = *t == spared);
                    lan.run(30 * S);
                    prop_assert!(failures(&lan).is_empty(), "{step:?}: {:#?}", lan.texts());
                }
                Step::Outage(ms) => {
                    let alive = lan.targets.clone();
                    lan.targets.values_mut().for_each(|t| t.alive = false);
                    lan.run(MS * ms as u32);
                    lan.targets = alive;
                    let bound = repair_bound(&lan);
                    lan.run(bound);
                    prop_assert!(works(&lan), "{step:?}: {:#?}", lan.texts());
                    lan.run(20 * S);
                    prop_assert!(works(&lan), "{step:?}: {:#?}", lan.texts());
                }
                Step::Cut(ms) => {
                    // With one member nobody else can tell: every silence is one in common.
                    let shown = achieved(&lan) + 5 * MS;
                    let longest = lan.view().targets.iter().map(|t| t.interval).max().unwrap();
                    let bound = if members > 1 { shown } else { shown + longest + 3 * S };
                    lan.wire(0, Wire::Cut);
                    let begun = lan.now;
                    while !failed(&lan, 0) && lan.now.since(begun) <= bound {
                        lan.run(MS);
                    }
                    prop_assert!(failed(&lan, 0), "{step:?}: {bound:?} {:#?} {:#?}", lan.texts(), lan.view().targets);
                    prop_assert!((1..members).all(|i| !failed(&lan, i)), "{:#?}", lan.texts());
                    lan.run(MS * ms as u32);
                    lan.wire(0, Wire::Works);
                    let bound = repair_bound(&lan);
                    lan.run(bound);
                    prop_assert!(works(&lan), "{step:?}: {bound:?} {:#?}", lan.texts());
                    lan.run(20 * S);
                    prop_assert!(works(&lan), "{step:?}: {:#?}", lan.texts());
                }
            }
        }
        for row in lan.view().targets.iter().filter(|t| t.state == TargetState::Policed) {
            prop_assert!(lan.targets[&row.target].limit.is_some(), "{row:#?} {:#?}", lan.texts());
        }
    }
}
