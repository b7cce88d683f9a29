//! The fast thread's own ear for links: RTNLGRP_LINK only, so that carrier loss is seen even while
//! the host thread waits for RTNL. It never asks anything; what it may have missed, at start and
//! after an overrun, is asked for by the host thread. Parsing does not allocate.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mpathd_core::config;
use mpathd_core::event::{Event, Link};
use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::time::Instant;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt,
    socket, sockopt,
};

use super::link_message::{Change, parse};

/// Messages read in one turn.
const MESSAGES_PER_TURN: usize = 64;
/// A notice with all attributes of a link has 1 to 3 KiB; one that does not fit is a lost one.
const MESSAGE_MAX: usize = 32 * 1024;
/// Some 1 000 notices, more than a host that makes namespaces sends while we sleep.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Between two dumps that refused probes cause.
const DOUBT_AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Links {
    socket: OwnedFd,
    message: Box<[u8]>,
    watch: Watch,
    /// Notices were lost or may be late, or it is the start: a dump is wanted.
    missed: bool,
    doubted: Instant,
    /// The last turn read all there was.
    empty: bool,
    /// Dumps asked for and not told completely.
    asked: usize,
    /// Somebody has left a seat since the last dump was asked for: it may tell of who is no more.
    left: bool,
}

/// The interfaces of the configuration: all that is ever told of.
pub(super) struct Watch(Vec<Watched>);

impl Watch {
    pub(super) fn new(names: &[IfName]) -> Self {
        let new = |name: &IfName| Watched { name: *name, link: None, fresh: false, dumped: false };
        Self(names.iter().map(new).collect())
    }
}

/// An interface of the configuration, or a seat of the anonymous group.
#[derive(Clone, Copy)]
struct Watched {
    /// Of a seat: one that no interface has.
    name: IfName,
    /// As last told to the engine.
    link: Option<Link>,
    /// Noticed since the last dump was asked for: the dump knows no better.
    fresh: bool,
    /// The dump has told it.
    dumped: bool,
}

