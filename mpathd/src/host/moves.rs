//! What a failover waits for: addresses and routes, many at a time, so that the kernel is asked once
//! for all of a kind.

use mpathd_core::event::Event;
use mpathd_core::ids::{Family, IfName, Ifindex, IpNet};
use mpathd_core::message::Severity;
use mpathd_core::request::{Op, Request, Role, WantedRoute};

use netlink_packet_route::RouteNetlinkMessage::{DelAddress, NewAddress};

use super::netlink::Refused;
use super::{Host, address, route, swap, sysctl};
use crate::fast::clock;

/// Of `Request::SetAddress`.
#[derive(Clone, Copy)]
struct Wanted {
    ifindex: Ifindex,
    name: IfName,
    address: IpNet,
    role: Role,
}

impl Host {
    /// Requests other than `SetAddress` are passed by.
    pub(super) fn set_addresses(&mut self, ops: &[Op]) -> Vec<Result<(), Refused>> {
        let wanted: Vec<Wanted> = ops.iter().filter_map(wanted_address).collect();
        // The notice of an IPv6 address comes 30 to 250 us after the answer to its request (A 1.5), so
        // one that is there may not have been seen yet.
        let mirror = &self.monitor.mirror;
        let stood = |it: &Wanted| mirror.addresses(it.ifindex, it.address.address).next().is_some();
        let stood: Vec<bool> = wanted.iter().map(stood).collect();
        let mut results = self.ask_for_addresses(&wanted);
        for ((it, op), (result, stood)) in wanted.iter().zip(ops).zip(results.iter_mut().zip(stood))
        {
            if result.as_ref().is_err_and(|refused| refused.errno == libc::EEXIST) {
                *result = self.set_address_that_stands(it);
            }
            match result {
                Ok(()) => self.address_is_set(it, stood, op),
                Err(_) if it.address.family() == Family::Inet6 => {
                    self.tell_plumbed(it.ifindex, it.name);
                }
                Err(_) => {}
            }
        }
        results
    }

    fn ask_for_addresses(&mut self, wanted: &[Wanted]) -> Vec<Result<(), Refused>> {
        let mirror = &self.monitor.mirror;
        let request = |it: &Wanted| {
            let stands = mirror.foremost(it.ifindex, it.address.address);
            if stands.is_some_and(|fact| address::must_be_reformed(mirror, &fact, it.role)) {
                return Err(Refused::errno(libc::EEXIST));
            }
            address::request(mirror, it.ifindex, it.name, it.address, it.role)
        };
        let mut results: Vec<Result<(), Refused>> = Vec::new();
        let (mut batch, mut asked) = (Vec::new(), Vec::new());
        for (at, request) in wanted.iter().map(request).enumerate() {
            results.push(request.map(|message| {
                batch.extend(message);
                asked.resize(batch.len(), at);
            }));
        }
        for (at, result) in asked.into_iter().zip(self.requests.each(batch)) {
            results[at] = result;
        }
        results
    }

    fn set_address_that_stands(&mut self, wanted: &Wanted) -> Result<(), Refused> {
        let Wanted { ifindex, name, address, role } = *wanted;
        let Self { requests, monitor, .. } = self;
        monitor.refresh_addresses(requests)?;
        match monitor.mirror.foremost(ifindex, address.address) {
            Some(fact) if monitor.mirror.takes(&fact) => {
                self.replace_address(ifindex, name, address, role)
            }
            Some(fact) if address::must_be_reformed(&monitor.mirror, &fact, role) => {
                let ours = address::message(ifindex, name, address, role);
                let before = address::named(ifindex, fact.address);
                let (ours, before) = (NewAddress(ours), DelAddress(before));
                swap::swap(requests, name, address.address, before, Some(ours))
            }
            _ => address::set(requests, &monitor.mirror, ifindex, name, address, role),
        }
    }

    fn address_is_set(&mut self, wanted: &Wanted, stood: bool, op: &Op) {
        let Wanted { ifindex, address, role, .. } = *wanted;
        let mirror = &mut self.monitor.mirror;
        mirror.vouch(ifindex, address, role);
        self.twins.ask_soon();
        if stood {
            mirror.tell_again(ifindex, address.address);
        }
        self.announcer.bind(address.address, ifindex);
        if let Request::SetAddress { announce: Some(peers), .. } = op.request {
            self.announcer.begin(address.address, ifindex, peers, clock::now());
        }
    }

