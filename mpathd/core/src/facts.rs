//! What the engine makes of facts: links, addresses, routes, replies. No decision is drawn here.

use core::net::IpAddr;

use crate::config::TestAddress;
use crate::engine::Engine;
use crate::event::{Address, Command, Done, Gateways, Link, ObservedRoute, ReceiveMode, RouteKey};
use crate::ids::{Family, Ifindex, PathId, Seq};
use crate::instance::{Failure, Instance};
use crate::member::Member;
use crate::message::{Evidence, Message, Reason};
use crate::path::Outcome;
use crate::request::{Action, CommandError, Notice, PathKey, ProbeOutcome, Request};
use crate::resource::Resource;
use crate::targets::{self, is_link_local};
use crate::time::Instant;

impl Engine {
    pub(crate) fn link(&mut self, now: Instant, link: Link) {
        // Renamed: the member of the old name has left.
        if let Some(m) = self.member_at(link.ifindex)
            && self.members[m].name() != link.name
        {
            self.link_gone(now, link.ifindex);
        }
        let Some(m) = self.member_named(link.name) else { return };
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
        let member = &mut self.members[m];
        member.since = now;
        member.up_since = link.running.then_some(now);
        let interface = member.name();
        let probed = member.is_to_be_probed();
        if let Some(unfit) = link.unfit {
            self.out.message(Message::Unfit { interface, unfit });
        } else if link.up && !link.running {
            self.out.message(Message::LinkDown { interface });
        }
        if !probed {
            self.out.message(Message::NoTestAddress { interface });
        }
        for family in Family::ALL {
            self.retarget(m, family);
        }
    }

    fn link_changed(&mut self, now: Instant, m: usize, before: Link, link: Link) {
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
        member.up_since = Some(now);
        member.link_came_back(now);
        let interface = member.name();
        self.out.message(Message::LinkUp { interface });
    }

