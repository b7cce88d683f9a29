//! Each request of the engine: what is done, in which order, and what its answer is. The kernel's
//! notices are taken in before a request, so that nothing of somebody else's is overwritten, and
//! after it, so that the engine has seen its effect when the answer comes.

use mpathd_core::event::{Done, Errno, Event, FoundBy, ReceiveMode};
use mpathd_core::ids::{Family, IfName, Ifindex};
use mpathd_core::message::{Severity, Wish};
use mpathd_core::request::{Op, Request};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};

use super::attach::Wanted;
use super::facts::LinkFact;
use super::netlink::Refused;
use super::{Host, address, monitor, route, search};
use crate::config::Sysctls;
use crate::descriptors::is_lack_errno;
use crate::fast::clock;
use crate::messages::ToFast;

impl Host {
    /// Carries out requests of one kind together, and answers each.
    pub(super) fn operate(
        &mut self,
        ops: &[Op],
        carry_out: impl FnOnce(&mut Self, &[Op]) -> Vec<Result<(), Refused>>,
    ) {
        self.observe();
        let begun = clock::now();
        let results = carry_out(self, ops);
        let ran = clock::now().since(begun);
        self.monitor.drain();
        self.announcer.run(clock::now(), &self.monitor.mirror, &mut self.slow);
        self.pass_on();
        for (op, result) in ops.iter().zip(results) {
            if let Err(refused) = &result {
                self.explain(&op.request, refused);
                self.note_lack(refused.errno);
            }
            self.fast.push(ToFast::Event(Event::Done(Done {
                op: op.id,
                result: result.map_err(|refused| Errno(refused.errno)),
                waited: begun.since(op.decided),
                ran,
            })));
        }
    }

    pub(super) fn one_by_one(&mut self, ops: &[Op]) -> Vec<Result<(), Refused>> {
        ops.iter().map(|op| self.carry_out(&op.request)).collect()
    }

    fn carry_out(&mut self, request: &Request) -> Result<(), Refused> {
        let Self { requests, monitor, announcer, .. } = self;
        let mirror = &monitor.mirror;
        match *request {
            // Those are done together, see `moves.rs`.
            Request::SetAddress { .. } | Request::SetRoute(_) => Ok(()),
            Request::Prepare { ifindex, name, set_up } => self.prepare(ifindex, name, set_up),
            Request::UnsetAddress { ifindex, address, .. } => {
                if mirror.addresses(ifindex, address.address).next().is_none() {
                    monitor.refresh_addresses(requests)?;
                }
                address::unset(requests, &monitor.mirror, ifindex, address.address)?;
                announcer.unbound(address.address, ifindex, &monitor.mirror, &mut self.slow);
                Ok(())
            }
            Request::TakeAddress(address) => self.take_address(address),
            Request::TakeRoutes(key) => self.take_routes(key),
            Request::UnsetRoute(key) => {
                route::unset(requests, &key)?;
                monitor.doubt_routes();
                Ok(())
            }
            Request::Attach { ifindex, datapath, consume_replies, bypassed, .. } => {
                // Anew: the XDP slot is not told by every notice.
                let link = monitor::link(requests, ifindex)?;
                self.hooks.set_lower(ifindex, self.monitor.mirror.lower(&link));
                let (fast, slow) = (&mut self.fast, &mut self.slow);
                let wanted = Wanted { datapath, consume: consume_replies, bypassed };
                let mode = self.hooks.attach(&link, wanted, fast, slow)?;
                self.warm(&link);
                self.monitor.mirror.retell_watched(ifindex);
                self.twins.ask_soon();
                self.monitor.mirror.tell(Event::Attached { ifindex, mode });
                self.redirect_egress(&link);
                let name = link.link.name;
                match self.settings.receive_priority.get(&name) {
                    // Its channel has been opened without the threads that it has from now on.
                    Some(_) => self.compare_receivers(),
                    None => {
                        let event = self.deferral.look(ifindex, name);
                        event.into_iter().for_each(|event| self.monitor.mirror.tell(event));
                    }
                }
                Ok(())
            }
            Request::Announce { ifindex, address, peers } => {
                announcer.begin(address, ifindex, peers, clock::now());
                Ok(())
            }
            Request::RemoveUnconfigured => self.remove_unconfigured(),
            Request::Search { ifindex, test, neighbours, .. } => {
                let link = mirror.link(ifindex).ok_or(Refused::errno(libc::ENODEV))?;
                if neighbours {
                    let family = Family::of(test);
                    for address in search::neighbours(requests, mirror, ifindex, family)? {
                        let by = FoundBy::Neighbours;
                        self.fast.push(ToFast::Event(Event::Found { ifindex, address, by }));
                    }
                }
                Ok(self.searcher.ask(link, test, clock::now())?)
            }
            Request::CountTransmits { ifindex, .. } => {
                // What waits, waits in the queue of the device below.
                let link = monitor::link(requests, ifindex)?;
                let frames = match link.below {
                    Some(below) => monitor::link(requests, below)?.transmitted,
                    None => link.transmitted,
                };
                self.monitor.mirror.tell(Event::Transmits { ifindex, frames });
                Ok(())
            }
        }
    }

    /// Looks at the hooks of one NIC, if it is time to.
    pub(super) fn watch_hooks(&mut self) {
        let Some(ifindex) = self.hooks.next_to_look_at(clock::now()) else { return };
        // ENODEV: the notice that it is gone follows.
        let Ok(link) = monitor::link(&mut self.requests, ifindex) else { return };
        let found = self.hooks.look_at(&link, &mut self.slow);
        if let Some(loss) = found.loss {
            self.monitor.mirror.tell(Event::HookLost { ifindex, loss });
        }
        if found.first_again && self.hooks.open_channel(&link, &mut self.fast).is_ok() {
            self.monitor.mirror.tell(Event::Attached { ifindex, mode: ReceiveMode::Tcx });
        }
        if found.egress_lost {
            let name = link.link.name;
            let text = format!("{name}: another program has detached the egress program");
            self.slow.log(Severity::Warning, text);
            self.redirect_egress(&link);
        }
        self.pass_on();
    }

