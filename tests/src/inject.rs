//! Frames of anybody's making, sent by the switch to the device at one of its ports.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use etherparse::PacketBuilder;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::capture::{Content, Frame, Mac};
use crate::netns::NetNs;

/// Sends past the qdisc, and so past the valve that a cut has closed.
#[derive(Debug)]
pub struct Injector(OwnedFd);

impl Injector {
    /// # Panics
    /// If the device does not exist.
    pub fn open(namespace: &NetNs, device: &str) -> Self {
        Self(open(namespace, device))
    }

    /// # Panics
    /// If the device refuses it.
    pub fn send(&self, frame: &[u8]) {
        nix::unistd::write(&self.0, frame)
            .unwrap_or_else(|error| panic!("cannot inject a frame: {error}"));
    }
}

/// A packet socket that sends on the device, past its qdisc.
///
/// # Panics
/// If the device does not exist.
pub(crate) fn open(namespace: &NetNs, device: &str) -> OwnedFd {
    let opened = namespace.run(|| {
        let kind = SockType::Raw;
        let socket = socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, None)?;
        crate::capture::bind_to(&socket, device, 0)?;
        bypass_qdisc(&socket)?;
        std::io::Result::Ok(socket)
    });
    opened.unwrap_or_else(|error| panic!("cannot send on {device}: {error}"))
}

fn bypass_qdisc(socket: &OwnedFd) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value lives through the call, and its size is told.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The reply that the target of this echo request would send, with the payload changed by `forge`; checksums
/// are right. None if it is no echo request.
pub fn reply_to(request: &Frame, to: Mac, forge: impl FnOnce(&mut [u8])) -> Option<Vec<u8>> {
    let Content::Echo { request: true, source, destination, id, sequence } = request.content else {
        return None;
    };
    let ethernet = PacketBuilder::ethernet2(request.destination_mac, to);
    let headers = if source.is_ipv4() { 14 + 20 + 8 } else { 14 + 40 + 8 };
    let mut payload = request.bytes.get(headers..)?.to_vec();
    forge(&mut payload);
    let mut frame = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(target)) => ethernet
            .ipv4(target.octets(), source.octets(), 64)
            .icmpv4_echo_reply(id, sequence)
            .write(&mut frame, &payload),
        (IpAddr::V6(source), IpAddr::V6(target)) => ethernet
            .ipv6(target.octets(), source.octets(), 64)
            .icmpv6_echo_reply(id, sequence)
            .write(&mut frame, &payload),
        _ => return None,
    }
    .ok()?;
    Some(frame)
}
