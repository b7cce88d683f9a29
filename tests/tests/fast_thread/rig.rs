//! The fast thread in the lab's host, with this test in the place of the host and slow threads.

use std::io::Error;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::{Xdp, xdp::XdpMode};
use mpathd::fast::slots::{MapFds, SlotMap};
use mpathd::fast::{Setup, spawn};
use mpathd::host::counters::{CounterFds, Counters};
use mpathd::messages::{Bypass, Channel, Queues, ToFast, ToHost, ToSlow};
use mpathd::shared::Shared;
use mpathd_common::abi::{Outcome, maps, programs};
use mpathd_core::event::{Event, Link, ReceiveMode};
use mpathd_core::ids::{IfName, Ifindex, MemberId, PathId};
use mpathd_core::request::PathKey;
use mpathd_tests::observe::link;
use mpathd_tests::{Lab, NetNs, object, wait_for};

use crate::script::{Control, Script};

pub const LIMIT: Duration = Duration::from_secs(10);

/// Which NIC is probed, and how.
#[derive(Clone, Copy)]
pub struct Plan {
    pub nic: &'static str,
    pub mode: ReceiveMode,
    pub stamped: bool,
    pub priority: u8,
}

impl Plan {
    pub fn new(mode: ReceiveMode) -> Self {
        Self { nic: "eth0", mode, stamped: false, priority: 0 }
    }
}

pub struct Rig {
    pub control: Arc<Control>,
    pub slots: SlotMap,
    pub paths: Vec<(PathId, PathKey)>,
    pub queues: Queues,
    pub seen: Vec<Event>,
    pub told: Vec<ToSlow>,
    host: NetNs,
    nics: Vec<&'static str>,
    thread: Option<JoinHandle<()>>,
    program: Option<Ebpf>,
    counters: Option<Counters>,
}

impl Rig {
    /// What became of the replies to a path, whoever took them.
    pub fn count(&self, path: PathId, outcome: Outcome) -> u64 {
        let kernel = self.counters.as_ref().map_or(0, |counters| {
            counters.outcomes(path.0.into()).expect("counters")[outcome as usize]
        });
        kernel + self.slots.count(path, outcome)
    }

    /// Probes both families of the lab's targets from `plan.nic`. eth1 has sockets too, but no path.
    pub fn start(lab: &Lab, plan: Plan) -> Self {
        let host = lab.host().clone();
        host.sysctl("ipv4/conf/all/arp_ignore", "1");
        host.expect("ip", &["address", "add", "192.0.2.11/24", "dev", plan.nic]);
        host.expect("ip", &["address", "add", "2001:db8::11/64", "dev", plan.nic, "nodad"]);
        let ifindex = Ifindex(link(&host, plan.nic).ifindex);
        let paths: Vec<_> = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
            .into_iter()
            .zip(3..)
            .map(|(target, path)| (PathId(path), key(plan.nic, ifindex, target)))
            .collect();
        let (slots, program, counters) = match plan.mode {
            ReceiveMode::Socket => (SlotMap::plain().expect("memory"), None, None),
            _ => {
                let (slots, program, counters) = attached(&host, &[plan.nic, "eth1"]);
                (slots, Some(program), Some(counters))
            }
        };
        let control = Control::new();
        let queues = Queues::new().expect("eventfds");
        let nics: Vec<&'static str> =
            if plan.nic == "eth1" { vec!["eth1"] } else { vec![plan.nic, "eth1"] };
        let setup = Setup {
            brain: Script::new(Arc::clone(&control), paths.clone()),
            names: nics.iter().map(|nic| IfName::new(nic).expect("a name")).collect(),
            queues: queues.clone(),
            shared: Arc::new(Shared::new().expect("an eventfd")),
            priority: plan.priority,
        };
        let thread = host.run(|| spawn(setup)).expect("the fast thread starts");
        let rig = Self {
            control,
            slots: slots.clone(),
            paths,
            queues,
            seen: Vec::new(),
            told: Vec::new(),
            host,
            nics,
            thread: Some(thread),
            program,
            counters,
        };
        rig.say(ToFast::Slots(slots));
        for nic in &rig.nics {
            rig.say(ToFast::Channel(rig.channel(nic, plan)));
        }
        rig.control.probing.store(true, Ordering::Relaxed);
        rig
    }

    pub fn say(&self, message: ToFast) {
        assert!(self.queues.fast.push(message).is_ok(), "the queue is full");
    }

