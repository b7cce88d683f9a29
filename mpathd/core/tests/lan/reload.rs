//! Another configuration is put in force while the host runs on.

use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::config::{Config, Group, TestAddress};
use mpathd_core::engine::Engine;
use mpathd_core::event::Event;
use mpathd_core::ids::{IfName, Ifindex, IpNet};

use super::{Lan, data_of};

/// Until the host thread has told what it knows anew: before it carries out anything for the new engine.
const RETOLD: Duration = Duration::from_micros(50);

impl Lan {
    pub fn reload_group(&mut self, group: Group) {
        self.reload(Config { groups: vec![group] }, 0x0ddb_a115);
    }

    /// As the fast thread does: between two turns.
    pub fn reload(&mut self, config: Config, seed: u64) {
        assert!(self.engine.may_retire(), "no survey yet");
        let mut heir = Engine::new(config.clone(), self.view().saved(), seed);
        heir.make_room_for(&self.config);
        heir.revision = self.engine.revision + 1;
        let mut heir = Some(heir);
        let now = self.now;
        self.call(|engine| {
            if let Some(heir) = heir.as_mut() {
                heir.succeed(engine, now);
                std::mem::swap(engine, heir);
            }
        });
        self.data = data_of(&config);
        self.placed.retain(|address| self.data.contains(address));
        self.config = config;
        self.retell();
        self.turn();
    }

    fn retell(&mut self) {
        let links: Vec<Event> = self.nics.values().map(|nic| Event::Link(nic.link)).collect();
        links.into_iter().for_each(|fact| self.post(RETOLD, fact));
        for (ifindex, address) in self.addresses.clone() {
            let seen = self.address_of_ours(ifindex, address);
            self.post(RETOLD, Event::Address(seen));
        }
        let routes: Vec<Event> = self.routes.values().map(|route| Event::Route(*route)).collect();
        routes.into_iter().for_each(|fact| self.post(RETOLD, fact));
        self.post(RETOLD, Event::Surveyed);
    }

    /// What carries our mark and has no place in the configuration any more; a data address that stands
    /// nowhere else still serves.
    pub(super) fn remove_unconfigured(&mut self, took: Duration) {
        let homes: Vec<(IfName, Vec<IpNet>)> = self.config.groups.iter().flat_map(homes).collect();
        let nics = &self.nics;
        let at_home = |(ifindex, address): &(Ifindex, IpAddr)| {
            let nic = nics.values().find(|nic| nic.link.ifindex == *ifindex);
            let home = nic.and_then(|nic| homes.iter().find(|(name, _)| *name == nic.link.name));
            home.is_some_and(|(_, all)| all.iter().any(|net| net.address == *address))
        };
        let serves = |address: &IpAddr| {
            self.data.contains(address)
                && !self.addresses.iter().any(|there| there.1 == *address && at_home(there))
        };
        let all = self.addresses.iter().copied();
        let strays: Vec<_> = all.filter(|there| !at_home(there) && !serves(&there.1)).collect();
        for (ifindex, address) in strays {
            self.addresses.remove(&(ifindex, address));
            self.post(took, Event::AddressGone { ifindex, address });
        }
        let wanted = |to: &IpNet| {
            self.config.groups.iter().any(|group| {
                group.data.iter().any(|net| net.network() == *to)
                    || group.routes.iter().any(|route| route.to == *to)
            })
        };
        let gone: Vec<_> = self.routes.keys().filter(|key| !wanted(&key.to)).copied().collect();
        for key in gone {
            self.routes.remove(&key);
            self.post(took, Event::RouteGone(key));
        }
    }
}

fn homes(group: &Group) -> impl Iterator<Item = (IfName, Vec<IpNet>)> {
    group.members.iter().map(|member| {
        let tests = member.test.iter().flatten().filter_map(|test| match test {
            TestAddress::Static(net) => Some(*net),
            TestAddress::LinkLocal => None,
        });
        (member.name, group.data.iter().copied().chain(tests).collect())
    })
}
