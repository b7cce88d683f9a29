//! The real kernel program, frame by frame: verdict, ring word and counts of every outcome, through
//! both hooks.

use std::net::{Ipv4Addr, Ipv6Addr};

use aya::maps::MapError;
use mpathd::host::counters::{CounterFds, Counters};
use mpathd_common::abi::{
    LOWER, OUTCOME_ROW, Outcome, Path, RTT_ROW, SLOTS, Skip, SlotKey, Word, outcome_key, ring_key,
    rtt_bucket, rtt_key, rtt_ns, skip_key, word, word_seq, word_stamp,
};
use mpathd_common::frame::{Echo, PROBE_MAX, Probe};
use mpathd_tests::object::{self, Hook, Program, Verdict};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Test runs come in on the loopback.
const IFINDEX: u32 = 1;
const SLOT: u32 = SLOTS - 1;
const SEQ: u16 = 0xfff7;
const V4: Path =
    Path::V4 { test: Ipv4Addr::new(192, 0, 2, 11), target: Ipv4Addr::new(192, 0, 2, 1) };
const V6: Path = Path::V6 {
    test: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11),
    target: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
};

fn key(path: Path) -> SlotKey {
    SlotKey {
        cookie: 0xfeed_face_0123_4567,
        generation: 3,
        ifindex: IFINDEX,
        lower: [0; LOWER],
        consume: true,
        path,
    }
}

/// The answer that a target gives to the probe of `key`: a real probe with its addresses and type
/// turned round.
fn answer(key: &SlotKey, seq: u16) -> Vec<u8> {
    let echo = Echo {
        source_mac: MAC,
        target_mac: PEER,
        path: key.path,
        ident: 9,
        slot: SLOT,
        generation: key.generation,
        cookie: key.cookie,
    };
    let mut frame = Probe::new(&echo).with_seq(seq).to_vec();
    let (address, length, kind) = match key.path {
        Path::V4 { .. } => (26, 4, (34, 0)),
        Path::V6 { .. } => (22, 16, (54, 129)),
    };
    frame[..12].rotate_left(6);
    frame[address..address + 2 * length].rotate_left(length);
    frame[kind.0] = kind.1;
    frame
}

fn tagged(frame: &[u8], tpid: u16) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &[0, 7], &frame[12..]].concat()
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// A program whose slot waits for the answer to `SEQ`, which it consumes.
struct Bench {
    program: Program,
    hook: Hook,
    path: Path,
    sent: u64,
}

impl Bench {
    fn new(hook: Hook, path: Path) -> Self {
        let object = object::read().unwrap_or_else(|error| panic!("{error:#}"));
        let program = Program::load(&object).unwrap_or_else(|error| panic!("{error:#}"));
        Self::with(program, hook, path)
    }

    fn with(program: Program, hook: Hook, path: Path) -> Self {
        program.slots.at(SLOT).publish(&key(path));
        let sent = word(monotonic_ns(), SEQ);
        program.tx.at(ring_key(SLOT, SEQ)).set(sent);
        Self { program, hook, path, sent }
    }

    fn each(mut test: impl FnMut(Bench)) {
        for hook in Hook::BOTH {
            for path in [V4, V6] {
                test(Bench::new(hook, path));
            }
        }
    }

    fn answer(&self) -> Vec<u8> {
        answer(&key(self.path), SEQ)
    }

    fn run(&self, frame: &[u8]) -> Verdict {
        self.program.run(self.hook, frame).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn rx(&self) -> u64 {
        self.program.rx.at(ring_key(SLOT, SEQ)).get()
    }

    /// All counts of the slot and of all CPUs that are not zero, by name.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        let outcome = |outcome| self.program.outcomes.at(outcome_key(SLOT, outcome));
        let outcomes = Outcome::ALL.iter().map(|&each| (each.label(), outcome(each)));
        let skips =
            Skip::ALL.iter().map(|&skip| (skip.label(), self.program.skips.at(skip_key(skip))));
        outcomes.chain(skips).filter(|(_, count)| *count != 0).collect()
    }

    fn rtts(&self) -> Vec<(u32, u64)> {
        let buckets =
            (0..RTT_ROW).map(|bucket| (bucket, self.program.rtt.at(rtt_key(SLOT, bucket))));
        buckets.filter(|(_, count)| *count != 0).collect()
    }