    pub(crate) fn link_gone(&mut self, now: Instant, ifindex: Ifindex) {
        let Some(m) = self.member_at(ifindex) else { return };
        let (g, position) = (self.group_of(m), self.position(m));
        for k in self.groups[g].addresses.clone() {
            self.addresses[k].on.remove(position);
        }
        let member = &mut self.members[m];
        let interface = member.name();
        for family in Family::ALL {
            if member.test_config(family).is_some() || family == Family::Inet {
                self.out.message(Message::Removed { interface, family });
            }
        }
        member.left(now);
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
            self.test_address_seen(m, seen);
        }
        let Some(k) = self.addresses.iter().position(|a| a.net.address == address) else { return };
        let at_home = member.filter(|m| self.group_of_address(k) == self.group_of(*m));
        match at_home.filter(|_| seen.ours) {
            Some(m) => self.data_address_seen(now, k, m),
            // Ours where it no longer belongs is removed when it stands where it does.
            None => self.addresses[k].foreign |= !seen.ours,
        }
    }

    fn test_address_seen(&mut self, m: usize, seen: Address) {
        let address = seen.address.address;
        let family = Family::of(address);
        let ours = match self.members[m].test_config(family) {
            Some(TestAddress::Static(net)) => net.address == address,
            Some(TestAddress::LinkLocal) => is_link_local(address),
            None => false,
        };
        if !ours {
            return;
        }
        self.members[m].test_seen[family as usize] = true;
        let slot = self.slot_of(Resource::Test(m, family));
        self.slots[slot].noticed();
        if !seen.tentative {
            self.members[m].instances[family as usize].test = Some(address);
            self.retarget(m, family);
        }
    }

    fn data_address_seen(&mut self, now: Instant, k: usize, m: usize) {
        let position = self.position(m);
        let slot = self.slot_of(Resource::Data(k, position));
        self.slots[slot].noticed();
        let to = self.members[m].name();
        let address = &mut self.addresses[k];
        address.on.insert(position);
        if address.holder == Some(position)
            && let Some((decided, from)) = address.moving.take()
        {
            let (address, took) = (address.net.address, now.since(decided));
            self.out.message(Message::Moved { address, from, to, took });
        }
    }

    pub(crate) fn address_gone(&mut self, now: Instant, ifindex: Ifindex, address: IpAddr) {
        let family = Family::of(address);
        let Some(m) = self.member_at(ifindex) else {
            let elsewhere = self.addresses.iter_mut().filter(|a| a.net.address == address);
            elsewhere.for_each(|a| a.foreign = false);
            return;
        };
        if self.members[m].instance(family).test == Some(address)
            || self.static_test(m, family).is_some_and(|t| t.address == address)
        {
            self.members[m].test_seen[family as usize] = false;
            self.members[m].instances[family as usize].test = None;
            self.members[m].instances[family as usize].stop();
            let wanted = !self.members[m].offline && self.static_test(m, family).is_some();
            self.address_lost(now, m, Resource::Test(m, family), address, wanted);
            self.retarget(m, family);
        }
        let Some(k) = self.addresses.iter().position(|a| a.net.address == address) else { return };
        let position = self.position(m);
        if self.group_of_address(k) == self.group_of(m) && self.addresses[k].on.contains(position) {
            self.addresses[k].on.remove(position);
            let wanted = self.addresses[k].holder == Some(position);
            self.address_lost(now, m, Resource::Data(k, position), address, wanted);
            if !wanted {
                self.announce(now, k);
            }
        } else {
            self.addresses[k].foreign = false;
        }
    }

    /// Gone: by us, or by somebody else.
    fn address_lost(
        &mut self,
        now: Instant,
        m: usize,
        what: Resource,
        address: IpAddr,
        wanted: bool,
    ) {
        let slot = self.slot_of(what);
        self.slots[slot].noticed();
        if wanted && !self.slots[slot].in_flight() {
            self.slots[slot].drifted(now);
            let interface = Some(self.members[m].name());
            self.out.message(Message::Drift { interface, address });
        }
    }

    pub(crate) fn route(&mut self, now: Instant, key: RouteKey, observed: Option<ObservedRoute>) {
        let Some(r) = self.routes.iter().position(|r| r.key == key) else { return };
        let slot = self.slot_of(Resource::Route(r));
        self.slots[slot].noticed();
        let settled = self.route_is_settled(r, now);
        self.routes[r].observed = observed;
        if settled && !self.slots[slot].in_flight() && !self.route_is_settled(r, now) {
            self.slots[slot].drifted(now);
            self.out.message(Message::Drift { interface: None, address: key.to.address });
        }
    }

    pub(crate) fn gateways(&mut self, gateways: Gateways) {
        if self.gateways == gateways {
            return;
        }
        self.gateways = gateways;
        for m in 0..self.members.len() {
            for family in Family::ALL {
                self.retarget(m, family);
            }
        }
    }

    /// The first dump is complete: addresses stay where they are, or where they were last.
    pub(crate) fn survey(&mut self) {
        self.surveyed = true;
        for g in 0..self.groups.len() {
            let members = self.groups[g].members.clone();
            for k in self.groups[g].addresses.clone() {
                let address = &self.addresses[k];
                let seen = (0..members.len()).find(|p| address.on.contains(*p));
                let saved = || {
                    let bound =
                        self.saved.bindings.iter().find(|b| b.address == address.net.address)?;
                    members.clone().position(|m| self.members[m].name() == bound.interface)
                };
                self.addresses[k].holder = seen.or_else(saved);
            }
        }
    }

    pub(crate) fn attached(&mut self, now: Instant, ifindex: Ifindex, mode: ReceiveMode) {
        let Some(m) = self.member_at(ifindex) else { return };
        self.members[m].receive = Some(mode);
        self.members[m].attached_at = Some(now);
        let interface = self.members[m].name();
        self.out.message(Message::Receiving { interface, mode });
    }

    pub(crate) fn with_path(&mut self, path: PathId, act: impl FnOnce(&mut Instance)) {
        if let Some((m, i)) = self.instance_of(path) {
            act(&mut self.members[m].instances[i]);
        }
    }

    fn instance_of(&self, path: PathId) -> Option<(usize, usize)> {
        let instance = usize::from(path.0) / crate::config::MAX_TARGETS;
        let (m, i) = (instance / 2, instance % 2);
        (m < self.members.len()).then_some((m, i))
    }

    pub(crate) fn reply(&mut self, now: Instant, path: PathId, seq: Seq, at: Instant) {
        let Some((m, i)) = self.instance_of(path) else { return };
        let interface = self.members[m].name();
        let instance = &mut self.members[m].instances[i];
        let first = !instance.replied;
        let started = instance.started.unwrap_or(now);
        let was_dead = instance.path_mut(path).is_some_and(|p| p.dead);
        let Some(outcome) = instance.reply(path, seq, at) else { return };
        let Some(path) = instance.path_mut(path) else { return };
        let Some(target) = path.target() else { return };
        let (revived, proven, told) = (was_dead && !path.dead, path.proven, *path);
        if first {
            self.out.message(Message::FirstReply { interface, target, after: now.since(started) });
        }
        if revived {
            self.out.message(Message::TargetAlive { target, interface });
        }
        if !proven {
            self.prove(target);
        }
        if self.out.streaming {
            let streamed = probe_outcome(interface, target, &told, outcome, now);
            self.out.push(Action::Notice(Notice::Probe(streamed)));
        }
    }

    /// The target has answered this host: from now on its silence counts, on every member.
    fn prove(&mut self, target: IpAddr) {
        if !self.proven.contains(&target) && self.proven.len() < self.proven.capacity() {
            self.proven.push(target);
            self.out.persist();
        }
        let paths =
            self.members.iter_mut().flat_map(|m| &mut m.instances).flat_map(|i| &mut i.paths);
        for path in paths.filter(|p| p.target() == Some(target)) {
            path.proven = true;
        }
    }

    /// Gives up what has waited long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Self { members, out, .. } = self;
        for member in members {
            let interface = member.name();
            for instance in member.instances.iter_mut().filter(|i| i.running()) {
                instance.expire(now, |target, path, outcome| {
                    if out.streaming {
                        let streamed = probe_outcome(interface, target, path, outcome, now);
                        out.push(Action::Notice(Notice::Probe(streamed)));
                    }
                });
            }
        }
    }

    pub(crate) fn transmits(&mut self, now: Instant, ifindex: Ifindex, frames: u64) {
        let Some(m) = self.member_at(ifindex) else { return };
        let before = self.members[m].transmits.replace(frames);
        for instance in &mut self.members[m].instances {
            instance.counted_transmits(now, before.is_some_and(|before| frames > before));
        }
    }

    pub(crate) fn done(&mut self, now: Instant, done: Done) {
        self.slowest_request = self.slowest_request.max(done.waited + done.ran);
        let index = done.op.0 as usize & 0xffff;
        let Some(slot) = self.slots.get_mut(index) else { return };
        if !slot.end(done.op, done.result.is_ok(), now) {
            return;
        }
        match slot.what {
            // A host that refuses a sysctl still gets its addresses: that lowers the mode (N13).
            Resource::Prepare(m) => {
                slot.noticed();
                self.members[m].prepared = Some(now);
                self.members[m].met = true;
            }
            Resource::Attach(_) => slot.noticed(),
            Resource::Unconfigured => {
                slot.noticed();
                self.tidied |= done.result.is_ok();
            }
            Resource::Transmits(m) => {
                slot.noticed();
                slot.not_before = now + self.groups[usize::from(self.members[m].group.0)].fdt / 6;
            }
            Resource::Test(..) | Resource::Data(..) | Resource::Route(_) => {}
        }
        if let Err(errno) = done.result
            && self.slots[index].failed_once()
            && let Some(request) = self.wish(index, now)
        {
            self.out.message(Message::RequestFailed { request, errno });
        }
    }

    pub(crate) fn command(&mut self, now: Instant, command: Command) {
        let result = match command {
            Command::Offline { interface } => self
                .member_named(interface)
                .ok_or(CommandError::UnknownInterface)
                .and_then(|m| self.take_offline(now, m)),
            Command::Online { interface } => self
                .member_named(interface)
                .ok_or(CommandError::UnknownInterface)
                .and_then(|m| self.bring_online(now, m)),
        };
        self.out.push(Action::Notice(Notice::Reply(result)));
    }

    /// Behaviour file 6.1: another member must be usable, or the group has failed anyway.
    fn take_offline(&mut self, now: Instant, m: usize) -> Result<(), CommandError> {
        if self.members[m].offline {
            return Err(CommandError::AlreadyOffline);
        }
        let members = self.groups[self.group_of(m)].members.clone();
        let group_works = self.members[members.clone()].iter().any(Member::usable);
        let others = members.filter(|o| *o != m).filter(|o| {
            let other = &self.members[*o];
            if group_works { other.usable() } else { !other.offline }
        });
        if others.count() == 0 {
            return Err(CommandError::NoRedundancy);
        }
        let member = &mut self.members[m];
        member.offline = true;
        member.since = now;
        member.instances.iter_mut().for_each(Instance::stop);
        let interface = member.name();
        self.out.message(Message::Offline { interface, offline: true });
        self.out.persist();
        Ok(())
    }

    /// FAILBACK=no is ignored here (behaviour 97).
    fn bring_online(&mut self, now: Instant, m: usize) -> Result<(), CommandError> {
        let member = &mut self.members[m];
        if !member.offline {
            return Err(CommandError::NotOffline);
        }
        member.offline = false;
        member.set_aside = false;
        member.since = now;
        let interface = member.name();
        self.out.message(Message::Offline { interface, offline: false });
        self.out.persist();
        Ok(())
    }

    pub(crate) fn group_of_address(&self, k: usize) -> usize {
        self.groups.iter().position(|g| g.addresses.contains(&k)).unwrap_or(usize::MAX)
    }

    /// Brings the paths of an instance in line with its targets; paths that stay keep their history.
    pub(crate) fn retarget(&mut self, m: usize, family: Family) {
        let i = family as usize;
        let (g, member) = (self.group_of(m), &self.members[m]);
        let group = &self.config.groups[g];
        let key = member.test_config(family).zip(member.instances[i].test).zip(member.ifindex());
        let Some(((config, test), ifindex)) = key else {
            self.members[m].instances[i].mode = crate::view::TargetMode::Disabled;
            (0..self.members[m].instances[i].paths.len()).for_each(|n| self.close_path(m, i, n));
            return;
        };
        let links = &self.members[self.groups[g].members.clone()];
        let chosen = targets::choose(group, config, family, &self.gateways, |at| {
            links.iter().any(|l| l.ifindex() == Some(at))
        });
        // Routing software withdraws routes when the network is down: routers stay meanwhile.
        let keep_all = self.groups[g].failure_told;
        self.members[m].instances[i].mode = chosen.mode;
        for n in 0..self.members[m].instances[i].paths.len() {
            let Some(key) = self.members[m].instances[i].paths[n].key else { continue };
            let stays = chosen.all.contains(&Some(key.target)) || keep_all;
            if !stays || key.test != test || key.ifindex != ifindex {
                self.close_path(m, i, n);
            }
        }
        for target in chosen.all.into_iter().flatten() {
            let instance = &self.members[m].instances[i];
            let known = instance.paths.iter().any(|p| p.target() == Some(target));
            let free = instance.paths.iter().position(|p| p.key.is_none());
            let (false, Some(n)) = (known, free) else { continue };
            let name = self.members[m].name();
            let id = self.members[m].id;
            let key = PathKey { member: id, name, ifindex, test, target };
            let proven = self.proven.contains(&target);
            let path = self.members[m].instances[i].path_id(n);
            self.members[m].instances[i].paths[n].open(Some(key), proven);
            self.out.push(Action::Path { path, key: Some(key) });
        }
    }

    fn close_path(&mut self, m: usize, i: usize, n: usize) {
        let instance = &mut self.members[m].instances[i];
        if instance.paths[n].key.is_some() {
            instance.paths[n].open(None, false);
            let path = instance.path_id(n);
            self.out.push(Action::Path { path, key: None });
        }
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
        let peers = self.peers(g, Family::of(address));
        self.request(now, crate::engine::NO_ANSWER, Request::Announce { ifindex, address, peers });
    }
}

/// What was answered before a link loss must not count for repair: the instance has to earn it.
fn fail_with_link(instance: &mut Instance, now: Instant) {
    if instance.probing() && instance.failure.is_none() {
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
                detected: core::time::Duration::ZERO,
            },
        });
    }
}

fn probe_outcome(
    interface: crate::ids::IfName,
    target: IpAddr,
    path: &crate::path::Path,
    outcome: Outcome,
    now: Instant,
) -> ProbeOutcome {
    ProbeOutcome {
        interface,
        target,
        seq: outcome.seq,
        sent: outcome.sent,
        received: outcome.received,
        processed: now,
        srtt: path.rtt.srtt,
        rttvar: path.rtt.rttvar,
    }
}
