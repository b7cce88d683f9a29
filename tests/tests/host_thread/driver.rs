//! Stands where the engine would: makes requests and reads what the host thread says.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use mpathd::host::{Settings, Setup, spawn};
use mpathd::messages::{Channel, Queues, ToFast, ToHost, ToSlow};
use mpathd_core::event::{Done, Errno, Event, Hops, RouteKey};
use mpathd_core::ids::{IfName, Ifindex, IpNet};
use mpathd_core::request::{Op, OpId, Peers, Request, Role, WantedRoute};
use mpathd_core::time::Instant;
use mpathd_tests::{NetNs, clock, wait_for};

pub const LIMIT: Duration = Duration::from_secs(5);
pub const DATA: &str = "192.0.2.50/24";
pub const DATA6: &str = "2001:db8::50/64";

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn key(to: &str) -> RouteKey {
    RouteKey { table: 254, to: net(to), metric: 5 }
}

/// The running thread, and all it has said that no test has asked for yet.
pub struct Host {
    namespace: NetNs,
    queues: Queues,
    thread: Option<JoinHandle<()>>,
    ops: u32,
    pub events: VecDeque<Event>,
    pub channels: Vec<Channel>,
    pub slots: usize,
    pub links_dumped: usize,
    pub slow: Vec<ToSlow>,
}

/// The group of the lab: eth0 and eth1, one data address per family.
pub fn settings() -> Settings {
    Settings {
        interfaces: ["eth0", "eth1"].iter().filter_map(|name| IfName::new(name)).collect(),
        addresses: [DATA, DATA6].iter().map(|text| net(text).address).collect(),
        routes: ["192.0.2.0/24", "2001:db8::/64", "0.0.0.0/0", "::/0"].map(key).into(),
        target_subnets: ["eth0", "eth1"]
            .iter()
            .filter_map(|name| IfName::new(name))
            .map(|name| (name, ["192.0.2.0/24", "2001:db8::/64"].map(net).into()))
            .collect(),
        roles: [DATA, DATA6].map(|text| (net(text).address, (net(text), Role::Data))).into(),
        ..Settings::default()
    }
}

/// How a test wants it.
pub struct Options {
    pub settings: Settings,
    pub object: Vec<u8>,
    pub bpffs: PathBuf,
    pub notices: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: settings(),
            object: Vec::new(),
            bpffs: PathBuf::from("/sys/fs/bpf/mpathd"),
            notices: Setup::NOTICES,
        }
    }
}

impl Host {
    /// Runs in the namespace, and has surveyed it.
    pub fn start(namespace: &NetNs) -> Self {
        Self::with(namespace, Options::default())
    }

    pub fn with(namespace: &NetNs, options: Options) -> Self {
        let queues = Queues::new().expect("an eventfd");
        let setup = Setup {
            queues: queues.clone(),
            settings: options.settings,
            priority: 50,
            bpffs: options.bpffs,
            object: options.object.leak(),
            notices: options.notices,
        };
        let thread = namespace.run(|| spawn(setup)).expect("the thread starts");
        let mut host = Self {
            namespace: namespace.clone(),
            queues,
            thread: Some(thread),
            ops: 0,
            events: VecDeque::new(),
            channels: Vec::new(),
            slots: 0,
            links_dumped: 0,
            slow: Vec::new(),
        };
        let surveyed = host.position("survey", |event| *event == Event::Surveyed);
        host.events.remove(surveyed);
        host
    }

    pub fn ifindex(&self, name: &str) -> Ifindex {
        let index = self.namespace.run(|| nix::net::if_::if_nametoindex(name));
        Ifindex(index.expect("the device is there"))
    }

    /// Takes in what the thread has said.
    pub fn listen(&mut self) {
        while let Some(message) = self.queues.fast.pop() {
            match message {
                ToFast::Event(event) => self.events.push_back(event),
                ToFast::Channel(channel) => self.channels.push(channel),
                ToFast::Slots(_) => self.slots += 1,
                ToFast::LinksDumped => self.links_dumped += 1,
                ToFast::Redirects(_) | ToFast::Heir(_) | ToFast::Stop => {}
            }
        }
        while let Some(message) = self.queues.slow.pop() {
            self.slow.push(message);
        }
    }

