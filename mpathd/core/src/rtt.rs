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
}

impl Rtt {
    pub fn sample(&mut self, rtt: Duration) {
        let rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX / 8).max(1);
        if self.srtt == 0 {
            *self = Self { srtt: rtt, rttvar: rtt / 2 };
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

    #[test]
    fn behaviours_43_44_average_and_deviation() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), None);
        rtt.sample(Duration::from_millis(10));
        assert_eq!(rtt, Rtt { srtt: 10_000_000, rttvar: 5_000_000 });
        assert_eq!(rtt.timeout(), Some(Duration::from_millis(30)));
        rtt.sample(Duration::from_millis(18));
        assert_eq!(rtt, Rtt { srtt: 11_000_000, rttvar: 5_750_000 });
        assert_eq!(rtt.timeout(), Some(Duration::from_millis(34)));
    }

    #[test]
    fn settles_on_a_steady_path() {
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            rtt.sample(Duration::from_millis(10));
        }
        let timeout = rtt.timeout().unwrap();
        assert!((9_900..10_200).contains(&timeout.as_micros()), "{timeout:?}");
    }

    #[test]
    fn a_fast_path_gets_the_floor() {
        let mut rtt = Rtt::default();
        for _ in 0..50 {
            rtt.sample(Duration::from_micros(8));
        }
        assert_eq!(rtt.timeout(), Some(LOSS_FLOOR));
    }
}
