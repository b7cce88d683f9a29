//! The maps between kernel program and daemon: names, sizes, and what each word means.
//!
//! What decides (slots and rings) lies in plain arrays of `u64` words with
//! `BPF_F_MMAPABLE`, and every word is complete in itself. So nothing is locked or ordered, the
//! daemon reads a word for 0.3 ns through its mapping instead of 3.2 us by system call, and a read
//! can never mix two probes. What is only shown lies in per-CPU arrays: each CPU adds to a word of
//! its own, and the daemon sums them when asked. Either costs the same per reply (76 and 77 ns).
//!
//! | map | kind | key | value | written by |
//! |---|---|---|---|---|
//! | [`maps::SLOTS`] | mapped | slot | [`Slot`] | daemon |
//! | [`maps::TX`] | mapped | slot x 32 + seq % 32 | [`word`] | daemon, right before it sends |
//! | [`maps::RX`] | mapped | the same | [`word`] | kernel, only where TX holds the same seq |
//! | [`maps::OUTCOMES`] | per CPU | slot x 8 + [`Outcome`] | count | kernel |
//! | [`maps::RTT`] | per CPU | slot x 32 + log2 of the RTT | count | kernel |
//! | [`maps::SKIPS`] | per CPU | [`Skip`] | count | kernel |
//! | [`maps::REDIRECTS`] | mapped | [`redirect_key`] | [`Redirect`] | daemon |
//!
//! Values are words and keys are variable, instead of rows such as `[u64; 32]` as values: that would
//! need a variable offset into a map value, and without CAP_PERFMON the verifier allows one only
//! where all paths reach the addition with equal bounds ("tried to add from different maps, paths or
//! scalars, pointer arithmetic with it prohibited for !root", Linux 6.18). Whether they do is up to
//! the compiler; the key of an array may always vary.
//!
//! What holds for a NIC (its ifindex, `consume_replies`) is written into each of its slots: a
//! lookup by ifindex in a hash map took 30 ns per reply, as much as half of all the rest.

use core::mem::{align_of, offset_of, size_of};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering;

/// Version of everything in this file. Part of the pin directory's name, and written into the
/// object, see [`layout_of`].
pub const LAYOUT: u32 = 5;

/// Number of slots; one slot is one (interface, target) pair, so 204 interfaces with two families of
/// five targets each. A slot takes 576 bytes once and 320 on each possible CPU: all slots 1.1 MiB
/// and 640 KiB per CPU, 160 MiB with 256 CPUs.
pub const SLOTS: u32 = 2048;
/// Probes of one slot that can be outstanding; a reply to an older one is [`Outcome::Late`].
pub const RING: u32 = 32;
/// Devices below a NIC that its slots name; a further one counts its replies as [`Outcome::WrongNic`].
pub const LOWER: usize = 3;
/// Words per slot in [`maps::OUTCOMES`].
pub const OUTCOME_ROW: u32 = Outcome::ALL.len() as u32;
/// Words per slot in [`maps::RTT`]: bucket b counts RTTs of 2^b to 2^(b+1) - 1 ns, the last one
/// everything from 2.1 s.
pub const RTT_ROW: u32 = 32;
/// Words in [`maps::SKIPS`].
pub const SKIP_ROW: u32 = Skip::ALL.len() as u32;
/// NICs with a row of their own in [`maps::REDIRECTS`]; two whose ifindexes differ by a multiple of this
/// would share one. Two rows of 64 bytes each, 128 KiB in all.
pub const REDIRECT_NICS: u32 = 1024;
/// All rows: a NIC has one for each family.
pub const REDIRECTS: u32 = REDIRECT_NICS * 2;

/// Names of the maps in the object.
pub mod maps {
    pub const SLOTS: &str = "MPATHD_SLOTS";
    pub const TX: &str = "MPATHD_TX";
    pub const RX: &str = "MPATHD_RX";
    pub const OUTCOMES: &str = "MPATHD_OUTCOMES";
    pub const RTT: &str = "MPATHD_RTT";
    pub const SKIPS: &str = "MPATHD_SKIPS";
    pub const REDIRECTS: &str = "MPATHD_REDIRECTS";

    /// All that hold state across a restart, for pinning.
    pub const ALL: [&str; 7] = [SLOTS, TX, RX, OUTCOMES, RTT, SKIPS, REDIRECTS];
}

