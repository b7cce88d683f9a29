//! Builds and reads ARP and neighbour discovery: resolving targets, announcing moved addresses. For
//! the daemon only.
//!
//! Every builder writes into the caller's buffer of [`NEIGHBOUR_MAX`] bytes and returns the frame
//! in it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::{checksum, pseudo_header_v6};
use crate::frame::{BROADCAST, Mac, Writer, ethernet, ipv6};
use crate::wire::{
    Bytes, ETHERNET, ETHERTYPE_8021AD, ETHERTYPE_8021Q, ETHERTYPE_IPV6, IPV6, PROTOCOL_ICMPV6,
    VLAN_TAG, u8_at, u16_at,
};

const ARP: usize = 28;
const ETHERTYPE_ARP: u16 = 0x0806;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;

const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;
/// Neighbour discovery is only valid if no router can have sent it on (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;
/// Type, code, checksum, flags, target (RFC 4861 4.3, 4.4).
const ND: usize = 24;
/// A link-layer option for Ethernet, in units of 8 bytes: 1 (RFC 2464 6).
const OPTION: usize = 8;

/// Length of the longest frame made here.
pub const NEIGHBOUR_MAX: usize = ETHERNET + IPV6 + ND + OPTION;
/// A buffer for any of them.
pub type Buffer = [u8; NEIGHBOUR_MAX];

/// "Who has `target`?" from `sender_ip`; 0.0.0.0 asks without leaving a trace at others (RFC 5227
/// 2.1.1). Goes to `to` alone where a MAC is known, else to all.
pub fn arp_request(
    buffer: &mut Buffer,
    sender_mac: Mac,
    sender_ip: Ipv4Addr,
    target: Ipv4Addr,
    to: Option<Mac>,
) -> &[u8] {
    arp(buffer, ARP_REQUEST, to.unwrap_or(BROADCAST), (sender_mac, sender_ip), ([0; 6], target))
}

/// "`sender_ip` is at `sender_mac`", told to one host.
pub fn arp_reply(
    buffer: &mut Buffer,
    sender_mac: Mac,
    sender_ip: Ipv4Addr,
    to_mac: Mac,
    to_ip: Ipv4Addr,
) -> &[u8] {
    arp(buffer, ARP_REPLY, to_mac, (sender_mac, sender_ip), (to_mac, to_ip))
}

/// Tells all that `ip` is here, in the form of a request (RFC 5227 3: the form to prefer).
pub fn gratuitous_request(buffer: &mut Buffer, mac: Mac, ip: Ipv4Addr) -> &[u8] {
    arp(buffer, ARP_REQUEST, BROADCAST, (mac, ip), ([0; 6], ip))
}

/// The same in the form of a reply, for those that ignore the other.
pub fn gratuitous_reply(buffer: &mut Buffer, mac: Mac, ip: Ipv4Addr) -> &[u8] {
    arp(buffer, ARP_REPLY, BROADCAST, (mac, ip), (BROADCAST, ip))
}

fn arp(
    buffer: &mut Buffer,
    operation: u16,
    to: Mac,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> &[u8] {
    let mut out = Writer::new(buffer);
    ethernet(&mut out, to, sender.0, ETHERTYPE_ARP);
    out.put_u16(HARDWARE_ETHERNET);
    out.put_u16(PROTOCOL_IPV4);
    out.put(&[6, 4]);
    out.put_u16(operation);
    for (mac, ip) in [sender, target] {
        out.put(&mac);
        out.put(&ip.octets());
    }
    let len = out.len;
    &buffer[..len]
}

/// "Who has `target`?" from `sender_ip`, with our MAC as option. Goes to `to` alone where a MAC is
/// known, else to the solicited-node group of the target.
pub fn neighbour_solicitation(
    buffer: &mut Buffer,
    sender_mac: Mac,
    sender_ip: Ipv6Addr,
    target: Ipv6Addr,
    to: Option<Mac>,
) -> &[u8] {
    let (mac, destination) = match to {
        Some(mac) => (mac, target),
        None => {
            let group = solicited_node(target);
            (multicast_mac(group), group)
        }
    };
    let option = Some(OPTION_SOURCE_LINK);
    let parts = Nd { kind: NEIGHBOUR_SOLICITATION, flags: 0, option, target };
    neighbour_discovery(buffer, (mac, destination), (sender_mac, sender_ip), parts)
}

/// "Does anybody have `ip`?", as duplicate address detection asks (RFC 4862 5.4.2).
pub fn duplicate_solicitation(buffer: &mut Buffer, mac: Mac, ip: Ipv6Addr) -> &[u8] {
    let group = solicited_node(ip);
    let parts = Nd { kind: NEIGHBOUR_SOLICITATION, flags: 0, option: None, target: ip };
    let sender = (mac, Ipv6Addr::UNSPECIFIED);
    neighbour_discovery(buffer, (multicast_mac(group), group), sender, parts)
}

/// Tells all nodes that `ip` is here and to forget what they knew (override flag, RFC 4861 7.2.6).
/// `router`: whether this host forwards IPv6; without the flag, hosts drop it as their router.
pub fn unsolicited_advertisement(
    buffer: &mut Buffer,
    mac: Mac,
    ip: Ipv6Addr,
    router: bool,
) -> &[u8] {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let flags = FLAG_OVERRIDE | if router { FLAG_ROUTER } else { 0 };
    let option = Some(OPTION_TARGET_LINK);
    let parts = Nd { kind: NEIGHBOUR_ADVERTISEMENT, flags, option, target: ip };
    neighbour_discovery(buffer, (multicast_mac(all_nodes), all_nodes), (mac, ip), parts)
}

struct Nd {
    kind: u8,
    flags: u8,
    option: Option<u8>,
    target: Ipv6Addr,
}

fn neighbour_discovery(
    buffer: &mut Buffer,
    to: (Mac, Ipv6Addr),
    sender: (Mac, Ipv6Addr),
    parts: Nd,
) -> &[u8] {
    let mut out = Writer::new(buffer);
    ethernet(&mut out, to.0, sender.0, ETHERTYPE_IPV6);
    let ip = out.len;
    let length = ND + parts.option.map_or(0, |_| OPTION);
    ipv6(&mut out, sender.1, to.1, length as u16, HOP_LIMIT);
    let icmp = out.len;
    out.put(&[parts.kind, 0, 0, 0, parts.flags, 0, 0, 0]);
    out.put(&parts.target.octets());
    if let Some(option) = parts.option {
        out.put(&[option, 1]);
        out.put(&sender.0);
    }
    out.seal_icmpv6(ip, icmp);
    let len = out.len;
    &buffer[..len]
}

/// The group ff02::1:ffXX:XXXX of an address (RFC 4291 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The MAC of an IPv6 group (RFC 2464 7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// What a neighbour said about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourAnswer {
    pub ip: IpAddr,
    pub mac: Mac,
}

