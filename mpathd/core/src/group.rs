//! A group: who takes part, where the addresses are to be, and how long that waits.

use core::net::IpAddr;
use core::ops::Range;
use core::time::Duration;

use crate::capacity::{Candidate, Fitness, Set, choose};
use crate::config;
use crate::ids::{Family, GroupName, IfName};
use crate::instance::Instance;
use crate::member::{Member, Outrun};
use crate::message::{Loss, Message};
use crate::outbox::Outbox;
use crate::placement::{Rank, Standing};
use crate::request::Peers;
use crate::time::Instant;
use crate::view::GroupState;

/// Changes of the achieved failure detection time are told at most once in this time (contract,
/// Log); the original waits as long before it lowers it (behaviour file 0.3).
const FDT_QUIET: Duration = Duration::from_secs(60);

/// One that is exceeded by less than this part is not worth a line.
const NEARLY_MET: u32 = 50;

/// Who keeps the failure detection time from being met, and whether by losses.
#[derive(Clone, Copy)]
struct Blame {
    interface: IfName,
    family: Family,
    target: IpAddr,
    loss: Option<Loss>,
}

pub struct Group {
    pub name: GroupName,
    pub fdt: Duration,
    pub failback: bool,
    pub quiet_period: Duration,
    /// The configured number of active members.
    pub intended: usize,
    /// It has data addresses of the family.
    has_data: [bool; 2],
    /// Its members, addresses and routes in the engine's tables.
    pub members: Range<usize>,
    pub addresses: Range<usize>,
    pub routes: Range<usize>,
    /// A member has been usable once.
    pub has_worked: bool,
    /// "All IP interfaces ... are now unusable" has been told.
    pub failure_told: bool,
    /// A verdict waits for a witness: judge again then.
    pub judges_again_at: Option<Instant>,
    /// Best rank of the last placement, and until when a better one does not take the addresses
    /// away from their holders (N4).
    best: Rank,
    pub settles_at: Option<Instant>,
    /// "Cannot meet requested failure detection time" has been told, of this one.
    fdt_missed: Option<Blame>,
    fdt_told: Option<Instant>,
    /// Bindings have changed: all data addresses are to be announced by their owners (N8).
    pub announce: bool,
    /// Gateways and configured targets of each family: they are told of moves in person (N20).
    pub peers: [Peers; 2],
    /// What the last placement followed from.
    pub standing: Standing,
    /// Whether the routes of each family stood at the last look.
    pub routes_stand: [bool; 2],
}

impl Group {
    pub fn new(
        config: &config::Group,
        members: Range<usize>,
        addresses: Range<usize>,
        routes: Range<usize>,
    ) -> Self {
        let ordinary = config.members.iter().filter(|m| !m.standby).count();
        Self {
            name: config.name,
            fdt: config.fdt,
            failback: config.failback,
            quiet_period: config.quiet_period,
            intended: ordinary.max(1),
            has_data: Family::ALL.map(|f| config.data.iter().any(|net| net.family() == f)),
            members,
            addresses,
            routes,
            has_worked: false,
            failure_told: false,
            judges_again_at: None,
            best: Rank::Absent,
            settles_at: None,
            fdt_missed: None,
            fdt_told: None,
            announce: false,
            peers: Family::ALL.map(|family| peers(config, family)),
            standing: Standing::default(),
            routes_stand: [false; 2],
        }
    }

    /// Goes on from the group of this name under another configuration. Who is blamed for a missed FDT
    /// and does not stay is told of no more.
    pub fn inherit(&mut self, old: &Self, stays: impl Fn(IfName) -> bool) {
        let Self {
            name: _,
            fdt,
            failback: _,
            quiet_period: _,
            intended: _,
            has_data: _,
            members: _,
            addresses: _,
            routes: _,
            has_worked,
            failure_told,
            judges_again_at,
            best,
            settles_at,
            fdt_missed,
            fdt_told,
            announce,
            peers: _,
            standing: _,
            routes_stand: _,
        } = *old;
        self.has_worked = has_worked;
        self.failure_told = failure_told;
        self.judges_again_at = judges_again_at;
        self.best = best;
        self.settles_at = settles_at;
        self.fdt_missed = fdt_missed.filter(|blame| fdt == self.fdt && stays(blame.interface));
        self.fdt_told = fdt_told;
        self.announce = announce;
    }

