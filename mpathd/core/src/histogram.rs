//! How long something took, over all times: counts in powers of two, so that recording allocates
//! nothing and costs some nanoseconds, and the longest one exactly.

use core::time::Duration;

use crate::time::Instant;

pub const BUCKETS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Histogram {
    /// Element b counts what took 2^b to 2^(b+1) - 1 ns, the first one 0 too, the last one all from
    /// 2.1 s.
    pub counts: [u64; BUCKETS],
    pub max: Duration,
    /// When that was recorded.
    pub max_at: Option<Instant>,
}

impl Histogram {
    pub fn record(&mut self, took: Duration, at: Instant) {
        self.counts[bucket(took)] += 1;
        if self.max_at.is_none() || took > self.max {
            (self.max, self.max_at) = (took, Some(at));
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What so many of a thousand did not exceed: the upper end of their bucket, so up to twice the true
    /// value and never less. `None` while nothing is recorded.
    pub fn quantile(&self, per_mille: u64) -> Option<Duration> {
        let count = self.count();
        let rank = (count * per_mille).div_ceil(1000).max(1);
        let mut below = 0;
        let reached = |(_, n): &(usize, &u64)| {
            below += **n;
            below >= rank
        };
        let (bucket, _) = self.counts.iter().enumerate().find(reached)?;
        let end = if bucket + 1 == BUCKETS { self.max } else { Duration::from_nanos(2 << bucket) };
        Some(end.min(self.max))
    }
}

fn bucket(took: Duration) -> usize {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    (ns.max(1).ilog2() as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn buckets_are_powers_of_two() {
        let of = |ns| bucket(Duration::from_nanos(ns));
        assert_eq!([0, 1, 2, 3, 4, 1023, 1024].map(of), [0, 0, 1, 1, 2, 9, 10]);
        assert_eq!([u64::from(u32::MAX), u64::MAX].map(of), [31, 31]);
    }

    #[test]
    fn a_quantile_is_never_less_than_the_truth_and_at_most_twice() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), None);
        for us in 1..=1000 {
            histogram.record(us * US, Instant(us.into()));
        }
        for (per_mille, truth) in [(1, 1), (500, 500), (990, 990), (999, 999), (1000, 1000)] {
            let told = histogram.quantile(per_mille).unwrap();
            assert!((truth * US..=2 * truth * US).contains(&told), "{per_mille}: {told:?}");
        }
        assert_eq!(histogram.quantile(1000), Some(1000 * US), "the maximum is exact");
    }

    #[test]
    fn the_longest_is_kept_with_its_time() {
        let mut histogram = Histogram::default();
        for (took, at) in [(2, 10), (9, 20), (9, 30), (4, 40)] {
            histogram.record(took * US, Instant(at));
        }
        assert_eq!((histogram.max, histogram.max_at), (9 * US, Some(Instant(20))));
        assert_eq!(histogram.count(), 4);
    }
}
