//! Next hops of all routing tables, and what host routes lead to: those that may be targets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mpathd_core::event::{Event, Gateway, GatewayKind, Gateways};
use mpathd_core::ids::{Family, Ifindex, IpNet};

use super::Mirror;
use crate::host::facts::{Hop, LinkFact, RouteFact};

/// Protocol of routes that the kernel makes for addresses.
const RTPROT_KERNEL: u8 = 2;

/// What is known of next hops, and what the engine has been told.
#[derive(Default)]
pub(super) struct NextHops {
    known: BTreeMap<(Ifindex, IpAddr), GatewayKind>,
    told: BTreeMap<(Ifindex, Family), Gateways>,
    /// Something has changed that the lists depend on.
    stale: bool,
}

impl Mirror {
    /// Many routes of the configuration go by this gateway.
    pub(in crate::host) fn is_busy_gateway(&self, via: IpAddr) -> bool {
        self.settings.busy_gateways.contains(&via)
    }

    /// A host route by which its host is reached at once pins a target (behaviour 119), unless the
    /// kernel has made it for an address.
    pub(super) fn add_gateways(&mut self, fact: &RouteFact) {
        if !fact.unicast {
            return;
        }
        let to = fact.key.to;
        let pin = to.len == to.family().host_bits() && fact.protocol != RTPROT_KERNEL;
        let kind = if to.len == 0 { GatewayKind::Default } else { GatewayKind::Other };
        let next = |hop: &Hop| match hop.via {
            Some(via) => Some((hop.ifindex, via, kind)),
            None => pin.then_some((hop.ifindex, to.address, GatewayKind::Host)),
        };
        for (ifindex, address, kind) in self.hops(fact).iter().filter_map(next) {
            let known = self.next_hops.known.get(&(ifindex, address));
            if known.is_none_or(|known| kind < *known) {
                self.next_hops.known.insert((ifindex, address), kind);
                self.next_hops.stale = true;
            }
        }
    }

    /// All are about to be added anew.
    pub(super) fn clear_gateways(&mut self) {
        self.next_hops.known.clear();
        self.next_hops.stale = true;
    }

    /// Links or addresses have changed, on which it depends who may be a target.
    pub(super) fn doubt_gateways(&mut self) {
        self.next_hops.stale = true;
    }

    /// The lists of this interface are to be told again.
    pub(super) fn forget_told_gateways(&mut self, ifindex: Ifindex) {
        self.next_hops.told.retain(|(told, _), _| *told != ifindex);
        self.next_hops.stale = true;
    }

    /// All lists are to be told again to somebody who may not have heard them; those that have become empty,
    /// too.
    pub(super) fn retell_gateways(&mut self) {
        let before = std::mem::take(&mut self.next_hops.told);
        self.next_hops.stale = true;
        self.tell_gateways();
        for (ifindex, family) in before.into_keys() {
            if !self.next_hops.told.contains_key(&(ifindex, family)) {
                self.events.push(Event::Gateways(Gateways::new(ifindex, family)));
            }
        }
    }

    /// Tells the lists that have changed since the last time.
    pub(super) fn tell_gateways(&mut self) {
        if !std::mem::take(&mut self.next_hops.stale) {
            return;
        }
        let lists = self.gateway_lists();
        let gone = self.next_hops.told.keys().filter(|key| !lists.contains_key(key));
        let gone = gone.map(|(ifindex, family)| Gateways::new(*ifindex, *family));
        let other =
            |list: &&Gateways| self.next_hops.told.get(&(list.ifindex, list.family)) != Some(*list);
        let changed: Vec<_> = gone.chain(lists.values().filter(other).copied()).collect();
        self.events.extend(changed.into_iter().map(Event::Gateways));
        self.next_hops.told = lists;
    }

    /// By members only, and what a probe from there can reach; not what is an address of this host.
    fn gateway_lists(&self) -> BTreeMap<(Ifindex, Family), Gateways> {
        let own: BTreeSet<IpAddr> =
            self.addresses.values().map(|fact| fact.address.address).collect();
        let mut lists = BTreeMap::new();
        for link in self.members() {
            let (subnets, at) = (self.subnets_of_targets(link), link.link.ifindex);
            let on_link = |ip: IpAddr| {
                matches!(ip, IpAddr::V6(a) if a.is_unicast_link_local())
                    || subnets.iter().any(|net| net.contains(ip))
            };
            let of_link =
                self.next_hops.known.range(first(at)..first(Ifindex(at.0.saturating_add(1))));
            let fit =
                |(_, address): &(Ifindex, IpAddr)| on_link(*address) && !own.contains(address);
            for ((_, address), kind) in of_link.filter(|(key, _)| fit(key)) {
                let family = Family::of(*address);
                let list = lists.entry((at, family)).or_insert_with(|| Gateways::new(at, family));
                list.push(Gateway { address: *address, kind: *kind });
            }
        }
        lists
    }

