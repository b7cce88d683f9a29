//! Who is there, and as what: members that are missing, that share a MAC, that lack a test address or
//! a family (behaviour file 5.10 to 5.12, 8.6).

use core::net::IpAddr;
use core::time::Duration;

use crate::claim::Claim;
use crate::engine::Engine;
use crate::ids::{Family, Ifindex};
use crate::instance::Instance;
use crate::member::Member;
use crate::message::Message;
use crate::request::{Peers, Request};
use crate::resource::{DataAddress, Resource};
use crate::time::Instant;

/// A test address that comes within this time is not missed (behaviour file 0.3, TESTADDR_CONF_TIME).
pub(crate) const TEST_ADDRESS_WITHIN: Duration = Duration::from_secs(20);

impl Engine {
    /// What the mere passing of time changes, and what one member's change means to another.
    pub(crate) fn tend_presence(&mut self, g: usize, now: Instant) {
        let members = self.groups[g].members.clone();
        if self.surveyed {
            for m in members.clone() {
                if self.members[m].duplicate && !self.has_twin(m) {
                    self.end_twin(now, m);
                }
            }
        }
        for m in members.clone() {
            Family::ALL.into_iter().for_each(|family| self.tend_conflict(now, m, family));
        }
        if self.attention.is_walked(g) {
            self.groups[g].addresses.clone().for_each(|k| self.end_data_conflict(now, k));
        }
        for member in &mut self.members[members] {
            if member.set_up_in_vain(now) {
                self.out.message(Message::LinkDown { interface: member.name() });
            }
            if let Some(message) = member.miss_test_address(now) {
                self.out.message(message);
            }
        }
    }

    /// Told at the start, and when it comes into the configuration, of each member whose addresses the
    /// others carry.
    pub(crate) fn tell_missing(&mut self) {
        for group in &self.groups {
            let members = &self.members[group.members.clone()];
            let moved = members.iter().any(Member::fit);
            for member in members.iter().filter(|m| m.link.is_none() && !m.surveyed) {
                let (interface, group_name) = (member.name(), group.name);
                for family in Family::ALL {
                    let mut data = self.addresses[group.addresses.clone()].iter();
                    if data.any(|a| a.net.family() == family) {
                        let group = group_name;
                        self.out.message(Message::Missing { interface, family, group, moved });
                    }
                }
            }
        }
        self.members.iter_mut().for_each(|member| member.surveyed = true);
    }

    /// It has come, or has another MAC. One whose MAC another member has goes out of service: both
    /// would answer for the same addresses of the link layer.
    pub(crate) fn check_twin(&mut self, now: Instant, m: usize) {
        let member = &self.members[m];
        if member.offline || !member.fit() || !self.has_twin(m) {
            return;
        }
        let group = self.groups[self.group_of(m)].name;
        let member = &mut self.members[m];
        (member.offline, member.duplicate, member.since) = (true, true, now);
        member.instances.iter_mut().for_each(Instance::stop);
        let interface = member.name();
        self.out.message(Message::DuplicateMac { interface, group });
        self.out.persist();
    }

    /// Another member in service has the same MAC.
    pub(crate) fn has_twin(&self, m: usize) -> bool {
        let Some(own) = self.members[m].link.filter(|_| !self.is_stranger(m)) else { return false };
        self.groups[self.group_of(m)].members.clone().any(|o| {
            let other = &self.members[o];
            o != m && other.fit() && !other.offline && other.link.is_some_and(|l| l.mac == own.mac)
        })
    }

    fn end_twin(&mut self, now: Instant, m: usize) {
        let group = self.groups[self.group_of(m)].name;
        let member = &mut self.members[m];
        (member.offline, member.duplicate, member.since) = (false, false, now);
        member.set_aside = false;
        let interface = member.name();
        if member.link.is_some() {
            self.out.message(Message::UniqueMac { interface, group });
        }
        self.out.persist();
    }

    /// Its neighbours know another MAC for its addresses; the test addresses are told of too, or the
    /// targets would answer to nobody.
    pub(crate) fn mac_changed(&mut self, now: Instant, m: usize) {
        let Some(link) = self.members[m].link.filter(|_| !self.is_stranger(m)) else { return };
        let g = self.group_of(m);
        let (interface, mac) = (self.members[m].name(), link.mac);
        self.out.message(Message::NewMac { interface, mac });
        self.groups[g].announce = true;
        for family in Family::ALL {
            let instance = self.members[m].instance(family);
            let Some(address) = instance.test else { continue };
            let mut peers: Peers = self.groups[g].peers[family as usize];
            instance.paths.iter().filter_map(|p| p.target()).for_each(|t| peers.push(t));
            let ifindex = link.ifindex;
            let announce = Request::Announce { ifindex, address, peers };
            self.request(now, crate::engine::NO_ANSWER, announce);
        }
        self.check_twin(now, m);
    }

