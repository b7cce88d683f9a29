//! Everything that can happen to the engine. Facts of the host come from notices and dumps only;
//! an acknowledgement never stands for an observation (A 2, 1.5).

use core::net::IpAddr;
use core::time::Duration;

use crate::config::{MAX_CANDIDATES, MAX_MEMBERS};
use crate::ids::{Family, IfName, Ifindex, IpNet, PathId, Seq};
use crate::request::OpId;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Event {
    /// A link is there, or has changed. From the fast thread's own link notices.
    Link(Link),
    LinkGone(Ifindex),
    /// An address is there, or has changed. Only for interfaces of ours.
    Address(Address),
    AddressGone {
        ifindex: Ifindex,
        address: IpAddr,
    },
    /// An interface outside of groups has another address of its own, or none.
    OwnAddress(OwnAddress),
    /// Interfaces on which an address of the configuration stands without our mark, and from which it
    /// may be taken: all of them, each time one comes or goes.
    Foreign {
        address: IpAddr,
        on: Hops,
    },
    /// A route stands at a key of ours, or has changed.
    Route(ObservedRoute),
    RouteGone(RouteKey),
    /// Whether routes of somebody else stand, at other metrics, that go where the route of ours at
    /// this key goes and by the same gateway.
    Rivals {
        key: RouteKey,
        stand: bool,
    },
    /// The next hops of one family that the routing tables reach by one interface and that may be
    /// targets there, own addresses left out: the whole list, each time it changes.
    Gateways(Gateways),
    /// A host that may be a target was found, in answer to `Request::Search`.
    Found {
        ifindex: Ifindex,
        address: IpAddr,
        by: FoundBy,
    },
    /// The first full dump has been told; what was not told is not there.
    Surveyed,
    /// Another host has answered our own question whether anybody has this address of ours (an ARP probe, or
    /// a solicitation as duplicate address detection sends it). Told once for each question and host.
    Claimed {
        ifindex: Ifindex,
        address: IpAddr,
        mac: [u8; 6],
    },
    /// An address of the configuration is on an interface of this host, and nowhere usable: IPv6 duplicate
    /// detection has failed, since another host has it. `None`: no more.
    Refused {
        address: IpAddr,
        on: Option<Ifindex>,
    },
    /// A host answers for every address, also for such as nobody can have: its answers claim nothing. Told
    /// once.
    NeighbourProxy {
        ifindex: Ifindex,
        family: Family,
        mac: [u8; 6],
    },
    /// Whether an interface takes addresses of a family at all; said when it has changed.
    Plumbed {
        ifindex: Ifindex,
        family: Family,
        plumbed: bool,
    },
    /// The receive hook of a NIC stands and its sockets are open: probing may begin.
    Attached {
        ifindex: Ifindex,
        mode: ReceiveMode,
    },
    /// The receive hook of a NIC no longer takes its replies. The NIC's sockets receive them until
    /// `Attached` reports a hook again.
    HookLost {
        ifindex: Ifindex,
        loss: HookLoss,
    },
    /// Whether what this NIC is given to send can leave by another one (`egress_redirect`); said after
    /// `Attached`, and when it has changed.
    Redirectable {
        ifindex: Ifindex,
        redirectable: bool,
    },
    /// Whether frames that have come in can wait although we run: NAPI of this NIC is a thread of
    /// ordinary priority, or softirqs are put off to one (Linux before 6.5).
    ReceiveDeferred {
        ifindex: Ifindex,
        deferred: bool,
    },
    /// All frames that had come in by then have been handled (0: not yet since the hook is there);
    /// told in every turn for the NICs in `Engine::watched`, where that can be known.
    HandledUntil {
        ifindex: Ifindex,
        until: Instant,
    },
    /// Fate of a probe at the moment of sending, `at` being the stamp taken right before the call.
    Sent {
        path: PathId,
        seq: Seq,
        at: Instant,
        fate: Fate,
    },
    /// A waiting probe has left: the driver's own transmit stamp came back.
    Left {
        path: PathId,
        seq: Seq,
        at: Instant,
    },
    /// A matched echo reply; `at` is the stamp of the receive hook.
    Reply {
        path: PathId,
        seq: Seq,
        at: Instant,
    },
    /// The target answered our ARP request or NS that stood in for the probe.
    Resolved {
        path: PathId,
        seq: Seq,
        at: Instant,
    },
    /// Frames the device has transmitted so far; the answer to `Request::CountTransmits`.
    Transmits {
        ifindex: Ifindex,
        frames: u64,
    },
    Done(Done),
    Command(Command),
}

