//! Takes out of the kernel what is ours, for `mpathd release`: the daemon is not running, so this is
//! the only one that acts. A plan is made first and can be shown; each step says what it does.
//!
//! `keep`: the data addresses go to one interface as ordinary ones, with the kernel's own route, and
//! configured routes stay with another protocol; what was taken over is given back as it was. The
//! new stands before the old goes, so connections survive; where the kernel takes an address but
//! once, both go by in one datagram.

mod back;
mod keep;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use mpathd_common::neighbour::{
    Buffer, NEIGHBOUR_MAX, gratuitous_reply, gratuitous_request, unsolicited_advertisement,
};
use mpathd_core::event::{Link, RouteKey};
use mpathd_core::ids::{Family, IfName, Ifindex, IpNet};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteProtocol, RouteScope};

use super::facts::{AddressFact, LinkFact, NexthopFact, NexthopKind, RouteFact};
use super::netlink::{Refused, Requests};
use super::taken::{Taken, What};
use super::{PROTOCOL, address, monitor, nexthop, route, sockets, swap, sysctl};
use crate::slow::state::OldSysctl;
use keep::Kept;

/// What the state file knows that the kernel does not.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Addresses of ours with their configured prefix length.
    pub addresses: Vec<(IfName, IpNet)>,
    /// Those of them that are data addresses.
    pub data: BTreeSet<IpAddr>,
    /// What was taken over, as it was.
    pub taken: Vec<Taken>,
}

/// One change of the kernel's tables.
pub struct Step(Kind);

enum Kind {
    /// With `again`, after the same address of ours has been removed there.
    AddOrdinary {
        link: LinkFact,
        address: IpNet,
        again: bool,
    },
    /// With `again`, in place of the same address of ours.
    GiveBackAddress {
        link: LinkFact,
        taken: Taken,
        again: bool,
    },
    GiveBackRoute {
        link: LinkFact,
        taken: Taken,
    },
    KeepRoute {
        link: LinkFact,
        route: RouteFact,
        via: IpAddr,
    },
    RemoveRoute(RouteFact),
    RemoveNexthop(u32),
    RemoveAddress {
        name: IfName,
        fact: AddressFact,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::AddOrdinary { link, address, .. } => {
                write!(f, "{address} as an ordinary address on {}", link.link.name)
            }
            Kind::GiveBackAddress { link, taken, .. } | Kind::GiveBackRoute { link, taken } => {
                write!(f, "{taken}, as it was")?;
                if link.link.name == taken.interface {
                    Ok(())
                } else {
                    write!(f, ", now on {}", link.link.name)
                }
            }
            Kind::KeepRoute { link, route, via } => {
                write!(f, "{} as an ordinary route via {via} dev {}", Key(route), link.link.name)
            }
            Kind::RemoveRoute(route) => write!(f, "no {}", Key(route)),
            Kind::RemoveNexthop(id) => write!(f, "no next hop {id}"),
            Kind::RemoveAddress { name, fact } => write!(f, "no {} on {name}", fact.address),
        }
    }
}

struct Key<'a>(&'a RouteFact);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.key;
        write!(f, "route to {} (table {}, metric {})", key.to, key.table, key.metric)
    }
}

/// What the kernel holds, and the means to change it.
pub struct Release {
    requests: Requests,
    links: Vec<LinkFact>,
    addresses: Vec<AddressFact>,
    routes: Vec<RouteFact>,
    nexthops: Vec<NexthopFact>,
    /// Keys at which a route has been given back.
    restored: BTreeSet<RouteKey>,
}

impl Release {
    /// Reads the kernel's tables.
    ///
    /// # Errors
    /// In words, where they cannot be read.
    pub fn begin() -> Result<Self, String> {
        let failed =
            |what: &str, error: &dyn fmt::Display| format!("reading {what} failed: {error}");
        let mut requests = Requests::open().map_err(|e| failed("the kernel's tables", &e))?;
        let own = RouteProtocol::from(PROTOCOL);
        Ok(Self {
            links: monitor::link_dump(&mut requests).map_err(|e| failed("links", &e))?,
            addresses: monitor::address_dump(&mut requests).map_err(|e| failed("addresses", &e))?,
            routes: monitor::route_dump(&mut requests, own).map_err(|e| failed("routes", &e))?,
            nexthops: monitor::nexthop_dump(&mut requests).map_err(|e| failed("next hops", &e))?,
            requests,
            restored: BTreeSet::new(),
        })
    }

