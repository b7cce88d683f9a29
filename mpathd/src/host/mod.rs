//! The host thread: every request to the kernel that may wait for RTNL, what is observed of addresses
//! and routes, sysctls, BPF attach, sockets, announcements. Carries out the engine's requests in
//! order and answers each; decides nothing. May block and allocate; may not touch the engine.

mod address;
mod announce;
mod attach;
mod bpf;
mod claims;
pub mod counters;
mod decoy;
pub(crate) mod deferral;
mod drift;
mod facts;
mod filter;
mod inbox;
mod mirror;
mod monitor;
mod moves;
pub(crate) mod napi;
mod netlink;
mod nexthop;
mod operations;
mod outbox;
pub mod pins;
pub mod release;
mod route;
pub mod rtnl;
mod search;
mod settings;
mod sockets;
mod swap;
mod sysctl;
pub mod taken;
pub mod takeover;
mod twins;
mod unconfigured;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::message::Severity;
use mpathd_core::time::Instant;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::descriptors::Reminder;
use crate::fast::{clock, priority};
use crate::messages::{Queues, ToFast, ToHost, ToSlow};
use inbox::{Inbox, Task};
use monitor::Monitor;
pub use netlink::Refused;
use netlink::Requests;
use outbox::{Fast, Slow};
pub use settings::Settings;

/// Marks what is ours: IFA_PROTO of addresses, protocol of routes and next hops.
pub const PROTOCOL: u8 = 109;
/// The end of the label of IPv4 addresses.
const LABEL: &str = "mpathd";
/// A full queue is offered what did not fit after this pause.
const RETRY: Duration = Duration::from_millis(1);

/// What the thread starts from.
pub struct Setup {
    pub queues: Queues,
    pub settings: Settings,
    /// SCHED_FIFO priority, 0 = ordinary.
    pub priority: u8,
    /// Directory for pins; must lie on a BPF file system.
    pub bpffs: PathBuf,
    /// The BPF object; empty = probing through sockets.
    pub object: &'static [u8],
    /// Bytes of notices that may wait unread; see [`Setup::NOTICES`].
    pub notices: usize,
}

impl Setup {
    /// Enough for some 10 000 changes while the thread hangs in RTNL.
    pub const NOTICES: usize = 4 << 20;
}

/// Starts the thread in the caller's network namespace. It ends at `ToHost::Stop`; addresses,
/// routes and hooks stay.
///
/// # Errors
/// Where no netlink socket or no thread is to be had.
pub fn spawn(setup: Setup) -> io::Result<JoinHandle<()>> {
    let Setup { queues, settings, priority, bpffs, object, notices } = setup;
    let requests = Requests::open()?;
    let monitor = Monitor::open(settings.clone(), notices)?;
    let mut sysctls = sysctl::Sysctls::default();
    sysctls.remember(&settings.sysctls);
    sysctls.keep_record(settings.record_dir.as_deref());
    let mut napi = napi::Napi::default();
    napi.remember(&settings.threaded);
    let mut host = Host {
        settings,
        priority,
        requests,
        monitor,
        sysctls,
        twins: twins::Twins::new(),
        claims: claims::Claims::default(),
        drift: drift::Drift::default(),
        v6_unknown: BTreeMap::new(),
        reminder: Reminder::default(),
        announcer: announce::Announcer::default(),
        hooks: attach::Hooks::new(object, bpffs),
        searcher: search::Searcher::new()?,
        deferral: deferral::Deferral::default(),
        napi,
        fast: Fast::new(queues.fast.clone()),
        slow: Slow::new(queues.slow.clone()),
        inbox: Inbox::new(queues.host),
    };
    std::thread::Builder::new().name("mpathd-host".to_owned()).spawn(move || {
        let outcome = priority::apply(priority);
        if outcome.is_short() {
            host.slow.log(Severity::Warning, format!("host thread: {outcome}"));
        }
        host.run();
        host.slow.push(ToSlow::Stopped("host"));
        host.slow.flush();
    })
}

struct Host {
    inbox: Inbox,
    settings: Settings,
    /// SCHED_FIFO, 0 = ordinary.
    priority: u8,
    requests: Requests,
    monitor: Monitor,
    sysctls: sysctl::Sysctls,
    twins: twins::Twins,
    claims: claims::Claims,
    drift: drift::Drift,
    /// Interfaces of which it could not be read whether they take IPv6 addresses: tried again.
    v6_unknown: BTreeMap<Ifindex, IfName>,
    reminder: Reminder,
    announcer: announce::Announcer,
    hooks: attach::Hooks,
    searcher: search::Searcher,
    deferral: deferral::Deferral,
    napi: napi::Napi,
    fast: Fast,
    slow: Slow,
}

impl Host {
    fn run(&mut self) {
        // Before the first request: what stands already is not to be made again. Links first, for
        // an address on an unknown interface means nothing to the engine.
        self.tell_links();
        self.survey();
        loop {
            self.observe();
            // What waited for a notice waits for nothing else.
            self.announcer.run(clock::now(), &self.monitor.mirror, &mut self.slow);
            if !self.serve() {
                return;
            }
            self.ask_for_twins();
            if self.monitor.due() <= clock::now() {
                self.survey();
            }
            self.watch_hooks();
            self.wait();
        }
    }

