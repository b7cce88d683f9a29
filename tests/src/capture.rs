//! Frames on a device, stamped by the kernel and decoded by etherparse, which shares no code with the daemon.
//!
//! Capture on a port of the switch (`sw0`), not on the host's NIC: frames sent past the qdisc and frames that
//! XDP consumes are invisible on the NIC itself. A port shows what its device sends even while the path is
//! cut, but nothing that the cut holds back from the device.

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice};
use etherparse::{
    ArpOperation, ArpPacketSlice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, LaxNetSlice,
    LaxSlicedPacket, TransportSlice,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, recvmsg,
    setsockopt, socket, sockopt,
};

use crate::clock::{self, Nanos};
use crate::netns::NetNs;
use crate::wait_for;

pub type Mac = [u8; 6];

/// A captured frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The kernel's stamp, brought to CLOCK_MONOTONIC.
    pub at: Nanos,
    /// Seen from the switch: whether the device at the port has sent it, or is to receive it.
    pub from_device: bool,
    pub source_mac: Mac,
    pub destination_mac: Mac,
    pub content: Content,
    /// The whole frame, as far as it fits 2 KiB.
    pub bytes: Vec<u8>,
}

/// What tests ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Arp {
        request: bool,
        sender_mac: Mac,
        sender: IpAddr,
        target: IpAddr,
    },
    Echo {
        request: bool,
        source: IpAddr,
        destination: IpAddr,
        id: u16,
        sequence: u16,
    },
    NeighbourSolicitation {
        source: IpAddr,
        target: IpAddr,
    },
    /// `mac` is the target link-layer address option.
    NeighbourAdvertisement {
        source: IpAddr,
        target: IpAddr,
        mac: Option<Mac>,
        override_flag: bool,
    },
    Udp {
        source: IpAddr,
        destination: IpAddr,
        source_port: u16,
        destination_port: u16,
    },
    Tcp {
        source: IpAddr,
        destination: IpAddr,
        source_port: u16,
        destination_port: u16,
    },
    Other,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = if self.from_device { "from" } else { "to" };
        write!(f, "{} {way} device, {} bytes: {:?}", self.at, self.bytes.len(), self.content)
    }
}

impl Frame {
    /// Whether it tells neighbours that `address` is at its sender: ARP with sender = target in either form, or
    /// an unsolicited neighbour advertisement.
    pub fn announces(&self, address: IpAddr) -> bool {
        match self.content {
            Content::Arp { sender, target, .. } => sender == address && target == address,
            Content::NeighbourAdvertisement { target, override_flag, .. } => {
                target == address && override_flag && self.destination_mac[0] == 0x33
            }
            _ => false,
        }
    }
}

