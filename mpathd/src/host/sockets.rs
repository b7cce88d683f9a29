//! Opens and binds the packet sockets of a NIC: for probes, for what comes back, for announcements.
//! Opening and closing belongs to the host thread, for closing one takes milliseconds (datapath F).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use mpathd_common::abi::LOWER;
use mpathd_common::wire::MAGIC;
use mpathd_core::event::ReceiveMode;
use mpathd_core::ids::{Family, Ifindex};

use super::facts::LinkFact;
use super::filter::{self, Instruction};
use super::search::ALL_HOSTS_SLOT;
use super::{deferral, sysctl};
use crate::messages::{Bypass, Channel};

/// The highest band that needs no privilege: pfifo_fast and fq send it first (N1).
const PRIORITY: libc::c_int = 7;

/// The sockets of one NIC for the fast thread.
///
/// # Errors
/// EPERM without CAP_NET_RAW; ENODEV where the device has just gone; EMFILE.
pub(super) fn channel(
    link: &LinkFact,
    lower: [u32; LOWER],
    mode: ReceiveMode,
    consume: bool,
) -> io::Result<Channel> {
    let ifindex = link.link.ifindex;
    let send = packet_socket()?;
    prepare_send(&send, link.lower)?;
    bind(&send, ifindex, 0)?;
    let receive = packet_socket()?;
    attach(&receive, &filter::answers(mode != ReceiveMode::Tcx, MAGIC))?;
    if mode == ReceiveMode::Socket {
        set(&receive, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    }
    bind(&receive, ifindex, u16::try_from(libc::ETH_P_ALL).unwrap_or_default())?;
    Ok(Channel {
        ifindex,
        name: link.link.name,
        mode,
        mac: link.link.mac,
        send,
        receive,
        behind: if mode == ReceiveMode::Tcx { behind_tcx(ifindex)? } else { Vec::new() },
        bypass: Bypass::default(),
        stamped: link.lower,
        receivers: deferral::receivers(ifindex, link.link.name)?,
        consume,
        lower,
        router: sysctl::forwards_v6(link.link.name)?,
    })
}

/// They hear echo replies with our mark that no tcx program has taken.
fn behind_tcx(ifindex: Ifindex) -> io::Result<Vec<OwnedFd>> {
    let socket = |family| {
        let socket = packet_socket()?;
        attach(&socket, &filter::echo_replies(family, &[MAGIC]))?;
        bind(&socket, ifindex, ethertype(family, libc::ETH_P_IP))?;
        Ok(socket)
    };
    Family::ALL.map(socket).into_iter().collect()
}

/// A socket for announcements.
///
/// # Errors
/// As [`channel`].
pub(super) fn announcing(link: &LinkFact) -> io::Result<OwnedFd> {
    let socket = packet_socket()?;
    set(&socket, libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY)?;
    bypass(&socket, link.lower)?;
    bind(&socket, link.link.ifindex, 0)?;
    Ok(socket)
}

/// A socket for requests to all hosts and their answers.
///
/// # Errors
/// As [`channel`].
pub(super) fn searching(link: &LinkFact, family: Family) -> io::Result<OwnedFd> {
    let socket = packet_socket()?;
    bypass(&socket, link.lower)?;
    attach(&socket, &filter::echo_replies(family, &[MAGIC, ALL_HOSTS_SLOT]))?;
    bind(&socket, link.link.ifindex, ethertype(family, libc::ETH_P_IP))?;
    Ok(socket)
}

/// A socket for answers about MACs: ARP replies or neighbour advertisements.
///
/// # Errors
/// As [`channel`].
pub(super) fn hearing(link: &LinkFact, family: Family) -> io::Result<OwnedFd> {
    let socket = packet_socket()?;
    attach(&socket, &filter::answers(false, MAGIC))?;
    bind(&socket, link.link.ifindex, ethertype(family, libc::ETH_P_ARP))?;
    Ok(socket)
}

/// The next frame of a socket; `None`: nothing is there, or the link has just gone down.
pub(super) fn receive(socket: &OwnedFd, into: &mut [u8]) -> Option<usize> {
    // SAFETY: the pointer and length are those of a buffer that outlives the call.
    let length = unsafe {
        libc::recv(socket.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT)
    };
    usize::try_from(length).ok()
}

/// Sends one frame from a bound socket.
///
/// # Errors
/// ENETDOWN, ENOBUFS, EAGAIN: it never left.
pub(super) fn send(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and length are those of a slice that outlives the call.
    let sent = unsafe {
        libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the frames of a family have; those of IPv4 may be ARP's.
fn ethertype(family: Family, inet: libc::c_int) -> u16 {
    let ethertype = match family {
        Family::Inet => inet,
        Family::Inet6 => libc::ETH_P_IPV6,
    };
    u16::try_from(ethertype).unwrap_or_default()
}

/// Receives nothing before it is bound.
fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a plain call; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Without the queue of the device a probe that is accepted has left, unless the device hands it to
/// another one's queue: then the transmit stamp tells (N1).
fn prepare_send(socket: &OwnedFd, lower: bool) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY)?;
    bypass(socket, lower)?;
    if lower {
        let flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags.cast_signed())?;
    }
    Ok(())
}

fn bypass(socket: &OwnedFd, lower: bool) -> io::Result<()> {
    if lower { Ok(()) } else { set(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1) }
}

fn set(socket: &OwnedFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is a c_int that outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attach(socket: &OwnedFd, program: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which outlives the call, and does not write to it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `protocol`: an ethertype, 0 = receive nothing.
fn bind(socket: &OwnedFd, ifindex: Ifindex, protocol: u16) -> io::Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(ifindex.0).map_err(io::Error::other)?;
    // SAFETY: the address is a sockaddr_ll that outlives the call, and its size is given.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
