//! A LAN in virtual time: NICs, a switch, targets, and a kernel that carries out the engine's
//! requests. Hours pass in milliseconds, and every promise about addresses is checked at each step.

#![allow(dead_code, reason = "each test file uses its own part of the LAN")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::config::{Config, Group};
use mpathd_core::engine::Engine;
use mpathd_core::event::{
    Command, Event, Fate, Gateway, GatewayKind, Gateways, Link, ObservedRoute, ReceiveMode,
    RouteKey,
};
use mpathd_core::ids::{Family, IfName, Ifindex, PathId};
use mpathd_core::message::Message;
use mpathd_core::request::{Action, Herald, OpId, PathKey, ProbeOutcome, Redirect, Request, Role};
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;
use mpathd_core::view::{TargetMode, TargetState, View};

mod groups;
mod kernel;
mod link_local;
mod reload;

pub use groups::*;
pub use kernel::Delivery;

pub const MS: Duration = Duration::from_millis(1);
pub const S: Duration = Duration::from_secs(1);
/// From the queue of one thread to the next, on a busy machine.
const NEARLY: Duration = Duration::from_millis(10);
/// Of the fast thread.
const DECISIONS_PER_TURN: usize = 4;

/// What a NIC does with probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Works,
    /// Silent cut: frames leave and nothing comes back.
    Cut,
    /// The device takes nothing and transmits nothing.
    Stuck,
    /// The device takes nothing from us, but transmits other traffic.
    Congested,
}

/// Runs a call into the engine and counts what it allocates.
pub type Watch = fn(&mut dyn FnMut()) -> usize;

pub struct Nic {
    pub link: Link,
    pub wire: Wire,
    /// How its replies are received.
    pub mode: ReceiveMode,
    pub frames: u64,
    /// What comes in waits until then, as where NAPI is a thread.
    pub starves_until: Instant,
}

#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub took: Duration,
    /// When it was told, if that was recorded.
    pub at: Option<Instant>,
    pub errno: Option<i32>,
}

impl Outcome {
    /// How long a request takes that is made now. One that is made as it was recorded is answered at
    /// the recorded moment, with whatever else the daemon heard when it woke then.
    fn takes(&self, now: Instant) -> Duration {
        let as_recorded = |at: &Instant| {
            let asked = *at - self.took;
            now.since(asked).max(asked.since(now)) <= NEARLY
        };
        self.at.filter(as_recorded).map_or(self.took, |at| at.since(now))
    }
}

/// What becomes of every probe of one path, whatever its NIC and its target are like.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub fate: Fate,
    /// Of the reply or, to an ARP request in the probe's place, of the MAC; `None`: silence.
    pub rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub alive: bool,
    pub rtt: Duration,
    /// So many probes of a hundred get no answer.
    pub lose_percent: u64,
    pub limit: Option<Limit>,
}

/// Losses that come together (Gilbert's model).
#[derive(Clone, Copy, Debug)]
pub struct Bursts {
    /// Of ten thousand probes after one that was answered, so many are lost.
    pub begin: u64,
    /// Of a hundred after one that was lost.
    pub go_on: u64,
    pub lost: bool,
}

/// A target that answers only so many probes.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub per_second: u64,
    pub burst: u64,
    /// Each source by itself.
    pub per_source: bool,
}

