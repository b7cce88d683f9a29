//! Who may be a target of an instance, in the order in which they are taken (behaviour file 4): the
//! configured ones; else the next hops on its test subnet; else hosts that were found.

use core::net::IpAddr;

use crate::config::{self, MAX_CANDIDATES, TestAddress};
use crate::event::{GatewayKind, Gateways};
use crate::hosts::Hosts;
use crate::ids::Family;
use crate::view::TargetMode;

/// How they were found, and all of them; five at most are probed at a time.
pub struct Candidates {
    pub mode: TargetMode,
    /// Others that could be targets, but did not fit; at least so many.
    pub omitted: u32,
    all: [Option<IpAddr>; MAX_CANDIDATES],
}

impl Candidates {
    fn new(mode: TargetMode, from: impl Iterator<Item = IpAddr>) -> Self {
        let mut candidates = Self { mode, omitted: 0, all: [None; MAX_CANDIDATES] };
        from.for_each(|target| candidates.offer(target));
        candidates
    }

    /// Adds a target that is not there yet; one too many is counted only.
    pub fn offer(&mut self, target: IpAddr) {
        if self.contains(target) {
            return;
        }
        match self.all.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(target),
            None => self.omitted += 1,
        }
    }

    /// Adds a target; where all places are taken, in that of the last one that is not probed.
    pub fn keep(&mut self, target: IpAddr, is_probed: impl Fn(IpAddr) -> bool) {
        if self.contains(target) {
            return;
        }
        let free = self.all.iter().position(Option::is_none);
        let unused = || self.all.iter().rposition(|it| it.is_some_and(|it| !is_probed(it)));
        if let Some(place) = free.or_else(unused) {
            self.all[place] = Some(target);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.all.iter().copied().flatten()
    }

    pub fn contains(&self, target: IpAddr) -> bool {
        self.iter().any(|t| t == target)
    }
}

/// What decides who may be a target of an instance.
pub struct Choice<'a> {
    pub group: &'a config::Group,
    pub test: TestAddress,
    pub family: Family,
}

impl Choice<'_> {
    /// `gateways`: of this family, by the interfaces of the group, for a next hop behind another one is on
    /// another LAN.
    pub fn choose<'g>(
        &self,
        gateways: impl Iterator<Item = &'g Gateways> + Clone,
        hosts: &Hosts,
    ) -> Candidates {
        let pinned = self.group.targets.iter().copied().filter(|t| Family::of(*t) == self.family);
        if pinned.clone().next().is_some() {
            let fit = pinned.filter(|t| self.admits(*t));
            return Candidates::new(TargetMode::Pinned, fit);
        }
        let configured = self.group.routes.iter().map(|route| route.via);
        let of_kind = |kind| {
            let all = gateways.clone().flat_map(Gateways::iter);
            all.filter(move |gateway| gateway.kind == kind).map(|gateway| gateway.address)
        };
        let of_tables = GatewayKind::ALL.into_iter().flat_map(of_kind);
        let routers = configured.chain(of_tables).filter(|r| is_link_local(*r) || self.admits(*r));
        let routers = routers.filter(|r| Family::of(*r) == self.family);
        let mut routers = Candidates::new(TargetMode::Routes, routers);
        if routers.iter().next().is_some() {
            // The same ones may be missing in each list.
            routers.omitted += gateways.map(|list| list.omitted).max().unwrap_or(0);
            return routers;
        }
        Candidates::new(hosts.mode(), hosts.iter().filter(|host| self.admits(*host)))
    }

    /// On the test subnet, and nobody's address here.
    pub fn admits(&self, target: IpAddr) -> bool {
        Family::of(target) == self.family && self.is_on_link(target) && !is_own(self.group, target)
    }

    /// The test address' own prefix; a link-local one reaches the data subnets of its family too.
    fn is_on_link(&self, target: IpAddr) -> bool {
        match self.test {
            TestAddress::Static(net) => net.contains(target),
            TestAddress::LinkLocal => {
                is_link_local(target) || self.group.data.iter().any(|net| net.contains(target))
            }
        }
    }
}

/// The host thread leaves out what else is an address of this host.
fn is_own(group: &config::Group, address: IpAddr) -> bool {
    let tests = group.members.iter().flat_map(|m| m.test).flatten();
    group.data.iter().any(|net| net.address == address)
        || tests
            .into_iter()
            .any(|t| matches!(t, TestAddress::Static(net) if net.address == address))
}

