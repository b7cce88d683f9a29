//! The slots: where the fast thread writes what it sent and the receive hook what came back. The
//! same words whether they are mapped maps of the BPF object or, in socket mode, ordinary memory.
//! Made by the host thread, used by the fast thread; the counts may be read by anyone. They are of
//! the replies taken in socket mode: the kernel program keeps its own, and what is shown is the sum
//! of both (`host::counters`).
//!
//! Every word is complete in itself and accessed by atomic loads and stores only: the kernel writes
//! the mapping at any moment, so a plain reference to its contents would be a data race (A3).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use mpathd_common::abi::{
    OUTCOME_ROW, Outcome, RING, RTT_ROW, SLOTS, Slot, SlotKey, Word, full_stamp, outcome_key,
    ring_key, rtt_key, word, word_is, word_stamp,
};
use mpathd_common::matching::Tables;
use mpathd_core::ids::{PathId, Seq};
use mpathd_core::time::Instant;

use super::area::Area;

/// The maps a [`SlotMap`] is laid over, all with BPF_F_MMAPABLE.
#[derive(Clone, Copy, Debug)]
pub struct MapFds<'a> {
    pub slots: BorrowedFd<'a>,
    pub tx: BorrowedFd<'a>,
    pub rx: BorrowedFd<'a>,
}

/// A handle; clones share the words.
#[derive(Clone)]
pub struct SlotMap(Arc<Areas>);

struct Areas {
    slots: Area<Slot<AtomicU64>>,
    tx: Area<AtomicU64>,
    rx: Area<AtomicU64>,
    outcomes: Area<AtomicU64>,
    rtt: Area<AtomicU64>,
}

impl SlotMap {
    /// Maps the maps of the object. Slots that an earlier daemon left are retired.
    ///
    /// # Errors
    /// What mmap says: EINVAL or ENOTSUPP where a map is smaller or not mappable.
    pub fn from_fds(fds: &MapFds<'_>) -> io::Result<Self> {
        let map = Self::over(Some(fds))?;
        (0..SLOTS).filter_map(|slot| map.slot(slot)).for_each(Slot::retire);
        Ok(map)
    }

    /// Zeroed memory of our own, for socket mode.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn plain() -> io::Result<Self> {
        Self::over(None)
    }

    fn over(fds: Option<&MapFds<'_>>) -> io::Result<Self> {
        Ok(Self(Arc::new(Areas {
            slots: Area::map(fds.map(|f| f.slots), SLOTS)?,
            tx: Area::map(fds.map(|f| f.tx), SLOTS * RING)?,
            rx: Area::map(fds.map(|f| f.rx), SLOTS * RING)?,
            outcomes: Area::map(None, SLOTS * OUTCOME_ROW)?,
            rtt: Area::map(None, SLOTS * RTT_ROW)?,
        })))
    }

    /// From now on replies to `key` are matched. Before the first probe of that key.
    pub fn set(&self, path: PathId, key: &SlotKey) {
        // In pinned maps an earlier daemon has left words with sequence numbers that come back.
        for seq in 0..RING as u16 {
            let key = ring_key(path.0.into(), seq);
            for word in [self.tx(key), self.rx(key)].into_iter().flatten() {
                word.set(0);
            }
        }
        self.update(path, key);
    }

    /// The key has changed in a flag only; probes under way stay valid.
    pub fn update(&self, path: PathId, key: &SlotKey) {
        if let Some(slot) = self.slot(path.0.into()) {
            slot.publish(key);
        }
    }

    /// From now on no reply is matched.
    pub fn clear(&self, path: PathId) {
        if let Some(slot) = self.slot(path.0.into()) {
            slot.retire();
        }
    }

    /// To be called right before the probe is sent. What the ring held about an older probe goes
    /// first, so that its sequence number can come back.
    pub fn stamp_tx(&self, path: PathId, seq: Seq, now: Instant) {
        let key = ring_key(path.0.into(), seq.0);
        if let (Some(tx), Some(rx)) = (self.tx(key), self.rx(key)) {
            rx.set(0);
            tx.set(word(now.0, seq.0));
        }
    }

    /// When the reply to this probe came in. `now`: any moment within 39 hours of it.
    pub fn read_rx(&self, path: PathId, seq: Seq, now: Instant) -> Option<Instant> {
        let word = self.rx(ring_key(path.0.into(), seq.0))?.get();
        word_is(word, seq.0).then(|| Instant(full_stamp(word_stamp(word), now.0)))
    }

    /// The same words, for a reply that the hook may have counted already.
    pub(super) fn uncounted(&self) -> Uncounted<'_> {
        Uncounted(self)
    }

    /// One that the hook has not counted.
    pub(super) fn count_reply(&self, slot: u32) {
        if let Some(count) = self.outcome(outcome_key(slot, Outcome::Reply)) {
            count.increment();
        }
    }

    /// Replies to this path with this outcome so far, in socket mode.
    pub fn count(&self, path: PathId, outcome: Outcome) -> u64 {
        self.outcome(outcome_key(path.0.into(), outcome)).map_or(0, Word::get)
    }

    /// Replies of this path, in socket mode, with an RTT of 2^bucket to 2^(bucket + 1) - 1 ns.
    pub fn rtt_count(&self, path: PathId, bucket: u32) -> u64 {
        self.rtt(rtt_key(path.0.into(), bucket.min(RTT_ROW - 1))).map_or(0, Word::get)
    }
}