/// What became of a probe when it was handed to the kernel (N1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Fate {
    /// The driver took it. Only this one can be lost.
    Left,
    /// Accepted by a queue; a stamp will tell when it leaves.
    Waiting,
    /// EAGAIN, ENOBUFS, ENETDOWN: it never left.
    Refused,
    /// No MAC is known: our own ARP request or NS left in its place, and its silence counts (N9).
    Resolving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Link {
    pub name: IfName,
    pub ifindex: Ifindex,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Carrier and operational state allow traffic (IFF_RUNNING with IFF_UP).
    pub running: bool,
    /// The driver reports carrier; if not, LINK is "unknown" and only probes can fail it.
    pub reported: bool,
    /// Ups and downs so far: a bounce between two reads shows here.
    pub carrier_changes: u32,
    pub mac: [u8; 6],
    pub unfit: Option<Unfit>,
}

impl Link {
    /// What is watched though it is in no group: an Ethernet device of its own that is up.
    pub fn may_be_watched(&self) -> bool {
        self.up && self.unfit.is_none()
    }
}

/// Why a device can't be a member (N14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Unfit {
    /// It has a master: port of a bond, bridge, team or VRF.
    Enslaved,
    /// Not Ethernet, or loopback or point-to-point.
    NotEthernet,
    /// ipvlan: shares its parent's MAC.
    SharedMac,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Address {
    pub ifindex: Ifindex,
    pub address: IpNet,
    /// Carries our IFA_PROTO or, for IPv4, our label.
    pub ours: bool,
    /// Not usable yet, or refused by duplicate detection.
    pub tentative: bool,
    /// IPv6 link-local, or IPv4 at scope link.
    pub link_scope: bool,
    /// Ours, but in the form of another role: a data address that has become a test address, or one
    /// that was a test address.
    pub stale_form: bool,
    /// An IPv6 address that the kernel does not use, because duplicate detection has failed
    /// (IFA_F_DADFAILED). `tentative` is set too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused: bool,
    /// A link-local address of the kernel's own making, which stays: not one that a program has added.
    #[cfg_attr(feature = "serde", serde(default))]
    pub by_kernel: bool,
}

/// The address by which an interface outside of groups is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OwnAddress {
    pub ifindex: Ifindex,
    pub family: Family,
    /// With the kernel's prefix length; link-local for IPv6.
    pub address: Option<IpNet>,
}

/// What makes a route unique in the kernel, TOS 0 assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RouteKey {
    pub table: u32,
    pub to: IpNet,
    pub metric: u32,
}

/// Outgoing interfaces of a route, ascending, without repetition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Hops {
    len: u8,
    ifindex: [Ifindex; MAX_MEMBERS],
}

impl Default for Hops {
    fn default() -> Self {
        Self { len: 0, ifindex: [Ifindex(0); MAX_MEMBERS] }
    }
}

impl Hops {
    pub fn as_slice(&self) -> &[Ifindex] {
        &self.ifindex[..usize::from(self.len)]
    }

    /// Adds a hop in order; one too many is left out and `false` returned.
    pub fn insert(&mut self, hop: Ifindex) -> bool {
        let Err(place) = self.as_slice().binary_search(&hop) else { return true };
        let len = usize::from(self.len);
        if len == MAX_MEMBERS {
            return false;
        }
        self.ifindex.copy_within(place..len, place + 1);
        self.ifindex[place] = hop;
        self.len += 1;
        true
    }
}

