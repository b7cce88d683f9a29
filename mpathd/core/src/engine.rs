//! The engine: owns all state, takes events, and says what to do and when to be woken.
//!
//! The caller feeds events, then calls [`Engine::handle_timeout`], then fetches the actions and asks
//! for the next wake-up. After construction nothing here allocates: every table has its final size,
//! and the outbox is emptied after each turn.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::attention::Attention;
use crate::config::{Config, MAX_SEATS, MAX_TARGETS, ROUTE_METRIC, TABLE_MAIN, TestAddress};
use crate::event::{Event, Gateways, RouteKey};
use crate::group::Group;
use crate::histogram::Histogram;
use crate::ids::{Family, GroupId, IfName, Ifindex, IpNet, MemberId};
use crate::member::Member;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::placement::{Item, Rank, Standing, place};
use crate::policing;
use crate::request::{Action, Op, OpId};
use crate::resource::{DataAddress, Route, Slot};
use crate::state::Saved;
use crate::time::Instant;
use crate::verdict;

/// Number of requests that nobody waits for.
pub(crate) const NO_ANSWER: OpId = OpId(u32::MAX);
/// A message of one kind is told once in this time.
const TELL_AGAIN: Duration = Duration::from_secs(60);

pub struct Engine {
    pub(crate) config: Config,
    pub(crate) groups: Vec<Group>,
    pub(crate) members: Vec<Member>,
    pub(crate) addresses: Vec<DataAddress>,
    pub(crate) routes: Vec<Route>,
    /// Their places, by key.
    routes_by_key: Vec<(RouteKey, usize)>,
    /// Places of the data addresses, by address.
    addresses_by_ip: Vec<(IpAddr, usize)>,
    pub(crate) slots: Vec<Slot>,
    /// First slot of each data address.
    pub(crate) data_slots: Vec<usize>,
    /// First slot of what is taken over: data addresses, test addresses, routes.
    pub(crate) take_slots: usize,
    /// Next hops by interface and family, those without any left out: at most two lists for each member.
    pub(crate) gateways: Vec<Gateways>,
    /// Targets that have answered this host.
    pub(crate) proven: Vec<IpAddr>,
    pub(crate) saved: Saved,
    pub(crate) surveyed: bool,
    /// A reload has put it in place of another engine, and what the host has is being told anew: a
    /// difference is the reload's doing.
    pub(crate) retelling: bool,
    /// What an earlier configuration has left is to go: not where no group is configured at the start,
    /// for then nothing is touched.
    pub(crate) tidies: bool,
    /// It is gone.
    pub(crate) tidied: bool,
    /// Position of the member with each number.
    pub(crate) seats: Vec<Option<usize>>,
    /// Number of the configuration, for whoever waits for it to be in force.
    pub revision: u32,
    /// That more interfaces are there than seats in the anonymous group has been told.
    pub(crate) crowded: bool,
    pub(crate) started: Option<Instant>,
    items: Vec<Item>,
    pub(crate) out: Outbox,
    pub(crate) attention: Attention,
    random: u64,
    /// The wake-up that was asked for.
    pub(crate) due: Option<Instant>,
    /// From the moment of each wake-up that was asked for to the turn.
    pub(crate) wakes: Histogram,
    pub(crate) late_told: Option<Instant>,
    /// From the decision to the answer: requests that set or unset addresses and routes.
    pub(crate) requests: Histogram,
    pub(crate) slow_told: Option<Instant>,
}

impl Engine {
    /// `seed`: any number; phases of the rounds are drawn from it.
    pub fn new(config: Config, saved: Saved, seed: u64) -> Self {
        let tidies = config.named().next().is_some();
        let mut engine = Self {
            groups: Vec::new(),
            members: Vec::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            routes_by_key: Vec::new(),
            addresses_by_ip: Vec::new(),
            slots: Vec::new(),
            data_slots: Vec::new(),
            take_slots: 0,
            gateways: Vec::new(),
            proven: Vec::new(),
            saved,
            surveyed: false,
            retelling: false,
            tidies,
            tidied: false,
            seats: vec![None; MAX_SEATS],
            revision: 0,
            crowded: false,
            started: None,
            items: Vec::new(),
            out: Outbox::new(0),
            attention: Attention::default(),
            random: seed | 1,
            due: None,
            wakes: Histogram::default(),
            late_told: None,
            requests: Histogram::default(),
            slow_told: None,
            config,
        };
        engine.build();
        engine
    }

