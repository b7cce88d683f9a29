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
