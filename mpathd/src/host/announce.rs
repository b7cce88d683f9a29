//! Tells the neighbours where an address is, again and again; gateways and configured targets in person when
//! all addresses that move together have been announced. A repeat that comes after the address has moved on would steal it back, so a
//! repeat goes out only while the address is observed where it says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mpathd_common::neighbour::{Buffer, NEIGHBOUR_MAX, arp_request, duplicate_solicitation};
use mpathd_core::ids::Ifindex;
use mpathd_core::message::Severity;
use mpathd_core::request::Peers;
use mpathd_core::time::Instant;

use super::facts::LinkFact;
use super::mirror::Mirror;
use super::outbox::Slow;
use super::{sockets, sysctl};
use crate::announcement;

/// When each is sent, counted from the first.
const AT: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];
/// An address whose notice has not come by then has been removed again.
const NOTICE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Announcer {
    pending: Vec<Announcement>,
    /// Kept open: closing one takes milliseconds (datapath F).
    voices: BTreeMap<Ifindex, Voice>,
}

/// Of a NIC.
struct Voice {
    socket: OwnedFd,
    /// It forwards IPv6, which advertisements tell. Looked up ahead of need.
    router: bool,
}

struct Announcement {
    address: IpAddr,
    ifindex: Ifindex,
    peers: Peers,
    asked: Instant,
    /// When the first went out; `None` while the kernel's notice of the address is awaited.
    first: Option<Instant>,
    sent: usize,
    /// Gateways and targets are still to be told.
    owed: bool,
    /// The NIC has no carrier: it begins anew when it has one.
    postponed: bool,
    /// Frames in a row that the NIC did not take.
    failures: u8,
}

/// What a NIC says that has no carrier, before the notice of that is here, or whose queue is full for a
/// moment. The next repeat is sent all the same, so only a second one in a row is worth a line.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENETDOWN))
}

impl Announcement {
    fn due(&self) -> Instant {
        match self.first {
            None => self.asked + NOTICE_LIMIT,
            Some(first) => first + AT[self.sent.min(AT.len() - 1)],
        }
    }
}

impl Announcer {
    /// The address is bound to this NIC from now on: what was pending elsewhere ends.
    pub(super) fn bind(&mut self, address: IpAddr, ifindex: Ifindex) {
        self.pending.retain(|p| p.address != address || p.ifindex == ifindex);
    }

    /// Begins anew; the first goes out as soon as the address is observed.
    pub(super) fn begin(&mut self, address: IpAddr, ifindex: Ifindex, peers: Peers, now: Instant) {
        self.pending.retain(|p| p.address != address);
        self.pending.push(Announcement {
            address,
            ifindex,
            peers,
            asked: now,
            first: None,
            sent: 0,
            owed: false,
            postponed: false,
            failures: 0,
        });
    }

    /// The address is no longer bound to this NIC. Neighbours may have had a last answer from there,
    /// so the new owner, if there is one, speaks once more.
    pub(super) fn unbound(
        &mut self,
        address: IpAddr,
        ifindex: Ifindex,
        mirror: &Mirror,
        slow: &mut Slow,
    ) {
        self.pending.retain(|p| p.address != address || p.ifindex != ifindex);
        let Self { pending, voices } = self;
        let stands = |p: &&mut Announcement| p.address == address && p.first.is_some();
        for owner in pending.iter_mut().filter(stands).filter(|p| has_carrier(mirror, p.ifindex)) {
            owner.owed = speak(voices, owner, mirror, slow, Audience::All);
        }
    }

    /// The link has gone, and its socket with it.
    pub(super) fn forget(&mut self, ifindex: Ifindex) {
        self.pending.retain(|p| p.ifindex != ifindex);
        self.voices.remove(&ifindex);
    }

    /// Of these links only.
    pub(super) fn keep(&mut self, links: &BTreeSet<Ifindex>) {
        self.pending.retain(|p| links.contains(&p.ifindex));
        self.voices.retain(|ifindex, _| links.contains(ifindex));
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.pending.iter().filter(|p| !p.postponed).map(Announcement::due).min()
    }

