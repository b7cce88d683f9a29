//! Faults that are known and not mended yet. The ordinary run keeps to worlds in which they do not show,
//! and the cases in `cases` that name one are expected to fail. Whoever mends one removes it from
//! [`OPEN`]; nothing else is to be done.

use crate::history::{History, Step};
use crate::referee::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Targets that limit their answers count for less than they answer; repair waits for ever.
    LimitedTargets,
    /// With all members held by damping, a NIC that has never answered is taken for a spare.
    HeldSpare,
    /// A family that never answered repairs a NIC.
    RepairByNewFamily,
    /// Outages of all targets let each pass for one that limits its answers.
    CommonOutages,
    /// A NIC that is held by damping loses what it carries as soon as another one is not held, and gets
    /// it back when its hold ends.
    HoldTakesAway,
    /// Replies that are slower than any before are given up, and count as losses when the first is in.
    SlowFromTheStart,
}

pub const OPEN: &[Open] = &[
    Open::LimitedTargets,
    Open::HeldSpare,
    Open::RepairByNewFamily,
    Open::CommonOutages,
    Open::HoldTakesAway,
    Open::SlowFromTheStart,
];

impl Open {
    pub fn named(text: &str) -> Self {
        match text {
            "limited-targets" => Open::LimitedTargets,
            "held-spare" => Open::HeldSpare,
            "repair-by-new-family" => Open::RepairByNewFamily,
            "common-outages" => Open::CommonOutages,
            "hold-takes-away" => Open::HoldTakesAway,
            "slow-from-the-start" => Open::SlowFromTheStart,
            _ => panic!("`{text}` is no open fault"),
        }
    }

    /// Leaves out of a history what shows it.
    pub fn restrict(self, history: &mut History) {
        let shows = |step: &Step| match self {
            Open::LimitedTargets => {
                matches!(step, Step::Limit(..) | Step::Lose(..) | Step::LoseOn(..))
            }
            Open::RepairByNewFamily => matches!(step, Step::Dual(_)),
            Open::SlowFromTheStart => matches!(step, Step::Delay(..)),
            Open::HeldSpare | Open::CommonOutages | Open::HoldTakesAway => false,
        };
        for (_, step) in history.steps.iter_mut().filter(|(_, step)| shows(step)) {
            *step = Step::Pass;
        }
    }

    /// Shows by promises that nothing else breaks, as far as is known: they are not judged.
    pub fn hides(self, kind: Kind) -> bool {
        match self {
            Open::HeldSpare => kind == Kind::MovedToSilent,
            Open::CommonOutages => kind == Kind::InventedLimit,
            Open::HoldTakesAway => matches!(kind, Kind::ToAndFro | Kind::MovedTooOften),
            Open::RepairByNewFamily => kind == Kind::RepairedUnheard,
            Open::LimitedTargets => matches!(kind, Kind::FalseFailure | Kind::Hasty),
            Open::SlowFromTheStart => false,
        }
    }
}