    /// All steps, in their order.
    ///
    /// # Errors
    /// In words, where `keep` is no interface that could carry the addresses.
    pub fn plan(&self, record: &Record, keep: Option<&str>) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        let kept = match keep {
            Some(name) => self.keep(record, self.keeper(name)?, &mut steps)?,
            None => Kept::default(),
        };
        let routes = self.routes.iter().filter(|route| !kept.routes.contains(&route.key));
        steps.extend(routes.cloned().map(Kind::RemoveRoute));
        // Groups first: deleting a hop would change them.
        let own = || self.nexthops.iter().filter(|n| n.protocol == PROTOCOL);
        let is_group = |n: &&NexthopFact| matches!(n.kind, NexthopKind::Group(_));
        steps.extend(own().filter(is_group).map(|n| Kind::RemoveNexthop(n.id)));
        steps.extend(own().filter(|n| !is_group(n)).map(|n| Kind::RemoveNexthop(n.id)));
        for fact in self.addresses.iter().filter(|fact| self.is_ours(fact, record)) {
            if let Some(name) = self.name(fact.ifindex)
                && !kept.replaced.contains(&(fact.ifindex, fact.address.address))
            {
                steps.push(Kind::RemoveAddress { name, fact: *fact });
            }
        }
        Ok(steps.into_iter().map(Step).collect())
    }

    /// Whether an address stands on this host now and not after these steps.
    pub fn vanishes(&self, steps: &[Step], ip: IpAddr) -> bool {
        let stands = self.addresses.iter().filter(|fact| fact.address.address == ip).count();
        let removed = steps.iter().filter(|step| match &step.0 {
            Kind::RemoveAddress { fact, .. } => fact.address.address == ip,
            _ => false,
        });
        let set = steps.iter().any(|step| match &step.0 {
            Kind::AddOrdinary { address, .. } => address.address == ip,
            Kind::GiveBackAddress { taken, .. } => {
                matches!(taken.what, What::Address(address) if address.address == ip)
            }
            _ => false,
        });
        stands > 0 && removed.count() == stands && !set
    }

    /// Carries out one step. What is so already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&mut self, step: &Step) -> Result<(), Refused> {
        match &step.0 {
            Kind::AddOrdinary { link, address, again } => self.add_ordinary(link, *address, *again),
            Kind::GiveBackAddress { link, taken, again } => {
                self.give_back_address(link, taken, *again)
            }
            Kind::GiveBackRoute { link, taken } => self.give_back_route(link, taken),
            Kind::KeepRoute { link, route, via } => self.keep_route(link, route, *via),
            Kind::RemoveRoute(fact) => route::unset(&mut self.requests, &fact.key),
            Kind::RemoveNexthop(id) => nexthop::delete(&mut self.requests, *id),
            Kind::RemoveAddress { fact, .. } => {
                address::delete(&mut self.requests, fact.ifindex, fact.address)
            }
        }
    }

    /// What the device is called now whose values were changed; `None` where another one may have taken
    /// its number, for the value there is not ours.
    pub fn bearer_of(&self, sysctl: &OldSysctl) -> Option<IfName> {
        match sysctl.ifindex.and_then(|ifindex| self.name(ifindex)) {
            Some(name) if name != sysctl.interface => {
                sysctl::is_ours(name, sysctl.key).then_some(name)
            }
            Some(_) | None => Some(sysctl.interface),
        }
    }

    fn name(&self, ifindex: Ifindex) -> Option<IfName> {
        self.links.iter().map(|l| l.link).find(|l| l.ifindex == ifindex).map(|l| l.name)
    }

    /// By the mark, or by the record: whoever sets an address anew wipes the mark, and all flags (O2).
    fn is_ours(&self, fact: &AddressFact, record: &Record) -> bool {
        let address = fact.address;
        let recorded = |(name, net): &(IfName, IpNet)| {
            Some(*name) == self.name(fact.ifindex) && net.address == address.address
        };
        fact.ours()
            || address.len == address.family().host_bits() && record.addresses.iter().any(recorded)
    }

    fn keeper(&self, name: &str) -> Result<&LinkFact, String> {
        let link = self.links.iter().find(|l| l.link.name.as_str() == name);
        let link = link.ok_or_else(|| format!("--keep-on {name}: there is no such interface"))?;
        if !link.link.up {
            return Err(format!(
                "--keep-on {name}: the interface is down; set it up first: ip link set {name} up"
            ));
        }
        Ok(link)
    }

    fn add_ordinary(&mut self, link: &LinkFact, net: IpNet, again: bool) -> Result<(), Refused> {
        let mut message = address::named(link.link.ifindex, net);
        if let Some(broadcast) = net.broadcast() {
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        if net.family() == Family::Inet6 {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.put(link, net.address, message, again)
    }

    /// Sets an address that is already in use here, by its properties.
    fn give_back_address(
        &mut self,
        link: &LinkFact,
        taken: &Taken,
        again: bool,
    ) -> Result<(), Refused> {
        let LinkFact { link: Link { ifindex, name, .. }, .. } = *link;
        let (RouteNetlinkMessage::NewAddress(message), What::Address(net)) =
            (taken.message(ifindex, name)?, taken.what)
        else {
            return Ok(());
        };
        if net.family() == Family::Inet {
            return self.put(link, net.address, message, again);
        }
        // Without duplicate detection, for it has been in use all the time; that flag goes after.
        let mut at_once = message.clone();
        for attribute in &mut at_once.attributes {
            if let AddressAttribute::Flags(flags) = attribute {
                *flags |= AddressFlags::Nodad;
            }
        }
        self.put(link, net.address, at_once, again)?;
        self.requests.request(RouteNetlinkMessage::NewAddress(message), NLM_F_REPLACE)
    }

    /// Adds an address, with `again` in place of ours, and tells the neighbours.
    fn put(
        &mut self,
        link: &LinkFact,
        ip: IpAddr,
        message: AddressMessage,
        again: bool,
    ) -> Result<(), Refused> {
        let Link { ifindex, name, .. } = link.link;
        let message = RouteNetlinkMessage::NewAddress(message);
        let result = if again {
            let ours = RouteNetlinkMessage::DelAddress(address::named(ifindex, IpNet::host(ip)));
            swap::swap(&mut self.requests, name, ip, ours, Some(message))
        } else {
            self.requests.request(message, NLM_F_CREATE | NLM_F_EXCL)
        };
        match result {
            Err(refused) if refused.errno != libc::EEXIST => return Err(refused),
            Ok(()) | Err(_) => {}
        }
        announce(link, ip).map_err(Refused::from)
    }

    /// One of ours at the same key is replaced in place; another one that stood at that key comes behind
    /// it (`ip route append`).
    fn give_back_route(&mut self, link: &LinkFact, taken: &Taken) -> Result<(), Refused> {
        let What::Route(key) = taken.what else { return Ok(()) };
        let flags = match self.restored.insert(key) {
            false => NLM_F_APPEND,
            true if self.routes.iter().any(|route| route.key == key) => NLM_F_REPLACE,
            true => NLM_F_EXCL,
        };
        let message = taken.message(link.link.ifindex, link.link.name)?;
        match self.requests.request(message, NLM_F_CREATE | flags) {
            Err(refused) if refused.errno != libc::EEXIST => Err(refused),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// In place: the same key, another protocol, one hop.
    fn keep_route(
        &mut self,
        link: &LinkFact,
        fact: &RouteFact,
        via: IpAddr,
    ) -> Result<(), Refused> {
        let mut message = route::base(&fact.key);
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(via)));
        message.attributes.push(RouteAttribute::Oif(link.link.ifindex.0));
        if let Some(src) = fact.src {
            message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(src)));
        }
        self.requests.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }
}

/// The address may have been on another NIC until now. Without carrier nobody would hear it.
fn announce(link: &LinkFact, address: IpAddr) -> io::Result<()> {
    if !link.link.running {
        return Ok(());
    }
    let socket = sockets::announcing(link)?;
    let mut buffer: Buffer = [0; NEIGHBOUR_MAX];
    let mac = link.link.mac;
    match address {
        IpAddr::V4(ip) => {
            sockets::send(&socket, gratuitous_request(&mut buffer, mac, ip))?;
            sockets::send(&socket, gratuitous_reply(&mut buffer, mac, ip))
        }
        IpAddr::V6(ip) => {
            let router = sysctl::forwards_v6(link.link.name)?;
            sockets::send(&socket, unsolicited_advertisement(&mut buffer, mac, ip, router))
        }
    }
}
