//! The engine's state as rows for the tools, filled into buffers that are used again.

use core::net::IpAddr;

use crate::claim::conflict;
use crate::engine::Engine;
use crate::ids::{Family, IfName, Ifindex, Mac};
use crate::member::Member;
use crate::message::Reason;
use crate::state::{Saved, SavedBinding, SavedMember};
use crate::time::Instant;
use crate::view::{
    AddressView, GroupView, InstanceView, InterfaceView, Lateness, TargetMode, TargetState,
    TargetView, View, WaitingRoute,
};

impl Engine {
    /// Fills `view`; allocates only while its buffers are smaller than the configuration needs.
    pub fn fill(&self, view: &mut View, now: Instant) {
        view.at = now;
        view.revision = self.revision;
        view.settled = self.is_settled(now);
        view.tidied = self.tidied;
        view.waiting_route = self.waiting_route();
        view.groups.clear();
        view.interfaces.clear();
        view.addresses.clear();
        view.instances.clear();
        view.targets.clear();
        view.proven.clear();
        view.proven.extend(&self.proven);
        view.lateness = Lateness {
            max: self.wakes.max,
            rounds_missed: self.all_missed(),
            request_max: self.requests.max,
            wakes: self.wakes,
            requests: self.requests,
        };
        for group in &self.groups {
            let members = &self.members[group.members.clone()];
            view.groups.push(GroupView {
                name: group.name,
                state: group.state(members),
                fdt: group.achieved_fdt(members, now),
                fdt_requested: group.fdt,
                failback: group.failback,
            });
            for address in &self.addresses[group.addresses.clone()] {
                let seen = (0..members.len()).find(|p| address.on.contains(*p));
                let inbound = address.holder.filter(|h| address.on.contains(*h)).or(seen);
                view.addresses.push(AddressView {
                    address: address.net,
                    group: group.name,
                    up: !address.on.is_empty(),
                    inbound: inbound.map(|p| members[p].name()),
                    wanted: address
                        .holder
                        .filter(|h| Some(*h) != inbound)
                        .map(|p| members[p].name()),
                    held: address.moves.held_until(now).map(|until| until.since(now)),
                    conflict: conflict(address.claim).map(Mac),
                    refused: address
                        .refused
                        .filter(|_| address.is_refused())
                        .and_then(|on| self.name_of(on)),
                });
            }
            let vacant = |m: &&Member| group.is_anonymous() && m.link.is_none();
            for member in members.iter().filter(|m| !vacant(m)) {
                self.fill_member(view, group.name, member, now);
            }
        }
    }

    fn fill_member(&self, view: &mut View, group: crate::ids::GroupName, m: &Member, now: Instant) {
        view.interfaces.push(InterfaceView {
            name: m.name(),
            group,
            ifindex: m.ifindex(),
            active: m.active && m.usable(),
            inactive: m.usable() && !m.active,
            standby: m.config.standby,
            down: !m.link.is_some_and(|l| l.up),
            duplicate_mac: m.duplicate,
            offline: m.offline,
            met: m.met,
            link: m.link_state(),
            probe: m.probe_state(),
            state: m.state(),
            degraded: Family::ALL.map(|f| m.failed.is_none() && m.instance(f).failure.is_some()),
            reason: m.reason(),
            since: m.since,
            receive: m.receive,
            damped: m.held_back_until(now).map(|until| until.since(now)),
            redirected: m.redirected.map(|it| it.and_then(|it| self.name_of(it.to))),
        });
        for instance in &m.instances {
            if m.test_config(instance.family).is_none() {
                continue;
            }
            let (interface, family) = (m.name(), instance.family);
            view.instances.push(InstanceView {
                interface,
                family,
                mode: if instance.test.is_some() { instance.mode } else { TargetMode::Disabled },
                test: instance.test,
                conflict: conflict(instance.claim).map(Mac),
                interval: instance.interval(),
                rounds_missed: instance.missed,
                loss: instance.loss(),
                false_failures_per_year: instance.false_failures_per_year(),
                unwatched: if group.is_anonymous() { None } else { m.unwatched(family) },
            });
            for (i, path) in instance.paths.iter().enumerate() {
                let Some(target) = path.target() else { continue };
                view.targets.push(TargetView {
                    interface,
                    family,
                    target,
                    state: match (path.proven, path.dead) {
                        (false, _) => TargetState::Unproven,
                        (true, true) => TargetState::Dead,
                        (true, _) if path.pace.policed() => TargetState::Policed,
                        (true, false) => TargetState::Active,
                    },
                    interval: instance.interval() * path.pace.every(),
                    path: instance.path_id(i).0,
                    sent: path.sent,
                    acked: path.acked,
                    lost: path.lost,
                    srtt: path.rtt.srtt,
                    rttvar: path.rtt.rttvar,
                    last_reply: path.last_reply,
                });
            }
        }
    }

    fn name_of(&self, ifindex: Ifindex) -> Option<IfName> {
        self.members.iter().find(|m| m.ifindex() == Some(ifindex)).map(Member::name)
    }

    /// Nothing can be wanted of a route now, and what stands at its key is not what the configuration says.
    fn waiting_route(&self) -> Option<WaitingRoute> {
        let mut waiting: Option<WaitingRoute> = None;
        for (g, group) in self.groups.iter().enumerate() {
            for route in &self.routes[group.routes.clone()] {
                let seen = route.observed.filter(|seen| seen.ours && route.wanted.is_none());
                let Some(seen) = seen else { continue };
                let strays =
                    |i: &&Ifindex| self.member_at(**i).is_none_or(|m| self.group_of(m) != g);
                let stray = seen.hops.as_slice().iter().find(strays).copied();
                if stray.is_none() && seen.via == route.via {
                    continue;
                }
                let interface = stray.or(seen.hops.as_slice().first().copied());
                let (to, group, via) = (route.key.to, group.name, seen.via);
                let interface = interface.and_then(|ifindex| self.name_of(ifindex));
                let first = WaitingRoute { to, group, via, interface, count: 0 };
                waiting.get_or_insert(first).count += 1;
            }
        }
        waiting
    }

    fn all_missed(&self) -> u64 {
        self.members.iter().flat_map(|m| &m.instances).map(|i| u64::from(i.missed)).sum()
    }

    /// Every data address that has a NIC is placed and its routes stand.
    pub fn is_settled(&self, now: Instant) -> bool {
        self.surveyed && (0..self.groups.len()).all(|g| self.group_is_settled(g, now))
    }
}

impl View {
    /// What the state file keeps.
    pub fn saved(&self) -> Saved {
        let members = self.interfaces.iter().filter(|i| !i.group.is_anonymous());
        let members = members.map(|i| SavedMember {
            name: i.name,
            failed: i.reason.is_some_and(Reason::is_failure),
            active: i.active,
            offline: i.offline,
            duplicate: i.duplicate_mac,
            met: i.met,
        });
        let bindings = self.addresses.iter().filter_map(|a| {
            Some(SavedBinding { address: a.address.address, interface: a.inbound? })
        });
        let proven: &[IpAddr] = &self.proven;
        Saved { members: members.collect(), bindings: bindings.collect(), proven: proven.into() }
    }
}
