//! Decides what an echo reply is. Called by the kernel program over its maps and by the socket
//! receive mode over ordinary memory, so that all receive modes fill the same words by the same
//! rules.

use crate::abi::{
    CONSUME, Outcome, SLOTS, Skip, Slot, Word, outcome_key, ring_key, rtt_bucket, rtt_key, rtt_ns,
    word, word_is,
};
use crate::wire::EchoReply;

/// The maps of [`crate::abi::maps`] by key. `None`: no such key.
///
/// Counts are the caller's own, of its CPU in the kernel and of the one receiving thread in the
/// socket mode: [`match_reply`] adds to them without regard for other writers.
pub trait Tables {
    type Word: Word;

    fn slot(&self, slot: u32) -> Option<&Slot<Self::Word>>;
    fn tx(&self, key: u32) -> Option<&Self::Word>;
    fn rx(&self, key: u32) -> Option<&Self::Word>;
    fn outcome(&self, key: u32) -> Option<&Self::Word>;
    fn rtt(&self, key: u32) -> Option<&Self::Word>;
}

/// What an echo reply is, and whether it goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub outcome: Outcome,
    /// It is ours, and its slot says [`CONSUME`].
    pub consume: bool,
}

/// Matches `reply`, which came in on `ifindex`, and enters it into the tables. `now_ns` gives the
/// receive stamp (CLOCK_MONOTONIC) and is asked only for a reply that is ours.
#[inline(always)]
pub fn match_reply<T: Tables>(
    tables: &T,
    reply: &EchoReply,
    ifindex: u32,
    now_ns: impl FnOnce() -> u64,
) -> Result<Match, Skip> {
    if reply.slot >= SLOTS {
        return Err(Skip::NoSlot);
    }
    let slot = tables.slot(reply.slot).ok_or(Skip::NoSlot)?;
    if slot.ifindex.get() as u32 != ifindex && slot.is_above(ifindex) {
        return Err(Skip::Stacked);
    }
    let outcome = match mismatch(slot, reply, ifindex) {
        Some(outcome) => outcome,
        None => enter(tables, reply, now_ns()).ok_or(Skip::NoSlot)?,
    };
    if let Some(count) = tables.outcome(outcome_key(reply.slot, outcome)) {
        count.increment();
    }
    let ours = match outcome {
        Outcome::Reply | Outcome::Late | Outcome::Duplicate => true,
        Outcome::Forged
        | Outcome::Stale
        | Outcome::WrongSource
        | Outcome::WrongDestination
        | Outcome::WrongNic => false,
    };
    Ok(Match { outcome, consume: ours && slot.flags.get() & CONSUME != 0 })
}

/// Enters that a probe is about to leave; to be called right before it is sent. The reply word is
/// cleared first, so that a reply can only ever stand beside its own probe.
pub fn enter_probe<T: Tables>(tables: &T, slot: u32, seq: u16, now_ns: u64) {
    let key = ring_key(slot, seq);
    if let (Some(tx), Some(rx)) = (tables.tx(key), tables.rx(key)) {
        rx.set(0);
        tx.set(word(now_ns, seq));
    }
}

/// The word of the reply to a probe, if it is in.
pub fn reply_to<T: Tables>(tables: &T, slot: u32, seq: u16) -> Option<u64> {
    let received = tables.rx(ring_key(slot, seq))?.get();
    word_is(received, seq).then_some(received)
}

#[inline(always)]
fn mismatch<W: Word>(slot: &Slot<W>, reply: &EchoReply, ifindex: u32) -> Option<Outcome> {
    let cookie = slot.cookie.get();
    if cookie == 0 || cookie != reply.cookie {
        return Some(Outcome::Forged);
    }
    if slot.generation.get() as u32 != reply.generation {
        return Some(Outcome::Stale);
    }
    if differ(&slot.target, reply.source) {
        return Some(Outcome::WrongSource);
    }
    if differ(&slot.test, reply.destination) {
        return Some(Outcome::WrongDestination);
    }
    if slot.ifindex.get() as u32 != ifindex {
        return Some(Outcome::WrongNic);
    }
    None
}

#[inline(always)]
fn differ<W: Word>(expected: &[W; 2], found: [u64; 2]) -> bool {
    expected[0].get() != found[0] || expected[1].get() != found[1]
}

/// Only where the probe's own word is still there, and only once: neither a replay nor a reply a
/// whole ring late can overwrite what is known about another probe.
#[inline(always)]
fn enter<T: Tables>(tables: &T, reply: &EchoReply, now_ns: u64) -> Option<Outcome> {
    let key = ring_key(reply.slot, reply.seq);
    let sent = tables.tx(key)?.get();
    if !word_is(sent, reply.seq) {
        return Some(Outcome::Late);
    }
    let received = tables.rx(key)?;
    if word_is(received.get(), reply.seq) {
        return Some(Outcome::Duplicate);
    }
    let stamp = word(now_ns, reply.seq);
    received.set(stamp);
    tables.rtt(rtt_key(reply.slot, rtt_bucket(rtt_ns(sent, stamp))))?.increment();
    Some(Outcome::Reply)
}
