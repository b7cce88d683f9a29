//! Desired against observed (A 3): what is wanted follows from the state of the members alone, what
//! is there from notices and dumps; the difference, filtered by guards, makes requests. Restart,
//! drift and overrun need no code of their own.

use core::time::Duration;

use crate::config::TestAddress;
use crate::engine::Engine;
use crate::event::{Hops, ObservedRoute};
use crate::ids::{Family, IpNet};
use crate::member::Member;
use crate::placement::Rank;
use crate::request::{Peers, Request, Role, WantedRoute};
use crate::resource::{DataAddress, Resource};
use crate::time::Instant;

/// Sysctls are compared this often, for changes of them come without notice (O16).
const CHECK_SYSCTLS: Duration = Duration::from_secs(20);
/// The first round follows the start of probing within this time, or T if that is shorter.
const FIRST_PHASE: Duration = Duration::from_millis(200);
/// The next NIC of a group is attached when the last one's probes are answered, or after one FDT, but
/// this at most.
const ATTACH_NEXT: Duration = Duration::from_secs(1);
/// Hooks are attached when the addresses stand; later than this they are attached anyway.
pub(crate) const ATTACH_LATEST: Duration = Duration::from_secs(5);

impl Engine {
    /// Starts and stops probing, as link, test address, hook and targets allow.
    pub(crate) fn tend_instances(&mut self, g: usize, now: Instant) {
        for m in self.groups[g].members.clone() {
            for i in 0..2 {
                let member = &self.members[m];
                let instance = &member.instances[i];
                let wanted = member.fit()
                    && member.link_up()
                    && !member.offline
                    && member.receive.is_some()
                    && instance.test.is_some()
                    && instance.has_targets();
                match (wanted, instance.running()) {
                    (true, false) => {
                        let phase = self.first_phase(m, i, now);
                        self.members[m].instances[i].start(now, phase);
                    }
                    (false, true) => self.members[m].instances[i].stop(),
                    (true, true) | (false, false) => {}
                }
            }
        }
    }

    /// One phase per interface: both families wake us once.
    fn first_phase(&mut self, m: usize, i: usize, now: Instant) -> Duration {
        match self.members[m].instances[1 - i].next_round() {
            Some(at) => at.since(now),
            None => {
                let interval = self.members[m].instances[i].interval();
                self.random_below(FIRST_PHASE.min(interval))
            }
        }
    }

    /// Asks for what is wanted and not there, at most one request per resource at a time.
    pub(crate) fn reconcile(&mut self, g: usize, now: Instant) {
        for index in self.slots_of(g) {
            self.ask(index, now);
        }
        if core::mem::take(&mut self.groups[g].announce) {
            self.groups[g].addresses.clone().for_each(|k| self.announce(now, k));
        }
    }

    /// The same for what belongs to no group.
    pub(crate) fn tidy(&mut self, now: Instant) {
        if self.tidies && !self.tidied {
            self.ask(self.slot_of(Resource::Unconfigured), now);
        }
    }

    fn ask(&mut self, index: usize, now: Instant) {
        if self.slots[index].ready(now)
            && let Some(request) = self.wish(index, now)
        {
            let id = self.slots[index].begin(index);
            self.request(now, id, request);
        }
    }

    /// What is to be done about a resource now, if anything.
    pub(crate) fn wish(&self, index: usize, now: Instant) -> Option<Request> {
        match self.slots[index].what {
            Resource::Prepare(m) | Resource::Test(m, _) if self.is_stranger(m) => None,
            Resource::Attach(m) if self.is_stranger(m) => self.wish_watched(m, now),
            Resource::Prepare(m) => self.wish_prepared(m, now),
            Resource::Test(m, family) => self.wish_test_address(m, family),
            Resource::Data(k, position) => self.wish_data_address(k, position, now),
            Resource::Route(r) => self.wish_route(r, now),
            Resource::Attach(m) => self.wish_attached(m, now),
            Resource::Transmits(m) => self.wish_transmits(m),
            Resource::Search(m, family) => self.wish_search(m, family),
            Resource::Unconfigured => {
                let wanted = self.tidies && !self.tidied && self.is_settled(now);
                wanted.then_some(Request::RemoveUnconfigured)
            }
            Resource::TakeData(k) => self.wish_data_taken(k, now),
            Resource::TakeTest(m, family) => self.wish_test_taken(m, family, now),
            Resource::TakeRoute(r) => self.wish_routes_taken(r, now),
        }
    }

