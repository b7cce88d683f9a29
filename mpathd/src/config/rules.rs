//! What the values of a file have to say to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mpathd_core::config::{MAX_MEMBERS, ROUTE_METRIC, TABLE_MAIN, TestAddress};
use mpathd_core::ids::{Family, IfName, IpNet};

use super::MAX_INTERFACES;
use super::address::{family_name, is_link_local};
use super::error::{ConfigError, Place, Problem};
use super::origin::key_path;
use super::raw::{File, Group, Interface, Located, Route};
use subnets::Subnets;

mod subnets;

/// Adds what is wrong to `errors`.
pub(super) fn check(file: &File, errors: &mut Vec<ConfigError>) {
    let mut rules = Rules { own: Own::default(), errors };
    rules.memberships(file);
    rules.addresses(file);
    for group in &file.groups {
        rules.size(group);
        rules.targets(group);
        rules.routes(group);
    }
    rules.routes_to_subnets(file);
    rules.route_keys(file);
    rules.subnets(file);
    rules.slots(file);
}

struct Rules<'e> {
    own: Own,
    errors: &'e mut Vec<ConfigError>,
}

/// The addresses that the file gives this host.
#[derive(Default)]
struct Own {
    data: BTreeMap<IpAddr, Place>,
    test: BTreeMap<IpAddr, Place>,
}

impl Own {
    fn place(&self, address: IpAddr) -> Option<&Place> {
        self.data.get(&address).or_else(|| self.test.get(&address))
    }
}