/// fe80::/10.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::config::{Group, Member, Route};
    use crate::event::{FoundBy, Gateway};
    use crate::ids::Ifindex;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::time::Duration;
    use std::string::{String, ToString};

    fn group(targets: &[&str]) -> Group {
        let member = |test: &str| Member {
            name: "eth0".parse().unwrap(),
            standby: false,
            test: [Some(TestAddress::Static(test.parse().unwrap())), None],
            datapath: config::Datapath::Auto,
            consume_replies: true,
        };
        Group {
            name: "g".parse().unwrap(),
            fdt: Duration::from_secs(1),
            failback: true,
            quiet_period: Duration::from_secs(40),
            data: vec!["192.0.2.50/24".parse().unwrap(), "2001:db8::50/64".parse().unwrap()],
            targets: targets.iter().map(|t| t.parse().unwrap()).collect(),
            routes: vec![],
            members: vec![member("192.0.2.11/24"), member("192.0.2.12/24")],
        }
    }

    fn inet() -> TestAddress {
        TestAddress::Static("192.0.2.11/24".parse().unwrap())
    }

    fn chosen(
        group: &Group,
        test: TestAddress,
        gateways: &[(&str, u32)],
        found: &[&str],
    ) -> (TargetMode, Vec<String>) {
        let family = match test {
            TestAddress::Static(net) => net.family(),
            TestAddress::LinkLocal => Family::Inet6,
        };
        // Interfaces of the group are 1 and 2.
        let mut all = [1, 2].map(|ifindex| Gateways::new(Ifindex(ifindex), family));
        for (address, ifindex) in gateways {
            let address = address.parse().unwrap();
            for list in all.iter_mut().filter(|list| list.ifindex.0 == *ifindex) {
                list.push(Gateway { address, kind: GatewayKind::Other });
            }
        }
        let mut hosts = Hosts::default();
        for host in found {
            hosts.add(host.parse().unwrap(), FoundBy::Echo, |_| false);
        }
        let targets = Choice { group, test, family }.choose(all.iter(), &hosts);
        (targets.mode, targets.iter().map(|t| t.to_string()).collect())
    }

    fn list(mode: TargetMode, targets: &[&str]) -> (TargetMode, Vec<String>) {
        (mode, targets.iter().map(ToString::to_string).collect())
    }

    /// Behaviours 112, 117.
    #[test]
    fn next_hops_on_the_test_subnet_by_an_interface_of_the_group() {
        let gateways = [
            ("192.0.2.1", 1),
            ("198.51.100.1", 1),
            ("192.0.2.12", 1),
            ("192.0.2.50", 1),
            ("192.0.2.1", 2),
            ("192.0.2.9", 9),
        ];
        let chosen = chosen(&group(&[]), inet(), &gateways, &["192.0.2.77"]);
        assert_eq!(chosen, list(TargetMode::Routes, &["192.0.2.1"]));
    }

    #[test]
    fn gateways_of_the_configuration_are_routers_before_their_routes_stand() {
        let mut group = group(&[]);
        let route = |via: &str| Route {
            to: "0.0.0.0/0".parse().unwrap(),
            via: via.parse().unwrap(),
            metric: 5,
            table: 254,
            src: None,
        };
        group.routes = vec![route("192.0.2.1"), route("2001:db8::1"), route("fe80::1")];
        let tables = [("192.0.2.2", 1), ("192.0.2.1", 1)];
        let both = list(TargetMode::Routes, &["192.0.2.1", "192.0.2.2"]);
        assert_eq!(chosen(&group, inet(), &tables, &[]), both);
        let six = list(TargetMode::Routes, &["2001:db8::1", "fe80::1"]);
        assert_eq!(chosen(&group, TestAddress::LinkLocal, &[], &[]), six);
    }

    #[test]
    fn configured_targets_beat_all() {
        let group = group(&["192.0.2.7", "2001:db8::7", "192.0.2.8", "192.0.2.11"]);
        let pinned = list(TargetMode::Pinned, &["192.0.2.7", "192.0.2.8"]);
        assert_eq!(chosen(&group, inet(), &[("192.0.2.1", 1)], &["192.0.2.9"]), pinned);
        let pinned = list(TargetMode::Pinned, &["2001:db8::7"]);
        assert_eq!(chosen(&group, TestAddress::LinkLocal, &[], &[]), pinned);
    }

    /// Behaviour 21.
    #[test]
    fn link_local_next_hops_count_on_their_own_link_only() {
        let gateways = [("fe80::1", 1), ("fe80::2", 9)];
        let test = TestAddress::LinkLocal;
        assert_eq!(
            chosen(&group(&[]), test, &gateways, &[]),
            list(TargetMode::Routes, &["fe80::1"])
        );
    }

    /// As routers advertise themselves: RFC 4861 section 4.2.
    #[test]
    fn a_link_local_router_is_a_target_of_a_static_ipv6_test_address() {
        let test = TestAddress::Static("2001:db8::11/64".parse().unwrap());
        let mut group = group(&[]);
        group.members[0].test = [None, Some(test)];
        let gateways = [("fe80::1", 1), ("2001:db8:1::1", 1), ("2001:db8::1", 1), ("fe80::2", 9)];
        let routers = list(TargetMode::Routes, &["fe80::1", "2001:db8::1"]);
        assert_eq!(chosen(&group, test, &gateways, &[]), routers);
    }

    /// Behaviours 22, 113, 117.
    #[test]
    fn hosts_where_there_is_no_router_on_the_subnet_only() {
        let found = ["192.0.2.9", "192.0.2.12", "192.0.3.9", "192.0.2.7"];
        let hosts = list(TargetMode::Multicast, &["192.0.2.9", "192.0.2.7"]);
        assert_eq!(chosen(&group(&[]), inet(), &[], &found), hosts);
        let narrow = TestAddress::Static("192.0.2.11/29".parse().unwrap());
        let one = list(TargetMode::Multicast, &["192.0.2.9"]);
        assert_eq!(chosen(&group(&[]), narrow, &[], &found), one);
    }
}
