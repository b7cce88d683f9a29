use super::*;

extern crate std;

use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// T of this failure detection time.
fn interval(fdt: Duration) -> Duration {
    fdt / 6
}

/// A path that loses each of `targets` probes of a round by itself, `loss` of one, for a million rounds.
fn independent(loss: f64, targets: i32) -> Tally {
    let (silent, rounds) = (loss.powi(targets), 1e6);
    let runs = silent * (1.0 - silent) * rounds;
    Tally { rounds: rounds as u32, runs: runs as u32, repeats: (silent * rounds - runs) as u32 }
}

/// xorshift64*, by the top 53 bits.
struct Dice(u64);

impl Dice {
    fn below(&mut self, part: f64) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let top = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        (top as f64) < part * (1u64 << 53) as f64
    }
}

/// Verdicts of `rounds` rounds in which the first silent one comes with `starts` and the next ones with
/// `again`: with the count that is learnt, and with five.
fn verdicts(
    chance: &mut Chance,
    dice: &mut Dice,
    rounds: u32,
    starts: f64,
    again: f64,
) -> (u32, u32) {
    let (mut run, mut learnt, mut five) = (0u8, 0, 0);
    for _ in 0..rounds {
        let silent = dice.below(if run == 0 { starts } else { again });
        run = if silent { run.saturating_add(1) } else { 0 };
        five += u32::from(run == LOSSES_TO_FAIL);
        if run == chance.losses() {
            learnt += 1;
            chance.discard_lesson();
            run = 0;
        } else {
            chance.round(!silent, interval(10 * MS));
        }
    }
    (learnt, five)
}

#[test]
fn losses_that_chance_makes_less_than_once_a_year() {
    let losses = |fdt, loss, targets| independent(loss, targets).losses_for(1.0, interval(fdt));
    for (fdt, one) in [(10, [5, 6, 8, 11]), (30, [5, 5, 8, 10]), (100, [5, 5, 8, 10])] {
        assert_eq!([0.001, 0.01, 0.05, 0.1].map(|loss| losses(fdt * MS, loss, 1)), one, "{fdt} ms");
    }
    assert_eq!([0.01, 0.05, 0.1].map(|loss| losses(10 * MS, loss, 2)), [5, 5, 6]);
    assert_eq!([0.01, 0.05, 0.1].map(|loss| losses(5 * MS, loss, 3)), [5, 5, 5]);
    assert_eq!(losses(10_000 * MS, 0.05, 1), 6);
    assert_eq!(losses(10 * MS, 0.14, 1), 12);
    assert_eq!(losses(10 * MS, 0.5, 1), MOST_LOSSES_TO_FAIL);
}

/// One false failure in 90 minutes, as the text at the top says.
#[test]
fn five_losses_at_5_per_cent() {
    let year = independent(0.05, 1).alarms_a_year(5, interval(10 * MS));
    let minutes = YEAR.as_secs_f64() / 60.0 / year;
    assert!((80.0..100.0).contains(&minutes), "{minutes}");
}

#[test]
fn a_few_hiccups_tell_nothing() {
    let tally = Tally { rounds: 100_000, runs: ENOUGH_RUNS - 1, repeats: 3 * ENOUGH_RUNS };
    assert_eq!(tally.losses_for(1.0, MS), LOSSES_TO_FAIL);
    let tally = Tally { runs: ENOUGH_RUNS, ..tally };
    assert!(tally.losses_for(1.0, MS) > LOSSES_TO_FAIL);
}

proptest! {
    /// More loss, longer bursts, a quicker pace and less allowed never make fewer losses enough.
    #[test]
    fn worse_never_needs_less(
        rounds in 100_000u32..1_000_000, runs in 0u32..40_000, repeats in 0u32..40_000,
        more in 0u32..10_000, micros in 800u64..1_000_000,
    ) {
        let tally = Tally { rounds, runs, repeats };
        let interval = Duration::from_micros(micros);
        let losses = tally.losses_for(1.0, interval);
        prop_assert!((LOSSES_TO_FAIL..=MOST_LOSSES_TO_FAIL).contains(&losses));
        let burstier = Tally { repeats: repeats + more, ..tally };
        prop_assert!(burstier.losses_for(1.0, interval) >= losses);
        prop_assert!(tally.losses_for(1.0, interval / 2) >= losses);
        prop_assert!(tally.losses_for(0.1, interval) >= losses);
        if losses < MOST_LOSSES_TO_FAIL && runs >= ENOUGH_RUNS {
            prop_assert!(tally.alarms_a_year(losses, interval) < 1.0);
        }
    }

    /// Whatever is heard, in whatever order.
    #[test]
    fn the_count_stays_within_its_bounds(parts in prop::collection::vec((0.0f64..1.0, 0.0f64..1.0), 1..20)) {
        let (mut chance, mut dice) = (Chance::new(), Dice(7));
        for (starts, again) in parts {
            verdicts(&mut chance, &mut dice, 5_000, starts, again);
            prop_assert!((LOSSES_TO_FAIL..=MOST_LOSSES_TO_FAIL).contains(&chance.losses()));
        }
    }
}

/// Half a day each at an FDT of 10 ms, learnt from nothing.
#[test]
fn no_false_failure_in_half_a_day_of_loss() {
    for loss in [0.01, 0.05, 0.1] {
        let (mut chance, mut dice) = (Chance::new(), Dice(0x9e37_79b9_7f4a_7c15));
        let (learnt, five) = verdicts(&mut chance, &mut dice, 27_000_000, loss, loss);
        assert_eq!(learnt, 0, "{loss}");
        assert!(five > 0 || loss < 0.05, "with five this test would fail");
    }
}

