//! Routes of ours: protocol 109 at a metric of our own. The kernel replaces by prefix, TOS and metric
//! whoever made the route (N12), so nothing is replaced that was not seen to be ours, and where
//! nothing was seen the request is exclusive.

use std::net::IpAddr;

use mpathd_core::event::{Hops, RouteKey};
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::WantedRoute;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::PROTOCOL;
use super::facts::RouteFact;
use super::mirror::Mirror;
use super::netlink::{Refused, Requests};
use super::nexthop;

/// A route that may be asked for.
pub(super) struct Sound {
    /// Its place among those that were wanted.
    pub(super) at: usize,
    pub(super) wanted: WantedRoute,
    /// What stands at its key.
    pub(super) stands: Option<Standing>,
}

/// A route that is ours, or is to be.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub(super) src: Option<IpAddr>,
    pub(super) nexthop: Option<u32>,
}

impl Sound {
    /// NLM_F_*: it is replaced, or nothing may stand there.
    pub(super) fn flags(&self) -> u16 {
        NLM_F_CREATE | if self.stands.is_some() { NLM_F_REPLACE } else { NLM_F_EXCL }
    }
}

/// Adds a route or replaces ours in one step.
///
/// # Errors
/// As [`set_all`].
pub(super) fn set(
    requests: &mut Requests,
    mirror: &Mirror,
    wanted: &WantedRoute,
) -> Result<(), Refused> {
    set_all(requests, mirror, std::slice::from_ref(wanted)).into_iter().collect()
}

/// Adds routes or replaces ours, each in one step; what came of each.
///
/// # Errors
/// EEXIST where somebody else's route stands at the key and goes another way; else the kernel's, EINVAL
/// where `src` is not on this host or a hop's device is down (ENETDOWN).
pub(super) fn set_all(
    requests: &mut Requests,
    mirror: &Mirror,
    all: &[WantedRoute],
) -> Vec<Result<(), Refused>> {
    let mut results = vec![Ok(()); all.len()];
    let mut objects = nexthop::Objects::of(mirror);
    // A gateway is reached by the route of its subnet, which goes first.
    for of_subnets in [true, false] {
        let (mut plain, mut by_objects) = (Vec::new(), Vec::new());
        for (at, wanted) in all.iter().enumerate().filter(|(_, w)| w.via.is_none() == of_subnets) {
            match sound(mirror, at, wanted) {
                Ok(sound) if goes_by_objects(mirror, wanted) => by_objects.push(sound),
                Ok(sound) => plain.push(sound),
                Err(refused) => results[at] = Err(refused),
            }
        }
        let message =
            |it: &Sound| (RouteNetlinkMessage::NewRoute(multipath(&it.wanted)), it.flags());
        let answers = requests.each(plain.iter().map(message).collect());
        plain.iter().zip(answers).for_each(|(it, answer)| results[it.at] = answer);
        nexthop::set_routes(requests, mirror, &mut objects, &by_objects, &mut results);
    }
    results
}

/// Whether it goes by a group of next-hop objects: all of IPv6, which takes no multipath route without
/// a gateway (N6), and of IPv4 those that are many by one gateway, for a group is replaced in one
/// message, whatever uses it.
pub(super) fn goes_by_objects(mirror: &Mirror, wanted: &WantedRoute) -> bool {
    match wanted.key.to.family() {
        Family::Inet => wanted.via.is_some_and(|via| mirror.is_busy_gateway(via)),
        Family::Inet6 => true,
    }
}

fn sound(mirror: &Mirror, at: usize, wanted: &WantedRoute) -> Result<Sound, Refused> {
    if wanted.hops.as_slice().is_empty() {
        return Err(Refused::with(libc::EINVAL, "a route needs one hop at the least"));
    }
    let wanted = WantedRoute { key: normal(&wanted.key), ..*wanted };
    let fact = mirror.route(&wanted.key);
    let ours = |fact: &&RouteFact| fact.protocol == PROTOCOL || mirror.goes_our_way(fact).is_some();
    if let Some(fact) = fact.filter(|fact| !ours(fact)) {
        let text = format!("a route of protocol {} stands there already", fact.protocol);
        return Err(Refused::with(libc::EEXIST, text));
    }
    let stands = fact.map(|fact| Standing { src: fact.src, nexthop: fact.nexthop });
    Ok(Sound { at, wanted, stands })
}

/// Removes a route of ours; one that is not there, or not ours, is no error. What it leaves of
/// next-hop objects goes at the next survey.
///
/// # Errors
/// The kernel's.
pub(super) fn unset(requests: &mut Requests, key: &RouteKey) -> Result<(), Refused> {
    match requests.request(RouteNetlinkMessage::DelRoute(base(&normal(key))), 0) {
        Err(refused) if refused.errno != libc::ESRCH => Err(refused),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The kernel knows prefixes without host bits only.
fn normal(key: &RouteKey) -> RouteKey {
    RouteKey { to: key.to.network(), ..*key }
}

/// Header, destination, table and metric. The protocol makes a deletion pass by what is not ours.
pub(super) fn base(key: &RouteKey) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: match key.to.family() {
            Family::Inet => AddressFamily::Inet,
            Family::Inet6 => AddressFamily::Inet6,
        },
        destination_prefix_length: key.to.len,
        // Tables beyond 255 are named by the attribute alone.
        table: u8::try_from(key.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        protocol: RouteProtocol::from(PROTOCOL),
        scope: RouteScope::NoWhere,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    if key.to.len > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(key.to.address)));
    }
    message.attributes.push(RouteAttribute::Table(key.table));
    message.attributes.push(RouteAttribute::Priority(key.metric));
    message
}

fn multipath(wanted: &WantedRoute) -> RouteMessage {
    let mut message = base(&wanted.key);
    message.header.scope =
        if wanted.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(wanted.src)));
    match single(&wanted.hops) {
        Some(hop) => {
            if let Some(via) = wanted.via {
                message.header.flags |= RouteFlags::Onlink;
                message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(via)));
            }
            message.attributes.push(RouteAttribute::Oif(hop.0));
        }
        None => message.attributes.push(RouteAttribute::MultiPath(
            wanted.hops.as_slice().iter().map(|hop| next_hop(*hop, wanted.via)).collect(),
        )),
    }
    message
}

fn single(hops: &Hops) -> Option<Ifindex> {
    match hops.as_slice() {
        [hop] => Some(*hop),
        _ => None,
    }
}

/// Onlink: the gateway is a neighbour on every member, also on one that the subnet's own route
/// passes by for want of an address (N8).
fn next_hop(hop: Ifindex, via: Option<IpAddr>) -> RouteNextHop {
    let mut next = RouteNextHop::default();
    next.interface_index = hop.0;
    if let Some(via) = via {
        next.flags = RouteNextHopFlags::Onlink;
        next.attributes = vec![RouteAttribute::Gateway(RouteAddress::from(via))];
    }
    next
}
