//! Who is looked at in a turn: work follows what is due or has changed, not what is configured.
//!
//! ```text
//! instance  its round is due, or a loss that may make a verdict --> looked at alone
//! group     one of its instances is looked at that is not calm --> judged
//!           something was told of it (stirred), its time has come,
//!           or its members are worth something else now --> walked: placed and reconciled too
//! ```
//!
//! A group is calm where nothing fails, waits or is in doubt: then a round and its replies change no
//! judgement, for all that a judgement reads stays as it was. What changes by the mere passing of time
//! has its moment in [`Engine::group_wakes`].

use alloc::vec;
use alloc::vec::Vec;

use crate::engine::Engine;
use crate::event::Event;
use crate::ids::{Ifindex, PathId, Seq};
use crate::instance::{Instance, LONGEST_SLACK};
use crate::member::Member;
use crate::time::Instant;

const NEVER: Instant = Instant(u64::MAX);
/// Instances of a member: its families.
const FAMILIES: usize = 2;

/// Instances go by `member * 2 + family` here.
#[derive(Default)]
pub struct Attention {
    /// When each instance wants to be looked at.
    wakes: Vec<Instant>,
    /// When the replies to each were last looked for: only then a probe may be given up.
    heard: Vec<Instant>,
    /// Instances whose wake-up may have changed.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    groups: Vec<Watch>,
    /// Groups that are judged in this turn.
    busy: Vec<usize>,
}

/// What is known of a group.
#[derive(Clone, Copy)]
struct Watch {
    /// Something has been told of it, probes aside.
    stirred: bool,
    /// Something has been told of the probes of one that is not calm.
    doubted: bool,
    calm: bool,
    /// Its addresses and routes are looked at in this turn, a thousand as they may be.
    walked: bool,
    /// When something of it changes by the mere passing of time.
    wakes: Instant,
    /// When one of its addresses or routes wants to be looked at; part of `wakes`.
    bindings_wake: Instant,
}

impl Watch {
    const NEW: Self = Self {
        stirred: true,
        doubted: false,
        calm: false,
        walked: false,
        wakes: NEVER,
        bindings_wake: NEVER,
    };

    fn is_busy(&self, now: Instant) -> bool {
        self.stirred || self.doubted || self.wakes <= now
    }
}

/// Whom an event concerns.
enum Concern {
    /// One instance, and more only if that is not calm.
    Instance,
    Group(usize),
    All,
}

impl Attention {
    /// All is to be looked at first.
    pub fn new(members: usize, groups: usize) -> Self {
        let instances = members * FAMILIES;
        Self {
            wakes: vec![NEVER; instances],
            heard: vec![NEVER; instances],
            touched: Vec::with_capacity(instances),
            is_touched: vec![false; instances],
            groups: vec![Watch::NEW; groups],
            busy: Vec::with_capacity(groups),
        }
    }

    /// One of its probes or its next round has changed.
    fn touch(&mut self, n: usize) {
        if !core::mem::replace(&mut self.is_touched[n], true) {
            self.touched.push(n);
        }
    }

    pub fn stir(&mut self, g: usize) {
        self.groups[g].stirred = true;
    }

    pub fn stir_all(&mut self) {
        self.groups.iter_mut().for_each(|group| group.stirred = true);
    }

    pub fn walk(&mut self, g: usize) {
        self.groups[g].walked = true;
    }

    pub fn is_walked(&self, g: usize) -> bool {
        self.groups[g].walked
    }

    /// Those that are judged in this turn, in order.
    pub fn busy(&self, nth: usize) -> Option<usize> {
        self.busy.get(nth).copied()
    }

    /// Instances that may have to send, in order.
    pub fn touched(&self, nth: usize) -> Option<(usize, usize)> {
        self.touched.get(nth).map(|n| (n / FAMILIES, n % FAMILIES))
    }
}

impl Engine {
    /// Everything is looked at in the next turn, as after a fact that may concern anybody.
    pub fn stir(&mut self) {
        self.attention.stir_all();
    }

