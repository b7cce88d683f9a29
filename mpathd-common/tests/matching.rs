//! Every outcome of an echo reply, over tables in ordinary memory.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU64;

use mpathd_common::abi::*;
use mpathd_common::matching::{Match, Tables, enter_probe, match_reply, reply_to};
use mpathd_common::wire::EchoReply;
use proptest::prelude::*;

struct Memory {
    slots: Vec<Slot<AtomicU64>>,
    tx: Vec<AtomicU64>,
    rx: Vec<AtomicU64>,
    outcomes: Vec<AtomicU64>,
    rtt: Vec<AtomicU64>,
}

impl Tables for Memory {
    type Word = AtomicU64;

    fn slot(&self, slot: u32) -> Option<&Slot<AtomicU64>> {
        self.slots.get(slot as usize)
    }
    fn tx(&self, key: u32) -> Option<&AtomicU64> {
        self.tx.get(key as usize)
    }
    fn rx(&self, key: u32) -> Option<&AtomicU64> {
        self.rx.get(key as usize)
    }
    fn outcome(&self, key: u32) -> Option<&AtomicU64> {
        self.outcomes.get(key as usize)
    }
    fn rtt(&self, key: u32) -> Option<&AtomicU64> {
        self.rtt.get(key as usize)
    }
}

impl Memory {
    fn new() -> Self {
        let words = |count: u32| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            slots: (0..8).map(|_| Slot::default()).collect(),
            tx: words(8 * RING),
            rx: words(8 * RING),
            outcomes: words(8 * OUTCOME_ROW),
            rtt: words(8 * RTT_ROW),
        }
    }

    fn send(&self, seq: u16, now_ns: u64) {
        enter_probe(self, SLOT, seq, now_ns);
    }
}

const SLOT: u32 = 5;
const TEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const KEY: SlotKey = SlotKey {
    cookie: 0xfeed,
    generation: 3,
    ifindex: 2,
    lower: [0; LOWER],
    consume: true,
    path: Path::V4 { test: TEST, target: TARGET },
};

fn reply(seq: u16) -> EchoReply {
    EchoReply {
        source: address_words(TARGET.into()),
        destination: address_words(TEST.into()),
        ident: 9,
        seq,
        slot: SLOT,
        generation: 3,
        cookie: 0xfeed,
    }
}

#[test]
fn every_outcome() {
    let memory = Memory::new();
    memory.slots[SLOT as usize].publish(&KEY);
    memory.send(7, 1000);
    let run = |reply: EchoReply, ifindex| {
        match_reply(&memory, &reply, ifindex, || 4000).map(|found| found.outcome)
    };
    let good = reply(7);
    assert_eq!(run(EchoReply { slot: SLOTS, ..good }, 2), Err(Skip::NoSlot));
    assert_eq!(run(EchoReply { slot: 4, ..good }, 2), Ok(Outcome::Forged), "a slot never used");
    assert_eq!(
        run(EchoReply { slot: 4, cookie: 0, ..good }, 2),
        Ok(Outcome::Forged),
        "a zero cookie opens no free slot"
    );
    assert_eq!(run(EchoReply { cookie: 0xfeee, ..good }, 2), Ok(Outcome::Forged));
    assert_eq!(run(EchoReply { generation: 2, ..good }, 2), Ok(Outcome::Stale));
    assert_eq!(
        run(EchoReply { source: address_words(TEST.into()), ..good }, 2),
        Ok(Outcome::WrongSource)
    );
    let compatible = [0, u64::from(TARGET.to_bits())];
    assert_eq!(
        run(EchoReply { source: compatible, ..good }, 2),
        Ok(Outcome::WrongSource),
        "::192.0.2.1"
    );
    assert_eq!(
        run(EchoReply { destination: address_words(TARGET.into()), ..good }, 2),
        Ok(Outcome::WrongDestination)
    );
    assert_eq!(run(good, 3), Ok(Outcome::WrongNic));
    assert_eq!(run(reply(8), 2), Ok(Outcome::Late), "never sent");
    assert_eq!(run(reply(7 + 32), 2), Ok(Outcome::Late), "another seq in the same place");
    assert_eq!(memory.rx[ring_key(SLOT, 7) as usize].get(), 0, "none of these is a reply");
    assert_eq!(reply_to(&memory, SLOT, 7), None);
    assert_eq!(run(good, 2), Ok(Outcome::Reply));
    assert_eq!(reply_to(&memory, SLOT, 7), Some(word(4000, 7)));
    assert_eq!(reply_to(&memory, SLOT, 7 + 32), None);
    assert_eq!(memory.rx[ring_key(SLOT, 7) as usize].get(), word(4000, 7));
    assert_eq!(
        match_reply(&memory, &good, 2, || 9000),
        Ok(Match { outcome: Outcome::Duplicate, consume: true })
    );
    assert_eq!(memory.rx[ring_key(SLOT, 7) as usize].get(), word(4000, 7), "the first stamp stays");
    assert_eq!(memory.rtt[rtt_key(SLOT, 11) as usize].get(), 1, "3000 ns");
    for outcome in Outcome::ALL {
        let expected = match outcome {
            Outcome::Late | Outcome::WrongSource => 2,
            _ => 1,
        };
        assert_eq!(
            memory.outcomes[outcome_key(SLOT, *outcome) as usize].get(),
            expected,
            "{}",
            outcome.label()
        );
    }
    memory.slots[SLOT as usize].retire();
    assert_eq!(run(good, 2), Ok(Outcome::Forged));
}

