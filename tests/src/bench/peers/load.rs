//! What else the machine has to do meanwhile.

use std::fmt::{self, Display};

use crate::load::Hogs;

const HOGS: usize = 16;
/// Below mpathd's own, and that of the others at their best.
const REAL_TIME: u32 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Idle,
    Hogs,
    /// One on every CPU, before all that has no real-time priority.
    RealTimeHogs,
}

impl Load {
    pub(super) const ALL: [Self; 3] = [Self::Idle, Self::Hogs, Self::RealTimeHogs];

    /// Until it is dropped.
    pub(super) fn start(self) -> Hogs {
        match self {
            Self::Idle => Hogs::start(0),
            Self::Hogs => Hogs::start(HOGS),
            Self::RealTimeHogs => Hogs::of_real_time(REAL_TIME),
        }
    }
}

impl Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Hogs => write!(f, "{HOGS} CPU hogs"),
            Self::RealTimeHogs => write!(f, "SCHED_FIFO {REAL_TIME} hogs"),
        }
    }
}
