//! A LAN in virtual time: NICs, a switch, targets, and a kernel that carries out the engine's
//! requests. Hours pass in milliseconds, and every promise about addresses is checked at each step.

#![allow(dead_code, reason = "each test file uses its own part of the LAN")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::config::{Config, Datapath, Group, Member, Route, TestAddress};
use mpathd_core::engine::Engine;
use mpathd_core::event::{
    Address, Command, Done, Errno, Event, Fate, Link, ObservedRoute, ReceiveMode, RouteKey,
};
use mpathd_core::ids::{IfName, Ifindex, IpNet, PathId};
use mpathd_core::message::Message;
use mpathd_core::request::{Action, Notice, Op, PathKey, Request, Role};
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;
use mpathd_core::view::View;

pub const MS: Duration = Duration::from_millis(1);
pub const S: Duration = Duration::from_secs(1);

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
    frames: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub alive: bool,
    pub rtt: Duration,
    /// One probe in `lose_one_in` gets no answer; 0 = none is lost.
    pub lose_one_in: u64,
}

pub struct Lan {
    pub now: Instant,
    pub engine: Engine,
    pub nics: BTreeMap<IfName, Nic>,
    pub targets: BTreeMap<IpAddr, Target>,
    paths: BTreeMap<PathId, PathKey>,
    /// Addresses in the kernel.
    pub addresses: BTreeSet<(Ifindex, IpAddr)>,
    pub routes: BTreeMap<RouteKey, ObservedRoute>,
    events: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    pub messages: Vec<(Instant, Message)>,
    pub requests: Vec<(Instant, Request)>,
    pub replies: Vec<bool>,
    /// How long the kernel takes for a request.
    pub kernel: Duration,
    /// Requests that are refused, with the errno.
    pub refuse: fn(&Request) -> Option<i32>,
    pub watch: Option<Watch>,
    pub allocated: usize,
    pub turns: usize,
    /// A NIC that hears nothing of one family (`true`: IPv6).
    pub deaf: Option<(IfName, bool)>,
    group: Group,
    data: Vec<IpAddr>,
    /// Data addresses that have been in the kernel: they may never be missing again.
    placed: BTreeSet<IpAddr>,
}

