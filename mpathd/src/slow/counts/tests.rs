use mpathd_common::abi::{LOWER, Path, SlotKey};
use mpathd_common::matching::match_reply;
use mpathd_common::wire::EchoReply;
use mpathd_core::ids::Seq;

use super::super::sample;
use super::*;
use crate::fast::slots::SlotMap;

const PATH: PathId = PathId(7);
const NIC: u32 = 4;

/// A host in socket mode with a second of its own for each step.
struct Bench {
    slots: SlotMap,
    counts: Counts,
    now: Instant,
    seq: Seq,
}

impl Bench {
    fn new(adopted: bool, before: impl FnOnce(&mut Self)) -> Self {
        let slots = SlotMap::plain().unwrap();
        let path = Path::V4 { test: [192, 0, 2, 11].into(), target: [192, 0, 2, 1].into() };
        slots.set(
            PATH,
            &SlotKey {
                cookie: 99,
                generation: 3,
                ifindex: NIC,
                lower: [0; LOWER],
                consume: true,
                path,
            },
        );
        let counts = Counts::default();
        let mut bench = Self { slots, counts, now: Instant(1 << 40), seq: Seq(0) };
        before(&mut bench);
        bench.counts.set(Source { kernel: None, own: bench.slots.clone(), adopted });
        bench
    }

    /// A probe and what comes back.
    fn reply(&mut self, cookie: u64, ifindex: u32) -> Outcome {
        self.seq = self.seq.next();
        self.slots.stamp_tx(PATH, self.seq, self.now);
        let reply = EchoReply {
            source: [0, 0xffff_c000_0201],
            destination: [0, 0xffff_c000_020b],
            ident: 1,
            seq: self.seq.0,
            slot: PATH.0.into(),
            generation: 3,
            cookie,
        };
        let at = self.now.0 + 1500;
        match_reply(&self.slots, &reply, ifindex, || at).expect("it names a slot").outcome
    }

    fn replies(&mut self, count: usize) {
        (0..count).for_each(|_| assert_eq!(self.reply(99, NIC), Outcome::Reply));
    }

    fn forged(&mut self, count: usize) {
        (0..count).for_each(|_| assert_eq!(self.reply(98, NIC), Outcome::Forged));
    }

    fn stray(&mut self) {
        assert_eq!(self.reply(99, NIC + 1), Outcome::WrongNic);
    }

    fn snapshot(&mut self, view: View) -> Snapshot {
        self.now = self.now + Duration::from_secs(1);
        self.counts.complete(view, self.now)
    }

    /// Replies, forged ones, and the sum of the histogram, of the path.
    fn shown(&mut self, view: View) -> (u64, u64, u64) {
        let snapshot = self.snapshot(view);
        let counts = snapshot.counts_of(&snapshot.view.targets[0]).expect("it is counted");
        let sum = counts.rtt_histogram.iter().sum();
        (counts.count(Outcome::Reply), counts.count(Outcome::Forged), sum)
    }

    fn told(&mut self, after: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(after);
        let alarms = self.counts.alarms(&sample::view(), self.now).expect("memory of our own");
        alarms.iter().map(Alarm::text).collect()
    }
}

/// Slot 7 is another target's now.
fn retargeted() -> View {
    let mut view = sample::view();
    view.targets[0].target = sample::target(3);
    view
}

#[test]
fn a_snapshot_is_read_back_as_it_was_sent() {
    let mut bench = Bench::new(false, |_| {});
    bench.replies(3);
    let snapshot = bench.snapshot(sample::view());
    assert_eq!(snapshot.counts.len(), 2);
    assert_eq!(snapshot.counts[0].rtt_histogram[10], 3, "1500 ns are in bucket 10");
    let keys: Vec<_> = snapshot.counts[0].outcomes.keys().map(String::as_str).collect();
    let names = "duplicate forged late reply stale wrong_destination wrong_nic wrong_source";
    assert_eq!(keys, names.split(' ').collect::<Vec<_>>());
    assert_eq!(snapshot.skips["not_ours"], 0);
    let sent = serde_json::to_value(&snapshot).unwrap();
    assert_eq!((&sent["settled"], &sent["targets"][0]["path"]), (&true.into(), &7.into()));
    assert_eq!(serde_json::from_value::<Snapshot>(sent).unwrap(), snapshot);
}

#[test]
fn before_the_counts_come_there_are_none() {
    let mut counts = Counts::default();
    let snapshot = counts.complete(sample::view(), Instant(1));
    assert_eq!(snapshot, Snapshot { view: sample::view(), ..Snapshot::default() });
    assert_eq!(counts.alarms(&sample::view(), Instant(1)).unwrap(), []);
}

#[test]
fn a_slot_that_nobody_had_counts_from_its_first_reply() {
    let mut bench = Bench::new(false, |bench| bench.replies(2));
    assert_eq!(bench.shown(sample::view()), (2, 0, 2));
    bench.replies(1);
    bench.forged(3);
    assert_eq!(bench.shown(sample::view()), (3, 3, 3));
}

#[test]
fn what_a_slot_has_counted_for_somebody_else_is_not_shown() {
    let mut adopted = Bench::new(true, |bench| bench.replies(5));
    assert_eq!(adopted.shown(sample::view()), (0, 0, 0), "an earlier daemon's");
    let mut bench = Bench::new(false, |bench| bench.replies(5));
    assert_eq!(bench.shown(sample::view()), (5, 0, 5));
    assert_eq!(bench.shown(retargeted()), (0, 0, 0), "another target's");
    bench.replies(1);
    assert_eq!(bench.shown(retargeted()), (1, 0, 1));
    let mut again = retargeted();
    again.targets[0].sent = 1;
    assert_eq!(bench.shown(again), (0, 0, 0), "its path was opened anew");
}

#[test]
fn who_asks_often_gets_what_was_read_last() {
    let mut bench = Bench::new(false, |_| {});
    assert_eq!(bench.shown(sample::view()), (0, 0, 0));
    bench.replies(1);
    let at_once = bench.counts.complete(sample::view(), bench.now);
    assert_eq!(at_once.counts[0].count(Outcome::Reply), 0);
    assert_eq!(bench.shown(sample::view()), (1, 0, 1));
}

#[test]
fn a_path_is_told_of_at_most_once_a_minute() {
    let mut bench = Bench::new(false, |bench| bench.forged(9));
    bench.counts.follow(&sample::view());
    assert_eq!(bench.told(10), [""; 0], "what the first look finds may be of an earlier path");
    bench.replies(2);
    assert_eq!(bench.told(10), [""; 0]);
    bench.stray();
    let stray = "1 reply from 192.0.2.1 for eth0 came in on another interface: somebody has the \
                 wrong MAC address for the test address of eth0, or the LAN floods";
    assert_eq!(bench.told(10), [stray]);
    bench.forged(2);
    bench.stray();
    let forged = |n| {
        format!(
            "{n} forged replies to probes of 192.0.2.1 on eth0 came in: they know no probe's \
             secret, so somebody else has sent them"
        )
    };
    assert_eq!(bench.told(10), [forged(2)], "each kind has its minute");
    bench.forged(3);
    bench.stray();
    assert_eq!(bench.told(40), [""; 0]);
    assert_eq!(bench.told(10), [stray.replace("1 reply", "2 replies")]);
    assert_eq!(bench.told(10), [forged(3)]);
    assert_eq!(bench.told(100), [""; 0]);
}
