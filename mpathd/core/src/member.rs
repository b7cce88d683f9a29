//! A member: one interface of a group, its link, its two instances and its flags. The flags FAILED,
//! INACTIVE, STANDBY and OFFLINE of the original live here (behaviour file 1.3).

use core::time::Duration;

use crate::config::{MAX_TARGETS, Member as Config, TestAddress};
use crate::damping::Returns;
use crate::event::{HookLoss, Hops, Link, ReceiveMode};
use crate::ids::{Family, GroupId, IfName, Ifindex, MemberId, PathId};
use crate::instance::{Failure, Instance};
use crate::link_local::LinkLocals;
use crate::message::Reason;
use crate::redirect::Redirected;
use crate::state::SavedMember;
use crate::time::Instant;
use crate::unwatched::Coverage;
use crate::view::{InterfaceState, LinkState, ProbeState};

/// Link-ups in [`FLAP_WINDOW`] that repair at once where nothing probes (behaviour file 3.5).
const FLAP_WINDOW: Duration = Duration::from_secs(60);

pub struct Member {
    pub id: MemberId,
    pub group: GroupId,
    pub config: Config,
    /// As the kernel tells it; `None` while the interface is not there.
    pub link: Option<Link>,
    pub instances: [Instance; 2],
    /// When its sysctls were last set or compared.
    pub prepared: Option<Instant>,
    /// Its test addresses stand in the kernel, per family.
    pub test_seen: [bool; 2],
    /// It stands in the form of a data address, which it was before.
    pub test_stale: [bool; 2],
    /// Where they stand without our mark, per family.
    pub test_foreign: [Hops; 2],
    /// Where the IPv6 one is present and refused by duplicate detection.
    pub test_refused: Option<Ifindex>,
    pub link_locals: LinkLocals,
    /// How its replies are received now.
    pub receive: Option<ReceiveMode>,
    pub attached_at: Option<Instant>,
    /// Its hook should be attached anew: it was lost, or the configuration asks for another one.
    /// Until then replies are received as `receive` says.
    pub reattach: bool,
    pub hook_loss: Option<HookLoss>,
    /// What it is given to send can leave by another NIC.
    pub redirectable: bool,
    /// What of each family leaves by another NIC now.
    pub redirected: [Option<Redirected>; 2],
    /// FAILED, and why.
    pub failed: Option<Reason>,
    /// Out of service: by an administrator or, `duplicate`, because another member has its MAC.
    pub offline: bool,
    /// Returns by itself when the MAC is unique again.
    pub duplicate: bool,
    pub active: bool,
    pub set_aside: bool,
    /// Took part when the whole group failed; forgotten when that is over.
    pub led: bool,
    /// Its link has been set up by us once.
    pub met: bool,
    pub since: Instant,
    /// Found administratively down when it appeared: it is set up by us, and is not failed meanwhile.
    pub set_up_until: Option<Instant>,
    /// It has been usable since it appeared.
    pub has_worked: bool,
    /// It was there before, and has left.
    has_left: bool,
    /// The interface takes addresses of the family.
    pub plumbed: [bool; 2],
    /// In service without a test address since then, and that has been told.
    pub untested_since: Option<Instant>,
    pub untested_told: bool,
    /// The host has been looked at for it.
    pub surveyed: bool,
    /// Since when the link has been up, and the member in service, without a break.
    pub up_since: Option<Instant>,
    /// The last three times the link came back, newest first.
    link_ups: [Option<Instant>; 3],
    pub flap_told: bool,
    pub returns: Returns,
    /// Another member of the group has answered while this one has not yet, per family.
    pub outrun: [Option<Outrun>; 2],
    /// Transmit counter at the last look.
    pub transmits: Option<u64>,
    /// All frames that had come in by then have been handled; `None`: that can't be told.
    pub handled_until: Option<Instant>,
}

/// A member that has not answered yet, while another one of its group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outrun {
    pub since: Instant,
    /// It took part when the other one answered, and keeps for a while what it has.
    pub took_part: bool,
}

