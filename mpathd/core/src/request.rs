//! What the engine wants done: requests to the host thread, rounds for the probe sockets, notices
//! for the administrator. Values without effect; the edges carry them out.

use core::net::IpAddr;

use crate::config::{Datapath, MAX_TARGETS};
use crate::event::{Hops, RouteKey};
use crate::ids::{Family, IfName, Ifindex, IpNet, MemberId, PathId, Seq};
use crate::message::Message;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fill or clear the slot, template and neighbour entry of a path. Before any probe of it.
    Path { path: PathId, key: Option<PathKey> },
    /// Send one probe to each target named.
    Round(Round),
    /// Have another NIC send what this one is given to send, from now on.
    Redirect(Redirect),
    /// Tell the neighbours at once that an address is at this NIC, where it is about to stand.
    Herald(Herald),
    /// To the host thread.
    Request(Op),
    /// To the slow thread.
    Notice(Notice),
}

/// What a path is: the key words of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathKey {
    pub member: MemberId,
    pub name: IfName,
    /// The only interface whose replies count (N2).
    pub ifindex: Ifindex,
    pub test: IpAddr,
    pub target: IpAddr,
}

/// An egress redirect of one family; without RTNL, a store into a map of the kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub from: Ifindex,
    pub family: Family,
    /// `None`: it sends by itself.
    pub to: Option<Ifindex>,
    /// It ends then, unless it is renewed.
    pub until: Instant,
}

/// An announcement ahead of `Request::SetAddress`, which has its own: the address stands on a dead NIC
/// of this host, so what comes in by this one is taken (weak host model, RFC 1122 3.3.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Herald {
    pub ifindex: Ifindex,
    pub address: IpAddr,
    pub peers: Peers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    pub ifindex: Ifindex,
    pub family: Family,
    len: u8,
    probes: [Probe; MAX_TARGETS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Probe {
    pub path: PathId,
    pub seq: Seq,
    /// Ask for the target's MAC too: three losses in a row may be a MAC that has changed (N9).
    pub refresh: bool,
}

impl Round {
    pub fn new(ifindex: Ifindex, family: Family) -> Self {
        Self { ifindex, family, len: 0, probes: [Probe::default(); MAX_TARGETS] }
    }

    pub fn probes(&self) -> &[Probe] {
        &self.probes[..usize::from(self.len)]
    }

    /// An instance has no more than [`MAX_TARGETS`] active targets; a further one is left out.
    pub fn push(&mut self, probe: Probe) {
        if let Some(place) = self.probes.get_mut(usize::from(self.len)) {
            *place = probe;
            self.len += 1;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OpId(pub u32);

/// A request and the number its answer will carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    pub id: OpId,
    /// When the engine decided it: what the queue wait is counted from.
    pub decided: Instant,
    pub request: Request,
}

/// All are idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Request {
    /// Sysctls of a member, and the link set up if `set_up`. Before its first address.
    Prepare {
        ifindex: Ifindex,
        name: IfName,
        set_up: bool,
    },
    /// Add an address in the form of design 5. `announce`: tell the neighbours as soon as the
    /// kernel's own notice has been seen, and again at 100 ms, 1 s and 5 s.
    SetAddress {
        ifindex: Ifindex,
        name: IfName,
        address: IpNet,
        role: Role,
        announce: Option<Peers>,
    },
    UnsetAddress {
        ifindex: Ifindex,
        name: IfName,
        address: IpNet,
    },
    /// Add the route or replace ours; a route of somebody else at the same key is EEXIST.
    SetRoute(WantedRoute),
    UnsetRoute(RouteKey),
    /// Remember and remove an address where it stands without our mark.
    TakeAddress(IpAddr),
    /// Remember and remove routes of somebody else that go where this one of ours goes.
    TakeRoutes(RouteKey),
    /// Attach the receive hook and open the sockets of a NIC; answered by `Event::Attached` too.
    Attach {
        ifindex: Ifindex,
        name: IfName,
        datapath: Datapath,
        consume_replies: bool,
        /// Replies bypass the hook that is attached: if nothing else explains it, its mode is of no use
        /// on this NIC.
        bypassed: bool,
    },
    /// Tell the neighbours that `address` is at this NIC, with the repeats; ends those of the same
    /// address elsewhere.
    Announce {
        ifindex: Ifindex,
        address: IpAddr,
        peers: Peers,
    },
    /// Remove addresses and routes that carry our mark and are in no configuration any more, when all
    /// that is configured stands (O2).
    RemoveUnconfigured,
    /// Ask all hosts of the LAN for an echo, from the test address; each that answers is told by
    /// `Event::Found`. With `neighbours` also those that the kernel's neighbour table has.
    Search {
        ifindex: Ifindex,
        name: IfName,
        test: IpAddr,
        neighbours: bool,
    },
    /// Read the device's transmit counter; answered by `Event::Transmits`.
    CountTransmits {
        ifindex: Ifindex,
        name: IfName,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Role {
    Data,
    /// IPv4 at scope link, IPv6 with preferred lifetime 0: never anybody's source.
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct WantedRoute {
    pub key: RouteKey,
    /// `None` for the route of a data subnet.
    pub via: Option<IpAddr>,
    pub src: IpAddr,
    /// One hop at the least.
    pub hops: Hops,
}

/// Gateways and configured targets that are told of a move by an ordinary ARP request or NS (N20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Peers([Option<IpAddr>; Peers::MAX]);

impl Peers {
    pub const MAX: usize = 8;

    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.0.iter().copied().flatten()
    }

    /// A ninth, or one that is there, is left out.
    pub fn push(&mut self, peer: IpAddr) {
        if self.iter().any(|p| p == peer) {
            return;
        }
        if let Some(place) = self.0.iter_mut().find(|p| p.is_none()) {
            *place = Some(peer);
        }
    }
}

/// To the slow thread: what is logged, kept and streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    Message(Message),
    /// FAILED, INACTIVE, OFFLINE or the set of proven targets has changed: write the state file.
    Persist,
    /// A probe was answered or given up; for `ipmpstat -p`.
    Probe(ProbeOutcome),
    /// Answer to a command.
    Reply(Result<(), CommandError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    pub interface: IfName,
    pub target: IpAddr,
    pub seq: Seq,
    pub sent: Instant,
    /// Stamp of the receive hook; `None` when lost.
    pub received: Option<Instant>,
    /// When the engine took it up.
    pub processed: Instant,
    /// Smoothed round-trip time and mean deviation of the path, ns; 0 = none yet.
    pub srtt: u64,
    pub rttvar: u64,
}

/// Why a command was refused (behaviour file 6.1, 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum CommandError {
    /// Not a member of any group.
    UnknownInterface,
    /// No other functioning interface is in its group.
    NoRedundancy,
    AlreadyOffline,
    NotOffline,
    /// Another member in service has its MAC.
    DuplicateMac,
}
