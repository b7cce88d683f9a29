//! What a netlink message says, in words of our own: links, addresses, routes, next-hop objects.
//! Links and next-hop objects are read attribute by attribute: of the first only a few of some
//! seventy matter and a new one must not lose the notice, the second packet-route does not know.

use std::net::IpAddr;

use mpathd_core::event::{Gateway, Link, RouteKey, Unfit};
use mpathd_core::ids::{IfName, Ifindex, IpNet};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteType, RouteVia,
};

use super::netlink::{Message, attributes};
use super::{LABEL, PROTOCOL};

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;
pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
pub(super) const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
pub(super) const RTM_NEWROUTE: u16 = 24;
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
            RTM_NEWLINK => link(body)?.map(Self::Link),
            // Of AF_BRIDGE: a port has left its bridge, the device stays.
            RTM_DELLINK if body.first() == Some(&0) => ifindex_at(body, 4).map(Self::LinkGone),
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
    /// Frames pass through another device's queue: VLAN, macvlan, bond ... (N1).
    pub(super) lower: bool,
    /// Programs in the XDP slot.
    pub(super) xdp: XdpSlot,
    /// Frames transmitted; 0 in notices of kernels that leave the statistics out.
    pub(super) transmitted: u64,
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
    pub(super) noprefixroute: bool,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) ifindex: Ifindex,
    pub(super) via: Option<IpAddr>,
    /// Neither dead nor linkdown.
    pub(super) alive: bool,
}

impl Hop {
    pub(super) fn gateway(&self) -> Option<Gateway> {
        Some(Gateway { address: self.via?, ifindex: self.ifindex })
    }
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

fn ifindex_at(body: &[u8], at: usize) -> Option<Ifindex> {
    u32_of(body.get(at..)?).map(Ifindex)
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn name_of(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(|text| text.trim_end_matches('\0'))
}

fn link(body: &[u8]) -> Result<Option<LinkFact>, Undecoded> {
    const HEADER: usize = 16;
    const ARPHRD_ETHER: u16 = 1;
    let header: &[u8; HEADER] = body.first_chunk().ok_or(Undecoded)?;
    // AF_BRIDGE and others tell what only they know of the device.
    if header[0] != 0 {
        return Ok(None);
    }
    let hardware = u16::from_ne_bytes([header[2], header[3]]);
    let flags = u32_of(&header[8..]).ok_or(Undecoded)?;
    let has = |flag: libc::c_int| flags & flag.unsigned_abs() != 0;
    let parts = LinkParts::read(&body[HEADER..]);
    let odd = hardware != ARPHRD_ETHER || has(libc::IFF_LOOPBACK) || has(libc::IFF_POINTOPOINT);
    let ifindex = ifindex_at(header, 4).ok_or(Undecoded)?;
    Ok(Some(LinkFact {
        link: Link {
            name: parts.name.ok_or(Undecoded)?,
            ifindex,
            up: has(libc::IFF_UP),
            running: has(libc::IFF_UP) && has(libc::IFF_RUNNING),
            reported: parts.operstate != 0,
            carrier_changes: parts.carrier_changes,
            mac: parts.mac,
            unfit: match parts.kind.as_str() {
                _ if parts.enslaved => Some(Unfit::Enslaved),
                _ if odd => Some(Unfit::NotEthernet),
                "ipvlan" | "ipvtap" => Some(Unfit::SharedMac),
                _ => None,
            },
        },
        lower: parts.lower(ifindex),
        xdp: parts.xdp,
        transmitted: parts.transmitted,
    }))
}

#[derive(Default)]
struct LinkParts {
    name: Option<IfName>,
    mac: [u8; 6],
    link: Option<Ifindex>,
    enslaved: bool,
    operstate: u8,
    kind: String,
    carrier_changes: u32,
    xdp: XdpSlot,
    transmitted: u64,
}

impl LinkParts {
    fn read(body: &[u8]) -> Self {
        let mut parts = Self::default();
        for (kind, value) in attributes(body) {
            parts.take(kind, value);
        }
        parts
    }

    fn take(&mut self, kind: u16, value: &[u8]) {
        match kind {
            libc::IFLA_ADDRESS => self.mac = value.try_into().unwrap_or_default(),
            libc::IFLA_IFNAME => self.name = name_of(value).and_then(IfName::new),
            libc::IFLA_LINK => self.link = u32_of(value).map(Ifindex),
            libc::IFLA_MASTER => self.enslaved = u32_of(value).is_some_and(|master| master != 0),
            libc::IFLA_OPERSTATE => self.operstate = value.first().copied().unwrap_or(0),
            libc::IFLA_CARRIER_CHANGES => self.carrier_changes = u32_of(value).unwrap_or(0),
            libc::IFLA_XDP => self.xdp = xdp_slot(value),
            libc::IFLA_STATS64 => {
                const TX_PACKETS: usize = 8;
                self.transmitted = value
                    .get(TX_PACKETS..)
                    .and_then(|b| b.first_chunk())
                    .map_or(0, |b| u64::from_ne_bytes(*b));
            }
            libc::IFLA_LINKINFO => {
                const IFLA_INFO_KIND: u16 = 1;
                self.kind = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                    .and_then(|(_, value)| name_of(value))
                    .unwrap_or_default()
                    .to_owned();
            }
            _ => {}
        }
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
                    !tail.is_empty() && LABEL.starts_with(tail) && (tail == LABEL || label.len() == 15)
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
        noprefixroute: flags.contains(AddressFlags::Noprefixroute),
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
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip_of(address)?,
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::PrefSource(address) => src = ip_of(address),
            RouteAttribute::NhId(id) => nexthop = Some(*id),
            RouteAttribute::Oif(index) => oif = Some(Ifindex(*index)),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => via = via_of(attribute),
            RouteAttribute::MultiPath(next) => hops.extend(next.iter().map(|hop| Hop {
                ifindex: Ifindex(hop.interface_index),
                via: hop.attributes.iter().find_map(via_of),
                alive: !hop.flags.intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown),
            })),
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
        (None, Some(ifindex)) => {
            NexthopKind::Hop(Hop { ifindex, via, alive: flags & down == 0 })
        }
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