    pub(super) fn tell_plumbed(&mut self, ifindex: Ifindex, name: IfName) {
        match sysctl::takes_v6(name) {
            Ok(plumbed) => {
                self.v6_unknown.remove(&ifindex);
                self.monitor.mirror.tell(Event::Plumbed {
                    ifindex,
                    family: Family::Inet6,
                    plumbed,
                });
            }
            Err(error) => {
                if self.v6_unknown.insert(ifindex, name).is_none() {
                    let text = format!(
                        "{name}: reading whether it takes IPv6 addresses failed: {error}; what was known is \
                         kept, and it is read again"
                    );
                    self.slow.log(Severity::Warning, text);
                }
                self.note_lack(error.raw_os_error().unwrap_or_default());
            }
        }
    }

    pub(super) fn read_v6_again(&mut self) {
        for (ifindex, name) in self.v6_unknown.clone() {
            self.tell_plumbed(ifindex, name);
        }
        self.pass_on();
    }

    /// What was seen of routes may be out of date, for some losses come without notice: a refusal is
    /// believed only after a look at the tables (N17). Requests other than `SetRoute` are passed by.
    pub(super) fn set_routes(&mut self, ops: &[Op]) -> Vec<Result<(), Refused>> {
        let wanted: Vec<WantedRoute> = ops.iter().filter_map(wanted_route).collect();
        let mut results: Vec<Result<(), Refused>> =
            wanted.iter().map(|wanted| self.remember_what_it_replaces(wanted)).collect();
        let may: Vec<usize> = (0..results.len()).filter(|at| results[*at].is_ok()).collect();
        self.try_routes(&wanted, &may, &mut results);
        let refused: Vec<usize> = may.into_iter().filter(|at| results[*at].is_err()).collect();
        if !refused.is_empty() {
            self.try_again(&wanted, refused, &mut results);
        }
        if wanted.iter().any(|wanted| route::goes_by_objects(&self.monitor.mirror, wanted)) {
            // Next-hop objects that they no longer use are swept after a look at the tables.
            self.monitor.doubt_routes();
        }
        results
    }

    /// After a look at the tables. One whose source is gone is left: the notice was lost in a flood, and the
    /// engine hears of it first.
    fn try_again(
        &mut self,
        wanted: &[WantedRoute],
        mut refused: Vec<usize>,
        results: &mut [Result<(), Refused>],
    ) {
        let Self { requests, monitor, .. } = self;
        let seen =
            monitor.refresh_addresses(requests).and_then(|()| monitor.refresh_routes(requests));
        if let Err(error) = seen {
            return refused.into_iter().for_each(|at| results[at] = Err(error.clone()));
        }
        refused.retain(|at| {
            let stands = monitor.mirror.is_own(wanted[*at].src);
            if !stands {
                results[*at] = Err(Refused::errno(libc::EINVAL));
            }
            stands
        });
        self.try_routes(wanted, &refused, results);
    }

    /// Asks for the routes at these places; what came of each is its result.
    fn try_routes(
        &mut self,
        wanted: &[WantedRoute],
        places: &[usize],
        results: &mut [Result<(), Refused>],
    ) {
        let routes: Vec<WantedRoute> = places.iter().map(|at| wanted[*at]).collect();
        let outcomes = route::set_all(&mut self.requests, &self.monitor.mirror, &routes);
        for (at, outcome) in places.iter().zip(outcomes) {
            results[*at] = outcome;
        }
    }

    fn remember_what_it_replaces(&mut self, wanted: &WantedRoute) -> Result<(), Refused> {
        let mirror = &self.monitor.mirror;
        if mirror.route(&wanted.key).is_some_and(|fact| mirror.goes_our_way(fact).is_some()) {
            for taken in self.remember_routes(wanted.key)? {
                self.slow.log(Severity::Notice, format!("took over the {taken}"));
            }
        }
        Ok(())
    }
}

fn wanted_address(op: &Op) -> Option<Wanted> {
    match op.request {
        Request::SetAddress { ifindex, name, address, role, .. } => {
            Some(Wanted { ifindex, name, address, role })
        }
        _ => None,
    }
}

fn wanted_route(op: &Op) -> Option<WantedRoute> {
    match op.request {
        Request::SetRoute(wanted) => Some(wanted),
        _ => None,
    }
}
