//! The frames that tell the neighbours where an address is: ARP in request and reply form, a neighbour
//! advertisement with override, and to gateways and configured targets an ordinary request with the
//! address as sender (N20).

use std::net::IpAddr;

use mpathd_common::frame::Mac;
use mpathd_common::neighbour::{
    Buffer, NEIGHBOUR_MAX, arp_request, gratuitous_reply, gratuitous_request,
    neighbour_solicitation, unsolicited_advertisement,
};
use mpathd_core::request::Peers;

/// Frames of one announcement at most.
pub const FRAMES_MAX: usize = 2 + Peers::MAX;

/// All frames of an announcement, one after the other.
///
/// # Errors
/// The first of `send`.
pub fn frames<E>(
    address: IpAddr,
    mac: Mac,
    peers: &Peers,
    router: bool,
    mut send: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    to_all(address, mac, router, &mut send)?;
    to_peers(address, mac, peers, &mut send)
}

/// Frames that any neighbour learns from. `router`: this host forwards IPv6, and says so.
///
/// # Errors
/// The first of `send`.
pub fn to_all<E>(
    address: IpAddr,
    mac: Mac,
    router: bool,
    mut send: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer: Buffer = [0; NEIGHBOUR_MAX];
    match address {
        IpAddr::V4(ip) => {
            send(gratuitous_request(&mut buffer, mac, ip))?;
            send(gratuitous_reply(&mut buffer, mac, ip))
        }
        IpAddr::V6(ip) => send(unsolicited_advertisement(&mut buffer, mac, ip, router)),
    }
}

/// Requests that make the neighbours asked learn who asks.
///
/// # Errors
/// The first of `send`.
pub fn to_peers<E>(
    address: IpAddr,
    mac: Mac,
    peers: &Peers,
    mut send: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer: Buffer = [0; NEIGHBOUR_MAX];
    for peer in peers.iter() {
        match (address, peer) {
            (IpAddr::V4(ip), IpAddr::V4(peer)) => {
                send(arp_request(&mut buffer, mac, ip, peer, None))?;
            }
            (IpAddr::V6(ip), IpAddr::V6(peer)) => {
                send(neighbour_solicitation(&mut buffer, mac, ip, peer, None))?;
            }
            _ => {}
        }
    }
    Ok(())
}
