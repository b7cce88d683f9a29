//! Which other host answers for an address of ours (RFC 5227 2.1.1 and 2.4, RFC 4862 5.4). Only an answer to a
//! question of our own counts, and what a question has brought is judged once, when its time is over:
//! whether a MAC is this host's, and whether its owner answers for everything, is known best then. Heard by
//! sockets of our own, because groups without probes have no others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mpathd_common::frame::Mac;
use mpathd_common::neighbour::parse_neighbour_answer;
use mpathd_core::event::Event;
use mpathd_core::ids::{Family, Ifindex, IpNet};
use mpathd_core::request::Role;
use mpathd_core::time::Instant;

use super::decoy::decoys;
use super::mirror::Mirror;
use super::sockets;

/// Data addresses that are asked for at a time: a host with hundreds must not flood its LAN.
const AT_A_TIME: usize = 16;
/// Answers read in one turn.
const FRAMES_PER_TURN: usize = 64;
/// ARP replies and neighbour advertisements are shorter.
const FRAME: usize = 128;
/// An answer that comes later is none to our question.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A host that answered for decoys is taken for a proxy for so long.
const PROXY_FOR: Duration = Duration::from_secs(600);

/// An address on a NIC.
type At = (Ifindex, IpAddr);

#[derive(Default)]
pub(super) struct Claims {
    /// Addresses of ours where they are present.
    ours: BTreeMap<At, Asked>,
    /// Questions whose time is not over yet.
    open: BTreeMap<At, Question>,
    /// Hosts that answer for every address, and when they did last.
    proxies: BTreeMap<(Ifindex, Family, Mac), Instant>,
    sockets: BTreeMap<(Ifindex, Family), OwnedFd>,
}

#[derive(Clone, Copy)]
struct Asked {
    /// With the configured prefix length.
    net: IpNet,
    role: Role,
    last: Option<Instant>,
    /// Other hosts have answered the last question: it is asked with decoys from now on.
    answered: bool,
}

struct Question {
    ends: Instant,
    /// It is about an address that nobody can have.
    decoy: Option<Decoy>,
    /// Who has answered.
    macs: BTreeSet<Mac>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoy {
    /// One answer proves a proxy.
    Impossible,
    /// Some host might have it by accident; no host has two of them.
    Unlikely,
}

impl Claims {
    /// Whom to ask for now: every test address, and of the data addresses those in conflict and some
    /// others by turns, those that wait for longest first.
    pub(super) fn next(&mut self, mirror: &Mirror) -> Vec<At> {
        self.look_at(mirror);
        let runs = |at: &At| mirror.link(at.0).is_some_and(|link| link.link.running);
        let all = || self.ours.iter().filter(|(at, _)| runs(at));
        let always = all().filter(|(_, asked)| asked.role == Role::Test || asked.answered);
        let mut by_turns: Vec<_> =
            all().filter(|(_, asked)| asked.role == Role::Data && !asked.answered).collect();
        by_turns.sort_by_key(|(at, asked)| (asked.last, **at));
        always.chain(by_turns.into_iter().take(AT_A_TIME)).map(|(at, _)| *at).collect()
    }

    /// Some address has not been asked for yet.
    pub(super) fn is_behind(&self, mirror: &Mirror) -> bool {
        let runs = |ifindex| mirror.link(ifindex).is_some_and(|link| link.link.running);
        self.ours.iter().any(|((ifindex, _), asked)| asked.last.is_none() && runs(*ifindex))
    }

    fn look_at(&mut self, mirror: &Mirror) {
        let before = std::mem::take(&mut self.ours);
        self.ours = mirror
            .may_conflict()
            .map(|(ifindex, net, role)| {
                let at = (ifindex, net.address);
                let known = before.get(&at);
                let (last, answered) = known.map_or((None, false), |it| (it.last, it.answered));
                (at, Asked { net, role, last, answered })
            })
            .collect();
    }

