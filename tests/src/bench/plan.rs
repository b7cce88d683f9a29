//! How much is measured.

use std::path::PathBuf;
use std::time::Duration;

/// The sizes of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A look whether all works, a minute a section; its page is no record, and goes to target/bench.
    pub quick: bool,
    /// Silent cuts in each class.
    pub cuts: u32,
    /// How long each thing is watched that must hold for minutes.
    pub endure: Duration,
    /// How long each figure is measured that settles within seconds.
    pub measure: Duration,
}

impl Plan {
    pub fn full() -> Self {
        Self {
            quick: false,
            cuts: 200,
            endure: Duration::from_mins(10),
            measure: Duration::from_secs(10),
        }
    }

    pub fn quick() -> Self {
        Self {
            quick: true,
            cuts: 6,
            endure: Duration::from_secs(5),
            measure: Duration::from_secs(2),
        }
    }

    /// `full`, or for the quick look `quick`.
    pub fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Where `performance.md` is, and the folder `performance` with plots and raw data.
    pub(super) fn folder(&self) -> PathBuf {
        crate::checkout().join(self.choose("docs", "target/bench"))
    }
}
