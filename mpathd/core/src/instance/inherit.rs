//! An instance goes on under another configuration: with its probes, what it was answered, and what it
//! has failed by or earned.

use core::time::Duration;

use super::Instance;
use crate::ids::PathId;
use crate::inherit::next_round;
use crate::path::Path;
use crate::time::Instant;

impl Instance {
    /// Its paths get other numbers. Before any is open.
    pub fn sit(&mut self, first_path: PathId) {
        self.first_path = first_path;
    }

    /// Goes on from the instance of the same interface and family. Where the failure detection time is
    /// another one, answers and round-trip times hold on. Losses at a slower pace are losses at a
    /// quicker one too; the other way round they would make a verdict of less than the time that was
    /// asked for, so they begin anew. `phase`: when the first round is to be if the old one is too far.
    pub fn inherit(&mut self, old: &Self, now: Instant, phase: Duration) {
        let Self { first_path, fdt, .. } = *self;
        let paths = old.paths;
        *self = Self { first_path, fdt, paths, ..*old };
        if self.fdt == old.fdt {
            return;
        }
        let interval = self.interval();
        self.chance.conclude(interval);
        self.next_round = self.next_round.map(|due| next_round(due, now, interval, phase));
        if self.fdt > old.fdt {
            self.paths.iter_mut().for_each(|path: &mut Path| path.begin_evidence(now));
        }
    }
}
