//! The checked configuration: what the engine works from. Made by `mpathd::config` from text;
//! the engine trusts that its rules (unique addresses, prefixes, bounds) hold.

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::ids::{Family, GroupName, IfName, IpNet};

/// Members a group may have: the next hops of one route travel in one message.
pub const MAX_MEMBERS: usize = 32;
/// Members in all; more than there are slots for in the kernel's maps.
pub const MAX_SEATS: usize = 256;
/// Active targets of an instance (behaviour file 0.3, MAX_PROBE_TARGETS).
pub const MAX_TARGETS: usize = 5;
/// Targets that are probed in any case where there are that many (behaviour file 0.3,
/// MIN_PROBE_TARGETS).
pub const MIN_TARGETS: usize = 3;
/// Targets an instance chooses from: those beyond five take the place of dead and slow ones.
pub const MAX_CANDIDATES: usize = 16;
/// Unanswered probes that make a failure (founding text: "five consecutive probes").
pub const LOSSES_TO_FAIL: u8 = 5;
/// So many make one in any case, whatever chance does on a path: twice the failure detection time. Less
/// than once a year by chance up to 14 % of silent rounds at an FDT of 10 ms; a path that loses more is
/// better left, and the sooner the more it loses.
pub const MOST_LOSSES_TO_FAIL: u8 = 12;
/// Metric of our routes, better than what ifupdown (0 aside), networkd and DHCP clients use (N12).
pub const ROUTE_METRIC: u32 = 5;
/// The kernel's main routing table.
pub const TABLE_MAIN: u32 = 254;

/// All groups, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub groups: Vec<Group>,
}

impl Config {
    /// The groups of the file, without the anonymous one.
    pub fn named(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| !group.is_anonymous())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: GroupName,
    /// Failure detection time, 5 ms at the least.
    pub fdt: Duration,
    pub failback: bool,
    /// Defers the verdict on a member that never answered.
    pub quiet_period: Duration,
    /// Data addresses, in file order; number i goes at first to member i mod n.
    pub data: Vec<IpNet>,
    /// Configured targets; if any, only they decide.
    pub targets: Vec<IpAddr>,
    pub routes: Vec<Route>,
    /// 1 to [`MAX_MEMBERS`] members, in file order.
    pub members: Vec<Member>,
}

/// Begins the name of a seat: the kernel takes no name with a blank (dev_valid_name).
const SEAT: char = ' ';

/// No interface's name, but that of a seat in the anonymous group.
pub fn is_seat(name: IfName) -> bool {
    name.as_str().starts_with(SEAT)
}

impl Group {
    /// The anonymous group: its members are `seats`, named as no interface can be.
    pub fn anonymous(fdt: Duration, quiet_period: Duration, seats: usize) -> Self {
        let seat = |i: usize| Member {
            name: IfName::new(&format!("{SEAT}{i}")).unwrap_or_else(|| unreachable!("it fits")),
            standby: false,
            test: [None; 2],
            datapath: Datapath::Socket,
            consume_replies: false,
        };
        Self {
            name: GroupName::ANONYMOUS,
            fdt,
            failback: true,
            quiet_period,
            data: Vec::new(),
            targets: Vec::new(),
            routes: Vec::new(),
            members: (0..seats).map(seat).collect(),
        }
    }

    pub fn is_anonymous(&self) -> bool {
        self.name.is_anonymous()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: IfName,
    pub standby: bool,
    /// Test address per family, indexed by [`Family`].
    pub test: [Option<TestAddress>; 2],
    pub datapath: Datapath,
    /// Matched replies go no further than the hook.
    pub consume_replies: bool,
}

impl Member {
    pub fn test(&self, family: Family) -> Option<TestAddress> {
        self.test[family as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestAddress {
    /// Placed by us; the prefix says which targets are on its subnet.
    Static(IpNet),
    /// The kernel's own fe80:: address of the NIC; never placed or removed by us.
    LinkLocal,
}

/// A route of the administrator that follows the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination; length 0 is the default route.
    pub to: IpNet,
    pub via: IpAddr,
    pub metric: u32,
    pub table: u32,
    /// A data address; by default the first of the family whose subnet holds `via`.
    pub src: Option<IpAddr>,
}

/// Which hook receives the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Datapath {
    #[default]
    Auto,
    Xdp,
    XdpGeneric,
    Tcx,
    Socket,
}
