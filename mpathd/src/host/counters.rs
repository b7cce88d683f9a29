//! What became of the replies, summed for display: the counts that the kernel program keeps per CPU,
//! and those of the fast thread, which takes the replies in socket mode. Made by the host thread,
//! which has the maps; read by the slow thread. No decision rests on them: a word of the kernel's
//! is a system call (3.2 us), and the CPUs go on counting meanwhile.

use std::os::fd::BorrowedFd;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use mpathd_common::abi::{OUTCOME_ROW, Outcome, RTT_ROW, SKIP_ROW, outcome_key};
use mpathd_core::ids::PathId;

use crate::fast::slots::SlotMap;

/// How often a path is read again that was answered meanwhile.
const TRIES: usize = 4;

/// All counts of a daemon.
pub struct Source {
    /// `None`: without the kernel program.
    pub kernel: Option<Counters>,
    /// The words of the fast thread.
    pub own: SlotMap,
    /// The kernel's counts began under an earlier daemon.
    pub adopted: bool,
}

/// The counts of one path since its slot was first used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// In the order of `Outcome::ALL`.
    pub outcomes: [u64; OUTCOME_ROW as usize],
    /// Bucket b is 2^b to 2^(b+1) - 1 ns, the last one everything from 2.1 s.
    pub rtt: [u64; RTT_ROW as usize],
}

impl Row {
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// What has been counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut row = *self;
        let words = row.outcomes.iter_mut().chain(&mut row.rtt);
        for (word, before) in words.zip(earlier.outcomes.iter().chain(&earlier.rtt)) {
            *word = word.saturating_sub(*before);
        }
        row
    }
}

impl Source {
    /// The replies are those in the histogram, unless some came in at each try.
    ///
    /// # Errors
    /// As [`Counters::outcomes`].
    pub fn row(&self, path: PathId) -> Result<Row, MapError> {
        let mut row = Row { outcomes: self.outcomes(path)?, ..Row::default() };
        for _ in 0..TRIES {
            row.rtt = self.rtt(path)?;
            let before = row.count(Outcome::Reply);
            row.outcomes = self.outcomes(path)?;
            if row.count(Outcome::Reply) == before {
                break;
            }
        }
        Ok(row)
    }

    /// One word of [`Self::row`].
    ///
    /// # Errors
    /// As [`Counters::outcomes`].
    pub fn count(&self, path: PathId, outcome: Outcome) -> Result<u64, MapError> {
        let kernel = match &self.kernel {
            Some(kernel) => kernel.outcome(path.0.into(), outcome)?,
            None => 0,
        };
        Ok(kernel + self.own.count(path, outcome))
    }

    fn outcomes(&self, path: PathId) -> Result<[u64; OUTCOME_ROW as usize], MapError> {
        let mut row = match &self.kernel {
            Some(kernel) => kernel.outcomes(path.0.into())?,
            None => [0; _],
        };
        for (sum, outcome) in row.iter_mut().zip(Outcome::ALL) {
            *sum += self.own.count(path, *outcome);
        }
        Ok(row)
    }

    fn rtt(&self, path: PathId) -> Result<[u64; RTT_ROW as usize], MapError> {
        let mut row = match &self.kernel {
            Some(kernel) => kernel.rtt_histogram(path.0.into())?,
            None => [0; _],
        };
        for (sum, bucket) in row.iter_mut().zip(0..) {
            *sum += self.own.rtt_count(path, bucket);
        }
        Ok(row)
    }

    /// Of the kernel program, in the order of `Skip::ALL`; the socket's filter lets no such frame
    /// through.
    ///
    /// # Errors
    /// As [`Counters::skips`].
    pub fn skips(&self) -> Result<[u64; SKIP_ROW as usize], MapError> {
        self.kernel.as_ref().map_or(Ok([0; _]), Counters::skips)
    }
}

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

    /// One word of [`Self::outcomes`].
    ///
    /// # Errors
    /// `OutOfBounds` from slot `SLOTS` on.
    pub fn outcome(&self, slot: u32, outcome: Outcome) -> Result<u64, MapError> {
        self.outcomes.sum(outcome_key(slot, outcome))
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
            *sum = self.sum(first.saturating_add(at))?;
        }
        Ok(row)
    }

    fn sum(&self, key: u32) -> Result<u64, MapError> {
        Ok(self.0.get(&key, 0)?.iter().sum())
    }
}