pub struct Lan {
    pub now: Instant,
    pub engine: Engine,
    pub nics: BTreeMap<IfName, Nic>,
    pub targets: BTreeMap<IpAddr, Target>,
    /// Targets that also answer an echo request to all hosts, the quickest first.
    pub responders: Vec<IpAddr>,
    /// What the kernel's neighbour table has.
    pub neighbours: Vec<IpAddr>,
    pub answers: BTreeMap<(IfName, IpAddr), Answer>,
    /// Between a NIC and a target nothing passes.
    pub cut_paths: BTreeSet<(IfName, IpAddr)>,
    paths: BTreeMap<PathId, PathKey>,
    /// Addresses in the kernel.
    pub addresses: BTreeSet<(Ifindex, IpAddr)>,
    /// In which form we have set them.
    forms: BTreeMap<(Ifindex, IpAddr), Role>,
    pub routes: BTreeMap<RouteKey, ObservedRoute>,
    events: BTreeMap<(Instant, u64), Event>,
    /// Replies that the kernel's hook has stamped. They wake nobody: the daemon finds them when it
    /// is awake.
    slots: BTreeMap<(Instant, u64), Event>,
    /// When the limits of targets allow the next answers, as a token bucket that was full then.
    spent: BTreeMap<(IpAddr, Option<IpAddr>), Instant>,
    serial: u64,
    pub messages: Vec<(Instant, Message)>,
    pub requests: Vec<(Instant, Request)>,
    pub redirects: Vec<(Instant, Redirect)>,
    pub heralds: Vec<(Instant, Herald)>,
    pub replies: Vec<bool>,
    /// What was sent and what comes of it, if somebody asks for the truth.
    pub deliveries: Option<Vec<Delivery>>,
    /// What became of probes, if the engine is asked to tell.
    pub probes: Vec<ProbeOutcome>,
    /// Whether it can be told that all frames have been handled.
    pub tells_handled: bool,
    /// How long the kernel takes for a request.
    pub kernel: Duration,
    pub attach: Duration,
    /// What comes of single requests, in their order, whatever they ask for.
    pub outcomes: BTreeMap<OpId, VecDeque<Outcome>>,
    /// Requests that are refused, with the errno.
    pub refuse: fn(&Request) -> Option<i32>,
    pub watch: Option<Watch>,
    pub allocated: usize,
    pub turns: usize,
    /// The engine is to look at everything in every turn.
    pub watchful: bool,
    /// A NIC that hears nothing of one family (`true`: IPv6).
    pub deaf: Option<(IfName, bool)>,
    /// NICs that lose so many of a hundred probes.
    pub lossy: BTreeMap<IfName, u64>,
    /// NICs that lose probes in bursts.
    pub bursty: BTreeMap<IfName, Bursts>,
    config: Config,
    data: Vec<IpAddr>,
    /// Data addresses that have been in the kernel: they may never be missing again.
    placed: BTreeSet<IpAddr>,
}

impl Lan {
    /// A host whose NICs are up and whose targets answer in 200 us; nothing has happened yet.
    pub fn new(group: Group, saved: Saved) -> Self {
        Self::running(Config { groups: vec![group] }, saved)
    }

    /// The same with several groups, and without a state file.
    pub fn of_groups(groups: Vec<Group>) -> Self {
        Self::running(Config { groups }, Saved::default())
    }

    fn running(config: Config, saved: Saved) -> Self {
        let names: Vec<IfName> =
            config.groups.iter().flat_map(|g| &g.members).map(|m| m.name).collect();
        let works = Target { alive: true, rtt: 200 * MS / 1000, lose_percent: 0, limit: None };
        let targets = config.groups.iter().flat_map(|g| &g.targets).map(|t| (*t, works)).collect();
        let mut lan = Self { targets, ..Self::bare(config, saved, 0x9e37_79b9_7f4a_7c15) };
        names.iter().enumerate().for_each(|(i, name)| lan.plug(*name, 2 + i as u32));
        lan
    }

    /// A host without NICs in a LAN without targets.
    pub fn bare(config: Config, saved: Saved, seed: u64) -> Self {
        Self {
            now: Instant(1_000 * 1_000_000_000),
            engine: Engine::new(config.clone(), saved, seed),
            data: data_of(&config),
            config,
            nics: BTreeMap::new(),
            targets: BTreeMap::new(),
            responders: Vec::new(),
            neighbours: Vec::new(),
            answers: BTreeMap::new(),
            cut_paths: BTreeSet::new(),
            paths: BTreeMap::new(),
            addresses: BTreeSet::new(),
            forms: BTreeMap::new(),
            routes: BTreeMap::new(),
            events: BTreeMap::new(),
            slots: BTreeMap::new(),
            spent: BTreeMap::new(),
            serial: 0,
            messages: Vec::new(),
            requests: Vec::new(),
            redirects: Vec::new(),
            heralds: Vec::new(),
            replies: Vec::new(),
            deliveries: None,
            probes: Vec::new(),
            tells_handled: true,
            kernel: MS / 10,
            attach: 10 * MS,
            outcomes: BTreeMap::new(),
            refuse: |_| None,
            watch: None,
            allocated: 0,
            turns: 0,
            watchful: false,
            deaf: None,
            lossy: BTreeMap::new(),
            bursty: BTreeMap::new(),
            placed: BTreeSet::new(),
        }
    }

