//! The search for hosts where no router is known (behaviour file 4.1): all hosts of the LAN are
//! asked for an echo; where none answers, for many ignore such requests, the neighbours that the
//! kernel knows are tried. What one member finds is offered to all of its group.

use core::net::IpAddr;
use core::time::Duration;

use crate::config::MAX_TARGETS;
use crate::engine::Engine;
use crate::event::FoundBy;
use crate::hosts::Hosts;
use crate::ids::{Family, Ifindex};
use crate::instance::Instance;
use crate::message::Message;
use crate::request::Request;
use crate::resource::Resource;
use crate::targets::Choice;
use crate::time::Instant;
use crate::view::TargetMode;

/// At least so long between two requests to all hosts, and after some that found nobody.
const PACE: Duration = Duration::from_secs(1);
const SLOW_PACE: Duration = Duration::from_secs(10);
const QUICK_SEARCHES: u32 = 10;
/// Requests without answer after which neighbours are tried.
const NEIGHBOURS_AFTER: u32 = 3;

impl Engine {
    pub(crate) fn wish_search(&self, m: usize, family: Family) -> Option<Request> {
        let member = &self.members[m];
        let instance = member.instance(family);
        let link = member.link.filter(|_| member.fit() && member.link_up() && !member.offline)?;
        let ready = self.surveyed && member.receive.is_some() && instance.is_searching();
        let (ifindex, name) = (link.ifindex, link.name);
        let neighbours = instance.tries_neighbours();
        let test = instance.test.filter(|_| ready)?;
        Some(Request::Search { ifindex, name, test, neighbours })
    }

    /// A search has gone out. Returns the pause until the next one.
    pub(crate) fn searched(&mut self, m: usize, family: Family) -> Duration {
        let interface = self.members[m].name();
        let instance = &mut self.members[m].instances[family as usize];
        instance.searches = instance.searches.saturating_add(1);
        let searching = instance.is_searching();
        if searching && instance.searches == 1 {
            self.out.message(Message::Searching { interface, family });
        }
        let nobody = instance.searches == NEIGHBOURS_AFTER && instance.hosts.is_empty();
        if searching && nobody {
            self.out.message(Message::NobodyAnswers { interface, family });
        }
        let pace = if instance.searches < QUICK_SEARCHES { PACE } else { SLOW_PACE };
        pace.max(instance.interval())
    }

    /// A host was found on a NIC. In a named group it is offered to all members (behaviour 120).
    pub(crate) fn found(&mut self, now: Instant, ifindex: Ifindex, host: IpAddr, by: FoundBy) {
        let family = Family::of(host);
        let Some(finder) = self.member_at(ifindex) else { return };
        let mut new = false;
        for m in self.circle(finder) {
            let (Some(test), g) = (self.members[m].test_config(family), self.group_of(m)) else {
                continue;
            };
            let choice = Choice { group: &self.config.groups[g], test, family };
            let instance = &mut self.members[m].instances[family as usize];
            if instance.seeks_hosts() && choice.admits(host) && instance.add_host(host, by, now) {
                new |= m == finder;
                self.retarget(m, family);
            }
        }
        if new {
            let interface = self.members[finder].name();
            self.out.message(Message::HostFound { target: host, interface, by });
        }
    }

    /// Its own; a new instance begins with what the others of its group have found.
    pub(crate) fn known_hosts(&self, now: Instant, m: usize, choice: &Choice<'_>) -> Hosts {
        let mut hosts = self.members[m].instance(choice.family).hosts;
        if !hosts.is_empty() {
            return hosts;
        }
        let members = self.circle(m);
        let bench = &self.members[m].instance(choice.family).bench;
        for other in members.filter(|other| *other != m) {
            for (host, by) in self.members[other].instance(choice.family).hosts.found() {
                if choice.admits(host) && !bench.holds(host, now) {
                    hosts.add(host, by, |_| false);
                }
            }
        }
        hosts
    }

    /// The group has failed: it may be the hosts that have died, so others are looked for
    /// (behaviour 84). Routers and configured targets stay.
    pub(crate) fn flush_hosts(&mut self, g: usize, now: Instant) {
        for m in self.groups[g].members.clone() {
            for family in Family::ALL {
                let instance = &mut self.members[m].instances[family as usize];
                if instance.seeks_hosts() {
                    instance.forget_hosts();
                    instance.bench.clear();
                    (0..MAX_TARGETS).for_each(|n| self.close_path(m, family as usize, n));
                    let slot = self.slot_of(Resource::Search(m, family));
                    self.slots[slot].not_before = now;
                }
            }
        }
    }
}

impl Instance {
    /// No router is known, and none is configured.
    pub fn seeks_hosts(&self) -> bool {
        matches!(self.mode, TargetMode::Multicast | TargetMode::Neighbors)
    }

    /// One host is too few (behaviour 118): were it to die, the NIC would seem to have failed. And
    /// where all hosts fell silent on all NICs, it may be they that have died.
    fn is_searching(&self) -> bool {
        let none_answers = self.failure.is_some_and(|failure| failure.together);
        self.seeks_hosts() && (none_answers || self.leading().count() <= 1)
    }

    fn tries_neighbours(&self) -> bool {
        self.searches >= NEIGHBOURS_AFTER
            && self.hosts.found().all(|(_, by)| by == FoundBy::Neighbours)
    }

    /// Whether it is new here. What was set aside makes room.
    fn add_host(&mut self, host: IpAddr, by: FoundBy, now: Instant) -> bool {
        let bench = self.bench;
        let new =
            !bench.holds(host, now) && self.hosts.add(host, by, |old| bench.since(old).is_some());
        if new {
            self.hasten_search();
        }
        new
    }

    /// Something has changed, so the next requests may be answered: but what was told is told.
    pub fn hasten_search(&mut self) {
        self.searches = self.searches.min(1);
    }

    pub fn forget_hosts(&mut self) {
        self.hosts.clear();
        self.searches = 0;
    }
}
