//! A host that has no time for its daemon: CPUs full of others, the daemon stopped, RTNL held. Verdicts may come
//! late then, never false.

use std::time::Duration;

use mpathd_tests::clock::{self, Nanos, nanos};
use mpathd_tests::cuts::{Judgement, MARGIN, Rig};
use mpathd_tests::load::{Containers, Hogs};
use mpathd_tests::{isolated, rtnl, wait_for};
use nix::sys::signal::Signal;

const FDT: Duration = Duration::from_millis(100);
const HOGS: usize = 16;
const UNDER_LOAD: Duration = Duration::from_secs(30);
const STOPPED: Duration = Duration::from_secs(2);
const CUTS: u32 = 5;
const HELD: Duration = Duration::from_millis(250);
const HOLDS: usize = 10;
const CONTAINERS: usize = 4;
const UNDER_CONTAINERS: Duration = Duration::from_secs(10);
/// NICs x families: each misses its own rounds.
const INSTANCES: u64 = 4;
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn sixteen_hogs_cause_no_failover_and_hide_no_cut() {
    isolated(|| {
        let mut rig = Rig::start(FDT, 2);
        let _hogs = Hogs::start(HOGS);
        let begun = clock::now();
        let missed = rounds_missed(&rig);
        assert_nothing_happens_for(UNDER_LOAD, &rig, begun);
        assert_no_round_missed(&rig, missed, begun);
        cuts_are_seen(&mut rig);
    });
}

/// Behaviour 40.
#[test]
fn a_daemon_that_was_stopped_calls_nothing_failed() {
    isolated(|| {
        let mut rig = Rig::start(FDT, 2);
        let begun = clock::now();
        let missed = rounds_missed(&rig);
        rig.daemon.signal(Signal::SIGSTOP);
        clock::sleep_until(clock::now() + nanos(STOPPED));
        rig.daemon.signal(Signal::SIGCONT);
        let stopped = (STOPPED.as_secs_f64() / rig.interval().as_secs_f64()) as u64;
        // It knows, and says so.
        rig.daemon.wait_log("missed sending", begun, LIMIT);
        // For as long as a verdict that rests on the stop could take.
        assert_nothing_happens_for(FDT * 5, &rig, begun);
        let more = rounds_missed(&rig) - missed;
        assert!(more >= (stopped - 1) * INSTANCES, "{more} rounds missed in {STOPPED:?}");
        cuts_are_seen(&mut rig);
    });
}

#[test]
fn rtnl_held_by_others_loses_no_round() {
    isolated(|| {
        let rig = Rig::start(FDT, 2);
        let missed = rounds_missed(&rig);
        let begun = clock::now();
        for number in 1..=HOLDS {
            rtnl::while_held(|| clock::sleep_until(clock::now() + nanos(HELD)));
            wait_for("wait for RTNL that others have measured", LIMIT, || {
                let waits = rig.rtnl.seen();
                let held = waits.iter().filter(|it| it.to - it.from >= nanos(HELD / 5 * 4)).count();
                if held >= number { Ok(()) } else { Err(waits) }
            });
        }
        assert_no_round_missed(&rig, missed, begun);
        assert_nothing_happened(&rig, begun);
    });
}

/// The verdict needs no RTNL; only the address waits for it.
#[test]
fn a_cut_while_rtnl_is_held_is_judged_in_time() {
    isolated(|| {
        let mut rig = Rig::start(FDT, 2);
        let (nic, held) = rig.busiest();
        let cut = rtnl::while_held(|| {
            let cut = rig.lab.cut(nic);
            clock::sleep_until(cut + nanos(FDT + HELD));
            cut
        });
        for address in held {
            let it = rig.wait_moved(address, nic, cut);
            println!(
                "  cut to verdict {:.1} ms, verdict to address {:.1?}",
                clock::ms_between(cut, it.verdict),
                it.took()
            );
            assert!(it.took() > HELD / 2, "the address did not wait: {:?}", it.took());
            rig.daemon.wait_log("others held RTNL", cut, LIMIT);
            let verdict = Duration::from_nanos(it.verdict - cut);
            let stalls = rig.stalls.within(cut - 2 * nanos(FDT), it.verdict);
            assert!(verdict <= FDT + MARGIN + stalls, "{verdict:?} with stalls of {stalls:?}");
        }
        rig.mend(nic, cut);
        rig.wait_repaired();
        assert_eq!(rig.daemon.has_ended(), None, "the daemon has ended");
    });
}