/// Names of the programs in the object.
pub mod programs {
    pub const XDP: &str = "mpathd_xdp";
    /// The same for kernels that know no XDP program for frames in several buffers (before Linux 5.18).
    pub const XDP_LINEAR: &str = "mpathd_xdp_linear";
    pub const TCX: &str = "mpathd_tcx";
    pub const EGRESS: &str = "mpathd_egress";
}

/// Flag of a [`Slot`]: replies to it go no further (`consume_replies`); else the host's stack and
/// tcpdump see them too.
pub const CONSUME: u64 = 1 << 0;

/// One 64-bit word of a map, as one side sees it: `AtomicU64` in the daemon, a volatile cell in the
/// kernel, where atomic loads do not compile (LLVM 22: "Cannot select: AtomicLoad").
pub trait Word {
    fn get(&self) -> u64;
    fn set(&self, value: u64);

    /// One more. Only for who writes this word alone: a concurrent addition would be lost.
    #[inline(always)]
    fn increment(&self) {
        self.set(self.get().wrapping_add(1));
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Word for AtomicU64 {
    fn get(&self) -> u64 {
        AtomicU64::load(self, Ordering::Acquire)
    }

    fn set(&self, value: u64) {
        AtomicU64::store(self, value, Ordering::Release);
    }
}

/// What a reply must look like to be a reply: one cache line, written by the daemon only. A zero
/// cookie is a free slot.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Slot<W> {
    pub cookie: W,
    /// Counts the uses of this slot (u32). In the upper half of this word and of the next two: ifindexes of
    /// the devices below the NIC, see [`SlotKey::lower`].
    pub generation: W,
    /// The NIC the reply has to come in on (u32).
    pub ifindex: W,
    /// [`CONSUME`] or 0.
    pub flags: W,
    /// Source the reply must have, see [`address_words`].
    pub target: [W; 2],
    /// Destination the reply must have: our test address.
    pub test: [W; 2],
}

const _: () = {
    assert!(size_of::<Slot<u64>>() == 64 && size_of::<Slot<AtomicU64>>() == 64);
    assert!(align_of::<Slot<u64>>() == 64);
    assert!(offset_of!(Slot<u64>, cookie) == 0);
    assert!(offset_of!(Slot<u64>, generation) == 8);
    assert!(offset_of!(Slot<u64>, ifindex) == 16);
    assert!(offset_of!(Slot<u64>, flags) == 24);
    assert!(offset_of!(Slot<u64>, target) == 32);
    assert!(offset_of!(Slot<u64>, test) == 48);
    assert!(RING.is_power_of_two() && RING <= 1 << 16);
};

/// The two ends of a probe, of one family by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    V4 { test: Ipv4Addr, target: Ipv4Addr },
    V6 { test: Ipv6Addr, target: Ipv6Addr },
}

impl Path {
    /// `None` if the two are not of one family.
    pub fn new(test: IpAddr, target: IpAddr) -> Option<Self> {
        match (test, target) {
            (IpAddr::V4(test), IpAddr::V4(target)) => Some(Self::V4 { test, target }),
            (IpAddr::V6(test), IpAddr::V6(target)) => Some(Self::V6 { test, target }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }
}

/// The contents of a [`Slot`] in plain values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey {
    /// Random, and never 0.
    pub cookie: u64,
    pub generation: u32,
    pub ifindex: u32,
    /// Devices on which the NIC is stacked, as a VLAN or macvlan device is on its parent; 0 = none. Our hook
    /// may be on them too and then sees the replies first.
    pub lower: [u32; LOWER],
    /// Whether replies end here, see [`CONSUME`].
    pub consume: bool,
    pub path: Path,
}

impl<W: Word> Slot<W> {
    /// Makes the slot match replies to `key`. Cleared first and given its cookie last, so that a
    /// reply that is looked at meanwhile matches the old key, the new one or none. Send the first
    /// probe afterwards.
    pub fn publish(&self, key: &SlotKey) {
        self.retire();
        let (target, test) = match key.path {
            Path::V4 { test, target } => (IpAddr::V4(target), IpAddr::V4(test)),
            Path::V6 { test, target } => (IpAddr::V6(target), IpAddr::V6(test)),
        };
        let with_lower = |low: u64, n: usize| u64::from(key.lower[n]) << 32 | low;
        self.generation.set(with_lower(key.generation.into(), 0));
        self.ifindex.set(with_lower(key.ifindex.into(), 1));
        self.flags.set(with_lower(if key.consume { CONSUME } else { 0 }, 2));
        store_pair(&self.target, address_words(target));
        store_pair(&self.test, address_words(test));
        self.cookie.set(key.cookie);
    }

