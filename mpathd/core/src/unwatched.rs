//! Families of an interface that are configured to be probed and are not watched, and why.
//!
//! A silent failure of such a path would not be found, so it is reported: as an event after a grace
//! period, and in every snapshot while it lasts.

use core::time::Duration;

use crate::engine::Engine;
use crate::ids::Family;
use crate::instance::Instance;
use crate::member::Member;
use crate::message::{Message, Unwatched};
use crate::time::Instant;

/// Lower bound of the grace period, unless the quiet period is shorter. A test address or receive hook
/// that is replaced is away for some 10 ms; that is no news.
const SHORTEST_GRACE: Duration = Duration::from_secs(1);

/// What has been reported of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Since when nothing has watched it without a break.
    unwatched_since: Option<Instant>,
    /// [`Message::Unwatched`] has been sent, and [`Message::Watched`] not yet.
    reported: bool,
}

impl Instance {
    /// Why no failure of this path would be found, if that is so.
    fn lack(&self, attached: bool) -> Option<Unwatched> {
        if self.test.is_none() {
            Some(Unwatched::NoTestAddress)
        } else if !attached {
            Some(Unwatched::NotAttached)
        } else if !self.has_targets() {
            Some(Unwatched::NoTarget)
        } else if self.in_conflict() && !self.probing() {
            Some(Unwatched::AddressConflict)
        } else {
            (!self.probing()).then_some(Unwatched::NoReply)
        }
    }
}

impl Member {
    /// Why no silent failure of this family would be found here. `None` as well where none is looked
    /// for: the family has no test address, or the interface carries nothing (absent, unfit, offline,
    /// without link).
    pub fn unwatched(&self, family: Family) -> Option<Unwatched> {
        let expected =
            self.test_config(family).is_some() && self.fit() && self.link_up() && !self.offline;
        if expected { self.instance(family).lack(self.receive.is_some()) } else { None }
    }

    /// When the next family is reported as unwatched. `quiet_period` and `fdt` are the group's.
    pub(crate) fn reported_unwatched_at(
        &self,
        quiet_period: Duration,
        fdt: Duration,
    ) -> Option<Instant> {
        let instances = self.instances.iter().filter(|i| !i.coverage.reported);
        let due = |i: &Instance| Some(i.coverage.unwatched_since? + grace(i, quiet_period, fdt));
        instances.filter_map(due).min()
    }
}

/// How long an instance may be unwatched before that is reported: one that has been watched before
/// becomes so for a cause, one that has just begun may still get its first reply.
fn grace(instance: &Instance, quiet_period: Duration, fdt: Duration) -> Duration {
    let window = fdt * 2;
    if instance.replied {
        window.max(SHORTEST_GRACE.min(quiet_period))
    } else {
        window.max(quiet_period)
    }
}

impl Engine {
    /// Reports which families of a group's members are no longer watched, and which are again.
    pub(crate) fn report_unwatched(&mut self, g: usize, now: Instant) {
        let group = &self.groups[g];
        if group.is_anonymous() || !self.surveyed {
            return;
        }
        let (quiet_period, fdt) = (group.quiet_period, group.fdt);
        for member in &mut self.members[group.members.clone()] {
            let interface = member.name();
            let expected = member.link_up() && !member.offline;
            for family in Family::ALL {
                let reason = member.unwatched(family);
                let instance = &mut member.instances[family as usize];
                let Some(reason) = reason else {
                    instance.coverage.unwatched_since = None;
                    if expected && core::mem::take(&mut instance.coverage.reported) {
                        self.out.message(Message::Watched { interface, family });
                    }
                    continue;
                };
                let since = *instance.coverage.unwatched_since.get_or_insert(now);
                let due = now >= since + grace(instance, quiet_period, fdt);
                if due && !core::mem::replace(&mut instance.coverage.reported, true) {
                    let mut targets = instance.paths.iter().filter_map(|p| p.target());
                    let target = targets.next();
                    let others = targets.count() as u8;
                    let message = Message::Unwatched { interface, family, reason, target, others };
                    self.out.message(message);
                }
            }
        }
    }
}
