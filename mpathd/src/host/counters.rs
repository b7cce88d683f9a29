//! The counts that the kernel program keeps per CPU, summed for display. Made by the host thread,
//! which has the maps; read by the slow thread. No decision rests on them: a read is a system call
//! per word (3.2 us), and the CPUs go on counting meanwhile.
//!
//! Of replies taken in socket mode the kernel program knows nothing; those counts are the fast
//! thread's own.

use std::os::fd::BorrowedFd;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use mpathd_common::abi::{OUTCOME_ROW, RTT_ROW, SKIP_ROW};

/// The per-CPU maps of `mpathd_common::abi`.
#[derive(Clone, Copy, Debug)]
pub struct CounterFds<'a> {
    pub outcomes: BorrowedFd<'a>,
    pub rtt: BorrowedFd<'a>,
    pub skips: BorrowedFd<'a>,
}

/// Holds the maps by descriptors of its own. Counts start at the load of the object, or with pins
/// at its first load, and never fall.
pub struct Counters {
    outcomes: Counts,
    rtt: Counts,
    skips: Counts,
}

impl Counters {
    /// # Errors
    /// `InvalidMapType` or `InvalidValueSize` where a map is not a per-CPU array of words; else what
    /// the kernel says (EMFILE).
    pub fn new(fds: &CounterFds<'_>) -> Result<Self, MapError> {
        Ok(Self {
            outcomes: Counts::open(fds.outcomes)?,
            rtt: Counts::open(fds.rtt)?,
            skips: Counts::open(fds.skips)?,
        })
    }

    /// Echo replies that named this slot, in the order of `Outcome::ALL`. A slot that is used again
    /// goes on from the counts of its earlier use.
    ///
    /// # Errors
    /// `OutOfBounds` from slot `SLOTS` on.
    pub fn outcomes(&self, slot: u32) -> Result<[u64; OUTCOME_ROW as usize], MapError> {
        self.outcomes.row(slot.saturating_mul(OUTCOME_ROW))
    }

    /// Replies of this slot by RTT: bucket b is 2^b to 2^(b+1) - 1 ns, the last one everything from
    /// 2.1 s. As lasting as [`Self::outcomes`].
    ///
    /// # Errors
    /// `OutOfBounds` from slot `SLOTS` on.
    pub fn rtt_histogram(&self, slot: u32) -> Result<[u64; RTT_ROW as usize], MapError> {
        self.rtt.row(slot.saturating_mul(RTT_ROW))
    }

    /// Frames on all our interfaces that were no reply to any slot, in the order of `Skip::ALL`.
    ///
    /// # Errors
    /// None but what the kernel says.
    pub fn skips(&self) -> Result<[u64; SKIP_ROW as usize], MapError> {
        self.skips.row(0)
    }
}

struct Counts(PerCpuArray<MapData, u64>);

impl Counts {
    fn open(fd: BorrowedFd<'_>) -> Result<Self, MapError> {
        let own = fd.try_clone_to_owned()?;
        let map = Map::from_map_data(MapData::from_fd(own)?)?;
        Ok(Self(map.try_into()?))
    }

    /// `N` words from key `first` on, each the sum over all possible CPUs.
    fn row<const N: usize>(&self, first: u32) -> Result<[u64; N], MapError> {
        let mut row = [0; N];
        for (at, sum) in (0..).zip(&mut row) {
            *sum = self.0.get(&first.saturating_add(at), 0)?.iter().sum();
        }
        Ok(row)
    }
}