impl FromIterator<Ifindex> for Hops {
    fn from_iter<I: IntoIterator<Item = Ifindex>>(hops: I) -> Self {
        let mut all = Self::default();
        for hop in hops {
            all.insert(hop);
        }
        all
    }
}

/// A route that stands at a key of the configuration, whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ObservedRoute {
    pub key: RouteKey,
    pub via: Option<IpAddr>,
    pub src: Option<IpAddr>,
    /// Hops that carry traffic: those the kernel marks dead or linkdown are left out.
    pub hops: Hops,
    /// Carries our route protocol.
    pub ours: bool,
}

/// Next hops of one interface and family, by [`GatewayKind`] and then in the order in which they were
/// added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Gateways {
    pub ifindex: Ifindex,
    pub family: Family,
    /// Next hops that did not fit.
    pub omitted: u32,
    len: u8,
    all: [Option<Gateway>; Gateways::MAX],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Gateway {
    pub address: IpAddr,
    pub kind: GatewayKind,
}

/// What a next hop is to this host; the first is the best target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum GatewayKind {
    /// Gateway of a default route.
    Default,
    /// Gateway of another route.
    Other,
    /// Destination of an on-link host route.
    Host,
}

impl GatewayKind {
    pub const ALL: [Self; 3] = [Self::Default, Self::Other, Self::Host];
}

impl Gateways {
    /// As many as an instance chooses its targets from.
    pub const MAX: usize = MAX_CANDIDATES;

    pub fn new(ifindex: Ifindex, family: Family) -> Self {
        Self { ifindex, family, omitted: 0, len: 0, all: [None; Self::MAX] }
    }

    pub fn iter(&self) -> impl Iterator<Item = Gateway> + '_ {
        self.all.iter().copied().flatten()
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a next hop behind those of its kind. In a full list the last of the worst kind makes room, and
    /// is counted in `omitted`.
    pub fn push(&mut self, gateway: Gateway) {
        let mut len = usize::from(self.len);
        let known = self.iter().enumerate().find(|(_, known)| known.address == gateway.address);
        if let Some((at, known)) = known {
            if known.kind <= gateway.kind {
                return;
            }
            self.all.copy_within(at + 1..len, at);
            len -= 1;
            self.all[len] = None;
        }
        let place = self.iter().filter(|known| known.kind <= gateway.kind).count();
        if len == Self::MAX {
            self.omitted += 1;
            if place == len {
                return;
            }
            len -= 1;
        }
        self.all.copy_within(place..len, place + 1);
        self.all[place] = Some(gateway);
        self.len = (len + 1) as u8;
    }
}

/// How a host was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum FoundBy {
    /// It has answered an echo request to all hosts: 224.0.0.1 or ff02::1.
    Echo,
    /// The kernel's neighbour table has its MAC.
    Neighbours,
}

/// Why a receive hook takes no replies any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum HookLoss {
    /// The kernel no longer has our program on the device: another program has detached or replaced it.
    Detached,
    /// Replies reach the sockets, which lie behind the hook: another program takes frames before it, or
    /// it has been detached just now.
    Bypassed,
}

/// How the replies of a NIC are received; shown by `ipmpstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum ReceiveMode {
    Xdp,
    Tcx,
    XdpGeneric,
    Socket,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Done {
    pub op: OpId,
    /// The kernel's errno. "Already so" (EEXIST, ESRCH, ENOENT, EADDRNOTAVAIL) is success.
    pub result: Result<(), Errno>,
    /// In the queue before it was begun.
    pub waited: Duration,
    /// In the kernel, RTNL wait included.
    pub ran: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Errno(pub i32);

/// What an administrator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Command {
    /// `if_mpadm -d`; `force` skips the test for redundancy.
    Offline { interface: IfName },
    /// `if_mpadm -r`.
    Online { interface: IfName },
}