impl Rules<'_> {
    fn reject<T>(&mut self, value: &Located<T>, problem: Problem) {
        self.errors.push(value.at.error(problem));
    }

    fn memberships(&mut self, file: &File) {
        let mut seen: BTreeMap<IfName, (&Group, &Place)> = BTreeMap::new();
        for group in &file.groups {
            for interface in &group.interfaces {
                let name = &interface.name;
                if let Some((other, place)) = seen.get(&name.value) {
                    let group = other.name.value.to_string();
                    let place = (*place).clone();
                    self.reject(name, Problem::InterfaceInTwoGroups { group, place });
                } else {
                    seen.insert(name.value, (group, &name.at.place));
                }
            }
        }
    }

    fn addresses(&mut self, file: &File) {
        for data in file.groups.iter().flat_map(|group| &group.data) {
            match self.own.data.get(&data.value.address).cloned() {
                Some(place) => self.reject(data, Problem::DataTwice(place)),
                None => {
                    self.own.data.insert(data.value.address, data.at.place.clone());
                }
            }
        }
        for interface in file.groups.iter().flat_map(|group| &group.interfaces) {
            self.test_addresses(interface);
        }
    }

    fn test_addresses(&mut self, interface: &Interface) {
        let mut families = [false; 2];
        for test in &interface.test {
            let family = match test.value {
                TestAddress::Static(net) => net.family(),
                TestAddress::LinkLocal => Family::Inet6,
            };
            if std::mem::replace(&mut families[family as usize], true) {
                self.reject(test, Problem::SecondTest(family_name(family)));
            }
            let TestAddress::Static(net) = test.value else { continue };
            if let Some(place) = self.own.data.get(&net.address).cloned() {
                self.reject(test, Problem::TestIsData(place));
            } else if let Some(place) = self.own.test.get(&net.address).cloned() {
                self.reject(test, Problem::TestTwice(place));
            } else {
                self.own.test.insert(net.address, test.at.place.clone());
            }
        }
    }

    fn size(&mut self, group: &Group) {
        let count = group.interfaces.len();
        if count == 0 && !group.incomplete {
            let path = key_path(["groups", group.name.value.as_str()]);
            self.reject(&group.name, Problem::NoInterface(path));
        } else if count > MAX_MEMBERS {
            self.reject(&group.name, Problem::TooManyMembers(count));
        }
    }

    /// Two groups on one subnet would want the same route for it.
    fn subnets(&mut self, file: &File) {
        let mut seen: BTreeMap<IpNet, (&Group, &Place)> = BTreeMap::new();
        for group in &file.groups {
            for data in &group.data {
                let (first, place) =
                    *seen.entry(data.value.network()).or_insert((group, &data.at.place));
                // The same address twice has been told already.
                let alone = self.own.data.get(&data.value.address) == Some(&data.at.place);
                if alone && first.name.value != group.name.value {
                    let group = first.name.value.to_string();
                    self.reject(data, Problem::SubnetOfTwoGroups { group, place: place.clone() });
                }
            }
        }
    }

    fn slots(&mut self, file: &File) {
        let mut interfaces = file.groups.iter().flat_map(|group| &group.interfaces);
        if let Some(first) = interfaces.nth(MAX_INTERFACES) {
            let count = MAX_INTERFACES + 1 + interfaces.count();
            let problem = Problem::TooManyInterfaces { count, most: MAX_INTERFACES };
            self.reject(&first.name, problem);
        }
    }

    fn targets(&mut self, group: &Group) {
        let mut seen: BTreeMap<IpAddr, &Place> = BTreeMap::new();
        let tests = Subnets::of_tests(group);
        for target in &group.targets {
            let address = target.value;
            if let Some(place) = seen.insert(address, &target.at.place) {
                self.reject(target, Problem::TargetTwice(place.clone()));
            } else if let Some(place) = self.own.place(address).cloned() {
                self.reject(target, Problem::TargetIsOwn(place));
            } else if let Some((kind, net)) = tests.bound(address) {
                self.reject(target, Problem::NoHostOfSubnet { kind, net, role: "a target" });
            } else if group.incomplete || tests.contain(address) {
            } else if tests.is_empty() {
                self.reject(target, Problem::TargetWithoutTest);
            } else {
                self.reject(target, Problem::TargetOffSubnet(tests.to_string()));
            }
        }
    }

    fn routes(&mut self, group: &Group) {
        let near = Subnets::of_gateways(group);
        let data: BTreeSet<IpAddr> = group.data.iter().map(|data| data.value.address).collect();
        for route in &group.routes {
            let (to, via) = (route.to.value.family(), Family::of(route.via.value));
            if to != via {
                let problem = Problem::RouteFamilies { to: family_name(to), via: family_name(via) };
                self.reject(&route.via, problem);
                continue;
            }
            self.gateway(group, &near, &route.via);
            self.source(group, &data, route);
            if let Some(metric) = route.metric.as_ref().filter(|m| m.value == 0)
                && to == Family::Inet6
            {
                self.reject(metric, Problem::MetricZero);
            }
        }
    }

    fn gateway(&mut self, group: &Group, near: &Subnets, via: &Located<IpAddr>) {
        if let Some(place) = self.own.place(via.value).cloned() {
            self.reject(via, Problem::GatewayIsOwn(place));
        } else if let Some((kind, net)) = near.bound(via.value) {
            self.reject(via, Problem::NoHostOfSubnet { kind, net, role: "a gateway" });
        } else if !is_link_local(via.value) && !group.incomplete && !near.contain(via.value) {
            self.reject(via, Problem::GatewayOffSubnet(near.to_string()));
        }
    }

    fn source(&mut self, group: &Group, data: &BTreeSet<IpAddr>, route: &Route) {
        let family = Family::of(route.via.value);
        if group.incomplete {
        } else if !data.iter().any(|address| Family::of(*address) == family) {
            self.reject(&route.via, Problem::RouteWithoutData(family_name(family)));
        } else if let Some(src) = &route.src
            && !(data.contains(&src.value) && Family::of(src.value) == family)
        {
            let own = group.data.iter().map(|data| data.value);
            let own = subnets::list(own.filter(|net| net.family() == family));
            self.reject(src, Problem::SourceNotData(family_name(family), own));
        }
    }

    /// mpathd sets a route to each data subnet. A configured one at a lower metric would outrank it, and one at the
    /// same metric would replace it again and again. A group's own data subnet needs no gateway at any metric.
    fn routes_to_subnets(&mut self, file: &File) {
        let mut subnets: BTreeMap<IpNet, (&Group, &Located<IpNet>)> = BTreeMap::new();
        for group in &file.groups {
            let with_route =
                |data: &&Located<IpNet>| data.value.len < data.value.family().host_bits();
            for data in group.data.iter().filter(with_route) {
                subnets.entry(data.value.network()).or_insert((group, data));
            }
        }
        for group in &file.groups {
            for route in &group.routes {
                let Some((of, data)) = subnets.get(&route.to.value) else { continue };
                let table = route.table.as_ref().map_or(TABLE_MAIN, |t| t.value);
                let metric = route.metric.as_ref().map_or(ROUTE_METRIC, |m| m.value);
                let own = of.name.value == group.name.value;
                if table == TABLE_MAIN && (own || metric <= ROUTE_METRIC) {
                    let (address, place) = (data.value.address, data.at.place.clone());
                    self.reject(&route.to, Problem::RouteOfSubnet { address, place });
                }
            }
        }
    }

    /// The kernel identifies a route by destination, table and metric: two of ours would take turns.
    fn route_keys(&mut self, file: &File) {
        let mut seen: BTreeMap<(IpNet, u32, u32), &Place> = BTreeMap::new();
        for route in file.groups.iter().flat_map(|group| &group.routes) {
            let table = route.table.as_ref().map_or(TABLE_MAIN, |t| t.value);
            let metric = route.metric.as_ref().map_or(ROUTE_METRIC, |m| m.value);
            let key = (route.to.value, table, metric);
            match seen.get(&key) {
                Some(place) => self.reject(&route.to, Problem::RouteTwice((*place).clone())),
                None => {
                    seen.insert(key, &route.to.at.place);
                }
            }
        }
    }
}
