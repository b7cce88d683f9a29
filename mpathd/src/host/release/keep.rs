//! What stays when mpathd goes: the data addresses and routes on one interface, as ordinary ones. What
//! was taken over becomes what it was; of the rest nobody knows more than its prefix.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mpathd_core::event::RouteKey;
use mpathd_core::ids::{Family, Ifindex, IpNet};

use super::{Kind, Record, Release};
use crate::host::PROTOCOL;
use crate::host::facts::{AddressFact, Hop, LinkFact, NexthopKind, RouteFact};
use crate::host::taken::{Taken, What};

/// What the steps that keep something have to say to those that remove the rest.
#[derive(Default)]
pub(super) struct Kept {
    /// Addresses of ours that go in the same step as their successor comes.
    pub(super) replaced: BTreeSet<(Ifindex, IpAddr)>,
    pub(super) routes: BTreeSet<RouteKey>,
}

impl Release {
    pub(super) fn keep(
        &self,
        record: &Record,
        link: &LinkFact,
        steps: &mut Vec<Kind>,
    ) -> Result<Kept, String> {
        let mut kept = Kept::default();
        self.keep_addresses(record, link, steps, &mut kept)?;
        self.keep_routes(record, link, steps, &mut kept);
        Ok(kept)
    }

    fn keep_addresses(
        &self,
        record: &Record,
        keeper: &LinkFact,
        steps: &mut Vec<Kind>,
        kept: &mut Kept,
    ) -> Result<(), String> {
        let mut data = BTreeSet::new();
        let nets = record.addresses.iter().map(|(_, net)| *net);
        data.extend(nets.filter(|net| record.data.contains(&net.address)));
        if data.is_empty() && self.addresses.iter().any(AddressFact::ours) {
            return Err("the state file names no data address, so their prefix lengths are not \
                        known; release without --keep-on, or name the right --run-dir"
                .to_owned());
        }
        for (taken, link) in self.addresses_taken(record, keeper) {
            let What::Address(address) = taken.what else { continue };
            if link.link.ifindex == keeper.link.ifindex {
                data.retain(|net| net.address != address.address);
            }
            let again = self.is_in_the_way(record, &link, address, kept);
            steps.push(Kind::GiveBackAddress { link, taken, again });
        }
        for address in data {
            let again = self.is_in_the_way(record, keeper, address, kept);
            steps.push(Kind::AddOrdinary { link: *keeper, address, again });
        }
        Ok(())
    }

    /// In the order that gives the kernel's own order: it puts a new IPv4 address behind the others, a new
    /// IPv6 address before them. A data address comes on `keeper`, in the form it had there or, if it was
    /// not there, in the form that it had on another NIC. What else there was, a test address or a further
    /// copy such as one on `lo`, comes where it was.
    fn addresses_taken(&self, record: &Record, keeper: &LinkFact) -> Vec<(Taken, LinkFact)> {
        let mut chosen: Vec<(Taken, LinkFact)> = Vec::new();
        let on_keeper = |taken: &&Taken| taken.interface == keeper.link.name;
        let first = record.taken.iter().filter(on_keeper);
        for taken in first.chain(record.taken.iter().filter(|t| !on_keeper(t))) {
            let What::Address(address) = taken.what else { continue };
            let is_data = record.data.contains(&address.address);
            let own = self.links.iter().find(|l| l.link.name == taken.interface && l.link.up);
            let is_kept = chosen.iter().any(|(t, link)| match t.what {
                What::Address(other) => {
                    other.address == address.address && link.link.ifindex == keeper.link.ifindex
                }
                What::Route(_) => false,
            });
            let moves = is_data && !is_kept && !own.is_some_and(LinkFact::is_loopback);
            if let Some(link) = if moves { Some(keeper) } else { own } {
                chosen.push((taken.clone(), *link));
            }
        }
        let (v4, mut v6): (Vec<_>, Vec<_>) = chosen
            .into_iter()
            .partition(|(t, _)| matches!(t.what, What::Address(a) if a.family() == Family::Inet));
        v6.reverse();
        v4.into_iter().chain(v6).collect()
    }

    /// The kernel takes an IPv6 address but once on a NIC, and IPv4 one of the same prefix length.
    fn is_in_the_way(
        &self,
        record: &Record,
        link: &LinkFact,
        address: IpNet,
        kept: &mut Kept,
    ) -> bool {
        let (ifindex, ip) = (link.link.ifindex, address.address);
        let again = (ip.is_ipv6() || address.len == 32)
            && self.addresses.iter().any(|f| {
                f.ifindex == ifindex && f.address.address == ip && self.is_ours(f, record)
            });
        if again {
            kept.replaced.insert((ifindex, ip));
        }
        again
    }

    /// Routes with a gateway stay; those of the subnets the kernel makes by itself.
    fn keep_routes(
        &self,
        record: &Record,
        link: &LinkFact,
        steps: &mut Vec<Kind>,
        kept: &mut Kept,
    ) {
        let mut back: Vec<Kind> = Vec::new();
        for taken in &record.taken {
            if let What::Route(_) = taken.what {
                back.push(Kind::GiveBackRoute { link: *link, taken: taken.clone() });
            }
        }
        for route in self.routes.iter().filter(|r| r.protocol == PROTOCOL) {
            let was_taken = |taken: &Taken| match taken.what {
                What::Route(key) => (key.table, key.to) == (route.key.table, route.key.to),
                What::Address(_) => false,
            };
            if record.taken.iter().any(was_taken) {
                continue;
            }
            if let Some(via) = self.hops(route).iter().find_map(|hop| hop.via) {
                kept.routes.insert(route.key);
                steps.push(Kind::KeepRoute { link: *link, route: route.clone(), via });
            }
        }
        steps.extend(back);
    }

    fn hops(&self, route: &RouteFact) -> Vec<Hop> {
        let kind = |id: u32| self.nexthops.iter().find(|n| n.id == id).map(|n| &n.kind);
        let mut hops = route.hops.clone();
        match route.nexthop.and_then(kind) {
            Some(NexthopKind::Hop(hop)) => hops.push(*hop),
            Some(NexthopKind::Group(members)) => {
                hops.extend(members.iter().filter_map(|id| match kind(*id) {
                    Some(NexthopKind::Hop(hop)) => Some(*hop),
                    _ => None,
                }));
            }
            Some(NexthopKind::Other) | None => {}
        }
        hops
    }
}
