//! What a turn of the engine costs, and how that grows: `cargo run --release --example turns`.
//!
//! Groups of NICs in virtual time whose targets answer after 200 us; the clock of this thread
//! counts only what is spent in the engine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::config::{Config, Datapath, Group, MAX_TARGETS, Member, Route, TestAddress};
use mpathd_core::engine::Engine;
use mpathd_core::event::{Address, Done, Event, Fate, Link, ObservedRoute, ReceiveMode};
use mpathd_core::ids::{IfName, Ifindex, PathId, Seq};
use mpathd_core::request::{Action, Op, Request, Role};
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

const RTT: Duration = Duration::from_micros(200);
const RING: usize = 32;

fn main() {
    println!(
        "| NICs | NICs a group | instances | FDT | addresses, routes a group | turns/s | probes/s | ns a turn \
         | ns a probe | dearest turn, us |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (nics, size, fdt, routes) in [
        (2, 2, 100, 0),
        (8, 4, 100, 0),
        (32, 4, 100, 0),
        (64, 4, 100, 0),
        (128, 4, 100, 0),
        (128, 32, 100, 0),
        (64, 4, 1000, 0),
        (8, 4, 10, 0),
        (2, 2, 10, 1000),
    ] {
        Bench::new(nics, size, routes, Duration::from_millis(fdt)).run();
    }
}

struct Bench {
    engine: Engine,
    nics: usize,
    size: usize,
    routes: usize,
    fdt: Duration,
    now: Instant,
    /// When each probe left, by path and number.
    sent: Vec<[Instant; RING]>,
    events: BTreeMap<(Instant, u64), Event>,
    pending: Vec<(PathId, Seq)>,
    serial: u64,
    spent: Duration,
    /// Of the dearest turn.
    most: Duration,
    turns: u64,
    probes: u64,
    /// First NIC whose probes are lost.
    cut: Option<Ifindex>,
}

impl Bench {
    fn new(nics: usize, size: usize, routes: usize, fdt: Duration) -> Self {
        let groups = (0..nics / size).map(|g| group(g, size, routes, fdt)).collect();
        let engine = Engine::new(Config { groups }, Saved::default(), 0x9e37_79b9_7f4a_7c15);
        let sent = vec![[Instant(0); RING]; nics * 2 * MAX_TARGETS];
        let mut bench = Self {
            engine,
            nics,
            size,
            routes,
            fdt,
            now: Instant(1_000_000_000_000),
            sent,
            events: BTreeMap::new(),
            pending: Vec::with_capacity(nics * 2 * MAX_TARGETS * RING),
            serial: 0,
            spent: Duration::ZERO,
            most: Duration::ZERO,
            turns: 0,
            probes: 0,
            cut: None,
        };
        (0..nics).for_each(|i| bench.post(Event::Link(link(i))));
        bench.post(Event::Surveyed);
        bench
    }

    fn run(mut self) {
        self.pass(self.fdt * 30 + Duration::from_secs(10));
        let span = Duration::from_secs(1).max(self.fdt);
        self.measure("", span);
        self.cut = Some(Ifindex(1));
        self.measure(", while one fails", self.fdt * 3);
        self.measure(", one failed", span);
    }

    fn measure(&mut self, what: &str, span: Duration) {
        (self.spent, self.most, self.turns, self.probes) = (Duration::ZERO, Duration::ZERO, 0, 0);
        self.pass(span);
        let ns = self.spent.as_nanos() as f64;
        let (nics, size, fdt, routes) = (self.nics, self.size, self.fdt, self.routes);
        let addresses = addresses(size, routes);
        let rate = |n: u64| n as f64 / span.as_secs_f64();
        println!(
            "| {nics}{what} | {size} | {} | {fdt:?} | {addresses}, {routes} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            2 * nics,
            rate(self.turns),
            rate(self.probes),
            ns / self.turns as f64,
            ns / self.probes as f64,
            self.most.as_secs_f64() * 1e6
        );
    }

    fn post(&mut self, event: Event) {
        self.serial += 1;
        self.events.insert((self.now, self.serial), event);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let Some(next) = event.into_iter().chain(self.engine.poll_timeout()).min() else {
                return;
            };
            if next > end {
                return self.now = end;
            }
            self.now = self.now.max(next);
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.turns += 1;
        let before = self.spent;
        self.whole_turn();
        self.most = self.most.max(self.spent - before);
    }

    fn whole_turn(&mut self) {
        while let Some(first) = self.events.first_entry().filter(|e| e.key().0 <= self.now) {
            let event = first.remove();
            self.tell(event);
        }
        self.hear();
        for _ in 0..4 {
            let begin = cpu();
            self.engine.handle_timeout(self.now);
            self.spent += cpu() - begin;
            if !self.carry_out() {
                return;
            }
        }
    }

    fn tell(&mut self, event: Event) {
        let begin = cpu();
        self.engine.handle(self.now, event);
        self.spent += cpu() - begin;
    }

