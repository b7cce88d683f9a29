//! The kernel's own notices of link changes, stamped: the daemon cannot know before them.

use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};

use crate::clock::Nanos;
use crate::wait_for;
use crate::watch::{Notice, Watch};

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

pub type LinkWatch = Watch<LinkEvent>;

impl LinkWatch {
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

impl Notice for LinkEvent {
    const GROUPS: &[u32] = &[RTNLGRP_LINK];

    /// A bridge tells of its ports too, without a name of their own.
    fn read(message: RouteNetlinkMessage, at: Nanos) -> Option<Self> {
        let RouteNetlinkMessage::NewLink(link) = message else { return None };
        let running = link.header.flags.contains(LinkFlags::Running);
        let ifname = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        })?;
        Some(Self { at, ifname, running })
    }
}
