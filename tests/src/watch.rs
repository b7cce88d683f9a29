//! Exact times of changes of addresses, routes and neighbours, from rtnetlink notices: independent of the
//! daemon's code and clock.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::RouteMessage;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::clock::{self, Nanos};
use crate::netns::NetNs;
use crate::wait_for;

// linux/rtnetlink.h
const RT_TABLE_LOCAL: u8 = 255;
const RTNLGRP_NEIGH: u32 = 3;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;

/// A kind of change that can be watched.
pub trait Notice: Clone + std::fmt::Debug + Send + 'static {
    const GROUPS: &[u32];

    fn read(message: RouteNetlinkMessage, at: Nanos) -> Option<Self>;
}

/// An address was added or changed (`added`), or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressEvent {
    /// When the notice was read: some tens of microseconds late, more on a loaded machine.
    pub at: Nanos,
    pub added: bool,
    pub ifname: String,
    pub address: IpAddr,
    pub prefixlen: u8,
    pub label: Option<String>,
    /// IFA_PROTO, which `ip` 6.1 does not show.
    pub protocol: Option<u8>,
}

/// A route was set or deleted. Those of the kernel's local table follow the addresses and are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEvent {
    pub at: Nanos,
    pub added: bool,
    pub route: RouteMessage,
}

/// A neighbour entry has been made, confirmed or changed, or is gone (`mac` is none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourEvent {
    pub at: Nanos,
    pub address: IpAddr,
    pub mac: Option<[u8; 6]>,
}

pub type AddressWatch = Watch<AddressEvent>;
pub type RouteWatch = Watch<RouteEvent>;
pub type NeighbourWatch = Watch<NeighbourEvent>;

/// Writes down every change of its kind in a namespace from `start` on, until dropped.
///
/// One thread stamps what comes in, another reads it, with no priority of its own: a thousand routes take so long
/// that a stream of the lab would wait for the processor, and seem silent.
#[derive(Debug)]
pub struct Watch<E> {
    shared: Arc<Shared<E>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<E> {
    events: Mutex<Vec<E>>,
    /// Datagrams that have come in, and those of them that have been read.
    stamped: AtomicUsize,
    read: AtomicUsize,
    stop: AtomicBool,
}

impl<E: Notice> Watch<E> {
    /// Listens when it returns.
    pub fn start(namespace: &NetNs) -> Self {
        let socket = namespace.run(|| open(E::GROUPS));
        let shared = Arc::new(Shared {
            events: Mutex::default(),
            stamped: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let (stamps, datagrams) = channel();
        let (stamper, reader) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            namespace.spawn("watch", move || stamper.stamp_all(&socket, &stamps)),
            namespace.spawn("watch-read", move || reader.read_all(&datagrams)),
        ];
        Self { shared, threads }
    }

    /// All that has come in until now.
    ///
    /// # Panics
    /// If it cannot be read within a minute.
    pub fn events(&self) -> Vec<E> {
        let stamped = self.shared.stamped.load(Ordering::Acquire);
        wait_for("notices", Duration::from_mins(1), || {
            let read = self.shared.read.load(Ordering::Acquire);
            if read >= stamped { Ok(()) } else { Err((read, stamped)) }
        });
        self.shared.events.lock().expect("the watch has not panicked").clone()
    }
}

type Stamped = (Vec<u8>, Nanos);

impl<E: Notice> Shared<E> {
    fn stamp_all(&self, socket: &netlink_sys::Socket, stamps: &Sender<Stamped>) {
        clock::be_punctual();
        let descriptor = borrow(socket);
        while !self.stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(descriptor, PollFlags::POLLIN)];
            // The limit is only for noticing `stop`.
            if poll(&mut ready, PollTimeout::from(20_u8)) != Ok(1) {
                continue;
            }
            while let Some(bytes) = receive(socket) {
                self.stamped.fetch_add(1, Ordering::Release);
                stamps.send((bytes, clock::now())).expect("its reader lives as long");
            }
        }
    }

    /// Until no more can come.
    fn read_all(&self, datagrams: &Receiver<Stamped>) {
        for (bytes, at) in datagrams {
            read(&bytes, at, |event| {
                self.events.lock().expect("no reader has panicked").push(event);
            });
            self.read.fetch_add(1, Ordering::Release);
        }
    }
}

impl AddressWatch {
    /// Waits until the address has been added on that device at `since` or later; the moment.
    ///
    /// # Panics
    /// If it has not within `limit`, or if it is no address.
    pub fn wait_added(&self, address: &str, ifname: &str, since: Nanos, limit: Duration) -> Nanos {
        self.wait(true, address, ifname, since, limit)
    }

