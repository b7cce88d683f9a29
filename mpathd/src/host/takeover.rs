//! Takes over what somebody else has set of what is configured (contract, Take-over). It is remembered
//! before it goes; and where the kernel takes an address but once on a NIC, the old one goes and
//! ours comes in one datagram, with the routes that would be lost with it.

use std::net::IpAddr;

use mpathd_core::event::RouteKey;
use mpathd_core::ids::{IfName, Ifindex, IpNet};
use mpathd_core::message::Severity;
use mpathd_core::request::{Role, WantedRoute};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::RouteProtocol;

use super::facts::{AddressFact, Fact};
use super::mirror::Mirror;
use super::netlink::{Refused, Requests};
use super::taken::Taken;
use super::{Host, Settings, address, monitor, route, swap};
use crate::messages::ToSlow;

/// Something of somebody else's that is configured here.
#[derive(Clone, Debug)]
pub struct Found {
    pub taken: Taken,
    /// Its lifetime forbids to take it.
    pub withheld: bool,
    /// An address of the configuration, for what is none.
    pub address: Option<IpAddr>,
}

/// What of `settings` somebody else has set on this host. Needs no right.
///
/// # Errors
/// In words, where the kernel's tables can't be read.
pub fn survey(settings: &Settings) -> Result<Vec<Found>, String> {
    let found = || -> Result<Vec<Found>, Refused> {
        let mut requests = Requests::open()?;
        let mut mirror = Mirror::default();
        mirror.set_settings(settings.clone());
        mirror.sweep_links(monitor::link_dump(&mut requests)?);
        mirror.sweep_addresses(monitor::address_dump(&mut requests)?);
        let held = |ip: IpAddr| {
            mirror.all_addresses().any(|f| f.address.address == ip && mirror.is_ours(f))
        };
        let mut all = addresses(&mut requests, &mirror, |fact| {
            let withheld = mirror.withholds(fact);
            // One that is ours already stays so, whoever sets it too.
            mirror.takes(fact) || withheld && !held(fact.address.address)
        })?;
        all.extend(routes(&mut requests, &mirror, |_| true)?);
        Ok(all)
    };
    found().map_err(|refused| format!("reading the kernel's tables failed: {refused}"))
}

fn addresses(
    requests: &mut Requests,
    mirror: &Mirror,
    wanted: impl Fn(&AddressFact) -> bool,
) -> Result<Vec<Found>, Refused> {
    let mut found: Vec<Found> = Vec::new();
    let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    requests.dump(message, |message| {
        if let Ok(Some(fact @ Fact::Address(address))) = Fact::read(message)
            && wanted(&address)
            && let Some(name) = mirror.name(address.ifindex)
        {
            let taken = Taken::of(message, &fact, name);
            let (withheld, address) = (mirror.withholds(&address), Some(address.address.address));
            found.retain(|f| taken.as_ref().is_none_or(|taken| !f.taken.is_of(taken)));
            found.extend(taken.map(|taken| Found { taken, withheld, address }));
        }
    })?;
    Ok(found)
}

fn routes(
    requests: &mut Requests,
    mirror: &Mirror,
    wanted: impl Fn(RouteKey) -> bool,
) -> Result<Vec<Found>, Refused> {
    let mut found: Vec<Found> = Vec::new();
    for message in monitor::route_requests(RouteProtocol::Unspec) {
        requests.dump(message, |message| {
            if let Ok(Some(fact @ Fact::Route(_))) = Fact::read(message)
                && let Fact::Route(route) = &fact
                && mirror.goes_our_way(route).is_some_and(&wanted)
                && let Some(name) = route.hops.first().and_then(|hop| mirror.name(hop.ifindex))
            {
                let mut taken = Taken::of(message, &fact, name);
                let others = found.iter().map(|found| &found.taken);
                let new = taken.as_mut().is_some_and(|taken| taken.number(others));
                let taken = taken.filter(|_| new);
                found.extend(taken.map(|taken| Found { taken, withheld: false, address: None }));
            }
        })?;
    }
    Ok(found)
}