    /// Opens the sockets for answers. One that hears for nobody any more is kept: closing it takes 8 to
    /// 27 ms, in which a move would wait (measured).
    ///
    /// # Errors
    /// The first refusal of a socket; nothing is heard there.
    pub(super) fn listen(&mut self, mirror: &Mirror) -> io::Result<()> {
        let mut outcome = Ok(());
        for (ifindex, ip) in self.ours.keys() {
            let at = (*ifindex, Family::of(*ip));
            let Some(link) = mirror.link(*ifindex).filter(|_| !self.sockets.contains_key(&at))
            else {
                continue;
            };
            match sockets::hearing(link, at.1) {
                Ok(socket) => drop(self.sockets.insert(at, socket)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Opens the question about an address. Returns what to ask for, decoys first: their answers must not
    /// come later.
    pub(super) fn ask(&mut self, at: At, now: Instant, random: u64) -> Vec<IpAddr> {
        let Some(asked) = self.ours.get_mut(&at) else { return Vec::new() };
        asked.last = Some(now);
        let ends = now + ANSWER_WITHIN;
        let mut questions = Vec::new();
        if asked.answered {
            questions = decoys(asked.net, random);
            questions.retain(|(ip, _)| !self.ours.keys().any(|(_, ours)| ours == ip));
        }
        let mut about = Vec::new();
        for (ip, decoy) in questions {
            let question = Question { ends, decoy: Some(decoy), macs: BTreeSet::new() };
            self.open.insert((at.0, ip), question);
            about.push(ip);
        }
        self.open.insert(at, Question { ends, decoy: None, macs: BTreeSet::new() });
        about.push(at.1);
        about
    }

    /// When the first open question is over.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.values().map(|question| question.ends).min()
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.values().map(AsFd::as_fd)
    }

    /// Reads who has answered an open question.
    pub(super) fn receive(&mut self, mirror: &Mirror) {
        let Self { sockets, open, .. } = self;
        for ((ifindex, _), socket) in sockets {
            let mut frame = [0; FRAME];
            for _ in 0..FRAMES_PER_TURN {
                let Some(length) = sockets::receive(socket, &mut frame) else { break };
                let frame = &frame[..length];
                let Some(answer) = parse_neighbour_answer(frame) else { continue };
                let own = mirror.link(*ifindex).map(|link| link.link.mac);
                let asked = open.get_mut(&(*ifindex, answer.ip));
                if let Some(question) = asked.filter(|_| own.is_some_and(|own| answers(frame, own)))
                {
                    question.macs.insert(answer.mac);
                }
            }
        }
    }

    /// Judges the questions whose time is over. Returns the addresses that are to be asked for at once,
    /// because another host has answered for the first time.
    pub(super) fn conclude(
        &mut self,
        mirror: &Mirror,
        now: Instant,
        mut tell: impl FnMut(Event),
    ) -> Vec<At> {
        let over: Vec<At> =
            self.open.iter().filter(|(_, it)| it.ends <= now).map(|(at, _)| *at).collect();
        let mut over: Vec<_> =
            over.into_iter().filter_map(|at| Some((at, self.open.remove(&at)?))).collect();
        let own: BTreeSet<Mac> = mirror.macs().collect();
        for (_, question) in &mut over {
            question.macs.retain(|mac| !own.contains(mac));
        }
        for (ifindex, family, mac) in proxies(&over) {
            let before = self.proxies.insert((ifindex, family, mac), now);
            if before.is_none() {
                tell(Event::NeighbourProxy { ifindex, family, mac });
            }
        }
        self.proxies.retain(|_, last| now.since(*last) < PROXY_FOR);
        let mut again = Vec::new();
        for (at, question) in over.into_iter().filter(|(_, it)| it.decoy.is_none()) {
            let Some(asked) = self.ours.get_mut(&at) else { continue };
            let (ifindex, address) = at;
            let answered = !question.macs.is_empty();
            if answered && !asked.answered {
                again.push(at);
            }
            asked.answered = answered;
            let claims =
                |mac: &Mac| !self.proxies.contains_key(&(ifindex, Family::of(address), *mac));
            for mac in question.macs.into_iter().filter(claims) {
                tell(Event::Claimed { ifindex, address, mac });
            }
        }
        again
    }

    /// The link has gone, and its sockets with it.
    pub(super) fn forget(&mut self, gone: Ifindex) {
        self.ours.retain(|(ifindex, _), _| *ifindex != gone);
        self.open.retain(|(ifindex, _), _| *ifindex != gone);
        self.proxies.retain(|(ifindex, ..), _| *ifindex != gone);
        self.sockets.retain(|(ifindex, _), _| *ifindex != gone);
    }
}

/// Hosts that have answered for addresses that nobody can have.
fn proxies(over: &[(At, Question)]) -> BTreeSet<(Ifindex, Family, Mac)> {
    let mut unlikely: BTreeMap<(Ifindex, Family, Mac), usize> = BTreeMap::new();
    for ((ifindex, ip), question) in over {
        let weight = match question.decoy {
            Some(Decoy::Impossible) => 2,
            Some(Decoy::Unlikely) => 1,
            None => 0,
        };
        for mac in &question.macs {
            *unlikely.entry((*ifindex, Family::of(*ip), *mac)).or_default() += weight;
        }
    }
    unlikely.into_iter().filter(|(_, weight)| *weight >= 2).map(|(host, _)| host).collect()
}

/// Whether the frame answers us. An ARP reply to our probe comes to our MAC; an unasked one goes to all. The
/// answer to a solicitation without a source goes to all nodes, as an unasked one does (RFC 4861 7.2.4).
fn answers(frame: &[u8], own: Mac) -> bool {
    const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
    let Some(to) = frame.first_chunk::<6>() else { return false };
    *to == own || *to == ALL_NODES
}
