//! Who else says that a data address of ours is its own. Asked when it has been put on a NIC, then by
//! turns (RFC 5227 2.1.1 and 2.4; RFC 4862 5.4); heard by sockets of our own, for groups without probes have
//! no others. Test addresses are the business of [`super::twins`] and of the fast thread.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mpathd_common::neighbour::parse_neighbour_answer;
use mpathd_core::event::Event;
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::Role;
use mpathd_core::time::Instant;

use super::mirror::Mirror;
use super::sockets;

/// Addresses that are asked for at a time: a host with hundreds must not flood its LAN.
const AT_A_TIME: usize = 16;
/// Answers read in one turn.
const FRAMES_PER_TURN: usize = 64;
/// ARP replies and neighbour advertisements are shorter.
const FRAME: usize = 128;

#[derive(Default)]
pub(super) struct Claims {
    /// Data addresses where they stand, and when each was asked for last.
    asked: BTreeMap<(Ifindex, IpAddr), Option<Instant>>,
    open: BTreeMap<(Ifindex, Family), OwnedFd>,
}

impl Claims {
    /// Those to ask for now: such as never were, then those that wait for longest. Opens a socket for
    /// the answers to each. One that hears for nobody any more is kept: closing it takes 8 to 27 ms, in which
    /// a move would wait (measured; datapath F).
    ///
    /// # Errors
    /// The first refusal of a socket; nothing is heard there.
    pub(super) fn next(
        &mut self,
        mirror: &Mirror,
        now: Instant,
    ) -> (Vec<(Ifindex, IpAddr)>, io::Result<()>) {
        let data = mirror.vouched().filter(|(_, _, role)| *role == Role::Data);
        let standing: BTreeMap<_, _> = data
            .map(|(ifindex, net, _)| (ifindex, net.address))
            .map(|at| (at, self.asked.get(&at).copied().flatten()))
            .collect();
        self.asked = standing;
        let outcome = self.listen(mirror);
        let runs = |ifindex| mirror.link(ifindex).is_some_and(|link| link.link.running);
        let mut due: Vec<_> =
            self.asked.iter().filter(|((ifindex, _), _)| runs(*ifindex)).collect();
        due.sort_by_key(|(at, asked)| (**asked, **at));
        let due: Vec<_> = due.into_iter().take(AT_A_TIME).map(|(at, _)| *at).collect();
        for at in &due {
            self.asked.insert(*at, Some(now));
        }
        (due, outcome)
    }

    /// Some address has not been asked for yet.
    pub(super) fn is_behind(&self, mirror: &Mirror) -> bool {
        let runs = |ifindex| mirror.link(ifindex).is_some_and(|link| link.link.running);
        self.asked.iter().any(|((ifindex, _), asked)| asked.is_none() && runs(*ifindex))
    }

    fn listen(&mut self, mirror: &Mirror) -> io::Result<()> {
        let mut outcome = Ok(());
        for (ifindex, ip) in self.asked.keys() {
            let at = (*ifindex, Family::of(*ip));
            let Some(link) = mirror.link(*ifindex).filter(|_| !self.open.contains_key(&at)) else {
                continue;
            };
            match sockets::hearing(link, at.1) {
                Ok(socket) => drop(self.open.insert(at, socket)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.values().map(AsFd::as_fd)
    }

    /// Reads who has answered: of whom no MAC is this host's.
    pub(super) fn receive(&mut self, mirror: &Mirror, mut tell: impl FnMut(Event)) {
        for ((ifindex, _), socket) in &self.open {
            let mut frame = [0; FRAME];
            for _ in 0..FRAMES_PER_TURN {
                let Some(length) = sockets::receive(socket, &mut frame) else { break };
                let Some(answer) = parse_neighbour_answer(&frame[..length]) else { continue };
                let stands = self.asked.contains_key(&(*ifindex, answer.ip));
                if stands && mirror.macs().all(|own| own != answer.mac) {
                    let (ifindex, address, mac) = (*ifindex, answer.ip, answer.mac);
                    tell(Event::Claimed { ifindex, address, mac });
                }
            }
        }
    }

    /// The link has gone, and its sockets with it.
    pub(super) fn forget(&mut self, gone: Ifindex) {
        self.asked.retain(|(ifindex, _), _| *ifindex != gone);
        self.open.retain(|(ifindex, _), _| *ifindex != gone);
    }
}
