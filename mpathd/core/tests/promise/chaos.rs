//! As many worlds as the time allows, without regard to open faults.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::generate::{Mix, generate, mix_of};
use crate::history::History;
use crate::open::OPEN;
use crate::referee::Kind;
use crate::shrink::{judge, shrink};

#[derive(Default)]
struct Totals {
    worlds: u64,
    steps: u64,
    turns: u64,
    time: Duration,
    /// How many, and the first seed.
    faults: BTreeMap<(Kind, Mix), (u64, u64)>,
}

fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The number of faults. `MPATHD_CHAOS_MINUTES`, `_SEED`, `_WORLDS` (instead of minutes) and `_THREADS`.
pub fn run() -> u64 {
    let minutes = given("MPATHD_CHAOS_MINUTES", 1);
    let worlds = given("MPATHD_CHAOS_WORLDS", u64::MAX);
    let first = given("MPATHD_CHAOS_SEED", 0);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals::default());
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..given("MPATHD_CHAOS_THREADS", 1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if Instant::now() >= end || seed - first >= worlds {
                        break;
                    }
                    one(seed, &totals);
                }
            });
        }
    });
    drop(std::panic::take_hook());
    let totals = totals.into_inner().unwrap();
    println!(
        "{} worlds, {} steps, {} turns, {:.1} virtual hours",
        totals.worlds,
        totals.steps,
        totals.turns,
        totals.time.as_secs_f64() / 3600.0
    );
    for ((kind, mix), (count, seed)) in &totals.faults {
        println!("{kind:?} in {mix:?}: {count} worlds, first seed {seed}");
    }
    totals.faults.values().map(|(count, _)| count).sum()
}

fn one(seed: u64, totals: &Mutex<Totals>) {
    let open = if given("MPATHD_CHAOS_RESTRICTED", 0) == 1 { OPEN } else { &[] };
    let history = generate(seed, open);
    let played = judge(&history);
    let mut all = totals.lock().unwrap();
    all.worlds += 1;
    all.steps += played.steps as u64;
    all.turns += played.turns as u64;
    all.time += played.time;
    let known = |kind| open.iter().any(|open| open.hides(kind));
    let Some(fault) = played.fault.filter(|fault| !known(fault.kind)) else { return };
    let entry = all.faults.entry((fault.kind, mix_of(seed))).or_insert((0, seed));
    entry.0 += 1;
    let first = entry.0 == 1;
    drop(all);
    if first {
        let small: History = shrink(&history, fault.kind);
        let fault = judge(&small).fault.unwrap_or(fault);
        println!("seed {seed} ({:?}): {fault}\n{small}", mix_of(seed));
    }
}