    fn build(&mut self) {
        let config = core::mem::take(&mut self.config);
        for (g, group) in config.groups.iter().enumerate() {
            let (m0, a0, r0) = (self.members.len(), self.addresses.len(), self.routes.len());
            for member in &group.members {
                let id = MemberId(self.members.len() as u16);
                self.seats[self.members.len()] = Some(self.members.len());
                let mut built = Member::new(id, GroupId(g as u16), member.clone(), group.fdt);
                if let Some(saved) = self.saved.members.iter().find(|s| s.name == member.name) {
                    built.restore(saved);
                }
                self.members.push(built);
            }
            self.addresses.extend(group.data.iter().map(|net| DataAddress::new(*net)));
            self.routes.extend(routes_of(group));
            let (m1, a1, r1) = (self.members.len(), self.addresses.len(), self.routes.len());
            self.groups.push(Group::new(group, m0..m1, a0..a1, r0..r1));
        }
        let keys = self.routes.iter().enumerate().map(|(r, route)| (route.key, r));
        self.routes_by_key = keys.collect();
        self.routes_by_key.sort_unstable();
        let addresses = self.addresses.iter().enumerate().map(|(k, a)| (a.net.address, k));
        self.addresses_by_ip = addresses.collect();
        self.addresses_by_ip.sort_unstable();
        self.saved.bindings.sort_by_key(|bound| bound.address);
        self.build_slots();
        let paths = self.members.len() * 2 * MAX_TARGETS;
        self.proven = Vec::with_capacity(paths + self.saved.proven.len());
        self.proven.extend(&self.saved.proven);
        self.gateways = Vec::with_capacity(self.members.len() * Family::ALL.len());
        self.items = Vec::with_capacity(self.addresses.len());
        self.attention = Attention::new(self.members.len(), self.groups.len());
        self.out = Outbox::new(256 + 4 * self.slots.len() + 4 * paths + 5 * self.addresses.len());
        self.config = config;
    }

    /// Takes one fact, answer or command. Its consequences are drawn by [`Engine::handle_timeout`],
    /// which is to be called when all that is known has been fed.
    pub fn handle(&mut self, now: Instant, event: Event) {
        self.started.get_or_insert(now);
        self.note(&event);
        match event {
            Event::Link(link) => self.link(now, link),
            Event::LinkGone(ifindex) => self.link_gone(now, ifindex),
            Event::Address(address) => self.address(now, address),
            Event::AddressGone { ifindex, address } => self.address_gone(now, ifindex, address),
            Event::OwnAddress(own) => self.own_address(own),
            Event::Foreign { address, on } => self.foreign(now, address, on),
            Event::Rivals { key, stand } => self.rivals(now, key, stand),
            Event::Route(route) => self.route(now, route.key, Some(route)),
            Event::RouteGone(key) => self.route(now, key, None),
            Event::Gateways(gateways) => self.gateways(gateways),
            Event::Found { ifindex, address, by } => self.found(now, ifindex, address, by),
            Event::Surveyed => self.survey(),
            Event::Claimed { ifindex, address, mac } => self.claimed(now, ifindex, address, mac),
            Event::Refused { address, on } => self.refused(address, on),
            Event::NeighbourProxy { ifindex, family, mac } => {
                self.neighbour_proxy(ifindex, family, mac);
            }
            Event::Plumbed { ifindex, family, plumbed } => self.plumbed(ifindex, family, plumbed),
            Event::Attached { ifindex, mode } => self.attached(now, ifindex, mode),
            Event::HookLost { ifindex, loss } => self.hook_lost(now, ifindex, loss),
            Event::Redirectable { ifindex, redirectable } => {
                if let Some(m) = self.member_at(ifindex) {
                    self.members[m].redirectable = redirectable;
                }
            }
            Event::ReceiveDeferred { ifindex, deferred } => {
                self.receive_deferred(ifindex, deferred);
            }
            Event::HandledUntil { ifindex, until } => {
                if let Some(m) = self.member_at(ifindex) {
                    self.members[m].handled_until = Some(until);
                }
            }
            Event::Sent { path, seq, at, fate } => {
                self.with_path(path, |instance| instance.sent(path, seq, at, fate));
            }
            Event::Left { path, seq, at } => {
                self.with_path(path, |instance| instance.left(path, seq, at));
            }
            Event::Reply { path, seq, at } => {
                self.reply(now, path, seq, at);
                self.touch(path);
            }
            Event::Resolved { path, seq, .. } => {
                self.with_path(path, |instance| instance.resolved(path, seq));
            }
            Event::Transmits { ifindex, frames } => self.transmits(now, ifindex, frames),
            Event::Done(done) => self.done(now, done),
            Event::Command(command) => self.command(now, command),
        }
    }