/// A group `g` with `members`, test addresses 192.0.2.11.. and 2001:db8::11.., targets .1 to .3.
pub fn group(members: usize, data: usize, fdt: Duration) -> Group {
    Group {
        name: "g".parse().unwrap(),
        fdt,
        failback: true,
        quiet_period: 40 * S,
        data: (0..data).map(|i| format!("192.0.2.{}/24", 50 + i).parse().unwrap()).collect(),
        targets: ip(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        routes: vec![Route {
            to: "0.0.0.0/0".parse().unwrap(),
            via: "192.0.2.1".parse().unwrap(),
            metric: 5,
            table: 254,
            src: None,
        }],
        members: (0..members).map(member).collect(),
    }
}

pub fn member(i: usize) -> Member {
    let test = format!("192.0.2.{}/24", 11 + i).parse().unwrap();
    Member {
        name: name(i),
        standby: false,
        test: [Some(TestAddress::Static(test)), None],
        datapath: Datapath::Auto,
        consume_replies: true,
    }
}

/// The same group with IPv6 beside IPv4.
pub fn dual_stack(mut group: Group) -> Group {
    group.targets.extend(ip(&["2001:db8::1", "2001:db8::2"]));
    group.data.push("2001:db8::50/64".parse().unwrap());
    for (i, member) in group.members.iter_mut().enumerate() {
        let test = format!("2001:db8::{}/64", 11 + i).parse().unwrap();
        member.test[1] = Some(TestAddress::Static(test));
    }
    group
}

pub fn link_only(mut group: Group) -> Group {
    group.members.iter_mut().for_each(|m| m.test = [None, None]);
    group
}

pub fn ip(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

pub fn name(i: usize) -> IfName {
    format!("eth{i}").parse().unwrap()
}

impl Lan {
    /// A host whose NICs are up and whose targets answer in 200 us; nothing has happened yet.
    pub fn new(group: Group, saved: Saved) -> Self {
        let seed = 0x9e37_79b9_7f4a_7c15;
        let now = Instant(1_000 * 1_000_000_000);
        let names: Vec<IfName> = group.members.iter().map(|m| m.name).collect();
        let targets = group
            .targets
            .iter()
            .map(|t| (*t, Target { alive: true, rtt: 200 * MS / 1000, lose_one_in: 0 }))
            .collect();
        let data = group.data.iter().map(|net| net.address).collect();
        let mut lan = Self {
            now,
            engine: Engine::new(Config { groups: vec![group.clone()] }, saved, seed),
            group,
            nics: BTreeMap::new(),
            targets,
            paths: BTreeMap::new(),
            addresses: BTreeSet::new(),
            routes: BTreeMap::new(),
            events: BTreeMap::new(),
            serial: 0,
            messages: Vec::new(),
            requests: Vec::new(),
            replies: Vec::new(),
            kernel: MS / 10,
            refuse: |_| None,
            watch: None,
            allocated: 0,
            turns: 0,
            deaf: None,
            data,
            placed: BTreeSet::new(),
        };
        names.iter().enumerate().for_each(|(i, name)| lan.plug(*name, 2 + i as u32));
        lan
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
        let link = Link {
            name,
            ifindex: Ifindex(ifindex),
            up: true,
            running: true,
            reported: true,
            carrier_changes: 1,
            mac: [2, 0, 0, 0, 0, ifindex as u8],
            unfit: None,
        };
        self.nics.insert(name, Nic { link, wire: Wire::Works, frames: 0 });
        self.post(Duration::ZERO, Event::Link(link));
    }

    pub fn unplug(&mut self, name: IfName) {
        let nic = self.nics.remove(&name).unwrap();
        self.addresses.retain(|(ifindex, _)| *ifindex != nic.link.ifindex);
        self.routes.clear();
        self.post(Duration::ZERO, Event::LinkGone(nic.link.ifindex));
        let keys: Vec<RouteKey> = self.routes.keys().copied().collect();
        keys.into_iter().for_each(|key| self.post(Duration::ZERO, Event::RouteGone(key)));
    }

    pub fn carrier(&mut self, i: usize, on: bool) {
        let nic = self.nics.get_mut(&name(i)).unwrap();
        if nic.link.running != on {
            nic.link.running = on;
            nic.link.carrier_changes += 1;
            let link = nic.link;
            self.post(Duration::ZERO, Event::Link(link));
        }
    }

    pub fn wire(&mut self, i: usize, wire: Wire) {
        self.nics.get_mut(&name(i)).unwrap().wire = wire;
    }

    pub fn target(&mut self, address: &str) -> &mut Target {
        self.targets.get_mut(&address.parse().unwrap()).unwrap()
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
        let saved = self.view().saved();
        let config = Config { groups: vec![self.group.clone()] };
        self.engine = Engine::new(config, saved, 0x1234_5678_9abc_def1);
        self.events.clear();
        self.paths.clear();
        self.messages.clear();
        self.requests.clear();
        let facts: Vec<Event> = self.nics.values().map(|n| Event::Link(n.link)).collect();
        facts.into_iter().for_each(|fact| self.post(Duration::ZERO, fact));
        for (ifindex, address) in self.addresses.clone() {
            let (address, ours) = (IpNet::host(address), true);
            let seen = Address { ifindex, address, ours, tentative: false, link_scope: false };
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
        self.addresses.remove(&(ifindex, address));
        self.placed.remove(&address);
        self.post(Duration::ZERO, Event::AddressGone { ifindex, address });
    }

    /// The kernel gives a NIC its link-local address.
    pub fn link_local(&mut self, i: usize, address: &str) {
        let ifindex = self.nics[&name(i)].link.ifindex;
        let address = IpNet::new(address.parse().unwrap(), 64).unwrap();
        let seen = Address { ifindex, address, ours: false, tentative: false, link_scope: true };
        self.post(MS, Event::Address(seen));
    }

    /// Lets time pass while the daemon is stopped; what arrives meanwhile is found afterwards.
    pub fn stop_daemon(&mut self, span: Duration) {
        self.now = self.now + span;
        self.turn();
    }

    fn next(&self) -> Option<Instant> {
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

    fn turn(&mut self) {
        while let Some(((at, serial), event)) = self.events.first_key_value().map(|(k, e)| (*k, *e))
            && at <= self.now
        {
            self.events.remove(&(at, serial));
            let now = self.now;
            self.call(|engine| engine.handle(now, event));
        }
        let now = self.now;
        self.call(|engine| engine.handle_timeout(now));
        self.turns += 1;
        // Fates are told at once, as the fast thread does, and may cause further actions.
        while let Some(action) = self.engine.poll_action() {
            self.act(action);
        }
        self.check();
    }

    fn call(&mut self, mut act: impl FnMut(&mut Engine)) {
        let Self { engine, watch, allocated, .. } = self;
        match watch {
            Some(watch) => *allocated += watch(&mut || act(engine)),
            None => act(engine),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Path { path, key: Some(key) } => drop(self.paths.insert(path, key)),
            Action::Path { path, key: None } => drop(self.paths.remove(&path)),
            Action::Round(round) => round.probes().iter().for_each(|p| self.probe(p.path, p.seq)),
            Action::Request(op) => self.request(op),
            Action::Notice(Notice::Message(message)) => self.messages.push((self.now, message)),
            Action::Notice(Notice::Reply(result)) => self.replies.push(result.is_ok()),
            Action::Notice(Notice::Persist | Notice::Probe(_)) => {}
        }
    }

    fn probe(&mut self, path: PathId, seq: mpathd_core::ids::Seq) {
        let key = self.paths[&path];
        let nic = self.nics.get_mut(&key.name).unwrap();
        let fate = match nic.wire {
            Wire::Works | Wire::Cut => Fate::Left,
            Wire::Stuck | Wire::Congested => Fate::Refused,
        };
        if nic.wire != Wire::Stuck {
            nic.frames += 1;
        }
        let up = nic.link.running && nic.wire == Wire::Works;
        let now = self.now;
        self.call(|engine| engine.handle(now, Event::Sent { path, seq, at: now, fate }));
        self.serial += 1;
        let Some(target) = self.targets.get(&key.target) else { return };
        let lost =
            target.lose_one_in != 0 && scramble(self.serial).is_multiple_of(target.lose_one_in);
        let deaf = self.deaf == Some((key.name, key.target.is_ipv6()));
        if up && target.alive && !lost && !deaf {
            let at = self.now + target.rtt;
            self.post(target.rtt, Event::Reply { path, seq, at });
        }
    }

    fn request(&mut self, op: Op) {
        self.requests.push((self.now, op.request));
        let took = self.kernel;
        let result = match (self.refuse)(&op.request) {
            Some(errno) => Err(Errno(errno)),
            None => Ok(()),
        };
        let done = Done { op: op.id, result, waited: Duration::ZERO, ran: took };
        // As the host thread does: what the kernel said of it is told before the acknowledgement.
        if result.is_ok() {
            self.carry_out(op.request);
        }
        self.post(took, Event::Done(done));
    }

    fn carry_out(&mut self, request: Request) {
        let took = self.kernel;
        match request {
            Request::SetAddress { ifindex, address, role, .. } => {
                if self.nics.values().any(|n| n.link.ifindex == ifindex) {
                    self.addresses.insert((ifindex, address.address));
                    let (ours, link_scope) = (true, role == Role::Test);
                    let seen = Address { ifindex, address, ours, tentative: false, link_scope };
                    self.post(took, Event::Address(seen));
                }
            }
            Request::UnsetAddress { ifindex, address, .. } => {
                if self.addresses.remove(&(ifindex, address.address)) {
                    let address = address.address;
                    self.post(took, Event::AddressGone { ifindex, address });
                }
            }
            Request::SetRoute(wanted) => {
                assert!(self.stands(wanted.src), "a route from {} that is nowhere", wanted.src);
                let (key, via, src) = (wanted.key, wanted.via, Some(wanted.src));
                let seen = ObservedRoute { key, via, src, hops: wanted.hops, ours: true };
                self.routes.insert(key, seen);
                self.post(took, Event::Route(seen));
            }
            Request::UnsetRoute(key) => drop(self.routes.remove(&key)),
            Request::Attach { ifindex, .. } => {
                self.post(10 * MS, Event::Attached { ifindex, mode: ReceiveMode::Xdp });
            }
            Request::CountTransmits { ifindex, name } => {
                let nic = self.nics.get_mut(&name).unwrap();
                nic.frames += u64::from(nic.wire == Wire::Congested);
                let frames = nic.frames;
                self.post(took, Event::Transmits { ifindex, frames });
            }
            Request::Prepare { .. } | Request::Announce { .. } | Request::RemoveUnconfigured => {}
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

fn scramble(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}
