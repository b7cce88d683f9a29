//! What somebody else has set of what is configured here: taken over when ours stands (contract,
//! Take-over). Make before break holds as for a move: until then the host lives by the other one's.

use core::net::IpAddr;

use crate::engine::Engine;
use crate::event::{Hops, RouteKey};
use crate::ids::{Family, Ifindex};
use crate::message::Message;
use crate::request::Request;
use crate::resource::{DataAddress, Resource};
use crate::time::Instant;

impl Engine {
    /// An address of the configuration stands where it is not ours, or no longer does.
    pub(crate) fn foreign(&mut self, now: Instant, address: IpAddr, on: Hops) {
        let appears = |before: Hops| before.as_slice().is_empty() && !on.as_slice().is_empty();
        if let Some(k) = self.address_at(address) {
            let before = core::mem::replace(&mut self.addresses[k].foreign, on);
            self.take_noticed(now, Resource::TakeData(k), appears(before));
        }
        let family = Family::of(address);
        for m in 0..self.members.len() {
            if self.static_test(m, family).is_some_and(|net| net.address == address) {
                let place = &mut self.members[m].test_foreign[family as usize];
                let before = core::mem::replace(place, on);
                self.take_noticed(now, Resource::TakeTest(m, family), appears(before));
            }
        }
    }

    /// Another host has it, as the kernel has found out: it is neither taken over nor set anywhere, or this host
    /// would answer for it too.
    pub(crate) fn refused(&mut self, address: IpAddr, on: Option<Ifindex>) {
        let family = Family::of(address);
        let mut known = false;
        if let Some(k) = self.addresses.iter().position(|a| a.net.address == address) {
            known |= core::mem::replace(&mut self.addresses[k].refused, on) == on;
        }
        for m in 0..self.members.len() {
            if self.static_test(m, family).is_some_and(|net| net.address == address) {
                known |= core::mem::replace(&mut self.members[m].test_refused, on) == on;
            }
        }
        let interface = on.and_then(|on| self.member_at(on)).map(|m| self.members[m].name());
        if let Some(interface) = interface.filter(|_| !known) {
            self.out.message(Message::AddressRefused { interface, address });
        }
    }

    pub(crate) fn rivals(&mut self, now: Instant, key: RouteKey, stand: bool) {
        let Some(r) = self.route_at(key) else { return };
        let before = core::mem::replace(&mut self.routes[r].rivals, stand);
        self.take_noticed(now, Resource::TakeRoute(r), stand && !before);
    }

    /// What was taken once and is there again is somebody's doing, as the loss of what is ours is.
    fn take_noticed(&mut self, now: Instant, what: Resource, appears: bool) {
        let slot = self.slot_of(what);
        self.slots[slot].noticed();
        if appears && self.slots[slot].taken {
            self.note_drift(slot, now);
        }
    }

    /// Who takes part has changed: routes do not wait for whoever fought over them as they were.
    pub(crate) fn routes_are_urgent(&mut self, g: usize) {
        for r in self.groups[g].routes.clone() {
            for what in [Resource::Route(r), Resource::TakeRoute(r)] {
                let slot = self.slot_of(what);
                self.slots[slot].release();
            }
        }
    }

    /// Nor do copies of data addresses on a NIC that is dead: the kernel has a route to the subnet with
    /// each, and sends by it.
    pub(crate) fn copies_are_urgent(&mut self, g: usize) {
        let members = self.groups[g].members.clone();
        for k in self.groups[g].addresses.clone() {
            let DataAddress { net, foreign, .. } = self.addresses[k];
            if foreign.as_slice().is_empty() {
                continue;
            }
            let ranks = &self.groups[g].standing.ranks[net.family() as usize];
            let on_dead = members.clone().zip(ranks).any(|(m, rank)| {
                let ifindex = self.members[m].ifindex();
                rank.is_dead() && ifindex.is_some_and(|i| foreign.as_slice().contains(&i))
            });
            if on_dead {
                let slot = self.slot_of(Resource::TakeData(k));
                self.slots[slot].hasten();
            }
        }
    }

    /// It is gone, and put back only when who takes it away has been given time.
    pub(crate) fn waits_for_a_fight(&self, k: usize) -> bool {
        let DataAddress { holder, on, .. } = &self.addresses[k];
        let held = |to| self.slots[self.slot_of(Resource::Data(k, to))].held();
        on.is_empty() && holder.is_some_and(held)
    }

    /// Nor do addresses that have just been given to another member.
    pub(crate) fn moves_are_urgent(&mut self, g: usize, now: Instant) {
        let mut moved = false;
        for k in self.groups[g].addresses.clone() {
            let DataAddress { holder, moving, .. } = self.addresses[k];
            if let (Some(to), Some((decided, _))) = (holder, moving)
                && decided == now
            {
                let slot = self.slot_of(Resource::Data(k, to));
                self.slots[slot].release();
                moved = true;
            }
        }
        if moved {
            self.routes_are_urgent(g);
        }
    }

    /// Position of the member that has an address of somebody else's: there the traffic is.
    pub(crate) fn stands_foreign(&self, g: usize, address: &DataAddress) -> Option<usize> {
        self.groups[g].members.clone().position(|m| {
            let ifindex = self.members[m].ifindex();
            ifindex.is_some_and(|i| address.foreign.as_slice().contains(&i))
        })
    }

    pub(crate) fn wish_data_taken(&self, k: usize, now: Instant) -> Option<Request> {
        let address = &self.addresses[k];
        let (g, net) = (self.group_of_address(k), address.net);
        let ready = self.surveyed
            && !address.foreign.as_slice().is_empty()
            && self.stands_elsewhere(g, address)
            && self.has_no_rivals(g, net.family(), now);
        ready.then_some(Request::TakeAddress(net.address))
    }

    /// The route of its subnet goes with it, so ours must stand.
    pub(crate) fn wish_test_taken(
        &self,
        m: usize,
        family: Family,
        now: Instant,
    ) -> Option<Request> {
        let net = self.static_test(m, family)?;
        let (g, member) = (self.group_of(m), &self.members[m]);
        let ready = self.surveyed
            && !member.test_foreign[family as usize].as_slice().is_empty()
            && member.test_seen[family as usize]
            && self.addresses_stand(g, family)
            && self.groups[g].routes_stand[family as usize]
            && self.has_no_rivals(g, family, now);
        ready.then_some(Request::TakeAddress(net.address))
    }

    pub(crate) fn wish_routes_taken(&self, r: usize) -> Option<Request> {
        let route = &self.routes[r];
        let stands = route.observed.is_some() && route.is_settled();
        let ready = self.surveyed && route.rivals && stands;
        ready.then_some(Request::TakeRoutes(route.key))
    }

    fn addresses_stand(&self, g: usize, family: Family) -> bool {
        let addresses = &self.addresses[self.groups[g].addresses.clone()];
        let mut of_family = addresses.iter().filter(|a| a.net.family() == family);
        of_family.all(|a| a.is_refused() || a.holder.is_none_or(|h| a.on.contains(h)))
    }

    /// The kernel drops routes with the last address of a device: they are taken first, while they can
    /// be remembered.
    pub(crate) fn has_no_rivals(&self, g: usize, family: Family, now: Instant) -> bool {
        let of_family = |r: &usize| self.routes[*r].family() == family;
        self.groups[g].routes.clone().filter(of_family).all(|r| {
            !self.routes[r].rivals
                || self.slots[self.slot_of(Resource::TakeRoute(r))].not_before > now
        })
    }
}
