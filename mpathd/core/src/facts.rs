//! What the engine makes of facts: links, addresses, routes. No decision is drawn here.

use core::net::IpAddr;
use core::time::Duration;

use crate::config::TestAddress;
use crate::engine::Engine;
use crate::event::{Address, Gateways, HookLoss, Link, ReceiveMode};
use crate::ids::{Family, Ifindex};
use crate::instance::{Failure, Instance};
use crate::message::{Evidence, Message, Reason};
use crate::request::Request;
use crate::resource::{DataAddress, Resource};
use crate::targets::is_link_local;
use crate::time::Instant;

/// A link that we set up has carrier by then, or has none.
const SET_UP_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    pub(crate) fn link(&mut self, now: Instant, link: Link) {
        // Renamed: the member of the old name has left.
        if let Some(m) = self.member_at(link.ifindex)
            && self.members[m].name() != link.name
        {
            self.link_gone(now, link.ifindex);
        }
        let seated = self.member_named(link.name).or_else(|| self.seat(&link));
        let Some(m) = seated else { return };
        if self.is_stranger(m) && !link.may_be_watched() {
            return self.vacate(m);
        }
        if let Some(old) = self.members[m].ifindex()
            && old != link.ifindex
        {
            self.link_gone(now, old);
        }
        match self.members[m].link.replace(link) {
            None => self.joins(now, m, link),
            Some(before) => self.link_changed(now, m, before, link),
        }
    }

    fn joins(&mut self, now: Instant, m: usize, link: Link) {
        let stranger = self.is_stranger(m);
        let member = &mut self.members[m];
        member.since = now;
        member.up_since = link.running.then_some(now);
        // By us or, outside of groups, by somebody else just now.
        let set_up = if stranger { !link.running } else { !link.up && !member.met };
        member.set_up_until = set_up.then_some(now + SET_UP_WITHIN);
        let interface = member.name();
        let wait = member.came_back(now);
        if let Some(unfit) = link.unfit {
            self.out.message(Message::Unfit { interface, unfit });
        } else if link.up && !link.running && !set_up {
            self.out.message(Message::LinkDown { interface });
        }
        if wait > Duration::ZERO {
            self.out.message(Message::ReturnDamped { interface, wait });
        }
        for family in Family::ALL {
            self.retarget(m, family);
        }
        // A device of this name may carry addresses of ours that belong elsewhere.
        self.tidied = false;
        self.check_twin(now, m);
    }

    fn link_changed(&mut self, now: Instant, m: usize, before: Link, link: Link) {
        if link.up && !before.up {
            // Whoever set it up may have changed more.
            self.members[m].prepared = None;
        }
        // Down and up again between two notices (behaviour file 10).
        let bounced = before.running
            && link.running
            && link.carrier_changes.wrapping_sub(before.carrier_changes) >= 2;
        if before.running && (!link.running || bounced) {
            self.link_down(now, m);
        }
        if link.running && (!before.running || bounced) {
            self.link_up(now, m);
        }
        if link.mac != before.mac {
            self.mac_changed(now, m);
        }
    }

    fn link_down(&mut self, now: Instant, m: usize) {
        let member = &mut self.members[m];
        member.up_since = None;
        for instance in &mut member.instances {
            fail_with_link(instance, now);
            instance.stop();
        }
        let interface = member.name();
        self.out.message(Message::LinkDown { interface });
    }

    fn link_up(&mut self, now: Instant, m: usize) {
        let member = &mut self.members[m];
        member.instances.iter_mut().for_each(Instance::hasten_search);
        member.up_since = Some(now);
        if member.set_up_until.take().is_none() {
            member.link_came_back(now);
        }
        let interface = member.name();
        self.out.message(Message::LinkUp { interface });
    }

    pub(crate) fn link_gone(&mut self, now: Instant, ifindex: Ifindex) {
        let Some(m) = self.member_at(ifindex) else { return };
        let (g, position) = (self.group_of(m), self.position(m));
        for k in self.groups[g].addresses.clone() {
            self.addresses[k].on.remove(position);
            self.addresses[k].stale_on.remove(position);
        }
        let member = &mut self.members[m];
        let interface = member.name();
        for family in Family::ALL {
            if member.test_config(family).is_some() || family == Family::Inet {
                self.out.message(Message::Removed { interface, family });
            }
        }
        if self.is_stranger(m) {
            return self.vacate(m);
        }
        let member = &mut self.members[m];
        member.left(now);
        // Renamed, it still carries what was put on it.
        self.tidied = false;
        for i in 0..2 {
            for n in 0..self.members[m].instances[i].paths.len() {
                self.close_path(m, i, n);
            }
        }
    }

    pub(crate) fn address(&mut self, now: Instant, seen: Address) {
        let address = seen.address.address;
        let member = self.member_at(seen.ifindex);
        if let Some(m) = member {
            self.plumbed(seen.ifindex, Family::of(address), true);
            self.test_address_seen(now, m, seen);
        }
        let Some(k) = self.address_at(address) else { return };
        let at_home = member.filter(|m| self.group_of_address(k) == self.group_of(*m));
        // Ours where it no longer belongs is removed when it stands where it does.
        if let Some(m) = at_home.filter(|_| seen.ours) {
            self.data_address_seen(now, k, m, seen.stale_form);
        }
    }

    fn test_address_seen(&mut self, now: Instant, m: usize, seen: Address) {
        let address = seen.address.address;
        let family = Family::of(address);
        if is_link_local(address) {
            return self.link_local_seen(m, seen);
        }
        let ours = match self.members[m].test_config(family) {
            Some(TestAddress::Static(net)) => seen.ours && net.address == address,
            Some(TestAddress::LinkLocal) | None => false,
        };
        if !ours {
            return;
        }
        let member = &mut self.members[m];
        let stood = core::mem::replace(&mut member.test_seen[family as usize], true);
        let before = core::mem::replace(&mut member.test_stale[family as usize], seen.stale_form);
        let what = Resource::Test(m, family);
        self.form_seen(now, what, stood && !before, seen.stale_form);
        if !seen.tentative {
            self.members[m].instances[family as usize].test = Some(address);
            self.retarget(m, family);
        }
    }

    /// An address of ours stands; `was_right`: it did so before, in the form that is wanted.
    fn form_seen(&mut self, now: Instant, what: Resource, was_right: bool, stale: bool) {
        let slot = self.slot_of(what);
        if !stale {
            self.slots[slot].noticed();
        } else if was_right && !self.slots[slot].in_flight() {
            self.note_drift(slot, now);
        }
    }

    /// One that is tentative once more, as after a loss of carrier, stays in use.
    fn link_local_seen(&mut self, m: usize, seen: Address) {
        let address = seen.address.address;
        let used = self.members[m].instance(Family::Inet6).test;
        let member = &mut self.members[m];
        let known = member.link_locals.contains(address);
        if seen.refused {
            member.link_locals.remove(address);
        } else if !seen.tentative || known {
            let left_out = member.link_locals.insert(address, seen.by_kernel, used);
            if let Some(address) = left_out.filter(|_| self.is_link_local_tested(m)) {
                let interface = self.members[m].name();
                self.out.message(Message::TooManyLinkLocals { interface, address });
            }
        }
        self.choose_link_local(m);
    }

    fn is_link_local_tested(&self, m: usize) -> bool {
        self.members[m].test_config(Family::Inet6) == Some(TestAddress::LinkLocal)
            && !self.is_stranger(m)
    }

    fn choose_link_local(&mut self, m: usize) {
        if !self.is_link_local_tested(m) {
            return;
        }
        let i = Family::Inet6 as usize;
        let member = &mut self.members[m];
        let before = member.instances[i].test;
        let chosen = member.link_locals.choose(before);
        member.test_seen[i] = chosen.is_some();
        if chosen == before {
            return;
        }
        let instance = &mut member.instances[i];
        (instance.test, instance.claim) = (chosen, None);
        instance.stop();
        self.retarget(m, Family::Inet6);
    }

    fn data_address_seen(&mut self, now: Instant, k: usize, m: usize, stale: bool) {
        let position = self.position(m);
        let DataAddress { on, stale_on, .. } = &mut self.addresses[k];
        let was_right = on.contains(position) && !stale_on.contains(position);
        on.insert(position);
        if stale {
            stale_on.insert(position);
        } else {
            stale_on.remove(position);
        }
        self.form_seen(now, Resource::Data(k, position), was_right, stale);
        let to = self.members[m].name();
        let address = &mut self.addresses[k];
        if address.holder == Some(position)
            && let Some((decided, from)) = address.moving.take()
        {
            let (address, took) = (address.net.address, now.since(decided));
            self.out.message(Message::Moved { address, from, to, took });
        }
    }

    pub(crate) fn address_gone(&mut self, now: Instant, ifindex: Ifindex, address: IpAddr) {
        let family = Family::of(address);
        let Some(m) = self.member_at(ifindex) else { return };
        if is_link_local(address) {
            self.members[m].link_locals.remove(address);
            return self.choose_link_local(m);
        }
        if self.members[m].instance(family).test == Some(address)
            || self.static_test(m, family).is_some_and(|t| t.address == address)
        {
            self.members[m].test_seen[family as usize] = false;
            self.members[m].test_stale[family as usize] = false;
            self.members[m].instances[family as usize].test = None;
            self.members[m].instances[family as usize].claim = None;
            self.members[m].instances[family as usize].stop();
            let wanted = !self.members[m].offline && self.static_test(m, family).is_some();
            self.address_lost(now, Resource::Test(m, family), wanted);
            self.retarget(m, family);
        }
        let Some(k) = self.address_at(address) else { return };
        let position = self.position(m);
        if self.group_of_address(k) == self.group_of(m) && self.addresses[k].on.contains(position) {
            self.addresses[k].on.remove(position);
            self.addresses[k].stale_on.remove(position);
            let wanted = self.addresses[k].holder == Some(position);
            self.address_lost(now, Resource::Data(k, position), wanted);
            if !wanted {
                self.announce(now, k);
            }
        }
    }

    /// Gone: by us, or by somebody else.
    fn address_lost(&mut self, now: Instant, what: Resource, wanted: bool) {
        let slot = self.slot_of(what);
        self.slots[slot].noticed();
        if wanted && !self.slots[slot].in_flight() {
            self.note_drift(slot, now);
        }
    }

    /// What is observed is no more what it was, and we have not asked for that. What a reload makes of
    /// what was there is nobody's doing but ours.
    pub(crate) fn note_drift(&mut self, slot: usize, now: Instant) {
        if !self.retelling {
            self.slots[slot].drifted(now);
        }
    }

    pub(crate) fn gateways(&mut self, list: Gateways) {
        let Gateways { ifindex, family, .. } = list;
        let known =
            self.gateways.iter().position(|it| (it.ifindex, it.family) == (ifindex, family));
        match known {
            Some(at) if list.is_empty() => drop(self.gateways.swap_remove(at)),
            Some(at) if self.gateways[at] == list => return,
            Some(at) => self.gateways[at] = list,
            None if list.is_empty() => return,
            None => self.add_gateways(list),
        }
        let concerned = self.member_at(ifindex).map_or(0..self.members.len(), |m| self.circle(m));
        concerned.for_each(|m| self.retarget(m, family));
    }

    /// The interface may not be known yet; a list of one that has gone makes room.
    pub(crate) fn add_gateways(&mut self, list: Gateways) {
        if self.gateways.len() >= self.members.len() * Family::ALL.len() {
            let gone = |it: &Gateways| self.member_at(it.ifindex).is_none();
            let Some(at) = self.gateways.iter().position(gone) else { return };
            self.gateways.swap_remove(at);
        }
        self.gateways.push(list);
    }

    /// A dump is complete: addresses that are new to us stay where they are, or where they were last.
    pub(crate) fn survey(&mut self) {
        self.surveyed = true;
        self.retelling = false;
        self.tell_missing();
        for g in 0..self.groups.len() {
            let members = self.groups[g].members.clone();
            for k in self.groups[g].addresses.clone() {
                let address = &self.addresses[k];
                if address.known {
                    continue;
                }
                let seen = (0..members.len()).find(|p| address.on.contains(*p));
                let saved = || {
                    let all = &self.saved.bindings;
                    let bound =
                        all.binary_search_by_key(&address.net.address, |b| b.address).ok()?;
                    let bound = all[bound];
                    members.clone().position(|m| self.members[m].name() == bound.interface)
                };
                let taken = || self.stands_foreign(g, address);
                self.addresses[k].holder = seen.or_else(taken).or_else(saved);
                self.addresses[k].known = true;
            }
        }
    }

    pub(crate) fn attached(&mut self, now: Instant, ifindex: Ifindex, mode: ReceiveMode) {
        let Some(m) = self.member_at(ifindex) else { return };
        self.members[m].receive = Some(mode);
        self.members[m].attached_at = Some(now);
        self.members[m].hook_loss = None;
        let interface = self.members[m].name();
        self.out.message(Message::Receiving { interface, mode });
    }

    /// Nothing counts as lost by this: the sockets receive what the hook does not. Whoever keeps taking
    /// the hook away is answered after longer and longer pauses, as with addresses.
    pub(crate) fn hook_lost(&mut self, now: Instant, ifindex: Ifindex, loss: HookLoss) {
        let Some(m) = self.member_at(ifindex) else { return };
        let member = &mut self.members[m];
        let Some(mode) = member.receive.filter(|mode| *mode != ReceiveMode::Socket) else { return };
        member.receive = Some(ReceiveMode::Socket);
        member.reattach = true;
        member.hook_loss = Some(loss);
        let interface = member.name();
        let slot = self.slot_of(Resource::Attach(m));
        self.slots[slot].drifted(now);
        let held = self.slots[slot].held();
        self.out.message(Message::HookLost { interface, mode, loss, held });
    }

    pub(crate) fn receive_deferred(&mut self, ifindex: Ifindex, deferred: bool) {
        let Some(m) = self.member_at(ifindex) else { return };
        let interface = self.members[m].name();
        let before = self.members[m].instances[0].deferred;
        self.members[m].instances.iter_mut().for_each(|i| i.deferred = deferred);
        if deferred && !before {
            self.out.message(Message::ReceiveDeferred { interface });
        }
    }

    pub(crate) fn group_of_address(&self, k: usize) -> usize {
        self.groups.iter().position(|g| g.addresses.contains(&k)).unwrap_or(usize::MAX)
    }

    /// Tells the neighbours where an address is, if it is where it is to be.
    pub(crate) fn announce(&mut self, now: Instant, k: usize) {
        let g = self.group_of_address(k);
        let address = &self.addresses[k];
        let Some(holder) = address.holder.filter(|h| address.on.contains(*h)) else { return };
        let Some(ifindex) = self.members[self.groups[g].members.start + holder].ifindex() else {
            return;
        };
        let address = address.net.address;
        let peers = self.groups[g].peers[Family::of(address) as usize];
        self.request(now, crate::engine::NO_ANSWER, Request::Announce { ifindex, address, peers });
    }
}

/// What was answered before a link loss must not count for repair: the instance has to earn it.
fn fail_with_link(instance: &mut Instance, now: Instant) {
    // One that is offline has no targets now, but had answers before.
    if (instance.probing() || instance.replied) && instance.failure.is_none() {
        let last = instance.paths.iter().filter_map(|p| p.last_reply).max();
        instance.fail(Failure {
            since: now,
            together: false,
            told: true,
            evidence: Evidence {
                reason: Reason::Link,
                silent: 0,
                counted: 0,
                last_reply: last.map(|at| now.since(at)),
                detected: Duration::ZERO,
            },
        });
    }
}
