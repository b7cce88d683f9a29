//! Answers to requests, and what administrators ask for.

use crate::capacity::Fitness;
use crate::engine::{Engine, may_tell};
use crate::event::{Command, Done, Errno};
use crate::ids::Family;
use crate::instance::Instance;
use crate::member::Member;
use crate::message::Message;
use crate::request::{Action, CommandError, Notice, OpId};
use crate::resource::{Resource, Slot};
use crate::time::Instant;

/// errno of a route over a device that has just lost its carrier.
const ENETDOWN: i32 = 100;

impl Engine {
    /// Where the kernel alone took longer than the shortest failure detection time, somebody held RTNL.
    fn note_time(&mut self, index: usize, done: &Done, now: Instant) {
        let needs_rtnl = match self.slots[index].what {
            Resource::Test(..) | Resource::Data(..) | Resource::Route(_) => true,
            Resource::TakeData(_) | Resource::TakeTest(..) | Resource::TakeRoute(_) => true,
            Resource::Prepare(_) | Resource::Attach(_) | Resource::Transmits(_) => false,
            Resource::Search(..) | Resource::Unconfigured => false,
        };
        if !needs_rtnl {
            return;
        }
        self.requests.record(done.waited + done.ran, now);
        let limit = self.groups.iter().map(|group| group.fdt).min();
        if limit.is_some_and(|limit| done.ran > limit) && may_tell(&mut self.slow_told, now) {
            self.out.message(Message::KernelSlow { took: done.ran });
        }
    }

    pub(crate) fn done(&mut self, now: Instant, done: Done) {
        let Some(index) = self.asked_by(done.op) else { return };
        self.note_time(index, &done, now);
        let slot = &mut self.slots[index];
        slot.end(done.result.is_ok(), now);
        match slot.what {
            // A host that refuses a sysctl still gets its addresses: that lowers the mode (N13).
            Resource::Prepare(m) => {
                slot.noticed();
                self.members[m].prepared = Some(now);
                self.members[m].met = true;
            }
            Resource::Attach(m) => {
                slot.noticed();
                self.members[m].reattach &= done.result.is_err();
            }
            Resource::Unconfigured => {
                slot.noticed();
                self.tidied |= done.result.is_ok();
            }
            Resource::Transmits(m) => {
                slot.noticed();
                slot.not_before = now + self.groups[usize::from(self.members[m].group.0)].fdt / 6;
            }
            Resource::TakeData(_) | Resource::TakeTest(..) | Resource::TakeRoute(_) => {
                slot.taken |= done.result.is_ok();
            }
            Resource::Search(m, family) => {
                slot.noticed();
                if done.result.is_ok() {
                    let pause = self.searched(m, family);
                    self.slots[index].not_before = now + pause;
                }
            }
            Resource::Test(..) | Resource::Data(..) | Resource::Route(_) => {}
        }
        match done.result {
            Ok(()) => {
                if let Some(held) = self.slots[index].take_drift() {
                    self.tell_drift(index, held);
                }
            }
            // The notice that the link is down follows.
            Err(Errno(ENETDOWN)) => {}
            Err(errno) => {
                let first = self.slots[index].failed_once();
                if let Some(request) = self.wish(index, now).filter(|_| first) {
                    self.out.message(Message::RequestFailed { request, errno });
                }
            }
        }
    }

    /// The slot that waits for this answer: as a rule its number says so, but not if it was asked under
    /// an earlier configuration.
    pub(crate) fn asked_by(&self, op: OpId) -> Option<usize> {
        let index = op.0 as usize & 0xffff;
        let waits = |slot: &Slot| slot.waits_for(op);
        match self.slots.get(index) {
            Some(slot) if waits(slot) => Some(index),
            _ => self.slots.iter().position(waits),
        }
    }