impl Member {
    /// A member whose interface has not been seen yet.
    pub fn new(id: MemberId, group: GroupId, config: Config, fdt: Duration) -> Self {
        let instance = |family| Instance::new(family, first_path(id, family), fdt);
        Self {
            id,
            group,
            config,
            link: None,
            instances: Family::ALL.map(instance),
            prepared: None,
            test_seen: [false; 2],
            test_stale: [false; 2],
            test_foreign: [Hops::default(); 2],
            test_refused: None,
            link_locals: LinkLocals::default(),
            receive: None,
            attached_at: None,
            reattach: false,
            hook_loss: None,
            redirectable: false,
            redirected: [None; 2],
            failed: None,
            offline: false,
            duplicate: false,
            active: false,
            set_aside: false,
            led: false,
            met: false,
            since: Instant(0),
            set_up_until: None,
            has_worked: false,
            has_left: false,
            plumbed: [true; 2],
            untested_since: None,
            untested_told: false,
            surveyed: false,
            up_since: None,
            link_ups: [None; 3],
            flap_told: false,
            returns: Returns::default(),
            outrun: [None; 2],
            transmits: None,
            handled_until: None,
        }
    }

    /// Gives it another number, and its paths theirs.
    pub fn sit(&mut self, seat: MemberId) {
        self.id = seat;
        for family in Family::ALL {
            self.instances[family as usize].sit(first_path(seat, family));
        }
    }

    /// Goes on from the same interface under another configuration; what its instances know they take
    /// over themselves.
    pub fn inherit(&mut self, old: &Self, same_group: bool) {
        let Self {
            id: _,
            group: _,
            config,
            link,
            instances: _,
            prepared,
            test_seen,
            test_stale,
            receive,
            attached_at,
            reattach,
            hook_loss,
            redirectable,
            redirected,
            failed,
            offline,
            active,
            led,
            set_aside,
            met,
            since,
            set_up_until,
            up_since,
            link_ups,
            flap_told,
            returns,
            outrun,
            transmits,
            duplicate,
            has_worked,
            has_left,
            plumbed,
            untested_since,
            untested_told,
            surveyed,
            handled_until,
            test_foreign,
            test_refused,
            link_locals,
        } = old;
        self.test_refused = *test_refused;
        self.link_locals = *link_locals;
        self.link = *link;
        self.prepared = *prepared;
        self.test_seen = *test_seen;
        self.test_stale = *test_stale;
        self.failed = *failed;
        self.offline = *offline;
        self.active = *active && same_group;
        self.led = *led && same_group;
        // Whether that still holds is decided at the next repair.
        self.set_aside = *set_aside && same_group && !self.config.standby;
        self.met = *met;
        self.since = *since;
        self.set_up_until = *set_up_until;
        self.up_since = *up_since;
        self.link_ups = *link_ups;
        self.flap_told = *flap_told;
        self.returns = *returns;
        self.outrun = *outrun;
        self.transmits = *transmits;
        self.duplicate = *duplicate;
        self.has_worked = *has_worked;
        self.has_left = *has_left;
        self.plumbed = *plumbed;
        self.untested_since = *untested_since;
        self.untested_told = *untested_told;
        self.surveyed = *surveyed;
        self.handled_until = *handled_until;
        self.test_foreign = *test_foreign;
        self.redirectable = *redirectable;
        self.redirected = *redirected;
        self.receive = *receive;
        self.attached_at = *attached_at;
        self.hook_loss = *hook_loss;
        self.reattach = *reattach || self.config.datapath != config.datapath;
    }

    /// As it was before the daemon was restarted: a failed one stays failed until it has earned its
    /// repair (design 9).
    pub fn restore(&mut self, saved: &SavedMember) {
        self.offline = saved.offline;
        self.duplicate = saved.duplicate;
        self.active = saved.active;
        self.met = saved.met;
        self.set_aside = !(saved.active || saved.failed || saved.offline || self.config.standby);
        self.has_worked = saved.failed;
        if saved.failed {
            self.failed = Some(Reason::Probes);
            for family in Family::ALL {
                if self.config.test(family).is_some() {
                    self.instances[family as usize].fail(Failure::restored());
                }
            }
        }
    }

