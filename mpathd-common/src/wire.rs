//! Reads a frame: Ethernet, at most one VLAN tag, IPv4 or IPv6, ICMP echo reply, our payload.
//!
//! One parser for the kernel program, the daemon's socket receive mode and the tests. All offsets
//! become constants in the two calls of `network`, and headers of variable length are refused:
//! without CAP_PERFMON the verifier takes no variable offset. Checksums are not verified: 64 random
//! bits in the payload say more.

use crate::abi::{Skip, V4_MAPPED};

/// First word of every payload of ours.
pub const MAGIC: u32 = u32::from_be_bytes(*b"MPth");
/// Length of our ICMP payload: magic, slot, generation (u32 each), cookie (u64); big-endian.
pub const PAYLOAD: usize = 20;

pub(crate) const ETHERNET: usize = 14;
pub(crate) const VLAN_TAG: usize = 4;
pub(crate) const IPV4: usize = 20;
pub(crate) const IPV6: usize = 40;
pub(crate) const ICMP: usize = 8;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const ETHERTYPE_8021Q: u16 = 0x8100;
pub(crate) const ETHERTYPE_8021AD: u16 = 0x88a8;
pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_ICMPV6: u8 = 58;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMPV6_ECHO_REPLY: u8 = 129;

/// Bounds-checked access to a frame.
pub trait Bytes {
    /// `N` bytes at an offset, or `None` if the frame ends before.
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]>;
}

impl Bytes for [u8] {
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }
}

#[inline(always)]
pub(crate) fn u8_at<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<u8, Skip> {
    frame.bytes::<1>(at).map(|[byte]| byte).ok_or(Skip::Truncated)
}

#[inline(always)]
pub(crate) fn u16_at<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<u16, Skip> {
    frame.bytes(at).map(u16::from_be_bytes).ok_or(Skip::Truncated)
}

#[inline(always)]
pub(crate) fn u32_at<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<u32, Skip> {
    frame.bytes(at).map(u32::from_be_bytes).ok_or(Skip::Truncated)
}

#[inline(always)]
pub(crate) fn u64_at<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<u64, Skip> {
    frame.bytes(at).map(u64::from_be_bytes).ok_or(Skip::Truncated)
}

/// An echo reply with our magic number. Nothing in it has been checked against a slot yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoReply {
    /// As [`crate::abi::address_words`] makes them.
    pub source: [u64; 2],
    pub destination: [u64; 2],
    /// ICMP identifier.
    pub ident: u16,
    pub seq: u16,
    pub slot: u32,
    pub generation: u32,
    pub cookie: u64,
}

/// The echo reply in a frame that starts at its Ethernet header, or why there is none. Bytes after
/// it are padding.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(frame: &B) -> Result<EchoReply, Skip> {
    match u16_at(frame, ETHERNET - 2)? {
        ETHERTYPE_8021Q | ETHERTYPE_8021AD => {
            let inner = u16_at(frame, ETHERNET + VLAN_TAG - 2)?;
            network(frame, inner, ETHERNET + VLAN_TAG)
        }
        ethertype => network(frame, ethertype, ETHERNET),
    }
}

#[inline(always)]
fn network<B: Bytes + ?Sized>(frame: &B, ethertype: u16, at: usize) -> Result<EchoReply, Skip> {
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, at),
        ETHERTYPE_IPV6 => ipv6(frame, at),
        _ => Err(Skip::NotIp),
    }
}

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<EchoReply, Skip> {
    if u8_at(frame, at + 9)? != PROTOCOL_ICMP {
        return Err(Skip::NotIcmp);
    }
    match u8_at(frame, at)? {
        0x45 => {}
        0x46..=0x4f => return Err(Skip::Options),
        _ => return Err(Skip::NotIp),
    }
    const DONT_FRAGMENT: u16 = 0x4000;
    const RESERVED: u16 = 0x8000;
    if u16_at(frame, at + 6)? & !(DONT_FRAGMENT | RESERVED) != 0 {
        return Err(Skip::Fragment);
    }
    if u8_at(frame, at + IPV4)? != ICMP_ECHO_REPLY || u8_at(frame, at + IPV4 + 1)? != 0 {
        return Err(Skip::NotEchoReply);
    }
    let announced = usize::from(u16_at(frame, at + 2)?);
    let addresses = [mapped(u32_at(frame, at + 12)?), mapped(u32_at(frame, at + 16)?)];
    echo(frame, at + IPV4, announced, IPV4, addresses)
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<EchoReply, Skip> {
    if u8_at(frame, at + 6)? != PROTOCOL_ICMPV6 {
        return Err(Skip::NotIcmp);
    }
    if u8_at(frame, at)? >> 4 != 6 {
        return Err(Skip::NotIp);
    }
    if u8_at(frame, at + IPV6)? != ICMPV6_ECHO_REPLY || u8_at(frame, at + IPV6 + 1)? != 0 {
        return Err(Skip::NotEchoReply);
    }
    let announced = usize::from(u16_at(frame, at + 4)?);
    let addresses = [
        [u64_at(frame, at + 8)?, u64_at(frame, at + 16)?],
        [u64_at(frame, at + 24)?, u64_at(frame, at + 32)?],
    ];
    echo(frame, at + IPV6, announced, 0, addresses)
}

#[inline(always)]
fn mapped(v4: u32) -> [u64; 2] {
    [0, V4_MAPPED | u64::from(v4)]
}

/// `announced`: what the IP header gives as length, of which `header` bytes are its own.
#[inline(always)]
fn echo<B: Bytes + ?Sized>(
    frame: &B,
    at: usize,
    announced: usize,
    header: usize,
    [source, destination]: [[u64; 2]; 2],
) -> Result<EchoReply, Skip> {
    if announced < header + ICMP + 4 {
        return Err(Skip::NotOurs);
    }
    if u32_at(frame, at + ICMP)? != MAGIC {
        return Err(Skip::NotOurs);
    }
    if announced < header + ICMP + PAYLOAD {
        return Err(Skip::Truncated);
    }
    Ok(EchoReply {
        source,
        destination,
        ident: u16_at(frame, at + 4)?,
        seq: u16_at(frame, at + 6)?,
        slot: u32_at(frame, at + ICMP + 4)?,
        generation: u32_at(frame, at + ICMP + 8)?,
        cookie: u64_at(frame, at + ICMP + 12)?,
    })
}
