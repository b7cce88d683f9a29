//! The receive witness (design 2.12): where frames that have come in can wait although we run, five
//! unanswered probes may have been answered. Before such a verdict a frame must have been handled on
//! the CPU that serves the path, after the replies were due; without one the verdict is late.

use crate::config::MAX_TARGETS;

/// How many rounds a verdict waits for a witness at most: a dead NIC brings no frames, and another
/// one may not be served by the same CPU.
pub const PATIENCE: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// The count of frames, taken when the replies were due.
    Before(u64),
    Handled,
}

/// What the CPUs that serve an instance's paths have handled since its replies were due.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveWitness([Seen; MAX_TARGETS]);

impl ReceiveWitness {
    pub const fn new() -> Self {
        Self([Seen::Nothing; MAX_TARGETS])
    }

    pub fn frames(&mut self, path: usize, frames: u64) {
        let Some(seen) = self.0.get_mut(path) else { return };
        *seen = match *seen {
            Seen::Nothing => Seen::Before(frames),
            Seen::Before(before) if before != frames => Seen::Handled,
            same => same,
        };
    }

    /// A frame was handled where the replies of this path would have been.
    pub fn stands(&self, path: usize) -> bool {
        self.0.get(path) == Some(&Seen::Handled)
    }
}
