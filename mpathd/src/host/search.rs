//! Looks for hosts that may be targets: an echo request to all hosts of the LAN, and who answers it;
//! and the neighbours that the kernel knows. Whom to take is the engine's to decide.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mpathd_common::abi::{Path, address_words};
use mpathd_common::frame::{Echo, Mac, Probe};
use mpathd_common::wire::{EchoReply, parse};
use mpathd_core::event::{Event, FoundBy};
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::time::Instant;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::facts::LinkFact;
use super::mirror::Mirror;
use super::netlink::{Refused, Requests};
use super::sockets;

/// In the place of a slot number: the hook has no such slot and lets the answers pass.
pub(super) const ALL_HOSTS_SLOT: u32 = u32::MAX;

/// RFC 1112 6.4 and RFC 2464 7.
const ALL_HOSTS_V4: (Ipv4Addr, Mac) = (Ipv4Addr::new(224, 0, 0, 1), [1, 0, 0x5e, 0, 0, 1]);
const ALL_HOSTS_V6: (Ipv6Addr, Mac) =
    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), [0x33, 0x33, 0, 0, 0, 1]);
/// Hosts told of one request: more than an instance keeps, however many answer.
const TOLD_AT_MOST: usize = 16;
/// Answers read in one turn.
const FRAMES_PER_TURN: usize = 256;
/// An unused socket is closed after this time, for every frame of its kind is held against its filter.
const IDLE: Duration = Duration::from_secs(30);

pub(super) struct Searcher {
    /// Nobody on the wire knows it before the first request.
    cookie: u64,
    generation: u32,
    open: BTreeMap<(Ifindex, Family), Search>,
}

struct Search {
    socket: OwnedFd,
    test: IpAddr,
    asked: Instant,
    told: usize,
}

impl Searcher {
    /// # Errors
    /// ENOSYS where a sandbox forbids getrandom.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { cookie: random()?, generation: 0, open: BTreeMap::new() })
    }

    /// A number that nobody on the wire can foresee.
    pub(super) fn random(&self) -> u64 {
        random().unwrap_or(self.cookie)
    }

    /// Asks all hosts behind a NIC for an echo, from its test address.
    ///
    /// # Errors
    /// The kernel's to opening a packet socket and to sending from it.
    pub(super) fn ask(&mut self, link: &LinkFact, test: IpAddr, now: Instant) -> io::Result<()> {
        use std::collections::btree_map::Entry;
        self.generation = self.generation.wrapping_add(1);
        let frame = request(link.link.mac, test, self.generation, self.cookie);
        let family = Family::of(test);
        let search = match self.open.entry((link.link.ifindex, family)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let socket = sockets::searching(link, family)?;
                entry.insert(Search { socket, test, asked: now, told: 0 })
            }
        };
        (search.test, search.asked, search.told) = (test, now, 0);
        sockets::send(&search.socket, frame.frame())
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.values().map(|search| search.socket.as_fd())
    }

    /// Reads who has answered.
    pub(super) fn receive(&mut self, mirror: &Mirror, mut tell: impl FnMut(Event)) {
        let cookie = self.cookie;
        for ((ifindex, _), search) in &mut self.open {
            let mut frame = [0; 256];
            for _ in 0..FRAMES_PER_TURN {
                let Some(length) = sockets::receive(&search.socket, &mut frame) else { break };
                let Ok(reply) = parse(&frame[..length]) else { continue };
                let Some(address) = responder(&reply, search.test, cookie) else { continue };
                if search.told < TOLD_AT_MOST && !mirror.is_own(address) {
                    search.told += 1;
                    tell(Event::Found { ifindex: *ifindex, address, by: FoundBy::Echo });
                }
            }
        }
    }

    /// The link has gone.
    pub(super) fn forget(&mut self, gone: Ifindex) {
        self.open.retain(|(ifindex, _), _| *ifindex != gone);
    }

    pub(super) fn close_idle(&mut self, now: Instant) {
        self.open.retain(|_, search| now.since(search.asked) < IDLE);
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; size_of::<u64>()];
    // SAFETY: the array is ours for the call, and its length is given.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(got) != Ok(bytes.len()) {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from_ne_bytes(bytes))
}

fn request(mac: Mac, test: IpAddr, generation: u32, cookie: u64) -> Probe {
    let (path, target_mac) = match test {
        IpAddr::V4(test) => (Path::V4 { test, target: ALL_HOSTS_V4.0 }, ALL_HOSTS_V4.1),
        IpAddr::V6(test) => (Path::V6 { test, target: ALL_HOSTS_V6.0 }, ALL_HOSTS_V6.1),
    };
    let ident = cookie as u16;
    let slot = ALL_HOSTS_SLOT;
    Probe::new(&Echo { source_mac: mac, target_mac, path, ident, slot, generation, cookie })
}