    /// The interface has left the kernel: all that was learnt about it is void. OFFLINE ends too,
    /// for a replaced NIC joins by itself (contract, if_mpadm).
    pub fn left(&mut self, now: Instant) {
        self.link = None;
        self.prepared = None;
        self.test_seen = [false; 2];
        self.test_stale = [false; 2];
        self.link_locals = LinkLocals::default();
        self.receive = None;
        self.attached_at = None;
        self.reattach = false;
        self.hook_loss = None;
        self.redirectable = false;
        self.redirected = [None; 2];
        self.failed = None;
        self.offline = false;
        self.duplicate = false;
        self.active = false;
        self.led = false;
        self.set_aside = false;
        self.met = false;
        self.since = now;
        self.set_up_until = None;
        self.has_worked = false;
        self.has_left = true;
        self.plumbed = [true; 2];
        self.untested_told = false;
        self.up_since = None;
        self.link_ups = [None; 3];
        self.outrun = [None; 2];
        self.transmits = None;
        self.handled_until = None;
        for instance in &mut self.instances {
            instance.stop();
            instance.deferred = false;
            instance.test = None;
            instance.claim = None;
            instance.silenced_by_conflict = false;
            instance.failure = None;
            instance.started = None;
            instance.coverage = Coverage::default();
            instance.forget_replies();
        }
    }

    /// The interface is there again: giving it addresses is a return like one after a failure (design
    /// 2.9). The time for which they are kept from it.
    pub fn came_back(&mut self, now: Instant) -> Duration {
        if self.has_left { self.returns.returned(now) } else { Duration::ZERO }
    }

    /// A hook has to be attached to it, or another one than it has.
    pub fn needs_hook(&self) -> bool {
        self.receive.is_none() || self.reattach
    }

    pub fn name(&self) -> IfName {
        self.config.name
    }

    pub fn ifindex(&self) -> Option<Ifindex> {
        self.link.map(|l| l.ifindex)
    }

    /// There, and of a kind that can be a member.
    pub fn fit(&self) -> bool {
        self.link.is_some_and(|l| l.unfit.is_none())
    }

    /// A driver that does not report carrier is taken to have it while the interface is up.
    pub fn link_up(&self) -> bool {
        self.link.is_some_and(|l| l.running)
    }

    pub fn link_state(&self) -> LinkState {
        match self.link {
            Some(link) if !link.reported && link.up => LinkState::Unknown,
            Some(link) if link.running => LinkState::Up,
            Some(_) | None => LinkState::Down,
        }
    }

    pub fn instance(&self, family: Family) -> &Instance {
        &self.instances[family as usize]
    }

    /// The configuration gives it a test address.
    pub fn is_to_be_probed(&self) -> bool {
        self.config.test.iter().any(Option::is_some)
    }

    pub fn test_config(&self, family: Family) -> Option<TestAddress> {
        self.config.test(family)
    }

    /// Some instance has proven targets.
    pub fn probing(&self) -> bool {
        self.instances.iter().any(Instance::probing)
    }

    /// May carry data: there, link up, neither failed nor offline.
    pub fn usable(&self) -> bool {
        self.fit() && self.link_up() && self.failed.is_none() && !self.offline
    }

    /// The instance whose answers, or lack of them, speak for a family: its own or, where no target of
    /// it is known to answer, the other one.
    fn speaker(&self, family: Family) -> Option<&Instance> {
        let [inet, inet6] = &self.instances;
        let both = if family == Family::Inet { [inet, inet6] } else { [inet6, inet] };
        both.into_iter().find(|i| i.replied || i.probing())
    }

    /// The family has shown that it works here: by a reply; by the link where nothing is probed or,
    /// where no target is known, when that has been up for the quiet period.
    pub fn has_joined(&self, family: Family, now: Instant, quiet: Duration) -> bool {
        match self.speaker(family) {
            Some(instance) => instance.replied,
            None => {
                let proven_by_link = self.up_since.is_some_and(|at| now.since(at) >= quiet);
                !self.is_to_be_probed() || proven_by_link
            }
        }
    }

    /// The family works here, and a reply has shown it; or it has failed, but answers at this moment.
    pub fn answers(&self, family: Family, now: Instant) -> bool {
        let in_service = self.fit() && self.link_up() && !self.offline;
        let works = |i: &Instance| self.failed.is_none() && i.failure.is_none();
        let answers = |i: &Instance| i.replied && (works(i) || i.answering(now));
        in_service && self.speaker(family).is_some_and(answers)
    }

