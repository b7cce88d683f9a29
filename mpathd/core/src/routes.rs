//! Where routes lead: what is wanted of each follows from the state of the members and from what is observed.
//! It is found out once in a turn in which addresses and routes are looked at, and once for all routes that go
//! the same way: there may be a thousand of them.

use core::net::IpAddr;

use crate::config::TestAddress;
use crate::engine::Engine;
use crate::event::{Hops, ObservedRoute, RouteKey};
use crate::ids::{Family, IpNet};
use crate::member::Member;
use crate::placement::Rank;
use crate::request::{Request, WantedRoute};
use crate::resource::{DataAddress, Resource, Route};
use crate::time::Instant;

/// What decides where a route leads, the state of its group aside.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    /// Its gateway, or an address of its subnet.
    near: IpAddr,
    /// Configured source.
    src: Option<IpAddr>,
    present: Hops,
}

/// Source and hops that are wanted. `None` while no source address of the family stands anywhere, or no
/// link is up: the kernel refuses a route over dead hops.
type Lead = Option<(IpAddr, Hops)>;

impl Way {
    fn of(route: &Route) -> Self {
        Self {
            near: route.via.unwrap_or(route.key.to.address),
            src: route.src,
            present: route.observed.map(|seen| seen.hops).unwrap_or_default(),
        }
    }
}

impl Route {
    /// It stands as it is wanted, or nothing is wanted of it.
    pub(crate) fn is_settled(&self) -> bool {
        self.would_be_settled(self.observed)
    }

    fn would_be_settled(&self, observed: Option<ObservedRoute>) -> bool {
        self.wanted.is_none_or(|wanted| observed.is_some_and(|seen| seen.meets(&wanted)))
    }

    fn wanted_with(&self, lead: Lead) -> Option<WantedRoute> {
        let (key, via) = (self.key, self.via);
        lead.map(|(src, hops)| WantedRoute { key, via, src, hops })
    }
}

impl Engine {
    /// Finds out what is wanted of the routes of a group now, and whether they stand.
    pub(crate) fn look_at_routes(&mut self, g: usize, now: Instant) {
        let mut last: [Option<(Way, Lead)>; 2] = [None; 2];
        let mut stand = [true; 2];
        for r in self.groups[g].routes.clone() {
            let (way, family) = (Way::of(&self.routes[r]), self.routes[r].family() as usize);
            let known = last[family].filter(|(same, _)| *same == way);
            let lead = known.map_or_else(|| self.lead(g, &way, now), |(_, lead)| lead);
            last[family] = Some((way, lead));
            self.routes[r].wanted = self.routes[r].wanted_with(lead);
            // As far as the kernel takes them.
            let refused = self.slots[self.slot_of(Resource::Route(r))].not_before > now;
            stand[family] &= refused || self.routes[r].is_settled();
        }
        self.groups[g].routes_stand = stand;
    }

    /// The kernel has told of a route. One that stood as it was wanted, and that we have not asked for, is
    /// somebody else's doing if it does so no more.
    pub(crate) fn route(&mut self, now: Instant, key: RouteKey, observed: Option<ObservedRoute>) {
        let Some(r) = self.route_at(key) else { return };
        let slot = self.slot_of(Resource::Route(r));
        self.slots[slot].noticed();
        let before = core::mem::replace(&mut self.routes[r].observed, observed);
        if self.slots[slot].in_flight() || self.routes[r].is_settled() {
            return;
        }
        // What is wanted may have changed since the routes were looked at: with a link that went down.
        let settled = |engine: &Self, observed| {
            let route = Route { observed, ..engine.routes[r] };
            let g = engine.groups.iter().position(|g| g.routes.contains(&r));
            let lead = g.and_then(|g| engine.lead(g, &Way::of(&route), now));
            Route { wanted: route.wanted_with(lead), ..route }.is_settled()
        };
        if settled(self, before) && !settled(self, observed) {
            self.note_drift(slot, now);
        }
    }

    pub(crate) fn wish_route(&self, r: usize) -> Option<Request> {
        let route = &self.routes[r];
        let wanted = route.wanted.filter(|_| !route.is_settled())?;
        let is_up = |m: usize| self.members[m].link_up();
        let mut hops = wanted.hops.as_slice().iter().filter_map(|hop| self.member_at(*hop));
        let placed = self.surveyed && hops.any(is_up) && self.gateway_is_reachable(r);
        placed.then_some(Request::SetRoute(wanted))
    }