/// Who has answered our request, if it is one.
fn responder(reply: &EchoReply, test: IpAddr, cookie: u64) -> Option<IpAddr> {
    let ours = reply.slot == ALL_HOSTS_SLOT
        && reply.cookie == cookie
        && reply.destination == address_words(test);
    let [high, low] = reply.source.map(u128::from);
    let source = IpAddr::V6(Ipv6Addr::from(high << 64 | low)).to_canonical();
    (ours && !source.is_multicast() && !source.is_unspecified()).then_some(source)
}

/// Neighbours of one family that have answered the kernel behind this NIC, surest first.
///
/// # Errors
/// The kernel's to a dump.
pub(super) fn neighbours(
    requests: &mut Requests,
    mirror: &Mirror,
    ifindex: Ifindex,
    family: Family,
) -> Result<Vec<IpAddr>, Refused> {
    let mut message = NeighbourMessage::default();
    message.header.family = match family {
        Family::Inet => AddressFamily::Inet,
        Family::Inet6 => AddressFamily::Inet6,
    };
    message.attributes.push(NeighbourAttribute::IfIndex(ifindex.0));
    let mut found = Vec::new();
    requests.dump(RouteNetlinkMessage::GetNeighbour(message), |message| {
        if let Ok(RouteNetlinkMessage::NewNeighbour(neighbour)) = message.decode()
            && neighbour.header.ifindex == ifindex.0
        {
            found.extend(answering(&neighbour));
        }
    })?;
    found.retain(|(_, address)| !mirror.is_own(*address));
    found.sort();
    found.dedup();
    found.truncate(TOLD_AT_MOST);
    Ok(found.into_iter().map(|(_, address)| address).collect())
}

/// How long ago it has answered, 0 being just now, and who. Entries that an administrator has made,
/// and such as need no answer, prove nothing.
fn answering(neighbour: &NeighbourMessage) -> Option<(u8, IpAddr)> {
    let age = match neighbour.header.state {
        NeighbourState::Reachable => 0,
        NeighbourState::Delay | NeighbourState::Probe => 1,
        NeighbourState::Stale => 2,
        _ => return None,
    };
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => Some((age, IpAddr::V4(*a))),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => Some((age, IpAddr::V6(*a))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Mac = [2, 0, 0, 0, 0, 1];

    /// What a host makes of a request: kind, addresses and hop limit are its own.
    fn answer(request: &Probe, source: IpAddr, test: IpAddr) -> EchoReply {
        let frame = request.frame();
        let at = if source.is_ipv4() { 34 } else { 54 };
        let word = |n: usize| u32::from_be_bytes(frame[at + 8 + 4 * n..][..4].try_into().unwrap());
        EchoReply {
            source: address_words(source),
            destination: address_words(test),
            ident: 0,
            seq: 0,
            slot: word(1),
            generation: word(2),
            cookie: u64::from(word(3)) << 32 | u64::from(word(4)),
        }
    }

    #[test]
    fn only_answers_to_our_own_request_are_heard() {
        for (test, host, other) in [
            ("192.0.2.11", "192.0.2.1", "192.0.2.12"),
            ("2001:db8::11", "2001:db8::1", "2001:db8::12"),
        ] {
            let [test, host, other]: [IpAddr; 3] = [test, host, other].map(|a| a.parse().unwrap());
            let reply = answer(&request(HERE, test, 7, 99), host, test);
            assert_eq!(responder(&reply, test, 99), Some(host));
            assert_eq!(responder(&reply, test, 98), None, "another daemon's");
            assert_eq!(responder(&reply, other, 99), None, "another address'");
            let probe = EchoReply { slot: 3, ..reply };
            assert_eq!(responder(&probe, test, 99), None, "a probe's");
        }
    }

    #[test]
    fn a_request_goes_to_all_hosts_of_the_link_and_no_further() {
        let four = request(HERE, [192, 0, 2, 11].into(), 1, 2);
        assert_eq!(four.frame()[..6], [1, 0, 0x5e, 0, 0, 1]);
        assert_eq!((four.frame()[22], &four.frame()[30..34]), (1, &[224, 0, 0, 1][..]));
        let six = request(HERE, "2001:db8::11".parse().unwrap(), 1, 2);
        assert_eq!(six.frame()[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!((six.frame()[21], six.frame()[38], six.frame()[53]), (1, 0xff, 1));
    }
}
