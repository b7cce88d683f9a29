//! What the administrator is told. The texts of behaviour file 8.6 are word for word, for people
//! grep for them; tests assert them as values.

use core::net::IpAddr;
use core::time::Duration;

use crate::event::{Errno, FoundBy, HookLoss, ReceiveMode, Unfit};
use crate::ids::{Family, GroupName, IfName, IpNet};
use crate::request::Request;

mod evidence;
mod text;
mod wish;

pub use evidence::{Evidence, Loss, Reason, Unwatched};
pub use wish::Wish;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    InterfaceFailed {
        interface: IfName,
        group: GroupName,
        evidence: Evidence,
    },
    InterfaceRepaired {
        interface: IfName,
        group: GroupName,
    },
    GroupFailed {
        group: GroupName,
    },
    GroupUsable {
        interface: IfName,
        group: GroupName,
    },
    LinkDown {
        interface: IfName,
    },
    LinkUp {
        interface: IfName,
    },
    LinkFlapping {
        interface: IfName,
    },
    /// One family is dead on this interface while it works on another one (design 2.8).
    FamilyFailed {
        interface: IfName,
        family: Family,
        group: GroupName,
        evidence: Evidence,
    },
    FamilyRepaired {
        interface: IfName,
        family: Family,
        group: GroupName,
    },
    /// No member hears a target of this family; the other family still works.
    FamilySilent {
        family: Family,
        group: GroupName,
    },
    Moved {
        address: IpAddr,
        from: Option<IfName>,
        to: IfName,
        took: Duration,
    },
    /// Another interface sent what this one was given to send, until now.
    Redirected {
        interface: IfName,
        family: Family,
        took: Duration,
    },
    Standby {
        interface: IfName,
        group: GroupName,
        active: bool,
    },
    Offline {
        interface: IfName,
        offline: bool,
    },
    FirstReply {
        interface: IfName,
        target: IpAddr,
        after: Duration,
    },
    TargetDead {
        target: IpAddr,
        interface: IfName,
    },
    TargetAlive {
        target: IpAddr,
        interface: IfName,
    },
    /// The target answers only part of the probes, as if it limited their rate (N23).
    TargetPoliced {
        target: IpAddr,
        interface: IfName,
        /// Per cent.
        answered: u8,
        /// Between two probes from now on.
        spacing: Duration,
    },
    TargetFull {
        target: IpAddr,
        interface: IfName,
    },
    /// It keeps the failure detection time from being met, and others do not.
    TargetSlow {
        target: IpAddr,
        interface: IfName,
    },
    TargetReplaced {
        target: IpAddr,
        by: IpAddr,
        interface: IfName,
    },
    /// More possible targets than an instance chooses from; at least `omitted` are not considered.
    TargetsOmitted {
        interface: IfName,
        family: Family,
        omitted: u32,
    },
    /// No router is known.
    Searching {
        interface: IfName,
        family: Family,
    },
    NobodyAnswers {
        interface: IfName,
        family: Family,
    },
    HostFound {
        target: IpAddr,
        interface: IfName,
        by: FoundBy,
    },
    ReturnDamped {
        interface: IfName,
        wait: Duration,
    },
    /// Has moved so often that it moves for balance no more (design 2.9).
    AddressHeld {
        address: IpAddr,
        interface: IfName,
        wait: Duration,
    },
    CannotMeetFdt {
        interface: IfName,
        family: Family,
        group: GroupName,
        requested: Duration,
        now: Duration,
        target: IpAddr,
        /// Why, where it is not that the target is slow.
        loss: Option<Loss>,
    },
    ImprovedFdt {
        interface: IfName,
        family: Family,
        group: GroupName,
        now: Duration,
        target: IpAddr,
    },
    NoTestAddress {
        interface: IfName,
    },
    /// Another host of the LAN has it too.
    DuplicateTest {
        interface: IfName,
        address: IpAddr,
        mac: [u8; 6],
    },
    /// Another host of the LAN has it too.
    DuplicateData {
        interface: IfName,
        address: IpAddr,
        mac: [u8; 6],
    },
    /// After [`Message::DuplicateTest`] or [`Message::DuplicateData`].
    UniqueAddress {
        interface: IfName,
        address: IpAddr,
    },
    /// Its duplicate detection has failed: it is left as it is, and not taken over.
    AddressRefused {
        interface: IfName,
        address: IpAddr,
    },
    /// More link-local addresses on one interface than are remembered.
    TooManyLinkLocals {
        interface: IfName,
        address: IpAddr,
    },
    /// A host answers for addresses that nobody can have.
    NeighbourProxy {
        interface: IfName,
        family: Family,
        mac: [u8; 6],
    },
    /// After [`Message::NoTestAddress`].
    TestAddressBack {
        interface: IfName,
    },
    /// No silent failure of this family would be found here. `target` and `others`: those that have
    /// never answered.
    Unwatched {
        interface: IfName,
        family: Family,
        reason: Unwatched,
        target: Option<IpAddr>,
        others: u8,
    },
    /// After [`Message::Unwatched`].
    Watched {
        interface: IfName,
        family: Family,
    },
    /// Not there at the start. `moved`: other members carry its addresses.
    Missing {
        interface: IfName,
        family: Family,
        group: GroupName,
        moved: bool,
    },
    DuplicateMac {
        interface: IfName,
        group: GroupName,
    },
    UniqueMac {
        interface: IfName,
        group: GroupName,
    },
    NewMac {
        interface: IfName,
        mac: [u8; 6],
    },
    /// The interface takes no addresses of a family that its group has.
    NotPlumbed {
        interface: IfName,
        family: Family,
        group: GroupName,
    },
    /// More interfaces outside of groups than can be watched.
    Crowded {
        interface: IfName,
        watched: usize,
    },
    /// After [`Message::NotPlumbed`].
    Consistent {
        interface: IfName,
        group: GroupName,
    },
    Removed {
        interface: IfName,
        family: Family,
    },
    /// A member that can't be one.
    Unfit {
        interface: IfName,
        unfit: Unfit,
    },
    Receiving {
        interface: IfName,
        mode: ReceiveMode,
    },
    /// The hook takes no replies any more; the sockets do until it is attached again. `held`: it was lost
    /// too often, and is attached again only after a pause.
    HookLost {
        interface: IfName,
        mode: ReceiveMode,
        loss: HookLoss,
        held: bool,
    },
    /// Frames that have come in can wait although we run: verdicts ask for a receive witness.
    ReceiveDeferred {
        interface: IfName,
    },
    RequestFailed {
        request: Request,
        errno: Errno,
    },
    /// An address of ours was gone or changed, and has been put back; a route likewise. `held`: it
    /// was done too often before, and had to wait.
    Drift {
        interface: IfName,
        address: IpAddr,
        held: bool,
    },
    RouteDrift {
        to: IpNet,
        held: bool,
    },
    /// What was taken over once was set by somebody else again, and was taken away.
    SetAgain {
        address: IpAddr,
        held: bool,
    },
    RouteSetAgain {
        to: IpNet,
        held: bool,
    },
    /// Our own thread was late by this much: verdicts are late, not false.
    Late {
        by: Duration,
        missed: u32,
    },
    /// The kernel took this long to set an address or a route: moves are late.
    KernelSlow {
        took: Duration,
    },
}

