//! Feeds the mirror: reads the notices, and takes dumps where notices do not suffice - at start,
//! after an overrun, after what goes with silent losses, and every 20 s (N17).

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mpathd_core::event::Event;
use mpathd_core::ids::Ifindex;
use mpathd_core::time::Instant;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteMessage, RouteProtocol};

use super::facts::{AddressFact, Fact, LinkFact, NexthopFact, RouteFact};
use super::mirror::Mirror;
use super::netlink::{Message, Notices, Read, Refused, Requests, breathe};
use super::{PROTOCOL, Settings};
use crate::fast::clock;

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_NEXTHOP: u32 = 32;
const RTM_GETNEXTHOP: u16 = 106;
/// Between two surveys, unless something gives reason for one.
pub(super) const SURVEY: Duration = Duration::from_secs(20);
/// Surveys take no more than this part of the thread's time, however large the tables are.
const SURVEY_SHARE: u32 = 50;

pub(super) struct Monitor {
    notices: Notices,
    pub(super) mirror: Mirror,
    due: Due,
    /// The last dump of any kind, and of everything.
    last: Option<Dumped>,
    survey: Option<Dumped>,
    /// Dumps that have failed in a row.
    failures: u32,
    /// Routes in the last dump of all tables.
    routes: usize,
}

#[derive(Clone, Copy)]
struct Dumped {
    at: Instant,
    /// CPU time: what waits for RTNL is not dear, or a busy host would look at its tables seldom.
    took: Duration,
}

/// What is to be dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Nothing,
    /// Next-hop objects and our own routes.
    Own,
    /// Next-hop objects and all routes.
    Routes,
    Everything,
}

impl Monitor {
    /// `buffer`: bytes of notices that may wait unread.
    ///
    /// # Errors
    /// Where no netlink socket is to be had.
    pub(super) fn open(settings: Settings, buffer: usize) -> std::io::Result<Self> {
        let groups = [
            RTNLGRP_LINK,
            RTNLGRP_IPV4_IFADDR,
            RTNLGRP_IPV6_IFADDR,
            RTNLGRP_IPV4_ROUTE,
            RTNLGRP_IPV6_ROUTE,
            RTNLGRP_NEXTHOP,
        ];
        let mut mirror = Mirror::default();
        mirror.set_settings(settings);
        Ok(Self {
            notices: Notices::open(&groups, buffer)?,
            mirror,
            due: Due::Everything,
            last: None,
            survey: None,
            failures: 0,
            routes: 0,
        })
    }

    /// What is known is told anew, and everything is looked at next.
    pub(super) fn set_settings(&mut self, settings: Settings) {
        self.mirror.set_settings(settings);
        self.due = Due::Everything;
        self.survey = None;
    }

    /// Takes in what is waiting. Bounded, for whoever changes routes without end must
    /// not keep requests waiting.
    pub(super) fn drain(&mut self) {
        const DATAGRAMS: u32 = 16 * 1024;
        let doubt = self.doubt();
        let Self { notices, mirror, due, .. } = self;
        for datagram in 1..DATAGRAMS {
            breathe(datagram);
            let read = notices.read(|message| match Fact::read(message) {
                Ok(Some(fact)) => {
                    if mirror.apply(fact) {
                        *due = (*due).max(doubt);
                    }
                    true
                }
                Ok(None) => true,
                Err(_) => false,
            });
            match read {
                Read::Some => {}
                Read::Empty => return,
                Read::Overrun => *due = Due::Everything,
            }
        }
    }

    /// Where a dump of all routes is dear, only what concerns us is looked at between surveys. By their
    /// number: the time that one dump took is a busy machine's as much as theirs.
    fn doubt(&self) -> Due {
        const MANY: usize = 2000;
        if self.routes > MANY { Due::Own } else { Due::Routes }
    }

    /// When [`Monitor::survey`] is to be called.
    pub(super) fn due(&self) -> Instant {
        if let Some(last) = self.last.filter(|_| self.failures > 0) {
            return last.at + retry_pause(self.failures);
        }
        let (Some(last), Some(survey)) = (self.last, self.survey) else { return Instant(0) };
        match self.due {
            Due::Nothing => survey.at + SURVEY.max(survey.took * SURVEY_SHARE),
            Due::Own | Due::Routes | Due::Everything => last.at + last.took * SURVEY_SHARE,
        }
    }

    /// Dumps what is in doubt, and everything when its time has come.
    ///
    /// # Errors
    /// The kernel's to a dump; the same is tried again when due, after pauses that grow from 10 ms to 10 s.
    pub(super) fn survey(&mut self, requests: &mut Requests) -> Result<(), Refused> {
        let (at, used) = (clock::now(), clock::used());
        // What waits is older than the dump, which is to have the last word.
        self.drain();
        let due = if self.due == Due::Nothing { Due::Everything } else { self.due };
        self.due = Due::Nothing;
        let result = self.dump(requests, due);
        let dumped = Dumped { at, took: clock::used().saturating_sub(used) };
        self.last = Some(dumped);
        self.failures = if result.is_err() { self.failures.saturating_add(1) } else { 0 };
        if result.is_err() {
            self.due = due;
        } else if due == Due::Everything {
            if self.survey.is_none() {
                self.mirror.tell(Event::Surveyed);
            }
            self.survey = Some(dumped);
        }
        result
    }