    /// It has failed, but has answered every round since it began to answer again.
    pub fn is_being_repaired(&self, now: Instant) -> bool {
        let in_service = self.fit() && self.link_up() && !self.offline;
        in_service && self.failed.is_some() && self.instances.iter().any(|i| i.answers_all(now))
    }

    /// When the family was first asked since it was last without probes.
    pub fn asked_since(&self, family: Family) -> Option<Instant> {
        match self.speaker(family) {
            Some(instance) => instance.asked_since(),
            None => self.instances.iter().filter_map(Instance::asked_since).min(),
        }
    }

    /// What the state of the link and of the instances comes to. Of two instances that have a say, both
    /// must have failed.
    pub fn verdict(&self, now: Instant) -> Option<Reason> {
        if !self.link_up() {
            let being_set_up = self.set_up_until.is_some_and(|until| now < until);
            return (!being_set_up).then_some(Reason::Link);
        }
        let mut failures = self
            .instances
            .iter()
            .filter(|i| i.failure.is_some() || self.speaks_for_it(i, now))
            .map(|i| i.failure.map(|f| f.evidence.reason));
        match failures.next() {
            None => {
                (self.failed.is_some() && self.flap_until(now).is_some()).then_some(Reason::Link)
            }
            Some(first) => failures.fold(first, |all, one| all.and(one)),
        }
    }

    /// An instance that has not failed keeps its interface from failing if it has targets that count,
    /// and has been answered. An interface that has failed is repaired only by what has earned it.
    fn speaks_for_it(&self, instance: &Instance, now: Instant) -> bool {
        let earned = || self.failed.is_none() || instance.has_earned_repair(now);
        instance.probing() && instance.replied && earned()
    }

    /// The family is dead here, and is known to work on another member.
    pub fn family_dead(&self, family: Family) -> bool {
        self.instance(family).failure.is_some_and(|f| !f.together)
    }

    /// The link is back after it was down.
    pub fn link_came_back(&mut self, now: Instant) {
        self.link_ups = [Some(now), self.link_ups[0], self.link_ups[1]];
    }

    /// The flap guard (behaviour file 3.5): after a third link-up within a minute a link alone
    /// repairs nothing until a minute after the second.
    pub fn flap_until(&self, now: Instant) -> Option<Instant> {
        let [Some(third), Some(second), Some(first)] = self.link_ups else { return None };
        let until = second + FLAP_WINDOW;
        (third.since(first) <= FLAP_WINDOW && now < until).then_some(until)
    }

    /// Why it is not in use, if it is not.
    pub fn reason(&self) -> Option<Reason> {
        match self.link {
            None => Some(Reason::Removed),
            Some(_) if self.duplicate => Some(Reason::DuplicateMac),
            Some(_) => self.failed,
        }
    }

    /// Until when it carries nothing though its link is up and its targets answer.
    pub fn held_back_until(&self, now: Instant) -> Option<Instant> {
        let flapping = self.flap_until(now).filter(|_| self.failed.is_some() && self.flap_told);
        let held = self.returns.held_until(now).filter(|_| self.usable() && !self.active);
        held.or(flapping)
    }

    pub fn probe_state(&self) -> ProbeState {
        if !self.instances.iter().any(|i| i.test.is_some()) {
            ProbeState::Disabled
        } else if self.instances.iter().any(|i| i.failure.is_some()) && self.failed.is_some() {
            ProbeState::Failed
        } else if self.instances.iter().any(|i| i.probing() && i.replied) {
            ProbeState::Ok
        } else {
            ProbeState::Unknown
        }
    }

    /// When a family that is dead alone is told of.
    pub fn tells_family_failure_at(&self) -> Option<Instant> {
        let due = self.instances.iter().filter_map(Instance::tells_failure_at).min();
        due.filter(|_| self.failed.is_none())
    }

    pub fn state(&self) -> InterfaceState {
        if self.offline {
            InterfaceState::Offline
        } else if self.failed.is_some() || self.link.is_none() {
            InterfaceState::Failed
        } else if self.probe_state() == ProbeState::Unknown || !self.link_up() {
            InterfaceState::Unknown
        } else {
            InterfaceState::Ok
        }
    }
}

fn first_path(seat: MemberId, family: Family) -> PathId {
    PathId((seat.0 * 2 + family as u16) * MAX_TARGETS as u16)
}