    /// One frame that names our slot but is no reply: it passes, is counted as `outcome`, and
    /// leaves no word.
    fn expect_no_reply(&self, frame: &[u8], outcome: &'static str) {
        let context = format!("{:?} {:?} {outcome}", self.hook, self.path);
        assert_eq!(self.run(frame), Verdict::Passed, "{context}");
        assert_eq!(self.counts(), [(outcome, 1)], "{context}");
        assert_eq!((self.rx(), self.rtts()), (0, vec![]), "{context}");
    }

    /// One frame that is none of ours.
    fn expect_skip(&self, frame: &[u8], skip: &'static str) {
        let count = |name| {
            self.counts().iter().find(|(each, _)| *each == name).map_or(0, |(_, count)| *count)
        };
        let before = count(skip);
        assert_eq!(self.run(frame), Verdict::Passed, "{:?} {skip}", self.hook);
        assert_eq!(count(skip), before + 1, "{:?} {skip}", self.hook);
        assert_eq!((self.rx(), self.rtts()), (0, vec![]), "{:?} {skip}", self.hook);
    }

    fn expect_reply(&self, frame: &[u8]) {
        let before = monotonic_ns();
        assert_eq!(self.run(frame), Verdict::Consumed);
        let after = monotonic_ns();
        let rx = self.rx();
        assert_eq!(word_seq(rx), SEQ);
        let stamp = word_stamp(rx);
        assert!((before..=after).contains(&stamp), "{before} <= {stamp} <= {after}");
        assert_eq!(self.counts(), [("reply", 1)]);
        assert_eq!(self.rtts(), [(rtt_bucket(rtt_ns(self.sent, rx)), 1)]);
    }
}

#[test]
fn a_reply_is_stamped_counted_and_consumed() {
    Bench::each(|bench| bench.expect_reply(&bench.answer()));
}

#[test]
fn a_reply_may_carry_one_vlan_tag() {
    for tpid in [0x8100, 0x88a8] {
        Bench::each(|bench| bench.expect_reply(&tagged(&bench.answer(), tpid)));
    }
}

#[test]
fn a_reply_may_be_followed_by_padding() {
    Bench::each(|bench| bench.expect_reply(&[&bench.answer()[..], &[0; 100]].concat()));
}

#[test]
fn a_slot_without_the_flag_consumes_nothing() {
    Bench::each(|bench| {
        bench.program.slots.at(SLOT).publish(&SlotKey { consume: false, ..key(bench.path) });
        assert_eq!(bench.run(&bench.answer()), Verdict::Passed);
        assert_eq!(bench.counts(), [("reply", 1)]);
        assert_eq!(word_seq(bench.rx()), SEQ);
    });
}

/// Behaviour 34.
#[test]
fn a_second_reply_is_a_duplicate_and_leaves_the_first_stamp() {
    Bench::each(|bench| {
        bench.expect_reply(&bench.answer());
        let first = bench.rx();
        assert_eq!(bench.run(&bench.answer()), Verdict::Consumed);
        assert_eq!(bench.rx(), first);
        assert_eq!(bench.counts(), [("reply", 1), ("duplicate", 1)]);
        assert_eq!(bench.rtts().iter().map(|(_, count)| count).sum::<u64>(), 1);
    });
}

/// Behaviour 35.
#[test]
fn a_seq_that_is_not_in_the_ring_is_late() {
    Bench::each(|bench| {
        for seq in [SEQ - 32, SEQ.wrapping_add(32), SEQ - 1] {
            assert_eq!(
                bench.run(&answer(&key(bench.path), seq)),
                Verdict::Consumed,
                "it is ours all the same"
            );
        }
        assert_eq!(bench.counts(), [("late", 3)]);
        bench.program.tx.at(ring_key(SLOT, SEQ)).set(0);
        bench.run(&bench.answer());
        assert_eq!(bench.counts(), [("late", 4)]);
        assert_eq!((bench.rx(), bench.rtts()), (0, vec![]));
    });
}

#[test]
fn a_wrong_cookie_is_forged() {
    Bench::each(|bench| {
        let cookie = key(bench.path).cookie ^ 1 << 63;
        bench.expect_no_reply(&answer(&SlotKey { cookie, ..key(bench.path) }, SEQ), "forged");
    });
}

#[test]
fn a_free_slot_has_no_replies() {
    Bench::each(|bench| {
        bench.program.slots.at(SLOT).retire();
        bench.expect_no_reply(&answer(&SlotKey { cookie: 0, ..key(bench.path) }, SEQ), "forged");
    });
}

