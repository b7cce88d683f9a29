//! What a netlink message says, in words of our own: links, addresses, routes, next-hop objects.
//! Links and next-hop objects are read attribute by attribute: of the first only a few of some
//! seventy matter and a new one must not lose the notice, the second packet-route does not know.

use std::net::IpAddr;

use mpathd_core::event::{Link, RouteKey};
use mpathd_core::ids::{Ifindex, IpNet};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteProtocol,
    RouteType, RouteVia,
};

use super::netlink::{Message, RTM_NEWADDR, RTM_NEWROUTE, attributes};
use super::{LABEL, PROTOCOL};
use crate::fast::link_message::{self, Change};

/// An address that the kernel has made for a link (include/uapi/linux/if_addr.h, since 5.18).
const IFAPROT_KERNEL_LL: u8 = 2;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELADDR: u16 = 21;
const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;

/// One message of the kernel about the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Link(LinkFact),
    LinkGone(Ifindex),
    Address(AddressFact),
    AddressGone(AddressFact),
    Route(RouteFact),
    RouteGone(RouteFact),
    Nexthop(NexthopFact),
    NexthopGone(u32),
}

impl Fact {
    /// `Ok(None)`: of no interest. `Err`: it does not decode.
    pub(super) fn read(message: &Message) -> Result<Option<Self>, Undecoded> {
        let body = message.body;
        Ok(match message.kind {
            RTM_NEWLINK => link(message)?.map(Self::Link),
            // Of AF_BRIDGE: a port has left its bridge, the device stays.
            RTM_DELLINK if body.first() == Some(&0) => {
                body.get(4..).and_then(u32_of).map(|index| Self::LinkGone(Ifindex(index)))
            }
            RTM_NEWNEXTHOP => Some(Self::Nexthop(nexthop(body)?)),
            RTM_DELNEXTHOP => Some(Self::NexthopGone(nexthop(body)?.id)),
            RTM_NEWADDR | RTM_DELADDR | RTM_NEWROUTE | RTM_DELROUTE => {
                match message.decode().map_err(|_| Undecoded)? {
                    RouteNetlinkMessage::NewAddress(m) => address(&m).map(Self::Address),
                    RouteNetlinkMessage::DelAddress(m) => address(&m).map(Self::AddressGone),
                    RouteNetlinkMessage::NewRoute(m) => route(&m).map(Self::Route),
                    RouteNetlinkMessage::DelRoute(m) => route(&m).map(Self::RouteGone),
                    _ => None,
                }
            }
            _ => None,
        })
    }
}

/// A message whose form is not understood: as good as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecoded;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkFact {
    pub(super) link: Link,
    /// IFF_* as the kernel tells them. Carrier (IFF_LOWER_UP) goes first, what follows from it
    /// (IFF_RUNNING, and the state of routes) up to a second later.
    pub(super) flags: u32,
    /// Frames pass through another device's queue: VLAN, macvlan, bond ... (N1).
    pub(super) lower: bool,
    /// The one device below, where there is one in this network namespace.
    pub(super) below: Option<Ifindex>,
    /// Programs in the XDP slot.
    pub(super) xdp: XdpSlot,
    /// Frames transmitted; 0 in notices of kernels that leave the statistics out.
    pub(super) transmitted: u64,
}

impl LinkFact {
    pub(super) fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK.cast_unsigned() != 0
    }
}

/// Ids of the XDP programs on a device, 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct XdpSlot {
    /// The one that is attached; with several, the native one.
    pub(super) program: u32,
    pub(super) native: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressFact {
    pub(super) ifindex: Ifindex,
    /// With the kernel's prefix length.
    pub(super) address: IpNet,
    pub(super) protocol: u8,
    /// The IPv4 label ends in ours.
    pub(super) labelled: bool,
    pub(super) link_scope: bool,
    pub(super) tentative: bool,
    /// Duplicate detection has failed; `tentative` is set too.
    pub(super) refused: bool,
    /// The kernel has made it out of the interface's MAC or its secret (RFC 4291, RFC 7217), or says so.
    pub(super) by_kernel: bool,
    pub(super) noprefixroute: bool,
    /// Its preferred lifetime is over, or was none (IPv6).
    pub(super) deprecated: bool,
    /// It has a lifetime: DHCP, SLAAC.
    pub(super) finite: bool,
}

