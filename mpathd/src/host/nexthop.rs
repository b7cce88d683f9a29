//! IPv6 routes go through a group of next-hop objects, for IPv6 takes no multipath route without a
//! gateway (N6). A group is replaced in one message and never becomes empty. The kernel's tables are
//! the only memory: numbers are found again by what they stand for, so a restart reuses them.
//! packet-route has no such message, so they are written here (linux/nexthop.h).

use std::collections::BTreeSet;
use std::net::IpAddr;

use mpathd_core::ids::Ifindex;
use mpathd_core::request::WantedRoute;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteScope};

use super::PROTOCOL;
use super::facts::{AF_INET6, Hop, NexthopKind, RTM_DELNEXTHOP, RTM_NEWNEXTHOP};
use super::mirror::Mirror;
use super::netlink::{Refused, Requests, attribute};
use super::route;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// Our numbers: "mp" in the upper half, so that `ip nexthop` shows whose they are at a glance and
/// those of routing daemons, which count from below, are far away.
const FIRST: u32 = 0x6d70_0000;
const LAST: u32 = 0x6d70_ffff;

/// Sets an IPv6 route; `flags` as [`route::set`] found them to be safe.
///
/// # Errors
/// The kernel's.
pub(super) fn set_route(
    requests: &mut Requests,
    mirror: &Mirror,
    wanted: &WantedRoute,
    flags: u16,
) -> Result<(), Refused> {
    let mut numbers = Numbers::of(mirror);
    let mut members = Vec::new();
    for ifindex in wanted.hops.as_slice() {
        members.push(hop(requests, mirror, &mut numbers, *ifindex, wanted.via)?);
    }
    let known = mirror.route(&wanted.key);
    let group = known.and_then(|fact| fact.nexthop).filter(|id| is_group(mirror, *id));
    let replaced = match group {
        Some(id) => replace_group(requests, id, &members)?,
        None => false,
    };
    if replaced && known.is_some_and(|fact| fact.src == Some(wanted.src)) {
        return Ok(());
    }
    let id = group.unwrap_or_else(|| numbers.take());
    if !replaced {
        set_group(requests, id, &members, NLM_F_CREATE | NLM_F_EXCL)?;
    }
    let mut message = route::base(&wanted.key);
    message.header.scope = RouteScope::Universe;
    message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(wanted.src)));
    message.attributes.push(RouteAttribute::NhId(id));
    requests.request(RouteNetlinkMessage::NewRoute(message), flags)
}

/// `false` where the group has gone: emptied by links that went down, unsaid, and its routes with it.
fn replace_group(requests: &mut Requests, id: u32, members: &[u32]) -> Result<bool, Refused> {
    match set_group(requests, id, members, NLM_F_REPLACE) {
        Ok(()) => Ok(true),
        Err(refused) if refused.errno == libc::ENOENT => Ok(false),
        Err(refused) => Err(refused),
    }
}

/// Numbers of our range that are taken.
struct Numbers(BTreeSet<u32>);

impl Numbers {
    fn of(mirror: &Mirror) -> Self {
        Self(mirror.nexthops().map(|n| n.id).filter(|id| (FIRST..=LAST).contains(id)).collect())
    }

    fn take(&mut self) -> u32 {
        let id = (FIRST..=LAST).find(|id| !self.0.contains(id)).unwrap_or(LAST);
        self.0.insert(id);
        id
    }
}

fn ours(mirror: &Mirror) -> impl Iterator<Item = (u32, &NexthopKind)> {
    mirror
        .nexthops()
        .filter(|n| n.protocol == PROTOCOL && (FIRST..=LAST).contains(&n.id))
        .map(|n| (n.id, &n.kind))
}

fn is_group(mirror: &Mirror, id: u32) -> bool {
    ours(mirror).any(|(own, kind)| own == id && matches!(kind, NexthopKind::Group(_)))
}

