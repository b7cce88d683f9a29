//! What is observed of the host: links, addresses, the routes that concern us, next-hop objects,
//! gateways. Notices and dumps go in, and only differences come out, as the engine's events. Knows
//! no socket; [`super::monitor`] feeds it.

mod foreign;
mod gateways;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mpathd_common::abi::LOWER;
use mpathd_core::event::{Address, Event, Hops, Link, ObservedRoute, OwnAddress, RouteKey};
use mpathd_core::ids::{Family, IfName, Ifindex, IpNet};
use mpathd_core::request::Role;

use super::address::has_role;
use super::facts::{AddressFact, Fact, Hop, LinkFact, NexthopFact, NexthopKind, RouteFact};
use super::{PROTOCOL, Settings};

#[derive(Default)]
pub(super) struct Mirror {
    settings: Settings,
    links: BTreeMap<Ifindex, LinkFact>,
    /// By prefix length too: IPv4 lets one address stand twice on a link, as /24 and as /32.
    addresses: BTreeMap<(Ifindex, IpAddr, u8), AddressFact>,
    /// Addresses that we have set, whatever mark they carry now.
    vouched: BTreeMap<(Ifindex, IpAddr), (IpNet, Role)>,
    routes: BTreeMap<RouteKey, RouteFact>,
    nexthops: BTreeMap<u32, NexthopFact>,
    next_hops: gateways::NextHops,
    foreign: foreign::Foreign,
    told: Told,
    events: Vec<Event>,
    gone: Vec<Gone>,
}

/// A link that is no more what it was.
pub(super) struct Gone {
    pub(super) ifindex: Ifindex,
    pub(super) name: IfName,
    /// It only has another name now.
    pub(super) renamed: Option<IfName>,
}

/// What the engine believes.
#[derive(Default)]
struct Told {
    addresses: BTreeMap<(Ifindex, IpAddr), Address>,
    own: BTreeMap<(Ifindex, Family), IpNet>,
    routes: BTreeMap<RouteKey, ObservedRoute>,
}