impl AddressFact {
    pub(super) fn ours(&self) -> bool {
        self.protocol == PROTOCOL || self.labelled
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteFact {
    pub(super) key: RouteKey,
    pub(super) protocol: u8,
    pub(super) src: Option<IpAddr>,
    /// Next-hop object or group.
    pub(super) nexthop: Option<u32>,
    /// Those that the route names itself.
    pub(super) hops: Vec<Hop>,
    pub(super) unicast: bool,
    /// It has a lifetime: learnt from a router advertisement.
    pub(super) finite: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) ifindex: Ifindex,
    pub(super) via: Option<IpAddr>,
    /// Neither dead nor linkdown.
    pub(super) alive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NexthopFact {
    pub(super) id: u32,
    pub(super) protocol: u8,
    pub(super) kind: NexthopKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NexthopKind {
    Hop(Hop),
    Group(Vec<u32>),
    /// Blackhole, FDB entry.
    Other,
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// What the fast thread reads out of the same message, and what only attaching and sending need.
fn link(message: &Message) -> Result<Option<LinkFact>, Undecoded> {
    const HEADER: usize = 16;
    let mut told = None;
    let whole = link_message::parse(message.whole, |change| told = Some(change));
    let link = match told {
        Some(Change::Is(link)) => link,
        Some(Change::Gone(_)) | None if whole => return Ok(None),
        Some(Change::Gone(_)) | None => return Err(Undecoded),
    };
    let parts = LinkParts::read(message.body.get(HEADER..).unwrap_or_default());
    Ok(Some(LinkFact {
        link,
        flags: message.body.get(8..).and_then(u32_of).unwrap_or(0),
        lower: parts.lower(link.ifindex),
        below: parts.link.filter(|_| parts.lower(link.ifindex) && !parts.elsewhere),
        xdp: parts.xdp,
        transmitted: parts.transmitted,
    }))
}

#[derive(Default)]
struct LinkParts {
    link: Option<Ifindex>,
    /// `link` is an index of another network namespace.
    elsewhere: bool,
    kind: String,
    xdp: XdpSlot,
    transmitted: u64,
}

impl LinkParts {
    fn read(body: &[u8]) -> Self {
        let mut parts = Self::default();
        for (kind, value) in attributes(body) {
            match kind {
                libc::IFLA_LINK => parts.link = u32_of(value).map(Ifindex),
                libc::IFLA_LINK_NETNSID => parts.elsewhere = true,
                libc::IFLA_XDP => parts.xdp = xdp_slot(value),
                libc::IFLA_STATS64 => parts.transmitted = transmitted(value),
                libc::IFLA_LINKINFO => parts.kind = kind_of_link(value),
                _ => {}
            }
        }
        parts
    }

    /// IFLA_LINK names the lower device, but of a veth or netkit the peer; a bond's ports are
    /// below it and not named.
    fn lower(&self, own: Ifindex) -> bool {
        match self.kind.as_str() {
            "veth" | "netkit" => false,
            "bond" | "team" | "bridge" => true,
            _ => self.link.is_some_and(|link| link != own),
        }
    }
}

fn kind_of_link(info: &[u8]) -> String {
    const IFLA_INFO_KIND: u16 = 1;
    let kind = attributes(info).find(|(kind, _)| *kind == IFLA_INFO_KIND);
    let text = kind.and_then(|(_, value)| std::str::from_utf8(value).ok());
    text.unwrap_or_default().trim_end_matches('\0').to_owned()
}

/// `struct rtnl_link_stats64`: rx_packets, tx_packets, ...
fn transmitted(statistics: &[u8]) -> u64 {
    let packets = statistics.get(8..).and_then(|rest| rest.first_chunk());
    packets.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn xdp_slot(value: &[u8]) -> XdpSlot {
    const IFLA_XDP_PROG_ID: u16 = 4;
    const IFLA_XDP_DRV_PROG_ID: u16 = 5;
    const IFLA_XDP_SKB_PROG_ID: u16 = 6;
    let mut slot = XdpSlot::default();
    for (kind, value) in attributes(value) {
        let program = u32_of(value).unwrap_or(0);
        match kind {
            IFLA_XDP_DRV_PROG_ID if program != 0 => slot = XdpSlot { program, native: true },
            IFLA_XDP_SKB_PROG_ID | IFLA_XDP_PROG_ID if slot.program == 0 => slot.program = program,
            _ => {}
        }
    }
    slot
}

fn address(message: &AddressMessage) -> Option<AddressFact> {
    let (mut ip, mut local, mut protocol, mut labelled) = (None, None, 0, false);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => ip = Some(*address),
            // Of a point-to-point IPv4 address, and of every other: our own end.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Protocol(number) => protocol = u8::from(*number),
            AddressAttribute::Label(label) => {
                labelled = label.split_once(':').is_some_and(|(_, tail)| {
                    !tail.is_empty()
                        && LABEL.starts_with(tail)
                        && (tail == LABEL || label.len() == 15)
                });
            }
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let address = IpNet::new(local.or(ip)?, message.header.prefix_len)?;
    let link_local = matches!(address.address, IpAddr::V6(a) if a.is_unicast_link_local());
    Some(AddressFact {
        ifindex: Ifindex(message.header.index),
        address,
        protocol,
        labelled,
        link_scope: link_local || message.header.scope == AddressScope::Link,
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        refused: flags.contains(AddressFlags::Dadfailed),
        by_kernel: protocol == IFAPROT_KERNEL_LL || flags.contains(AddressFlags::StablePrivacy),
        noprefixroute: flags.contains(AddressFlags::Noprefixroute),
        deprecated: flags.contains(AddressFlags::Deprecated),
        finite: !flags.contains(AddressFlags::Permanent),
    })
}

/// `None` for cached routes, other families, and routes with a TOS, which no key of ours can name.
fn route(message: &RouteMessage) -> Option<RouteFact> {
    let header = &message.header;
    let any: IpAddr = match u8::from(header.address_family) {
        AF_INET => IpAddr::from([0; 4]),
        AF_INET6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    if header.flags.contains(RouteFlags::Cloned) || header.tos != 0 {
        return None;
    }
    let (mut to, mut table, mut metric) = (any, u32::from(header.table), 0);
    let (mut src, mut nexthop, mut oif, mut via) = (None, None, None, None);
    let (mut hops, mut expires) = (Vec::new(), false);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::CacheInfo(cache) => expires = cache.expires != 0,
            RouteAttribute::Destination(address) => to = ip_of(address)?,
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::PrefSource(address) => src = ip_of(address),
            RouteAttribute::NhId(id) => nexthop = Some(*id),
            RouteAttribute::Oif(index) => oif = Some(Ifindex(*index)),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => via = via_of(attribute),
            RouteAttribute::MultiPath(next) => {
                hops.extend(
                    next.iter().map(|hop| Hop {
                        ifindex: Ifindex(hop.interface_index),
                        via: hop.attributes.iter().find_map(via_of),
                        alive: !hop
                            .flags
                            .intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown),
                    }),
                )
            }
            _ => {}
        }
    }
    if let Some(ifindex) = oif {
        let alive = !header.flags.intersects(RouteFlags::Dead | RouteFlags::Linkdown);
        hops.push(Hop { ifindex, via, alive });
    }
    let to = IpNet::new(to, header.destination_prefix_length)?.network();
    Some(RouteFact {
        key: RouteKey { table, to, metric },
        protocol: u8::from(header.protocol),
        src,
        nexthop,
        hops,
        unicast: header.kind == RouteType::Unicast,
        finite: header.protocol == RouteProtocol::Ra || expires,
    })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

/// An IPv4 route may go by an IPv6 gateway (RTA_VIA, RFC 5549).
fn via_of(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip_of(address),
        RouteAttribute::Via(RouteVia::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Via(RouteVia::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

/// `struct nhmsg` (family, scope, protocol, reserved, flags), then attributes (linux/nexthop.h).
fn nexthop(body: &[u8]) -> Result<NexthopFact, Undecoded> {
    const HEADER: usize = 8;
    const NHA_ID: u16 = 1;
    const NHA_GROUP: u16 = 2;
    const NHA_OIF: u16 = 5;
    const NHA_GATEWAY: u16 = 6;
    /// `struct nexthop_grp`: id (u32), weight - 1 (u8), then reserved.
    const MEMBER: usize = 8;
    let header: &[u8; HEADER] = body.first_chunk().ok_or(Undecoded)?;
    let flags = u32_of(&header[4..]).ok_or(Undecoded)?;
    let (mut id, mut oif, mut via, mut group) = (None, None, None, None);
    for (kind, value) in attributes(&body[HEADER..]) {
        match kind {
            NHA_ID => id = u32_of(value),
            NHA_OIF => oif = u32_of(value).map(Ifindex),
            NHA_GATEWAY => via = gateway(value),
            NHA_GROUP => group = Some(value.chunks_exact(MEMBER).filter_map(u32_of).collect()),
            _ => {}
        }
    }
    let down = u32::from((RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown).bits());
    let kind = match (group, oif) {
        (Some(members), _) => NexthopKind::Group(members),
        (None, Some(ifindex)) => NexthopKind::Hop(Hop { ifindex, via, alive: flags & down == 0 }),
        (None, None) => NexthopKind::Other,
    };
    Ok(NexthopFact { id: id.ok_or(Undecoded)?, protocol: header[2], kind })
}

fn gateway(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|b| IpAddr::from(*b)),
        16 => value.first_chunk::<16>().map(|b| IpAddr::from(*b)),
        _ => None,
    }
}