#[test]
fn an_earlier_generation_is_stale() {
    Bench::each(|bench| {
        bench.expect_no_reply(&answer(&SlotKey { generation: 2, ..key(bench.path) }, SEQ), "stale");
    });
}

/// Every byte of both addresses counts (behaviours 33, 37).
#[test]
fn a_wrong_address_is_no_reply() {
    for hook in Hook::BOTH {
        for (path, source, destination) in [(V4, 26..30, 30..34), (V6, 22..38, 38..54)] {
            for (bytes, outcome) in [(source, "wrong-source"), (destination, "wrong-destination")] {
                let bench = Bench::new(hook, path);
                for (n, at) in (1..).zip(bytes) {
                    let mut frame = bench.answer();
                    frame[at] ^= 0x40;
                    assert_eq!(bench.run(&frame), Verdict::Passed);
                    assert_eq!(bench.counts(), [(outcome, n)], "byte {at}");
                }
                assert_eq!((bench.rx(), bench.rtts()), (0, vec![]));
            }
        }
    }
}

#[test]
fn the_other_family_is_a_wrong_source() {
    for hook in Hook::BOTH {
        for (path, other) in [(V4, V6), (V6, V4)] {
            Bench::new(hook, path).expect_no_reply(&answer(&key(other), SEQ), "wrong-source");
        }
    }
}

#[test]
fn a_reply_on_another_nic_is_no_reply() {
    Bench::each(|bench| {
        bench.program.slots.at(SLOT).publish(&SlotKey { ifindex: IFINDEX + 1, ..key(bench.path) });
        bench.expect_no_reply(&bench.answer(), "wrong-nic");
    });
}

#[test]
fn a_frame_cut_anywhere_passes() {
    Bench::each(|bench| {
        for frame in [bench.answer(), tagged(&bench.answer(), 0x8100)] {
            assert!(frame.len() <= PROBE_MAX + 4);
            // The kernel runs no frame without its Ethernet header; through tc, none without its IP
            // header.
            let shortest = match (bench.hook, bench.path) {
                (Hook::Xdp, _) => 14,
                (Hook::Tcx, Path::V4 { .. }) => 14 + 20,
                (Hook::Tcx, Path::V6 { .. }) => 14 + 40,
            };
            for length in shortest..frame.len() {
                bench.expect_skip(&frame[..length], "truncated");
            }
        }
    });
}

#[test]
fn what_is_not_ours_passes_with_its_reason() {
    for hook in Hook::BOTH {
        let v4 = Bench::new(hook, V4);
        let good = v4.answer();
        let with = |at: usize, bytes: &[u8]| {
            let mut frame = good.clone();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        v4.expect_skip(&with(12, &[0x08, 0x06]), "not-ip");
        v4.expect_skip(&tagged(&tagged(&good, 0x8100), 0x88a8), "not-ip");
        v4.expect_skip(&with(23, &[17]), "not-icmp");
        v4.expect_skip(&with(34, &[8]), "not-echo-reply");
        v4.expect_skip(&with(35, &[1]), "not-echo-reply");
        v4.expect_skip(&with(42, &[0]), "not-ours");
        v4.expect_skip(&with(20, &[0x20, 0]), "fragment");
        v4.expect_skip(&with(20, &[0, 1]), "fragment");
        for ihl in 0x46..=0x4f {
            v4.expect_skip(&with(14, &[ihl]), "options");
        }
        v4.expect_skip(&with(46, &SLOTS.to_be_bytes()), "no-slot");
        v4.expect_skip(&with(46, &[0xff; 4]), "no-slot");
        let v6 = Bench::new(hook, V6);
        let mut hop_by_hop = v6.answer();
        hop_by_hop[20] = 0;
        v6.expect_skip(&hop_by_hop, "not-icmp");
        let mut request = v6.answer();
        request[54] = 128;
        v6.expect_skip(&request, "not-echo-reply");
    }
}

#[test]
fn one_slot_leaves_the_others_alone() {
    Bench::each(|bench| {
        bench.expect_reply(&bench.answer());
        let others = (0..SLOT * OUTCOME_ROW).map(|key| bench.program.outcomes.at(key));
        assert_eq!(others.sum::<u64>(), 0);
        assert!((0..ring_key(SLOT, 0)).all(|key| bench.program.rx.at(key).get() == 0));
    });
}

/// The CPUs this thread may run on.
fn own_cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect()
}

