//! Replies, what they prove, and probes that are given up.

use core::net::IpAddr;

use crate::engine::Engine;
use crate::ids::{IfName, Ifindex, PathId, Seq};
use crate::instance::Instance;
use crate::message::Message;
use crate::path::Outcome;
use crate::request::{Action, Notice, ProbeOutcome};
use crate::rtt::Rtt;
use crate::time::Instant;

impl Engine {
    pub(crate) fn with_path(&mut self, path: PathId, act: impl FnOnce(&mut Instance)) {
        if let Some((m, i)) = self.instance_of(path) {
            act(&mut self.members[m].instances[i]);
            self.touch(path);
        }
    }

    pub(crate) fn instance_of(&self, path: PathId) -> Option<(usize, usize)> {
        let instance = usize::from(path.0) / crate::config::MAX_TARGETS;
        let m = (*self.seats.get(instance / 2)?)?;
        Some((m, instance % 2))
    }

    pub(crate) fn reply(&mut self, now: Instant, path: PathId, seq: Seq, at: Instant) {
        let Some((m, i)) = self.instance_of(path) else { return };
        let interface = self.members[m].name();
        let instance = &mut self.members[m].instances[i];
        let first = !instance.replied;
        let started = instance.asked_since().unwrap_or(now);
        let was_dead = instance.path_mut(path).is_some_and(|p| p.dead);
        let Some(outcome) = instance.reply(path, seq, at) else { return };
        let Some(path) = instance.path_mut(path) else { return };
        let Some(target) = path.target() else { return };
        let (revived, proven, rtt) = (was_dead && !path.dead, path.proven, path.rtt);
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
            let streamed = probe_outcome(interface, target, rtt, outcome, now);
            self.out.push(Action::Notice(Notice::Probe(streamed)));
        }
    }

    /// The target has answered this host: from now on its silence counts, on every member.
    fn prove(&mut self, target: IpAddr) {
        if !self.proven.contains(&target) {
            if self.proven.len() == self.proven.capacity() {
                self.forget_proven();
            }
            self.proven.push(target);
            self.out.persist();
        }
        self.stir();
        let paths =
            self.members.iter_mut().flat_map(|m| &mut m.instances).flat_map(|i| &mut i.paths);
        for path in paths.filter(|p| p.target() == Some(target)) {
            path.proven = true;
        }
    }

    /// Makes room: of hosts that come and go the first that is no target now.
    fn forget_proven(&mut self) {
        let Self { members, proven, .. } = self;
        let paths = || members.iter().flat_map(|m| &m.instances).flat_map(|i| &i.paths);
        let unused = proven.iter().position(|t| paths().all(|p| p.target() != Some(*t)));
        proven.remove(unused.unwrap_or(0));
    }

    /// Gives up what has waited long enough.
    pub(crate) fn expire(&mut self, m: usize, i: usize, now: Instant) {
        let Self { members, out, .. } = self;
        let interface = members[m].name();
        if !members[m].instances[i].running() {
            return;
        }
        members[m].instances[i].expire(now, |target, rtt, outcome| {
            if out.streaming {
                let streamed = probe_outcome(interface, target, rtt, outcome, now);
                out.push(Action::Notice(Notice::Probe(streamed)));
            }
        });
    }

    pub(crate) fn transmits(&mut self, now: Instant, ifindex: Ifindex, frames: u64) {
        let Some(m) = self.member_at(ifindex) else { return };
        let before = self.members[m].transmits.replace(frames);
        for instance in &mut self.members[m].instances {
            instance.counted_transmits(now, before.is_some_and(|before| frames > before));
        }
    }
}

fn probe_outcome(
    interface: IfName,
    target: IpAddr,
    rtt: Rtt,
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
        srtt: rtt.srtt,
        rttvar: rtt.rttvar,
    }
}
