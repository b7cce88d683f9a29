//! The real egress program, frame by frame: what leaves by another NIC, with which MAC, and what stays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mpathd_common::abi::{Detour, Path, REDIRECT_NICS, redirect_key};
use mpathd_common::frame::{Echo, Probe};
use mpathd_common::neighbour::{
    NEIGHBOUR_MAX, arp_request, neighbour_solicitation, unsolicited_advertisement,
};
use mpathd_tests::clock;
use mpathd_tests::object::{self, Program};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const PEER: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// Test runs are given to the loopback.
const IFINDEX: u32 = 1;
const OTHER: u32 = 7;
const DATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 50)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50)),
];
const TEST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11)),
];
const REMOTE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

fn program() -> Program {
    object::read().and_then(|it| Program::load(&it)).unwrap_or_else(|error| panic!("{error:#}"))
}

fn leave(program: &Program, frame: &[u8]) -> Option<Vec<u8>> {
    program.leave(frame).unwrap_or_else(|error| panic!("{error:#}"))
}

fn detour(family: usize) -> Detour {
    let until_ns = clock::now() + 3_000_000_000;
    let (own_mac, new_mac, test) = (MAC, OTHER_MAC, Some(TEST[family]));
    Detour { to: OTHER, until_ns, own_mac, new_mac, test }
}

fn begin(program: &Program, family: usize, detour: &Detour) {
    program.redirects.at(redirect_key(IFINDEX, family as u32)).begin(detour);
}

/// An echo request.
fn frame(source: IpAddr, family: usize) -> Vec<u8> {
    let path = Path::new(source, REMOTE[family]).expect("of one family");
    let (source_mac, target_mac) = (MAC, PEER);
    let echo = Echo { source_mac, target_mac, path, ident: 9, slot: 0, generation: 0, cookie: 1 };
    Probe::new(&echo).with_seq(5).to_vec()
}

fn with(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn what_moves_leaves_with_the_other_mac_and_nothing_else_changed() {
    let program = program();
    for family in [0, 1] {
        let data = frame(DATA[family], family);
        assert_eq!(leave(&program, &data), None, "nothing is redirected yet");
        begin(&program, family, &detour(family));
        assert_eq!(leave(&program, &data), Some(with(&data, 6, &OTHER_MAC)));
        let other_family = frame(DATA[1 - family], 1 - family);
        assert_eq!(leave(&program, &other_family), None);
        program.redirects.at(redirect_key(IFINDEX, family as u32)).end();
        assert_eq!(leave(&program, &data), None);
    }
}

#[test]
fn what_is_about_the_nic_itself_stays() {
    let program = program();
    (0..2).for_each(|family| begin(&program, family, &detour(family)));
    let [v4, v6] = [0, 1].map(|family| frame(DATA[family], family));
    let (IpAddr::V4(data4), IpAddr::V6(data6)) = (DATA[0], DATA[1]) else { unreachable!() };
    let (IpAddr::V4(peer4), IpAddr::V6(peer6)) = (REMOTE[0], REMOTE[1]) else { unreachable!() };
    let mut buffers = [[0; NEIGHBOUR_MAX]; 3];
    let [arp, ns, na] = &mut buffers;
    let link_local = "fe80::1".parse().expect("an address");
    let stays: &[(&str, &[u8])] = &[
        ("a probe", &frame(TEST[0], 0)),
        ("a probe, IPv6", &frame(TEST[1], 1)),
        ("link-local source", &frame(link_local, 1)),
        ("ARP", arp_request(arp, MAC, data4, peer4, Some(PEER))),
        ("neighbour solicitation", neighbour_solicitation(ns, MAC, data6, peer6, Some(PEER))),
        ("neighbour advertisement", unsolicited_advertisement(na, MAC, data6, false)),
        ("multicast", &with(&v4, 0, &[1, 0, 0x5e, 0, 0, 5])),
        ("broadcast", &with(&v4, 0, &[0xff; 6])),
        ("a macvlan device's own MAC", &with(&v4, 6, &PEER)),
        ("a tag in the frame", &[&v4[..12], &[0x81, 0, 0, 7], &v4[12..]].concat()),
        ("no IP", &with(&v4, 12, &[0x88, 0xcc])),
    ];
    for (what, frame) in stays {
        assert_eq!(leave(&program, frame), None, "{what}");
    }
    assert!(leave(&program, &v4).is_some() && leave(&program, &v6).is_some());
}

#[test]
fn a_lease_that_has_run_out_redirects_nothing() {
    let program = program();
    let data = frame(DATA[0], 0);
    let past = Detour { until_ns: clock::now() - 50_000_000, ..detour(0) };
    begin(&program, 0, &past);
    assert_eq!(leave(&program, &data), None);
    begin(&program, 0, &detour(0));
    assert!(leave(&program, &data).is_some());
}

#[test]
fn a_nic_that_is_redirected_itself_sends_for_nobody() {
    let program = program();
    let data = frame(DATA[0], 0);
    begin(&program, 0, &detour(0));
    let others = program.redirects.at(redirect_key(OTHER, 0));
    others.begin(&Detour { to: IFINDEX, own_mac: OTHER_MAC, new_mac: MAC, ..detour(0) });
    assert_eq!(leave(&program, &data), None);
    others.end();
    assert!(leave(&program, &data).is_some());
}

#[test]
fn nics_that_would_share_a_row_are_told_apart_by_the_daemon() {
    assert_eq!(redirect_key(IFINDEX, 0), redirect_key(IFINDEX + REDIRECT_NICS, 0));
    assert_ne!(redirect_key(IFINDEX, 0), redirect_key(IFINDEX, 1));
    assert_ne!(redirect_key(IFINDEX, 1), redirect_key(IFINDEX + 1, 0));
}
