//! Faults that are known and not mended yet. The ordinary run keeps to worlds in which they do not show,
//! and the cases in `cases` that name one may fail. Whoever mends one removes it from [`OPEN`] and its
//! name from the cases; nothing else is to be done.

use crate::history::{History, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A target that begins to limit its answers while the host runs is not always found out, and its
    /// single answers are no witness then.
    LaterLimits,
    /// Where a target limits its answers, a silence of all takes longer to be shown than is shown.
    SilenceOfLimited,
}

pub const OPEN: &[Open] = &[Open::LaterLimits, Open::SilenceOfLimited];

impl Open {
    pub fn named(text: &str) -> Self {
        match text {
            "later-limits" => Open::LaterLimits,
            "silence-of-limited" => Open::SilenceOfLimited,
            _ => panic!("`{text}` is no open fault"),
        }
    }

    /// Leaves out of a history what shows it.
    pub fn restrict(self, history: &mut History) {
        let limited = history.steps.iter().any(|(_, step)| matches!(step, Step::Limit(..)));
        let mut now = 0;
        for (after, step) in &mut history.steps {
            now += *after;
            let shows = match self {
                Open::LaterLimits => matches!(step, Step::Limit(..)) && now > 0,
                Open::SilenceOfLimited => limited && matches!(step, Step::Kill(_) | Step::KillAll),
            };
            if shows {
                *step = Step::Pass;
            }
        }
    }
}