/// Matches without counting outcomes.
pub(super) struct Uncounted<'a>(&'a SlotMap);

impl Tables for Uncounted<'_> {
    type Word = AtomicU64;

    fn slot(&self, slot: u32) -> Option<&Slot<AtomicU64>> {
        self.0.slot(slot)
    }

    fn tx(&self, key: u32) -> Option<&AtomicU64> {
        self.0.tx(key)
    }

    fn rx(&self, key: u32) -> Option<&AtomicU64> {
        self.0.rx(key)
    }

    fn outcome(&self, _: u32) -> Option<&AtomicU64> {
        None
    }

    fn rtt(&self, key: u32) -> Option<&AtomicU64> {
        self.0.rtt(key)
    }
}

impl Tables for SlotMap {
    type Word = AtomicU64;

    fn slot(&self, slot: u32) -> Option<&Slot<AtomicU64>> {
        self.0.slots.get(slot)
    }

    fn tx(&self, key: u32) -> Option<&AtomicU64> {
        self.0.tx.get(key)
    }

    fn rx(&self, key: u32) -> Option<&AtomicU64> {
        self.0.rx.get(key)
    }

    fn outcome(&self, key: u32) -> Option<&AtomicU64> {
        self.0.outcomes.get(key)
    }

    fn rtt(&self, key: u32) -> Option<&AtomicU64> {
        self.0.rtt.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpathd_common::abi::{LOWER, Path};
    use mpathd_common::matching::match_reply;
    use mpathd_common::wire::EchoReply;

    const PATH: PathId = PathId(7);

    fn key() -> SlotKey {
        let path = Path::V4 { test: [192, 0, 2, 11].into(), target: [192, 0, 2, 1].into() };
        SlotKey { cookie: 99, generation: 3, ifindex: 4, lower: [0; LOWER], consume: true, path }
    }

    fn reply(seq: u16) -> EchoReply {
        EchoReply {
            source: [0, 0xffff_c000_0201],
            destination: [0, 0xffff_c000_020b],
            ident: 1,
            seq,
            slot: PATH.0.into(),
            generation: 3,
            cookie: 99,
        }
    }

    fn outcome(map: &SlotMap, ifindex: u32, now: impl FnOnce() -> u64) -> Outcome {
        match_reply(map, &reply(5), ifindex, now).expect("it names a slot").outcome
    }

    #[test]
    fn a_reply_is_read_once_it_is_matched() {
        let map = SlotMap::plain().unwrap();
        let sent = Instant(1 << 50);
        map.set(PATH, &key());
        map.stamp_tx(PATH, Seq(5), sent);
        assert_eq!(map.read_rx(PATH, Seq(5), sent), None);
        assert_eq!(outcome(&map, 4, || sent.0 + 1500), Outcome::Reply);
        assert_eq!(map.read_rx(PATH, Seq(5), sent), Some(Instant(sent.0 + 1500)));
        assert_eq!(map.read_rx(PATH, Seq(5 + 32), sent), None, "another probe in the same place");
        assert_eq!(map.count(PATH, Outcome::Reply), 1);
        assert_eq!(map.rtt_count(PATH, 10), 1);
    }

    #[test]
    fn a_place_in_the_ring_is_used_again() {
        let map = SlotMap::plain().unwrap();
        map.set(PATH, &key());
        map.stamp_tx(PATH, Seq(5), Instant(1000));
        assert_eq!(outcome(&map, 4, || 2000), Outcome::Reply);
        map.stamp_tx(PATH, Seq(5), Instant(9000));
        assert_eq!(map.read_rx(PATH, Seq(5), Instant(9000)), None);
        map.stamp_tx(PATH, Seq(37), Instant(9500));
        assert_eq!(outcome(&map, 4, || 9600), Outcome::Late);
    }

    #[test]
    fn what_an_earlier_daemon_heard_is_no_reply_to_us() {
        let map = SlotMap::plain().unwrap();
        map.set(PATH, &key());
        map.stamp_tx(PATH, Seq(5), Instant(1000));
        assert_eq!(outcome(&map, 4, || 2000), Outcome::Reply);
        map.set(PATH, &key());
        assert_eq!(map.read_rx(PATH, Seq(5), Instant(9000)), None);
    }

    #[test]
    fn a_cleared_slot_matches_nothing() {
        let map = SlotMap::plain().unwrap();
        map.set(PATH, &key());
        map.stamp_tx(PATH, Seq(5), Instant(1000));
        assert_eq!(outcome(&map, 6, || 2000), Outcome::WrongNic);
        map.clear(PATH);
        assert_eq!(outcome(&map, 4, || 2000), Outcome::Forged);
        assert_eq!(map.read_rx(PATH, Seq(5), Instant(2000)), None);
    }
}
