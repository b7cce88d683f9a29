//! The parser and the echo requests against an independent parser (etherparse).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    EtherType, Icmpv4Type, Icmpv6Type, IpNumber, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice, VlanSlice,
};
use mpathd_common::abi::{Path, Skip, address_words};
use mpathd_common::frame::{Echo, Probe};
use mpathd_common::wire::{EchoReply, MAGIC, PAYLOAD, parse};
use proptest::prelude::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What `parse` should find, worked out from etherparse's view of the frame.
fn expected(frame: &[u8]) -> Option<EchoReply> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    // etherparse also takes the pre-standard tag type 0x9100, and two tags.
    if frame[12..14] == [0x91, 0x00] || matches!(packet.vlan(), Some(VlanSlice::DoubleVlan(_))) {
        return None;
    }
    let (source, destination, family) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) if ip.header().ihl() == 5 && !ip.is_payload_fragmented() => (
            IpAddr::from(ip.header().source_addr()),
            IpAddr::from(ip.header().destination_addr()),
            4,
        ),
        // etherparse takes the length 0 of a jumbogram for "all there is".
        NetSlice::Ipv6(ip)
            if ip.header().next_header() == IpNumber::IPV6_ICMP
                && ip.header().payload_length() != 0 =>
        {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), 6)
        }
        _ => return None,
    };
    let (echo, payload) = match packet.transport.as_ref()? {
        TransportSlice::Icmpv4(icmp) if family == 4 => match icmp.icmp_type() {
            Icmpv4Type::EchoReply(echo) => (echo, icmp.payload()),
            _ => return None,
        },
        TransportSlice::Icmpv6(icmp) if family == 6 => match icmp.icmp_type() {
            Icmpv6Type::EchoReply(echo) => (echo, icmp.payload()),
            _ => return None,
        },
        _ => return None,
    };
    let word = |at: usize| {
        payload.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
    };
    (word(0)? == MAGIC).then_some(())?;
    Some(EchoReply {
        source: address_words(source),
        destination: address_words(destination),
        ident: echo.id,
        seq: echo.seq,
        slot: word(4)?,
        generation: word(8)?,
        cookie: u64::from(word(12)?) << 32 | u64::from(word(16)?),
    })
}

#[derive(Clone, Copy, Debug)]
enum Tag {
    None,
    Q(u16),
    Ad(u16),
}

fn reply(path: Path, tag: Tag, ident: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(PEER, MAC);
    let builder = match tag {
        Tag::None => match path {
            Path::V4 { test, target } => builder.ipv4(target.octets(), test.octets(), 1),
            Path::V6 { test, target } => builder.ipv6(target.octets(), test.octets(), 1),
        },
        Tag::Q(id) | Tag::Ad(id) => {
            let builder = builder.single_vlan(id.try_into().unwrap());
            match path {
                Path::V4 { test, target } => builder.ipv4(target.octets(), test.octets(), 1),
                Path::V6 { test, target } => builder.ipv6(target.octets(), test.octets(), 1),
            }
        }
    };
    let mut frame = Vec::new();
    match path {
        Path::V4 { .. } => {
            builder.icmpv4_echo_reply(ident, seq).write(&mut frame, payload).unwrap()
        }
        Path::V6 { .. } => {
            builder.icmpv6_echo_reply(ident, seq).write(&mut frame, payload).unwrap()
        }
    }
    if let Tag::Ad(_) = tag {
        frame[12..14].copy_from_slice(&EtherType::PROVIDER_BRIDGING.0.to_be_bytes());
    }
    frame
}

fn payload(slot: u32, generation: u32, cookie: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_be_bytes().to_vec();
    bytes.extend(slot.to_be_bytes());
    bytes.extend(generation.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes
}

fn any_path() -> impl Strategy<Value = Path> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(test, target)| Path::V4 { test, target }),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(test, target)| Path::V6 { test, target }),
    ]
}

fn any_tag() -> impl Strategy<Value = Tag> {
    prop_oneof![Just(Tag::None), (0u16..4096).prop_map(Tag::Q), (0u16..4096).prop_map(Tag::Ad)]
}

fn any_echo() -> impl Strategy<Value = Echo> {
    (any::<[u8; 6]>(), any::<[u8; 6]>(), any_path(), any::<(u16, u32, u32, u64)>()).prop_map(
        |(source_mac, target_mac, path, (ident, slot, generation, cookie))| Echo {
            source_mac,
            target_mac,
            path,
            ident,
            slot,
            generation,
            cookie,
        },
    )
}

