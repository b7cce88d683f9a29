//! The network that everything is tried in:
//!
//! ```text
//!   host                    lan                         t1 192.0.2.1, router --- far 198.51.100.2
//!    eth0 ---------- sw0 |        | p1 ---------- eth0
//!    eth1 ---------- sw1 |  br0   | p2 ---------- eth0  t2 192.0.2.2
//!    ...                 | switch | p3 ---------- eth0  t3 192.0.2.3
//!                        |        | pc ---------- eth0  client 192.0.2.100
//! ```
//! IPv6 likewise: 2001:db8::N, client ::100, far 2001:db8:1::2. The host's NICs are up and bare: addresses
//! and routes are the daemon's to set. Targets answer by their real kernels.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::isolate;
use crate::netns::{NetNs, batch};
use crate::observe::link;
use crate::ping::ping;
use crate::valve::{Closed, Valves};
use crate::wait_for;

pub const CLIENT_V4: &str = "192.0.2.100";
pub const CLIENT_V6: &str = "2001:db8::100";
pub const FAR_V4: &str = "198.51.100.2";
pub const FAR_V6: &str = "2001:db8:1::2";

/// What every namespace starts from, whatever the machine's own defaults are.
const SYSCTLS: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/arp_ignore", "0"),
    ("ipv4/conf/default/arp_ignore", "0"),
    ("ipv4/conf/all/arp_announce", "0"),
    ("ipv4/conf/default/arp_announce", "0"),
    ("ipv4/conf/all/arp_filter", "0"),
    // Neighbours follow an unasked-for announcement only for entries they have: the default everywhere.
    ("ipv4/conf/all/arp_accept", "0"),
    ("ipv4/conf/default/promote_secondaries", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/ping_group_range", "0 0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/addr_gen_mode", "0"),
    ("ipv6/conf/default/keep_addr_on_down", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// Above the daemon's, for some microseconds: real-time hogs may be as high as that.
const CUT_PRIORITY: libc::c_int = 60;
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A lab; its namespaces end with the isolated process.
#[derive(Debug)]
pub struct Lab {
    host: NetNs,
    lan: NetNs,
    targets: Vec<NetNs>,
    client: NetNs,
    far: Option<NetNs>,
    nics: usize,
    valves: Valves,
    links: LinkSwitch,
}

/// What the lab shall have.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    nics: usize,
    targets: usize,
    far: bool,
}

impl Builder {
    /// NICs of the host: eth0, eth1, ... By default two.
    #[must_use]
    pub fn nics(mut self, count: usize) -> Self {
        self.nics = count;
        self
    }

    /// Targets 192.0.2.1, .2, ... (at most 99). By default three.
    #[must_use]
    pub fn targets(mut self, count: usize) -> Self {
        self.targets = count;
        self
    }

    /// Makes target 1 a router with a network behind it.
    #[must_use]
    pub fn far(mut self) -> Self {
        self.far = true;
        self
    }

    /// # Panics
    /// Outside of `isolated`, and where the kernel lacks veth, bridge or cls_bpf.
    pub fn build(self) -> Lab {
        assert!(isolate::is_inside(), "a lab is made within `isolated` or after `relaunched`");
        let names: Vec<String> = ["host", "lan", "client"]
            .map(str::to_owned)
            .into_iter()
            .chain((1..=self.targets).map(|n| format!("t{n}")))
            .chain(self.far.then(|| "far".to_owned()))
            .collect();
        batch("ip", &names.iter().map(|name| format!("netns add {name}\n")).collect::<String>());
        for name in &names {
            let namespace = NetNs::open(name);
            namespace.ip("link set lo up\n");
            SYSCTLS.iter().for_each(|(key, value)| namespace.sysctl(key, value));
        }
        let ports = self.cable();
        let lan = NetNs::open("lan");
        let valves = Valves::install(&lan, &ports).expect("classifiers can be loaded");
        let links = LinkSwitch::open(&lan);
        let lab = Lab {
            host: NetNs::open("host"),
            client: NetNs::open("client"),
            targets: (1..=self.targets).map(|n| NetNs::open(&format!("t{n}"))).collect(),
            far: self.far.then(|| NetNs::open("far")),
            nics: self.nics,
            lan,
            valves,
            links,
        };
        lab.wait_until_it_forwards();
        lab
    }

    /// Links and addresses; the names of the switch's ports.
    fn cable(self) -> Vec<String> {
        let mut links = String::new();
        let mut ports = Vec::new();
        let mut plug = |namespace: &str, device: &str, port: String, mac: String| {
            links += &format!(
                "link add {device} netns {namespace} address {mac} type veth peer name {port} netns lan\n"
            );
            ports.push(port);
        };
        for n in 0..self.nics {
            plug("host", &format!("eth{n}"), format!("sw{n}"), nic_mac(n));
        }
        for n in 1..=self.targets {
            plug(&format!("t{n}"), "eth0", format!("p{n}"), format!("02:00:00:00:01:{n:02x}"));
        }
        plug("client", "eth0", "pc".to_owned(), "02:00:00:00:02:00".to_owned());
        if self.far {
            links += "link add eth0 netns far type veth peer name far0 netns t1\n";
        }
        batch("ip", &links);

        // Snooping would hold back neighbour discovery until it has heard listeners.
        let mut switch = "link add br0 type bridge stp_state 0 mcast_snooping 0\n".to_owned();
        ports.iter().for_each(|port| switch += &format!("link set {port} master br0 up\n"));
        NetNs::open("lan").ip(&(switch + "link set br0 up\n"));

        let host: String = (0..self.nics).map(|n| format!("link set eth{n} up\n")).collect();
        NetNs::open("host").ip(&host);
        for n in 1..=self.targets {
            station(
                &format!("t{n}"),
                "eth0",
                &[&format!("192.0.2.{n}/24"), &format!("2001:db8::{n}/64")],
            );
        }
        station("client", "eth0", &["192.0.2.100/24", "2001:db8::100/64"]);
        if self.far {
            self.route();
        }
        ports
    }

    fn route(self) {
        let router = NetNs::open("t1");
        station("t1", "far0", &["198.51.100.1/24", "2001:db8:1::1/64"]);
        router.sysctl("ipv4/ip_forward", "1");
        router.sysctl("ipv6/conf/all/forwarding", "1");
        station("far", "eth0", &["198.51.100.2/24", "2001:db8:1::2/64"]);
        NetNs::open("far")
            .ip("route add default via 198.51.100.1\nroute add default via 2001:db8:1::1\n");
        NetNs::open("client").ip(
            "route add 198.51.100.0/24 via 192.0.2.1\nroute add 2001:db8:1::/64 via 2001:db8::1\n",
        );
    }
}

fn station(namespace: &str, device: &str, addresses: &[&str]) {
    let mut lines = format!("link set {device} up\n");
    for address in addresses {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        lines += &format!("address add {address} dev {device}{nodad}\n");
    }
    NetNs::open(namespace).ip(&lines);
}

/// The MAC address of the host's NIC.
pub fn nic_mac(nic: usize) -> String {
    format!("02:00:00:00:00:{nic:02x}")
}

impl Lab {
    /// Two NICs, three targets, nothing far.
    pub fn builder() -> Builder {
        Builder { nics: 2, targets: 3, far: false }
    }

    pub fn host(&self) -> &NetNs {
        &self.host
    }

    /// The switch: captures on `sw0`, `p1`, ... see what is on the wire.
    pub fn lan(&self) -> &NetNs {
        &self.lan
    }

    /// # Panics
    /// If there is no such target. They count from 1, as their addresses do.
    pub fn target(&self, n: usize) -> &NetNs {
        &self.targets[n - 1]
    }

    pub fn client(&self) -> &NetNs {
        &self.client
    }

    /// # Panics
    /// If it was not asked for.
    pub fn far(&self) -> &NetNs {
        self.far.as_ref().expect("built with `.far()`")
    }

    pub fn nics(&self) -> usize {
        self.nics
    }

    /// Cuts the path behind the NIC silently, both ways, carrier up. The moment just before; the cut stands a
    /// few microseconds later.
    pub fn cut(&self, nic: usize) -> Nanos {
        self.cut_way(nic, Closed::Both)
    }

    /// As `cut`, at that moment; nobody comes between the moment that is told and the cut.
    pub fn cut_at(&self, nic: usize, at: Nanos) -> Nanos {
        let cut = || {
            clock::run_at(CUT_PRIORITY);
            clock::sleep_until(at);
            self.cut(nic)
        };
        std::thread::scope(|scope| scope.spawn(cut).join()).expect("it does not panic")
    }

    /// As `cut`, one way only.
    pub fn cut_way(&self, nic: usize, closed: Closed) -> Nanos {
        self.close(&format!("sw{nic}"), closed)
    }

    /// Undoes `cut`. The moment just before.
    pub fn mend(&self, nic: usize) -> Nanos {
        self.open(&format!("sw{nic}"))
    }

    /// Silences the target on all paths. The moment just before.
    pub fn kill_target(&self, n: usize) -> Nanos {
        self.close(&format!("p{n}"), Closed::Both)
    }

    /// Undoes `kill_target`. The moment just before.
    pub fn revive_target(&self, n: usize) -> Nanos {
        self.open(&format!("p{n}"))
    }

    /// Takes the NIC's carrier away, or gives it back, by the switch's end of the cable. The moment just before
    /// the request; the kernel may have to wait for RTNL.
    pub fn carrier(&self, nic: usize, up: bool) -> Nanos {
        let port = self.port(&format!("sw{nic}"));
        let at = clock::now();
        self.links.set(port, up);
        at
    }

    fn close(&self, port: &str, closed: Closed) -> Nanos {
        let port = self.port(port);
        let at = clock::now();
        self.valves.close(port, closed);
        at
    }

    fn open(&self, port: &str) -> Nanos {
        let port = self.port(port);
        let at = clock::now();
        self.valves.open(port);
        at
    }

    fn port(&self, name: &str) -> u32 {
        self.links
            .ports
            .iter()
            .find(|port| port.name == name)
            .expect("a port of the switch")
            .ifindex
    }

    /// A port forwards, and a NIC is told as running, only when the kernel's link watch has got to it: up to a
    /// second after its carrier.
    fn wait_until_it_forwards(&self) {
        for n in 1..=self.targets.len() {
            for address in [format!("192.0.2.{n}"), format!("2001:db8::{n}")] {
                self.wait_for_answer(&self.client, &address);
            }
        }
        for nic in 0..self.nics {
            wait_for(&format!("forwarding to eth{nic}"), READY_LIMIT, || {
                let port = self.lan.expect("bridge", &["link", "show", "dev", &format!("sw{nic}")]);
                let nic = link(&self.host, &format!("eth{nic}")).operstate;
                let ready = port.contains("state forwarding") && nic == "UP";
                if ready { Ok(()) } else { Err((port, nic)) }
            });
        }
        if self.far.is_some() {
            self.wait_for_answer(&self.client, FAR_V4);
            self.wait_for_answer(&self.client, FAR_V6);
        }
    }

    fn wait_for_answer(&self, from: &NetNs, address: &str) {
        let ip: IpAddr = address.parse().expect("the lab's own address");
        wait_for(&format!("answer of {address}"), READY_LIMIT, || {
            if ping(from, None, ip, Duration::from_millis(100)) { Ok(()) } else { Err("silent") }
        });
    }
}

/// Sets ports of the switch up and down, by a netlink socket opened beforehand.
#[derive(Debug)]
struct LinkSwitch {
    socket: netlink_sys::Socket,
    ports: Vec<Port>,
}

#[derive(Debug)]
struct Port {
    name: String,
    ifindex: u32,
}

impl LinkSwitch {
    fn open(switch: &NetNs) -> Self {
        switch.run(|| {
            let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)
                .expect("a netlink socket can be opened");
            socket.bind_auto().expect("it can be bound");
            let ports = nix::net::if_::if_nameindex().expect("devices can be listed");
            let port = |it: &nix::net::if_::Interface| Port {
                name: it.name().to_string_lossy().into_owned(),
                ifindex: it.index(),
            };
            Self { socket, ports: ports.iter().map(port).collect() }
        })
    }

    fn set(&self, ifindex: u32, up: bool) {
        use netlink_packet_core::{
            NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
        };
        use netlink_packet_route::RouteNetlinkMessage;
        use netlink_packet_route::link::{LinkFlags, LinkMessage};

        let mut link = LinkMessage::default();
        link.header.index = ifindex;
        link.header.change_mask = LinkFlags::Up;
        link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut message =
            NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::SetLink(link)));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).expect("the kernel takes the request");
        let (answer, _) = self.socket.recv_from_full().expect("the kernel answers");
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
        match answer.expect("the answer can be read").payload {
            NetlinkPayload::Error(error) if error.code.is_none() => {}
            other => {
                panic!("cannot set port {ifindex} {}: {other:?}", if up { "up" } else { "down" })
            }
        }
    }
}
