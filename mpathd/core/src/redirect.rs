//! Which NIC sends for a dead one until addresses and routes have moved. Netlink can wait for RTNL, 100 ms
//! and more where containers come and go; this does not. A function of the state of the members and of
//! what is observed, so it ends by itself: with the last change, with the repair, and with the death of
//! whoever sends instead.

use core::time::Duration;

use crate::engine::Engine;
use crate::ids::{Family, Ifindex};
use crate::message::Message;
use crate::request::{Action, Redirect};
use crate::resource::DataAddress;
use crate::time::Instant;

/// A redirect ends with the daemon, so late at most.
const LEASE: Duration = Duration::from_secs(3);
const RENEW: Duration = Duration::from_secs(1);

/// One that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected {
    pub to: Ifindex,
    since: Instant,
    renew_at: Instant,
}

impl Engine {
    /// After the placement, and before its requests.
    pub(crate) fn tend_redirects(&mut self, g: usize, now: Instant) {
        for m in self.groups[g].members.clone() {
            for family in Family::ALL {
                self.redirect(m, family, self.redirect_wanted(m, family, now), now);
            }
        }
    }

    fn redirect(&mut self, m: usize, family: Family, to: Option<Ifindex>, now: Instant) {
        let member = &mut self.members[m];
        let Some(from) = member.ifindex() else { return };
        let before = member.redirected[family as usize];
        if before.map(|it| it.to) == to && before.is_none_or(|it| now < it.renew_at) {
            return;
        }
        let since = before.map_or(now, |it| it.since);
        let redirected = to.map(|to| Redirected { to, since, renew_at: now + RENEW });
        member.redirected[family as usize] = redirected;
        let interface = member.name();
        self.out.push(Action::Redirect(Redirect { from, family, to, until: now + LEASE }));
        if to.is_none() {
            let took = now.since(since);
            self.out.message(Message::Redirected { interface, family, took });
        }
    }

    /// The NIC that is to send what this one is given: while it is dead, another one works, and
    /// something still leads to it that is to move away.
    fn redirect_wanted(&self, m: usize, family: Family, now: Instant) -> Option<Ifindex> {
        let g = self.group_of(m);
        let group = &self.groups[g];
        let dead = group.rank(&self.members[m], family, now).is_dead();
        if !(self.members[m].redirectable && dead && self.leaves(m, family)) {
            return None;
        }
        let works = |o: &usize| {
            let other = &self.members[*o];
            other.redirectable && group.rank(other, family, now).carries()
        };
        let to = group.members.clone().find(works)?;
        self.members[to].ifindex()
    }

    /// An address that is to be elsewhere stands there, or a route that is to lead elsewhere leads there.
    fn leaves(&self, m: usize, family: Family) -> bool {
        let (group, position) = (&self.groups[self.group_of(m)], self.position(m));
        let here = self.members[m].ifindex();
        let address = |a: &DataAddress| {
            a.net.family() == family && a.on.contains(position) && a.holder != Some(position)
        };
        let route = |r: usize| {
            let route = &self.routes[r];
            let hops = route.observed.map(|seen| seen.hops).unwrap_or_default();
            let leads_here = here.is_some_and(|here| hops.as_slice().contains(&here));
            leads_here && route.family() == family && !route.is_settled()
        };
        self.addresses[group.addresses.clone()].iter().any(address)
            || group.routes.clone().any(route)
    }

    pub(crate) fn next_renewal(&self, g: usize) -> Option<Instant> {
        let members = &self.members[self.groups[g].members.clone()];
        let redirected = members.iter().flat_map(|m| m.redirected.iter().flatten());
        redirected.map(|it| it.renew_at).min()
    }
}
