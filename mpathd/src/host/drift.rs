//! How often something of ours that somebody else changes is put right: in three seconds at once, then
//! once in 10 s, or two who both insist would keep each other busy for ever (O17).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::ids::Ifindex;
use mpathd_core::time::Instant;

const AT_ONCE: u32 = 3;
const THEN_EVERY: Duration = Duration::from_secs(10);
/// A network manager that restarts can change one address several times in this time. That counts as one change.
const INCIDENT: Duration = Duration::from_secs(1);
/// Repairs within one incident.
const REPAIRS_OF_ONE: u32 = 3;

#[derive(Default)]
pub(super) struct Drift(BTreeMap<(Ifindex, IpAddr), Repairs>);

struct Repairs {
    incidents: u32,
    /// When the newest incident began, and how many repairs it has had.
    since: Instant,
    repairs: u32,
}

impl Drift {
    /// Counts a repair, if it may be made now.
    pub(super) fn may_repair(&mut self, what: (Ifindex, IpAddr), now: Instant) -> bool {
        let before = self.0.entry(what);
        let before = before.or_insert(Repairs { incidents: 0, since: now, repairs: 0 });
        let Repairs { incidents, since, repairs } = before;
        if *incidents > 0 && now.since(*since) < INCIDENT {
            *repairs += 1;
            return *incidents <= AT_ONCE && *repairs <= REPAIRS_OF_ONE;
        }
        let allowed = *incidents < AT_ONCE || now.since(*since) >= THEN_EVERY;
        if allowed {
            (*incidents, *since, *repairs) = (*incidents + 1, now, 1);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repairs(span: Duration, every: Duration) -> usize {
        let mut drift = Drift::default();
        let what = (Ifindex(1), IpAddr::from([192, 0, 2, 50]));
        let times = (span.as_millis() / every.as_millis()) as u32;
        (0..times).filter(|n| drift.may_repair(what, Instant(0) + every * *n)).count()
    }

    #[test]
    fn three_at_once_then_one_in_ten_seconds() {
        assert_eq!(repairs(Duration::from_secs(30), Duration::from_millis(1000)), 3 + 2);
    }

    #[test]
    fn changes_within_a_second_are_one_change() {
        let quick = Duration::from_millis(100);
        assert_eq!(repairs(Duration::from_millis(500), quick), 3);
        assert_eq!(repairs(Duration::from_secs(30), quick), 3 * 3 + 2);
    }
}
