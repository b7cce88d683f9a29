//! Another configuration takes the place of this one, and nothing is lost of what it leaves as it was
//! (behaviours 11, 165). The heir is built beside the running engine, where allocation is allowed, and
//! takes over by name: interfaces, groups, addresses, routes, and the probes that are on their way.
//!
//! What is taken apart by field is named field by field, so that a new one is not forgotten here.

use core::time::Duration;

use crate::config::{Config, MAX_TARGETS, TestAddress, is_seat};
use crate::engine::Engine;
use crate::event::Hops;
use crate::ids::{Family, IfName, MemberId};
use crate::resource::Resource;
use crate::time::Instant;

impl Engine {
    /// Makes room for what succeeding an engine with this configuration brings besides. Allocates.
    pub fn make_room_for(&mut self, before: &Config) {
        let members: usize = before.groups.iter().map(|group| group.members.len()).sum();
        self.out.reserve(4 * members * Family::ALL.len() * MAX_TARGETS);
        self.proven.reserve(members * Family::ALL.len() * MAX_TARGETS);
    }

    /// What an earlier configuration has left is to go, even if this one has no group: it was never
    /// confirmed.
    pub fn tidy_up(&mut self) {
        self.tidies = true;
    }

    /// It knows the host, and nothing it has decided waits to be fetched: a successor may take over.
    pub fn may_retire(&self) -> bool {
        self.surveyed && self.out.is_empty()
    }

    /// Takes over from `old`, which [`Engine::may_retire`] and is not to be asked any more. Facts that
    /// did not concern `old` are still to be told, and then [`crate::event::Event::Surveyed`].
    pub fn succeed(&mut self, old: &Self, now: Instant) {
        self.general(old);
        self.strangers(old);
        self.seats(old);
        for m in 0..self.members.len() {
            self.member(old, m, now);
        }
        old.gateways.iter().for_each(|list| self.add_gateways(*list));
        for g in 0..self.groups.len() {
            if let Some(before) = old.groups.iter().find(|b| b.name == self.groups[g].name) {
                let members = &self.members[self.groups[g].members.clone()];
                self.groups[g].inherit(before, |name| members.iter().any(|m| m.name() == name));
            }
        }
        for k in 0..self.addresses.len() {
            self.data_address(old, k);
        }
        for route in &mut self.routes {
            if let Some(before) = old.route_at(route.key).map(|r| &old.routes[r]) {
                route.observed = before.observed;
                // By another gateway other routes are rivals.
                route.rivals = before.rivals && route.via == before.via;
            }
        }
        self.requests(old);
        self.stir();
        for m in 0..self.members.len() {
            for family in Family::ALL {
                self.retarget(m, family);
            }
            // Who comes from another group has other neighbours here.
            self.check_twin(now, m);
        }
    }

    fn general(&mut self, old: &Self) {
        self.surveyed = old.surveyed;
        self.retelling = true;
        self.started = old.started;
        self.wakes = old.wakes;
        self.late_told = old.late_told;
        self.requests = old.requests;
        self.slow_told = old.slow_told;
        self.due = old.due;
        self.out.streaming = old.out.streaming;
        // What the old configuration had put in place goes, even if no group is left.
        self.tidies = true;
        for target in &old.proven {
            if !self.proven.contains(target) && self.proven.len() < self.proven.capacity() {
                self.proven.push(*target);
            }
        }
    }

    /// Who is watched outside of groups keeps a seat in the anonymous group, where there still is one.
    fn strangers(&mut self, old: &Self) {
        let watched = (0..old.members.len()).filter(|m| old.is_stranger(*m));
        for stranger in watched.filter(|m| old.members[*m].link.is_some()) {
            let name = old.members[stranger].name();
            let vacant = (0..self.members.len())
                .find(|m| self.is_stranger(*m) && is_seat(self.members[*m].name()));
            if self.member_named(name).is_none()
                && let Some(seat) = vacant
            {
                self.members[seat].config.name = name;
                self.members[seat].config.test = old.members[stranger].config.test;
            }
        }
    }

    /// Who stays keeps its number, and so its paths theirs; who is new gets the lowest that is free.
    /// What is on its way to and from a path that is no more meets nobody.
    fn seats(&mut self, old: &Self) {
        for (m, member) in old.members.iter().enumerate() {
            if self.member_named(member.name()).is_none() {
                for i in 0..Family::ALL.len() {
                    for n in 0..MAX_TARGETS {
                        self.tell_closed(&old.members[m].instances[i], n);
                    }
                }
            }
        }
        self.seats.fill(None);
        for m in 0..self.members.len() {
            if let Some(before) = old.member_named(self.members[m].name()) {
                self.sit(m, old.members[before].id);
            }
        }
        for m in 0..self.members.len() {
            if old.member_named(self.members[m].name()).is_none()
                && let Some(free) = self.seats.iter().position(Option::is_none)
            {
                self.sit(m, MemberId(free as u16));
            }
        }
    }

    fn sit(&mut self, m: usize, seat: MemberId) {
        self.seats[usize::from(seat.0)] = Some(m);
        self.members[m].sit(seat);
    }

