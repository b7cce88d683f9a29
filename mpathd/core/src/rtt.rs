//! Round-trip time of one path, in ns, and from it how long to wait for a reply.

use core::time::Duration;

/// A reply that takes less is never late: below this, jitter of the target's softirq rules.
pub const LOSS_FLOOR: Duration = Duration::from_micros(100);

/// Smoothed as in RFC 6298 section 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtt {
    /// ns; 0 = no sample yet.
    pub srtt: u64,
    /// Mean deviation, ns.
    pub rttvar: u64,
    /// A sample that is believed only if the next one is like it.
    suspect: Option<Duration>,
}

impl Rtt {
    pub const fn new() -> Self {
        Self { srtt: 0, rttvar: 0, suspect: None }
    }

    /// A single late reply does not make us wait longer than one interval: two in a row do
    /// (behaviours 45 to 47).
    pub fn take(&mut self, rtt: Duration, interval: Duration) {
        let mut next = *self;
        next.sample(rtt);
        let suspicious = next.timeout() > self.timeout().max(Some(interval));
        match (suspicious, self.suspect.take()) {
            (true, None) => self.suspect = Some(rtt),
            (true, Some(before)) => {
                self.sample(before);
                self.sample(rtt);
            }
            (false, _) => *self = Self { suspect: None, ..next },
        }
    }

    fn sample(&mut self, rtt: Duration) {
        let rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX / 8).max(1);
        if self.srtt == 0 {
            (self.srtt, self.rttvar) = (rtt, rtt / 2);
        } else {
            self.rttvar =
                self.rttvar / 4 * 3 + self.rttvar % 4 * 3 / 4 + self.srtt.abs_diff(rtt) / 4;
            self.srtt = self.srtt - self.srtt / 8 + rtt / 8;
        }
    }

    /// srtt + 4 x rttvar, [`LOSS_FLOOR`] at the least; `None` before the first sample.
    pub fn timeout(&self) -> Option<Duration> {
        (self.srtt != 0).then(|| Duration::from_nanos(self.srtt + 4 * self.rttvar).max(LOSS_FLOOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Behaviours 43, 44.
    #[test]
    fn the_first_samples() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.timeout(), None);
        rtt.take(10 * MS, 1000 * MS);
        assert_eq!((rtt.srtt, rtt.rttvar), (10_000_000, 5_000_000));
        assert_eq!(rtt.timeout(), Some(30 * MS));
        rtt.take(18 * MS, 1000 * MS);
        assert_eq!((rtt.srtt, rtt.rttvar), (11_000_000, 5_750_000));
        assert_eq!(rtt.timeout(), Some(34 * MS));
    }

    /// Behaviours 45, 47.
    #[test]
    fn a_single_late_reply_changes_nothing() {
        let mut rtt = Rtt::new();
        let quick = |rtt: &mut Rtt| (0..20).for_each(|_| rtt.take(MS, 100 * MS));
        for _ in 0..3 {
            quick(&mut rtt);
            let before = rtt.timeout();
            rtt.take(900 * MS, 100 * MS);
            assert_eq!(rtt.timeout(), before);
        }
    }

    /// Behaviour 46.
    #[test]
    fn two_late_replies_in_a_row_are_believed() {
        let mut rtt = Rtt::new();
        (0..20).for_each(|_| rtt.take(MS, 100 * MS));
        (0..2).for_each(|_| rtt.take(900 * MS, 100 * MS));
        assert!(rtt.timeout() > Some(500 * MS), "{rtt:?}");
    }

    #[test]
    fn settles_on_a_steady_path() {
        let mut rtt = Rtt::new();
        for _ in 0..100 {
            rtt.take(10 * MS, 1000 * MS);
        }
        let timeout = rtt.timeout().unwrap();
        assert!((9_900..10_200).contains(&timeout.as_micros()), "{timeout:?}");
    }

    #[test]
    fn a_fast_path_gets_the_floor() {
        let mut rtt = Rtt::new();
        for _ in 0..50 {
            rtt.take(Duration::from_micros(8), MS);
        }
        assert_eq!(rtt.timeout(), Some(LOSS_FLOOR));
    }

    /// RFC 6298 section 2.3, without a product that could overflow.
    #[test]
    fn the_deviation_is_exact_to_the_nanosecond() {
        for before in 4_000..4_008 {
            let mut rtt = Rtt { srtt: 10_000, rttvar: before, suspect: None };
            rtt.sample(Duration::from_nanos(11_600));
            assert_eq!(rtt.rttvar, before * 3 / 4 + 400);
            assert_eq!(rtt.srtt, 10_200);
        }
    }
}
