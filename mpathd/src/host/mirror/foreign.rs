//! What somebody else has set of what is configured: addresses without our mark, and routes that go
//! where one of ours goes by the same gateway. It is to be taken over (contract, Take-over).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mpathd_core::event::{Event, Hops, RouteKey};
use mpathd_core::ids::Ifindex;

use super::Mirror;
use crate::host::PROTOCOL;
use crate::host::facts::{AddressFact, RouteFact};

/// Of a route of somebody else: two may differ in device or protocol alone.
type Other = (RouteKey, Option<Ifindex>, u8);

#[derive(Default)]
pub(super) struct Foreign {
    /// Routes of others to configured destinations by configured gateways, over whatever device.
    routes: BTreeMap<Other, RouteFact>,
    told_addresses: BTreeMap<IpAddr, Hops>,
    told_rivals: BTreeSet<RouteKey>,
    /// Configured addresses that are on this host, but refused by duplicate detection.
    told_refused: BTreeMap<IpAddr, Ifindex>,
}

fn other(fact: &RouteFact) -> Other {
    (fact.key, fact.hops.first().map(|hop| hop.ifindex), fact.protocol)
}

impl Mirror {
    /// A configured address without our mark that may be taken.
    pub(in crate::host) fn takes(&self, fact: &AddressFact) -> bool {
        let usable = !fact.refused || self.is_usable(fact.address.address);
        self.is_anothers(fact) && usable && !self.withholds(fact)
    }

    /// A configured address without our mark whose lifetime says that somebody renews it.
    pub(in crate::host) fn withholds(&self, fact: &AddressFact) -> bool {
        let ip = fact.address.address;
        self.is_anothers(fact) && fact.finite && !self.settings.dynamic.contains(&ip)
    }

    /// It is present on some interface without having been refused by duplicate detection.
    fn is_usable(&self, ip: IpAddr) -> bool {
        self.addresses.values().any(|fact| fact.address.address == ip && !fact.refused)
    }

    fn is_anothers(&self, fact: &AddressFact) -> bool {
        self.settings.addresses.contains(&fact.address.address) && !self.is_ours(fact)
    }

    /// The route of ours that goes the same way as somebody else's, which is to be replaced by it. One
    /// with a lifetime is made anew by the router's next advertisement and is no match for ours.
    pub(in crate::host) fn goes_our_way(&self, fact: &RouteFact) -> Option<RouteKey> {
        let key = self.same_way(fact)?;
        let concerns = |ifindex: Ifindex| {
            self.name(ifindex).is_some_and(|name| self.settings.interfaces.contains(&name))
                || self.foreign.told_addresses.values().any(|on| on.as_slice().contains(&ifindex))
        };
        fact.hops.iter().all(|hop| concerns(hop.ifindex)).then_some(key)
    }

    fn same_way(&self, fact: &RouteFact) -> Option<RouteKey> {
        let plain = fact.unicast && !fact.finite && fact.nexthop.is_none() && !fact.hops.is_empty();
        if fact.protocol == PROTOCOL || !plain {
            return None;
        }
        let at = |metric| RouteKey { metric, ..fact.key };
        let mut ours = self.settings.gateways.range(at(0)..=at(u32::MAX));
        let same = |via: &IpAddr| fact.hops.iter().all(|hop| hop.via == Some(*via));
        ours.find(|(_, via)| same(via)).map(|(key, _)| *key)
    }

    /// To somebody who may have heard nothing of it, or what is no longer so.
    pub(super) fn tell_all_foreign(&mut self) {
        let addresses = std::mem::take(&mut self.foreign.told_addresses);
        let rivals = std::mem::take(&mut self.foreign.told_rivals);
        let refused = std::mem::take(&mut self.foreign.told_refused);
        let over = refused.into_keys().filter(|ip| !self.settings.addresses.contains(ip));
        self.events.extend(over.map(|address| Event::Refused { address, on: None }));
        let all: Vec<IpAddr> = self.settings.addresses.iter().copied().collect();
        all.into_iter().for_each(|ip| self.retell_foreign(ip));
        self.retell_rivals();
        let Self { foreign, events, .. } = self;
        let none = Hops::default();
        let stands = |ip: &IpAddr| foreign.told_addresses.get(ip).is_some_and(|on| *on != none);
        let gone = addresses.into_iter().filter(|(ip, on)| *on != none && !stands(ip));
        events.extend(gone.map(|(address, _)| Event::Foreign { address, on: none }));
        let gone = rivals.difference(&foreign.told_rivals);
        events.extend(gone.map(|key| Event::Rivals { key: *key, stand: false }));
    }

    pub(super) fn retell_foreign(&mut self, ip: IpAddr) {
        if !self.settings.addresses.contains(&ip) {
            if self.foreign.told_addresses.remove(&ip).is_some() {
                self.events.push(Event::Foreign { address: ip, on: Hops::default() });
            }
            return;
        }
        let all = self.addresses.values().filter(|fact| fact.address.address == ip);
        let on: Hops = all.filter(|fact| self.takes(fact)).map(|fact| fact.ifindex).collect();
        let mut refused =
            self.addresses.values().filter(|fact| fact.address.address == ip && fact.refused);
        let refused = refused.next().map(|fact| fact.ifindex).filter(|_| !self.is_usable(ip));
        if self.foreign.told_refused.get(&ip).copied() != refused {
            match refused {
                Some(at) => self.foreign.told_refused.insert(ip, at),
                None => self.foreign.told_refused.remove(&ip),
            };
            self.events.push(Event::Refused { address: ip, on: refused });
        }
        let before = self.foreign.told_addresses.insert(ip, on).unwrap_or_default();
        if before != on {
            self.events.push(Event::Foreign { address: ip, on });
            self.retell_rivals();
        }
    }

    pub(super) fn note_other_route(&mut self, fact: &RouteFact) {
        if self.same_way(fact).is_some() {
            self.foreign.routes.insert(other(fact), fact.clone());
            self.retell_rivals();
        }
    }

    pub(super) fn forget_other_route(&mut self, fact: &RouteFact) {
        if self.foreign.routes.remove(&other(fact)).is_some() {
            self.retell_rivals();
        }
    }

    pub(super) fn sweep_other_routes(&mut self, dump: &[RouteFact]) {
        let ours = dump.iter().filter(|fact| self.same_way(fact).is_some());
        self.foreign.routes = ours.map(|fact| (other(fact), fact.clone())).collect();
        self.retell_rivals();
    }

    /// One at our own key is told as a route, and replaced in place.
    pub(super) fn retell_rivals(&mut self) {
        let rivals =
            self.foreign.routes.values().filter(|f| !self.settings.routes.contains(&f.key));
        let now: BTreeSet<_> = rivals.filter_map(|fact| self.goes_our_way(fact)).collect();
        let before = std::mem::replace(&mut self.foreign.told_rivals, now.clone());
        for key in before.symmetric_difference(&now) {
            self.events.push(Event::Rivals { key: *key, stand: now.contains(key) });
        }
    }
}
