//! Replies, the targets of each instance, and the paths to them.

use core::net::IpAddr;

use crate::engine::Engine;
use crate::ids::{Family, IfName, Ifindex, PathId, Seq};
use crate::instance::Instance;
use crate::message::Message;
use crate::path::{Outcome, Path};
use crate::request::{Action, Notice, PathKey, ProbeOutcome};
use crate::targets;
use crate::time::Instant;
use crate::view::TargetMode;

impl Engine {
    pub(crate) fn with_path(&mut self, path: PathId, act: impl FnOnce(&mut Instance)) {
        if let Some((m, i)) = self.instance_of(path) {
            act(&mut self.members[m].instances[i]);
        }
    }

    fn instance_of(&self, path: PathId) -> Option<(usize, usize)> {
        let instance = usize::from(path.0) / crate::config::MAX_TARGETS;
        let m = (*self.seats.get(instance / 2)?)?;
        Some((m, instance % 2))
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

    /// Brings the paths of an instance in line with its targets; paths that stay keep their history.
    pub(crate) fn retarget(&mut self, m: usize, family: Family) {
        let i = family as usize;
        let (g, member) = (self.group_of(m), &self.members[m]);
        let group = &self.config.groups[g];
        let key = member.test_config(family).zip(member.instances[i].test).zip(member.ifindex());
        let Some(((config, test), ifindex)) = key else {
            self.members[m].instances[i].mode = TargetMode::Disabled;
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

    /// The path of an instance that is no more.
    pub(crate) fn tell_closed(&mut self, instance: &Instance, n: usize) {
        if instance.paths[n].key.is_some() {
            self.out.push(Action::Path { path: instance.path_id(n), key: None });
        }
    }

    pub(crate) fn close_path(&mut self, m: usize, i: usize, n: usize) {
        let instance = &mut self.members[m].instances[i];
        if instance.paths[n].key.is_some() {
            instance.paths[n].open(None, false);
            let path = instance.path_id(n);
            self.out.push(Action::Path { path, key: None });
        }
    }
}

fn probe_outcome(
    interface: IfName,
    target: IpAddr,
    path: &Path,
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