    /// As `wait_added`, for the deletion.
    ///
    /// # Panics
    /// If it has not been deleted within `limit`, or if it is no address.
    pub fn wait_deleted(
        &self,
        address: &str,
        ifname: &str,
        since: Nanos,
        limit: Duration,
    ) -> Nanos {
        self.wait(false, address, ifname, since, limit)
    }

    fn wait(
        &self,
        added: bool,
        address: &str,
        ifname: &str,
        since: Nanos,
        limit: Duration,
    ) -> Nanos {
        let ip: IpAddr = address.parse().expect("an IP address");
        let verb = if added { "addition of" } else { "deletion of" };
        wait_for(&format!("{verb} {address} on {ifname}"), limit, || {
            let events = self.events();
            let it = events.iter().find(|it| {
                it.at >= since && it.added == added && it.address == ip && it.ifname == ifname
            });
            it.map(|it| it.at).ok_or(events)
        })
    }
}

impl<E> Drop for Watch<E> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn open(groups: &[u32]) -> netlink_sys::Socket {
    let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)
        .expect("a netlink socket can be opened");
    socket.bind_auto().expect("it can be bound");
    // A thousand routes that change at once are two MiB of notices.
    let descriptor = borrow(&socket);
    setsockopt(&descriptor, sockopt::RcvBufForce, &(16 << 20)).expect("root may have any buffer");
    socket.set_non_blocking(true).expect("it can be polled");
    for &group in groups {
        socket.add_membership(group).expect("it can listen to this group");
    }
    socket
}

/// `None` when nothing waits.
fn receive(socket: &netlink_sys::Socket) -> Option<Vec<u8>> {
    match socket.recv_from_full() {
        Ok((bytes, _)) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("a notice was lost: {error}"),
    }
}

fn read<E: Notice>(bytes: &[u8], at: Nanos, mut tell: impl FnMut(E)) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
        let message = message.expect("the kernel's notices can be read");
        let length = usize::try_from(message.header.length).expect("32 bits");
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        if let NetlinkPayload::InnerMessage(inner) = message.payload
            && let Some(event) = E::read(inner, at)
        {
            tell(event);
        }
    }
}

fn borrow(socket: &netlink_sys::Socket) -> BorrowedFd<'_> {
    // SAFETY: the socket outlives this borrow, and nobody closes it meanwhile.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

impl Notice for AddressEvent {
    const GROUPS: &[u32] = &[RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR];

    fn read(message: RouteNetlinkMessage, at: Nanos) -> Option<Self> {
        let (added, message) = match message {
            RouteNetlinkMessage::NewAddress(message) => (true, message),
            RouteNetlinkMessage::DelAddress(message) => (false, message),
            _ => return None,
        };
        let AddressMessage { header, attributes, .. } = message;
        let mut event = Self {
            at,
            added,
            ifname: nix::net::if_::if_indextoname(header.index).map_or_else(
                |_| format!("ifindex {}", header.index),
                |it| it.to_string_lossy().into_owned(),
            ),
            address: IpAddr::from([0; 4]),
            prefixlen: header.prefix_len,
            label: None,
            protocol: None,
        };
        for attribute in attributes {
            match attribute {
                // IPv6 has only this one; for IPv4 it is the peer's, and Local follows it.
                AddressAttribute::Address(ip) if event.address.is_unspecified() => {
                    event.address = ip
                }
                AddressAttribute::Local(ip) => event.address = ip,
                AddressAttribute::Label(label) => event.label = Some(label),
                AddressAttribute::Protocol(protocol) => event.protocol = Some(protocol.into()),
                _ => {}
            }
        }
        Some(event)
    }
}

impl Notice for RouteEvent {
    const GROUPS: &[u32] = &[RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE];

    fn read(message: RouteNetlinkMessage, at: Nanos) -> Option<Self> {
        let (added, route) = match message {
            RouteNetlinkMessage::NewRoute(route) => (true, route),
            RouteNetlinkMessage::DelRoute(route) => (false, route),
            _ => return None,
        };
        (route.header.table != RT_TABLE_LOCAL).then_some(Self { at, added, route })
    }
}

impl Notice for NeighbourEvent {
    const GROUPS: &[u32] = &[RTNLGRP_NEIGH];

    fn read(message: RouteNetlinkMessage, at: Nanos) -> Option<Self> {
        let (alive, NeighbourMessage { attributes, .. }) = match message {
            RouteNetlinkMessage::NewNeighbour(message) => (true, message),
            RouteNetlinkMessage::DelNeighbour(message) => (false, message),
            _ => return None,
        };
        let address = attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some((*ip).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some((*ip).into()),
            _ => None,
        })?;
        let mac = attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
            _ => None,
        });
        Some(Self { at, address, mac: mac.filter(|_| alive) })
    }
}
