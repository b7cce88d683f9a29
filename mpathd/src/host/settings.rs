//! What the host thread must know of the configuration: whose addresses and routes concern it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use mpathd_core::config::{Config, Group, ROUTE_METRIC, TABLE_MAIN, TestAddress};
use mpathd_core::event::RouteKey;
use mpathd_core::ids::{Family, IfName, IpNet};
use mpathd_core::request::Role;

use super::taken::Taken;
use crate::config::Sysctls;
use crate::slow::state::{OldSysctl, State};

/// IPv4 routes by one gateway from which on they share a group of next-hop objects: each that is replaced by
/// itself takes 6 us in the kernel, and as much again to tell.
const MANY: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Members of all groups.
    pub interfaces: BTreeSet<IfName>,
    /// Those whose replies end at the hook.
    pub consuming: BTreeSet<IfName>,
    /// Those of groups with `egress_redirect`.
    pub redirected: BTreeSet<IfName>,
    /// Interfaces outside of groups are watched too.
    pub strangers: bool,
    /// Data and test addresses: observed wherever on the host they stand.
    pub addresses: BTreeSet<IpAddr>,
    /// Where each of them may be: a data address on any member of its group.
    pub homes: BTreeSet<(IfName, IpAddr)>,
    /// What each of them is, with its configured prefix length.
    pub roles: BTreeMap<IpAddr, (IpNet, Role)>,
    /// Addresses of ours by the record of the state file: theirs is the last word, for whoever sets an
    /// address anew wipes the mark (O2).
    pub recorded: BTreeSet<(IfName, IpAddr)>,
    /// Keys of our routes; a route there is told whoever made it.
    pub routes: BTreeSet<RouteKey>,
    /// Values of sysctls before ours, by that record.
    pub sysctls: Vec<OldSysctl>,
    /// Directory of the record of sysctls; without one there is no record.
    pub record_dir: Option<PathBuf>,
    /// Configured routes and their gateways: those of somebody else that go the same way are taken
    /// over.
    pub gateways: BTreeMap<RouteKey, IpAddr>,
    /// Prefixes on which the targets of each interface are, those of all its group.
    pub target_subnets: BTreeMap<IfName, BTreeSet<IpNet>>,
    /// Gateways of [`MANY`] routes.
    pub busy_gateways: BTreeSet<IpAddr>,
    /// Addresses that are taken over though they have a lifetime.
    pub dynamic: BTreeSet<IpAddr>,
    /// What was taken over, by that record.
    pub taken: Vec<Taken>,
    /// `receive_priority`, where it is not 0.
    pub receive_priority: BTreeMap<IfName, u8>,
    /// NICs whose NAPI is in threads by us, and whether it was before, by that record.
    pub threaded: Vec<(IfName, bool)>,
    /// `sysctls = "check"`: wrong values are reported, not changed.
    pub only_check_sysctls: bool,
}

impl Settings {
    pub fn new(config: &Config, sysctls: Sysctls) -> Self {
        let mut settings =
            Self { only_check_sysctls: sysctls == Sysctls::Check, ..Self::default() };
        config.named().for_each(|group| settings.add(group));
        let mut routes_by: BTreeMap<IpAddr, usize> = BTreeMap::new();
        settings.gateways.values().for_each(|via| *routes_by.entry(*via).or_default() += 1);
        let busy = routes_by.into_iter().filter(|(_, routes)| *routes >= MANY);
        settings.busy_gateways = busy.map(|(via, _)| via).collect();
        settings.strangers = config.groups.iter().any(Group::is_anonymous);
        settings
    }

    /// With what an earlier daemon has put in place.
    #[must_use]
    pub fn with_record(mut self, state: &State) -> Self {
        self.recorded =
            state.addresses.iter().map(|own| (own.interface, own.address.address)).collect();
        self.taken = state.taken.clone();
        self.threaded = state.threaded.iter().map(|it| (it.interface, it.before)).collect();
        self.sysctls = state.sysctls.clone();
        self
    }

    /// Addresses of this group are taken over even with a finite lifetime.
    pub fn take_dynamic(&mut self, group: &Group) {
        self.dynamic.extend(group.data.iter().map(|net| net.address));
        let tests = group.members.iter().flat_map(|m| m.test.into_iter().flatten());
        self.dynamic.extend(tests.filter_map(|test| match test {
            TestAddress::Static(net) => Some(net.address),
            TestAddress::LinkLocal => None,
        }));
    }

    /// The members of this group can send for each other.
    pub fn redirect_egress(&mut self, group: &Group) {
        self.redirected.extend(group.members.iter().map(|member| member.name));
    }

    fn add(&mut self, group: &Group) {
        for member in &group.members {
            for data in &group.data {
                self.own(member.name, *data, Role::Data);
            }
            for test in member.test.into_iter().flatten() {
                if let TestAddress::Static(net) = test {
                    self.own(member.name, net, Role::Test);
                }
            }
        }
        let subnets = target_subnets(group);
        let of_member = group.members.iter().map(|member| (member.name, subnets.clone()));
        self.target_subnets.extend(of_member);
        let consuming = group.members.iter().filter(|member| member.consume_replies);
        self.consuming.extend(consuming.map(|member| member.name));
        self.interfaces.extend(group.members.iter().map(|member| member.name));
        self.routes.extend(group.data.iter().map(|net| RouteKey {
            table: TABLE_MAIN,
            to: net.network(),
            metric: ROUTE_METRIC,
        }));
        self.gateways.extend(group.routes.iter().map(|route| {
            let (table, to, metric) = (route.table, route.to.network(), route.metric);
            (RouteKey { table, to, metric }, route.via)
        }));
        self.routes.extend(self.gateways.keys());
    }

    fn own(&mut self, home: IfName, net: IpNet, role: Role) {
        self.addresses.insert(net.address);
        self.homes.insert((home, net.address));
        self.roles.insert(net.address, (net, role));
    }
}

/// Those of the test addresses; a link-local one reaches the IPv6 data subnets too.
fn target_subnets(group: &Group) -> BTreeSet<IpNet> {
    let tests = group.members.iter().flat_map(|member| member.test.into_iter().flatten());
    let mut subnets = BTreeSet::new();
    for test in tests {
        match test {
            TestAddress::Static(net) => drop(subnets.insert(net.network())),
            TestAddress::LinkLocal => {
                let data = group.data.iter().filter(|net| net.family() == Family::Inet6);
                subnets.extend(data.map(IpNet::network));
            }
        }
    }
    subnets
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    #[test]
    fn a_gateway_of_many_routes_is_busy() {
        let busy = |routes: usize| {
            let route = |n| format!("{{ to = \"10.0.{n}.0/24\", via = \"192.0.2.1\" }}");
            let routes: Vec<String> = (0..routes).map(route).collect();
            let text = format!(
                "[groups.g]\nfailure_detection_time = \"1s\"\ndata_addresses = [\"192.0.2.50/24\"]\n\
                 routes = [{}]\n[groups.g.interfaces.eth0]\n",
                routes.join(", ")
            );
            let parsed = parse(text.as_bytes(), Path::new("test")).unwrap();
            Settings::new(&parsed.engine, Sysctls::Set).busy_gateways.len()
        };
        assert_eq!((busy(MANY - 1), busy(MANY)), (0, 1));
    }
}
