//! What the kernel has, as `ip -j` tells it.

use std::net::IpAddr;

use serde::Deserialize;

use crate::netns::NetNs;

/// An address on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub ifname: String,
    pub info: AddressInfo,
}

/// The words of `ip -j address`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AddressInfo {
    pub local: IpAddr,
    pub prefixlen: u8,
    pub broadcast: Option<IpAddr>,
    pub scope: String,
    pub label: Option<String>,
    #[serde(default)]
    pub deprecated: bool,
    #[serde(default)]
    pub tentative: bool,
    #[serde(default)]
    pub nodad: bool,
    #[serde(default)]
    pub noprefixroute: bool,
    #[serde(default)]
    pub secondary: bool,
    #[serde(default)]
    pub dynamic: bool,
    pub metric: Option<u32>,
    /// Seconds; 2^32 - 1 is for ever.
    pub preferred_life_time: u32,
    pub valid_life_time: u32,
}

#[derive(Deserialize)]
struct Device {
    // `ip` prints empty objects for what a filter leaves out.
    ifname: Option<String>,
    #[serde(default)]
    addr_info: Vec<AddressInfo>,
}

/// All addresses of the namespace but loopback's and IPv6 link-local ones.
pub fn addrs(namespace: &NetNs) -> Vec<Address> {
    all_addrs(namespace)
        .into_iter()
        .filter(|it| it.ifname != "lo" && !is_link_local(it.info.local))
        .collect()
}

/// All addresses of the namespace.
pub fn all_addrs(namespace: &NetNs) -> Vec<Address> {
    let devices: Vec<Device> = ip(namespace, &["address", "show"]);
    devices
        .into_iter()
        .filter_map(|device| Some((device.ifname?, device.addr_info)))
        .flat_map(|(ifname, infos)| {
            infos.into_iter().map(move |info| Address { ifname: ifname.clone(), info })
        })
        .collect()
}

/// The devices that have this address, in the kernel's order.
///
/// # Panics
/// If it is no address.
pub fn holders(namespace: &NetNs, address: &str) -> Vec<String> {
    let address: IpAddr = address.parse().expect("an IP address");
    let all = all_addrs(namespace).into_iter();
    all.filter(|it| it.info.local == address).map(|it| it.ifname).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(it) if it.is_unicast_link_local())
}

/// A route, in the words of `ip -j route`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Route {
    /// `default` or a prefix.
    pub dst: String,
    pub gateway: Option<IpAddr>,
    pub dev: Option<String>,
    pub protocol: String,
    pub scope: Option<String>,
    pub prefsrc: Option<IpAddr>,
    pub metric: Option<u32>,
    #[serde(default)]
    pub flags: Vec<String>,
    #[serde(default)]
    pub nexthops: Vec<NextHop>,
    pub nhid: Option<u32>,
    /// Seconds, of an IPv6 route with a lifetime.
    pub expires: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NextHop {
    pub gateway: Option<IpAddr>,
    pub dev: String,
    pub weight: u32,
    #[serde(default)]
    pub flags: Vec<String>,
}

/// The IPv4 main table.
pub fn routes_v4(namespace: &NetNs) -> Vec<Route> {
    ip(namespace, &["-N", "-4", "route", "show"])
}

/// The IPv6 main table.
pub fn routes_v6(namespace: &NetNs) -> Vec<Route> {
    ip(namespace, &["-N", "-6", "route", "show"])
}

/// A neighbour entry, in the words of `ip -j neigh`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Neighbour {
    pub dst: IpAddr,
    pub dev: String,
    pub lladdr: Option<String>,
    #[serde(default)]
    pub state: Vec<String>,
}

pub fn neighbours(namespace: &NetNs) -> Vec<Neighbour> {
    ip(namespace, &["neigh", "show"])
}

/// The MAC address that the namespace has for this neighbour.
///
/// # Panics
/// If it is no address.
pub fn neighbour_mac(namespace: &NetNs, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().expect("an IP address");
    neighbours(namespace).into_iter().find(|it| it.dst == address)?.lladdr
}

/// A device, in the words of `ip -j link`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Link {
    pub ifname: String,
    pub ifindex: u32,
    pub flags: Vec<String>,
    pub operstate: String,
    pub address: Option<String>,
    pub xdp: Option<Xdp>,
}

/// The XDP program of a device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Xdp {
    /// 1 native, 2 generic.
    pub mode: u8,
    pub prog: XdpProgram,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct XdpProgram {
    pub id: u32,
}

impl Link {
    pub fn has_carrier(&self) -> bool {
        self.flags.iter().any(|flag| flag == "LOWER_UP")
    }
}

/// # Panics
/// If there is no such device.
pub fn link(namespace: &NetNs, name: &str) -> Link {
    let mut links: Vec<Link> = ip(namespace, &["link", "show", "dev", name]);
    links.pop().expect("`ip` fails where there is none")
}

fn ip<T: for<'a> Deserialize<'a>>(namespace: &NetNs, arguments: &[&str]) -> Vec<T> {
    let text = namespace.expect("ip", &[&["-j", "-d"], arguments].concat());
    // Old iproute2 prints nothing at all for an empty list.
    let text = if text.trim().is_empty() { "[]" } else { &text };
    serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("`ip -j {}`: {error}\n{text}", arguments.join(" ")))
}