impl Mirror {
    /// Other interfaces, addresses or routes matter from now on, to somebody who may not have heard what
    /// was told before: all is told again. A full dump is to follow.
    pub(super) fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.told = Told::default();
        self.routes
            .retain(|key, fact| fact.protocol == PROTOCOL || self.settings.routes.contains(key));
        self.retell();
        self.tell_all_foreign();
        let links: Vec<Ifindex> = self.links.keys().copied().collect();
        links.into_iter().for_each(|ifindex| self.retell_own(ifindex));
        self.retell_gateways();
    }

    /// The differences since the last call.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.tell_gateways();
        std::mem::take(&mut self.events)
    }

    /// An event of the host thread's own, in its place among the differences.
    pub(super) fn tell(&mut self, event: Event) {
        self.tell_gateways();
        self.events.push(event);
    }

    /// Takes in a notice. `true`: routes are in doubt, for it goes with losses that come without
    /// notice (N17).
    pub(super) fn apply(&mut self, fact: Fact) -> bool {
        match fact {
            Fact::Link(link) => self.set_link(link),
            Fact::LinkGone(ifindex) => {
                self.drop_link(ifindex);
                true
            }
            Fact::Address(address) => {
                self.set_address(address);
                false
            }
            Fact::AddressGone(address) => {
                self.drop_address(address.ifindex, address.address);
                true
            }
            Fact::Route(route) => {
                self.set_route(route);
                false
            }
            Fact::RouteGone(route) => self.drop_route(&route),
            Fact::Nexthop(nexthop) => self.set_nexthop(nexthop),
            Fact::NexthopGone(id) => {
                self.nexthops.remove(&id);
                self.retell_routes_by(id);
                true
            }
        }
    }

    pub(super) fn link(&self, ifindex: Ifindex) -> Option<&LinkFact> {
        self.links.get(&ifindex)
    }

    /// The devices on which a link is stacked, from the next one down; 0 = no further one.
    pub(super) fn lower(&self, link: &LinkFact) -> [u32; LOWER] {
        let below = std::iter::successors(link.below, |below| self.links.get(below)?.below);
        let mut lower = [0; LOWER];
        lower.iter_mut().zip(below).for_each(|(place, below)| *place = below.0);
        lower
    }

    /// Of all links of this host.
    pub(super) fn macs(&self) -> impl Iterator<Item = [u8; 6]> + '_ {
        self.links.values().map(|fact| fact.link.mac)
    }

    /// Links that bear a configured name, and those that are watched besides.
    pub(super) fn members(&self) -> impl Iterator<Item = &LinkFact> {
        self.links.values().filter(|l| {
            self.settings.interfaces.contains(&l.link.name) || self.is_stranger(&l.link)
        })
    }

    /// Watched though it is in no group.
    fn is_stranger(&self, link: &Link) -> bool {
        self.settings.strangers
            && link.may_be_watched()
            && !self.settings.interfaces.contains(&link.name)
    }

    pub(super) fn links_of(&self, names: &BTreeSet<IfName>) -> impl Iterator<Item = &LinkFact> {
        self.links.values().filter(|l| names.contains(&l.link.name))
    }

    pub(super) fn name(&self, ifindex: Ifindex) -> Option<IfName> {
        self.links.get(&ifindex).map(|l| l.link.name)
    }

    /// Every form in which an address stands on an interface.
    pub(super) fn addresses(
        &self,
        ifindex: Ifindex,
        ip: IpAddr,
    ) -> impl Iterator<Item = &AddressFact> {
        self.addresses.range((ifindex, ip, 0)..=(ifindex, ip, u8::MAX)).map(|(_, fact)| fact)
    }

    pub(super) fn all_addresses(&self) -> impl Iterator<Item = &AddressFact> {
        self.addresses.values()
    }

    pub(super) fn route(&self, key: &RouteKey) -> Option<&RouteFact> {
        self.routes.get(key)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &RouteFact> {
        self.routes.values()
    }

    pub(super) fn nexthops(&self) -> impl Iterator<Item = &NexthopFact> {
        self.nexthops.values()
    }

    /// Some interface of this host has the address.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses.values().any(|fact| fact.address.address == ip)
    }

    // Links

    /// Whether routes may have changed with it: they come and go with its flags, unsaid.
    fn set_link(&mut self, fact: LinkFact) -> bool {
        let ifindex = fact.link.ifindex;
        let old = self.links.insert(ifindex, fact);
        if let Some(old) = old.filter(|o| o.link.name != fact.link.name) {
            // Under its new name it is another interface to the engine.
            self.told.addresses.retain(|(told, _), _| *told != ifindex);
            let renamed = Some(fact.link.name);
            self.gone.push(Gone { ifindex, name: old.link.name, renamed });
        }
        if old.is_none_or(|o| o.link.name != fact.link.name) {
            self.retell_addresses_of(ifindex);
            self.retell_rivals();
            self.doubt_gateways();
        }
        self.watch_stranger(old.as_ref(), &fact);
        old.is_some_and(|o| o.flags != fact.flags)
    }

    /// Outside of groups it is watched only while it is up and nobody's port.
    fn watch_stranger(&mut self, old: Option<&LinkFact>, new: &LinkFact) {
        let ifindex = new.link.ifindex;
        self.retell_own(ifindex);
        let was = old.is_some_and(|old| self.is_stranger(&old.link));
        let is = self.is_stranger(&new.link);
        if was != is {
            self.doubt_gateways();
        }
        if was && !is && old.is_some_and(|old| old.link.name == new.link.name) {
            self.gone.push(Gone { ifindex, name: new.link.name, renamed: None });
        }
    }

    fn drop_link(&mut self, ifindex: Ifindex) {
        let gone: Vec<_> = self.addresses_of(ifindex).map(|fact| fact.address).collect();
        for address in gone {
            self.drop_address(ifindex, address);
        }
        if let Some(fact) = self.links.remove(&ifindex) {
            self.told.own.retain(|(told, _), _| *told != ifindex);
            self.doubt_gateways();
            self.gone.push(Gone { ifindex, name: fact.link.name, renamed: None });
        }
    }

    /// Links that have gone, or changed their name, since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    /// Replaces all that is known of links by a dump.
    pub(super) fn sweep_links(&mut self, dump: Vec<LinkFact>) {
        let seen: BTreeSet<_> = dump.iter().map(|fact| fact.link.ifindex).collect();
        let gone: Vec<_> = self.links.keys().filter(|i| !seen.contains(i)).copied().collect();
        for ifindex in gone {
            self.drop_link(ifindex);
        }
        for fact in dump {
            self.set_link(fact);
        }
    }

    // Addresses

    fn addresses_of(&self, ifindex: Ifindex) -> impl Iterator<Item = &AddressFact> {
        let first = (ifindex, IpAddr::from([0; 4]), 0);
        let next = (Ifindex(ifindex.0.saturating_add(1)), IpAddr::from([0; 4]), 0);
        self.addresses.range(first..next).map(|(_, fact)| fact)
    }

    fn set_address(&mut self, fact: AddressFact) {
        let ip = fact.address.address;
        self.addresses.insert((fact.ifindex, ip, fact.address.len), fact);
        self.retell_address(fact.ifindex, ip);
        self.retell_own(fact.ifindex);
        self.doubt_gateways();
    }

    fn drop_address(&mut self, ifindex: Ifindex, address: IpNet) {
        self.addresses.remove(&(ifindex, address.address, address.len));
        if self.addresses(ifindex, address.address).next().is_none() {
            self.vouched.remove(&(ifindex, address.address));
        }
        self.retell_address(ifindex, address.address);
        self.retell_own(ifindex);
        self.doubt_gateways();
    }

    /// What serves as a stranger's test addresses: the one that has been told as long as it stands.
    fn retell_own(&mut self, ifindex: Ifindex) {
        if !self.settings.strangers {
            return;
        }
        let watched = self.links.get(&ifindex).is_some_and(|fact| self.is_stranger(&fact.link));
        for family in Family::ALL {
            let told = self.told.own.get(&(ifindex, family)).copied();
            let fit = |fact: &&AddressFact| {
                let v6 = family == Family::Inet6;
                // One that is tentative once more, as after a loss of carrier, stays in use.
                let usable = !fact.tentative || !fact.refused && Some(fact.address) == told;
                let own = usable && !self.is_ours(fact);
                own && fact.address.family() == family && (!v6 || fact.link_scope)
            };
            let all = || self.addresses_of(ifindex).filter(fit);
            let rank = |fact: &&AddressFact| match family {
                Family::Inet => fact.link_scope,
                Family::Inet6 => !self.is_by_kernel(fact),
            };
            let present = all().map(|fact| fact.address).find(|it| Some(*it) == told);
            let best = all().min_by_key(rank).map(|fact| fact.address);
            let address = present.or(best).filter(|_| watched);
            if address == told {
                continue;
            }
            match address {
                Some(address) => self.told.own.insert((ifindex, family), address),
                None => self.told.own.remove(&(ifindex, family)),
            };
            self.events.push(Event::OwnAddress(OwnAddress { ifindex, family, address }));
            self.doubt_gateways();
        }
    }

    /// Told when the engine has taken it up.
    pub(super) fn retell_watched(&mut self, ifindex: Ifindex) {
        self.told.own.retain(|(told, _), _| *told != ifindex);
        self.retell_own(ifindex);
        self.forget_told_gateways(ifindex);
    }

    pub(super) fn sweep_addresses(&mut self, dump: Vec<AddressFact>) {
        let seen: BTreeSet<_> = dump.iter().map(|f| (f.ifindex, f.address)).collect();
        let gone: Vec<_> = self
            .addresses
            .values()
            .map(|f| (f.ifindex, f.address))
            .filter(|key| !seen.contains(key))
            .collect();
        for (ifindex, address) in gone {
            self.drop_address(ifindex, address);
        }
        for fact in dump {
            self.set_address(fact);
        }
    }

    /// The form that counts of those in which an address stands on an interface: ours, if it is there.
    pub(super) fn foremost(&self, ifindex: Ifindex, ip: IpAddr) -> Option<AddressFact> {
        self.addresses(ifindex, ip).max_by_key(|fact| self.is_ours(fact)).copied()
    }

    /// By its mark, or in our form where we have put it.
    pub(super) fn is_ours(&self, fact: &AddressFact) -> bool {
        let address = fact.address;
        fact.ours()
            || address.len == address.family().host_bits()
                && self.vouched.contains_key(&(fact.ifindex, address.address))
    }

    /// The address has been set by us.
    pub(super) fn vouch(&mut self, ifindex: Ifindex, address: IpNet, role: Role) {
        self.vouched.insert((ifindex, address.address), (address, role));
        self.retell_foreign(address.address);
    }

    /// Addresses that we have set.
    pub(super) fn vouched(&self) -> impl Iterator<Item = (Ifindex, IpNet, Role)> + '_ {
        self.vouched.iter().map(|((ifindex, _), (address, role))| (*ifindex, *address, *role))
    }

    /// Addresses of this host that another host should not have.
    pub(super) fn may_conflict(&self) -> impl Iterator<Item = (Ifindex, IpNet, Role)> + '_ {
        let is_refused = |fact: &&AddressFact| fact.refused && !self.is_ours(fact);
        let refused = self.addresses.values().filter(is_refused).filter_map(|fact| {
            let (net, role) = self.settings.roles.get(&fact.address.address)?;
            Some((fact.ifindex, *net, *role))
        });
        self.vouched().chain(refused)
    }

    fn vouch_by_record(&mut self, ifindex: Ifindex, ip: IpAddr) {
        let Some(name) = self.name(ifindex) else { return };
        if self.settings.recorded.contains(&(name, ip))
            && let Some((address, role)) = self.settings.roles.get(&ip)
        {
            self.vouched.entry((ifindex, ip)).or_insert((*address, *role));
        }
    }

    /// Addresses of ours whose mark somebody has wiped. None on a kernel that keeps no marks (before
    /// 5.18): there not even its own link-local addresses carry one.
    pub(super) fn unmarked(&self) -> Vec<(Ifindex, IfName, IpNet, Role)> {
        let wiped = |fact: &&AddressFact| fact.protocol != PROTOCOL && self.is_ours(fact);
        if !self.addresses.values().any(|fact| fact.protocol != 0) {
            return Vec::new();
        }
        let facts = self.addresses.values().filter(wiped);
        facts
            .filter_map(|fact| {
                let (ifindex, ip) = (fact.ifindex, fact.address.address);
                let (address, role) = self.vouched.get(&(ifindex, ip))?;
                Some((ifindex, self.name(ifindex)?, *address, *role))
            })
            .collect()
    }

    /// On members all; elsewhere those that are to be ours.
    fn concerns(&self, ifindex: Ifindex, ip: IpAddr) -> bool {
        self.settings.addresses.contains(&ip)
            || self.name(ifindex).is_some_and(|name| self.settings.interfaces.contains(&name))
    }

    fn retell_address(&mut self, ifindex: Ifindex, ip: IpAddr) {
        self.vouch_by_record(ifindex, ip);
        self.retell_foreign(ip);
        let fact = self.concerns(ifindex, ip).then(|| self.foremost(ifindex, ip)).flatten();
        let Some(fact) = fact else {
            if self.told.addresses.remove(&(ifindex, ip)).is_some() {
                self.events.push(Event::AddressGone { ifindex, address: ip });
            }
            return;
        };
        let ours = self.is_ours(&fact);
        let role = self.settings.roles.get(&ip).map(|(_, role)| *role);
        let stale_form = ours && role.is_some_and(|role| !has_role(&fact, role));
        let address = Address {
            ifindex,
            address: fact.address,
            ours,
            tentative: fact.tentative,
            link_scope: fact.link_scope,
            stale_form,
            refused: fact.refused,
            by_kernel: self.is_by_kernel(&fact),
        };
        if self.told.addresses.insert((ifindex, ip), address) != Some(address) {
            self.events.push(Event::Address(address));
        }
    }

    fn is_by_kernel(&self, fact: &AddressFact) -> bool {
        let mac = self.links.get(&fact.ifindex).map(|link| link.link.mac);
        fact.by_kernel || mac.is_some_and(|mac| fact.address.address == from_mac(mac))
    }

    /// The engine is told of it though it has been before: it may not have known the interface then.
    pub(super) fn tell_again(&mut self, ifindex: Ifindex, ip: IpAddr) {
        self.told.addresses.remove(&(ifindex, ip));
        self.retell_address(ifindex, ip);
    }

    fn retell_addresses_of(&mut self, ifindex: Ifindex) {
        let all: BTreeSet<_> =
            self.addresses_of(ifindex).map(|fact| fact.address.address).collect();
        for ip in all {
            self.retell_address(ifindex, ip);
        }
    }

    // Routes and next hops

    fn set_route(&mut self, fact: RouteFact) {
        self.add_gateways(&fact);
        self.note_other_route(&fact);
        if fact.protocol == PROTOCOL || self.settings.routes.contains(&fact.key) {
            let key = fact.key;
            self.routes.insert(key, fact);
            self.retell_route(key);
        }
    }

    /// Whether it needs a dump: another route may stand at the same key, and what a gateway's last
    /// route was only the tables know.
    fn drop_route(&mut self, fact: &RouteFact) -> bool {
        self.forget_other_route(fact);
        let pin = fact.key.to.len == fact.key.to.family().host_bits();
        let gateway = fact.unicast
            && (pin || fact.nexthop.is_some() || fact.hops.iter().any(|hop| hop.via.is_some()));
        if self.routes.get(&fact.key).is_none_or(|known| known.protocol != fact.protocol) {
            return gateway;
        }
        self.routes.remove(&fact.key);
        self.retell_route(fact.key);
        true
    }

    /// Replaces what is known by a dump of all tables. Of several routes at one key the first counts:
    /// it is the one the kernel uses.
    pub(super) fn sweep_routes(&mut self, dump: Vec<RouteFact>) {
        self.clear_gateways();
        self.sweep_other_routes(&dump);
        let mut routes = BTreeMap::new();
        for fact in dump {
            self.add_gateways(&fact);
            if fact.protocol == PROTOCOL || self.settings.routes.contains(&fact.key) {
                routes.entry(fact.key).or_insert(fact);
            }
        }
        self.routes = routes;
        self.retell_routes();
    }

    /// Replaces what is known of routes with our protocol by a dump of these alone.
    pub(super) fn sweep_own_routes(&mut self, dump: Vec<RouteFact>) {
        self.routes.retain(|_, fact| fact.protocol != PROTOCOL);
        for fact in dump {
            self.routes.entry(fact.key).or_insert(fact);
        }
        self.retell_routes();
    }

    pub(super) fn sweep_nexthops(&mut self, dump: Vec<NexthopFact>) {
        self.nexthops = dump.into_iter().map(|fact| (fact.id, fact)).collect();
        self.retell_routes();
    }

    /// The hops of a route: of its next-hop object where it has one, else its own.
    pub(super) fn hops(&self, fact: &RouteFact) -> Vec<Hop> {
        let Some(id) = fact.nexthop else { return fact.hops.clone() };
        let single = |id: u32| match self.nexthops.get(&id).map(|n| &n.kind) {
            Some(NexthopKind::Hop(hop)) => Some(*hop),
            _ => None,
        };
        match self.nexthops.get(&id).map(|n| &n.kind) {
            Some(NexthopKind::Hop(hop)) => vec![*hop],
            Some(NexthopKind::Group(members)) => {
                members.iter().copied().filter_map(single).collect()
            }
            Some(NexthopKind::Other) | None => Vec::new(),
        }
    }

    fn retell_route(&mut self, key: RouteKey) {
        let Some(fact) = self.routes.get(&key) else {
            if self.told.routes.remove(&key).is_some() {
                self.events.push(Event::RouteGone(key));
            }
            return;
        };
        let hops = self.hops(fact);
        let route = ObservedRoute {
            key,
            via: hops.iter().find_map(|hop| hop.via),
            src: fact.src,
            hops: hops.iter().filter(|h| h.alive).map(|h| h.ifindex).collect::<Hops>(),
            ours: fact.protocol == PROTOCOL,
        };
        if self.told.routes.insert(key, route) != Some(route) {
            self.events.push(Event::Route(route));
        }
    }

    fn retell_routes(&mut self) {
        let keys: BTreeSet<_> =
            self.routes.keys().chain(self.told.routes.keys()).copied().collect();
        for key in keys {
            self.retell_route(key);
        }
    }

    /// Whether routes are to be looked at: what uses a changed object is not told.
    fn set_nexthop(&mut self, nexthop: NexthopFact) -> bool {
        let id = nexthop.id;
        let old = self.nexthops.insert(id, nexthop);
        self.retell_routes_by(id);
        old.is_some()
    }

    /// Those by an object, or by a group that it is in.
    fn retell_routes_by(&mut self, id: u32) {
        let holds =
            |it: &NexthopFact| matches!(&it.kind, NexthopKind::Group(all) if all.contains(&id));
        let groups = self.nexthops.values().filter(|it| holds(it)).map(|it| it.id);
        let objects: BTreeSet<u32> = groups.chain([id]).collect();
        let by_one = |fact: &&RouteFact| fact.nexthop.is_some_and(|id| objects.contains(&id));
        let keys: Vec<RouteKey> =
            self.routes.values().filter(by_one).map(|fact| fact.key).collect();
        keys.into_iter().for_each(|key| self.retell_route(key));
    }

    fn retell(&mut self) {
        let all: BTreeSet<_> = self
            .addresses
            .keys()
            .map(|(i, ip, _)| (*i, *ip))
            .chain(self.told.addresses.keys().copied())
            .collect();
        for (ifindex, ip) in all {
            self.retell_address(ifindex, ip);
        }
        self.retell_routes();
        self.retell_rivals();
    }
}

/// The link-local address with an interface identifier made of the MAC (RFC 4291 appendix A).
fn from_mac(mac: [u8; 6]) -> IpAddr {
    let [a, b, c, d, e, f] = mac;
    let high = u16::from_be_bytes([a ^ 2, b]);
    let words = [u16::from_be_bytes([c, 0xff]), u16::from_be_bytes([0xfe, d])];
    let low = u16::from_be_bytes([e, f]);
    std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, high, words[0], words[1], low).into()
}