    /// Whether the NIC of this slot is stacked on `ifindex`.
    #[inline(always)]
    pub fn is_above(&self, ifindex: u32) -> bool {
        let words = [&self.generation, &self.ifindex, &self.flags];
        ifindex != 0 && words.iter().any(|word| (word.get() >> 32) as u32 == ifindex)
    }

    /// From now on no reply matches.
    pub fn retire(&self) {
        self.cookie.set(0);
    }
}

fn store_pair<W: Word>(to: &[W; 2], words: [u64; 2]) {
    to[0].set(words[0]);
    to[1].set(words[1]);
}

/// Who sends what a NIC is given to send of one family. All zero, as it is but between a verdict and the
/// last change of an address or a route: the NIC itself. One cache line, written by the daemon only.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Redirect<W> {
    /// [`lease`], 0: nobody else.
    pub to: W,
    /// MAC of the NIC, see [`mac_word`]; a frame from another one is not this host's own.
    pub own_mac: W,
    /// MAC of the NIC that sends in its place.
    pub new_mac: W,
    /// Test address of the NIC, see [`address_words`]: what comes from it is about this NIC, and stays.
    pub test: [W; 2],
}

const _: () = {
    assert!(size_of::<Redirect<u64>>() == 64 && size_of::<Redirect<AtomicU64>>() == 64);
    assert!(offset_of!(Redirect<u64>, to) == 0);
    assert!(offset_of!(Redirect<u64>, own_mac) == 8);
    assert!(offset_of!(Redirect<u64>, new_mac) == 16);
    assert!(offset_of!(Redirect<u64>, test) == 24);
    assert!(REDIRECT_NICS.is_power_of_two());
};

/// The contents of a [`Redirect`] in plain values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour {
    /// ifindex of the NIC that sends, and when that ends (CLOCK_MONOTONIC, ns): a daemon that has died
    /// redirects nothing for long.
    pub to: u32,
    pub until_ns: u64,
    pub own_mac: [u8; 6],
    pub new_mac: [u8; 6],
    pub test: Option<IpAddr>,
}

impl<W: Word> Redirect<W> {
    /// Ended first and begun last, so that no frame leaves with another NIC's MAC.
    pub fn begin(&self, detour: &Detour) {
        let to = lease(detour.to, detour.until_ns);
        let [own, new] = [detour.own_mac, detour.new_mac].map(mac_word);
        let test = detour.test.map_or([0; 2], address_words);
        let words = [&self.own_mac, &self.new_mac, &self.test[0], &self.test[1]];
        let values = [own, new, test[0], test[1]];
        if words.iter().zip(values).any(|(word, value)| word.get() != value) {
            self.end();
            words.into_iter().zip(values).for_each(|(word, value)| word.set(value));
        }
        self.to.set(to);
    }

    pub fn end(&self) {
        self.to.set(0);
    }
}

/// A lease counts in units of 2^24 ns, 16.8 ms.
const LEASE_UNIT: u32 = 24;

/// ifindex of a NIC, and until when it is meant: in the upper half the low 32 bits of the time in units
/// of 16.8 ms, which wrap after 2.3 years.
pub const fn lease(ifindex: u32, until_ns: u64) -> u64 {
    ((until_ns >> LEASE_UNIT) as u32 as u64) << 32 | ifindex as u64
}

/// The ifindex in a lease that has not run out; `None` where there is none.
pub const fn leased(lease: u64, now_ns: u64) -> Option<u32> {
    let left = ((lease >> 32) as u32).wrapping_sub((now_ns >> LEASE_UNIT) as u32);
    if lease as u32 != 0 && left <= u32::MAX / 2 { Some(lease as u32) } else { None }
}

/// A MAC as a number of 48 bits, big-endian.
pub const fn mac_word(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

pub const fn word_mac(word: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
    [a, b, c, d, e, f]
}

/// Key of a NIC's row in [`maps::REDIRECTS`]; `family`: 0 IPv4, 1 IPv6.
pub const fn redirect_key(ifindex: u32, family: u32) -> u32 {
    ifindex % REDIRECT_NICS * 2 + family
}

/// An address as two big-endian words; IPv4 as the IPv6 address that stands for it (RFC 4291
/// 2.5.5.2).
pub const fn address_words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => [0, V4_MAPPED | v4.to_bits() as u64],
        IpAddr::V6(v6) => [(v6.to_bits() >> 64) as u64, v6.to_bits() as u64],
    }
}