impl Host {
    /// Every copy of an address that is not ours goes; each is remembered first.
    pub(super) fn take_address(&mut self, ip: IpAddr) -> Result<(), Refused> {
        for taken in self.remember_address(ip, |_| true)? {
            self.swap(&taken, ip, None)?;
            self.slow.log(Severity::Notice, format!("took over {taken}"));
        }
        Ok(())
    }

    /// Routes of somebody else that go where the one of ours at `key` goes.
    pub(super) fn take_routes(&mut self, key: RouteKey) -> Result<(), Refused> {
        for taken in self.remember_routes(key)? {
            match self.requests.request(taken.removal()?, 0) {
                Err(refused) if refused.errno != libc::ESRCH => return Err(refused),
                Ok(()) | Err(_) => {}
            }
            self.slow.log(Severity::Notice, format!("took over the {taken}"));
        }
        self.monitor.doubt_routes();
        Ok(())
    }

    /// What is to be replaced in place at our own key.
    pub(super) fn remember_routes(&mut self, key: RouteKey) -> Result<Vec<Taken>, Refused> {
        let found = routes(&mut self.requests, &self.monitor.mirror, |ours| ours == key)?;
        Ok(self.remember(found))
    }

    fn remember_address(
        &mut self,
        ip: IpAddr,
        wanted: impl Fn(&AddressFact) -> bool,
    ) -> Result<Vec<Taken>, Refused> {
        let mirror = &self.monitor.mirror;
        let wanted = |f: &AddressFact| f.address.address == ip && mirror.takes(f) && wanted(f);
        let found = addresses(&mut self.requests, mirror, wanted)?;
        Ok(self.remember(found))
    }

    fn remember(&mut self, found: Vec<Found>) -> Vec<Taken> {
        let all: Vec<Taken> = found.into_iter().map(|found| found.taken).collect();
        for taken in &all {
            self.slow.push(ToSlow::Taken(Box::new(taken.clone())));
        }
        // Told before it goes, or a crash would forget it.
        self.slow.flush();
        all
    }

    fn swap(
        &mut self,
        taken: &Taken,
        ip: IpAddr,
        instead: Option<RouteNetlinkMessage>,
    ) -> Result<(), Refused> {
        let removal = taken.removal()?;
        swap::swap(&mut self.requests, taken.interface, ip, removal, instead)
    }

    /// Puts ours where somebody else's stands in the way on the same NIC.
    pub(super) fn replace_address(
        &mut self,
        ifindex: Ifindex,
        name: IfName,
        net: IpNet,
        role: Role,
    ) -> Result<(), Refused> {
        let ip = net.address;
        self.set_subnet_route(ifindex, net);
        let ours = RouteNetlinkMessage::NewAddress(address::message(ifindex, name, net, role));
        let mut ours = Some(ours);
        for taken in self.remember_address(ip, |fact| fact.ifindex == ifindex)? {
            self.swap(&taken, ip, ours.take())?;
            self.slow.log(Severity::Notice, format!("took over {taken}"));
        }
        Ok(())
    }

    /// The kernel's route of the subnet goes with the address; ours must stand before. Of IPv6 it is one
    /// by a next-hop object, which the kernel does not mistake for its own.
    fn set_subnet_route(&mut self, ifindex: Ifindex, net: IpNet) {
        let subnet = |key: &&RouteKey| key.to == net.network();
        let of_gateway = |key: &RouteKey| self.settings.gateways.contains_key(key);
        let key = self.settings.routes.iter().filter(subnet).find(|key| !of_gateway(key)).copied();
        let Some(key) = key.filter(|key| self.monitor.mirror.route(key).is_none()) else { return };
        let hops = [ifindex].into_iter().collect();
        let wanted = WantedRoute { key, via: None, src: net.address, hops };
        if let Err(refused) = route::set(&mut self.requests, &self.monitor.mirror, &wanted) {
            let text = format!("the route to {} could not be set ahead: {refused}", key.to);
            self.slow.log(Severity::Info, text);
        }
    }
}
