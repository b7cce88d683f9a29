//! What the host thread must know of the configuration: whose addresses and routes concern it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mpathd_core::config::{Config, Group, ROUTE_METRIC, TABLE_MAIN, TestAddress};
use mpathd_core::event::RouteKey;
use mpathd_core::ids::IfName;

use crate::config::Sysctls;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Members of all groups.
    pub interfaces: BTreeSet<IfName>,
    /// Data and test addresses: observed wherever on the host they stand.
    pub addresses: BTreeSet<IpAddr>,
    /// Where each of them may be: a data address on any member of its group.
    pub homes: BTreeSet<(IfName, IpAddr)>,
    /// Keys of our routes; a route there is told whoever made it.
    pub routes: BTreeSet<RouteKey>,
    /// `sysctls = "check"`: wrong values are reported, not changed.
    pub only_check_sysctls: bool,
}

impl Settings {
    pub fn new(config: &Config, sysctls: Sysctls) -> Self {
        let mut settings =
            Self { only_check_sysctls: sysctls == Sysctls::Check, ..Self::default() };
        config.groups.iter().for_each(|group| settings.add(group));
        settings
    }

    fn add(&mut self, group: &Group) {
        let tests = group.members.iter().flat_map(|m| m.test).filter_map(|test| match test? {
            TestAddress::Static(net) => Some(net.address),
            TestAddress::LinkLocal => None,
        });
        for member in &group.members {
            let own = member.test.iter().filter_map(|test| match test {
                Some(TestAddress::Static(net)) => Some(net.address),
                Some(TestAddress::LinkLocal) | None => None,
            });
            let data = group.data.iter().map(|net| net.address);
            self.homes.extend(own.chain(data).map(|address| (member.name, address)));
        }
        self.addresses.extend(tests.chain(group.data.iter().map(|net| net.address)));
        self.interfaces.extend(group.members.iter().map(|member| member.name));
        self.routes.extend(group.data.iter().map(|net| RouteKey {
            table: TABLE_MAIN,
            to: net.network(),
            metric: ROUTE_METRIC,
        }));
        self.routes.extend(group.routes.iter().map(|route| RouteKey {
            table: route.table,
            to: route.to.network(),
            metric: route.metric,
        }));
    }
}