#[test]
fn containers_that_come_and_go_lose_no_round_and_hide_no_cut() {
    isolated(|| {
        let mut rig = Rig::start(FDT, 2);
        let missed = rounds_missed(&rig);
        let containers = Containers::start(CONTAINERS);
        let begun = clock::now();
        assert_nothing_happens_for(UNDER_CONTAINERS, &rig, begun);
        println!("  longest wait for RTNL {:.1?}", rig.rtnl.longest(begun, Nanos::MAX));
        cuts_are_seen(&mut rig);
        drop(containers);
        assert_no_round_missed(&rig, missed, begun);
    });
}

/// Cuts, verdicts in time, addresses moved, and repairs, while whatever it is goes on.
fn cuts_are_seen(rig: &mut Rig) {
    let mut broken = Vec::new();
    for number in 0..CUTS {
        let cut = rig.cut(f64::from(number) / f64::from(CUTS));
        for it in &cut.moves {
            println!(
                "  cut to verdict {:.1} ms, verdict to address {:.1?}",
                clock::ms_between(cut.at, it.verdict),
                it.took()
            );
            match rig.judge(&cut, it) {
                Judgement::Kept => {}
                Judgement::Excused(line) => println!("  excused: {line}"),
                Judgement::Broken(line) => broken.push(line),
            }
        }
    }
    rig.wait_repaired();
    assert_eq!(rig.daemon.has_ended(), None, "the daemon has ended");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn assert_nothing_happens_for(time: Duration, rig: &Rig, since: Nanos) {
    let end = clock::now() + nanos(time);
    while clock::now() < end {
        clock::sleep_until(end.min(clock::now() + nanos(FDT)));
        assert_nothing_happened(rig, since);
    }
    let told = rig.daemon.log().into_iter().filter(|it| it.at >= since);
    told.for_each(|line| println!("  {}", line.text));
}

/// No address was touched, and nothing was told but how late the host ran the daemon, and, after a measured
/// stall, what that does to failure detection times.
fn assert_nothing_happened(rig: &Rig, since: Nanos) {
    let events = rig.addresses.events();
    let touched: Vec<_> = events.iter().filter(|it| it.at >= since).collect();
    assert!(touched.is_empty(), "addresses were touched: {touched:#?}");
    for line in rig.daemon.log().iter().filter(|it| it.at >= since) {
        let late = ["missed sending", "likely cause"].iter().any(|text| line.text.contains(text));
        let slow = ["Cannot meet requested", "Improved failure detection"]
            .iter()
            .any(|text| line.text.contains(text));
        let stalled = rig.stalls.longest(since, line.at) > rig.interval() / 2;
        assert!(late || (slow && stalled), "it says: {}", line.text);
    }
}

fn assert_no_round_missed(rig: &Rig, before: u64, since: Nanos) {
    let missed = rounds_missed(rig) - before;
    let interval = nanos(rig.interval());
    let stalls = rig.stalls.seen();
    // A stall adds to the little that the thread is late anyway.
    let explained: u64 = stalls
        .iter()
        .filter(|it| it.to > since && it.to - it.from > interval / 10 * 9)
        .map(|it| (it.to - it.from).div_ceil(interval) * INSTANCES)
        .sum();
    println!(
        "  {missed} rounds missed, {explained} at most by {} stalls; the longest {:.1?}",
        stalls.len(),
        rig.stalls.longest(since, Nanos::MAX)
    );
    assert!(missed <= explained, "{missed} rounds missed, stalls explain {explained}");
}

fn rounds_missed(rig: &Rig) -> u64 {
    rig.ipmpstat("-t")["lateness"]["rounds_missed"].as_u64().expect("a number")
}