    fn channel(&self, nic: &'static str, plan: Plan) -> Channel {
        let found = link(&self.host, nic);
        let open = || {
            let send = packet_socket(0, found.ifindex);
            set(&send, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1);
            if plan.stamped {
                let flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
                set(&send, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags as i32);
            }
            let receive = packet_socket(libc::ETH_P_ALL as u16, found.ifindex);
            set(&receive, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
            (send, receive)
        };
        let (send, receive) = self.host.run(open);
        Channel {
            lower: [0; mpathd_common::abi::LOWER],
            router: false,
            receivers: Vec::new(),
            ifindex: Ifindex(found.ifindex),
            name: IfName::new(nic).expect("a name"),
            mode: plan.mode,
            mac: mac(&found.address.expect("an Ethernet device")),
            send,
            receive,
            behind: Vec::new(),
            bypass: Bypass::default(),
            stamped: plan.stamped,
            consume: true,
        }
    }

    /// Takes what the thread has said since; answers it as the host thread does.
    pub fn look(&mut self) -> &[Event] {
        while let Some(request) = self.queues.host.pop() {
            if matches!(request, ToHost::DumpLinks) {
                let links: Vec<_> = self.nics.iter().map(|nic| dumped(&self.host, nic)).collect();
                links.into_iter().for_each(|it| self.say(ToFast::Event(Event::Link(it))));
                self.say(ToFast::LinksDumped);
            }
        }
        while let Some(message) = self.queues.slow.pop() {
            self.told.push(message);
        }
        while let Some(event) = self.control.journal.pop() {
            self.seen.push(event);
        }
        &self.seen
    }

    /// Waits until `enough` of what was told satisfies.
    #[track_caller]
    pub fn wait(&mut self, what: &str, enough: impl Fn(&[Event]) -> bool) {
        wait_for(what, LIMIT, || {
            let seen = self.look();
            if enough(seen) {
                Ok(())
            } else {
                Err(seen.iter().rev().take(5).copied().collect::<Vec<_>>())
            }
        });
    }

    /// Waits until every path has been answered so often from now on.
    #[track_caller]
    pub fn wait_for_replies(&mut self, count: usize) {
        self.look();
        let begin = self.seen.len();
        let paths: Vec<_> = self.paths.iter().map(|(path, _)| *path).collect();
        self.wait("replies on every path", |seen| {
            paths.iter().all(|path| replies(&seen[begin..], *path) >= count)
        });
    }

    pub fn stop(mut self) {
        self.say(ToFast::Stop);
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("it ends without panic");
        self.look();
        assert!(matches!(self.told.last(), Some(ToSlow::Stopped("fast"))));
        drop(self.program.take());
    }
}

pub fn replies(events: &[Event], of: PathId) -> usize {
    events.iter().filter(|e| matches!(e, Event::Reply { path, .. } if *path == of)).count()
}

fn key(nic: &str, ifindex: Ifindex, target: &str) -> PathKey {
    let target: IpAddr = target.parse().expect("an address");
    let test = if target.is_ipv4() { "192.0.2.11" } else { "2001:db8::11" };
    PathKey {
        member: MemberId(0),
        name: IfName::new(nic).expect("a name"),
        ifindex,
        test: test.parse().expect("an address"),
        target,
    }
}

/// Loads the kernel program and attaches it natively.
fn attached(host: &NetNs, nics: &[&str]) -> (SlotMap, Ebpf, Counters) {
    let bytes = object::read().expect("the kernel object");
    let mut program = Ebpf::load(&bytes).expect("the object loads");
    host.run(|| {
        let xdp: &mut Xdp = program.program_mut(programs::XDP).unwrap().try_into().unwrap();
        xdp.load().expect("the verifier agrees");
        for nic in nics {
            xdp.attach(nic, XdpMode::Driver).expect("veth takes XDP");
        }
    });
    let array = |name| match program.map(name) {
        Some(Map::Array(map) | Map::PerCpuArray(map)) => map.fd().as_fd(),
        _ => panic!("no array {name}"),
    };
    let slots = SlotMap::from_fds(&MapFds {
        slots: array(maps::SLOTS),
        tx: array(maps::TX),
        rx: array(maps::RX),
    });
    let counters = Counters::new(&CounterFds {
        outcomes: array(maps::OUTCOMES),
        rtt: array(maps::RTT),
        skips: array(maps::SKIPS),
    });
    (slots.expect("the maps can be mapped"), program, counters.expect("per-CPU maps"))
}

fn dumped(host: &NetNs, nic: &str) -> Link {
    let found = link(host, nic);
    let flag = |name: &str| found.flags.iter().any(|flag| flag == name);
    Link {
        name: IfName::new(nic).expect("a name"),
        ifindex: Ifindex(found.ifindex),
        up: flag("UP"),
        running: flag("UP") && flag("LOWER_UP"),
        reported: found.operstate != "UNKNOWN",
        carrier_changes: 0,
        mac: mac(found.address.as_deref().expect("an Ethernet device")),
        unfit: None,
    }
}

pub fn mac(text: &str) -> [u8; 6] {
    let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hex"));
    std::array::from_fn(|_| bytes.next().expect("six bytes"))
}

/// A non-blocking AF_PACKET socket in the namespace of the calling thread.
pub fn packet_socket(protocol: u16, ifindex: u32) -> OwnedFd {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    assert!(fd >= 0, "AF_PACKET: {}", Error::last_os_error());
    // SAFETY: the kernel has just given it to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex as i32;
    let length = size_of_val(&address) as u32;
    // SAFETY: a valid address and its length.
    let bound = unsafe { libc::bind(fd, (&raw const address).cast(), length) };
    assert_eq!(bound, 0, "bind: {}", Error::last_os_error());
    socket
}

fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) {
    let length = size_of_val(&value) as u32;
    let value = (&raw const value).cast();
    // SAFETY: a valid int and its length.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) };
    assert_eq!(done, 0, "option {option}: {}", Error::last_os_error());
}
