//! Which of its candidates an instance probes: five at most, and others in place of those that are
//! dead, slow, or have never answered (behaviour file 4.5). All that are probed are probed in every
//! round (design 2.1), so rotation is exchange.

use core::net::IpAddr;
use core::time::Duration;

use crate::config::{LOSSES_TO_FAIL, MAX_TARGETS, MIN_TARGETS};
use crate::engine::{Engine, may_tell};
use crate::event::Gateways;
use crate::hosts::Hosts;
use crate::ids::Family;
use crate::instance::Instance;
use crate::member::Member;
use crate::message::Message;
use crate::path::Path;
use crate::request::{Action, PathKey};
use crate::targets::{Candidates, Choice};
use crate::time::Instant;
use crate::view::TargetMode;

/// At least so long between two reviews.
const REVIEW: Duration = Duration::from_millis(100);

/// Why another target is to take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Silent here while others answer.
    Dead,
    /// It keeps the failure detection time from being met, and others do not.
    Slow,
    /// Has never answered anybody here.
    Mute,
}

impl Engine {
    /// Something has changed that targets depend on: they are chosen anew when all that has come in
    /// has been heard, for what is in flight may hold them up.
    pub(crate) fn retarget(&mut self, m: usize, family: Family) {
        self.members[m].instances[family as usize].unsettled = true;
    }

    /// Looks after the targets of a group.
    pub(crate) fn review_targets(&mut self, g: usize, now: Instant) {
        for m in self.groups[g].members.clone() {
            for family in Family::ALL {
                let instance = &mut self.members[m].instances[family as usize];
                let due = instance.running() && now >= instance.review_at;
                if instance.unsettled || due && wants_review(instance) {
                    instance.review_at = now + instance.interval().max(REVIEW);
                    instance.unsettled = false;
                    self.choose_targets(now, m, family);
                }
            }
        }
    }

    /// Brings the paths of an instance in line with its targets; paths that stay keep their history.
    fn choose_targets(&mut self, now: Instant, m: usize, family: Family) {
        let i = family as usize;
        let member = &self.members[m];
        let ready = member.test_config(family).zip(member.instances[i].test).zip(member.ifindex());
        let Some(((test_config, test), ifindex)) = ready else {
            self.members[m].instances[i].mode = TargetMode::Disabled;
            self.members[m].instances[i].forget_hosts();
            (0..MAX_TARGETS).for_each(|n| self.close_path(m, i, n));
            return;
        };
        let choice =
            Choice { group: &self.config.groups[self.group_of(m)], test: test_config, family };
        let hosts = self.known_hosts(now, m, &choice);
        let candidates = self.candidates(m, &choice, &hosts);
        self.note_omitted(now, m, i, candidates.omitted);
        let instance = &mut self.members[m].instances[i];
        instance.mode = candidates.mode;
        if instance.seeks_hosts() {
            instance.hosts = hosts;
        } else {
            instance.forget_hosts();
        }
        for n in 0..MAX_TARGETS {
            let Some(key) = self.members[m].instances[i].paths[n].key else { continue };
            let stays = key.test == test && key.ifindex == ifindex;
            if !stays || !candidates.contains(key.target) {
                self.close_path(m, i, n);
            }
        }
        self.exchange(now, m, i, &candidates);
        let (id, name) = (self.members[m].id, self.members[m].name());
        let key = |target| PathKey { member: id, name, ifindex, test, target };
        self.take_into_use(now, m, i, &candidates, key);
    }

    /// Routing software withdraws routes when the network is down, so the routers of a failed group
    /// stay (behaviour 83). Where there are more next hops than candidates, a target that answers stays,
    /// for it may be one of those that were left out.
    fn candidates(&self, m: usize, choice: &Choice<'_>, hosts: &Hosts) -> Candidates {
        let (g, instance) = (self.group_of(m), self.members[m].instance(choice.family));
        let had_routers = instance.mode == TargetMode::Routes && instance.has_targets();
        if had_routers && self.groups[g].failure_told {
            let gateways = self.gateways_of(m, choice.family);
            let mut routers = choice.choose(gateways, &Hosts::default());
            routers.mode = TargetMode::Routes;
            let probed = instance.paths.iter().filter_map(Path::target);
            probed.for_each(|t| routers.keep(t, |other| instance.is_probed(other)));
            return routers;
        }
        let mut candidates = choice.choose(self.gateways_of(m, choice.family), hosts);
        if had_routers && candidates.mode == TargetMode::Routes && candidates.omitted > 0 {
            let answers = |path: &&Path| !path.dead && path.last_acked.is_some();
            let answering = instance.paths.iter().filter(answers).filter_map(Path::target);
            answering.for_each(|t| candidates.keep(t, |other| instance.is_probed(other)));
        }
        candidates
    }