/// The answer in a frame: an ARP reply, or a valid neighbour advertisement (hop limit 255, right
/// checksum, RFC 4861 7.1.2). `None` for all else, and for a MAC that no host can have.
pub fn parse_neighbour_answer(frame: &[u8]) -> Option<NeighbourAnswer> {
    let (ethertype, at) = match u16_at(frame, ETHERNET - 2).ok()? {
        ETHERTYPE_8021Q | ETHERTYPE_8021AD => {
            (u16_at(frame, ETHERNET + VLAN_TAG - 2).ok()?, ETHERNET + VLAN_TAG)
        }
        ethertype => (ethertype, ETHERNET),
    };
    let packet = frame.get(at..)?;
    let answer = match ethertype {
        ETHERTYPE_ARP => parse_arp_reply(packet)?,
        ETHERTYPE_IPV6 => parse_advertisement(frame, packet)?,
        _ => return None,
    };
    let unicast = answer.mac[0] & 1 == 0 && answer.mac != [0; 6];
    unicast.then_some(answer)
}

fn parse_arp_reply(packet: &[u8]) -> Option<NeighbourAnswer> {
    let packet: &[u8; ARP] = packet.first_chunk()?;
    if packet[..8] != [0, 1, 8, 0, 6, 4, 0, 2] {
        return None;
    }
    let ip = Ipv4Addr::from(packet.bytes::<4>(14)?);
    Some(NeighbourAnswer { ip: ip.into(), mac: packet.bytes(8)? })
}

fn parse_advertisement(frame: &[u8], packet: &[u8]) -> Option<NeighbourAnswer> {
    let header: &[u8; IPV6] = packet.first_chunk()?;
    if header[0] >> 4 != 6 || header[6] != PROTOCOL_ICMPV6 || header[7] != HOP_LIMIT {
        return None;
    }
    let length = usize::from(u16_at(packet, 4).ok()?);
    let message = packet.get(IPV6..IPV6 + length)?;
    if length < ND || message[0] != NEIGHBOUR_ADVERTISEMENT || message[1] != 0 {
        return None;
    }
    if checksum(pseudo_header_v6(&header[8..], length, PROTOCOL_ICMPV6), message) != 0 {
        return None;
    }
    let target = Ipv6Addr::from(message.bytes::<16>(8)?);
    if target.is_multicast() {
        return None;
    }
    // A solicited answer may leave the option out (RFC 4861 4.4): then the frame's source is the
    // neighbour.
    let mac = link_option(message.get(ND..)?)?.or_else(|| frame.bytes(6))?;
    Some(NeighbourAnswer { ip: target.into(), mac })
}

/// The target's link-layer address among the options; outer `None` if the options are malformed.
fn link_option(mut options: &[u8]) -> Option<Option<Mac>> {
    while !options.is_empty() {
        let length = usize::from(u8_at(options, 1).ok()?) * OPTION;
        if length == 0 {
            return None;
        }
        let option = options.get(..length)?;
        if option[0] == OPTION_TARGET_LINK {
            return Some(option.bytes(2));
        }
        options = &options[length..];
    }
    Some(None)
}