/// Captures until dropped.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Captures when it returns.
    ///
    /// # Panics
    /// If the device does not exist.
    pub fn start(namespace: &NetNs, device: &str) -> Self {
        Self::of(namespace, device, &[])
    }

    /// Captures ARP and neighbour advertisements only: beside thousands of probes a second for as long as one likes.
    ///
    /// # Panics
    /// If the device does not exist.
    pub fn of_announcements(namespace: &NetNs, device: &str) -> Self {
        Self::of(namespace, device, &ANNOUNCEMENTS)
    }

    fn of(namespace: &NetNs, device: &str, filter: &[libc::sock_filter]) -> Self {
        let socket = namespace
            .run(|| open(device, filter))
            .unwrap_or_else(|error| panic!("cannot capture on {device}: {error}"));
        let frames = Arc::default();
        let stop = Arc::default();
        let thread = {
            let (frames, stop) = (Arc::clone(&frames), Arc::clone(&stop));
            namespace.spawn("capture", move || listen(&socket, &frames, &stop))
        };
        Self { frames, stop, thread: Some(thread) }
    }

    pub fn frames(&self) -> Vec<Frame> {
        self.frames.lock().expect("the capture has not panicked").clone()
    }

    /// As `frames`, without the first so many.
    pub fn frames_after(&self, first: usize) -> Vec<Frame> {
        let frames = self.frames.lock().expect("the capture has not panicked");
        frames.get(first..).unwrap_or_default().to_vec()
    }

    /// The first frame at `since` or later that fits.
    ///
    /// # Panics
    /// If none comes within `limit`.
    pub fn wait(
        &self,
        what: &str,
        since: Nanos,
        limit: Duration,
        fits: impl Fn(&Frame) -> bool,
    ) -> Frame {
        wait_for(what, limit, || {
            let frames = self.frames();
            let found = frames.iter().find(|frame| frame.at >= since && fits(frame)).cloned();
            found.ok_or(frames)
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// ARP, and ICMPv6 of type 136 right behind the IPv6 header, where neighbour
/// discovery has it. Offsets are of Ethernet frames.
const ANNOUNCEMENTS: [libc::sock_filter; 9] = {
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const fn step(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
    }
    [
        step(LOAD_HALF, 12, 0, 0),
        step(EQUAL, libc::ETH_P_ARP as u32, 5, 0),
        step(EQUAL, libc::ETH_P_IPV6 as u32, 0, 5),
        step(LOAD_BYTE, 14 + 6, 0, 0),
        step(EQUAL, libc::IPPROTO_ICMPV6 as u32, 0, 3),
        step(LOAD_BYTE, 14 + 40, 0, 0),
        step(EQUAL, 136, 0, 1),
        step(libc::BPF_RET, u32::MAX, 0, 0),
        step(libc::BPF_RET, 0, 0, 0),
    ]
};

fn open(device: &str, filter: &[libc::sock_filter]) -> std::io::Result<OwnedFd> {
    // Protocol none: nothing is captured before it is bound to the device.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
    if !filter.is_empty() {
        attach(&socket, filter)?;
    }
    bind_to(&socket, device, libc::ETH_P_ALL as u16)?;
    Ok(socket)
}

fn attach(socket: &OwnedFd, filter: &[libc::sock_filter]) -> std::io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("a short program"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: program and filter live through the call, which reads them only.
    let attached = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if attached == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Binds a packet socket to a device; protocol 0 receives nothing.
pub(crate) fn bind_to(socket: &OwnedFd, device: &str, protocol: u16) -> std::io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: nix::net::if_::if_nametoindex(device)?.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a whole sockaddr_ll and lives through the call.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if bound == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn listen(socket: &OwnedFd, frames: &Mutex<Vec<Frame>>, stop: &AtomicBool) {
    clock::be_punctual();
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        // The limit is only for noticing `stop`.
        if poll(&mut ready, PollTimeout::from(20_u8)) == Ok(1)
            && let Some(frame) = receive(socket)
        {
            frames.lock().expect("no reader has panicked").push(frame);
        }
    }
}

fn receive(socket: &OwnedFd) -> Option<Frame> {
    // Headers are all that is decoded; a longer frame (GRO makes them) is cut short.
    let mut buffer = [0; 2048];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
    let stamp = message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::ScmTimestampns(time) => Some(time),
        _ => None,
    })?;
    let stamp = stamp.tv_sec().cast_unsigned() * 1_000_000_000 + stamp.tv_nsec().cast_unsigned();
    let from_device = message.address?.pkttype() != libc::PACKET_OUTGOING;
    let length = message.bytes;
    decode(&buffer[..length], clock::monotonic(stamp), from_device)
}

fn decode(bytes: &[u8], at: Nanos, from_device: bool) -> Option<Frame> {
    let (destination_mac, rest) = bytes.split_first_chunk()?;
    let (source_mac, _) = rest.split_first_chunk()?;
    let content = match LaxSlicedPacket::from_ethernet(bytes) {
        Ok(packet) => content(&packet).unwrap_or(Content::Other),
        Err(_) => Content::Other,
    };
    Some(Frame {
        at,
        from_device,
        source_mac: *source_mac,
        destination_mac: *destination_mac,
        content,
        bytes: bytes.to_vec(),
    })
}

fn content(packet: &LaxSlicedPacket) -> Option<Content> {
    let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref()? {
        LaxNetSlice::Arp(arp) => return arp_content(arp),
        LaxNetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        LaxNetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
    };
    let echo = |request, id, sequence| Content::Echo { request, source, destination, id, sequence };
    Some(match packet.transport.as_ref()? {
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoRequest(header) => echo(true, header.id, header.seq),
            Icmpv4Type::EchoReply(header) => echo(false, header.id, header.seq),
            _ => Content::Other,
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::EchoRequest(header) => echo(true, header.id, header.seq),
            Icmpv6Type::EchoReply(header) => echo(false, header.id, header.seq),
            _ => neighbour_content(source, icmp)?,
        },
        TransportSlice::Udp(udp) => Content::Udp {
            source,
            destination,
            source_port: udp.source_port(),
            destination_port: udp.destination_port(),
        },
        TransportSlice::Tcp(tcp) => Content::Tcp {
            source,
            destination,
            source_port: tcp.source_port(),
            destination_port: tcp.destination_port(),
        },
        TransportSlice::Igmp(_) => Content::Other,
    })
}

fn arp_content(arp: &ArpPacketSlice) -> Option<Content> {
    let ip = |bytes: &[u8]| Some(IpAddr::from(*bytes.first_chunk::<4>()?));
    Some(Content::Arp {
        request: arp.operation() == ArpOperation::REQUEST,
        sender_mac: *arp.sender_hw_addr().first_chunk()?,
        sender: ip(arp.sender_protocol_addr())?,
        target: ip(arp.target_protocol_addr())?,
    })
}

fn neighbour_content(source: IpAddr, icmp: &Icmpv6Slice) -> Option<Content> {
    Some(match (icmp.icmp_type(), icmp.payload_slice().ok()?) {
        (_, Icmpv6PayloadSlice::NeighborSolicitation(body)) => {
            Content::NeighbourSolicitation { source, target: body.target_address().into() }
        }
        (
            Icmpv6Type::NeighborAdvertisement(header),
            Icmpv6PayloadSlice::NeighborAdvertisement(body),
        ) => {
            let mac = body.options_iterator().find_map(|option| match option {
                // Type and length come before the address.
                Ok(NdpOptionSlice::TargetLinkLayerAddress(it)) => {
                    it.as_bytes().get(2..)?.first_chunk().copied()
                }
                _ => None,
            });
            let override_flag = header.r#override;
            let target = body.target_address().into();
            Content::NeighbourAdvertisement { source, target, mac, override_flag }
        }
        _ => Content::Other,
    })
}