/// The object of a hop, made if need be. The kernel drops objects of a link that goes down, unsaid,
/// so one that is believed to stand is made again: where it does stand, that is EEXIST.
fn hop(
    requests: &mut Requests,
    mirror: &Mirror,
    numbers: &mut Numbers,
    ifindex: Ifindex,
    via: Option<IpAddr>,
) -> Result<u32, Refused> {
    let same = |kind: &NexthopKind| matches!(kind, NexthopKind::Hop(Hop { ifindex: i, via: v, .. }) if (*i, *v) == (ifindex, via));
    let known = ours(mirror).find(|(_, kind)| same(kind)).map(|(id, _)| id);
    let id = known.unwrap_or_else(|| numbers.take());
    let mut body = header();
    attribute(&mut body, NHA_ID, &id.to_ne_bytes());
    attribute(&mut body, NHA_OIF, &ifindex.0.to_ne_bytes());
    if let Some(IpAddr::V6(via)) = via {
        attribute(&mut body, NHA_GATEWAY, &via.octets());
    }
    match requests.request_raw(RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_EXCL, &body) {
        Err(refused) if refused.errno == libc::EEXIST && known.is_some() => Ok(id),
        result => result.map(|()| id),
    }
}

/// Replacing takes effect in one step. What is lost is a packet that has been given its next hop on
/// another CPU in that moment, for the kernel drops cached IPv6 routes with the group they came
/// from: 0 to 4 of 3 000 datagrams in 600 replacements (Linux 6.18).
fn set_group(requests: &mut Requests, id: u32, members: &[u32], flags: u16) -> Result<(), Refused> {
    let mut group = Vec::new();
    for member in members {
        // struct nexthop_grp: number, weight less one, reserved.
        group.extend(member.to_ne_bytes());
        group.extend([0; 4]);
    }
    let mut body = header();
    // A group is of no family of its own.
    body[0] = 0;
    attribute(&mut body, NHA_ID, &id.to_ne_bytes());
    attribute(&mut body, NHA_GROUP, &group);
    requests.request_raw(RTM_NEWNEXTHOP, flags, &body)
}

/// `struct nhmsg`: family, scope, protocol, reserved, flags.
fn header() -> Vec<u8> {
    vec![AF_INET6, 0, PROTOCOL, 0, 0, 0, 0, 0]
}

/// Removes groups that no route of ours uses and hops that no group uses. Only right after the tables
/// were dumped: deleting a hop in use takes it out of its groups.
///
/// # Errors
/// The kernel's.
pub(super) fn sweep(requests: &mut Requests, mirror: &Mirror) -> Result<(), Refused> {
    let groups: BTreeSet<_> = mirror.routes().filter_map(|route| route.nexthop).collect();
    let mut hops = BTreeSet::<u32>::new();
    let mut unused = Vec::new();
    for (id, kind) in ours(mirror) {
        match kind {
            NexthopKind::Group(members) if groups.contains(&id) => hops.extend(members),
            NexthopKind::Group(_) => unused.push(id),
            NexthopKind::Hop(_) | NexthopKind::Other => {}
        }
    }
    let single = |(id, kind): &(u32, &NexthopKind)| {
        !matches!(kind, NexthopKind::Group(_)) && !hops.contains(id)
    };
    unused.extend(ours(mirror).filter(single).map(|(id, _)| id));
    unused.into_iter().try_for_each(|id| delete(requests, id))
}

/// Deletes an object; one that is not there is no error.
///
/// # Errors
/// The kernel's.
pub(super) fn delete(requests: &mut Requests, id: u32) -> Result<(), Refused> {
    let mut body = vec![0; 8];
    attribute(&mut body, NHA_ID, &id.to_ne_bytes());
    match requests.request_raw(RTM_DELNEXTHOP, 0, &body) {
        Err(refused) if refused.errno != libc::ENOENT => Err(refused),
        Ok(()) | Err(_) => Ok(()),
    }
}