    /// Draws all consequences: verdicts, rounds, placement, requests.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.started.get_or_insert(now);
        // One that comes sooner was woken by something else.
        let due = self.due.take().filter(|due| *due <= now);
        let late = due.map_or(Duration::ZERO, |due| now.since(due));
        if due.is_some() {
            self.wakes.record(late, now);
        }
        self.attend(now);
        self.each_busy(|engine, g| engine.tend_presence(g, now));
        self.each_busy(|engine, g| engine.review_targets(g, now));
        self.each_busy(|engine, g| engine.judge(g, now));
        self.each_busy(|engine, g| engine.tend_instances(g, now));
        self.each_busy(|engine, g| engine.report_unwatched(g, now));
        self.rounds(now, late);
        self.each_busy(|engine, g| engine.reconcile(g, now));
        self.tidy(now);
        self.due = self.next_wake(now);
    }

    fn each_busy(&mut self, mut act: impl FnMut(&mut Self, usize)) {
        let mut nth = 0;
        while let Some(g) = self.attention.busy(nth) {
            act(self, g);
            nth += 1;
        }
    }

    /// Verdicts, who takes part, what belongs where, and who sends until it is there.
    fn judge(&mut self, g: usize, now: Instant) {
        let members = &mut self.members[self.groups[g].members.clone()];
        let group = &mut self.groups[g];
        let had_failed = group.failure_told;
        policing::judge(members, now, &mut self.out);
        verdict::judge(group, members, now, &mut self.out);
        let fails_now = group.failure_told && !had_failed;
        group.tell_fdt(members, now, &mut self.out);
        let failed = members.iter().any(|m| m.since == now);
        let changed = group.activate(members, now, &mut self.out) || failed;
        if changed {
            self.out.persist();
            self.routes_are_urgent(g);
            self.attention.walk(g);
        }
        if fails_now {
            self.flush_hosts(g, now);
        }
        if self.has_other_standing(g, now) {
            self.attention.walk(g);
        }
        if self.attention.is_walked(g) {
            self.place(g, now);
            self.copies_are_urgent(g);
            self.look_at_routes(g, now);
            self.tend_redirects(g, now);
            self.herald(g, now);
        }
    }

    /// When [`Engine::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.out.pop()
    }

    /// Whether outcomes of single probes are wanted.
    pub fn stream_probes(&mut self, on: bool) {
        self.out.streaming = on;
    }

    /// NICs for which [`Event::HandledUntil`] is to be told before the next turn.
    pub fn watched(&self) -> impl Iterator<Item = Ifindex> + '_ {
        let seeks = |m: &&Member| m.instances.iter().any(|i| i.seeks_receive_witness);
        let members = self.in_doubt().flat_map(|g| &self.members[self.groups[g].members.clone()]);
        members.filter(seeks).filter_map(Member::ifindex)
    }

    pub(crate) fn group_of(&self, m: usize) -> usize {
        self.group_at(&self.members[m])
    }

    pub(crate) fn group_at(&self, member: &Member) -> usize {
        usize::from(member.group.0)
    }

    /// Position of a member in its group.
    pub(crate) fn position(&self, m: usize) -> usize {
        m - self.groups[self.group_of(m)].members.start
    }

    pub(crate) fn member_at(&self, ifindex: Ifindex) -> Option<usize> {
        self.members.iter().position(|m| m.ifindex() == Some(ifindex))
    }

    pub(crate) fn route_at(&self, key: RouteKey) -> Option<usize> {
        let place = self.routes_by_key.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(self.routes_by_key[place].1)
    }

    /// Place of a data address.
    pub(crate) fn address_at(&self, address: IpAddr) -> Option<usize> {
        let place = self.addresses_by_ip.binary_search_by_key(&address, |(ip, _)| *ip).ok()?;
        Some(self.addresses_by_ip[place].1)
    }

    pub(crate) fn member_named(&self, name: IfName) -> Option<usize> {
        self.members.iter().position(|m| m.name() == name)
    }

    /// xorshift64: phases need to differ, not to be secret.
    pub(crate) fn random_below(&mut self, bound: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.random % bound)
    }

    /// Sends the rounds that are due. `late`: by how much this turn is.
    fn rounds(&mut self, now: Instant, late: Duration) {
        let mut missed = 0;
        let mut nth = 0;
        while let Some((m, i)) = self.attention.touched(nth) {
            nth += 1;
            let Some(ifindex) = self.members[m].ifindex() else { continue };
            let instance = &mut self.members[m].instances[i];
            let before = instance.missed;
            if let Some(round) = instance.round(now, ifindex) {
                self.out.push(Action::Round(round));
            }
            missed += instance.missed - before;
        }
        if missed > 0 && may_tell(&mut self.late_told, now) {
            self.out.message(Message::Late { by: late, missed });
        }
    }

    /// Takes note of what the members are worth. Returns whether that has changed.
    fn has_other_standing(&mut self, g: usize, now: Instant) -> bool {
        if !self.surveyed {
            return false;
        }
        let group = &mut self.groups[g];
        let members = &self.members[group.members.clone()];
        let mut standing = Standing::default();
        for (i, member) in members.iter().enumerate() {
            for family in Family::ALL {
                standing.ranks[family as usize][i] = group.rank(member, family, now);
            }
        }
        for family in Family::ALL {
            let dead = |m: &Member| group.lacks_family(m, family, now);
            if members.iter().any(|m| m.active && dead(m)) {
                let next = group.taking_part(members, now, |m| !dead(m));
                let ranks = standing.ranks[family as usize].iter_mut().enumerate();
                let spare = ranks.filter(|(i, rank)| **rank == Rank::Spare && next.contains(*i));
                spare.for_each(|(_, rank)| *rank = Rank::StandIn);
            }
        }
        let best = standing.ranks.iter().flatten().copied().min().unwrap_or(Rank::Absent);
        group.note_best(best, members, now);
        let best = standing.ranks.map(|r| r.into_iter().min().unwrap_or(Rank::Absent));
        for (i, member) in members.iter().enumerate() {
            for family in Family::ALL {
                let f = family as usize;
                standing.sticky[f][i] = group.is_sticky(member, family, best[f], now);
            }
            standing.bearable[i] = group.is_bearable(member, members, now);
        }
        // What stands somewhere at the start stays there until the others have proved themselves (O5).
        let joined = |m: &Member, f| m.has_joined(f, now, group.quiet_period);
        let joining = |m: &Member| m.usable() && !Family::ALL.into_iter().any(|f| joined(m, f));
        standing.rebalance = group.failback && !members.iter().any(joining);
        standing.settling = group.is_settling(now);
        core::mem::replace(&mut group.standing, standing) != standing
    }

    /// Puts every data address of a group on a member, as the state of the members demands.
    fn place(&mut self, g: usize, now: Instant) {
        if !self.surveyed {
            return;
        }
        let group = &mut self.groups[g];
        let members = &self.members[group.members.clone()];
        self.items.clear();
        let known = self.addresses[group.addresses.clone()].iter().filter(|a| a.known);
        self.items.extend(known.map(|a| Item {
            holder: a.holder,
            family: a.net.family() as usize,
            held: a.moves.held_until(now).is_some(),
        }));
        let n = members.len();
        place(&mut self.items, &group.standing.places(n));
        let known = self.addresses[group.addresses.clone()].iter_mut().filter(|a| a.known);
        for (address, item) in known.zip(&self.items) {
            if address.holder == item.holder {
                continue;
            }
            let was_held = address.moves.held_until(now).is_some();
            if address.holder.is_some() {
                address.moves.moved(now);
            }
            let seen = (0..n).find(|i| address.on.contains(*i));
            let from = seen.or(address.holder).map(|i| members[i].name()).or(address.left.take());
            address.moving = Some((now, from));
            address.holder = item.holder;
            group.announce = true;
            let held_until = address.moves.held_until(now).filter(|_| !was_held);
            if let (Some(until), Some(to)) = (held_until, item.holder) {
                let (address, interface) = (address.net.address, members[to].name());
                let wait = until.since(now);
                self.out.message(Message::AddressHeld { address, interface, wait });
            }
        }
        self.moves_are_urgent(g, now);
    }

    pub(crate) fn request(&mut self, now: Instant, id: OpId, request: crate::request::Request) {
        self.out.push(Action::Request(Op { id, decided: now, request }));
    }
}

