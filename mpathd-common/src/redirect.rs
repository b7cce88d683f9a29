//! Which frames a healthy NIC sends in the place of a dead one, until addresses and routes have moved:
//! unicast of IPv4 and IPv6 that this host sends from an address that moves, or forwards.
//!
//! All else is about the NIC itself and stays: ARP and neighbour discovery, which carry its MAC; what
//! comes from its test or link-local addresses; multicast, whose memberships do not move; frames of
//! devices stacked on it, which have a VLAN tag or a MAC of their own.

use crate::abi::{Redirect, V4_MAPPED, Word, leased, mac_word, word_mac};
use crate::frame::Mac;
use crate::wire::{
    Bytes, ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV6, PROTOCOL_ICMPV6, u8_at, u32_at, u64_at,
};

/// Router solicitation to redirect (RFC 4861 4).
const NEIGHBOUR_DISCOVERY: core::ops::RangeInclusive<u8> = 133..=137;

/// The NIC that is to send a frame, and the source MAC it is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub ifindex: u32,
    pub mac: Mac,
}

/// The family of a frame by its ethertype, as [`crate::abi::redirect_key`] counts them.
#[inline(always)]
pub const fn family(ethertype: u16) -> Option<u32> {
    match ethertype {
        ETHERTYPE_IPV4 => Some(0),
        ETHERTYPE_IPV6 => Some(1),
        _ => None,
    }
}

/// Where a frame of this family goes that a NIC is given to send; `None`: out by that NIC. `row` is its
/// own; `row_of` gives those of others: a NIC that is redirected itself sends nothing for them, so no
/// frame goes round in circles. `now_ns` (CLOCK_MONOTONIC) is asked only while there is a redirect.
#[inline(always)]
pub fn way<'a, W: Word + 'a, B: Bytes + ?Sized>(
    frame: &B,
    family: u32,
    row: &Redirect<W>,
    row_of: impl FnOnce(u32) -> Option<&'a Redirect<W>>,
    now_ns: impl FnOnce() -> u64,
) -> Option<Way> {
    let to = row.to.get();
    if to == 0 {
        return None;
    }
    let ifindex = leased(to, now_ns())?;
    if !moves(frame, family, row)? || row_of(ifindex)?.to.get() != 0 {
        return None;
    }
    let mac = word_mac(row.new_mac.get());
    // The two belong together unless the daemon has written in between.
    (row.to.get() == to).then_some(Way { ifindex, mac })
}

/// Whether a frame may leave by another NIC. `None`: it is cut short.
#[inline(always)]
fn moves<W: Word, B: Bytes + ?Sized>(frame: &B, family: u32, row: &Redirect<W>) -> Option<bool> {
    // At once: of two checks the compiler makes one that the verifier does not take (LLVM 22).
    let [to, _, _, _, _, _, from @ ..] = frame.bytes::<12>(0)?;
    let is_unicast = to & 1 == 0;
    if !is_unicast || mac_word(from) != row.own_mac.get() {
        return Some(false);
    }
    let source = match family {
        0 => [0, V4_MAPPED | u64::from(u32_at(frame, ETHERNET + 12).ok()?)],
        _ => [u64_at(frame, ETHERNET + 8).ok()?, u64_at(frame, ETHERNET + 16).ok()?],
    };
    if source == [row.test[0].get(), row.test[1].get()] {
        return Some(false);
    }
    Some(family == 0 || !(is_link_local(source) || is_neighbour_discovery(frame)?))
}

/// fe80::/10.
#[inline(always)]
const fn is_link_local(source: [u64; 2]) -> bool {
    source[0] >> 54 == 0xfe80 >> 6
}

#[inline(always)]
fn is_neighbour_discovery<B: Bytes + ?Sized>(frame: &B) -> Option<bool> {
    if u8_at(frame, ETHERNET + 6).ok()? != PROTOCOL_ICMPV6 {
        return Some(false);
    }
    Some(NEIGHBOUR_DISCOVERY.contains(&u8_at(frame, ETHERNET + IPV6).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Detour;
    use core::cell::Cell;

    #[derive(Default)]
    struct Plain(Cell<u64>);

    impl Word for Plain {
        fn get(&self) -> u64 {
            self.0.get()
        }

        fn set(&self, value: u64) {
            self.0.set(value);
        }
    }

    const MACS: [Mac; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    fn row() -> Redirect<Plain> {
        let row = Redirect::default();
        let [own_mac, new_mac] = MACS;
        row.begin(&Detour { to: 9, until_ns: 1 << 40, own_mac, new_mac, test: None });
        row
    }

    /// An IPv6 frame with a TCP segment.
    fn frame() -> [u8; 74] {
        let mut frame = [0; 74];
        frame[6..12].copy_from_slice(&MACS[0]);
        frame[20] = 6;
        frame[22..24].copy_from_slice(&[0x20, 0x01]);
        frame
    }

    #[test]
    fn what_is_cut_short_stays() {
        let (row, other, frame) = (row(), Redirect::default(), frame());
        let way = |len: usize| way(&frame[..len], 1, &row, |_| Some(&other), || 5);
        assert_eq!(way(frame.len()), Some(Way { ifindex: 9, mac: MACS[1] }));
        assert_eq!((0..30).filter_map(way).count(), 0);
    }

    /// The daemon writes a new MAC after the program has read whose it was.
    #[test]
    fn a_mac_is_never_that_of_another_nic() {
        let (row, other, frame) = (row(), Redirect::default(), frame());
        let [own_mac, _] = MACS;
        let written = |_| {
            let new_mac = [2, 0, 0, 0, 0, 3];
            row.begin(&Detour { to: 10, until_ns: 1 << 40, own_mac, new_mac, test: None });
            Some(&other)
        };
        assert_eq!(way(&frame[..], 1, &row, written, || 5), None);
    }
}