    /// The next hops of one family behind the interfaces among which `m` is, in file order.
    fn gateways_of(&self, m: usize, family: Family) -> impl Iterator<Item = &Gateways> + Clone {
        let links = self.members[self.circle(m)].iter().filter_map(Member::ifindex);
        links.filter_map(move |at| {
            self.gateways.iter().find(|list| (list.ifindex, list.family) == (at, family))
        })
    }

    /// Logs that next hops are left out, when there are more of them than before.
    fn note_omitted(&mut self, now: Instant, m: usize, i: usize, omitted: u32) {
        let interface = self.members[m].name();
        let instance = &mut self.members[m].instances[i];
        let (family, more) = (instance.family, omitted > instance.omitted);
        if omitted == 0 {
            instance.omitted = 0;
        } else if more && may_tell(&mut instance.omitted_told, now) {
            instance.omitted = omitted;
            self.out.message(Message::TargetsOmitted { interface, family, omitted });
        }
    }

    /// Sets aside a target that is dead, slow or mute where another one can take its place; one at a
    /// time.
    fn exchange(&mut self, now: Instant, m: usize, i: usize, candidates: &Candidates) {
        let interface = self.members[m].name();
        for n in 0..MAX_TARGETS {
            let instance = &self.members[m].instances[i];
            let Some((fault, target)) = instance.fault(n).zip(instance.paths[n].target()) else {
                continue;
            };
            let spare = instance.spare(candidates, now);
            let enough = instance.leading().count() > MIN_TARGETS;
            if instance.failure.is_some()
                || instance.is_in_doubt()
                || spare.is_none() && !(fault == Fault::Slow && enough)
            {
                continue;
            }
            if fault == Fault::Slow {
                self.out.message(Message::TargetSlow { target, interface });
            }
            if let Some(by) = spare.filter(|_| fault != Fault::Mute) {
                self.out.message(Message::TargetReplaced { target, by, interface });
            }
            self.close_path(m, i, n);
            self.members[m].instances[i].bench.add(target, now);
            return;
        }
    }

    /// Takes targets into use as long as there are places and targets.
    fn take_into_use(
        &mut self,
        now: Instant,
        m: usize,
        i: usize,
        candidates: &Candidates,
        key: impl Fn(IpAddr) -> PathKey,
    ) {
        loop {
            let instance = &mut self.members[m].instances[i];
            let Some(n) = instance.paths.iter().position(|p| p.key.is_none()) else { return };
            let Some(target) = instance.next_target(candidates, now) else { return };
            // A new one would have to lose five probes first, and so hold up a verdict.
            if instance.is_in_doubt() {
                instance.unsettled = true;
                return;
            }
            instance.bench.remove(target);
            let (path, key) = (instance.path_id(n), key(target));
            let proven = self.proven.contains(&target);
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

fn wants_review(instance: &Instance) -> bool {
    let places = instance.paths.iter().any(|p| p.key.is_none());
    let waiting = places && !instance.bench.is_empty();
    waiting || (0..MAX_TARGETS).any(|n| instance.fault(n).is_some())
}

impl Instance {
    fn fault(&self, n: usize) -> Option<Fault> {
        let (path, interval) = (&self.paths[n], self.interval());
        path.key?;
        let others = || self.leading().filter(|other| other.target() != path.target());
        let quick = others().all(|other| other.limit(interval) <= interval / 2);
        if path.dead {
            Some(Fault::Dead)
        } else if path.is_slow() && quick && others().next().is_some() {
            Some(Fault::Slow)
        } else if !path.proven && path.losses() >= LOSSES_TO_FAIL {
            Some(Fault::Mute)
        } else {
            None
        }
    }

    /// All that count, and have answered here before, may have begun to be silent.
    fn is_in_doubt(&self) -> bool {
        let interval = self.interval();
        let mut heard = self.leading().filter(|path| path.last_acked.is_some()).peekable();
        let silent = heard.peek().is_some() && heard.all(|path| path.owes_an_answer(interval));
        self.failure.is_none() && silent
    }

    fn is_probed(&self, target: IpAddr) -> bool {
        self.paths.iter().any(|path| path.target() == Some(target))
    }

    /// One that is not probed, and was not set aside a short while ago.
    fn spare(&self, candidates: &Candidates, now: Instant) -> Option<IpAddr> {
        candidates.iter().find(|t| !self.is_probed(*t) && !self.bench.holds(*t, now))
    }

    /// A spare one; where fewer than three answer, also one that was set aside: the longest ago.
    fn next_target(&self, candidates: &Candidates, now: Instant) -> Option<IpAddr> {
        self.spare(candidates, now).or_else(|| {
            let few =
                self.paths.iter().filter(|p| p.key.is_some() && !p.dead).count() < MIN_TARGETS;
            let benched = candidates.iter().filter(|t| !self.is_probed(*t));
            benched.min_by_key(|t| self.bench.since(*t)).filter(|_| few)
        })
    }
}