/// Whether a message that was told then may be told again; it then is.
pub(crate) fn may_tell(told: &mut Option<Instant>, now: Instant) -> bool {
    let may = told.is_none_or(|at| now.since(at) >= TELL_AGAIN);
    if may {
        *told = Some(now);
    }
    may
}

/// One route for each data subnet, then the configured ones, which depend on those.
fn routes_of(group: &crate::config::Group) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut known = BTreeSet::new();
    let mut add = |key: RouteKey, via, src| {
        if known.insert(key) {
            routes.push(Route { key, via, src, observed: None, wanted: None, rivals: false });
        }
    };
    let subnets = group.data.iter().map(IpNet::network).filter(|n| n.len < n.family().host_bits());
    for to in subnets {
        add(RouteKey { table: TABLE_MAIN, to, metric: ROUTE_METRIC }, None, None);
    }
    for route in &group.routes {
        let key = RouteKey { table: route.table, to: route.to, metric: route.metric };
        add(key, Some(route.via), route.src);
    }
    routes
}

impl Engine {
    /// The configured test address of a member's family, if the member is there.
    pub(crate) fn static_test(&self, m: usize, family: Family) -> Option<IpNet> {
        match self.members[m].test_config(family) {
            Some(TestAddress::Static(net)) => Some(net),
            Some(TestAddress::LinkLocal) | None => None,
        }
    }
}
