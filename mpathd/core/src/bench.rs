//! Targets that an instance has set aside, and since when (behaviour file 4.5). Each has another
//! chance after a minute.

use core::net::IpAddr;
use core::time::Duration;

use crate::config::MAX_CANDIDATES;
use crate::time::Instant;

/// The original's SLOW and DEAD routers are retried after this time.
const RETRY_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Default)]
pub struct Bench([Option<(IpAddr, Instant)>; MAX_CANDIDATES]);

impl Bench {
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Sets `target` aside from `now` on. In a full bench the oldest makes room.
    pub fn add(&mut self, target: IpAddr, now: Instant) {
        self.remove(target);
        let place = self.0.iter_mut().min_by_key(|entry| entry.map(|(_, since)| since));
        if let Some(place) = place {
            *place = Some((target, now));
        }
    }

    pub fn remove(&mut self, target: IpAddr) {
        self.0.iter_mut().filter(|e| e.is_some_and(|(t, _)| t == target)).for_each(|e| *e = None);
    }

    pub fn since(&self, target: IpAddr) -> Option<Instant> {
        self.0.iter().flatten().find(|(t, _)| *t == target).map(|(_, since)| *since)
    }

    /// Set aside, and its minute is not over.
    pub fn holds(&self, target: IpAddr, now: Instant) -> bool {
        self.since(target).is_some_and(|since| now.since(since) < RETRY_AFTER)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn a_minute_on_the_bench() {
        let mut bench = Bench::default();
        bench.add(target(1), at(10));
        assert!(bench.holds(target(1), at(69)) && !bench.holds(target(1), at(70)));
        assert!(!bench.holds(target(2), at(11)));
        bench.add(target(1), at(70));
        assert_eq!(bench.since(target(1)), Some(at(70)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut bench = Bench::default();
        for last in 0..=MAX_CANDIDATES as u8 {
            bench.add(target(last), at(u64::from(last)));
        }
        assert_eq!(bench.since(target(0)), None);
        assert!((1..=MAX_CANDIDATES as u8).all(|last| bench.since(target(last)).is_some()));
    }
}