    fn position(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> usize {
        wait_for(what, LIMIT, || {
            self.listen();
            self.events.iter().position(&fits).ok_or_else(|| self.events.clone())
        })
    }

    /// Waits for an event, and forgets it and all before it.
    #[track_caller]
    pub fn expect(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let at = self.position(what, fits);
        self.events.drain(..=at).next_back().expect("it was found")
    }

    /// Forgets what has been said so far.
    pub fn forget(&mut self) {
        self.listen();
        self.events.clear();
    }

    pub fn send(&self, message: ToHost) {
        assert!(self.queues.host.push(message).is_ok(), "the queue is not full");
    }

    /// Keeps the thread so busy that it reads no notice while `work` is done: dumps of links read none, and the
    /// next ones always wait already. What was said before is forgotten.
    pub fn deaf_while(&mut self, work: impl FnOnce() + Send) {
        const AHEAD: usize = 3000;
        let before = self.links_dumped;
        let mut asked = before + AHEAD;
        self.ask_for_links(AHEAD);
        wait_for("the first dump", LIMIT, || {
            self.listen();
            if self.links_dumped > before { Ok(()) } else { Err(()) }
        });
        self.forget();
        std::thread::scope(|scope| {
            let working = scope.spawn(work);
            while !working.is_finished() {
                self.listen();
                let more = (self.links_dumped + AHEAD).saturating_sub(asked);
                self.ask_for_links(more);
                asked += more;
                clock::pass(Duration::from_millis(1));
            }
        });
    }

    /// It is woken once: it would run before us, and be done before the next one is asked for.
    fn ask_for_links(&self, times: usize) {
        for _ in 0..times {
            assert!(self.queues.host.put(ToHost::DumpLinks).is_ok(), "the queue is not full");
        }
        self.queues.host.wake();
    }

    /// Makes a request without waiting for its answer.
    pub fn begin(&mut self, request: Request) -> OpId {
        self.ops += 1;
        let id = OpId(self.ops);
        self.send(ToHost::Op(Op { id, decided: Instant(clock::now()), request }));
        id
    }

    /// Makes requests as the engine does in one turn; all are to succeed.
    #[track_caller]
    pub fn must_all(&mut self, requests: &[Request]) {
        let mut ids = Vec::new();
        for request in requests {
            self.ops += 1;
            let op = Op { id: OpId(self.ops), decided: Instant(clock::now()), request: *request };
            ids.push(op.id);
            assert!(self.queues.host.put(ToHost::Op(op)).is_ok(), "the queue is not full");
        }
        self.queues.host.wake();
        for (id, request) in ids.into_iter().zip(requests) {
            let is_it = |event: &Event| matches!(event, Event::Done(done) if done.op == id);
            let at = self.position("answer", is_it);
            let Some(Event::Done(done)) = self.events.remove(at) else { unreachable!("found") };
            assert_eq!(done.result, Ok(()), "{request:?}: {:#?}", self.texts());
        }
    }

    /// Makes a request; its answer. Observations that came before it are kept.
    pub fn ask(&mut self, request: Request) -> Done {
        let id = self.begin(request);
        let at =
            self.position("answer", |event| matches!(event, Event::Done(done) if done.op == id));
        match self.events.remove(at) {
            Some(Event::Done(done)) => done,
            other => unreachable!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn must(&mut self, request: Request) {
        let done = self.ask(request);
        assert_eq!(done.result, Ok(()), "{request:?}: {:#?}", self.texts());
    }

    #[track_caller]
    pub fn refuses(&mut self, request: Request, errno: i32) {
        assert_eq!(self.ask(request).result, Err(Errno(errno)), "{request:?}");
    }

    pub fn texts(&mut self) -> Vec<String> {
        self.listen();
        let text = |message: &ToSlow| match message {
            ToSlow::Log { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.slow.iter().filter_map(text).collect()
    }

    /// What is told takes another way than the answer to a request, and may come after it.
    pub fn wait_text(&mut self, fits: impl Fn(&str) -> bool) {
        wait_for("something told", LIMIT, || {
            let texts = self.texts();
            if texts.iter().any(|text| fits(text)) { Ok(()) } else { Err(texts) }
        });
    }

    pub fn set(&self, name: &str, address: &str, role: Role, announce: Option<&[&str]>) -> Request {
        Request::SetAddress {
            ifindex: self.ifindex(name),
            name: IfName::new(name).expect("a name"),
            address: net(address),
            role,
            announce: announce.map(peers),
        }
    }

    pub fn unset(&self, name: &str, address: &str) -> Request {
        Request::UnsetAddress {
            ifindex: self.ifindex(name),
            name: IfName::new(name).expect("a name"),
            address: net(address),
        }
    }

    pub fn route(&self, to: &str, via: Option<&str>, src: &str, hops: &[&str]) -> Request {
        Request::SetRoute(WantedRoute {
            key: key(to),
            via: via.map(ip),
            src: ip(src),
            hops: self.hops(hops),
        })
    }

    pub fn hops(&self, names: &[&str]) -> Hops {
        names.iter().map(|name| self.ifindex(name)).collect()
    }

    /// Ends the thread as a stop of the daemon does.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.send(ToHost::Stop);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

pub fn peers(list: &[&str]) -> Peers {
    let mut peers = Peers::default();
    list.iter().for_each(|peer| peers.push(ip(peer)));
    peers
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}