    /// Somebody else's change, now put right. What the kernel drops with a dead link is none.
    fn tell_drift(&mut self, index: usize, held: bool) {
        let (g, message) = match self.slots[index].what {
            Resource::Data(k, position) => {
                let g = self.group_of_address(k);
                let interface = self.members[self.groups[g].members.start + position].name();
                (g, Message::Drift { interface, address: self.addresses[k].net.address, held })
            }
            Resource::Test(m, family) => {
                let Some(net) = self.static_test(m, family) else { return };
                let interface = self.members[m].name();
                (self.group_of(m), Message::Drift { interface, address: net.address, held })
            }
            Resource::Route(r) => {
                let Some(g) = self.groups.iter().position(|g| g.routes.contains(&r)) else {
                    return;
                };
                (g, Message::RouteDrift { to: self.routes[r].key.to, held })
            }
            Resource::TakeData(k) => {
                let address = self.addresses[k].net.address;
                (self.group_of_address(k), Message::SetAgain { address, held })
            }
            Resource::TakeTest(m, family) => {
                let Some(net) = self.static_test(m, family) else { return };
                (self.group_of(m), Message::SetAgain { address: net.address, held })
            }
            Resource::TakeRoute(r) => {
                let Some(g) = self.groups.iter().position(|g| g.routes.contains(&r)) else {
                    return;
                };
                (g, Message::RouteSetAgain { to: self.routes[r].key.to, held })
            }
            Resource::Prepare(_)
            | Resource::Attach(_)
            | Resource::Transmits(_)
            | Resource::Search(..)
            | Resource::Unconfigured => return,
        };
        let links_are_up =
            || self.members[self.groups[g].members.clone()].iter().all(Member::link_up);
        if !matches!(message, Message::RouteDrift { .. }) || links_are_up() {
            self.out.message(message);
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

    /// Another member must be usable, or the group has failed anyway. A member that has not answered yet cannot
    /// replace one that has; while the group is failed, that holds for an interface that answers again.
    fn take_offline(&mut self, now: Instant, m: usize) -> Result<(), CommandError> {
        if self.members[m].offline {
            return Err(CommandError::AlreadyOffline);
        }
        let members = self.groups[self.group_of(m)].members.clone();
        let group_works = self.members[members.clone()].iter().any(Member::usable);
        let group = &self.groups[self.group_of(m)];
        let answers = |m: &Member| Family::ALL.into_iter().any(|family| m.answers(family, now));
        let leaves_silence = answers(&self.members[m]);
        let least = match group.fitness(&self.members[m], now) {
            Fitness::Held | Fitness::Ready => Fitness::Held,
            Fitness::NotYetAnswered | Fitness::Unfit if leaves_silence => Fitness::Held,
            Fitness::NotYetAnswered | Fitness::Unfit => Fitness::NotYetAnswered,
        };
        let others = members.filter(|o| *o != m).filter(|o| {
            let other = &self.members[*o];
            match group_works {
                true => group.fitness(other, now) >= least,
                false => !other.offline && (!leaves_silence || answers(other)),
            }
        });
        // In the anonymous group nobody can stand in (behaviour file 5.9).
        if others.count() == 0 || self.is_stranger(m) {
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

    /// FAILBACK=no is ignored here (behaviour 97). What became of its path meanwhile nobody knows: it
    /// gets its addresses with its first answer (design 2.11).
    fn bring_online(&mut self, now: Instant, m: usize) -> Result<(), CommandError> {
        if !self.members[m].offline {
            return Err(CommandError::NotOffline);
        }
        if self.has_twin(m) {
            return Err(CommandError::DuplicateMac);
        }
        let member = &mut self.members[m];
        member.offline = false;
        member.duplicate = false;
        member.set_aside = false;
        member.since = now;
        member.up_since = member.up_since.map(|_| now);
        member.instances.iter_mut().for_each(Instance::forget_replies);
        let interface = member.name();
        self.out.message(Message::Offline { interface, offline: false });
        self.out.persist();
        Ok(())
    }
}