    /// Whether the interface takes addresses of a family at all: `disable_ipv6`, or an MTU below 1280.
    pub(crate) fn plumbed(&mut self, ifindex: Ifindex, family: Family, plumbed: bool) {
        let Some(m) = self.member_at(ifindex) else { return };
        let g = self.group_of(m);
        let before = core::mem::replace(&mut self.members[m].plumbed[family as usize], plumbed);
        if before != plumbed {
            self.forgive_family(m, family);
        }
        let data = self.addresses[self.groups[g].addresses.clone()].iter();
        let members = &self.members[self.groups[g].members.clone()];
        let concerns = data.map(|a| a.net.family()).any(|f| f == family)
            || members.iter().any(|m| m.test_config(family).is_some());
        if before == plumbed || !concerns {
            return;
        }
        let (interface, group) = (self.members[m].name(), self.groups[g].name);
        self.out.message(if plumbed {
            Message::Consistent { interface, group }
        } else {
            Message::NotPlumbed { interface, family, group }
        });
    }
}

impl Engine {
    /// Another host has answered for an address of ours.
    pub(crate) fn claimed(
        &mut self,
        now: Instant,
        ifindex: Ifindex,
        address: IpAddr,
        mac: [u8; 6],
    ) {
        let Some(m) = self.member_at(ifindex) else { return };
        if self.members.iter().any(|o| o.link.is_some_and(|l| l.mac == mac)) {
            return;
        }
        let configured = self.static_test(m, Family::of(address)).map(|net| net.address);
        let instance = &mut self.members[m].instances[Family::of(address) as usize];
        if instance.test == Some(address) || configured == Some(address) {
            if Claim::answered(&mut instance.claim, mac, now) {
                let interface = self.members[m].name();
                self.out.message(Message::DuplicateTest { interface, address, mac });
            }
        } else if let Some(k) = self.address_at(address)
            && Claim::answered(&mut self.addresses[k].claim, mac, now)
        {
            // Nothing moves: it would be the other host's on any NIC.
            let interface = self.members[m].name();
            self.out.message(Message::DuplicateData { interface, address, mac });
        }
    }

    /// Replies to the test address may go to the other host. As long as they come, they prove what they
    /// always prove; where they do not, their absence proves nothing.
    fn tend_conflict(&mut self, now: Instant, m: usize, family: Family) {
        let interface = self.members[m].name();
        let instance = &mut self.members[m].instances[family as usize];
        let over = Claim::end(&mut instance.claim, now);
        instance.look_for_conflict(now);
        if let Some(address) = instance.test.filter(|_| over) {
            self.out.message(Message::UniqueAddress { interface, address });
        }
    }

    fn end_data_conflict(&mut self, now: Instant, k: usize) {
        let over = Claim::end(&mut self.addresses[k].claim, now);
        let DataAddress { net, holder, .. } = self.addresses[k];
        if let Some(position) = holder.filter(|_| over) {
            let g = self.group_of_address(k);
            let interface = self.members[self.groups[g].members.start + position].name();
            let address = net.address;
            self.out.message(Message::UniqueAddress { interface, address });
        }
    }

    pub(crate) fn neighbour_proxy(&mut self, ifindex: Ifindex, family: Family, mac: [u8; 6]) {
        let Some(m) = self.member_at(ifindex) else { return };
        let interface = self.members[m].name();
        self.out.message(Message::NeighbourProxy { interface, family, mac });
    }

    /// What became of its addresses when the family went was nobody's drift.
    fn forgive_family(&mut self, m: usize, family: Family) {
        let (g, position) = (self.group_of(m), self.position(m));
        let test = self.slot_of(Resource::Test(m, family));
        self.slots[test].forgive();
        for k in self.groups[g].addresses.clone() {
            if self.addresses[k].net.family() == family {
                let slot = self.slot_of(Resource::Data(k, position));
                self.slots[slot].forgive();
            }
        }
    }
}

impl Member {
    /// It was set up by us, and has no carrier: a failure from now on.
    fn set_up_in_vain(&mut self, now: Instant) -> bool {
        let in_vain = self.set_up_until.is_some_and(|until| until <= now) && !self.link_up();
        if in_vain {
            self.set_up_until = None;
        }
        in_vain
    }

    /// Behaviours 16 to 18: told once, and again only after there was one.
    fn miss_test_address(&mut self, now: Instant) -> Option<Message> {
        let interface = self.name();
        let has_one = self.instances.iter().any(|i| i.test.is_some());
        if has_one || !self.fit() || self.offline {
            self.untested_since = None;
            let told = has_one && core::mem::take(&mut self.untested_told);
            return told.then_some(Message::TestAddressBack { interface });
        }
        let since = *self.untested_since.get_or_insert(now);
        let due = !self.untested_told && now.since(since) >= TEST_ADDRESS_WITHIN;
        self.untested_told |= due;
        due.then_some(Message::NoTestAddress { interface })
    }

    /// When the lack of a test address will be told.
    pub(crate) fn misses_test_address_at(&self) -> Option<Instant> {
        self.untested_since.filter(|_| !self.untested_told).map(|at| at + TEST_ADDRESS_WITHIN)
    }

    /// When an address conflict of it is over, unless the other host answers again.
    pub(crate) fn claim_ends_at(&self) -> Option<Instant> {
        self.instances.iter().filter_map(|i| i.claim).map(|claim| claim.ends_at()).min()
    }
}