    /// Has the egress program where the configuration wants it.
    pub(super) fn redirect_egress(&mut self, link: &LinkFact) {
        let (ifindex, name) = (link.link.ifindex, link.link.name);
        let wanted = self.settings.redirected.contains(&name);
        let (fast, slow) = (&mut self.fast, &mut self.slow);
        if let Some(redirectable) = self.hooks.redirect_egress(link, wanted, fast, slow) {
            self.monitor.mirror.tell(Event::Redirectable { ifindex, redirectable });
        }
    }

    fn prepare(&mut self, ifindex: Ifindex, name: IfName, set_up: bool) -> Result<(), Refused> {
        let link = monitor::link(&mut self.requests, ifindex)?;
        self.tell_plumbed(ifindex, name);
        let result = self.sysctls.prepare(ifindex, name, self.sysctl_mode(), &mut self.slow);
        // Descriptors that are used up keep no link down; the values are compared at the next survey.
        if let Err(refused) = &result
            && !is_lack_errno(refused.errno)
        {
            return result;
        }
        // Of addresses that stand already, too.
        self.twins.ask_if_never();
        if set_up && !link.link.up {
            let mut message = LinkMessage::default();
            message.header.index = ifindex.0;
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
            self.requests.request(RouteNetlinkMessage::SetLink(message), 0)?;
        }
        self.warm(&link);
        result
    }

    fn sysctl_mode(&self) -> Sysctls {
        if self.settings.only_check_sysctls { Sysctls::Check } else { Sysctls::Set }
    }

    /// Opens the socket for announcements ahead of need. Without it only they fail, and say so then.
    fn warm(&mut self, link: &LinkFact) {
        if let Err(error) = self.announcer.open(link) {
            self.note_lack(error.raw_os_error().unwrap_or_default());
            let name = link.link.name;
            self.slow.log(Severity::Error, format!("{name}: no socket for announcements: {error}"));
        }
    }

    /// Whoever sets an address anew wipes its mark; it is put back, so that the next daemon and an
    /// administrator can tell whose it is (O2, O17).
    pub(super) fn restore_marks(&mut self) {
        for (ifindex, name, address, role) in self.monitor.mirror.unmarked() {
            if !self.drift.may_repair((ifindex, address.address), clock::now()) {
                continue;
            }
            let Self { requests, monitor, slow, .. } = self;
            match address::set(requests, &monitor.mirror, ifindex, name, address, role) {
                Ok(()) => slow.log(
                    Severity::Warning,
                    format!(
                        "{address} on {name} was set anew by somebody else and marked as ours again; \
                         does a network manager manage {name}?"
                    ),
                ),
                Err(refused) => {
                    slow.log(Severity::Error, format!("marking {address} on {name} failed: {refused}"));
                }
            }
        }
    }

    /// Values are compared at every survey (O16); the outcome was reported when they were set.
    pub(super) fn compare_sysctls(&mut self) {
        let mode = self.sysctl_mode();
        let prepared: Vec<_> = self.sysctls.prepared().collect();
        for (name, ifindex) in prepared {
            match self.sysctls.prepare(ifindex, name, mode, &mut self.slow) {
                // Said already where it was found.
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// NAPI may become a thread at any time, and a NIC that was down has other ones, without a notice.
    pub(super) fn compare_receivers(&mut self) {
        let attached: Vec<_> = self.monitor.mirror.members().cloned().collect();
        for link in attached.iter().filter(|fact| self.hooks.is_attached(fact.link.ifindex)) {
            if let Some(priority) = self.settings.receive_priority.get(&link.link.name) {
                self.napi.raise(link.link.ifindex, link.link.name, *priority, &mut self.slow);
            }
            let Some(event) = self.deferral.look(link.link.ifindex, link.link.name) else {
                continue;
            };
            if let Err(refused) = self.hooks.open_channel(link, &mut self.fast) {
                let name = link.link.name;
                self.slow.log(Severity::Error, format!("{name}: no sockets: {refused}"));
            }
            self.monitor.mirror.tell(event);
        }
    }

    /// Tells the links of the configuration anew, see `ToHost::DumpLinks`.
    pub(super) fn answer_dump(&mut self) {
        self.tell_links();
        self.fast.push(ToFast::LinksDumped);
    }

    /// The links of all members, as they are now.
    pub(super) fn tell_links(&mut self) {
        match monitor::link_dump(&mut self.requests) {
            Ok(links) => self.monitor.mirror.sweep_links(links),
            Err(refused) => {
                self.slow.log(Severity::Error, format!("reading the links failed: {refused}"));
            }
        }
        let links: Vec<_> = self.monitor.mirror.members().map(|l| l.link).collect();
        for link in links {
            self.monitor.mirror.tell(Event::Link(link));
        }
        self.pass_on();
    }

    /// Says what is used up, and what to do about it.
    pub(super) fn note_lack(&mut self, errno: i32) {
        if let Some(text) = self.reminder.text(errno) {
            self.slow.log(Severity::Error, text);
        }
    }

    /// The kernel's words, which an errno does not carry.
    fn explain(&mut self, request: &Request, refused: &Refused) {
        if refused.text.is_some() {
            let text = format!("{}: {refused}", Wish(request));
            self.slow.log(Severity::Info, text);
        }
    }
}
