//! ARP and neighbour discovery against an independent parser (etherparse).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{ArpPacketSlice, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use mpathd_common::frame::BROADCAST;
use mpathd_common::neighbour::*;
use proptest::prelude::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ME: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

struct Arp {
    to: [u8; 6],
    operation: u16,
    sender: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
}

fn read_arp(frame: &[u8]) -> Arp {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Arp(arp)) = &packet.net else { panic!("{packet:?}") };
    assert_eq!(frame.len(), 42);
    assert_eq!(&frame[6..12], arp.sender_hw_addr());
    let pair =
        |mac: &[u8], ip: &[u8]| (mac.try_into().unwrap(), <[u8; 4]>::try_from(ip).unwrap().into());
    let sides = |arp: &ArpPacketSlice<'_>| {
        (
            pair(arp.sender_hw_addr(), arp.sender_protocol_addr()),
            pair(arp.target_hw_addr(), arp.target_protocol_addr()),
        )
    };
    let (sender, target) = sides(arp);
    Arp { to: frame[..6].try_into().unwrap(), operation: arp.operation().0, sender, target }
}

#[test]
fn arp_frames_say_what_their_names_say() {
    let mut buffer = [0; NEIGHBOUR_MAX];
    let arp = read_arp(arp_request(&mut buffer, MAC, ME, GATEWAY, None));
    assert_eq!(
        (arp.to, arp.operation, arp.sender, arp.target),
        (BROADCAST, 1, (MAC, ME), ([0; 6], GATEWAY))
    );
    let arp = read_arp(arp_request(&mut buffer, MAC, ME, GATEWAY, Some(PEER)));
    assert_eq!(
        (arp.to, arp.operation, arp.sender, arp.target),
        (PEER, 1, (MAC, ME), ([0; 6], GATEWAY))
    );
    let arp = read_arp(arp_reply(&mut buffer, MAC, ME, PEER, GATEWAY));
    assert_eq!(
        (arp.to, arp.operation, arp.sender, arp.target),
        (PEER, 2, (MAC, ME), (PEER, GATEWAY))
    );
    let arp = read_arp(gratuitous_request(&mut buffer, MAC, ME));
    assert_eq!(
        (arp.to, arp.operation, arp.sender, arp.target),
        (BROADCAST, 1, (MAC, ME), ([0; 6], ME))
    );
    let arp = read_arp(gratuitous_reply(&mut buffer, MAC, ME));
    assert_eq!(
        (arp.to, arp.operation, arp.sender, arp.target),
        (BROADCAST, 2, (MAC, ME), (BROADCAST, ME))
    );
}

/// Checks the headers and the checksum, and gives type, ICMPv6 destination and the message behind
/// its checksum.
fn read_nd(frame: &[u8], from: Ipv6Addr) -> (u8, Ipv6Addr, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("{packet:?}") };
    let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else { panic!("{packet:?}") };
    let (source, destination) = (ip.header().source_addr(), ip.header().destination_addr());
    assert_eq!((source, ip.header().hop_limit()), (from, 255));
    assert!(icmp.is_checksum_valid(source.octets(), destination.octets()));
    assert!(!matches!(icmp.icmp_type(), Icmpv6Type::EchoReply(_)));
    (icmp.type_u8(), destination, icmp.slice()[4..].to_vec())
}

