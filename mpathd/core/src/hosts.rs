//! Hosts that an instance has found where no router is known, first come first served
//! (behaviour file 4.1).

use core::net::IpAddr;

use crate::event::FoundBy;
use crate::view::TargetMode;

/// Five are probed; the others are spare.
const MAX_HOSTS: usize = 8;

#[derive(Clone, Copy, Default)]
pub struct Hosts([Option<(IpAddr, FoundBy)>; MAX_HOSTS]);

impl Hosts {
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.found().map(|(host, _)| host)
    }

    pub fn found(&self) -> impl Iterator<Item = (IpAddr, FoundBy)> + '_ {
        self.0.iter().copied().flatten()
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// What is shown: also while nothing is found yet, multicast is what looks for it.
    pub fn mode(&self) -> TargetMode {
        let answered = self.found().any(|(_, by)| by == FoundBy::Echo);
        if answered || self.is_empty() { TargetMode::Multicast } else { TargetMode::Neighbors }
    }

    /// Whether it is new. Where there is no room, one that `may_go` makes it.
    pub fn add(&mut self, host: IpAddr, by: FoundBy, may_go: impl Fn(IpAddr) -> bool) -> bool {
        if let Some(known) = self.0.iter_mut().flatten().find(|(known, _)| *known == host) {
            // It was in the neighbour table, and has now answered.
            if by == FoundBy::Echo {
                known.1 = by;
            }
            return false;
        }
        let free = self.0.iter().position(Option::is_none);
        let old = || self.0.iter().position(|entry| entry.is_some_and(|(h, _)| may_go(h)));
        let Some(place) = free.or_else(old) else { return false };
        self.0[place] = Some((host, by));
        true
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_first_stay_and_neighbours_that_answer_are_neighbours_no_more() {
        let mut hosts = Hosts::default();
        assert_eq!(hosts.mode(), TargetMode::Multicast);
        assert!(hosts.add(host(1), FoundBy::Neighbours, |_| false));
        assert_eq!(hosts.mode(), TargetMode::Neighbors);
        assert!(!hosts.add(host(1), FoundBy::Echo, |_| false));
        assert_eq!(hosts.mode(), TargetMode::Multicast);
        assert!((2..=8).all(|n| hosts.add(host(n), FoundBy::Echo, |_| false)));
        assert!(!hosts.add(host(9), FoundBy::Echo, |_| false), "no room");
        assert!(hosts.add(host(9), FoundBy::Echo, |h| h == host(3)));
        assert!(hosts.iter().all(|h| h != host(3)));
    }
}
