//! What the three threads say to each other. Fixed-size values; what owns memory or a descriptor is
//! made and freed outside the fast thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mpathd_common::abi::LOWER;
use mpathd_core::event::{Event, ReceiveMode};
use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::request::{Notice, Op};
use mpathd_core::time::Instant;

use crate::fast::receivers::Receiver;
use crate::fast::redirects::RedirectMap;
use crate::fast::slots::SlotMap;
use crate::fast::{Heir, priority};
use crate::queue::Queue;

/// To the fast thread.
pub enum ToFast {
    /// From the host thread: a fact or an answer. From the slow thread: a command.
    Event(Event),
    /// From the host thread, before the first `Channel` that uses it: the slots the kernel fills.
    Slots(SlotMap),
    /// From the host thread, before the first `Event::Redirectable`: the rows of the egress program.
    Redirects(RedirectMap),
    /// From the host thread, just before `Event::Attached`: the sockets of a NIC.
    Channel(Channel),
    /// From the host thread: all links of the configuration have been told as `Event::Link`, the
    /// answer to `ToHost::DumpLinks`. What was not told is gone.
    LinksDumped,
    /// From the slow thread: another configuration, to come in force when nothing is half done.
    Heir(Box<Heir>),
    /// Ends the thread; addresses and routes stay.
    Stop,
}

/// Sockets of one NIC, opened and bound by the host thread, non-blocking.
pub struct Channel {
    pub ifindex: Ifindex,
    pub name: IfName,
    pub mode: ReceiveMode,
    pub mac: [u8; 6],
    /// AF_PACKET, SOCK_RAW, protocol 0, bound to the interface, PACKET_QDISC_BYPASS.
    pub send: OwnedFd,
    /// AF_PACKET, SOCK_RAW, ETH_P_ALL, bound to the interface, with a filter for ARP replies and
    /// neighbour advertisements and, except in tcx mode, for echo replies with our mark: XDP comes
    /// before it, so these bypass the hook. In socket mode with SO_TIMESTAMPNS. Not: what this host
    /// sends, and frames with a VLAN id, which are another device's (the kernel has taken the tag out of
    /// the frame).
    pub receive: OwnedFd,
    /// In tcx mode: AF_PACKET, SOCK_RAW, one bound to ETH_P_IP and one to ETH_P_IPV6, with a filter for
    /// echo replies with our mark. Unlike ETH_P_ALL these lie behind tcx (`__netif_receive_skb_core`),
    /// so what they hear bypasses the hook.
    pub behind: Vec<OwnedFd>,
    pub bypass: Bypass,
    /// The device has a lower one, so an accepted frame may still wait in that one's queue: only the
    /// driver's transmit stamp, from the error queue of `send`, is proof (N1). SO_TIMESTAMPING is
    /// then SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE, without OPT_TSONLY: the frame
    /// that comes back with the stamp names the probe, where a counter would slip at a refusal.
    pub stamped: bool,
    /// The kernel threads that handle what the NIC receives, where some do.
    pub receivers: Vec<Receiver>,
    /// `consume_replies` of `Request::Attach`: for the slots of this NIC's paths.
    pub consume: bool,
    /// Devices below the NIC, see `SlotKey::lower`.
    pub lower: [u32; LOWER],
    /// This host forwards IPv6 that comes in by the NIC: a neighbour advertisement has to say so.
    pub router: bool,
}

impl Channel {
    /// The sockets that frames come in by.
    pub fn heard(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(&self.receive).chain(&self.behind).map(AsFd::as_fd)
    }
}

/// Replies that the hook of a NIC should have taken, and the sockets heard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bypass {
    replies: u8,
    last: Instant,
}

impl Bypass {
    /// A single one may have come in before the hook was there.
    const TO_REPORT: u8 = 3;
    /// Those that belong together follow each other within this time.
    const WINDOW: Duration = Duration::from_secs(60);

    /// Counts one; `true` once, when there are so many that the hook has to be looked at.
    pub fn count(&mut self, now: Instant) -> bool {
        if now.since(self.last) > Self::WINDOW {
            self.replies = 0;
        }
        self.last = now;
        self.replies = self.replies.saturating_add(1);
        self.replies == Self::TO_REPORT
    }
}

/// To the host thread.
pub enum ToHost {
    Op(Op),
    /// Sockets of a NIC that is gone; closing takes milliseconds (datapath F).
    Close(Channel),
    /// At start, after the fast thread's own link notices overran, and at most every 100 ms while a
    /// running link refuses probes: tell all links of the configuration as `Event::Link`, then
    /// `ToFast::LinksDumped`. A dump waits for RTNL.
    DumpLinks,
    /// Another configuration, before the first request that comes of it: what is known is told anew,
    /// and `Event::Surveyed` when it is complete.
    Settings {
        settings: Box<crate::host::Settings>,
        /// SCHED_FIFO, 1..=99; 0 = ordinary.
        priority: u8,
    },
    Stop,
}