fn move_to(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).expect("within the set");
    sched_setaffinity(Pid::from_raw(0), &only).expect("affinity");
}

/// One reply on each CPU, then a skip and a duplicate there: the daemon's sums are of all of them.
#[test]
fn counters_are_sums_over_the_cpus() {
    let bench = Bench::new(Hook::Xdp, V4);
    let Program { outcomes, rtt, skips, .. } = &bench.program;
    let fds = CounterFds { outcomes: outcomes.fd(), rtt: rtt.fd(), skips: skips.fd() };
    let counters = Counters::new(&fds).expect("per-CPU maps");
    let cpus = own_cpus();
    for &cpu in &cpus {
        move_to(cpu);
        bench.program.rx.at(ring_key(SLOT, SEQ)).set(0);
        for frame in [bench.answer(), bench.answer(), tagged(&tagged(&bench.answer(), 1), 1)] {
            bench.run(&frame);
        }
        assert_eq!(outcomes.by_cpu(outcome_key(SLOT, Outcome::Reply))[cpu], 1);
    }
    // The slow thread reads, not the one that made them.
    std::thread::spawn(move || {
        let n = cpus.len() as u64;
        let expected = Outcome::ALL.iter().map(|outcome| match outcome {
            Outcome::Reply | Outcome::Duplicate => n,
            _ => 0,
        });
        let expected: Vec<_> = expected.collect();
        assert_eq!(counters.outcomes(SLOT).expect("outcomes").to_vec(), expected);
        assert_eq!(counters.rtt_histogram(SLOT).expect("histogram").iter().sum::<u64>(), n);
        let skips = counters.skips().expect("skips");
        assert_eq!((skips[Skip::NotIp as usize], skips.iter().sum::<u64>()), (n, n));
        assert_eq!(counters.outcomes(SLOT - 1).expect("outcomes").iter().sum::<u64>(), 0);
        for beyond in [SLOTS, u32::MAX] {
            assert!(matches!(counters.outcomes(beyond), Err(MapError::OutOfBounds { .. })));
            assert!(matches!(counters.rtt_histogram(beyond), Err(MapError::OutOfBounds { .. })));
        }
    })
    .join()
    .expect("sums");
}

#[test]
fn the_object_names_its_layout() {
    let object = object::read().unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(mpathd_common::abi::layout_of(&object), Some(mpathd_common::abi::LAYOUT));
}

/// linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_BPF: u32 = 39;

/// Leaves this thread, and it alone, with uid 65534 and the given capabilities.
fn become_nobody_with(capabilities: &[u32]) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const NOBODY: libc::uid_t = 65534;
    const VERSION_3: u32 = 0x2008_0522;
    let mask = capabilities.iter().fold(0u64, |mask, capability| mask | 1 << capability);
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let header = Header { version: VERSION_3, pid: 0 };
    // Effective, permitted, inheritable; low words first.
    let data = [low, low, 0, high, high, 0];
    // SAFETY: system calls with scalars, or with pointers to live values of the kernel's layout.
    // Made directly, they change the calling thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0), 0, "keepcaps");
        assert_eq!(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY), 0, "setresuid");
        assert_eq!(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()), 0, "capset");
    }
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    assert!(status.contains(&format!("CapEff:\t{mask:016x}\n")), "{status}");
    assert!(status.contains(&format!("Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}")), "{status}");
}

#[test]
fn three_capabilities_are_enough_to_load_and_run() {
    let object = object::read().unwrap_or_else(|error| panic!("{error:#}"));
    let unprivileged = std::thread::spawn(move || {
        become_nobody_with(&[CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF]);
        for hook in Hook::BOTH {
            for path in [V4, V6] {
                let program = Program::load(&object).unwrap_or_else(|error| panic!("{error:#}"));
                let bench = Bench::with(program, hook, path);
                bench.expect_reply(&bench.answer());
            }
        }
    });
    unprivileged.join().expect("loads and runs without CAP_PERFMON");
}

/// That the test above tests something: without CAP_BPF nothing loads.
#[test]
fn two_capabilities_are_not_enough() {
    let object = object::read().unwrap_or_else(|error| panic!("{error:#}"));
    let loaded = std::thread::spawn(move || {
        become_nobody_with(&[CAP_NET_ADMIN, CAP_NET_RAW]);
        Program::load(&object).is_ok()
    });
    assert!(!loaded.join().expect("thread"));
}
