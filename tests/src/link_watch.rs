//! The kernel's own notices of link changes, stamped: the daemon cannot know before them.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock::{self, Nanos};
use crate::netns::NetNs;
use crate::wait_for;

/// linux/rtnetlink.h
const RTNLGRP_LINK: u32 = 1;

/// A notice about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// When the notice was read.
    pub at: Nanos,
    pub ifname: String,
    /// IFF_RUNNING: up, with carrier.
    pub running: bool,
}

/// Writes down every notice of a namespace from `start` on, until dropped.
#[derive(Debug)]
pub struct LinkWatch {
    events: Arc<Mutex<Vec<LinkEvent>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LinkWatch {
    /// Listens when it returns.
    pub fn start(namespace: &NetNs) -> Self {
        let socket = namespace.run(|| {
            let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)
                .expect("a netlink socket can be opened");
            socket.bind_auto().expect("it can be bound");
            socket.add_membership(RTNLGRP_LINK).expect("it can listen to links");
            socket
        });
        let (events, stop): (Arc<Mutex<_>>, Arc<AtomicBool>) = Default::default();
        let thread = {
            let (events, stop) = (Arc::clone(&events), Arc::clone(&stop));
            namespace.spawn("link-watch", move || listen(&socket, &events, &stop))
        };
        Self { events, stop, thread: Some(thread) }
    }

    pub fn events(&self) -> Vec<LinkEvent> {
        self.events.lock().expect("the watch has not panicked").clone()
    }

    /// Waits until the device is told to run, or not to, at `since` or later; the moment.
    ///
    /// # Panics
    /// If it is not within `limit`.
    pub fn wait_running(
        &self,
        ifname: &str,
        running: bool,
        since: Nanos,
        limit: Duration,
    ) -> Nanos {
        wait_for(&format!("notice that {ifname} runs: {running}"), limit, || {
            let events = self.events();
            let found = events
                .iter()
                .find(|it| it.at >= since && it.ifname == ifname && it.running == running);
            found.map(|it| it.at).ok_or(events)
        })
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn listen(socket: &netlink_sys::Socket, events: &Mutex<Vec<LinkEvent>>, stop: &AtomicBool) {
    clock::be_punctual();
    // SAFETY: the socket outlives this borrow, and nobody closes it meanwhile.
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(descriptor, PollFlags::POLLIN)];
        // The limit is only for noticing `stop`.
        if poll(&mut ready, PollTimeout::from(20_u8)) != Ok(1) {
            continue;
        }
        let (bytes, _) = socket.recv_from_full().expect("no notice was lost");
        let at = clock::now();
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes);
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) =
            message.expect("the kernel's notices can be read").payload
        {
            let running = link.header.flags.contains(LinkFlags::Running);
            let name = link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            // A bridge tells of its ports too, without a name of their own; there is none here.
            let ifname = name.expect("a device has a name");
            events.lock().expect("no reader has panicked").push(LinkEvent { at, ifname, running });
        }
    }
}
