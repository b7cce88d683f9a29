//! What carries our mark and is in no configuration any more: left by an earlier one, or by a daemon
//! that was killed. Removed when all that is configured stands (O2): routes, their next hops, addresses,
//! then the hooks of NICs that are no members any more, and last their sysctls, for without
//! promote_secondaries the removal of one address could take others with it (A 7).

use std::collections::BTreeSet;

use mpathd_core::event::RouteKey;
use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::message::Severity;
use mpathd_core::request::Role;

use super::facts::AddressFact;
use super::netlink::Refused;
use super::release::Release;
use super::taken::{Taken, What};
use super::{Host, PROTOCOL, address, nexthop, route};
use crate::messages::ToSlow;

impl Host {
    /// # Errors
    /// The first refusal of the kernel; the rest is still tried.
    pub(super) fn remove_unconfigured(&mut self) -> Result<(), Refused> {
        let given_back = self.give_back();
        let routes = self.remove_routes();
        let addresses = self.remove_addresses();
        let nexthops = self
            .monitor
            .refresh_routes(&mut self.requests)
            .and_then(|()| nexthop::sweep(&mut self.requests, &self.monitor.mirror));
        let members: BTreeSet<Ifindex> =
            self.monitor.mirror.members().map(|member| member.link.ifindex).collect();
        self.announcer.keep(&members);
        // Before the hooks go, without which a veth has no NAPI to be set back.
        self.napi.restore_all_but(&self.settings.receive_priority, &mut self.slow);
        self.hooks.keep(&members);
        self.deferral.keep(&members);
        self.sysctls.restore_all_but(&self.settings.interfaces, &mut self.slow);
        self.compare_receivers();
        given_back.and(routes).and(addresses).and(nexthops)
    }

    /// Before ours goes: what somebody else had set, and mpathd has taken over, is left as it was found.
    fn give_back(&mut self) -> Result<(), Refused> {
        let mirror = &self.monitor.mirror;
        let is_to_go = |taken: &Taken| match taken.what {
            What::Address(net) => {
                let mut ours = mirror.all_addresses().filter(|fact| mirror.is_ours(fact));
                !self.settings.addresses.contains(&net.address)
                    && ours.any(|fact| fact.address.address == net.address)
            }
            What::Route(key) => {
                let same = |other: &RouteKey| (other.table, other.to) == (key.table, key.to);
                let mut ours = mirror.routes().filter(|fact| fact.protocol == PROTOCOL);
                !self.settings.routes.iter().any(same) && ours.any(|fact| same(&fact.key))
            }
        };
        let (back, kept): (Vec<_>, Vec<_>) = self.settings.taken.drain(..).partition(is_to_go);
        self.settings.taken = kept;
        if back.is_empty() {
            return Ok(());
        }
        let failed = |text| Refused::with(libc::EIO, text);
        let outcome = Release::begin().map_err(failed).and_then(|mut all| all.give_back(&back));
        for taken in back {
            self.slow.log(Severity::Notice, format!("{taken} is given back as it was"));
            self.slow.push(ToSlow::GivenBack(Box::new(taken)));
        }
        self.monitor.drain();
        outcome
    }

    fn remove_routes(&mut self) -> Result<(), Refused> {
        let mut outcome = Ok(());
        let configured = &self.settings.routes;
        let routes = self.monitor.mirror.routes();
        let strays: Vec<RouteKey> = routes
            .filter(|fact| fact.protocol == PROTOCOL && !configured.contains(&fact.key))
            .map(|fact| fact.key)
            .collect();
        for key in strays {
            let text = format!("removing the route to {}: not configured", key.to);
            self.slow.log(Severity::Notice, text);
            outcome = outcome.and(route::unset(&mut self.requests, &key));
        }
        outcome
    }

    fn remove_addresses(&mut self) -> Result<(), Refused> {
        let mut outcome = Ok(());
        let all: Vec<AddressFact> = self.monitor.mirror.all_addresses().copied().collect();
        for fact in all {
            let Self { requests, monitor, announcer, slow, settings, .. } = self;
            let (ip, ifindex) = (fact.address.address, fact.ifindex);
            let name = monitor.mirror.name(ifindex);
            let recorded = name.is_some_and(|name| settings.recorded.contains(&(name, ip)))
                && fact.address.len == fact.address.family().host_bits();
            if !monitor.mirror.is_ours(&fact) && !recorded {
                continue;
            }
            let is_home = |name: Option<IfName>| {
                name.is_some_and(|name| settings.homes.contains(&(name, ip)))
            };
            let mut places = monitor.mirror.all_addresses().filter(|f| f.address.address == ip);
            let stands_at_home = places.any(|f| is_home(monitor.mirror.name(f.ifindex)));
            // On a renamed device it still serves, until a member has it.
            let is_data = settings.roles.get(&ip).is_some_and(|(_, role)| *role == Role::Data);
            if is_home(name) || is_data && !stands_at_home {
                continue;
            }
            let device = name.map_or_else(|| ifindex.0.to_string(), |name| name.to_string());
            let text = format!("removing {ip} from {device}: not configured there");
            slow.log(Severity::Notice, text);
            outcome = outcome.and(address::delete(requests, ifindex, fact.address));
            announcer.unbound(ip, ifindex, &monitor.mirror, slow);
        }
        outcome
    }
}
