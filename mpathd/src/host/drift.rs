//! How often something of ours that somebody else changes is put right: three times at once, then
//! once in 10 s, or two who both insist would keep each other busy for ever (O17).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::ids::Ifindex;
use mpathd_core::time::Instant;

const AT_ONCE: u32 = 3;
const THEN_EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Drift(BTreeMap<(Ifindex, IpAddr), (u32, Instant)>);

impl Drift {
    /// Counts a repair, if it may be made now.
    pub(super) fn may_repair(&mut self, what: (Ifindex, IpAddr), now: Instant) -> bool {
        let (times, last) = self.0.entry(what).or_insert((0, now));
        let allowed = *times < AT_ONCE || now.since(*last) >= THEN_EVERY;
        if allowed {
            *times += 1;
            *last = now;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_at_once_then_one_in_ten_seconds() {
        let mut drift = Drift::default();
        let what = (Ifindex(1), IpAddr::from([192, 0, 2, 50]));
        let mut now = Instant(0);
        let mut repairs = 0;
        for _ in 0..300 {
            repairs += u32::from(drift.may_repair(what, now));
            now = now + Duration::from_millis(100);
        }
        assert_eq!(repairs, 3 + 2);
    }
}