    fn wish_prepared(&self, m: usize, now: Instant) -> Option<Request> {
        let member = &self.members[m];
        let link = member.link.filter(|_| member.fit())?;
        let fresh = member.prepared.is_some_and(|at| now.since(at) < CHECK_SYSCTLS);
        let set_up = !link.up && !member.met;
        (!fresh).then_some(Request::Prepare { ifindex: link.ifindex, name: link.name, set_up })
    }

    fn wish_test_address(&self, m: usize, family: Family) -> Option<Request> {
        let member = &self.members[m];
        let address = self.static_test(m, family)?;
        let (ifindex, name) = (member.ifindex()?, member.name());
        let stands = member.test_seen[family as usize];
        let wanted = member.fit() && !member.offline && member.plumbed[family as usize];
        if wanted && member.prepared.is_some() {
            let set =
                Request::SetAddress { ifindex, name, address, role: Role::Test, announce: None };
            (!stands).then_some(set)
        } else {
            let idle = self.carries_nothing(m);
            (stands && member.offline && idle).then_some(Request::UnsetAddress {
                ifindex,
                name,
                address,
            })
        }
    }

    fn carries_nothing(&self, m: usize) -> bool {
        let (g, position) = (self.group_of(m), self.position(m));
        let mut addresses = self.groups[g].addresses.clone();
        !addresses.any(|k| self.addresses[k].on.contains(position))
    }

    fn wish_data_address(&self, k: usize, position: usize, now: Instant) -> Option<Request> {
        let address = &self.addresses[k];
        let g = self.group_of_address(k);
        let member = &self.members[self.groups[g].members.start + position];
        let (ifindex, name) = (member.ifindex()?, member.name());
        let stands = address.on.contains(position);
        if address.holder == Some(position) {
            let plumbed = member.plumbed[address.net.family() as usize];
            let ready = member.prepared.is_some() && plumbed && self.surveyed;
            let announce = Some(self.peers(g, address.net.family()));
            let set = Request::SetAddress {
                ifindex,
                name,
                address: address.net,
                role: Role::Data,
                announce,
            };
            return (!stands && ready).then_some(set);
        }
        let unset = Request::UnsetAddress { ifindex, name, address: address.net };
        (stands && self.surveyed && self.stands_elsewhere(g, address, now)).then_some(unset)
    }

    /// Make before break: an address leaves a member only while it is seen on the one that is to
    /// have it, and its routes no longer need the old place.
    pub(crate) fn stands_elsewhere(&self, g: usize, address: &DataAddress, now: Instant) -> bool {
        let moved = address.holder.is_some_and(|h| address.on.contains(h));
        moved && self.routes_stand(g, address.net.family(), now)
    }

    /// Those of a family, as far as the kernel takes them.
    pub(crate) fn routes_stand(&self, g: usize, family: Family, now: Instant) -> bool {
        let of_family = |r: &usize| self.routes[*r].family() == family;
        self.groups[g].routes.clone().filter(of_family).all(|r| {
            let slot = &self.slots[self.slot_of(Resource::Route(r))];
            self.route_is_settled(r, now) || slot.not_before > now
        })
    }

