//! Routes that go through a group of next-hop objects, as all of IPv6 do and many of IPv4
//! (`route::goes_by_objects`). Routes that go the same way share a group; where all that use it are to
//! go another way, it is replaced in one message, else those that are go to another group. It never
//! becomes empty by us. The kernel's tables are the only memory: numbers are found again by what they
//! stand for, so a restart reuses them. packet-route has no such message, so they are written here
//! (linux/nexthop.h).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mpathd_core::ids::Ifindex;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteNextHopFlags, RouteScope};

use super::PROTOCOL;
use super::facts::{AF_INET, AF_INET6, Hop, NexthopKind, RTM_DELNEXTHOP, RTM_NEWNEXTHOP};
use super::mirror::Mirror;
use super::netlink::{Refused, Requests, attribute};
use super::route::{self, Sound};

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// Our numbers: "mp" in the upper half, so that `ip nexthop` shows whose they are at a glance and
/// those of routing daemons, which count from below, are far away.
const FIRST: u32 = 0x6d70_0000;
const LAST: u32 = 0x6d70_ffff;

/// Sets routes; what came of each goes to its place in `results`.
pub(super) fn set_routes(
    requests: &mut Requests,
    mirror: &Mirror,
    objects: &mut Objects,
    routes: &[Sound],
    results: &mut [Result<(), Refused>],
) {
    let mut ways: BTreeMap<(Option<IpAddr>, &[Ifindex]), Vec<&Sound>> = BTreeMap::new();
    for route in routes {
        let way = (route.wanted.via, route.wanted.hops.as_slice());
        ways.entry(way).or_default().push(route);
    }
    let used = count(mirror.routes().filter_map(|fact| fact.nexthop));
    // All replacements first, for afterwards the groups are what they will be.
    let mut going = Vec::new();
    for ((via, hops), routes) in ways {
        match Way::begin(requests, mirror, objects, (via, hops), &routes, &used) {
            Ok(way) => going.push((way, routes)),
            Err(refused) => fail(&routes, &refused, results),
        }
    }
    for (way, routes) in going {
        if let Err(refused) = way.finish(requests, objects, &routes, results) {
            fail(&routes, &refused, results);
        }
    }
}

fn fail(routes: &[&Sound], refused: &Refused, results: &mut [Result<(), Refused>]) {
    routes.iter().for_each(|route| results[route.at] = Err(refused.clone()));
}

/// Where routes are to go.
struct Way {
    /// Objects of its hops.
    members: Vec<u32>,
    /// Groups that have been replaced.
    replaced: BTreeSet<u32>,
}

impl Way {
    /// Makes the hops, and replaces the groups that nothing but these routes uses. `used`: by how many routes
    /// each is used.
    fn begin(
        requests: &mut Requests,
        mirror: &Mirror,
        objects: &mut Objects,
        (via, hops): (Option<IpAddr>, &[Ifindex]),
        routes: &[&Sound],
        used: &BTreeMap<u32, usize>,
    ) -> Result<Self, Refused> {
        let members = hops
            .iter()
            .map(|ifindex| hop(requests, mirror, &mut objects.numbers, *ifindex, via))
            .collect::<Result<Vec<u32>, Refused>>()?;
        let asked = count(routes.iter().filter_map(|it| it.stands?.nexthop));
        let all_go = |(id, n): &(u32, usize)| used.get(id) == Some(n) && is_group(mirror, *id);
        let mut replaced = BTreeSet::new();
        for (id, _) in asked.into_iter().filter(all_go) {
            if replace_group(requests, id, &members)? {
                objects.has_become(id, &members);
                replaced.insert(id);
            }
        }
        Ok(Self { members, replaced })
    }

