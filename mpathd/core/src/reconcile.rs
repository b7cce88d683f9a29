//! Desired against observed (A 3): what is wanted follows from the state of the members alone, what
//! is there from notices and dumps; the difference, filtered by guards, makes requests. Restart,
//! drift and overrun need no code of their own.

use core::time::Duration;

use crate::engine::Engine;
use crate::event::HookLoss;
use crate::ids::Family;
use crate::instance::Instance;
use crate::request::{Request, Role};
use crate::resource::{DataAddress, Resource};
use crate::time::Instant;

/// Sysctls are compared this often, for changes of them come without notice (O16).
const CHECK_SYSCTLS: Duration = Duration::from_secs(20);
/// The first round follows the start of probing within this time, or T if that is shorter.
const FIRST_PHASE: Duration = Duration::from_millis(200);
/// The next NIC of a group is attached when the last one's probes are answered, or after one FDT, but
/// this at most.
const ATTACH_NEXT: Duration = Duration::from_secs(1);
/// A hook in place of another one waits longer for a link that was reset by the last one: replies are
/// received all the same. Drivers take some seconds for that.
const REATTACH_NEXT: Duration = Duration::from_secs(10);
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
        for index in self.slots_of_members(g) {
            self.ask(index, now);
        }
        if self.attention.is_walked(g) {
            self.slots_of_bindings(g).for_each(|index| self.ask(index, now));
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
            Resource::Data(k, position) => self.wish_data_address(k, position),
            Resource::Route(r) => self.wish_route(r),
            Resource::Attach(m) => self.wish_attached(m, now),
            Resource::Transmits(m) => self.wish_transmits(m),
            Resource::Search(m, family) => self.wish_search(m, family),
            Resource::Unconfigured => {
                let wanted = self.tidies && !self.tidied && self.is_settled(now);
                wanted.then_some(Request::RemoveUnconfigured)
            }
            Resource::TakeData(k) => self.wish_data_taken(k, now),
            Resource::TakeTest(m, family) => self.wish_test_taken(m, family, now),
            Resource::TakeRoute(r) => self.wish_routes_taken(r),
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
        let in_form = stands && !member.test_stale[family as usize];
        let refused = family == Family::Inet6 && member.test_refused.is_some();
        let wanted = member.fit() && !member.offline && member.plumbed[family as usize] && !refused;
        if wanted && member.prepared.is_some() {
            let set =
                Request::SetAddress { ifindex, name, address, role: Role::Test, announce: None };
            (!in_form).then_some(set)
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

    fn wish_data_address(&self, k: usize, position: usize) -> Option<Request> {
        let address = &self.addresses[k];
        let g = self.group_of_address(k);
        let member = &self.members[self.groups[g].members.start + position];
        let (ifindex, name) = (member.ifindex()?, member.name());
        let stands = address.on.contains(position);
        let family = address.net.family();
        if address.holder == Some(position) {
            let ready =
                member.prepared.is_some() && member.plumbed[family as usize] && self.surveyed;
            let in_form = stands && !address.stale_on.contains(position);
            let ready = ready && !address.is_refused();
            return (!in_form && ready).then(|| Request::SetAddress {
                ifindex,
                name,
                address: address.net,
                role: Role::Data,
                announce: Some(self.groups[g].peers[family as usize]),
            });
        }
        let unset = Request::UnsetAddress { ifindex, name, address: address.net };
        (stands && self.surveyed && self.stands_elsewhere(g, address)).then_some(unset)
    }

    /// Make before break: an address leaves a member only while it is seen on the one that is to
    /// have it, and its routes no longer need the old place.
    pub(crate) fn stands_elsewhere(&self, g: usize, address: &DataAddress) -> bool {
        let moved = address.holder.is_some_and(|h| address.on.contains(h));
        moved && self.groups[g].routes_stand[address.net.family() as usize]
    }

    /// Attaching can reset a link (N15): one NIC of a group at a time, one without data first.
    fn wish_attached(&self, m: usize, now: Instant) -> Option<Request> {
        let member = &self.members[m];
        let link = member.link.filter(|_| member.fit() && member.needs_hook())?;
        if !(member.is_to_be_probed() && link.up && member.prepared.is_some()) {
            return None;
        }
        let started = self.started.unwrap_or(now);
        let g = self.group_of(m);
        let group = &self.groups[g];
        let addresses_stand = now.since(started) >= ATTACH_LATEST || self.group_is_settled(g, now);
        let alone = group.members.clone().all(|o| {
            let attaching = self.slots[self.slot_of(Resource::Attach(o))].in_flight();
            o == m || !(attaching || self.proves_itself(o, member.receive.is_some(), now))
        });
        let lighter = group.members.clone().any(|o| {
            let other = &self.members[o];
            let waits = other.fit() && other.link_up() && other.needs_hook();
            o != m && waits && other.is_to_be_probed() && (self.load(o), o) < (self.load(m), m)
        });
        (addresses_stand && alone && !lighter).then_some(Request::Attach {
            ifindex: link.ifindex,
            name: link.name,
            datapath: member.config.datapath,
            consume_replies: member.config.consume_replies,
            bypassed: member.hook_loss == Some(HookLoss::Bypassed),
        })
    }

    /// Its hook was attached just now, and what came of it is not known yet. `patient`: the NIC that waits
    /// for it receives replies meanwhile.
    fn proves_itself(&self, m: usize, patient: bool, now: Instant) -> bool {
        let member = &self.members[m];
        let Some(at) = member.attached_at else { return false };
        let waits = |i: &Instance| i.running() || i.seeks_hosts();
        let unanswered = |i: &Instance| waits(i) && !(i.replied && i.answered_after(at));
        let soon = now.since(at) < self.groups[self.group_of(m)].fdt.min(ATTACH_NEXT);
        let link_reset = member.link.is_some_and(|link| link.up) && !member.link_up();
        let later = patient && link_reset && now.since(at) < REATTACH_NEXT;
        later || soon && member.instances.iter().any(unanswered)
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
                refused || self.routes[r].is_settled()
            })
            && Family::ALL.iter().all(|family| self.has_no_rivals(g, *family, now))
    }

    /// When sysctls are due for comparison, and when a hook that waits may be attached.
    pub(crate) fn next_check(&self, g: usize, now: Instant) -> Option<Instant> {
        let members = &self.members[self.groups[g].members.clone()];
        let sysctls = members.iter().filter_map(|m| m.prepared).map(|at| at + CHECK_SYSCTLS);
        let waiting = members.iter().any(|m| m.fit() && m.needs_hook() && m.is_to_be_probed());
        let pause = self.groups[g].fdt.min(ATTACH_NEXT);
        let pauses = [pause, REATTACH_NEXT];
        let attach = members.iter().filter_map(|m| m.attached_at);
        let attach = attach.flat_map(|at| pauses.map(|pause| at + pause));
        let latest = self.started.map(|at| at + ATTACH_LATEST);
        let attach = attach.chain(latest).filter(|at| waiting && *at > now);
        sysctls.filter(|at| *at > now).chain(attach).min()
    }
}