    fn wish_route(&self, r: usize, now: Instant) -> Option<Request> {
        let wanted = self.wanted_route(r, now)?;
        let hop_is_up = wanted
            .hops
            .as_slice()
            .iter()
            .any(|hop| self.member_at(*hop).is_some_and(|m| self.members[m].link_up()));
        let placed = self.surveyed && hop_is_up && self.gateway_is_reachable(r);
        (placed && !self.route_is_settled(r, now)).then_some(Request::SetRoute(wanted))
    }

    /// A gateway needs the route of its subnet; that request goes first in the same batch.
    fn gateway_is_reachable(&self, r: usize) -> bool {
        let route = &self.routes[r];
        let Some(via) = route.via else { return true };
        let Some(g) = self.groups.iter().find(|g| g.routes.contains(&r)) else { return false };
        let mut subnets = g.routes.clone().filter(|s| {
            let subnet = &self.routes[*s];
            subnet.via.is_none() && subnet.key.to.contains(via)
        });
        subnets.all(|s| {
            self.routes[s].observed.is_some()
                || self.slots[self.slot_of(Resource::Route(s))].in_flight()
        })
    }

    pub(crate) fn route_is_settled(&self, r: usize, now: Instant) -> bool {
        let route = &self.routes[r];
        match (self.wanted_route(r, now), route.observed) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(seen)) => {
                let ObservedRoute { via, src, hops, ours, .. } = seen;
                ours && via == wanted.via && src == Some(wanted.src) && hops == wanted.hops
            }
        }
    }

    /// `None` while no source address of the family stands anywhere, or no link is up: the kernel
    /// refuses a route over dead hops.
    fn wanted_route(&self, r: usize, now: Instant) -> Option<WantedRoute> {
        let route = &self.routes[r];
        let g = self.groups.iter().position(|g| g.routes.contains(&r))?;
        let near = route.via.unwrap_or(route.key.to.address);
        let family = route.family();
        // One that somebody keeps taking away, and that waits, must not hold up the routes.
        let usable = |k: &usize| !self.waits_for_a_fight(*k);
        let addresses = self.groups[g].addresses.clone().filter(usable).map(|k| &self.addresses[k]);
        let of_family = || addresses.clone().filter(|a| a.net.family() == family);
        let source = match route.src {
            Some(src) => of_family().find(|a| a.net.address == src),
            None => of_family().find(|a| a.net.contains(near)).or_else(|| of_family().next()),
        }?;
        if source.on.is_empty() {
            return None;
        }
        let hops = self.hops(g, r, near, source, now);
        (!hops.as_slice().is_empty()).then_some(WantedRoute {
            key: route.key,
            via: route.via,
            src: source.net.address,
            hops,
        })
    }

    /// Members that carry outbound traffic towards `near`: for IPv4 only such as have an address of
    /// their own in that subnet, or the neighbours would be told a wrong MAC for the source (N8).
    fn hops(
        &self,
        g: usize,
        r: usize,
        near: core::net::IpAddr,
        source: &DataAddress,
        now: Instant,
    ) -> Hops {
        let group = &self.groups[g];
        let family = Family::of(near);
        let present = self.routes[r].observed.map(|o| o.hops).unwrap_or_default();
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
            Rank::Active => true,
            Rank::Joining => present,
            Rank::Answering | Rank::Silent => present && settling,
            Rank::Spare | Rank::FamilyDead | Rank::LinkDown | Rank::Offline | Rank::Absent => false,
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

    fn has_own_address(&self, m: usize, near: core::net::IpAddr) -> bool {
        let family = Family::of(near);
        let in_subnet = |net: IpNet| net.contains(near);
        let test = self.members[m].test_seen[family as usize]
            && matches!(self.members[m].test_config(family), Some(TestAddress::Static(net)) if in_subnet(net));
        let (g, position) = (self.group_of(m), self.position(m));
        test || self.addresses[self.groups[g].addresses.clone()]
            .iter()
            .any(|a| a.holder == Some(position) && a.on.contains(position) && in_subnet(a.net))
    }

    /// Attaching can reset a link (N15): one NIC of a group at a time, one without data first.
    fn wish_attached(&self, m: usize, now: Instant) -> Option<Request> {
        let member = &self.members[m];
        let link = member.link.filter(|_| member.fit() && member.receive.is_none())?;
        let started = self.started.unwrap_or(now);
        let g = self.group_of(m);
        let group = &self.groups[g];
        let addresses_stand = self.group_is_settled(g, now) || now.since(started) >= ATTACH_LATEST;
        let alone = group.members.clone().all(|o| {
            let other = &self.members[o];
            let attaching = self.slots[self.slot_of(Resource::Attach(o))].in_flight();
            let pause = group.fdt.min(ATTACH_NEXT);
            let proves_itself = other.attached_at.is_some_and(|at| now.since(at) < pause)
                && other.instances.iter().any(|i| (i.running() || i.seeks_hosts()) && !i.replied);
            o == m || !(attaching || proves_itself)
        });
        let lighter = group.members.clone().any(|o| {
            let other = &self.members[o];
            let waits = other.fit() && other.link_up() && other.receive.is_none();
            o != m && waits && other.is_to_be_probed() && (self.load(o), o) < (self.load(m), m)
        });
        let ready = member.is_to_be_probed() && link.up && member.prepared.is_some();
        (ready && addresses_stand && alone && !lighter).then_some(Request::Attach {
            ifindex: link.ifindex,
            name: link.name,
            datapath: member.config.datapath,
            consume_replies: member.config.consume_replies,
        })
    }

    fn load(&self, m: usize) -> usize {
        let (g, position) = (self.group_of(m), self.position(m));
        let addresses = &self.addresses[self.groups[g].addresses.clone()];
        addresses.iter().filter(|a| a.on.contains(position)).count()
    }

    fn wish_transmits(&self, m: usize) -> Option<Request> {
        let member = &self.members[m];
        let held_up = member.instances.iter().any(|i| i.running() && i.is_held_up());
        let link = member.link.filter(|_| held_up)?;
        Some(Request::CountTransmits { ifindex: link.ifindex, name: link.name })
    }

    /// Every address that has a NIC is where it is to be, and the routes stand.
    pub(crate) fn group_is_settled(&self, g: usize, now: Instant) -> bool {
        let group = &self.groups[g];
        self.surveyed
            && self.addresses[group.addresses.clone()].iter().all(DataAddress::settled)
            && group.routes.clone().all(|r| {
                let refused = self.slots[self.slot_of(Resource::Route(r))].not_before > now;
                refused || self.route_is_settled(r, now)
            })
            && Family::ALL.iter().all(|family| self.has_no_rivals(g, *family, now))
    }

    /// Gateways and configured targets of a family: they are told of moves in person (N20).
    pub(crate) fn peers(&self, g: usize, family: Family) -> Peers {
        let config = &self.config.groups[g];
        let gateways = config.routes.iter().map(|r| r.via);
        let mut peers = Peers::default();
        gateways
            .chain(config.targets.iter().copied())
            .filter(|p| Family::of(*p) == family)
            .for_each(|p| peers.push(p));
        peers
    }

    /// When sysctls are due for comparison, and when a hook that waits may be attached.
    pub(crate) fn next_check(&self, g: usize, now: Instant) -> Option<Instant> {
        let members = &self.members[self.groups[g].members.clone()];
        let sysctls = members.iter().filter_map(|m| m.prepared).map(|at| at + CHECK_SYSCTLS);
        let waiting = members.iter().any(|m| m.fit() && m.receive.is_none() && m.is_to_be_probed());
        let pause = self.groups[g].fdt.min(ATTACH_NEXT);
        let attach = members.iter().filter_map(|m| m.attached_at.map(|at| at + pause));
        let latest = self.started.map(|at| at + ATTACH_LATEST);
        let attach = attach.chain(latest).filter(|at| waiting && *at > now);
        sysctls.filter(|at| *at > now).chain(attach).min()
    }
}