/// By meaning, not as the original, which says ERR to everything (contract, Log).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Critical,
    Error,
    Warning,
    Notice,
    Info,
}

impl Message {
    pub fn severity(&self) -> Severity {
        match self {
            Message::GroupFailed { .. } => Severity::Critical,
            Message::InterfaceFailed { .. }
            | Message::FamilyFailed { .. }
            | Message::FamilySilent { .. }
            | Message::DuplicateMac { .. }
            | Message::DuplicateTest { .. }
            | Message::DuplicateData { .. }
            | Message::AddressRefused { .. }
            | Message::NotPlumbed { .. }
            | Message::Unfit { .. }
            | Message::RequestFailed { .. } => Severity::Error,
            Message::LinkDown { .. }
            | Message::Missing { .. }
            | Message::Crowded { .. }
            | Message::Unwatched { .. }
            | Message::TooManyLinkLocals { .. }
            | Message::LinkFlapping { .. }
            | Message::TargetDead { .. }
            | Message::TargetPoliced { .. }
            | Message::Drift { .. }
            | Message::RouteDrift { .. }
            | Message::SetAgain { .. }
            | Message::RouteSetAgain { .. }
            | Message::HookLost { .. }
            | Message::Late { .. }
            | Message::KernelSlow { .. } => Severity::Warning,
            Message::InterfaceRepaired { .. }
            | Message::FamilyRepaired { .. }
            | Message::GroupUsable { .. }
            | Message::Watched { .. }
            | Message::LinkUp { .. }
            | Message::Moved { .. }
            | Message::Redirected { .. }
            | Message::Standby { .. }
            | Message::Offline { .. }
            | Message::NobodyAnswers { .. }
            | Message::TargetsOmitted { .. }
            | Message::UniqueMac { .. }
            | Message::UniqueAddress { .. }
            | Message::NeighbourProxy { .. }
            | Message::NewMac { .. }
            | Message::Consistent { .. }
            | Message::ReturnDamped { .. }
            | Message::AddressHeld { .. } => Severity::Notice,
            Message::FirstReply { .. }
            | Message::TargetAlive { .. }
            | Message::TargetFull { .. }
            | Message::TargetSlow { .. }
            | Message::TargetReplaced { .. }
            | Message::Searching { .. }
            | Message::HostFound { .. }
            | Message::CannotMeetFdt { .. }
            | Message::ImprovedFdt { .. }
            | Message::NoTestAddress { .. }
            | Message::TestAddressBack { .. }
            | Message::Removed { .. }
            | Message::Receiving { .. }
            | Message::ReceiveDeferred { .. } => Severity::Info,
        }
    }