    /// Whose members are in no group: each is judged by itself, and nothing is theirs together.
    pub fn is_anonymous(&self) -> bool {
        self.name.is_anonymous()
    }

    /// OK: all members are usable, with all of their families. FAILED: no member is usable, or none
    /// in a family that the group has data addresses of.
    pub fn state(&self, members: &[Member]) -> GroupState {
        let works = |m: &Member, family| m.usable() && m.instance(family).failure.is_none();
        let carries = |family: &Family| self.has_data[*family as usize];
        let lost = |family: Family| !members.iter().any(|m| works(m, family));
        let all_lost = Family::ALL.into_iter().any(|f| carries(&f))
            && Family::ALL.into_iter().filter(carries).all(lost);
        if self.is_anonymous() {
            GroupState::Ok
        } else if all_lost || !members.iter().any(Member::usable) {
            GroupState::Failed
        } else if members.iter().all(|m| Family::ALL.into_iter().all(|f| works(m, f))) {
            GroupState::Ok
        } else {
            GroupState::Degraded
        }
    }

    /// Decides who takes part. Returns whether that changed.
    pub fn activate(&mut self, members: &mut [Member], now: Instant, out: &mut Outbox) -> bool {
        if self.is_anonymous() {
            members.iter_mut().for_each(|m| m.active = m.usable());
            return false;
        }
        self.note_outrun(members, now);
        self.note_leaders(members, now);
        let chosen = self.taking_part(members, now, |_| true);
        let mut changed = false;
        for (i, member) in members.iter_mut().enumerate() {
            let active = chosen.contains(i);
            if member.active == active {
                continue;
            }
            member.active = active;
            member.set_aside &= !active;
            changed = true;
            if member.usable() && (member.config.standby || member.set_aside) && self.has_worked {
                let (interface, group) = (member.name(), self.name);
                out.message(Message::Standby { interface, group, active });
            }
        }
        changed
    }

    /// Who is to take part, if only those count that work.
    pub fn taking_part(
        &self,
        members: &[Member],
        now: Instant,
        works: impl Fn(&Member) -> bool,
    ) -> Set {
        let none = Candidate {
            standby: false,
            fitness: Fitness::Unfit,
            set_aside: false,
            active: false,
            led: false,
        };
        let mut candidates = [none; config::MAX_MEMBERS];
        for (candidate, m) in candidates.iter_mut().zip(members) {
            *candidate = Candidate {
                standby: m.config.standby,
                fitness: if works(m) { self.fitness(m, now) } else { Fitness::Unfit },
                set_aside: m.set_aside,
                active: m.active,
                led: m.led,
            };
        }
        choose(&candidates[..members.len()])
    }

    /// How much speaks for giving a member data. Damping keeps data from returning; from a member that
    /// has not lost them, because the whole group had failed or nobody else worked, it takes nothing.
    pub fn fitness(&self, member: &Member, now: Instant) -> Fitness {
        let kept = member.active || member.led;
        if !member.usable() {
            Fitness::Unfit
        } else if Family::ALL.into_iter().all(|f| self.not_yet_answered(member, f, now)) {
            Fitness::NotYetAnswered
        } else if member.returns.held_until(now).is_some() && !kept {
            Fitness::Held
        } else {
            Fitness::Ready
        }
    }

    /// Remembers who took part until the group is back, the time in which it may settle is over, and
    /// whoever has answered ever since is repaired.
    fn note_leaders(&self, members: &mut [Member], now: Instant) {
        let works = members.iter().any(Member::usable);
        let returning = self.best >= Rank::Answering || self.is_settling(now);
        for member in members {
            let returns = returning || member.is_being_repaired(now) || member.since == now;
            member.led = if works { member.led && returns } else { member.led || member.active };
        }
    }

    pub fn is_settling(&self, now: Instant) -> bool {
        self.settles_at.is_some_and(|at| now < at)
    }

    /// Members that have not answered yet, while another one has, in each family. They stay that until
    /// they answer, whatever becomes of the other one.
    fn note_outrun(&self, members: &mut [Member], now: Instant) {
        for family in Family::ALL {
            let i = family as usize;
            let others_answer = members.iter().any(|m| m.answers(family, now));
            for member in members.iter_mut() {
                let joining = !member.has_joined(family, now, self.quiet_period);
                let new = Outrun { since: now, took_part: member.active };
                let outrun = member.outrun[i].or(others_answer.then_some(new));
                member.outrun[i] = outrun.filter(|_| joining);
            }
        }
    }

