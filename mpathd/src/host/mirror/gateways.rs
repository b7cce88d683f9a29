//! Next hops of all routing tables, and what host routes lead to: those that may be targets.

use std::net::IpAddr;

use mpathd_core::event::{Event, Gateway, Gateways};
use mpathd_core::ids::Ifindex;

use super::Mirror;
use crate::host::facts::{Hop, RouteFact};

/// Protocol of routes that the kernel makes for addresses.
const RTPROT_KERNEL: u8 = 2;

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
        let hops = self.hops(fact);
        let next = |hop: &Hop| Some((hop.via.or(pin.then_some(to.address))?, hop.ifindex));
        self.gateways.extend(hops.iter().filter_map(next));
    }

    pub(super) fn retell_gateway(&mut self, ip: IpAddr) {
        let mut known = self.gateways.range((ip, Ifindex(0))..=(ip, Ifindex(u32::MAX)));
        if known.next().is_some() {
            self.tell_gateways();
        }
    }

    /// Those by members, for no others can be targets; and not what is an address of this host.
    pub(super) fn tell_gateways(&mut self) {
        let member = |ifindex: Ifindex| {
            self.links.get(&ifindex).is_some_and(|fact| {
                self.settings.interfaces.contains(&fact.link.name) || self.is_stranger(&fact.link)
            })
        };
        let mut gateways = Gateways::default();
        for &(address, ifindex) in &self.gateways {
            if member(ifindex) && !self.is_own(address) {
                gateways.push(Gateway { address, ifindex });
            }
        }
        if self.told.gateways != gateways {
            self.told.gateways = gateways;
            self.events.push(Event::Gateways(gateways));
        }
    }
}
