//! Random histories. Each seed belongs to one mix: what happens together in it.

use crate::history::{History, Setup, Step};
use crate::open::Open;

/// splitmix64
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Evenly over the orders of magnitude.
    fn span(&mut self, least: u64, most: u64) -> u64 {
        let (low, high) = ((least as f64).ln(), (most as f64).ln());
        let part = (self.next() % 10_000) as f64 / 10_000.0;
        (low + (high - low) * part).exp() as u64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mix {
    /// Paths, carriers, targets, commands, reloads: a bit of all.
    All,
    /// Targets that limit their answers, die and return.
    Limits,
    /// NICs that come and go in quick succession, with spares.
    Flaps,
    /// Outages of all targets, and cuts beside them.
    Outages,
    /// Other configurations while something is broken.
    Reloads,
    /// Other programs and hosts, lateness, restarts.
    Drift,
    /// Loss and delay.
    Loss,
}

pub const MIXES: [Mix; 7] =
    [Mix::All, Mix::Limits, Mix::Flaps, Mix::Outages, Mix::Reloads, Mix::Drift, Mix::Loss];

pub fn mix_of(seed: u64) -> Mix {
    MIXES[(seed % MIXES.len() as u64) as usize]
}

pub fn generate(seed: u64, open: &[Open]) -> History {
    let mut dice = Dice::new(seed);
    let mix = mix_of(seed);
    let setup = setup(&mut dice, mix, seed);
    let mut steps = Vec::new();
    if mix == Mix::Limits {
        for t in 0..setup.targets {
            if dice.chance(70) {
                steps.push((0, limit(&mut dice, t)));
            }
        }
    }
    // Most worlds begin in peace.
    let first = dice.pick(&[0, 200, 3_000, 7_000]);
    steps.push((first, Step::Pass));
    let count = 2 + dice.below(10);
    for _ in 0..count {
        let after = pause(&mut dice, mix, &setup);
        let mut happens = events(&mut dice, mix, &setup);
        happens[0].0 = after;
        steps.append(&mut happens);
    }
    // Repair may take its time where targets limit their answers.
    if mix == Mix::Limits && dice.chance(30) {
        let i = dice.below(setup.members);
        steps.push((5_000, Step::Cut(i)));
        steps.push((dice.span(setup.fdt_ms, 20_000), Step::Mend(i)));
        steps.push((60_000, Step::Pass));
    }
    let mut history = History { setup, steps };
    open.iter().for_each(|open| open.restrict(&mut history));
    history
}

fn setup(dice: &mut Dice, mix: Mix, seed: u64) -> Setup {
    let fdts: &[u64] = match mix {
        Mix::Limits => &[100, 100, 200, 300],
        Mix::Outages => &[100, 300, 1_000],
        Mix::Loss => &[100, 300],
        _ => &[100, 300, 1_000, 1_000, 1_000, 10_000],
    };
    let members = dice.pick(&[1, 2, 2, 2, 2, 3, 3, 4]);
    let standby = match dice.below(4) {
        0 | 1 => 0,
        2 => 1 << (members - 1),
        _ => dice.below(1 << members) as u8,
    };
    Setup {
        seed,
        members,
        standby,
        link_only: if dice.chance(10) { dice.below(1 << members) as u8 } else { 0 },
        failback: dice.chance(75),
        fdt_ms: dice.pick(fdts),
        quiet_ms: dice.pick(&[2_000, 10_000, 40_000]),
        data: 1 + dice.below(3),
        targets: dice.pick(&[1, 2, 2, 3, 3, 4]),
        dual: dice.chance(if mix == Mix::Reloads { 10 } else { 25 }),
    }
}

fn pause(dice: &mut Dice, mix: Mix, setup: &Setup) -> u64 {
    let fdt = setup.fdt_ms;
    match (mix, dice.below(4)) {
        (_, 0) => dice.span(1, fdt),
        (Mix::Limits, 1) => dice.span(fdt, 8_000),
        (Mix::Limits | Mix::Loss, _) => dice.span(fdt, 2_000),
        (Mix::Outages, 1) => dice.span(fdt, 20_000),
        (Mix::Outages, _) => dice.span(500, 3_000),
        (_, 1) => dice.span(fdt, 30_000),
        (_, 2) => dice.span(fdt, fdt * 5),
        (_, _) => dice.span(fdt * 2, 8 * fdt.max(1_000)),
    }
}

fn limit(dice: &mut Dice, t: usize) -> Step {
    Step::Limit(t, dice.pick(&[50, 50, 100, 200, 500, 1_000]), dice.pick(&[1, 1, 6]))
}

/// What happens next; some things end by themselves.
fn events(dice: &mut Dice, mix: Mix, setup: &Setup) -> Vec<(u64, Step)> {
    let fdt = setup.fdt_ms;
    let i = dice.below(setup.members);
    let t = dice.below(setup.targets);
    let on = dice.chance(50);
    let later = |dice: &mut Dice| dice.span(fdt.max(2) / 2, fdt * 6);
    let group = match mix {
        Mix::All => dice.below(7),
        Mix::Limits => dice.pick(&[0, 0, 3, 3, 4]),
        Mix::Flaps => dice.pick(&[0, 1, 1, 2, 9]),
        Mix::Outages => dice.pick(&[3, 5, 5, 5, 0]),
        Mix::Reloads => dice.pick(&[0, 0, 1, 6, 6, 6, 3]),
        Mix::Drift => dice.pick(&[0, 2, 7, 7, 7]),
        Mix::Loss => dice.pick(&[0, 3, 8, 8]),
    };
    match group {
        // Cuts.
        0 => match dice.below(6) {
            0 => vec![(0, Step::Cut(i))],
            1 => vec![(0, Step::Mend(i))],
            2 => vec![(0, Step::CutPath(i, t))],
            3 => vec![(0, Step::MendPath(i, t))],
            4 => vec![(0, Step::Stick(i)), (later(dice), Step::Mend(i))],
            _ => vec![(0, Step::Cut(i)), (later(dice), Step::Mend(i))],
        },
        // Links.
        1 => match dice.below(5) {
            0 => vec![(0, Step::Carrier(i, on))],
            1 => vec![(0, Step::Carrier(i, false)), (later(dice), Step::Carrier(i, true))],
            2 => vec![(0, Step::Unplug(i)), (later(dice), Step::Plug(i))],
            // It comes back behind a port that passes nothing.
            3 => vec![
                (0, Step::Unplug(i)),
                (later(dice), Step::Plug(i)),
                (0, Step::Cut(i)),
                (dice.span(fdt, 30_000), Step::Mend(i)),
            ],
            _ => vec![
                (0, Step::Carrier(i, false)),
                (0, Step::Cut(i)),
                (later(dice), Step::Carrier(i, true)),
                (dice.span(fdt, 30_000), Step::Mend(i)),
            ],
        },
        // An administrator.
        2 => match dice.below(3) {
            0 => vec![(0, Step::Offline(i))],
            1 => vec![(0, Step::Online(i))],
            _ => vec![(0, Step::Offline(i)), (later(dice), Step::Online(i))],
        },
        // Targets.
        3 => match dice.below(4) {
            0 => vec![(0, Step::Kill(t)), (later(dice), Step::Revive(t))],
            1 => vec![(0, Step::Revive(t))],
            _ => vec![(0, Step::Kill(t))],
        },
        4 => match dice.below(4) {
            0 => vec![(0, Step::Unlimit(t))],
            _ => vec![(0, limit(dice, t))],
        },
        // Outages in common.
        5 => match dice.below(4) {
            0 => vec![(0, Step::KillAll)],
            1 => vec![(0, Step::ReviveAll)],
            _ => vec![(0, Step::KillAll), (dice.span(fdt.max(500), 3_000), Step::ReviveAll)],
        },
        // Reloads.
        6 => vec![(
            0,
            match dice.below(9) {
                0 | 1 => Step::Dual(dice.chance(70)),
                2 => Step::Fdt(dice.pick(&[100, 300, 1_000])),
                3 => Step::Quiet(dice.pick(&[2_000, 10_000, 40_000])),
                4 => Step::Failback(on),
                5 => Step::Standby(i, on),
                6 => Step::LinkOnly(i, on),
                7 => Step::Data(1 + dice.below(3)),
                _ => Step::Targets(1 + dice.below(4)),
            },
        )],
        // One NIC flaps, and is held for it.
        9 => {
            let unplugs = dice.chance(50);
            let times = 2 + dice.below(2);
            let mut flaps = Vec::new();
            for _ in 0..times {
                let (down, up) = match unplugs {
                    true => (Step::Unplug(i), Step::Plug(i)),
                    false => (Step::Carrier(i, false), Step::Carrier(i, true)),
                };
                flaps.push((dice.span(fdt * 3, fdt.max(300) * 6), down));
                flaps.push((dice.span(20, fdt), up));
            }
            flaps
        }
        7 => match dice.below(6) {
            5 => vec![(0, Step::StealTest(i))],
            0 => vec![(0, Step::Steal(dice.below(setup.data)))],
            1 => vec![(0, Step::Claim(i))],
            2 => vec![(0, Step::Restart)],
            _ => vec![(0, Step::Late(dice.span(1, fdt * 4)))],
        },
        _ => match dice.below(5) {
            0 => vec![(0, Step::Lose(t, dice.pick(&[1, 5, 10, 30])))],
            1 => vec![(0, Step::LoseOn(i, dice.pick(&[1, 5, 10, 30])))],
            2 => vec![(0, Step::Lose(t, 0))],
            3 => vec![(0, Step::LoseOn(i, 0))],
            _ => vec![(0, Step::Delay(t, dice.span(100, 400_000)))],
        },
    }
}