    /// A running host: addresses stand, all members have answered.
    pub fn settled(group: Group) -> Self {
        let mut lan = Self::new(group, Saved::default());
        lan.survey();
        lan.run(6 * S);
        lan.messages.clear();
        lan.requests.clear();
        lan
    }

    pub fn survey(&mut self) {
        self.post(Duration::ZERO, Event::Surveyed);
    }

    pub fn plug(&mut self, name: IfName, ifindex: u32) {
        self.appear(name, ifindex, true);
    }

    /// As every new device is: administratively down.
    pub fn plug_down(&mut self, name: IfName, ifindex: u32) {
        self.appear(name, ifindex, false);
    }

    fn appear(&mut self, name: IfName, ifindex: u32, up: bool) {
        let link = Link {
            name,
            ifindex: Ifindex(ifindex),
            up,
            running: up,
            reported: true,
            carrier_changes: 1,
            mac: [2, 0, 0, 0, 0, ifindex as u8],
            unfit: None,
        };
        self.link(link);
    }

    /// A link comes, or changes.
    pub fn link(&mut self, link: Link) {
        let (wire, mode, starves_until) = (Wire::Works, ReceiveMode::Xdp, Instant(0));
        let new = Nic { link, wire, mode, frames: 0, starves_until };
        self.nics.entry(link.name).or_insert(new).link = link;
        self.post(Duration::ZERO, Event::Link(link));
    }

    pub fn unplug(&mut self, name: IfName) {
        let nic = self.nics.remove(&name).unwrap();
        self.addresses.retain(|(ifindex, _)| *ifindex != nic.link.ifindex);
        if self.nics.is_empty() {
            self.placed.clear();
        }
        self.post(Duration::ZERO, Event::LinkGone(nic.link.ifindex));
        for key in std::mem::take(&mut self.routes).into_keys() {
            self.post(Duration::ZERO, Event::RouteGone(key));
        }
    }

    /// What the daemon hears of a new name: the old one's link has gone, and a link of the new one is
    /// there if it is configured. Its addresses stay on it and are told anew.
    pub fn rename(&mut self, from: IfName, to: IfName) {
        let mut nic = self.nics.remove(&from).unwrap();
        let ifindex = nic.link.ifindex;
        nic.link.name = to;
        let link = nic.link;
        self.nics.insert(to, nic);
        let is_member =
            |name| self.config.groups.iter().any(|g| g.members.iter().any(|m| m.name == name));
        let (was, is) = (is_member(from), is_member(to));
        if was {
            self.post(Duration::ZERO, Event::LinkGone(ifindex));
        }
        if is {
            self.post(Duration::ZERO, Event::Link(link));
            for (_, address) in self.addresses.clone().into_iter().filter(|(i, _)| *i == ifindex) {
                let seen = self.address_of_ours(ifindex, address);
                self.post(Duration::ZERO, Event::Address(seen));
            }
        }
    }

    pub fn carrier(&mut self, i: usize, on: bool) {
        let nic = self.nics.get_mut(&name(i)).unwrap();
        if nic.link.running != on {
            nic.link.running = on;
            nic.link.up |= on;
            nic.link.carrier_changes += 1;
            let link = nic.link;
            self.link(link);
        }
    }

    pub fn wire(&mut self, i: usize, wire: Wire) {
        self.nics.get_mut(&name(i)).unwrap().wire = wire;
    }

    pub fn target(&mut self, address: &str) -> &mut Target {
        self.targets.get_mut(&address.parse().unwrap()).unwrap()
    }

    /// More targets that answer in 200 us.
    pub fn add_targets(&mut self, targets: &[&str]) {
        let works = Target { alive: true, rtt: 200 * MS / 1000, lose_percent: 0, limit: None };
        self.targets.extend(ip(targets).into_iter().map(|t| (t, works)));
    }