    fn subnets_of_targets(&self, link: &LinkFact) -> BTreeSet<IpNet> {
        match self.settings.target_subnets.get(&link.link.name) {
            Some(subnets) => subnets.clone(),
            None => {
                let own = Family::ALL.map(|family| self.told.own.get(&(link.link.ifindex, family)));
                own.into_iter().flatten().map(IpNet::network).collect()
            }
        }
    }
}

/// The lowest key of an interface.
fn first(ifindex: Ifindex) -> (Ifindex, IpAddr) {
    (ifindex, IpAddr::from([0; 4]))
}

#[cfg(test)]
mod tests {
    use mpathd_core::event::{Link, RouteKey};
    use mpathd_core::ids::IfName;

    use super::*;
    use crate::host::Settings;
    use crate::host::facts::{Fact, XdpSlot};

    const NIC: Ifindex = Ifindex(2);

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn mirror() -> Mirror {
        let name: IfName = "eth0".parse().unwrap();
        let mut settings = Settings::default();
        settings.interfaces.insert(name);
        settings.target_subnets.insert(name, [net("192.0.2.0/24")].into());
        let mut mirror = Mirror::default();
        mirror.set_settings(settings);
        let (up, running, reported) = (true, true, true);
        let (carrier_changes, mac, unfit) = (1, [2, 0, 0, 0, 0, 1], None);
        let link = Link { name, ifindex: NIC, up, running, reported, carrier_changes, mac, unfit };
        let (lower, below, xdp) = (false, None, XdpSlot::default());
        mirror.apply(Fact::Link(LinkFact { link, flags: 0, lower, below, xdp, transmitted: 0 }));
        mirror
    }

    fn route(to: &str, via: Option<&str>) -> RouteFact {
        let via = via.map(|via| via.parse().unwrap());
        RouteFact {
            key: RouteKey { table: 254, to: net(to), metric: 0 },
            protocol: 4,
            src: None,
            nexthop: None,
            hops: vec![Hop { ifindex: NIC, via, alive: true }],
            unicast: true,
            finite: false,
        }
    }

    fn told(mirror: &mut Mirror) -> Vec<Gateways> {
        let list = |event| match event {
            Event::Gateways(list) => Some(list),
            _ => None,
        };
        mirror.take_events().into_iter().filter_map(list).collect()
    }

    fn of(lists: &[Gateways], family: Family) -> (Vec<String>, u32) {
        let list = lists.iter().find(|list| (list.ifindex, list.family) == (NIC, family)).unwrap();
        (list.iter().map(|it| it.address.to_string()).collect(), list.omitted)
    }

    /// A dump comes sorted by destination.
    #[test]
    fn what_cannot_be_a_target_takes_no_place_and_the_router_comes_first() {
        let mut mirror = mirror();
        let mut dump: Vec<_> = (1..=20).map(|n| route(&format!("10.0.0.{n}/32"), None)).collect();
        dump.extend((201..=218).map(|n| route(&format!("192.0.2.{n}/32"), None)));
        dump.push(route("203.0.113.0/24", Some("192.0.2.251")));
        dump.push(route("0.0.0.0/0", Some("192.0.2.252")));
        dump.push(route("::/0", Some("fe80::1")));
        mirror.sweep_routes(dump.clone());
        let lists = told(&mut mirror);
        let (inet, omitted) = of(&lists, Family::Inet);
        assert_eq!((inet.len(), omitted), (Gateways::MAX, 4));
        assert_eq!(inet[..3], ["192.0.2.252", "192.0.2.251", "192.0.2.201"]);
        assert_eq!(of(&lists, Family::Inet6), (vec!["fe80::1".to_owned()], 0));

        mirror.sweep_routes(dump.clone());
        assert_eq!(told(&mut mirror), [], "nothing has changed");
        // The last of a family goes, and the other one is not told again.
        dump.pop();
        mirror.sweep_routes(dump);
        assert_eq!(told(&mut mirror), [Gateways::new(NIC, Family::Inet6)]);
    }

    #[test]
    fn another_reader_is_told_all_lists_anew() {
        let mut mirror = mirror();
        mirror.sweep_routes(vec![route("0.0.0.0/0", Some("192.0.2.252"))]);
        let before = told(&mut mirror);
        let settings = mirror.settings.clone();
        mirror.set_settings(settings);
        assert_eq!(told(&mut mirror), before);
        // No interface of ours any more.
        mirror.set_settings(Settings::default());
        assert_eq!(told(&mut mirror), [Gateways::new(NIC, Family::Inet)]);
    }
}
