//! Where the pairs of BFD daemons meet: two namespaces for each pair and a bridge of their own between them, so
//! that a frame takes as many steps as it does between mpathd and its targets.

use std::collections::BTreeMap;

use crate::clock::{self, Nanos};
use crate::netns::{NetNs, batch};
use crate::valve::{Closed, Valves};

pub(super) const ENDS: [&str; 2] = ["a", "b"];
/// Of the ends of each pair; no two pairs share a network.
pub(super) const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

#[derive(Debug)]
pub(super) struct Wire {
    switch: NetNs,
    valves: Valves,
    ports: BTreeMap<String, u32>,
    /// The two ends of each pair.
    ends: Vec<[NetNs; 2]>,
}

impl Wire {
    pub(super) fn build(pairs: usize) -> Self {
        batch("ip", "netns add switch\n");
        let switch = NetNs::open("switch");
        let ends = (0..pairs).map(|pair| cable(&switch, pair)).collect();
        let names: Vec<String> =
            (0..pairs).flat_map(|pair| ENDS.map(|end| port(pair, end))).collect();
        let valves = Valves::install(&switch, &names).expect("classifiers can be loaded");
        let ports = switch.run(|| {
            let devices = nix::net::if_::if_nameindex().expect("devices can be listed");
            devices
                .iter()
                .map(|it| (it.name().to_string_lossy().into_owned(), it.index()))
                .collect()
        });
        Self { ports, switch, valves, ends }
    }

    pub(super) fn end(&self, pair: usize, end: usize) -> &NetNs {
        &self.ends[pair][end]
    }

    /// Cuts the path silently, both ways, carrier up. The moment just before.
    pub(super) fn cut(&self, pair: usize) -> Nanos {
        let port = self.ports[&port(pair, ENDS[0])];
        let at = clock::now();
        self.valves.close(port, Closed::Both);
        at
    }

    pub(super) fn mend(&self, pair: usize) {
        self.valves.open(self.ports[&port(pair, ENDS[0])]);
    }

    /// Frames that both ends have sent so far.
    pub(super) fn sent(&self, pair: usize) -> u64 {
        ENDS.iter().map(|end| received(&self.switch, &port(pair, end))).sum()
    }
}

fn port(pair: usize, end: &str) -> String {
    format!("{end}{pair}")
}

fn cable(switch: &NetNs, pair: usize) -> [NetNs; 2] {
    let bridge = format!("br{pair}");
    // Snooping would have the switch send frames of its own.
    switch.ip(&format!("link add {bridge} type bridge stp_state 0 mcast_snooping 0\n"));
    let plug = |(end, address): (&str, &str)| {
        let (name, port) = (format!("bfd{pair}{end}"), port(pair, end));
        batch("ip", &format!("netns add {name}\n"));
        switch.ip(&format!("link add {port} type veth peer name eth0 netns {name}\n"));
        switch.ip(&format!("link set {port} master {bridge} up\n"));
        let namespace = NetNs::open(&name);
        namespace
            .ip(&format!("link set lo up\nlink set eth0 up\naddress add {address}/24 dev eth0\n"));
        namespace
    };
    let ends = [(ENDS[0], ADDRESSES[0]), (ENDS[1], ADDRESSES[1])].map(plug);
    switch.ip(&format!("link set {bridge} up\n"));
    ends
}

/// Frames that this port of a switch has received from the device behind it. No program is started for that: it
/// would not get to run while real-time hogs do.
pub(super) fn received(switch: &NetNs, port: &str) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/dev");
    let told = switch.run(read).expect("/proc is mounted");
    // `  sw0: BYTES PACKETS ...`
    let line =
        told.lines().find_map(|line| line.trim_start().strip_prefix(port)?.strip_prefix(':'));
    let packets = line.and_then(|it| it.split_whitespace().nth(1)?.parse().ok());
    packets.unwrap_or_else(|| panic!("no packets of {port} in {told}"))
}