    /// The next hops of the routing tables from now on, all by eth0.
    pub fn gateways(&mut self, next_hops: &[&str]) {
        self.next_hops(next_hops, |_| GatewayKind::Other);
    }

    /// The same, each of the kind that `kind` says.
    pub fn next_hops(&mut self, next_hops: &[&str], kind: impl Fn(IpAddr) -> GatewayKind) {
        for family in Family::ALL {
            let mut all = Gateways::new(Ifindex(2), family);
            for address in ip(next_hops).into_iter().filter(|it| Family::of(*it) == family) {
                all.push(Gateway { address, kind: kind(address) });
            }
            self.post(Duration::ZERO, Event::Gateways(all));
        }
    }

    pub fn command(&mut self, command: Command) -> bool {
        self.post(Duration::ZERO, Event::Command(command));
        self.run(MS);
        self.replies.pop().unwrap()
    }

    pub fn post(&mut self, after: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + after, self.serial), event);
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.turn();
        }
        self.now = end;
    }

    /// SIGKILL and start: a new engine sees what stands in the kernel, and the state file.
    pub fn restart(&mut self) {
        self.start_anew(self.config.clone(), 0x1234_5678_9abc_def1);
    }

    pub fn start_anew(&mut self, config: Config, seed: u64) {
        let saved = self.view().saved();
        self.data = data_of(&config);
        self.engine = Engine::new(config.clone(), saved, seed);
        self.config = config;
        self.events.clear();
        self.slots.clear();
        self.paths.clear();
        self.messages.clear();
        self.requests.clear();
        let facts: Vec<Event> = self.nics.values().map(|n| Event::Link(n.link)).collect();
        facts.into_iter().for_each(|fact| self.post(Duration::ZERO, fact));
        for (ifindex, address) in self.addresses.clone() {
            let seen = self.address_of_ours(ifindex, address);
            self.post(Duration::ZERO, Event::Address(seen));
        }
        let routes: Vec<Event> = self.routes.values().map(|r| Event::Route(*r)).collect();
        routes.into_iter().for_each(|fact| self.post(Duration::ZERO, fact));
        self.survey();
    }

    /// Somebody else removes an address.
    pub fn steal(&mut self, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        let (ifindex, _) = *self.addresses.iter().find(|(_, a)| *a == address).unwrap();
        self.take_away(ifindex, address);
    }

    pub fn take_away(&mut self, ifindex: Ifindex, address: IpAddr) {
        self.addresses.remove(&(ifindex, address));
        self.placed.remove(&address);
        self.post(Duration::ZERO, Event::AddressGone { ifindex, address });
    }

    /// Lets time pass while the daemon is stopped; what arrives meanwhile is found afterwards.
    pub fn stop_daemon(&mut self, span: Duration) {
        self.now = self.now + span;
        self.turn();
    }

    /// When something happens next.
    pub fn next(&self) -> Option<Instant> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        event.into_iter().chain(self.engine.poll_timeout()).min()
    }

    /// Runs until `done`, at most `limit`; how long it took.
    pub fn until(&mut self, limit: Duration, done: impl Fn(&Lan) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            let next = self.next().unwrap_or(start + limit + MS);
            assert!(next <= start + limit, "not within {limit:?}: {:#?}", self.texts());
            self.now = self.now.max(next);
            self.turn();
        }
        self.now.since(start)
    }

    /// The daemon wakes up.
    pub fn turn(&mut self) {
        let now = self.now;
        let watched: Vec<Ifindex> = self.engine.watched().collect();
        for nic in self.nics.values().filter(|_| self.tells_handled) {
            let ifindex = nic.link.ifindex;
            let until = if nic.starves_until <= now { now } else { Instant(0) };
            if watched.contains(&ifindex) {
                self.engine.handle(now, Event::HandledUntil { ifindex, until });
            }
        }
        while let Some(event) = self.next_event(now) {
            self.call(|engine| engine.handle(now, event));
        }
        if self.watchful {
            self.engine.stir();
        }
        for reply in self.found_in_slots(now) {
            self.call(|engine| engine.handle(now, reply));
        }
        // As the fast thread does: fates are told at once, and change the next deadline.
        for _ in 0..DECISIONS_PER_TURN {
            self.call(|engine| engine.handle_timeout(now));
            if !self.carry_out_all() {
                break;
            }
        }
        self.turns += 1;
        self.check();
    }

    fn next_event(&mut self, now: Instant) -> Option<Event> {
        self.events.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
    }

    /// Only what the engine waits for is read.
    fn found_in_slots(&mut self, now: Instant) -> Vec<Event> {
        // What nobody will ask for any more.
        while self.slots.first_key_value().is_some_and(|((at, _), _)| now.since(*at) > 100 * S) {
            self.slots.pop_first();
        }
        let next = (Instant(now.0 + 1), 0);
        let come: Vec<_> = self.slots.range(..next).map(|(at, reply)| (*at, *reply)).collect();
        let mut read = Vec::new();
        self.engine.await_replies(now, |path, seq| {
            let asked = |reply: &Event| matches!(reply, Event::Reply { path: p, seq: s, .. } if (*p, *s) == (path, seq));
            read.extend(come.iter().filter(|(_, reply)| asked(reply)).map(|(at, _)| *at));
        });
        read.sort_unstable();
        read.into_iter().filter_map(|at| self.slots.remove(&at)).collect()
    }

    /// Whether the engine was told of anything on the way.
    fn carry_out_all(&mut self) -> bool {
        let mut told = false;
        while let Some(action) = self.engine.poll_action() {
            told |= matches!(action, Action::Round(_));
            self.act(action);
        }
        told
    }

    fn call(&mut self, mut act: impl FnMut(&mut Engine)) {
        let Self { engine, watch, allocated, .. } = self;
        match watch {
            Some(watch) => *allocated += watch(&mut || act(engine)),
            None => act(engine),
        }
    }

    /// Is the address on any NIC?
    pub fn stands(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(_, a)| *a == address)
    }

    /// What must hold at every moment: an address that was there stays there.
    fn check(&mut self) {
        for address in &self.data {
            if self.stands(*address) {
                self.placed.insert(*address);
            } else if self.nics.values().any(|n| n.link.unfit.is_none()) {
                assert!(!self.placed.contains(address), "{address} is missing");
            }
        }
    }

    /// NICs that have a data address, by position.
    pub fn holders(&self, address: &str) -> Vec<usize> {
        let address: IpAddr = address.parse().unwrap();
        (0..8)
            .filter(|i| {
                let nic = self.nics.get(&name(*i));
                nic.is_some_and(|n| self.addresses.contains(&(n.link.ifindex, address)))
            })
            .collect()
    }

    /// How the targets of a NIC were found, and those that count, in the order of their paths.
    pub fn targets_of(&self, i: usize, family: Family) -> (TargetMode, Vec<String>) {
        let view = self.view();
        let here = |interface, f| interface == name(i) && f == family;
        let instance = view.instances.iter().find(|row| here(row.interface, row.family)).unwrap();
        let rows = view.targets.iter().filter(|row| here(row.interface, row.family));
        let active = rows.filter(|row| row.state == TargetState::Active);
        (instance.mode, active.map(|row| row.target.to_string()).collect())
    }

    pub fn view(&self) -> View {
        let mut view = View::default();
        self.engine.fill(&mut view, self.now);
        view
    }

    pub fn texts(&self) -> Vec<String> {
        self.messages.iter().map(|(_, m)| m.to_string()).collect()
    }

    pub fn told(&self, text: &str) -> usize {
        self.messages.iter().filter(|(_, m)| m.to_string() == text).count()
    }

    /// At rest: every data address on exactly one NIC, routes as wanted, FAILED excludes INACTIVE.
    pub fn assert_at_rest(&self) {
        assert!(self.view().settled, "{:#?}", self.view());
        for address in &self.data {
            let on = self.addresses.iter().filter(|(_, a)| a == address).count();
            assert_eq!(on, 1, "{address}: {:#?}", self.addresses);
        }
        let view = self.view();
        assert!(view.interfaces.iter().all(|i| i.reason.is_none() || !(i.inactive || i.active)));
    }
}

fn data_of(config: &Config) -> Vec<IpAddr> {
    config.groups.iter().flat_map(|g| &g.data).map(|net| net.address).collect()
}
