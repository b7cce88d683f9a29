//! Another configuration comes in force between two turns: nothing is allocated or freed, no socket is
//! closed, and no probe that is on its way is forgotten.

use mpathd_core::ids::IfName;
use mpathd_core::time::Instant;

use super::{Brain, Fast};
use crate::fast::heir::Heir;
use crate::fast::priority;
use crate::messages::{ToHost, ToSlow};

impl<B: Brain> Fast<B> {
    /// One that still waits is no longer wanted.
    pub(super) fn announce_heir(&mut self, heir: Box<Heir>) {
        if let Some(unwanted) = self.heir.replace(heir) {
            self.desk.tell_slow(ToSlow::Past { heir: unwanted, since: None });
        }
    }

    /// Hands over to the heir, if there is one and all that was decided has been carried out. `true`:
    /// there is much to decide anew.
    pub(super) fn hand_over(&mut self, now: Instant) -> bool {
        if !self.desk.brain.may_retire() {
            return false;
        }
        let Some(mut heir) = self.heir.take() else { return false };
        let Some(settings) = heir.settings.take() else { return false };
        let message = ToHost::Settings { settings, priority: priority::of_host(heir.priority) };
        if let Err(back) = self.desk.queues.host.push(message) {
            // The host thread hangs: the old configuration holds on.
            if let ToHost::Settings { settings, .. } = back {
                heir.settings = Some(settings);
            }
            self.heir = Some(heir);
            return false;
        }
        self.desk.brain.make_way(&mut heir.engine, now);
        self.move_in(&mut heir);
        self.consume_as(&heir.members);
        if self.priority != heir.priority {
            self.priority = heir.priority;
            let outcome = priority::apply(self.priority);
            self.desk.tell_slow(ToSlow::Scheduled { thread: "fast", outcome });
        }
        self.desk.changed = true;
        self.desk.tell_slow(ToSlow::Past { heir, since: Some(now) });
        true
    }

    /// Takes the new storage, with what is still of use from the old one.
    fn move_in(&mut self, heir: &mut Heir) {
        let room = &mut heir.room;
        self.links.watch(&mut room.watch);
        std::mem::swap(&mut self.retired, &mut room.retired);
        self.retired.append(&mut room.retired);
        self.channels.move_into(&mut room.channels, |channel| {
            if self.links.knows(channel.name) {
                Some(channel)
            } else {
                self.retired.push(channel);
                None
            }
        });
        std::mem::swap(&mut self.channels, &mut room.channels);
        self.probing.paths.move_into(&mut room.paths);
        std::mem::swap(&mut self.probing.paths, &mut room.paths);
        self.probing.neighbours.move_into(&mut room.neighbours);
        std::mem::swap(&mut self.probing.neighbours, &mut room.neighbours);
        std::mem::swap(&mut self.pending, &mut room.pending);
        std::mem::swap(&mut self.replies, &mut room.replies);
        std::mem::swap(&mut self.watched, &mut room.watched);
    }

    /// `consume_replies` changes without the hook being attached anew (O18).
    fn consume_as(&mut self, members: &[(IfName, bool)]) {
        let probing = &mut self.probing;
        for channel in self.channels.iter_mut() {
            let wanted = members.iter().find(|(name, _)| *name == channel.name);
            let Some((_, consume)) = wanted else { continue };
            channel.consume = *consume;
            for (path, open) in probing.paths.of_nic(channel.ifindex) {
                if open.slot.consume != *consume {
                    open.slot.consume = *consume;
                    probing.slots.update(path, &open.slot);
                }
            }
        }
    }
}
