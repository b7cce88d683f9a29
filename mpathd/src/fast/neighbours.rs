//! The MACs of the targets, learnt by our own requests (N9): the kernel's neighbour entries are too
//! slow and vanish with the carrier. The last known MAC is kept, for a changed one is told by the
//! next answer, and a wrong one only loses probes of a target that is silent anyway.

use std::net::IpAddr;
use std::time::Duration;

use mpathd_common::frame::Mac;
use mpathd_core::ids::{Ifindex, PathId, Seq};
use mpathd_core::time::Instant;

/// Requests to all hosts of the LAN that one target may cost in one second.
const REQUESTS_PER_SECOND: u8 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Targets known, probed now or before. Its storage is made once.
pub(super) struct Neighbours {
    entries: Vec<Entry>,
    capacity: usize,
}

struct Entry {
    ifindex: Ifindex,
    address: IpAddr,
    mac: Option<Mac>,
    /// Begin of the second in which requests are counted.
    second: Instant,
    requests: u8,
    /// The probe for which a request stands in, while it is unanswered.
    asked_for: Option<(PathId, Seq)>,
    /// The last refresh went to the known MAC alone; the next goes to all.
    asked_alone: bool,
    used: Instant,
}

/// Where a request for a MAC goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Alone(Mac),
    All,
}

impl Neighbours {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Vec::with_capacity(capacity), capacity }
    }

    /// Moves all that is known; `other` has room for it.
    pub(super) fn move_into(&mut self, other: &mut Self) {
        other.entries.append(&mut self.entries);
    }

    /// Begins to listen for this neighbour. The one unused for longest makes room.
    pub(super) fn watch(&mut self, ifindex: Ifindex, address: IpAddr, now: Instant) {
        if let Some(entry) = self.entry(ifindex, address) {
            entry.used = now;
            return;
        }
        if self.entries.len() >= self.capacity
            && let Some(oldest) = (0..self.entries.len()).min_by_key(|i| self.entries[*i].used)
        {
            self.entries.swap_remove(oldest);
        }
        self.entries.push(Entry {
            ifindex,
            address,
            mac: None,
            second: now,
            requests: 0,
            asked_for: None,
            asked_alone: false,
            used: now,
        });
    }

    /// `place`: where it was when last looked for.
    pub(super) fn mac(&self, place: &mut usize, ifindex: Ifindex, address: IpAddr) -> Option<Mac> {
        if !self.entries.get(*place).is_some_and(|e| e.is(ifindex, address)) {
            *place = self.entries.iter().position(|e| e.is(ifindex, address))?;
        }
        self.entries[*place].mac
    }

    /// May all hosts be asked now, in place of this probe? `None`: no more in this second.
    pub(super) fn ask_for(
        &mut self,
        ifindex: Ifindex,
        address: IpAddr,
        probe: (PathId, Seq),
        now: Instant,
    ) -> Option<Ask> {
        let entry = self.entry(ifindex, address)?;
        entry.used = now;
        let ask = entry.broadcast(now)?;
        entry.asked_for = Some(probe);
        Some(ask)
    }

    /// Asks for a MAC that is known but may be wrong: first the neighbour alone, then all.
    pub(super) fn refresh(
        &mut self,
        ifindex: Ifindex,
        address: IpAddr,
        now: Instant,
    ) -> Option<Ask> {
        let entry = self.entry(ifindex, address)?;
        entry.used = now;
        match entry.mac {
            Some(mac) if !entry.asked_alone => {
                entry.asked_alone = true;
                Some(Ask::Alone(mac))
            }
            _ => {
                entry.asked_alone = false;
                entry.broadcast(now)
            }
        }
    }

    /// The probe that a request for this neighbour stands in for.
    pub(super) fn asked_for(&self, ifindex: Ifindex, address: IpAddr) -> Option<(PathId, Seq)> {
        self.entries.iter().find(|e| e.is(ifindex, address))?.asked_for
    }

    /// Enters an answer, if it is about a target of ours; gives the newest probe that waited for it.
    pub(super) fn learn(
        &mut self,
        ifindex: Ifindex,
        address: IpAddr,
        mac: Mac,
    ) -> Option<(PathId, Seq)> {
        let entry = self.entry(ifindex, address)?;
        entry.mac = Some(mac);
        entry.asked_alone = false;
        entry.asked_for.take()
    }

    fn entry(&mut self, ifindex: Ifindex, address: IpAddr) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.is(ifindex, address))
    }
}

impl Entry {
    fn is(&self, ifindex: Ifindex, address: IpAddr) -> bool {
        self.ifindex == ifindex && self.address == address
    }

    fn broadcast(&mut self, now: Instant) -> Option<Ask> {
        if now.since(self.second) >= SECOND {
            self.second = now;
            self.requests = 0;
        }
        if self.requests >= REQUESTS_PER_SECOND {
            return None;
        }
        self.requests += 1;
        Some(Ask::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIC: Ifindex = Ifindex(3);
    const MAC: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];

    fn target() -> IpAddr {
        [192, 0, 2, 1].into()
    }

    fn watching() -> Neighbours {
        let mut all = Neighbours::new(4);
        all.watch(NIC, target(), Instant(0));
        all
    }

    #[test]
    fn ten_requests_a_second() {
        let mut all = watching();
        let mut ask = |ms: u64| {
            all.ask_for(NIC, target(), (PathId(1), Seq(1)), Instant(ms * 1_000_000)).is_some()
        };
        assert_eq!((0..999).filter(|ms| ask(*ms)).count(), 10);
        assert!(ask(1000));
    }

    #[test]
    fn an_answer_is_for_the_newest_probe_and_only_once() {
        let mut all = watching();
        let probe = |seq| (PathId(1), Seq(seq));
        assert_eq!(all.ask_for(NIC, target(), probe(1), Instant(1)), Some(Ask::All));
        assert_eq!(all.ask_for(NIC, target(), probe(2), Instant(2)), Some(Ask::All));
        assert_eq!(all.learn(Ifindex(4), target(), MAC), None, "told on another NIC");
        assert_eq!(all.learn(NIC, target(), MAC), Some(probe(2)));
        assert_eq!(all.learn(NIC, target(), MAC), None);
        assert_eq!(all.mac(&mut 0, NIC, target()), Some(MAC));
    }

    #[test]
    fn a_doubtful_mac_is_asked_for_alone_then_of_all() {
        let mut all = watching();
        all.learn(NIC, target(), MAC);
        let asks = [1, 2, 3, 4].map(|now| all.refresh(NIC, target(), Instant(now)));
        assert_eq!(asks, [Ask::Alone(MAC), Ask::All, Ask::Alone(MAC), Ask::All].map(Some));
        all.learn(NIC, target(), OTHER);
        assert_eq!(all.refresh(NIC, target(), Instant(9)), Some(Ask::Alone(OTHER)));
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let mut all = Neighbours::new(2);
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        for last in 1..=3 {
            all.watch(NIC, address(last), Instant(last.into()));
        }
        for last in 1..=3 {
            all.learn(NIC, address(last), MAC);
        }
        let known = [1, 2, 3].map(|last| all.mac(&mut 0, NIC, address(last)));
        assert_eq!(known, [None, Some(MAC), Some(MAC)]);
    }
}
