//! The table of resources: which place each has, and whose it is. Of members first, then data addresses on
//! each member of their group, routes, what belongs to no group, and what is taken over.

use core::ops::Range;

use crate::engine::Engine;
use crate::group::Group;
use crate::ids::Family;
use crate::resource::{Resource, Slot};

/// Prepare, test addresses, attach, transmits, searches.
const SLOTS_PER_MEMBER: usize = 7;

impl Engine {
    pub(crate) fn build_slots(&mut self) {
        for m in 0..self.members.len() {
            let [inet, inet6] = Family::ALL.map(|f| Resource::Test(m, f));
            let [search, search6] = Family::ALL.map(|f| Resource::Search(m, f));
            let (attach, transmits) = (Resource::Attach(m), Resource::Transmits(m));
            let of_member = [Resource::Prepare(m), inet, inet6, attach, transmits, search, search6];
            self.slots.extend(of_member.map(Slot::new));
        }
        for group in &self.groups {
            for k in group.addresses.clone() {
                self.data_slots.push(self.slots.len());
                self.slots
                    .extend((0..group.members.len()).map(|p| Slot::new(Resource::Data(k, p))));
            }
        }
        self.slots.extend((0..self.routes.len()).map(|r| Slot::new(Resource::Route(r))));
        self.slots.push(Slot::new(Resource::Unconfigured));
        self.take_slots = self.slots.len();
        self.slots.extend((0..self.addresses.len()).map(|k| Slot::new(Resource::TakeData(k))));
        for m in 0..self.members.len() {
            self.slots.extend(Family::ALL.map(|f| Slot::new(Resource::TakeTest(m, f))));
        }
        self.slots.extend((0..self.routes.len()).map(|r| Slot::new(Resource::TakeRoute(r))));
    }

    /// Those of a group's members.
    pub(crate) fn slots_of_members(&self, g: usize) -> Range<usize> {
        let members = &self.groups[g].members;
        members.start * SLOTS_PER_MEMBER..members.end * SLOTS_PER_MEMBER
    }

    /// Those of a group's addresses and routes, then of what it takes over.
    pub(crate) fn slots_of_bindings(&self, g: usize) -> impl Iterator<Item = usize> + use<> {
        let Group { members, addresses, routes, .. } = &self.groups[g];
        let first_data = self.data_slots.get(addresses.start).copied().unwrap_or_default();
        let first_route = self.slot_of(Resource::Route(0));
        let take_tests = self.take_slots + self.addresses.len();
        let take_routes = take_tests + self.members.len() * 2;
        let of_data = first_data..first_data + addresses.len() * members.len();
        let of_routes = first_route + routes.start..first_route + routes.end;
        let taken_data = self.take_slots + addresses.start..self.take_slots + addresses.end;
        let taken_tests = take_tests + members.start * 2..take_tests + members.end * 2;
        let taken_routes = take_routes + routes.start..take_routes + routes.end;
        of_data.chain(of_routes).chain(taken_data).chain(taken_tests).chain(taken_routes)
    }

    /// `None`: what it is for belongs to no group.
    pub(crate) fn group_of_slot(&self, index: usize) -> Option<usize> {
        let of_route = |r| self.groups.iter().position(|g| g.routes.contains(&r));
        match self.slots[index].what {
            Resource::Prepare(m)
            | Resource::Test(m, _)
            | Resource::Attach(m)
            | Resource::Transmits(m)
            | Resource::Search(m, _)
            | Resource::TakeTest(m, _) => Some(self.group_of(m)),
            Resource::Data(k, _) | Resource::TakeData(k) => Some(self.group_of_address(k)),
            Resource::Route(r) | Resource::TakeRoute(r) => of_route(r),
            Resource::Unconfigured => None,
        }
    }

    pub(crate) fn unconfigured(&self) -> &Slot {
        &self.slots[self.take_slots - 1]
    }

    pub(crate) fn slot_of(&self, what: Resource) -> usize {
        match what {
            Resource::Prepare(m) => m * SLOTS_PER_MEMBER,
            Resource::Test(m, family) => m * SLOTS_PER_MEMBER + 1 + family as usize,
            Resource::Attach(m) => m * SLOTS_PER_MEMBER + 3,
            Resource::Transmits(m) => m * SLOTS_PER_MEMBER + 4,
            Resource::Search(m, family) => m * SLOTS_PER_MEMBER + 5 + family as usize,
            Resource::Data(k, position) => self.data_slots[k] + position,
            Resource::Route(r) => self.take_slots - 1 - self.routes.len() + r,
            Resource::Unconfigured => self.take_slots - 1,
            Resource::TakeData(k) => self.take_slots + k,
            Resource::TakeTest(m, family) => {
                self.take_slots + self.addresses.len() + m * 2 + family as usize
            }
            Resource::TakeRoute(r) => {
                self.take_slots + self.addresses.len() + self.members.len() * 2 + r
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::config::{Config, Datapath, Group as Configured, Member, Route, TestAddress};
    use crate::state::Saved;
    use alloc::vec;
    use core::time::Duration;
    use std::format;

    /// `count` members and addresses; a route for the subnet, and two configured ones.
    fn group(n: usize, count: usize) -> Configured {
        let net = |host: usize| format!("10.0.{n}.{host}/24").parse().unwrap();
        let route = |metric| Route {
            to: "0.0.0.0/0".parse().unwrap(),
            via: format!("10.0.{n}.1").parse().unwrap(),
            metric,
            table: 254,
            src: None,
        };
        let member = |m: usize| Member {
            name: format!("eth{n}{m}").parse().unwrap(),
            standby: false,
            test: [Some(TestAddress::Static(net(11 + m))), None],
            datapath: Datapath::Auto,
            consume_replies: true,
        };
        let of_all = Duration::from_secs(1);
        Configured {
            name: format!("g{n}").parse().unwrap(),
            fdt: of_all,
            failback: true,
            quiet_period: of_all,
            data: (0..count).map(|k| net(50 + k)).collect(),
            targets: vec![],
            routes: vec![route(10 + 2 * n as u32), route(11 + 2 * n as u32)],
            members: (0..count).map(member).collect(),
        }
    }

    #[test]
    fn every_resource_is_found_at_its_own_place() {
        let config = Config { groups: vec![group(0, 3), group(1, 2)] };
        let engine = Engine::new(config, Saved::default(), 1);
        // Members, addresses on members, routes, what is in no group, and what is taken over.
        let expected = 5 * SLOTS_PER_MEMBER + (9 + 4) + 6 + 1 + (5 + 5 * 2 + 6);
        assert_eq!(engine.slots.len(), expected);
        for (index, slot) in engine.slots.iter().enumerate() {
            assert_eq!(engine.slot_of(slot.what), index, "{:?}", slot.what);
            let of_group = engine.group_of_slot(index);
            assert_eq!(of_group.is_none(), slot.what == Resource::Unconfigured);
            let ranges = |g: usize| {
                let of_bindings = engine.slots_of_bindings(g).any(|at| at == index);
                of_bindings || engine.slots_of_members(g).contains(&index)
            };
            let in_groups: std::vec::Vec<usize> = (0..2).filter(|g| ranges(*g)).collect();
            assert_eq!(in_groups, of_group.into_iter().collect::<std::vec::Vec<_>>());
        }
        assert_eq!(engine.unconfigured().what, Resource::Unconfigured);
    }
}