    /// Groups that are not calm.
    pub(crate) fn in_doubt(&self) -> impl Iterator<Item = usize> + '_ {
        let groups = self.attention.groups.iter().enumerate();
        groups.filter(|(_, group)| !group.calm).map(|(g, _)| g)
    }

    /// Before its consequences are drawn.
    pub(crate) fn note(&mut self, event: &Event) {
        match self.concern(event) {
            Concern::Instance => {}
            Concern::Group(g) => self.attention.stir(g),
            Concern::All => self.attention.stir_all(),
        }
    }

    /// After an event that told of single probes.
    pub(crate) fn touch(&mut self, path: PathId) {
        let Some((m, i)) = self.instance_of(path) else { return };
        self.attention.touch(m * FAMILIES + i);
        self.doubt_unless_calm(m, i);
    }

    fn doubt_unless_calm(&mut self, m: usize, i: usize) {
        let g = self.group_of(m);
        if !self.attention.groups[g].calm || !self.members[m].instances[i].is_calm() {
            self.attention.groups[g].doubted = true;
        }
    }

    fn concern(&self, event: &Event) -> Concern {
        let by_index = |ifindex: Ifindex| match self.member_at(ifindex) {
            Some(m) => Concern::Group(self.group_of(m)),
            None => Concern::All,
        };
        match event {
            Event::Sent { .. }
            | Event::Left { .. }
            | Event::Reply { .. }
            | Event::Resolved { .. } => Concern::Instance,
            Event::Address(seen) => by_index(seen.ifindex),
            Event::AddressGone { ifindex, .. }
            | Event::Claimed { ifindex, .. }
            | Event::NeighbourProxy { ifindex, .. }
            | Event::Plumbed { ifindex, .. }
            | Event::Attached { ifindex, .. }
            | Event::HookLost { ifindex, .. }
            | Event::ReceiveDeferred { ifindex, .. }
            | Event::HandledUntil { ifindex, .. }
            | Event::Redirectable { ifindex, .. }
            | Event::Transmits { ifindex, .. } => by_index(*ifindex),
            Event::Done(done) => match self.asked_by(done.op).and_then(|s| self.group_of_slot(s)) {
                Some(g) => Concern::Group(g),
                None => Concern::All,
            },
            Event::Link(_)
            | Event::LinkGone(_)
            | Event::OwnAddress(_)
            | Event::Foreign { .. }
            | Event::Refused { .. }
            | Event::Rivals { .. }
            | Event::Route(_)
            | Event::RouteGone(_)
            | Event::Gateways(_)
            | Event::Found { .. }
            | Event::Surveyed
            | Event::Command(_) => Concern::All,
        }
    }

    /// Probes whose reply is to be looked for now: of instances whose time has come, and of all that a
    /// judgement in this turn may ask. Of the others nothing is given up in this turn.
    pub fn await_replies(&mut self, now: Instant, mut each: impl FnMut(PathId, Seq)) {
        let Self { attention, groups, members, .. } = self;
        for (g, group) in groups.iter().enumerate() {
            let watch = attention.groups[g];
            let of_group = group.members.start * FAMILIES..group.members.end * FAMILIES;
            let is_due = |wake: &Instant| *wake <= now + LONGEST_SLACK;
            let some_due = || attention.wakes[of_group.clone()].iter().any(is_due);
            let all = watch.is_busy(now) || !watch.calm && some_due();
            for n in of_group {
                let instance = &members[n / FAMILIES].instances[n % FAMILIES];
                if (all || is_due(&attention.wakes[n])) && instance.running() {
                    attention.heard[n] = now;
                    instance.awaited().for_each(|(path, seq)| each(path, seq));
                }
            }
        }
    }

    /// Gives up probes that have waited long enough, and finds out who is judged in this turn.
    pub(crate) fn attend(&mut self, now: Instant) {
        for g in 0..self.groups.len() {
            let watch = self.attention.groups[g];
            let members = self.groups[g].members.clone();
            let all = watch.is_busy(now) || !watch.calm;
            for n in members.start * FAMILIES..members.end * FAMILIES {
                let due = self.attention.wakes[n] <= now + LONGEST_SLACK;
                if due || all {
                    self.look_at(n, due, now);
                }
            }
        }
        let Self { attention, .. } = self;
        attention.busy.clear();
        for (g, watch) in attention.groups.iter_mut().enumerate() {
            if watch.is_busy(now) {
                attention.busy.push(g);
            }
            watch.walked = watch.stirred || watch.wakes <= now;
            (watch.stirred, watch.doubted) = (false, false);
        }
        // They come last: after everything that groups need.
        if let Some(g) = self.waits_for_groups().filter(|_| !self.attention.busy.is_empty())
            && !self.attention.busy.contains(&g)
        {
            self.attention.busy.push(g);
        }
        self.touch_busy();
    }

    fn look_at(&mut self, n: usize, due: bool, now: Instant) {
        let (m, i) = (n / FAMILIES, n % FAMILIES);
        if self.attention.heard[n] == now {
            self.expire(m, i, now);
        }
        if due {
            self.attention.touch(n);
            self.doubt_unless_calm(m, i);
        }
    }

    /// The anonymous group, while interfaces of it wait until all others are settled.
    fn waits_for_groups(&self) -> Option<usize> {
        let g = self.groups.iter().position(|g| g.is_anonymous())?;
        let waits = |m: &Member| m.link.is_some() && m.needs_hook();
        self.members[self.groups[g].members.clone()].iter().any(waits).then_some(g)
    }

    fn touch_busy(&mut self) {
        let Self { attention, groups, .. } = self;
        for nth in 0..attention.busy.len() {
            let members = groups[attention.busy[nth]].members.clone();
            (members.start * FAMILIES..members.end * FAMILIES).for_each(|n| attention.touch(n));
        }
        attention.touched.sort_unstable();
    }

    /// What was looked at in this turn says when it is to be looked at again; the first of all moments.
    pub(crate) fn next_wake(&mut self, now: Instant) -> Option<Instant> {
        while let Some(n) = self.attention.touched.pop() {
            self.attention.is_touched[n] = false;
            let instance = &self.members[n / FAMILIES].instances[n % FAMILIES];
            self.attention.wakes[n] = instance.wake_at().unwrap_or(NEVER);
        }
        for nth in 0..self.attention.busy.len() {
            let g = self.attention.busy[nth];
            if self.attention.groups[g].walked {
                let wake = self.bindings_wake(g, now).unwrap_or(NEVER);
                self.attention.groups[g].bindings_wake = wake;
            }
            let wakes = self.group_wakes(g, now).unwrap_or(NEVER);
            let calm = self.is_calm(g);
            let watch = &mut self.attention.groups[g];
            (watch.wakes, watch.calm) = (wakes.min(watch.bindings_wake), calm);
        }
        let instances = self.attention.wakes.iter().copied();
        let groups = self.attention.groups.iter().map(|group| group.wakes);
        let tidying = self.unconfigured().wake_at(now);
        instances.chain(groups).chain(tidying).min().filter(|at| *at < NEVER)
    }

    /// When something of a group and its members changes by the mere passing of time.
    fn group_wakes(&self, g: usize, now: Instant) -> Option<Instant> {
        let group = &self.groups[g];
        let own = group.wake_at(&self.members[group.members.clone()], now);
        let slots = self.slots_of_members(g).filter_map(|s| self.slots[s].wake_at(now));
        own.into_iter().chain(slots).chain(self.next_check(g, now)).min()
    }

    /// The same, of its addresses and routes.
    fn bindings_wake(&self, g: usize, now: Instant) -> Option<Instant> {
        let slots = self.slots_of_bindings(g).filter_map(|s| self.slots[s].wake_at(now));
        let held = self.addresses[self.groups[g].addresses.clone()].iter();
        let held = held.filter_map(|address| address.moves.held_until(now));
        let claims = self.addresses[self.groups[g].addresses.clone()].iter();
        let claims = claims.filter_map(|address| address.claim).map(|claim| claim.ends_at());
        slots.chain(held).chain(claims).chain(self.next_renewal(g)).min()
    }

    /// Nothing fails, waits or is in doubt: only an event or a loss changes that.
    fn is_calm(&self, g: usize) -> bool {
        let group = &self.groups[g];
        group.is_calm() && self.members[group.members.clone()].iter().all(Member::is_calm)
    }
}

impl Member {
    /// One that is not there, without link or offline is calm too: it is not probed, and only an event
    /// brings it back.
    fn is_calm(&self) -> bool {
        let away = !self.fit() || !self.link_up() || self.offline;
        let told = |i: &Instance| i.failure.is_none_or(|failure| failure.told);
        match away {
            true => self.instances.iter().all(|i| told(i) && !i.running() && !i.unsettled),
            false => self.failed.is_none() && self.instances.iter().all(Instance::is_calm),
        }
    }
}