    /// A gateway needs the route of its subnet; that request goes first in the same batch.
    fn gateway_is_reachable(&self, r: usize) -> bool {
        let route = &self.routes[r];
        let Some(via) = route.via else { return true };
        let Some(g) = self.groups.iter().find(|g| g.routes.contains(&r)) else { return false };
        // Those of the subnets come first.
        let subnets = g.routes.clone().take_while(|s| self.routes[*s].via.is_none());
        let mut of_gateway = subnets.filter(|s| self.routes[*s].key.to.contains(via));
        of_gateway.all(|s| {
            self.routes[s].observed.is_some()
                || self.slots[self.slot_of(Resource::Route(s))].in_flight()
        })
    }

    fn lead(&self, g: usize, way: &Way, now: Instant) -> Lead {
        let Way { near, src, .. } = *way;
        let family = Family::of(near);
        // One that another program keeps taking away, or that another host has, must not hold up the routes.
        let usable = |k: &usize| !self.waits_for_a_fight(*k) && !self.addresses[*k].is_refused();
        let addresses = self.groups[g].addresses.clone().filter(usable).map(|k| &self.addresses[k]);
        let of_family = || addresses.clone().filter(|a| a.net.family() == family);
        let source = match src {
            Some(src) => of_family().find(|a| a.net.address == src),
            None => of_family().find(|a| a.net.contains(near)).or_else(|| of_family().next()),
        }?;
        if source.on.is_empty() {
            return None;
        }
        let hops = self.hops(g, way, source, now);
        (!hops.as_slice().is_empty()).then_some((source.net.address, hops))
    }

    /// Members that carry outbound traffic: for IPv4 only such as have an address of their own in the
    /// subnet, or the neighbours would be told a wrong MAC for the source (N8).
    fn hops(&self, g: usize, way: &Way, source: &DataAddress, now: Instant) -> Hops {
        let Way { near, present, .. } = *way;
        let (group, family) = (&self.groups[g], Family::of(near));
        let hops = |wanted: &dyn Fn(&Member, bool) -> bool| -> Hops {
            let eligible = group.members.clone();
            eligible
                .filter(|m| family == Family::Inet6 || self.has_own_address(*m, near))
                .map(|m| &self.members[m])
                .filter(|m| wanted(m, m.ifindex().is_some_and(|i| present.as_slice().contains(&i))))
                .filter_map(Member::ifindex)
                .collect()
        };
        let rank = |m: &Member| group.rank(m, family, now);
        let settling = group.is_settling(now);
        let spread = hops(&|m, present| match rank(m) {
            Rank::Active | Rank::Held => true,
            Rank::Joining => present,
            Rank::Answering => present && (settling || m.led),
            Rank::Silent => present && settling,
            Rank::StandIn | Rank::Spare | Rank::NotYetAnswered | Rank::FamilyDead => false,
            Rank::LinkDown | Rank::Offline | Rank::Absent => false,
        });
        if !spread.as_slice().is_empty() {
            return spread;
        }
        // The whole group has failed: nothing is moved by that, unless some member answers.
        if !self.members[group.members.clone()].iter().any(Member::usable) {
            let answering = hops(&|m, present| present && rank(m) == Rank::Answering);
            let answers = self.members[group.members.clone()].iter().map(rank);
            let dead = answers.min() > Some(Rank::Answering);
            let kept = hops(&|m, present| present && dead && rank(m) == Rank::Silent);
            if let Some(hops) = [answering, kept].into_iter().find(|h| !h.as_slice().is_empty()) {
                return hops;
            }
        }
        let owner = source.holder.filter(|h| source.on.contains(*h));
        let anywhere = || (0..group.members.len()).find(|p| source.on.contains(*p));
        let owner = owner.or_else(anywhere).map(|p| &self.members[group.members.start + p]);
        owner.filter(|m| m.link_up()).and_then(Member::ifindex).into_iter().collect()
    }

    fn has_own_address(&self, m: usize, near: IpAddr) -> bool {
        let family = Family::of(near);
        let in_subnet = |net: IpNet| net.contains(near);
        let test = self.members[m].test_seen[family as usize]
            && matches!(self.members[m].test_config(family), Some(TestAddress::Static(net)) if in_subnet(net));
        let (g, position) = (self.group_of(m), self.position(m));
        test || self.addresses[self.groups[g].addresses.clone()]
            .iter()
            .any(|a| a.holder == Some(position) && a.on.contains(position) && in_subnet(a.net))
    }
}