/// A frame for a stacked device passes the hooks of the devices below it first.
#[test]
fn a_reply_is_no_stray_on_the_devices_below_its_own() {
    for depth in 0..LOWER {
        let memory = Memory::new();
        let mut lower = [0; LOWER];
        (0..=depth).for_each(|n| lower[n] = 7 + n as u32);
        memory.slots[SLOT as usize].publish(&SlotKey { lower, ..KEY });
        memory.send(7, 1000);
        let run = |reply: EchoReply, ifindex| {
            match_reply(&memory, &reply, ifindex, || 4000).map(|found| found.outcome)
        };
        for below in lower.into_iter().filter(|it| *it != 0) {
            assert_eq!(run(reply(7), below), Err(Skip::Stacked));
            let forged = EchoReply { cookie: 1, ..reply(7) };
            assert_eq!(run(forged, below), Err(Skip::Stacked), "it is counted once, above");
        }
        assert_eq!(run(reply(7), 6), Ok(Outcome::WrongNic), "another NIC's");
        assert_eq!(run(reply(7), 0), Ok(Outcome::WrongNic));
        assert_eq!(run(reply(7), 2), Ok(Outcome::Reply));
        assert_eq!(run(EchoReply { generation: 2, ..reply(7) }, 2), Ok(Outcome::Stale));
    }
}

#[test]
fn only_what_is_ours_is_consumed_and_only_if_the_slot_says_so() {
    for consume in [true, false] {
        let memory = Memory::new();
        memory.slots[SLOT as usize].publish(&SlotKey { consume, ..KEY });
        memory.send(7, 1000);
        let run =
            |reply: EchoReply, ifindex| match_reply(&memory, &reply, ifindex, || 4000).unwrap();
        for reply in [reply(7), reply(7), reply(8)] {
            assert_eq!(run(reply, 2).consume, consume);
        }
        let forged = EchoReply { cookie: 1, ..reply(7) };
        for (reply, ifindex) in
            [(forged, 2), (EchoReply { generation: 2, ..reply(7) }, 2), (reply(7), 3)]
        {
            assert!(!run(reply, ifindex).consume);
        }
    }
}

proptest! {
    /// Whatever comes in, and in whatever order: a word in RX is about the probe that is in TX.
    #[test]
    fn rx_only_ever_answers_tx(steps in prop::collection::vec((any::<bool>(), 0u16..100), 1..200)) {
        let memory = Memory::new();
        memory.slots[SLOT as usize].publish(&KEY);
        let mut next = 0u16;
        for (now, (send, back)) in (1u64..).zip(steps) {
            if send {
                memory.send(next, now);
                next = next.wrapping_add(1);
            } else {
                match_reply(&memory, &reply(next.wrapping_sub(back)), 2, || now).unwrap();
            }
            for (tx, rx) in memory.tx.iter().zip(&memory.rx) {
                prop_assert!(rx.get() == 0 || word_is(tx.get(), word_seq(rx.get())));
            }
        }
    }
}
