//! The kernel's side: carries out what the engine asks for, and tells it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::event::{
    Address, Done, Errno, Event, Fate, FoundBy, Hops, ObservedRoute, ReceiveMode,
};
use mpathd_core::ids::{Family, IfName, Ifindex, IpNet, PathId, Seq};
use mpathd_core::request::{Action, Notice, Op, PathKey, Request, Role};
use mpathd_core::time::Instant;

use super::{Answer, Lan, Limit, Outcome, Wire};

/// A probe, and when its reply reaches the NIC.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub nic: IfName,
    pub target: IpAddr,
    pub sent: Instant,
    pub reply: Option<Instant>,
}

impl Lan {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Path { path, key: Some(key) } => drop(self.paths.insert(path, key)),
            Action::Path { path, key: None } => drop(self.paths.remove(&path)),
            Action::Round(round) => round.probes().iter().for_each(|p| self.probe(p.path, p.seq)),
            Action::Request(op) => self.request(op),
            Action::Redirect(redirect) => self.redirects.push((self.now, redirect)),
            Action::Herald(herald) => self.heralds.push((self.now, herald)),
            Action::Notice(Notice::Message(message)) => self.messages.push((self.now, message)),
            Action::Notice(Notice::Reply(result)) => self.replies.push(result.is_ok()),
            Action::Notice(Notice::Probe(probe)) => self.probes.push(probe),
            Action::Notice(Notice::Persist) => {}
        }
    }

    fn probe(&mut self, path: PathId, seq: Seq) {
        let key = self.paths[&path];
        self.serial += 1;
        let told = self.answers.get(&(key.name, key.target)).copied();
        let Answer { fate, rtt } = told.unwrap_or_else(|| self.answer(key));
        let nic = self.nics.get_mut(&key.name).unwrap();
        nic.frames += u64::from(fate == Fate::Left);
        let (running, mode, starves_until) = (nic.link.running, nic.mode, nic.starves_until);
        let now = self.now;
        self.call(|engine| engine.handle(now, Event::Sent { path, seq, at: now, fate }));
        let rtt = rtt.filter(|_| running).map(|rtt| rtt.max(starves_until.since(self.now)));
        if let Some(deliveries) = &mut self.deliveries {
            let (nic, target) = (key.name, key.target);
            let reply = rtt.filter(|_| fate != Fate::Resolving).map(|rtt| now + rtt);
            deliveries.push(Delivery { nic, target, sent: now, reply });
        }
        let Some(rtt) = rtt else { return };
        let at = self.now + rtt;
        match fate {
            Fate::Resolving => self.post(rtt, Event::Resolved { path, seq, at }),
            Fate::Left | Fate::Waiting | Fate::Refused if mode == ReceiveMode::Socket => {
                self.post(rtt, Event::Reply { path, seq, at });
            }
            Fate::Left | Fate::Waiting | Fate::Refused => {
                self.slots.insert((at, self.serial), Event::Reply { path, seq, at });
            }
        }
    }

    /// What NIC and target make of a probe.
    fn answer(&mut self, key: PathKey) -> Answer {
        let wire = self.nics[&key.name].wire;
        let fate = match wire {
            Wire::Works | Wire::Cut => Fate::Left,
            Wire::Stuck | Wire::Congested => Fate::Refused,
        };
        let in_burst = self.bursty.get_mut(&key.name).is_some_and(|bursts| {
            let dice = scramble(self.serial);
            bursts.lost =
                if bursts.lost { dice % 100 < bursts.go_on } else { dice % 10_000 < bursts.begin };
            bursts.lost
        });
        let deaf = self.deaf == Some((key.name, key.target.is_ipv6()));
        let target = self.targets.get(&key.target).copied().filter(|t| {
            let nic = self.lossy.get(&key.name).copied().unwrap_or_default();
            let lost = scramble(self.serial) % 100 < t.lose_percent.max(nic);
            let cut = self.cut_paths.contains(&(key.name, key.target));
            t.alive && !lost && !in_burst && !deaf && !cut && wire == Wire::Works
        });
        let target = target.filter(|t| t.limit.is_none_or(|limit| self.may_answer(key, limit)));
        Answer { fate, rtt: target.map(|t| t.rtt) }
    }

    /// Token bucket.
    fn may_answer(&mut self, key: PathKey, limit: Limit) -> bool {
        let one = Duration::from_secs(1) / u32::try_from(limit.per_second).unwrap();
        let burst = one * u32::try_from(limit.burst).unwrap();
        let source = limit.per_source.then_some(key.test);
        let full_at = self.spent.entry((key.target, source)).or_insert(self.now);
        let next = (*full_at).max(self.now) + one;
        let allowed = next.since(self.now) <= burst;
        if allowed {
            *full_at = next;
        }
        allowed
    }

    /// With the last IPv4 address of a NIC the kernel drops the routes over it, unsaid: they must have moved
    /// before a data address does.
    fn assert_no_route_lost(&self, ifindex: Ifindex) {
        let empty = !self.addresses.iter().any(|(at, ip)| *at == ifindex && ip.is_ipv4());
        let over = |r: &&ObservedRoute| {
            r.key.to.family() == Family::Inet && r.hops.as_slice().contains(&ifindex)
        };
        let lost = self.routes.values().filter(|_| empty).find(over);
        assert_eq!(lost, None, "dropped with the last address");
    }

    fn request(&mut self, op: Op) {
        self.requests.push((self.now, op.request));
        let told = self.outcomes.get_mut(&op.id).and_then(VecDeque::pop_front);
        let outcome = told.unwrap_or_else(|| self.outcome(&op.request));
        let took = outcome.takes(self.now);
        let result = outcome.errno.map_or(Ok(()), |errno| Err(Errno(errno)));
        // As the host thread does: what the kernel said of it is told before the acknowledgement.
        if result.is_ok() {
            self.carry_out(op.request, took);
        }
        let done = Done { op: op.id, result, waited: Duration::ZERO, ran: took };
        self.post(took, Event::Done(done));
    }

    fn outcome(&self, request: &Request) -> Outcome {
        let attaches = matches!(request, Request::Attach { .. });
        Outcome {
            took: if attaches { self.attach } else { self.kernel },
            at: None,
            errno: (self.refuse)(request).or_else(|| self.conflict(request)),
        }
    }

    /// What stands in another form goes, and comes anew in one step (IPv4).
    fn set_address(&mut self, ifindex: Ifindex, address: IpAddr, role: Role, took: Duration) {
        let there = (ifindex, address);
        let stood = !self.addresses.insert(there);
        let before = self.forms.insert(there, role);
        if stood && address.is_ipv4() && before.is_some_and(|before| before != role) {
            self.post(took, Event::AddressGone { ifindex, address });
        }
        let seen = self.address_of_ours(ifindex, address);
        self.post(took, Event::Address(seen));
    }

    /// As it is told.
    pub fn address_of_ours(&self, ifindex: Ifindex, address: IpAddr) -> Address {
        let wanted = if self.data.contains(&address) { Role::Data } else { Role::Test };
        let form = self.forms.get(&(ifindex, address)).copied().unwrap_or(wanted);
        let (ours, tentative, stale_form) = (true, false, form != wanted);
        let (link_scope, address) = (form == Role::Test && address.is_ipv4(), IpNet::host(address));
        let (refused, by_kernel) = (false, false);
        Address { ifindex, address, ours, tentative, link_scope, stale_form, refused, by_kernel }
    }

    /// A route of somebody else at the same key: EEXIST.
    fn conflict(&self, request: &Request) -> Option<i32> {
        let Request::SetRoute(wanted) = request else { return None };
        self.routes.get(&wanted.key).filter(|there| !there.ours).map(|_| 17)
    }

    fn carry_out(&mut self, request: Request, took: Duration) {
        match request {
            Request::SetAddress { ifindex, address, role, .. } => {
                if self.nics.values().any(|n| n.link.ifindex == ifindex) {
                    self.set_address(ifindex, address.address, role, took);
                }
            }
            Request::UnsetAddress { ifindex, address, .. } => {
                if self.addresses.remove(&(ifindex, address.address)) {
                    if self.data.contains(&address.address) {
                        self.assert_no_route_lost(ifindex);
                    }
                    let address = address.address;
                    self.post(took, Event::AddressGone { ifindex, address });
                }
            }
            Request::SetRoute(wanted) => {
                assert!(self.stands(wanted.src), "a route from {} that is nowhere", wanted.src);
                let (key, via, src) = (wanted.key, wanted.via, Some(wanted.src));
                let seen = ObservedRoute { key, via, src, hops: wanted.hops, ours: true };
                self.routes.insert(key, seen);
                self.post(took, Event::Route(seen));
            }
            Request::TakeAddress(address) => {
                self.post(took, Event::Foreign { address, on: Hops::default() });
            }
            Request::TakeRoutes(key) => self.post(took, Event::Rivals { key, stand: false }),
            Request::UnsetRoute(key) => drop(self.routes.remove(&key)),
            Request::Attach { ifindex, name, .. } => {
                let mode = self.nics[&name].mode;
                self.post(took, Event::Attached { ifindex, mode });
            }
            Request::Search { ifindex, name, test, neighbours } => {
                for (after, host) in self.found_by_search(name, test) {
                    let by = FoundBy::Echo;
                    self.post(took + after, Event::Found { ifindex, address: host, by });
                }
                let known = self.neighbours.iter().copied().filter(|_| neighbours);
                for address in known.collect::<Vec<_>>() {
                    let by = FoundBy::Neighbours;
                    self.post(took, Event::Found { ifindex, address, by });
                }
            }
            Request::CountTransmits { ifindex, name } => {
                let nic = self.nics.get_mut(&name).unwrap();
                nic.frames += u64::from(nic.wire == Wire::Congested);
                let frames = nic.frames;
                self.post(took, Event::Transmits { ifindex, frames });
            }
            Request::RemoveUnconfigured => self.remove_unconfigured(took),
            Request::Prepare { .. } | Request::Announce { .. } => {}
        }
    }
}

impl Lan {
    /// Hosts that hear and answer an echo request to all, and after which time.
    fn found_by_search(&self, name: IfName, test: IpAddr) -> Vec<(Duration, IpAddr)> {
        let nic = &self.nics[&name];
        let hears = nic.link.running && nic.wire == Wire::Works;
        let alive = |host: &IpAddr| self.targets.get(host).filter(|target| target.alive);
        let hosts = self.responders.iter().filter(|host| hears && host.is_ipv4() == test.is_ipv4());
        hosts.filter_map(|host| Some((alive(host)?.rtt, *host))).collect()
    }
}

fn scramble(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}
