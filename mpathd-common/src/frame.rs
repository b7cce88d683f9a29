//! Builds the echo requests that the daemon sends: one template per slot, of which a probe changes
//! only the seq.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::abi::Path;
use crate::checksum::{checksum, pseudo_header_v6, update};
use crate::wire::{
    ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP, IPV4, IPV6, MAGIC, PAYLOAD, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
};

/// An Ethernet address.
pub type Mac = [u8; 6];
/// The Ethernet broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// Length of the longest probe: an IPv6 one.
pub const PROBE_MAX: usize = ETHERNET + IPV6 + ICMP + PAYLOAD;

const ICMP_ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;
/// A probe never leaves its link, as in the original: a target behind a router is no target.
const TTL: u8 = 1;

/// All that a probe says, but for its seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// MAC of the NIC that sends.
    pub source_mac: Mac,
    /// MAC of the target.
    pub target_mac: Mac,
    pub path: Path,
    /// ICMP identifier. Only a spread for the receive queues; the match is by the payload.
    pub ident: u16,
    pub slot: u32,
    pub generation: u32,
    pub cookie: u64,
}

/// The frame of one slot's probes.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    bytes: [u8; PROBE_MAX],
    len: usize,
    icmp: usize,
}

impl Probe {
    /// The template, with seq 0.
    pub fn new(echo: &Echo) -> Self {
        let mut bytes = [0; PROBE_MAX];
        let mut out = Writer::new(&mut bytes);
        let icmp = match echo.path {
            Path::V4 { test, target } => {
                ethernet(&mut out, echo.target_mac, echo.source_mac, ETHERTYPE_IPV4);
                ipv4(&mut out, test, target, (ICMP + PAYLOAD) as u16);
                let icmp = out.len;
                echo_request(&mut out, ICMP_ECHO_REQUEST, echo);
                out.seal(icmp, 0);
                icmp
            }
            Path::V6 { test, target } => {
                ethernet(&mut out, echo.target_mac, echo.source_mac, ETHERTYPE_IPV6);
                let ip = out.len;
                ipv6(&mut out, test, target, (ICMP + PAYLOAD) as u16, TTL);
                let icmp = out.len;
                echo_request(&mut out, ICMPV6_ECHO_REQUEST, echo);
                out.seal_icmpv6(ip, icmp);
                icmp
            }
        };
        let len = out.len;
        Self { bytes, len, icmp }
    }

    /// The frame with this seq.
    pub fn with_seq(&mut self, seq: u16) -> &[u8] {
        let old = self.u16_at(self.icmp + 6);
        let sum = update(self.u16_at(self.icmp + 2), old, seq);
        self.bytes[self.icmp + 2..self.icmp + 4].copy_from_slice(&sum.to_be_bytes());
        self.bytes[self.icmp + 6..self.icmp + 8].copy_from_slice(&seq.to_be_bytes());
        self.frame()
    }

    /// The frame as last sent.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The target's MAC changed: it is no part of any checksum.
    pub fn set_target_mac(&mut self, mac: Mac) {
        self.bytes[..6].copy_from_slice(&mac);
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }
}

/// Appends to a buffer that its caller made large enough.
pub(crate) struct Writer<'a> {
    pub(crate) buf: &'a mut [u8],
    pub(crate) len: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.buf[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Fills in the checksum of the ICMP message from `icmp` to the end; `start` sums up what
    /// precedes it.
    fn seal(&mut self, icmp: usize, start: u32) {
        let sum = checksum(start, &self.buf[icmp..self.len]);
        self.buf[icmp + 2..icmp + 4].copy_from_slice(&sum.to_be_bytes());
    }

    /// The same for ICMPv6 behind the IPv6 header at `ip`.
    pub(crate) fn seal_icmpv6(&mut self, ip: usize, icmp: usize) {
        let start =
            pseudo_header_v6(&self.buf[ip + 8..ip + IPV6], self.len - icmp, PROTOCOL_ICMPV6);
        self.seal(icmp, start);
    }
}

pub(crate) fn ethernet(out: &mut Writer<'_>, destination: Mac, source: Mac, ethertype: u16) {
    out.put(&destination);
    out.put(&source);
    out.put_u16(ethertype);
}

fn ipv4(out: &mut Writer<'_>, source: Ipv4Addr, destination: Ipv4Addr, payload: u16) {
    const DONT_FRAGMENT: u16 = 0x4000;
    let start = out.len;
    out.put(&[0x45, 0]);
    out.put_u16(IPV4 as u16 + payload);
    // Identification 0: an atomic datagram (RFC 6864 4.1).
    out.put_u16(0);
    out.put_u16(DONT_FRAGMENT);
    out.put(&[TTL, PROTOCOL_ICMP, 0, 0]);
    out.put(&source.octets());
    out.put(&destination.octets());
    let sum = checksum(0, &out.buf[start..out.len]);
    out.buf[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}

pub(crate) fn ipv6(
    out: &mut Writer<'_>,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    payload: u16,
    hop_limit: u8,
) {
    out.put(&[0x60, 0, 0, 0]);
    out.put_u16(payload);
    out.put(&[PROTOCOL_ICMPV6, hop_limit]);
    out.put(&source.octets());
    out.put(&destination.octets());
}

fn echo_request(out: &mut Writer<'_>, kind: u8, echo: &Echo) {
    out.put(&[kind, 0, 0, 0]);
    out.put_u16(echo.ident);
    out.put_u16(0);
    out.put(&MAGIC.to_be_bytes());
    out.put(&echo.slot.to_be_bytes());
    out.put(&echo.generation.to_be_bytes());
    out.put(&echo.cookie.to_be_bytes());
}