impl Links {
    /// Listens in the network namespace of the caller.
    ///
    /// # Errors
    /// What socket or bind say.
    pub(super) fn open(watch: Watch) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it what the limit allows.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
        Ok(Self {
            socket,
            message: vec![0; MESSAGE_MAX].into_boxed_slice(),
            watch,
            missed: true,
            doubted: Instant(0),
            empty: false,
            asked: 0,
            left: false,
        })
    }

    /// Changes the interfaces that are told of; what was known of others is left in `watch`. New ones
    /// are asked for.
    pub(super) fn watch(&mut self, watch: &mut Watch) {
        let named = |name| watch.0.iter().any(|new| new.name == name);
        // A seat is vacated by whom the configuration names now.
        for seat in self.watch.0.iter_mut().filter(|w| w.is_seat()) {
            seat.link = seat.link.filter(|link| !named(link.name));
        }
        for new in &mut watch.0 {
            match self.watch.0.iter().find(|known| known.name == new.name) {
                Some(known) => *new = *known,
                None => self.missed = true,
            }
        }
        // And who is named no more may take one.
        let stays = |old: &Watched| watch.0.iter().any(|new| new.name == old.name);
        self.missed |= !self.watch.0.iter().all(stays);
        std::mem::swap(&mut self.watch, watch);
    }

    /// Whether it is told of, by its name or in a seat.
    pub(super) fn knows(&self, name: IfName) -> bool {
        self.watch.0.iter().any(|watched| watched.goes_by() == Some(name))
    }

    /// Reads the notices that are there, some at most; `tell` hears what has changed.
    pub(super) fn read(&mut self, mut tell: impl FnMut(Event)) {
        self.empty = false;
        for _ in 0..MESSAGES_PER_TURN {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.message) {
                // From another process, not from the kernel.
                Ok((_, Some(from))) if from.pid() != 0 => {}
                Ok((len, _)) if len < MESSAGE_MAX => {
                    let Self { message, watch: Watch(watched), missed, left, .. } = self;
                    let (before, seats) = seats(watched);
                    *missed |= !take_all(watched, &message[..len], &mut tell);
                    let (after, _) = self::seats(watched);
                    *left |= after < before;
                    // Others may have waited for it.
                    *missed |= before == seats && after < before;
                }
                // Cut off, or ENOBUFS: something was lost.
                Ok(_) | Err(Errno::ENOBUFS) => self.missed = true,
                Err(Errno::EINTR) => {}
                Err(_) => {
                    self.empty = true;
                    return;
                }
            }
        }
    }

    /// The device refuses frames though its link is said to run. The kernel tells a lost carrier at
    /// once only if it has told none for a second (net/core/link_watch.c); a dump knows it already.
    pub(super) fn doubt(&mut self, ifindex: Ifindex, now: Instant) {
        let runs = |link: Link| link.ifindex == ifindex && link.running;
        if self.watch.0.iter().any(|w| w.link.is_some_and(runs))
            && now.since(self.doubted) >= DOUBT_AGAIN
        {
            self.doubted = now;
            self.missed = true;
        }
    }

    /// Something was lost, or is not known yet: it is to be read until it is empty.
    pub(super) fn has_missed(&self) -> bool {
        self.missed
    }

    /// Is a dump to be asked for? Only once the socket is empty: what was in it is older than what
    /// was lost, so the dump is newer than all that was noticed so far.
    pub(super) fn wants_dump(&self) -> bool {
        self.missed && self.empty
    }

    /// The dump has been asked for.
    pub(super) fn dump_asked(&mut self) {
        self.missed = false;
        self.left = false;
        self.asked += 1;
        for watched in &mut self.watch.0 {
            watched.fresh = false;
            watched.dumped = false;
        }
    }

    /// A link told by a dump; `Some` if it is news.
    pub(super) fn dumped(&mut self, link: Link) -> Option<Event> {
        let known = self.watch.0.iter().any(|w| w.goes_by() == Some(link.name));
        if !known && self.left {
            self.missed |= seats(&self.watch.0).1 > 0;
            return None;
        }
        let Some(watched) = place(&mut self.watch.0, &link) else {
            return crowded(&self.watch.0, &link);
        };
        watched.dumped = true;
        if watched.fresh || watched.link == Some(link) {
            return None;
        }
        watched.link = Some(link);
        Some(Event::Link(link))
    }

    /// The dump has been told completely: what it did not tell is gone.
    pub(super) fn dump_done(&mut self, mut tell: impl FnMut(Event)) {
        self.asked = self.asked.saturating_sub(1);
        if self.asked > 0 {
            return;
        }
        for watched in self.watch.0.iter_mut().filter(|w| !w.dumped && !w.fresh) {
            if let Some(link) = watched.link.take() {
                tell(Event::LinkGone(link.ifindex));
            }
        }
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `false` if the datagram can't be read to its end: for us that is a lost notice.
fn take_all(watched: &mut [Watched], datagram: &[u8], tell: &mut impl FnMut(Event)) -> bool {
    parse(datagram, |change| match change {
        Change::Is(link) => take(watched, link, tell),
        Change::Gone(ifindex) => take_gone(watched, ifindex, tell),
    })
}

fn take(all: &mut [Watched], link: Link, tell: &mut impl FnMut(Event)) {
    for watched in all.iter_mut() {
        let known = watched.link.map(|l| l.ifindex);
        if watched.goes_by() != Some(link.name) {
            // Renamed away.
            if known == Some(link.ifindex) {
                watched.gone(tell);
            }
            continue;
        }
        watched.fresh = true;
        if known.is_some_and(|ifindex| ifindex != link.ifindex) {
            watched.gone(tell);
        }
    }
    let Some(watched) = place(all, &link) else {
        crowded(all, &link).into_iter().for_each(tell);
        return;
    };
    watched.fresh = true;
    if watched.link.replace(link) != Some(link) {
        tell(Event::Link(link));
    }
    // One that may not be watched any more has been told of for the last time.
    if watched.is_seat() && !link.may_be_watched() {
        watched.gone(tell);
    }
}

/// Seats of the anonymous group that are taken, and all.
fn seats(all: &[Watched]) -> (usize, usize) {
    let seats = || all.iter().filter(|w| w.is_seat());
    (seats().filter(|w| w.link.is_some()).count(), seats().count())
}

/// No seat is left for it: the engine is to say so.
fn crowded(all: &[Watched], link: &Link) -> Option<Event> {
    (seats(all).1 > 0 && link.may_be_watched()).then_some(Event::Link(*link))
}

/// Where a link belongs: to its name, or to a seat.
fn place<'a>(all: &'a mut [Watched], link: &Link) -> Option<&'a mut Watched> {
    let own = all.iter().position(|w| w.goes_by() == Some(link.name));
    let vacant = || all.iter().position(|w| w.is_seat() && w.link.is_none());
    let place = own.or_else(|| vacant().filter(|_| link.may_be_watched()))?;
    Some(&mut all[place])
}

fn take_gone(watched: &mut [Watched], ifindex: Ifindex, tell: &mut impl FnMut(Event)) {
    for watched in watched.iter_mut().filter(|w| w.link.is_some_and(|l| l.ifindex == ifindex)) {
        watched.gone(tell);
    }
}

impl Watched {
    fn is_seat(&self) -> bool {
        config::is_seat(self.name)
    }

    /// Whom it waits for; a seat, who sits there.
    fn goes_by(&self) -> Option<IfName> {
        if self.is_seat() { self.link.map(|link| link.name) } else { Some(self.name) }
    }

    fn gone(&mut self, tell: &mut impl FnMut(Event)) {
        self.fresh = true;
        if let Some(link) = self.link.take() {
            tell(Event::LinkGone(link.ifindex));
        }
    }
}

#[cfg(test)]
mod tests;
