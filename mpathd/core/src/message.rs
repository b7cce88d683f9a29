//! What the administrator is told. The texts of behaviour file 8.6 are word for word, for people
//! grep for them; tests assert them as values.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::event::{Errno, FoundBy, ReceiveMode, Unfit};
use crate::ids::{Family, GroupName, IfName, IpNet};
use crate::request::Request;

mod evidence;
mod wish;

pub use evidence::{Evidence, Reason};
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
    CannotMeetFdt {
        interface: IfName,
        family: Family,
        group: GroupName,
        requested: Duration,
        now: Duration,
        target: IpAddr,
    },
    ImprovedFdt {
        interface: IfName,
        family: Family,
        group: GroupName,
        now: Duration,
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
    /// After [`Message::NoTestAddress`] or [`Message::DuplicateTest`].
    TestAddressBack {
        interface: IfName,
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
}

/// ` of group g`; nothing for the anonymous group (behaviour file 8.6).
struct Of(GroupName);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_anonymous() { Ok(()) } else { write!(f, " of group {}", self.0) }
    }
}

struct MacText([u8; 6]);

impl fmt::Display for MacText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

fn version(family: Family) -> &'static str {
    match family {
        Family::Inet => "IPv4",
        Family::Inet6 => "IPv6",
    }
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
            | Message::NotPlumbed { .. }
            | Message::Unfit { .. }
            | Message::RequestFailed { .. } => Severity::Error,
            Message::LinkDown { .. }
            | Message::Missing { .. }
            | Message::Crowded { .. }
            | Message::LinkFlapping { .. }
            | Message::TargetDead { .. }
            | Message::Drift { .. }
            | Message::RouteDrift { .. }
            | Message::SetAgain { .. }
            | Message::RouteSetAgain { .. }
            | Message::Late { .. } => Severity::Warning,
            Message::InterfaceRepaired { .. }
            | Message::FamilyRepaired { .. }
            | Message::GroupUsable { .. }
            | Message::LinkUp { .. }
            | Message::Moved { .. }
            | Message::Standby { .. }
            | Message::Offline { .. }
            | Message::NobodyAnswers { .. }
            | Message::UniqueMac { .. }
            | Message::NewMac { .. }
            | Message::Consistent { .. }
            | Message::ReturnDamped { .. } => Severity::Notice,
            Message::FirstReply { .. }
            | Message::TargetAlive { .. }
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
            Message::Standby { .. } => "standby",
            Message::Offline { .. } => "offline",
            Message::FirstReply { .. } => "first-reply",
            Message::TargetDead { .. } => "target-dead",
            Message::TargetAlive { .. } => "target-alive",
            Message::TargetSlow { .. } => "target-slow",
            Message::TargetReplaced { .. } => "target-replaced",
            Message::Searching { .. } => "searching",
            Message::NobodyAnswers { .. } => "nobody-answers",
            Message::HostFound { .. } => "host-found",
            Message::ReturnDamped { .. } => "return-damped",
            Message::CannotMeetFdt { .. } => "fdt-raised",
            Message::ImprovedFdt { .. } => "fdt-lowered",
            Message::NoTestAddress { .. } => "no-test-address",
            Message::TestAddressBack { .. } => "test-address",
            Message::Missing { .. } => "missing",
            Message::DuplicateMac { .. } => "duplicate-mac",
            Message::DuplicateTest { .. } => "duplicate-test-address",
            Message::UniqueMac { .. } => "unique-mac",
            Message::NewMac { .. } => "new-mac",
            Message::NotPlumbed { .. } => "not-plumbed",
            Message::Consistent { .. } => "consistent",
            Message::Crowded { .. } => "crowded",
            Message::Removed { .. } => "removed",
            Message::Unfit { .. } => "unfit",
            Message::Receiving { .. } => "receiving",
            Message::ReceiveDeferred { .. } => "receive-deferred",
            Message::RequestFailed { .. } => "request-failed",
            Message::Drift { .. }
            | Message::RouteDrift { .. }
            | Message::SetAgain { .. }
            | Message::RouteSetAgain { .. } => "drift",
            Message::Late { .. } => "late",
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::InterfaceFailed { interface, group, .. } => {
                write!(f, "IP interface failure detected on {interface}{}", Of(*group))
            }
            Message::InterfaceRepaired { interface, group } => {
                write!(f, "IP interface repair detected on {interface}{}", Of(*group))
            }
            Message::GroupFailed { group } => {
                write!(f, "All IP interfaces in group {group} are now unusable")
            }
            Message::GroupUsable { interface, group } => {
                write!(f, "At least 1 IP interface ({interface}) in group {group} is now usable")
            }
            Message::LinkDown { interface } => write!(f, "The link has gone down on {interface}"),
            Message::LinkUp { interface } => write!(f, "The link has come up on {interface}"),
            Message::LinkFlapping { interface } => write!(
                f,
                "The link has come up on {interface} more than 2 times in the last minute; \
                 disabling repair until it stabilizes"
            ),
            Message::FamilyFailed { interface, family, group, .. } => {
                write!(f, "{family} failure detected on {interface}{}", Of(*group))
            }
            Message::FamilyRepaired { interface, family, group } => {
                write!(f, "{family} repair detected on {interface}{}", Of(*group))
            }
            Message::FamilySilent { family, group } => {
                write!(f, "All {family} targets of group {group} are silent on every interface")
            }
            Message::Moved { address, from, to, took } => {
                let ms = took.as_secs_f64() * 1e3;
                match from {
                    Some(from) => write!(f, "moved {address} from {from} to {to} in {ms:.1} ms"),
                    None => write!(f, "placed {address} on {to} in {ms:.1} ms"),
                }
            }
            Message::Standby { interface, group, active: true } => {
                write!(f, "{interface} takes part in group {group}")
            }
            Message::Standby { interface, group, active: false } => {
                write!(f, "{interface} stands by in group {group}")
            }
            Message::Offline { interface, offline: true } => write!(f, "{interface} is offline"),
            Message::Offline { interface, offline: false } => {
                write!(f, "{interface} is no longer offline")
            }
            Message::FirstReply { interface, target, after } => write!(
                f,
                "first reply on {interface} from {target} after {:.3} s",
                after.as_secs_f64()
            ),
            Message::TargetDead { target, interface } => write!(
                f,
                "Target {target} is silent on {interface} while others answer; it no longer counts there"
            ),
            Message::TargetAlive { target, interface } => {
                write!(f, "Target {target} answers on {interface} again")
            }
            Message::TargetSlow { target, interface } => write!(
                f,
                "Target {target} is too slow on {interface} for the failure detection time; \
                 it is not probed there for a minute"
            ),
            Message::TargetReplaced { target, by, interface } => {
                write!(f, "Target {by} takes the place of {target} on {interface}")
            }
            Message::Searching { interface, family } => write!(
                f,
                "No {family} router is known on the test subnet of {interface}; \
                 looking for hosts that answer an echo request to {}",
                all_hosts(*family)
            ),
            Message::NobodyAnswers { interface, family } => write!(
                f,
                "No host answers an echo request to {} on {interface} (many ignore such requests); \
                 {family} neighbors that the kernel knows are tried instead",
                all_hosts(*family)
            ),
            Message::HostFound { target, interface, by: FoundBy::Echo } => {
                write!(f, "Host {target} answers on {interface} and becomes a target")
            }
            Message::HostFound { target, interface, by: FoundBy::Neighbours } => {
                write!(f, "Neighbor {target} on {interface} becomes a target")
            }
            Message::ReturnDamped { interface, wait } => write!(
                f,
                "{interface} has failed repeatedly; addresses return to it in {:.0} s",
                wait.as_secs_f64()
            ),
            Message::CannotMeetFdt { interface, family, group, requested, now, .. } => write!(
                f,
                "Cannot meet requested failure detection time of {} ms on ({family} {interface}) \
                 new failure detection time for group \"{group}\" is {} ms",
                requested.as_millis(),
                now.as_millis()
            ),
            Message::ImprovedFdt { interface, family, group, now } => write!(
                f,
                "Improved failure detection time {} ms on ({family} {interface}) for group \"{group}\"",
                now.as_millis()
            ),
            Message::NoTestAddress { interface } => write!(
                f,
                "No test address configured on interface {interface}; \
                 disabling probe-based failure detection on it"
            ),
            Message::TestAddressBack { interface } => write!(
                f,
                "Test address now configured on interface {interface}; \
                 enabling probe-based failure detection on it"
            ),
            Message::Missing { interface, family, group, moved } => {
                let version = version(*family);
                write!(f, "moving addresses from missing {version} interfaces: {interface} (")?;
                if *moved {
                    write!(f, "moved to {group})")
                } else {
                    write!(f, "not moved -- no interface of {group} is there)")
                }
            }
            Message::DuplicateMac { interface, group } => write!(
                f,
                "IP interface {interface} has a hardware address which is not unique \
                 in group {group}; offlining"
            ),
            Message::UniqueMac { interface, group } => write!(
                f,
                "IP interface {interface} now has a unique hardware address \
                 in group {group}; onlining"
            ),
            Message::NewMac { interface, mac } => write!(
                f,
                "{interface} has another hardware address: {}; its neighbours are told",
                MacText(*mac)
            ),
            Message::DuplicateTest { interface, address, mac } => write!(
                f,
                "Test address {address} is not unique in group; disabling probe-based failure \
                 detection on {interface}: {} has it too",
                MacText(*mac)
            ),
            Message::NotPlumbed { interface, family, group } => {
                let version = version(*family);
                write!(
                    f,
                    "IP interface {interface} in group {group} is not plumbed for {version}, \
                     affecting {version} connectivity"
                )
            }
            Message::Crowded { interface, watched } => write!(
                f,
                "{interface} is not watched, nor is what comes after it: {watched} interfaces outside of \
                 groups are, and no more can be; name those that matter in groups"
            ),
            // The two blanks are the original's.
            Message::Consistent { interface, group } => write!(
                f,
                "IP interface {interface} is now consistent with group {group}  \
                 and connectivity is restored"
            ),
            Message::Removed { interface, family } => {
                write!(f, "{family} {interface} has been removed from kernel")
            }
            Message::Unfit { interface, unfit } => {
                write!(f, "{interface} can't be a member of a group: ")?;
                f.write_str(match unfit {
                    Unfit::Enslaved => {
                        "it is a port of a bond, bridge, team or VRF; release it with \
                         `ip link set DEV nomaster`"
                    }
                    Unfit::NotEthernet => "it is not an Ethernet device",
                    Unfit::SharedMac => "an ipvlan device shares the MAC address of its parent",
                })
            }
            Message::Receiving { interface, mode } => {
                let mode = match mode {
                    ReceiveMode::Xdp => "native XDP",
                    ReceiveMode::Tcx => "tcx ingress",
                    ReceiveMode::XdpGeneric => "generic XDP",
                    ReceiveMode::Socket => "a packet socket",
                };
                write!(f, "{interface} receives replies through {mode}")
            }
            Message::ReceiveDeferred { interface } => write!(
                f,
                "received frames can wait on {interface} while this host is busy (threaded NAPI, or Linux \
                 before 6.5); it is probed more often, and silence is believed once other frames have been \
                 handled"
            ),
            Message::RequestFailed { request, errno } => {
                write!(f, "{} failed: errno {}", Wish(request), errno.0)
            }
            Message::Drift { interface, address, held } => write!(
                f,
                "{address} on {interface} was changed by somebody else; it was put back{}",
                pace(*held)
            ),
            Message::RouteDrift { to, held } => write!(
                f,
                "the route to {to} was changed by somebody else; it was put back{}",
                pace(*held)
            ),
            Message::SetAgain { address, held } => write!(
                f,
                "{address} was set by somebody else once more; it was taken away{}",
                pace(*held)
            ),
            Message::RouteSetAgain { to, held } => write!(
                f,
                "a route to {to} was set by somebody else once more; it was taken away{}",
                pace(*held)
            ),
            Message::Late { by, missed } => write!(
                f,
                "missed sending {missed} rounds of probes: this host ran mpathd {:.1} ms late",
                by.as_secs_f64() * 1e3
            ),
        }
    }
}

/// The address that all hosts of a LAN hear (RFC 1112 4, RFC 4291 2.7.1).
fn all_hosts(family: Family) -> &'static str {
    match family {
        Family::Inet => "224.0.0.1",
        Family::Inet6 => "ff02::1",
    }
}

/// How often somebody is answered who insists (O17).
fn pace(held: bool) -> &'static str {
    if held { "; that is done once in 10 s now" } else { "" }
}