/// Bursts of two rounds in the mean, every 6 s: half of all losses are followed by another one.
#[test]
fn bursts_are_learnt() {
    let (mut chance, mut dice) = (Chance::new(), Dice(11));
    verdicts(&mut chance, &mut dice, 2_000_000, 2.8e-4, 0.5);
    let (learnt, five) = verdicts(&mut chance, &mut dice, 2_000_000, 2.8e-4, 0.5);
    assert_eq!(chance.losses(), MOST_LOSSES_TO_FAIL);
    assert!(five > 10 && learnt <= 2, "{learnt} of {five}");
}

#[test]
fn what_is_over_is_forgotten_within_an_hour() {
    for (fdt, loss) in [(10 * MS, 0.05), (100 * MS, 0.1), (10 * MS, 0.01)] {
        let (mut chance, mut dice) = (Chance::new(), Dice(3));
        let feed = |chance: &mut Chance, dice: &mut Dice, span: Duration, loss| {
            for _ in 0..span.as_nanos() / interval(fdt).as_nanos() {
                chance.round(!dice.below(loss), interval(fdt));
            }
        };
        feed(&mut chance, &mut dice, Duration::from_secs(3600), loss);
        assert!(chance.losses() > LOSSES_TO_FAIL, "{fdt:?} {loss}");
        feed(&mut chance, &mut dice, Duration::from_secs(3600), 0.0);
        assert_eq!(chance.losses(), LOSSES_TO_FAIL, "{fdt:?} {loss}");
    }
}

/// It loses a tenth from now on, after a day without: within a minute it takes ten in a row.
#[test]
fn loss_that_begins_is_learnt_soon() {
    let (mut chance, mut dice) = (Chance::new(), Dice(5));
    verdicts(&mut chance, &mut dice, 5_000_000, 0.0, 0.0);
    assert_eq!(chance.losses(), LOSSES_TO_FAIL);
    verdicts(&mut chance, &mut dice, 60 * 600, 0.1, 0.1);
    assert!(chance.losses() >= 9, "{}", chance.losses());
}

/// What it comes to does not go up and down.
#[test]
fn the_count_is_calm() {
    let (mut chance, mut dice) = (Chance::new(), Dice(9));
    for loss in [0.02, 0.05, 0.08] {
        verdicts(&mut chance, &mut dice, 1_000_000, loss, loss);
        let mut changes = 0;
        for _ in 0..36 {
            let before = chance.losses();
            verdicts(&mut chance, &mut dice, 100_000, loss, loss);
            changes += u32::from(chance.losses() != before);
        }
        assert!(changes <= 2, "{loss}: {changes} in 100 minutes");
    }
}

/// A path that suddenly loses half is left at the fifth loss in a row, every time: that is no chance.
#[test]
fn heavy_loss_is_a_failure() {
    let (mut chance, mut dice) = (Chance::new(), Dice(13));
    let (learnt, _) = verdicts(&mut chance, &mut dice, 100_000, 0.5, 0.5);
    assert!(learnt > 500, "{learnt}");
    assert_eq!(chance.losses(), LOSSES_TO_FAIL);
}

/// Feeds `count` times so many silent rounds and then answers, ten rounds together.
fn runs(chance: &mut Chance, count: u32, silent: u32) {
    for _ in 0..count {
        (0..10).for_each(|n| chance.round(n >= silent, MS));
    }
}

/// Whatever hindered a verdict; a path that is silent for so long is no random loss.
#[test]
fn runs_that_are_long_enough_for_a_verdict_are_not_learnt() {
    let mut chance = Chance::new();
    runs(&mut chance, 200, u32::from(LOSSES_TO_FAIL));
    assert_eq!((chance.memory().runs, chance.losses()), (0, LOSSES_TO_FAIL));
    let mut chance = Chance::new();
    runs(&mut chance, 200, u32::from(LOSSES_TO_FAIL) - 1);
    let memory = chance.memory();
    assert_eq!((memory.runs, memory.repeats), (memory.rounds.div_ceil(10), 3 * memory.runs));
    assert!(chance.losses() > LOSSES_TO_FAIL);
}

/// Ten runs of two are no five runs of four because rounds between them are not known.
#[test]
fn a_run_does_not_go_on_over_rounds_that_are_missing() {
    let mut chance = Chance::new();
    for _ in 0..200 {
        (0..2).for_each(|_| chance.round(false, MS));
        chance.interrupt();
        (0..8).for_each(|n| chance.round(n >= 2, MS));
    }
    let memory = chance.memory();
    assert!(memory.runs > 90, "{memory:?}");
    assert_eq!(memory.repeats, memory.runs, "each was of two rounds: {memory:?}");
}

#[test]
fn a_failure_discards_what_was_learnt_since_the_last_conclusion() {
    let mut chance = Chance::new();
    runs(&mut chance, 100, 3);
    chance.discard_lesson();
    // A whole lesson without loss: the silent rounds are not among them.
    (0..LESSON).for_each(|_| chance.round(true, MS));
    assert_eq!(chance.memory(), Tally { rounds: LESSON, runs: 0, repeats: 0 });
}

/// A hundred runs of two silent rounds in ten thousand.
#[test]
fn the_silent_part_and_what_follows_from_it_are_as_the_text_at_the_top_says() {
    let tally = Tally { rounds: 10_000, runs: 100, repeats: 100 };
    assert!((tally.silent() - 0.02).abs() < 1e-9);
    let again = (100.0 + INDEPENDENCE * 0.02) / (200.0 + INDEPENDENCE);
    let rounds = YEAR.as_secs_f64() / 0.01;
    let five = rounds * 0.01 * again * again * again * again;
    let told = tally.alarms_a_year(5, 10 * MS);
    assert!((told / five - 1.0).abs() < 1e-9, "{told} instead of {five}");
}
