//! Gives back a part of what was taken over, while the daemon runs: what a reload, or the end of a trial, takes
//! out of the configuration is left as it was found. A host may have no other address.

use std::net::IpAddr;

use mpathd_core::ids::Family;

use super::Release;
use crate::host::facts::{AddressFact, LinkFact};
use crate::host::netlink::Refused;
use crate::host::taken::{Taken, What};

impl Release {
    /// Addresses first, for the kernel wants the source of a route to be there. Ours go later.
    ///
    /// # Errors
    /// The first refusal of the kernel; the rest is still tried.
    pub(in crate::host) fn give_back(&mut self, all: &[Taken]) -> Result<(), Refused> {
        let mut outcome = Ok(());
        for taken in all {
            if let What::Address(net) = taken.what
                && let Some(link) = self.place_of(taken, net.address)
            {
                let there = |fact: &AddressFact| {
                    fact.ifindex == link.link.ifindex && fact.address.address == net.address
                };
                // The kernel takes an IPv6 address there but once.
                let again = net.family() == Family::Inet6 && self.addresses.iter().any(there);
                outcome = outcome.and(self.give_back_address(&link, taken, again));
            }
        }
        for taken in all {
            let link = self.links.iter().find(|l| l.link.name == taken.interface && l.link.up);
            if let (What::Route(_), Some(link)) = (taken.what, link.copied()) {
                outcome = outcome.and(self.give_back_route(&link, taken));
            }
        }
        outcome
    }

    /// Where it was or, where that is not up, where ours is.
    fn place_of(&self, taken: &Taken, ip: IpAddr) -> Option<LinkFact> {
        let up = || self.links.iter().filter(|link| link.link.up);
        let own = up().find(|link| link.link.name == taken.interface);
        let holds = |link: &&LinkFact| {
            let mut all = self.addresses.iter().filter(|fact| fact.address.address == ip);
            all.any(|fact| fact.ifindex == link.link.ifindex && fact.ours())
        };
        own.or_else(|| up().find(holds)).copied()
    }
}
