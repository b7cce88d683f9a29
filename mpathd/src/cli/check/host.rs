//! Facts of this host: a netlink dump and a few files, all free for everyone to read.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;

use futures_util::TryStreamExt;
use mpathd_core::ids::{IfName, Ifindex};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, Prop};

use crate::host::deferral;

#[derive(Clone, Debug, Default)]
pub struct Host {
    pub links: Vec<Link>,
    /// net.ipv4.conf.all.arp_ignore and arp_filter.
    pub arp_ignore: u32,
    pub arp_filter: u32,
    /// Interfaces that systemd-networkd configures.
    pub networkd: BTreeSet<u32>,
    /// Interfaces whose received frames are handled by kernel threads (NAPI).
    pub threaded: BTreeSet<u32>,
    /// The kernel may leave received frames to ksoftirqd (before Linux 6.5).
    pub softirqs_wait: bool,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub name: String,
    pub altnames: Vec<String>,
    pub up: bool,
    pub carrier: bool,
    pub ethernet: bool,
    pub point_to_point: bool,
    /// Of a bond, bridge, team or VRF that it is a port of.
    pub master: Option<u32>,
    /// The device it stands on or is tied to, with the id of that one's network namespace.
    pub lower: Option<(u32, Option<i32>)>,
    pub mac: Vec<u8>,
}

impl Host {
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name || link.altnames.iter().any(|n| n == name))
    }

    pub fn name_of(&self, ifindex: u32) -> String {
        let link = self.links.iter().find(|link| link.ifindex == ifindex);
        link.map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
    }
}

/// The values of `all` that have a say on every interface, and nothing else.
pub fn arp() -> Host {
    let all = |name| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/all/{name}"));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    Host { arp_ignore: all("arp_ignore"), arp_filter: all("arp_filter"), ..Host::default() }
}

/// What cannot be read is told in `unknown`.
pub fn read() -> Host {
    let mut host = arp();
    if let Err(error) = dump(&mut host) {
        host.unknown.push(format!("cannot read this host's interfaces: {error}"));
    }
    let threaded = |link: &&Link| {
        let name = IfName::new(&link.name);
        name.is_some_and(|name| {
            matches!(deferral::threaded(Ifindex(link.ifindex), name), Ok(Some(true)))
        })
    };
    host.threaded = host.links.iter().filter(threaded).map(|link| link.ifindex).collect();
    host.softirqs_wait = deferral::softirqs_wait();
    host.networkd = host.links.iter().map(|link| link.ifindex).filter(by_networkd).collect();
    host
}

fn dump(host: &mut Host) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let mut links = std::pin::pin!(handle.link().get().execute());
        while let Some(message) = links.try_next().await? {
            host.links.push(link(&message));
        }
        connection.abort();
        Ok(())
    })
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        ifindex: message.header.index,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        point_to_point: flags.contains(LinkFlags::Pointopoint),
        ..Link::default()
    };
    let (mut lower, mut namespace) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Link(ifindex) if *ifindex != 0 => lower = Some(*ifindex),
            LinkAttribute::LinkNetNsId(id) => namespace = Some(*id),
            LinkAttribute::Address(mac) => link.mac.clone_from(mac),
            LinkAttribute::PropList(list) => {
                link.altnames = list.iter().filter_map(altname).collect();
            }
            _ => {}
        }
    }
    link.lower = lower.map(|ifindex| (ifindex, namespace));
    link
}

fn altname(property: &Prop) -> Option<String> {
    match property {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
}

/// systemd-networkd keeps a file for each link, with ADMIN_STATE=unmanaged for what it leaves alone.
fn by_networkd(ifindex: &u32) -> bool {
    fs::read_to_string(format!("/run/systemd/netif/links/{ifindex}"))
        .is_ok_and(|state| !networkd_leaves_alone(&state))
}

fn networkd_leaves_alone(state: &str) -> bool {
    let value = |line: &str| line.strip_prefix("ADMIN_STATE=").map(str::to_owned);
    state.lines().find_map(value).is_none_or(|state| state == "unmanaged")
}

/// Colon separated.
pub(super) fn mac_text(mac: &[u8]) -> impl Display {
    let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_loopback() {
        let host = read();
        assert_eq!(host.unknown, Vec::<String>::new());
        let lo = host.link("lo").expect("every network namespace has one");
        assert!(!lo.ethernet && lo.master.is_none());
        assert_eq!(host.name_of(lo.ifindex), "lo");
    }

    #[test]
    fn what_networkd_leaves_alone() {
        assert!(networkd_leaves_alone("# private\nADMIN_STATE=unmanaged\n"));
        assert!(!networkd_leaves_alone("ADMIN_STATE=configured\nOPER_STATE=routable\n"));
        assert!(networkd_leaves_alone(""));
    }
}