    /// Opens the NIC's socket ahead of need.
    pub(super) fn open(&mut self, link: &LinkFact) -> io::Result<()> {
        voice(&mut self.voices, link)?.router = sysctl::forwards_v6(link.link.name)?;
        Ok(())
    }

    /// Asks whether another host has the address too.
    ///
    /// # Errors
    /// Where it did not leave.
    pub(super) fn ask_for_twin(&mut self, link: &LinkFact, address: IpAddr) -> io::Result<()> {
        let mut buffer: Buffer = [0; NEIGHBOUR_MAX];
        let mac = link.link.mac;
        let frame = match address {
            IpAddr::V4(ip) => arp_request(&mut buffer, mac, Ipv4Addr::UNSPECIFIED, ip, None),
            IpAddr::V6(ip) => duplicate_solicitation(&mut buffer, mac, ip),
        };
        sockets::send(&voice(&mut self.voices, link)?.socket, frame)
    }

    /// Sends what is due, and what was waiting for a notice that has come; [`Announcer::tell_peers`] is to
    /// follow. On a NIC without carrier nothing leaves: all begins anew when it has one.
    pub(super) fn run(&mut self, now: Instant, mirror: &Mirror, slow: &mut Slow) {
        let Self { pending, voices } = self;
        pending.retain_mut(|p| {
            let here = mirror.addresses(p.ifindex, p.address).any(|fact| !fact.tentative);
            if !here {
                p.postponed = false;
                return p.first.is_none() && now < p.due();
            }
            p.postponed = !has_carrier(mirror, p.ifindex);
            if p.postponed {
                (p.first, p.sent, p.owed, p.failures) = (None, 0, false, 0);
                return true;
            }
            if p.sent == AT.len() || p.first.is_some() && now < p.due() {
                return true;
            }
            p.first.get_or_insert(now);
            p.owed = speak(voices, p, mirror, slow, Audience::All);
            p.sent += 1;
            true
        });
    }

    /// Asks gateways and targets in the name of what has been announced.
    pub(super) fn tell_peers(&mut self, mirror: &Mirror, slow: &mut Slow) {
        let Self { pending, voices } = self;
        for p in pending.iter_mut().filter(|p| p.owed) {
            p.owed = false;
            let here = mirror.addresses(p.ifindex, p.address).next().is_some();
            if here && has_carrier(mirror, p.ifindex) {
                speak(voices, p, mirror, slow, Audience::Peers);
            }
        }
        pending.retain(|p| p.sent < AT.len());
    }
}

fn has_carrier(mirror: &Mirror, ifindex: Ifindex) -> bool {
    mirror.link(ifindex).is_some_and(|link| link.link.running)
}

#[derive(Clone, Copy)]
enum Audience {
    All,
    /// Gateways and configured targets.
    Peers,
}

/// Whether it has left.
fn speak(
    voices: &mut BTreeMap<Ifindex, Voice>,
    what: &mut Announcement,
    mirror: &Mirror,
    slow: &mut Slow,
    audience: Audience,
) -> bool {
    let Some(link) = mirror.link(what.ifindex) else { return false };
    let result = voice(voices, link).and_then(|Voice { socket, router }| {
        let (address, mac) = (what.address, link.link.mac);
        let send = |frame: &[u8]| sockets::send(socket, frame);
        match audience {
            Audience::All => announcement::to_all(address, mac, *router, send),
            Audience::Peers => announcement::to_peers(address, mac, &what.peers, send),
        }
    });
    let Err(error) = result else {
        what.failures = 0;
        return true;
    };
    what.failures = what.failures.saturating_add(1);
    if what.failures == if is_transient(&error) { 2 } else { 1 } {
        let name = link.link.name;
        let text = format!("announcing {} on {name} failed: {error}", what.address);
        slow.log(Severity::Warning, text);
    }
    false
}

fn voice<'a>(
    voices: &'a mut BTreeMap<Ifindex, Voice>,
    link: &LinkFact,
) -> io::Result<&'a mut Voice> {
    use std::collections::btree_map::Entry;
    match voices.entry(link.link.ifindex) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => {
            let router = sysctl::forwards_v6(link.link.name)?;
            Ok(entry.insert(Voice { socket: sockets::announcing(link)?, router }))
        }
    }
}
