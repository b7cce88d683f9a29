//! The subnets that a group is on: looked up by address, however many there are.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use mpathd_core::config::TestAddress;
use mpathd_core::ids::{Family, IpNet};

use super::Group;

/// More than these are not named in an error.
const SHOWN: usize = 8;

#[derive(Default)]
pub(super) struct Subnets {
    /// Each once, in their order.
    nets: Vec<IpNet>,
    known: BTreeSet<IpNet>,
    /// Prefix lengths that occur, by family.
    lengths: [BTreeSet<u8>; 2],
}

impl Subnets {
    /// Where targets may be. Of "link-local", fe80::/64 (RFC 4291 2.5.6) and the data subnets, whose
    /// hosts are on the same link.
    pub(super) fn of_tests(group: &Group) -> Self {
        let link_local = IpNet { address: IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 0]), len: 64 };
        let mut subnets = Self::default();
        let mut has_link_local = false;
        for test in group.interfaces.iter().flat_map(|interface| &interface.test) {
            match test.value {
                TestAddress::Static(net) => subnets.add(net),
                TestAddress::LinkLocal if has_link_local => {}
                TestAddress::LinkLocal => {
                    has_link_local = true;
                    subnets.add(link_local);
                    let data = group.data.iter().map(|data| data.value);
                    let data = data.filter(|net| net.family() == Family::Inet6);
                    data.for_each(|net| subnets.add(net));
                }
            }
        }
        subnets
    }

    /// Where gateways may be.
    pub(super) fn of_gateways(group: &Group) -> Self {
        let mut subnets = Self::default();
        group.data.iter().for_each(|data| subnets.add(data.value));
        Self::of_tests(group).nets.into_iter().for_each(|net| subnets.add(net));
        subnets
    }

    fn add(&mut self, net: IpNet) {
        let net = net.network();
        self.lengths[net.family() as usize].insert(net.len);
        if self.known.insert(net) {
            self.nets.push(net);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }

    /// The subnet of which it is the network or the broadcast address, and which of both. Of two addresses both
    /// are hosts (RFC 3021), and IPv6 has neither.
    pub(super) fn bound(&self, address: IpAddr) -> Option<(&'static str, IpNet)> {
        let IpAddr::V4(v4) = address else { return None };
        let lengths = self.lengths[Family::Inet as usize].iter().filter(|len| **len < 31);
        let nets = lengths.map(|len| IpNet { address, len: *len }.network());
        nets.filter(|net| self.known.contains(net)).find_map(|net| {
            let hosts = u32::MAX >> net.len;
            match v4.to_bits() & hosts {
                0 => Some(("network address", net)),
                bits if bits == hosts => Some(("broadcast address", net)),
                _ => None,
            }
        })
    }

    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let mut lengths = self.lengths[Family::of(address) as usize].iter();
        lengths.any(|len| self.known.contains(&IpNet { address, len: *len }.network()))
    }
}

impl fmt::Display for Subnets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(self.nets.iter().copied()))
    }
}

/// The first of them, and how many more there are.
pub(super) fn list(nets: impl Iterator<Item = IpNet>) -> String {
    let mut nets = nets.peekable();
    let mut texts: Vec<String> = nets.by_ref().take(SHOWN).map(|net| net.to_string()).collect();
    let rest = nets.count();
    if rest > 0 {
        texts.push(format!("and {rest} more"));
    }
    if texts.is_empty() { "there is none".into() } else { texts.join(", ") }
}