    /// Routes are looked at soon, though no notice gave reason for it.
    pub(super) fn doubt_routes(&mut self) {
        self.due = self.due.max(self.doubt());
    }

    /// Looks at the addresses now.
    ///
    /// # Errors
    /// The kernel's to a dump.
    pub(super) fn refresh_addresses(&mut self, requests: &mut Requests) -> Result<(), Refused> {
        self.drain();
        self.mirror.sweep_addresses(address_dump(requests)?);
        Ok(())
    }

    /// Looks at the routes now.
    ///
    /// # Errors
    /// The kernel's to a dump.
    pub(super) fn refresh_routes(&mut self, requests: &mut Requests) -> Result<(), Refused> {
        self.drain();
        self.dump(requests, Due::Routes)
    }

    fn dump(&mut self, requests: &mut Requests, due: Due) -> Result<(), Refused> {
        if due == Due::Everything {
            let links = link_dump(requests)?;
            self.mirror.sweep_links(links);
            self.mirror.sweep_addresses(address_dump(requests)?);
        }
        let nexthops = nexthop_dump(requests)?;
        self.mirror.sweep_nexthops(nexthops);
        if due == Due::Own {
            let own = route_dump(requests, RouteProtocol::from(PROTOCOL))?;
            self.mirror.sweep_own_routes(own);
        } else {
            let all = route_dump(requests, RouteProtocol::Unspec)?;
            self.routes = all.len();
            self.mirror.sweep_routes(all);
        }
        Ok(())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

/// Before a dump that has failed so many times in a row is tried again.
fn retry_pause(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(10);
    (FIRST * (1 << failures.saturating_sub(1).min(10))).min(LONGEST)
}

/// Runs a dump and picks facts of one kind out of it. What does not decode is left out: asking
/// again would bring the same.
fn collect<T>(
    dump: impl FnOnce(&mut dyn FnMut(&Message)) -> Result<(), Refused>,
    pick: impl Fn(Fact) -> Option<T>,
) -> Result<Vec<T>, Refused> {
    let mut all = Vec::new();
    dump(&mut |message| {
        if let Ok(Some(fact)) = Fact::read(message) {
            all.extend(pick(fact));
        }
    })?;
    Ok(all)
}

pub(super) fn link_dump(requests: &mut Requests) -> Result<Vec<LinkFact>, Refused> {
    let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
    collect(
        |take| requests.dump(message, take),
        |fact| match fact {
            Fact::Link(link) => Some(link),
            _ => None,
        },
    )
}

/// One link as it stands now.
///
/// # Errors
/// ENODEV where it is gone.
pub(super) fn link(requests: &mut Requests, ifindex: Ifindex) -> Result<LinkFact, Refused> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex.0;
    let mut found = None;
    requests.get(RouteNetlinkMessage::GetLink(message), |message| {
        if let Ok(Some(Fact::Link(link))) = Fact::read(message) {
            found = Some(link);
        }
    })?;
    found.ok_or(Refused::errno(libc::ENODEV))
}

pub(super) fn nexthop_dump(requests: &mut Requests) -> Result<Vec<NexthopFact>, Refused> {
    collect(
        |take| requests.dump_raw(RTM_GETNEXTHOP, &[0; 8], take),
        |fact| match fact {
            Fact::Nexthop(nexthop) => Some(nexthop),
            _ => None,
        },
    )
}

pub(super) fn address_dump(requests: &mut Requests) -> Result<Vec<AddressFact>, Refused> {
    let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    collect(
        |take| requests.dump(message, take),
        |fact| match fact {
            Fact::Address(address) => Some(address),
            _ => None,
        },
    )
}

/// Both families, filtered by the kernel where a protocol is named.
pub(super) fn route_dump(
    requests: &mut Requests,
    protocol: RouteProtocol,
) -> Result<Vec<RouteFact>, Refused> {
    let mut routes = Vec::new();
    for message in route_requests(protocol) {
        routes.extend(collect(
            |take| requests.dump(message, take),
            |fact| match fact {
                Fact::Route(route) => Some(route),
                _ => None,
            },
        )?);
    }
    Ok(routes)
}

pub(super) fn route_requests(protocol: RouteProtocol) -> [RouteNetlinkMessage; 2] {
    [AddressFamily::Inet, AddressFamily::Inet6].map(|family| {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.protocol = protocol;
        RouteNetlinkMessage::GetRoute(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_that_keeps_failing_is_tried_more_and_more_seldom() {
        let pauses = [1, 2, 3, 10, 11, 12, 1000].map(|n| retry_pause(n).as_millis());
        assert_eq!(pauses, [10, 20, 40, 5120, 10_000, 10_000, 10_000]);
    }
}