    /// As the slots are read: probes whose reply is waited for.
    fn hear(&mut self) {
        let begin = cpu();
        self.pending.clear();
        let Self { engine, pending, now, .. } = self;
        engine.await_replies(*now, |path, seq| pending.push((path, seq)));
        self.spent += cpu() - begin;
        let (now, sent) = (self.now, &self.sent);
        let replies: Vec<Event> = self
            .pending
            .iter()
            .map(|&(path, seq)| (path, seq, sent[usize::from(path.0)][usize::from(seq.0) % RING]))
            .filter(|(_, _, sent)| sent.0 > 0 && *sent + RTT <= now)
            .map(|(path, seq, sent)| Event::Reply { path, seq, at: sent + RTT })
            .collect();
        let begin = cpu();
        replies.into_iter().for_each(|reply| self.engine.handle(now, reply));
        self.spent += cpu() - begin;
    }

    fn carry_out(&mut self) -> bool {
        let mut told = false;
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Round(round) => {
                    told = true;
                    self.probes += round.probes().len() as u64;
                    let at = self.now;
                    let lost = self.cut == Some(round.ifindex);
                    for probe in round.probes() {
                        self.sent[usize::from(probe.path.0)][usize::from(probe.seq.0) % RING] =
                            if lost { Instant(0) } else { at };
                    }
                    let begin = cpu();
                    for probe in round.probes() {
                        let (path, seq) = (probe.path, probe.seq);
                        self.engine.handle(at, Event::Sent { path, seq, at, fate: Fate::Left });
                    }
                    self.spent += cpu() - begin;
                }
                Action::Request(op) => self.request(op),
                Action::Path { .. }
                | Action::Redirect(_)
                | Action::Herald(_)
                | Action::Notice(_) => {}
            }
        }
        told
    }

    /// Whatever is asked for is done.
    fn request(&mut self, op: Op) {
        match op.request {
            Request::SetAddress { ifindex, address, role, .. } => {
                let link_scope = role == Role::Test;
                let seen = Address {
                    ifindex,
                    address,
                    ours: true,
                    tentative: false,
                    link_scope,
                    stale_form: false,
                    refused: false,
                    by_kernel: false,
                };
                self.post(Event::Address(seen));
            }
            Request::UnsetAddress { ifindex, address, .. } => {
                self.post(Event::AddressGone { ifindex, address: address.address });
            }
            Request::SetRoute(w) => {
                let (key, via, src, hops) = (w.key, w.via, Some(w.src), w.hops);
                self.post(Event::Route(ObservedRoute { key, via, src, hops, ours: true }));
            }
            Request::Attach { ifindex, .. } => {
                self.post(Event::Attached { ifindex, mode: ReceiveMode::Xdp });
            }
            _ => {}
        }
        let (waited, ran) = (Duration::ZERO, Duration::ZERO);
        self.post(Event::Done(Done { op: op.id, result: Ok(()), waited, ran }));
    }
}

fn name(i: usize) -> IfName {
    format!("eth{i}").parse().expect("a name")
}

fn link(i: usize) -> Link {
    let mac = [2, 0, 0, 0, (i >> 8) as u8, i as u8];
    let (name, ifindex) = (name(i), Ifindex(1 + i as u32));
    Link {
        name,
        ifindex,
        up: true,
        running: true,
        reported: true,
        carrier_changes: 1,
        mac,
        unfit: None,
    }
}

/// Of a group: two a NIC, or a hundred where there are many routes too.
fn addresses(size: usize, routes: usize) -> usize {
    if routes > 0 { 100 } else { 2 * size }
}

/// Group `g` lives in 10.0.g.0/24 and fd00:g::/64.
fn group(g: usize, size: usize, routes: usize, fdt: Duration) -> Group {
    let targets = (1..=MAX_TARGETS)
        .flat_map(|t| [format!("10.0.{g}.{t}"), format!("fd00:{g:x}::{t}")])
        .map(|t| t.parse::<IpAddr>().expect("an address"));
    let member = |i: usize| {
        let test = |text: String| Some(TestAddress::Static(text.parse().expect("an address")));
        let test =
            [test(format!("10.0.{g}.{}/24", 11 + i)), test(format!("fd00:{g:x}::{}/64", 11 + i))];
        let name = name(g * size + i);
        Member { name, standby: false, test, datapath: Datapath::Auto, consume_replies: true }
    };
    let data = (0..addresses(size, routes)).map(|k| format!("10.0.{g}.{}/24", 100 + k));
    let route = |n: usize| Route {
        to: format!("10.{}.{}.0/24", 1 + n / 256, n % 256).parse().expect("a prefix"),
        via: format!("10.0.{g}.1").parse().expect("an address"),
        metric: 5,
        table: 254,
        src: None,
    };
    Group {
        name: format!("g{g}").parse().expect("a name"),
        fdt,
        failback: true,
        quiet_period: Duration::from_secs(40),
        data: data.map(|net| net.parse().expect("an address")).collect(),
        targets: targets.collect(),
        routes: (0..routes).map(route).collect(),
        members: (0..size).map(member).collect(),
    }
}

/// What this thread has had of a CPU.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}