/// Second word of ::ffff:0.0.0.0.
pub(crate) const V4_MAPPED: u64 = 0xffff_0000_0000;

/// Stamps are the low 48 bits of CLOCK_MONOTONIC in ns (the kernel's `bpf_ktime_get_ns`): they wrap
/// after 78 h.
const STAMP: u64 = (1 << 48) - 1;

/// `stamp48 << 16 | seq16`: a probe left, or its reply came in, at that time. Never 0, for 0 means
/// "never".
pub const fn word(stamp_ns: u64, seq: u16) -> u64 {
    let stamp = if stamp_ns & STAMP == 0 { 1 } else { stamp_ns & STAMP };
    stamp << 16 | seq as u64
}

/// The sequence number in a word; it says nothing where the word is 0.
pub const fn word_seq(word: u64) -> u16 {
    word as u16
}

/// The low 48 bits of the stamp in a word, in ns.
pub const fn word_stamp(word: u64) -> u64 {
    word >> 16
}

/// Whether a word is about this probe.
pub const fn word_is(word: u64, seq: u16) -> bool {
    word != 0 && word_seq(word) == seq
}

/// The whole monotonic time in ns of a 48-bit stamp: the one nearest to `now_ns`, right within 39 h
/// of it.
pub const fn full_stamp(stamp48: u64, now_ns: u64) -> u64 {
    let age = now_ns.wrapping_sub(stamp48) & STAMP;
    if age <= STAMP / 2 { now_ns.wrapping_sub(age) } else { now_ns.wrapping_add(STAMP + 1 - age) }
}

/// Round-trip time in ns between two words of one seq; 0 where the reply seems to be older than the
/// probe.
pub const fn rtt_ns(tx: u64, rx: u64) -> u64 {
    let rtt = word_stamp(rx).wrapping_sub(word_stamp(tx)) & STAMP;
    if rtt <= STAMP / 2 { rtt } else { 0 }
}

/// Bucket of an RTT in [`maps::RTT`]: floor(log2), 0 for 0 and 1 ns, at most 31.
pub const fn rtt_bucket(rtt_ns: u64) -> u32 {
    let capped = if rtt_ns > u32::MAX as u64 { u32::MAX } else { rtt_ns as u32 };
    31 - (capped | 1).leading_zeros()
}

/// Key of a probe's word in [`maps::TX`] and [`maps::RX`].
pub const fn ring_key(slot: u32, seq: u16) -> u32 {
    slot * RING + seq as u32 % RING
}

/// Key of a count in [`maps::OUTCOMES`].
pub const fn outcome_key(slot: u32, outcome: Outcome) -> u32 {
    slot * OUTCOME_ROW + outcome as u32
}

/// Key of a bucket in [`maps::RTT`].
pub const fn rtt_key(slot: u32, bucket: u32) -> u32 {
    slot * RTT_ROW + bucket
}

/// Key of a count in [`maps::SKIPS`].
pub const fn skip_key(skip: Skip) -> u32 {
    skip as u32
}

