//! The picture for `ipmpstat`, metrics and tests: flat rows without borrowed data, filled anew
//! into the same buffers each time. What is observed, not what is wanted.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::event::ReceiveMode;
use crate::histogram::Histogram;
use crate::ids::{Family, GroupName, IfName, Ifindex, IpNet, Mac};
use crate::message::{Loss, Reason, Unwatched};
use crate::time::Instant;

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct View {
    /// When it was taken.
    pub at: Instant,
    /// Every data address that has a NIC is placed and its routes stand.
    pub settled: bool,
    /// Number of the configuration in force: 0 at the start, one more with each reload.
    #[cfg_attr(feature = "serde", serde(default))]
    pub revision: u32,
    /// What earlier configurations have left is gone.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tidied: bool,
    /// Some route that another group or gateway still has, for its new group has no link to carry it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub waiting_route: Option<WaitingRoute>,
    pub groups: Vec<GroupView>,
    pub interfaces: Vec<InterfaceView>,
    pub addresses: Vec<AddressView>,
    pub instances: Vec<InstanceView>,
    pub targets: Vec<TargetView>,
    /// Targets that have answered this host.
    pub proven: Vec<IpAddr>,
    pub lateness: Lateness,
}

/// A route as an earlier configuration has left it: better than none until the one that is configured can
/// stand in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WaitingRoute {
    pub to: IpNet,
    /// That it is to belong to.
    pub group: GroupName,
    /// By which it leads meanwhile.
    pub via: Option<IpAddr>,
    pub interface: Option<IfName>,
    /// So many routes are in this state.
    pub count: u32,
}

impl core::fmt::Display for WaitingRoute {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { to, group, via, interface, count } = *self;
        match to.len {
            0 => write!(f, "the default route")?,
            _ => write!(f, "the route to {to}")?,
        }
        match count {
            1 => write!(f, " still leads")?,
            _ => write!(f, " (and {} more) still leads", count - 1)?,
        }
        if let Some(via) = via {
            write!(f, " via {via}")?;
        }
        if let Some(interface) = interface {
            write!(f, " dev {interface}")?;
        }
        write!(f, " as before: no link of group {group} can carry it yet")
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupView {
    pub name: GroupName,
    pub state: GroupState,
    /// Achieved failure detection time; `None` while no interface is watched by probes.
    pub fdt: Option<Duration>,
    pub fdt_requested: Duration,
    pub failback: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum GroupState {
    Ok,
    Degraded,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InterfaceView {
    pub name: IfName,
    pub group: GroupName,
    /// `None`: configured, but not there.
    pub ifindex: Option<Ifindex>,
    /// Carries data traffic.
    pub active: bool,
    pub inactive: bool,
    pub standby: bool,
    pub down: bool,
    pub duplicate_mac: bool,
    pub offline: bool,
    /// Its link has been set up by us once.
    pub met: bool,
    pub link: LinkState,
    pub probe: ProbeState,
    pub state: InterfaceState,
    /// Families that are dead here while the interface is ok: inet, inet6.
    pub degraded: [bool; 2],
    /// Of the last failure, while it lasts.
    pub reason: Option<Reason>,
    /// Since when it is in this state.
    pub since: Instant,
    pub receive: Option<ReceiveMode>,
    /// Addresses are kept from returning for so long, or the flap guard keeps it from being repaired
    /// (design 2.9, 2.10).
    pub damped: Option<Duration>,
    /// Who sends for it until addresses and routes have moved, by family.
    #[cfg_attr(feature = "serde", serde(default))]
    pub redirected: [Option<IfName>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum LinkState {
    Up,
    Down,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum ProbeState {
    Ok,
    Failed,
    /// A test address, but no proven target.
    Unknown,
    /// No usable test address.
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum InterfaceState {
    Ok,
    Failed,
    Unknown,
    Offline,
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AddressView {
    pub address: IpNet,
    pub group: GroupName,
    /// It is up somewhere.
    pub up: bool,
    /// The member it is bound to; inbound traffic comes there.
    pub inbound: Option<IfName>,
    /// The member it is to be on, if that is another one.
    pub wanted: Option<IfName>,
    /// It has moved too often: for so long it leaves its member only if that dies (design 2.9).
    pub held: Option<Duration>,
    /// Another host that has it too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub conflict: Option<Mac>,
    /// It is on this interface alone, and refused by duplicate detection.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused: Option<IfName>,
}

/// Interface x family: what is probed, and how its targets were found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InstanceView {
    pub interface: IfName,
    pub family: Family,
    pub mode: TargetMode,
    pub test: Option<IpAddr>,
    /// Another host that has the test address too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub conflict: Option<Mac>,
    /// Between two rounds.
    pub interval: Duration,
    pub rounds_missed: u32,
    #[cfg_attr(feature = "serde", serde(default))]
    pub loss: Loss,
    /// Expected by chance, from the loss and its bursts.
    #[cfg_attr(feature = "serde", serde(default))]
    pub false_failures_per_year: f64,
    /// Why no silent failure would be found here, if that is so.
    #[cfg_attr(feature = "serde", serde(default))]
    pub unwatched: Option<Unwatched>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum TargetMode {
    Disabled,
    Pinned,
    Routes,
    Multicast,
    Neighbors,
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TargetView {
    pub interface: IfName,
    pub family: Family,
    pub target: IpAddr,
    pub state: TargetState,
    /// Between two probes.
    pub interval: Duration,
    /// Index of its slot in the kernel maps.
    pub path: u16,
    pub sent: u64,
    pub acked: u64,
    pub lost: u64,
    /// Smoothed round-trip time and mean deviation, ns; 0 = none yet.
    pub srtt: u64,
    pub rttvar: u64,
    pub last_reply: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum TargetState {
    /// Counts for the verdict.
    Active,
    /// Has never answered this host: counts for nothing (design 2.5).
    Unproven,
    /// Silent here while others answer.
    Dead,
    /// Limits what it answers: probed less often. Its silence counts at that pace, each answer at once.
    Policed,
}

/// How late our own thread ran: the daemon names its own blindness.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lateness {
    /// Of `wakes`.
    pub max: Duration,
    pub rounds_missed: u64,
    /// Of `requests`.
    pub request_max: Duration,
    /// From the moment of each wake-up that was asked for to the turn.
    #[cfg_attr(feature = "serde", serde(default))]
    pub wakes: Histogram,
    /// From the decision to the kernel's answer, RTNL wait included: requests that set or unset addresses
    /// and routes.
    #[cfg_attr(feature = "serde", serde(default))]
    pub requests: Histogram,
}
