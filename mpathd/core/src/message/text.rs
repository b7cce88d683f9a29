//! The words for people. Those of behaviour file 8.6 are the original's.

use core::fmt;

use super::{Message, Unwatched, Wish};
use crate::config::MAX_CANDIDATES;
use crate::event::{FoundBy, HookLoss, ReceiveMode, Unfit};
use crate::ids::{Family, GroupName, Mac};

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
            Message::Redirected { interface, family, took } => write!(
                f,
                "{family} traffic of {interface} left by another interface for {:.1} ms, until its \
                 addresses and routes had moved",
                took.as_secs_f64() * 1e3
            ),
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
            Message::TargetPoliced { target, interface, answered, spacing } => write!(
                f,
                "Target {target} answers only {answered} % of the probes on {interface}, as if it \
                 limited their rate; it is probed every {:.0} ms there",
                spacing.as_secs_f64() * 1e3
            ),
            Message::TargetFull { target, interface } => {
                write!(f, "Target {target} is probed at the full rate on {interface} again")
            }
            Message::TargetSlow { target, interface } => write!(
                f,
                "Target {target} is too slow on {interface} for the failure detection time; \
                 it is not probed there for a minute"
            ),
            Message::TargetReplaced { target, by, interface } => {
                write!(f, "Target {by} takes the place of {target} on {interface}")
            }
            Message::TargetsOmitted { interface, family, omitted } => write!(
                f,
                "{family} targets on {interface} are chosen from {MAX_CANDIDATES} candidates, and at least \
                 {omitted} more are left out: configured targets count in their order; of next hops \
                 gateways of default routes come first, then other gateways, then host routes"
            ),
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
            Message::AddressHeld { address, interface, wait } => write!(
                f,
                "{address} has moved too often; for {:.0} s it leaves {interface} only if it must",
                wait.as_secs_f64()
            ),
            Message::CannotMeetFdt { interface, family, group, requested, now, loss, .. } => {
                let requested = requested.as_millis();
                write!(
                    f,
                    "Cannot meet requested failure detection time of {requested} ms on ({family} {interface}) \
                     new failure detection time for group \"{group}\" is {} ms",
                    now.as_millis().max(requested + 1)
                )?;
                loss.map_or(Ok(()), |loss| write!(f, ": {loss}"))
            }
            Message::ImprovedFdt { interface, family, group, now, .. } => write!(
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
            Message::Unwatched { interface, family, reason, target, others } => {
                write!(f, "Nothing watches {family} of {interface}: {reason}")?;
                match (reason, target, others) {
                    (Unwatched::NoReply, Some(target), 0) => write!(f, " ({target})"),
                    (Unwatched::NoReply, Some(target), _) => {
                        write!(f, " ({target} and {others} more)")
                    }
                    _ => Ok(()),
                }
            }
            Message::Watched { interface, family } => {
                write!(f, "{family} of {interface} is watched again")
            }
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
                Mac(*mac)
            ),
            Message::DuplicateTest { interface, address, mac } => write!(
                f,
                "Test address {address} on {interface} is also used by {}; one of the two hosts must \
                 give it up (probing goes on, but silence is no failure as long as this lasts)",
                Mac(*mac)
            ),
            Message::DuplicateData { interface, address, mac } => write!(
                f,
                "Data address {address} on {interface} is also used by {}; \
                 one of the two hosts must give it up",
                Mac(*mac)
            ),
            Message::UniqueAddress { interface, address } => {
                write!(f, "{address} on {interface} is no longer used by another host")
            }
            Message::AddressRefused { interface, address } => write!(
                f,
                "{address} on {interface} is not usable: its duplicate address detection has failed, so \
                 another host has it; it is left as it is, and not set elsewhere, until it is removed \
                 from {interface} (`ip address del`)"
            ),
            Message::TooManyLinkLocals { interface, address } => write!(
                f,
                "{address} on {interface} is one link-local address too many to be remembered as a test \
                 address; if the others go, {interface} is not probed"
            ),
            Message::NeighbourProxy { interface, family, mac } => write!(
                f,
                "{} answers for every {} address on {interface}, as a proxy does; its answers are \
                 no address conflict",
                Mac(*mac),
                version(*family)
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
                write!(f, "{interface} receives replies through {}", hook(*mode))
            }
            Message::HookLost { interface, mode, loss, held } => {
                let (mode, when) = (hook(*mode), if *held { "after a pause" } else { "now" });
                match loss {
                    HookLoss::Detached => write!(
                        f,
                        "another program has detached or replaced the receive hook ({mode}) of {interface}"
                    )?,
                    HookLoss::Bypassed => write!(
                        f,
                        "replies on {interface} bypass its receive hook ({mode}): another program has detached \
                         it, or takes frames before it"
                    )?,
                }
                write!(
                    f,
                    "; a packet socket receives the replies, and the hook is attached again {when}"
                )
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
            Message::KernelSlow { took } => write!(
                f,
                "the kernel took {:.1} ms to set an address or route: others held RTNL, its lock for \
                 network configuration, as they do where containers come and go; moves are late by that",
                took.as_secs_f64() * 1e3
            ),
        }
    }
}

fn hook(mode: ReceiveMode) -> &'static str {
    match mode {
        ReceiveMode::Xdp => "native XDP",
        ReceiveMode::Tcx => "tcx ingress",
        ReceiveMode::XdpGeneric => "generic XDP",
        ReceiveMode::Socket => "a packet socket",
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
    if held { "; further repairs are delayed, by up to 10 s" } else { "" }
}

/// ` of group g`; nothing for the anonymous group (behaviour file 8.6).
struct Of(GroupName);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_anonymous() { Ok(()) } else { write!(f, " of group {}", self.0) }
    }
}

fn version(family: Family) -> &'static str {
    match family {
        Family::Inet => "IPv4",
        Family::Inet6 => "IPv6",
    }
}