    /// Others have answered in this family, it has not: it is given nothing until it does. If it took
    /// part before, it keeps what it has for one failure detection time from its first probe.
    fn not_yet_answered(&self, member: &Member, family: Family, now: Instant) -> bool {
        let Some(outrun) = member.outrun[family as usize] else { return false };
        let is_late = || self.late_at(member, family).is_some_and(|at| now >= at);
        !(outrun.took_part && member.active) || is_late()
    }

    /// Counts from its own first probe: hooks are attached one after the other.
    fn late_at(&self, member: &Member, family: Family) -> Option<Instant> {
        let outrun = member.outrun[family as usize]?;
        Some(outrun.since.max(member.asked_since(family)?) + self.fdt)
    }

    pub fn rank(&self, member: &Member, family: Family, now: Instant) -> Rank {
        if !member.fit() {
            Rank::Absent
        } else if member.offline {
            Rank::Offline
        } else if !member.link_up() {
            Rank::LinkDown
        } else if member.failed.is_some() {
            let answers = member.instances.iter().any(|i| i.answering(now));
            if answers { Rank::Answering } else { Rank::Silent }
        } else if self.family_lost(member, family) {
            Rank::FamilyDead
        } else if self.not_yet_answered(member, family, now) {
            Rank::NotYetAnswered
        } else if !member.active {
            Rank::Spare
        } else if member.outrun[family as usize].is_some() {
            Rank::Joining
        } else if member.returns.held_until(now).is_some() {
            Rank::Held
        } else {
            Rank::Active
        }
    }

    fn family_lost(&self, member: &Member, family: Family) -> bool {
        member.family_dead(family) || !member.plumbed[family as usize]
    }

    /// The family's data addresses are to leave the member for a spare, if one can have them.
    pub fn lacks_family(&self, member: &Member, family: Family, now: Instant) -> bool {
        self.family_lost(member, family) || self.not_yet_answered(member, family, now)
    }

    /// Keeps its addresses though better members are there. `best`: rank of those.
    pub fn is_sticky(&self, member: &Member, family: Family, best: Rank, now: Instant) -> bool {
        let settling = self.is_settling(now);
        // No address leaves a member that answers for one that has not answered yet.
        let answers = best == Rank::NotYetAnswered;
        match self.rank(member, family, now) {
            Rank::Held | Rank::Joining => true,
            Rank::FamilyDead => settling || answers && member.instance(family).answering(now),
            Rank::Answering => settling || answers || member.led,
            Rank::Active | Rank::StandIn | Rank::Spare => settling,
            Rank::NotYetAnswered | Rank::Silent => settling,
            Rank::LinkDown | Rank::Offline | Rank::Absent => false,
        }
    }

    /// Members that are equally bad must not pass an address to and fro. Where none is usable, one is
    /// as good as the other; one that loses some and answers some is no worse than members that have
    /// all failed repeatedly and may fail again (N10). A path that is cut is left at once.
    pub fn is_bearable(&self, member: &Member, members: &[Member], now: Instant) -> bool {
        let held = |m: &Member| m.returns.held_until(now).is_some();
        let by_probes = member.failed.is_some() && member.link_up() && !member.offline;
        let none_usable = !members.iter().any(Member::usable);
        let all_held = members.iter().filter(|m| m.usable()).all(held);
        let erratic = member.instances.iter().any(Instance::is_erratic);
        let alive = now.since(member.since) < self.fdt * 2
            || member.instances.iter().any(|i| i.answered_lately(now));
        by_probes && (none_usable || (all_held && erratic && alive))
    }

    /// A group that comes back gives the holders of its addresses one T + L to come back as well,
    /// before the addresses go to whoever was first by a microsecond (N4).
    pub fn note_best(&mut self, best: Rank, members: &[Member], now: Instant) {
        if self.best >= Rank::Answering && best < self.best && self.best < Rank::LinkDown {
            let instances = members.iter().flat_map(|m| &m.instances);
            let wait = instances.map(Instance::settling).max().unwrap_or_default();
            self.settles_at = Some(now + wait);
        }
        self.best = best;
    }