    /// Takes in what the kernel has said, and passes on what changed by it.
    fn observe(&mut self) {
        self.monitor.drain();
        self.pass_on();
        let Self { searcher, claims, monitor, fast, .. } = self;
        searcher.receive(&monitor.mirror, |found| fast.push(ToFast::Event(found)));
        claims.receive(&monitor.mirror);
        self.restore_marks();
    }

    fn pass_on(&mut self) {
        for event in self.monitor.mirror.take_events() {
            self.fast.push(ToFast::Event(event));
        }
        for gone in self.monitor.mirror.take_gone() {
            self.announcer.forget(gone.ifindex);
            // Without the hook a veth has no NAPI to be set back.
            self.napi.gone(gone.name, gone.renamed, &mut self.slow);
            self.hooks.detach(gone.ifindex);
            self.searcher.forget(gone.ifindex);
            self.claims.forget(gone.ifindex);
            self.deferral.forget(gone.ifindex);
            self.v6_unknown.remove(&gone.ifindex);
            if let Some(renamed) = gone.renamed {
                self.sysctls.give_back(gone.name, renamed, &mut self.slow);
            }
            self.sysctls.left(gone.name, &mut self.slow);
        }
    }

    /// Carries out what is in the queue; `false` at the end.
    fn serve(&mut self) -> bool {
        self.inbox.clear_wake();
        while let Some(task) = self.inbox.next() {
            match task {
                Task::Addresses(ops) => self.operate(&ops, Self::set_addresses),
                Task::Routes(ops) => self.operate(&ops, Self::set_routes),
                Task::Single(op) => self.operate(&[op], Self::one_by_one),
                Task::Rest(message) => {
                    self.announcer.tell_peers(&self.monitor.mirror, &mut self.slow);
                    if !self.serve_rest(message) {
                        return false;
                    }
                }
            }
            self.fast.flush();
        }
        self.announcer.tell_peers(&self.monitor.mirror, &mut self.slow);
        self.fast.flush();
        true
    }

    fn serve_rest(&mut self, message: ToHost) -> bool {
        match message {
            ToHost::Op(op) => self.operate(&[op], Self::one_by_one),
            ToHost::Close(channel) => drop(channel),
            ToHost::DumpLinks => self.answer_dump(),
            ToHost::Settings { settings, priority } => self.configure(*settings, priority),
            ToHost::Stop => return false,
        }
        true
    }

    /// Another configuration: what is known is told anew, and surveyed next.
    fn configure(&mut self, settings: Settings, priority: u8) {
        self.sysctls.remember(&settings.sysctls);
        self.napi.remember(&settings.threaded);
        self.napi.try_again();
        self.settings = settings;
        self.hooks.try_all_again();
        let members = self.monitor.mirror.links_of(&self.settings.interfaces);
        for member in members.cloned().collect::<Vec<_>>() {
            let consumes = self.settings.consuming.contains(&member.link.name);
            self.hooks.consume_as(member.link.ifindex, consumes);
            self.redirect_egress(&member);
        }
        self.monitor.set_settings(self.settings.clone());
        self.pass_on();
        if self.priority != priority {
            self.priority = priority;
            let outcome = priority::apply(priority);
            self.slow.push(ToSlow::Scheduled { thread: "host", outcome });
        }
    }

    fn survey(&mut self) {
        let dumped = self.monitor.survey(&mut self.requests);
        self.compare_receivers();
        self.pass_on();
        self.sysctls.give_back_renamed(&self.monitor.mirror, &mut self.slow);
        match dumped {
            // Which next hops are unused is only known where all routes are.
            Err(refused) => self
                .slow
                .log(Severity::Error, format!("reading the kernel's tables failed: {refused}")),
            Ok(()) => {
                if let Err(refused) = nexthop::sweep(&mut self.requests, &self.monitor.mirror) {
                    self.slow.log(
                        Severity::Warning,
                        format!("removing unused next hops failed: {refused}"),
                    );
                }
            }
        }
        self.compare_sysctls();
        self.read_v6_again();
        self.searcher.close_idle(clock::now());
    }

    fn wait(&mut self) {
        let others =
            [self.announcer.due(), self.twins.due(), self.claims.due(), self.hooks.look_due()];
        let mut until = others.into_iter().flatten().fold(self.monitor.due(), Instant::min);
        if !(self.fast.flush() & self.slow.flush()) {
            until = until.min(clock::now() + RETRY);
        }
        let pause = TimeSpec::from_duration(until.since(clock::now()));
        let sources = [self.inbox.as_fd(), self.monitor.as_fd()];
        let sources = sources.into_iter().chain(self.searcher.fds()).chain(self.claims.fds());
        let mut fds: Vec<_> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match ppoll(&mut fds, Some(pause), None) {
            // A signal is for the slow thread; whatever woke us, all sources are looked at.
            Ok(_) | Err(_) => {}
        }
    }
}