/// To the slow thread.
pub enum ToSlow {
    Notice(Instant, Notice),
    /// For the recorder, in the order in which the engine took them.
    Fact(Instant, Event),
    /// A sysctl of a member was changed, to be logged once and put back by release.
    Sysctl {
        interface: IfName,
        ifindex: Option<Ifindex>,
        key: SysctlKey,
        old: i32,
        new: i32,
    },
    /// NAPI of a member is in threads from now on, to be put back by release.
    Threaded {
        interface: IfName,
        before: bool,
    },
    /// It is as it was before us.
    ThreadedRestored(IfName),
    /// The values of a NIC that has left all groups, or has gone, are not ours any more.
    SysctlsRestored(IfName),
    /// What another configuration has replaced; it is freed here. `since`: when that came in force;
    /// `None`: it never will, for a later one was faster.
    Past {
        heir: Box<Heir>,
        since: Option<Instant>,
    },
    /// A thread has another priority since the reload.
    Scheduled {
        thread: &'static str,
        outcome: priority::Outcome,
    },
    /// It has been given back: its configuration has gone.
    GivenBack(Box<crate::host::taken::Taken>),
    /// Somebody else's, about to be taken over: for `release` to give back.
    Taken(Box<crate::host::taken::Taken>),
    /// From the host thread, before the first reply can be counted.
    Counters(Box<crate::host::counters::Source>),
    /// A text of the kernel to a failed request, or anything else worth a line. From the fast
    /// thread only before READY.
    Log {
        severity: mpathd_core::message::Severity,
        text: String,
    },
    /// So many notices and facts of the fast thread found the queue full; what is told from here
    /// on is not all there was.
    Overrun(u64),
    /// The fast loop has come round: feeds the watchdog. The latest wake-up since the last time.
    Alive {
        late: Duration,
    },
    /// The kernel refuses to watch a NIC's sockets: no answer about MACs is heard on it, nor, in socket
    /// mode, any reply.
    Unheard {
        interface: IfName,
        errno: i32,
    },
    Stopped(&'static str),
}

/// The sysctls of a member that we set, with their value (design 5).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SysctlKey {
    ArpIgnore,
    ArpAnnounce,
    RpFilter,
    IgnoreRoutesWithLinkdown,
    PromoteSecondaries,
    KeepAddrOnDown,
    IgnoreRoutesWithLinkdown6,
}

impl SysctlKey {
    pub const ALL: [SysctlKey; 7] = [
        SysctlKey::ArpIgnore,
        SysctlKey::ArpAnnounce,
        SysctlKey::RpFilter,
        SysctlKey::IgnoreRoutesWithLinkdown,
        SysctlKey::PromoteSecondaries,
        SysctlKey::KeepAddrOnDown,
        SysctlKey::IgnoreRoutesWithLinkdown6,
    ];

    pub fn wanted(self) -> i32 {
        match self {
            SysctlKey::ArpAnnounce | SysctlKey::RpFilter => 2,
            SysctlKey::ArpIgnore
            | SysctlKey::IgnoreRoutesWithLinkdown
            | SysctlKey::PromoteSecondaries
            | SysctlKey::KeepAddrOnDown
            | SysctlKey::IgnoreRoutesWithLinkdown6 => 1,
        }
    }

    /// Path below /proc/sys.
    pub fn path(self, interface: IfName) -> String {
        let (family, name) = match self {
            SysctlKey::ArpIgnore => ("ipv4", "arp_ignore"),
            SysctlKey::ArpAnnounce => ("ipv4", "arp_announce"),
            SysctlKey::RpFilter => ("ipv4", "rp_filter"),
            SysctlKey::IgnoreRoutesWithLinkdown => ("ipv4", "ignore_routes_with_linkdown"),
            SysctlKey::PromoteSecondaries => ("ipv4", "promote_secondaries"),
            SysctlKey::KeepAddrOnDown => ("ipv6", "keep_addr_on_down"),
            SysctlKey::IgnoreRoutesWithLinkdown6 => ("ipv6", "ignore_routes_with_linkdown"),
        };
        format!("net/{family}/conf/{interface}/{name}")
    }
}

/// The ends of all queues; every thread holds one.
#[derive(Clone)]
pub struct Queues {
    pub fast: Arc<Queue<ToFast>>,
    pub host: Arc<Queue<ToHost>>,
    pub slow: Arc<Queue<ToSlow>>,
}

impl Queues {
    /// # Errors
    /// Where no eventfd is to be had.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            fast: Arc::new(Queue::new(4096)?),
            host: Arc::new(Queue::new(4096)?),
            slow: Arc::new(Queue::new(8192)?),
        })
    }
}