    /// Tells when the failure detection time can't be met, and when it can again (design 2.4).
    pub fn tell_fdt(&mut self, members: &[Member], now: Instant, out: &mut Outbox) {
        if self.is_anonymous() {
            return;
        }
        let Some((achieved, blame)) = self.slowest(members) else { return };
        let missed = self.fdt_missed;
        if missed.is_some() && blame.is_some() {
            self.fdt_missed = blame;
        }
        let quiet = self.fdt_told.is_some_and(|at| now.since(at) < FDT_QUIET);
        let (group, requested) = (self.name, self.fdt);
        let message = match (missed, blame) {
            _ if quiet => return,
            (None, Some(_)) if achieved < requested + requested / NEARLY_MET => return,
            (None, Some(Blame { interface, family, target, loss })) => Message::CannotMeetFdt {
                interface,
                family,
                group,
                requested,
                now: achieved,
                target,
                loss,
            },
            (Some(Blame { interface, family, target, .. }), None) => {
                Message::ImprovedFdt { interface, family, group, now: achieved, target }
            }
            (None, None) | (Some(_), Some(_)) => return,
        };
        self.fdt_missed = blame;
        self.fdt_told = Some(now);
        out.message(message);
    }

    /// The slowest instance rules; one that has failed has no say (behaviour 54).
    fn slowest(&self, members: &[Member]) -> Option<(Duration, Option<Blame>)> {
        let told = probed(members).map(|(m, i)| {
            let (interface, family) = (m.name(), i.family);
            if i.failure.is_some() || m.offline {
                return (self.fdt, None);
            }
            let (fdt, target) = i.achieved_fdt();
            let blame = target.map(|target| {
                let loss = Some(i.loss());
                let loss = loss.filter(|loss| loss.losses_to_fail > config::LOSSES_TO_FAIL);
                Blame { interface, family, target, loss }
            });
            (fdt, blame)
        });
        told.max_by_key(|(fdt, _)| *fdt)
    }

    /// Achieved failure detection time. `None` while no interface is watched by probes.
    pub fn achieved_fdt(&self, members: &[Member], now: Instant) -> Option<Duration> {
        let in_service = |m: &Member, i: &Instance| i.failure.is_none() && !m.offline;
        let shown = probed(members).map(|(m, i)| match in_service(m, i) {
            true => i.shown_fdt(now),
            false => self.fdt,
        });
        shown.max()
    }

    /// Nothing in common is under way.
    pub fn is_calm(&self) -> bool {
        self.fdt_missed.is_none() && self.judges_again_at.is_none() && !self.announce
    }

    pub fn judge_again(&mut self, at: Instant) {
        self.judges_again_at = Some(self.judges_again_at.map_or(at, |before| before.min(at)));
    }

    /// When something of the group changes by the mere passing of time.
    pub fn wake_at(&self, members: &[Member], now: Instant) -> Option<Instant> {
        let own = [self.judges_again_at, self.settles_at.filter(|at| now < *at)];
        let each = members.iter().flat_map(|m| {
            let joined = |family| m.has_joined(family, now, self.quiet_period);
            let joins = m.up_since.filter(|_| !Family::ALL.into_iter().all(joined));
            let late = Family::ALL.map(|f| self.late_at(m, f).filter(|at| now < *at));
            [
                m.returns.held_until(now),
                m.flap_until(now).filter(|_| m.failed.is_some()),
                m.set_up_until.filter(|until| now < *until),
                m.misses_test_address_at().filter(|at| now < *at),
                m.claim_ends_at().filter(|at| now < *at),
                m.reported_unwatched_at(self.quiet_period, self.fdt).filter(|at| now < *at),
                late[0],
                late[1],
                m.tells_family_failure_at().filter(|at| now < *at),
                joins.map(|at| at + self.quiet_period).filter(|at| now < *at),
            ]
        });
        own.into_iter().chain(each).flatten().min()
    }
}

/// The instances whose interface is watched by probes.
fn probed(members: &[Member]) -> impl Iterator<Item = (&Member, &Instance)> {
    let all = members.iter().flat_map(|m| m.instances.iter().map(move |i| (m, i)));
    all.filter(|(_, i)| i.test.is_some() && i.probing())
}

fn peers(config: &config::Group, family: Family) -> Peers {
    let gateways = config.routes.iter().map(|route| route.via);
    let all = gateways.chain(config.targets.iter().copied());
    let mut peers = Peers::default();
    all.filter(|peer| Family::of(*peer) == family).for_each(|peer| peers.push(peer));
    peers
}
