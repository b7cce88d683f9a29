//! One echo request by the kernel's own ping socket.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::NetNs;

/// Whether `to` answers an echo request from `namespace` within `limit`; `from` the address that the kernel
/// picks, or this one.
pub fn ping(namespace: &NetNs, from: Option<IpAddr>, to: IpAddr, limit: Duration) -> bool {
    namespace.run(|| echo(from, to, limit).is_ok())
}

fn echo(from: Option<IpAddr>, to: IpAddr, limit: Duration) -> std::io::Result<()> {
    let (family, protocol, request) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    let limit =
        TimeVal::milliseconds(i64::try_from(limit.as_millis()).map_err(std::io::Error::other)?);
    setsockopt(&socket, sockopt::ReceiveTimeout, &limit)?;
    let address = |ip| SockaddrStorage::from(SocketAddr::new(ip, 0));
    if let Some(from) = from {
        bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address(from))?;
    }
    connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address(to))?;
    // The kernel writes identifier and checksum.
    nix::unistd::write(&socket, &[request, 0, 0, 0, 0, 0, 0, 1])?;
    // Only replies to this socket's identifier come here.
    std::fs::File::from(socket).read_exact(&mut [0; 8])
}