proptest! {
    #[test]
    fn solicitations_are_valid(me: Ipv6Addr, target: Ipv6Addr, to: Option<[u8; 6]>) {
        let mut buffer = [0; NEIGHBOUR_MAX];
        let frame = neighbour_solicitation(&mut buffer, MAC, me, target, to);
        let (kind, destination, body) = read_nd(frame, me);
        let low = target.octets();
        match to {
            Some(mac) => prop_assert_eq!((&frame[..6], destination), (&mac[..], target)),
            None => {
                prop_assert_eq!(&frame[..6], &[0x33, 0x33, 0xff, low[13], low[14], low[15]]);
                prop_assert_eq!(&destination.octets()[11..], &[1, 0xff, low[13], low[14], low[15]]);
            }
        }
        let expected = [&[0; 4][..], &low, &[1, 1], &MAC].concat();
        prop_assert_eq!((kind, body), (135, expected));
    }

    #[test]
    fn advertisements_are_valid_and_read_back(me: Ipv6Addr, router: bool) {
        let mut buffer = [0; NEIGHBOUR_MAX];
        let frame = unsolicited_advertisement(&mut buffer, MAC, me, router);
        prop_assert_eq!(&frame[..6], &[0x33, 0x33, 0, 0, 0, 1]);
        let (kind, destination, body) = read_nd(frame, me);
        prop_assert_eq!(destination, "ff02::1".parse::<Ipv6Addr>().unwrap());
        let flags = if router { 0xa0 } else { 0x20 };
        let expected = [&[flags, 0, 0, 0][..], &me.octets(), &[2, 1], &MAC].concat();
        prop_assert_eq!((kind, body), (136, expected));
        let answer = parse_neighbour_answer(frame);
        if me.is_multicast() {
            prop_assert_eq!(answer, None);
        } else {
            prop_assert_eq!(answer, Some(NeighbourAnswer { ip: me.into(), mac: MAC }));
        }
    }

    /// RFC 4862 5.4.2, RFC 4861 4.3: from nobody, without a link-layer address.
    #[test]
    fn who_asks_for_duplicates_says_nothing_of_itself(ip: Ipv6Addr) {
        let mut buffer = [0; NEIGHBOUR_MAX];
        let frame = duplicate_solicitation(&mut buffer, MAC, ip);
        prop_assert_eq!(&frame[..2], &[0x33, 0x33]);
        let (kind, destination, body) = read_nd(frame, Ipv6Addr::UNSPECIFIED);
        prop_assert_eq!((kind, destination), (135, solicited_node(ip)));
        prop_assert_eq!(body, [&[0; 4][..], &ip.octets()].concat());
    }

    #[test]
    fn a_damaged_advertisement_is_no_answer(at in 18usize..86, bit in 0u8..8) {
        // From the payload length on: what stands before is under no checksum.
        let mut buffer = [0; NEIGHBOUR_MAX];
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let mut frame = unsolicited_advertisement(&mut buffer, MAC, ip, true).to_vec();
        frame[at] ^= 1 << bit;
        prop_assert_eq!(parse_neighbour_answer(&frame), None);
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut frame in prop::collection::vec(any::<u8>(), 0..120),
        kind in 0usize..4,
    ) {
        let ethertypes = [[0x08, 0x06], [0x86, 0xdd], [0x81, 0x00], [0x08, 0x00]];
        if frame.len() >= 14 {
            frame[12..14].copy_from_slice(&ethertypes[kind]);
        }
        parse_neighbour_answer(&frame);
    }
}

#[test]
fn arp_replies_are_answers_and_requests_are_not() {
    let mut buffer = [0; NEIGHBOUR_MAX];
    let answer = Some(NeighbourAnswer { ip: IpAddr::V4(GATEWAY), mac: PEER });
    let reply = arp_reply(&mut buffer, PEER, GATEWAY, MAC, ME).to_vec();
    assert_eq!(parse_neighbour_answer(&reply), answer);
    let tagged = [&reply[..12], &[0x81, 0, 0, 7], &reply[12..]].concat();
    assert_eq!(parse_neighbour_answer(&tagged), answer);
    for length in 0..reply.len() {
        assert_eq!(parse_neighbour_answer(&reply[..length]), None, "{length} bytes");
    }
    assert_eq!(parse_neighbour_answer(arp_request(&mut buffer, PEER, GATEWAY, ME, None)), None);
    assert_eq!(parse_neighbour_answer(arp_reply(&mut buffer, BROADCAST, GATEWAY, MAC, ME)), None);
    assert_eq!(parse_neighbour_answer(arp_reply(&mut buffer, [0; 6], GATEWAY, MAC, ME)), None);
}