    /// Sets the routes that have not gone with their group.
    fn finish(
        &self,
        requests: &mut Requests,
        objects: &mut Objects,
        routes: &[&Sound],
        results: &mut [Result<(), Refused>],
    ) -> Result<(), Refused> {
        let (mut places, mut messages) = (Vec::new(), Vec::new());
        for route in routes {
            let nexthop = route.stands.and_then(|stands| stands.nexthop);
            let group = nexthop.filter(|id| self.replaced.contains(id));
            let src = route.stands.and_then(|stands| stands.src);
            if group.is_some() && src == Some(route.wanted.src) {
                continue;
            }
            let group = match group {
                Some(id) => id,
                None => objects.group(requests, &self.members)?,
            };
            places.push(route.at);
            messages.push((message(route, group), route.flags()));
        }
        let answers = requests.each(messages);
        places.into_iter().zip(answers).for_each(|(at, answer)| results[at] = answer);
        Ok(())
    }
}

fn message(route: &Sound, group: u32) -> RouteNetlinkMessage {
    let mut message = route::base(&route.wanted.key);
    message.header.scope = RouteScope::Universe;
    let source = RouteAddress::from(route.wanted.src);
    message.attributes.push(RouteAttribute::PrefSource(source));
    message.attributes.push(RouteAttribute::NhId(group));
    RouteNetlinkMessage::NewRoute(message)
}

/// How often each occurs.
fn count(ids: impl Iterator<Item = u32>) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    ids.for_each(|id| *counts.entry(id).or_default() += 1);
    counts
}

/// `false` where the group has gone: emptied by links that went down, unsaid, and its routes with it.
fn replace_group(requests: &mut Requests, id: u32, members: &[u32]) -> Result<bool, Refused> {
    match set_group(requests, id, members, NLM_F_REPLACE) {
        Ok(()) => Ok(true),
        Err(refused) if refused.errno == libc::ENOENT => Ok(false),
        Err(refused) => Err(refused),
    }
}

/// What stands, and what has been made since.
pub(super) struct Objects {
    numbers: Numbers,
    /// By their members.
    groups: BTreeMap<Vec<u32>, u32>,
}

impl Objects {
    pub(super) fn of(mirror: &Mirror) -> Self {
        let groups = ours(mirror).filter_map(|(id, kind)| match kind {
            NexthopKind::Group(members) => Some((members.clone(), id)),
            NexthopKind::Hop(_) | NexthopKind::Other => None,
        });
        Self { numbers: Numbers::of(mirror), groups: groups.collect() }
    }

    fn has_become(&mut self, id: u32, members: &[u32]) {
        self.groups.retain(|_, group| *group != id);
        self.groups.insert(members.to_vec(), id);
    }

    /// The one with these members, made if need be.
    fn group(&mut self, requests: &mut Requests, members: &[u32]) -> Result<u32, Refused> {
        if let Some(id) = self.groups.get(members) {
            return Ok(*id);
        }
        let id = self.numbers.take();
        set_group(requests, id, members, NLM_F_CREATE | NLM_F_EXCL)?;
        self.groups.insert(members.to_vec(), id);
        Ok(id)
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
    let mut body = match via {
        // Onlink as routes without objects are, see `route::next_hop`.
        Some(IpAddr::V4(_)) => header(AF_INET, u32::from(RouteNextHopFlags::Onlink.bits())),
        Some(IpAddr::V6(_)) | None => header(AF_INET6, 0),
    };
    attribute(&mut body, NHA_ID, &id.to_ne_bytes());
    attribute(&mut body, NHA_OIF, &ifindex.0.to_ne_bytes());
    match via {
        Some(IpAddr::V4(via)) => attribute(&mut body, NHA_GATEWAY, &via.octets()),
        Some(IpAddr::V6(via)) => attribute(&mut body, NHA_GATEWAY, &via.octets()),
        None => {}
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
    // A group is of no family of its own.
    let mut body = header(0, 0);
    attribute(&mut body, NHA_ID, &id.to_ne_bytes());
    attribute(&mut body, NHA_GROUP, &group);
    requests.request_raw(RTM_NEWNEXTHOP, flags, &body)
}

/// `struct nhmsg`: family, scope, protocol, reserved, flags.
fn header(family: u8, flags: u32) -> Vec<u8> {
    let mut header = vec![family, 0, PROTOCOL, 0];
    header.extend(flags.to_ne_bytes());
    header
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