    /// Value of the log field MPATHD_EVENT.
    pub fn event(&self) -> &'static str {
        match self {
            Message::InterfaceFailed { .. } => "interface-failed",
            Message::InterfaceRepaired { .. } => "interface-repaired",
            Message::GroupFailed { .. } => "group-failed",
            Message::GroupUsable { .. } => "group-usable",
            Message::LinkDown { .. } => "link-down",
            Message::LinkUp { .. } => "link-up",
            Message::LinkFlapping { .. } => "link-flapping",
            Message::FamilyFailed { .. } => "family-failed",
            Message::FamilyRepaired { .. } => "family-repaired",
            Message::FamilySilent { .. } => "family-silent",
            Message::Moved { .. } => "moved",
            Message::Redirected { .. } => "redirected",
            Message::Standby { .. } => "standby",
            Message::Offline { .. } => "offline",
            Message::FirstReply { .. } => "first-reply",
            Message::TargetDead { .. } => "target-dead",
            Message::TargetAlive { .. } => "target-alive",
            Message::TargetPoliced { .. } => "target-policed",
            Message::TargetFull { .. } => "target-full-rate",
            Message::TargetSlow { .. } => "target-slow",
            Message::TargetReplaced { .. } => "target-replaced",
            Message::TargetsOmitted { .. } => "targets-omitted",
            Message::Searching { .. } => "searching",
            Message::NobodyAnswers { .. } => "nobody-answers",
            Message::HostFound { .. } => "host-found",
            Message::ReturnDamped { .. } => "return-damped",
            Message::AddressHeld { .. } => "address-held",
            Message::CannotMeetFdt { .. } => "fdt-raised",
            Message::ImprovedFdt { .. } => "fdt-lowered",
            Message::NoTestAddress { .. } => "no-test-address",
            Message::TestAddressBack { .. } => "test-address",
            Message::Unwatched { .. } => "unwatched",
            Message::Watched { .. } => "watched",
            Message::Missing { .. } => "missing",
            Message::DuplicateMac { .. } => "duplicate-mac",
            Message::DuplicateTest { .. } => "duplicate-test-address",
            Message::DuplicateData { .. } => "duplicate-data-address",
            Message::UniqueAddress { .. } => "unique-address",
            Message::AddressRefused { .. } => "address-refused",
            Message::TooManyLinkLocals { .. } => "link-local-limit",
            Message::NeighbourProxy { .. } => "neighbour-proxy",
            Message::UniqueMac { .. } => "unique-mac",
            Message::NewMac { .. } => "new-mac",
            Message::NotPlumbed { .. } => "not-plumbed",
            Message::Consistent { .. } => "consistent",
            Message::Crowded { .. } => "crowded",
            Message::Removed { .. } => "removed",
            Message::Unfit { .. } => "unfit",
            Message::Receiving { .. } => "receiving",
            Message::HookLost { .. } => "datapath-lost",
            Message::ReceiveDeferred { .. } => "receive-deferred",
            Message::RequestFailed { .. } => "request-failed",
            Message::Drift { .. }
            | Message::RouteDrift { .. }
            | Message::SetAgain { .. }
            | Message::RouteSetAgain { .. } => "drift",
            Message::Late { .. } => "late",
            Message::KernelSlow { .. } => "kernel-slow",
        }
    }
}