    fn member(&mut self, old: &Self, m: usize, now: Instant) {
        let Some(before) = old.member_named(self.members[m].name()) else { return };
        let before = &old.members[before];
        let same_group =
            self.groups[self.group_of(m)].name == old.groups[old.group_at(before)].name;
        self.members[m].inherit(before, same_group);
        for family in Family::ALL {
            let i = family as usize;
            let interval = self.members[m].instances[i].interval();
            let phase = self.random_below(interval);
            self.members[m].instances[i].inherit(&before.instances[i], now, phase);
            self.test_address(m, family, before.test_config(family));
        }
    }

    /// Another test address has still to come, and what was said from the old one proves nothing.
    fn test_address(&mut self, m: usize, family: Family, before: Option<TestAddress>) {
        let address = |test| match test {
            Some(TestAddress::Static(net)) => Some(Some(net.address)),
            Some(TestAddress::LinkLocal) => Some(None),
            None => None,
        };
        let wanted = self.members[m].test_config(family);
        if address(wanted) == address(before) {
            return;
        }
        let i = family as usize;
        self.members[m].test_seen[i] = false;
        self.members[m].test_stale[i] = false;
        self.members[m].test_foreign[i] = Hops::default();
        self.members[m].instances[i].test = None;
        self.members[m].instances[i].claim = None;
        if family == Family::Inet6 {
            self.members[m].test_refused = None;
        }
        self.members[m].instances[i].stop();
        if wanted.is_none() {
            let instance = &mut self.members[m].instances[i];
            (instance.failure, instance.started, instance.replied) = (None, None, false);
        }
    }

    /// An address that comes to this group is known when the host has been looked at.
    fn data_address(&mut self, old: &Self, k: usize) {
        let g = self.group_of_address(k);
        let address = self.addresses[k].net.address;
        let Some(b) = old.address_at(address) else { return };
        let group = &old.groups[old.group_of_address(b)];
        if group.name != self.groups[g].name {
            return;
        }
        let name = |position: usize| old.members[group.members.start + position].name();
        let members = self.groups[g].members.clone();
        let here = |name: IfName| members.clone().position(|m| self.members[m].name() == name);
        let inherited = old.addresses[b].inherited(self.addresses[k].net, name, here);
        self.addresses[k] = inherited;
    }

    /// Requests under way are answered to the heir.
    fn requests(&mut self, old: &Self) {
        let serial = old.slots.iter().map(|slot| slot.serial()).max().unwrap_or(0);
        for index in 0..self.slots.len() {
            let before = self.in_old(old, self.slots[index].what);
            let before = before.map(|what| &old.slots[old.slot_of(what)]);
            self.slots[index].inherit(before, serial);
        }
    }

    /// The same resource in the tables of `old`.
    fn in_old(&self, old: &Self, what: Resource) -> Option<Resource> {
        let member = |m: usize| old.member_named(self.members[m].name());
        match what {
            Resource::Prepare(m) => member(m).map(Resource::Prepare),
            Resource::Test(m, family) => {
                let before = member(m)?;
                let same = self.static_test(m, family) == old.static_test(before, family);
                same.then_some(Resource::Test(before, family))
            }
            Resource::Attach(m) => {
                let before = member(m)?;
                let datapath = |member: &crate::member::Member| member.config.datapath;
                let same = datapath(&self.members[m]) == datapath(&old.members[before]);
                same.then_some(Resource::Attach(before))
            }
            Resource::Transmits(m) => member(m).map(Resource::Transmits),
            Resource::Search(m, family) => member(m).map(|b| Resource::Search(b, family)),
            Resource::Data(k, position) => {
                let address = self.addresses[k].net.address;
                let b = old.address_at(address)?;
                let m = self.groups[self.group_of_address(k)].members.start + position;
                let before = member(m)?;
                let same_group = old.group_of_address(b) == old.group_of(before);
                same_group.then(|| Resource::Data(b, old.position(before)))
            }
            Resource::Route(r) => {
                let key = self.routes[r].key;
                old.route_at(key).map(Resource::Route)
            }
            Resource::TakeTest(m, family) => {
                let before = member(m)?;
                let same = self.static_test(m, family) == old.static_test(before, family);
                same.then_some(Resource::TakeTest(before, family))
            }
            Resource::TakeData(k) => {
                let address = self.addresses[k].net.address;
                old.address_at(address).map(Resource::TakeData)
            }
            Resource::TakeRoute(r) => {
                let before = old.route_at(self.routes[r].key)?;
                let same = self.routes[r].via == old.routes[before].via;
                same.then_some(Resource::TakeRoute(before))
            }
            Resource::Unconfigured => None,
        }
    }
}

/// The first round of an instance whose pace has changed: no later than one new interval from now, and
/// not at the same moment as that of its neighbours.
pub(crate) fn next_round(
    due: Instant,
    now: Instant,
    interval: Duration,
    phase: Duration,
) -> Instant {
    if due <= now + interval { due } else { now + phase }
}