proptest! {
    #[test]
    fn replies_are_read_as_etherparse_reads_them(
        path in any_path(),
        tag in any_tag(),
        ids: (u16, u16, u32, u32, u64),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (ident, seq, slot, generation, cookie) = ids;
        let mut bytes = payload(slot, generation, cookie);
        bytes.extend(tail);
        let frame = reply(path, tag, ident, seq, &bytes);
        let found = parse(frame.as_slice()).expect("an echo reply of ours");
        prop_assert_eq!(Some(found), expected(&frame));
        prop_assert_eq!((found.ident, found.seq, found.slot, found.generation, found.cookie), ids);
    }

    /// Any bytes may be changed: no panic, and whatever we accept etherparse sees in the same way.
    #[test]
    fn damaged_replies_are_judged_as_etherparse_judges_them(
        path in any_path(), tag in any_tag(), cut in 0usize..120,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
    ) {
        let mut frame = reply(path, tag, 1, 2, &payload(3, 4, 5));
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let whole = frame.len();
        frame.truncate(cut.max(1));
        let found = parse(frame.as_slice()).ok();
        match expected(&frame) {
            Some(reply) => prop_assert_eq!(found, Some(reply)),
            // etherparse wants all of the announced packet, we only our part of it.
            None if frame.len() < whole => {}
            None => prop_assert!(found.is_none() || SlicedPacket::from_ethernet(&frame).is_err()),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(parse(frame.as_slice()).ok(), expected(&frame));
    }

    #[test]
    fn probes_are_valid_echo_requests(
        echo in any_echo(),
        seqs in prop::collection::vec(any::<u16>(), 1..20),
    ) {
        let mut probe = Probe::new(&echo);
        for seq in seqs {
            check_probe(probe.with_seq(seq), &echo, seq)?;
        }
        probe.set_target_mac(PEER);
        prop_assert_eq!(&probe.frame()[..6], &PEER);
    }
}

/// Both checksums right, TTL 1, and all fields as asked for.
fn check_probe(frame: &[u8], echo: &Echo, seq: u16) -> Result<(), TestCaseError> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let ethernet = packet.link.as_ref().unwrap().to_header().unwrap().ethernet2().unwrap();
    prop_assert_eq!((ethernet.source, ethernet.destination), (echo.source_mac, echo.target_mac));
    let (header, body) =
        match (packet.net.as_ref().unwrap(), packet.transport.as_ref().unwrap(), echo.path) {
            (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp), Path::V4 { test, target }) => {
                let header = ip.header().to_header();
                prop_assert_eq!(header.calc_header_checksum(), header.header_checksum);
                prop_assert_eq!((header.time_to_live, header.dont_fragment), (1, true));
                prop_assert_eq!(
                    (ip.header().source_addr(), ip.header().destination_addr()),
                    (test, target)
                );
                prop_assert_eq!(
                    icmp.header().icmp_type.calc_checksum(icmp.payload()),
                    icmp.checksum()
                );
                let Icmpv4Type::EchoRequest(header) = icmp.icmp_type() else {
                    panic!("{:?}", icmp.icmp_type())
                };
                (header, icmp.payload())
            }
            (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp), Path::V6 { test, target }) => {
                prop_assert_eq!(ip.header().hop_limit(), 1);
                prop_assert_eq!(
                    (ip.header().source_addr(), ip.header().destination_addr()),
                    (test, target)
                );
                prop_assert!(icmp.is_checksum_valid(test.octets(), target.octets()));
                let Icmpv6Type::EchoRequest(header) = icmp.icmp_type() else {
                    panic!("{:?}", icmp.icmp_type())
                };
                (header, icmp.payload())
            }
            other => panic!("{other:?}"),
        };
    prop_assert_eq!((header.id, header.seq), (echo.ident, seq));
    prop_assert_eq!(body, payload(echo.slot, echo.generation, echo.cookie));
    prop_assert_eq!(body.len(), PAYLOAD);
    Ok(())
}

fn v4() -> Path {
    Path::V4 { test: Ipv4Addr::new(192, 0, 2, 11), target: Ipv4Addr::new(192, 0, 2, 1) }
}

fn v6() -> Path {
    Path::V6 { test: "2001:db8::11".parse().unwrap(), target: "2001:db8::1".parse().unwrap() }
}

#[test]
fn every_skip_has_its_reason() {
    let good = reply(v4(), Tag::None, 1, 2, &payload(3, 4, 5));
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        parse(frame.as_slice())
    };
    assert_eq!(with(12, &[0x08, 0x06]), Err(Skip::NotIp));
    assert_eq!(with(14, &[0x65]), Err(Skip::NotIp));
    assert_eq!(with(14, &[0x44]), Err(Skip::NotIp));
    assert_eq!(with(14, &[0x46]), Err(Skip::Options));
    assert_eq!(with(23, &[17]), Err(Skip::NotIcmp));
    assert_eq!(with(20, &[0x20, 0]), Err(Skip::Fragment));
    assert_eq!(with(20, &[0, 1]), Err(Skip::Fragment));
    assert_eq!(with(34, &[8]), Err(Skip::NotEchoReply));
    assert_eq!(with(35, &[1]), Err(Skip::NotEchoReply));
    assert_eq!(with(42, &[0]), Err(Skip::NotOurs));
    assert_eq!(with(16, &[0, 28]), Err(Skip::NotOurs));
    assert_eq!(with(16, &[0, 47]), Err(Skip::Truncated));
    let double = [&good[..12], &[0x81, 0, 0, 1, 0x81, 0, 0, 2], &good[12..]].concat();
    assert_eq!(parse(double.as_slice()), Err(Skip::NotIp));
}

#[test]
fn a_reply_cut_anywhere_is_truncated() {
    for path in [v4(), v6()] {
        for tag in [Tag::None, Tag::Q(7), Tag::Ad(7)] {
            let frame = reply(path, tag, 1, 2, &payload(3, 4, 5));
            assert!(parse(frame.as_slice()).is_ok());
            for length in 0..frame.len() {
                assert_eq!(
                    parse(&frame[..length]),
                    Err(Skip::Truncated),
                    "{length} bytes of {path:?} {tag:?}"
                );
            }
        }
    }
}
