//! A UDP socket on all addresses that answers each datagram from the address it was sent to.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};

#[derive(Debug)]
pub(crate) struct ReplySocket(UdpSocket);

impl ReplySocket {
    /// `any` is the unspecified IPv6 address: such a socket hears IPv4 as well.
    pub(crate) fn bind(any: SocketAddr) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        Ok(Self(socket))
    }

    /// Waits at most `limit` for a datagram and sends it back. What cannot be sent back, because its address
    /// has just left this host, is lost, as with any server.
    pub(crate) fn echo(&self, limit: Duration) {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, limit) == Ok(1) {
            self.echo_one();
        }
    }

    fn echo_one(&self) -> Option<()> {
        let mut buffer = [0; 2048];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut control = nix::cmsg_space!(libc::in6_pktinfo);
        let descriptor = self.0.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<SockaddrIn6>(descriptor, &mut parts, Some(&mut control), flags).ok()?;
        let (peer, length) = (message.address?, message.bytes);
        let mut asked = message.cmsgs().ok()?.find_map(|part| match part {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
            _ => None,
        })?;
        // Any device that the routes say.
        asked.ipi6_ifindex = 0;
        let parts = [IoSlice::new(&buffer[..length])];
        let source = [ControlMessage::Ipv6PacketInfo(&asked)];
        sendmsg(descriptor, &parts, &source, flags, Some(&peer)).ok().map(drop)
    }
}