macro_rules! counted {
    ($(#[$head:meta])* $name:ident {
        $($(#[$doc:meta])* $variant:ident = $label:literal,)+
    }) => {
        $(#[$head])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// In the order of their places in a row.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name for metrics and logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

counted! {
    /// What became of an echo reply that names one of our slots.
    Outcome {
        /// The first answer to an outstanding probe; its stamp is in [`maps::RX`].
        Reply = "reply",
        /// Right in all but its seq: that probe's place in the ring has been used again, or it was
        /// never sent.
        Late = "late",
        /// The probe has been answered already.
        Duplicate = "duplicate",
        /// Wrong cookie, or the slot is free.
        Forged = "forged",
        /// Right cookie of an earlier use of the slot.
        Stale = "stale",
        WrongSource = "wrong-source",
        WrongDestination = "wrong-destination",
        /// Came in on another NIC than the probe went out on: a neighbour has the wrong MAC for the
        /// test address.
        WrongNic = "wrong-nic",
    }
}

counted! {
    /// Why a frame is not a reply to any slot.
    Skip {
        NotIp = "not-ip",
        NotIcmp = "not-icmp",
        NotEchoReply = "not-echo-reply",
        /// An echo reply without our magic number: somebody else's ping.
        NotOurs = "not-ours",
        /// Ends before what its headers announce or what we need.
        Truncated = "truncated",
        /// An IPv4 fragment; our probes fit into any MTU.
        Fragment = "fragment",
        /// IPv4 options; our probes have none, so no answer has (RFC 1122 3.2.2.6).
        Options = "options",
        /// The slot index is beyond [`SLOTS`].
        NoSlot = "no-slot",
        /// For a device that is stacked on the one where it was seen, which takes it.
        Stacked = "stacked",
    }
}

const LAYOUT_TAG: [u8; 16] = *b"mpathd layout = ";

/// What the object carries in a section of its own, so that a loader can tell which layout it was
/// built for.
pub const LAYOUT_MARK: [u8; 20] = {
    let mut mark = [0; 20];
    let mut at = 0;
    while at < 16 {
        mark[at] = LAYOUT_TAG[at];
        at += 1;
    }
    let version = LAYOUT.to_le_bytes();
    while at < 20 {
        mark[at] = version[at - 16];
        at += 1;
    }
    mark
};

/// The layout version of an object file; `None` if it is not one of ours.
pub fn layout_of(object: &[u8]) -> Option<u32> {
    let at = object.windows(LAYOUT_TAG.len()).position(|window| window == LAYOUT_TAG)?;
    let version = object.get(at + LAYOUT_TAG.len()..)?.first_chunk()?;
    Some(u32::from_le_bytes(*version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_word_is_never_the_word_for_never() {
        assert_ne!(word(0, 0), 0);
        assert_ne!(word(1 << 48, 0), 0);
        assert!(!word_is(0, 0));
    }

    #[test]
    fn buckets_are_powers_of_two() {
        for (rtt, bucket) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 1),
            (1024, 10),
            ((1 << 31) - 1, 30),
            (1 << 31, 31),
            (u64::MAX, 31),
        ] {
            assert_eq!(rtt_bucket(rtt), bucket, "{rtt} ns");
        }
    }

    #[test]
    fn labels_follow_the_places() {
        for (place, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, place, "{}", outcome.label());
        }
        for (place, skip) in Skip::ALL.iter().enumerate() {
            assert_eq!(*skip as usize, place, "{}", skip.label());
        }
    }

    #[test]
    fn the_layout_is_found_in_an_object() {
        let mut object = std::vec![0x7f; 100];
        object.extend_from_slice(&LAYOUT_MARK);
        object.push(0);
        assert_eq!(layout_of(&object), Some(LAYOUT));
        assert_eq!(layout_of(&object[..119]), None);
        assert_eq!(layout_of(b""), None);
    }

    #[test]
    fn a_lease_runs_out_by_itself_though_its_time_wraps() {
        for until in [1 << 40, u64::from(u32::MAX) << LEASE_UNIT, (1 << 56) + (7 << LEASE_UNIT)] {
            let word = lease(9, until);
            assert_eq!(leased(word, until - 3_000_000_000), Some(9));
            assert_eq!(leased(word, until), Some(9), "the unit is to its end");
            assert_eq!(leased(word, until + (1 << LEASE_UNIT)), None);
            assert_eq!(leased(word, until + 86_400_000_000_000), None);
        }
        assert_eq!(leased(0, 5), None);
    }

    #[test]
    fn a_mac_is_found_again() {
        let mac = [2, 0xfe, 0, 1, 0x80, 9];
        assert_eq!(word_mac(mac_word(mac)), mac);
    }

    #[test]
    fn a_rtt_survives_the_wrap_of_the_stamp() {
        let sent = (1 << 48) - 500;
        assert_eq!(rtt_ns(word(sent, 7), word(sent + 2000, 7)), 2000);
        assert_eq!(rtt_ns(word(sent + 2000, 7), word(sent, 7)), 0);
    }

    proptest! {
        #[test]
        fn a_stamp_is_found_again(
            now in (1u64 << 48)..(1u64 << 63),
            back in 0u64..(1 << 46),
            ahead in 0u64..(1 << 46),
            seq: u16,
        ) {
            for stamp in [now - back, now + ahead] {
                let word = word(stamp, seq);
                prop_assert_eq!(word_seq(word), seq);
                let expected = if stamp % (1 << 48) == 0 { stamp + 1 } else { stamp };
                prop_assert_eq!(full_stamp(word_stamp(word), now), expected);
            }
        }
    }
}
