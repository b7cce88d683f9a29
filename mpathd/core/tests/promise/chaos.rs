//! As many worlds as the time allows, without regard to open faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::generate::{Mix, generate, mix_of};
use crate::open::OPEN;
use crate::referee::Kind;
use crate::shrink::{judge, shrink};

#[derive(Default)]
struct Totals {
    worlds: u64,
    steps: u64,
    turns: u64,
    time: Duration,
    faults: BTreeMap<(Kind, Mix), Found>,
}

#[derive(Default)]
struct Found {
    worlds: u64,
    first: Option<u64>,
    /// What happens in the small histories that were printed.
    printed: BTreeSet<Vec<&'static str>>,
}

/// Faults of one kind and mix that are made small: most are the same one.
const SHRUNK: u64 = 4;

fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The number of faults. `MPATHD_CHAOS_MINUTES`, `_SEED`, `_WORLDS` (at the most), `_STRIDE`,
/// `_SHRUNK` and `_THREADS`.
pub fn run() -> u64 {
    let minutes = given("MPATHD_CHAOS_MINUTES", 1);
    let worlds = given("MPATHD_CHAOS_WORLDS", u64::MAX);
    let first = given("MPATHD_CHAOS_SEED", 0);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    // As many as there are mixes: worlds of one mix only.
    let stride = given("MPATHD_CHAOS_STRIDE", 1);
    let next = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..given("MPATHD_CHAOS_THREADS", 1) {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if Instant::now() >= end || nth >= worlds {
                        break;
                    }
                    one(first + nth * stride, &totals);
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
    for ((kind, mix), found) in &totals.faults {
        let (worlds, first) = (found.worlds, found.first.unwrap_or_default());
        println!("{kind:?} in {mix:?}: {worlds} worlds, first seed {first}");
    }
    totals.faults.values().map(|found| found.worlds).sum()
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
    let Some(fault) = played.fault else { return };
    let kind = fault.kind;
    let found = all.faults.entry((kind, mix_of(seed))).or_default();
    found.worlds += 1;
    found.first = Some(found.first.map_or(seed, |first| first.min(seed)));
    let many = found.worlds > given("MPATHD_CHAOS_SHRUNK", SHRUNK);
    drop(all);
    if many {
        return;
    }
    let small = shrink(&history, kind);
    let words: BTreeSet<_> = small.steps.iter().map(|(_, step)| step.word()).collect();
    let mut all = totals.lock().unwrap();
    let found = all.faults.entry((kind, mix_of(seed))).or_default();
    if found.printed.insert(words.into_iter().collect()) {
        let fault = judge(&small).fault.unwrap_or(fault);
        println!("seed {seed} ({:?}): {fault}\n{small}", mix_of(seed));
    }
}
