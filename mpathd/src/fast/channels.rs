//! The sockets of the NICs: sends rounds and says what became of each probe (N1, N9). The sockets
//! are opened and closed by the host thread.

use std::os::fd::AsFd;

use mpathd_common::frame::Mac;
use mpathd_core::event::{Event, Fate};
use mpathd_core::ids::{Ifindex, PathId, Seq};
use mpathd_core::request::{Probe, Round};
use mpathd_core::time::Instant;
use nix::errno::Errno;

use super::clock;
use super::frames::{Frame, Paths, Sent, identify};
use super::neighbours::Neighbours;
use super::random::Random;
use super::receivers;
use super::slots::SlotMap;
use super::socket::{self, BATCH, Buffer};
use crate::messages::Channel;

/// Stamps read from one error queue in one turn.
const STAMPS_PER_TURN: usize = 64;

/// What sending needs besides the sockets.
pub(super) struct Probing {
    pub paths: Paths,
    pub neighbours: Neighbours,
    pub slots: SlotMap,
    /// For cookies.
    pub random: Random,
}

/// The NICs that may be probed. Its storage is made once.
pub(super) struct Channels {
    all: Vec<Channel>,
}

/// What a frame of a round was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Echo,
    /// An ARP request or NS in place of the probe.
    StandIn,
    /// A further request; nobody waits for it.
    Refresh,
}

/// A round on its way out: at most one probe and one request per target.
struct Outgoing {
    frames: [Frame; BATCH],
    about: [(PathId, Seq, Kind); BATCH],
    len: usize,
}

impl Channels {
    pub(super) fn new(capacity: usize) -> Self {
        Self { all: Vec::with_capacity(capacity) }
    }

    /// Gives back the channel that the new one replaces.
    pub(super) fn open(&mut self, channel: Channel) -> Option<Channel> {
        let old = self.close(channel.ifindex);
        self.all.push(channel);
        old
    }

    pub(super) fn close(&mut self, ifindex: Ifindex) -> Option<Channel> {
        let place = self.all.iter().position(|c| c.ifindex == ifindex)?;
        Some(self.all.swap_remove(place))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.all.iter_mut()
    }

    /// Moves all that `keep` gives back; `other` has room for them.
    pub(super) fn move_into(
        &mut self,
        other: &mut Self,
        keep: impl FnMut(Channel) -> Option<Channel>,
    ) {
        other.all.extend(self.all.drain(..).filter_map(keep));
    }

    pub(super) fn get(&self, ifindex: Ifindex) -> Option<&Channel> {
        self.all.iter().find(|c| c.ifindex == ifindex)
    }

    pub(super) fn get_mut(&mut self, ifindex: Ifindex) -> Option<&mut Channel> {
        self.all.iter_mut().find(|c| c.ifindex == ifindex)
    }

    /// Until when all frames that had come in on the NIC have been handled, if that can be told.
    pub(super) fn handled_until(&mut self, ifindex: Ifindex, now: Instant) -> Option<Instant> {
        let channel = self.get_mut(ifindex)?;
        receivers::handled_until(&mut channel.receivers, now)
    }

    /// The NIC has another MAC now.
    pub(super) fn set_mac(&mut self, ifindex: Ifindex, mac: Mac) {
        if let Some(channel) = self.get_mut(ifindex) {
            channel.mac = mac;
        }
    }

    /// Sends one probe to each target of the round; `tell` hears the fate of each. A probe whose
    /// request was held back by the limit is not told of: nothing was sent, it counts for nothing.
    pub(super) fn send(
        &self,
        round: &Round,
        probing: &mut Probing,
        mut tell: impl FnMut(Instant, Event),
    ) {
        let Some(channel) = self.get(round.ifindex) else {
            let at = clock::now();
            for probe in round.probes() {
                tell(at, sent(probe.path, probe.seq, at, Fate::Refused));
            }
            return;
        };
        let mut out = Outgoing::EMPTY;
        let now = clock::now();
        round.probes().iter().for_each(|probe| out.add(channel, probe, probing, now));
        let about = &out.about[..out.len];
        let at = clock::now();
        for (path, seq, _) in about.iter().filter(|a| a.2 == Kind::Echo) {
            probing.slots.stamp_tx(*path, *seq, at);
        }
        socket::send(channel.send.as_fd(), &out.frames[..out.len], |i, result| {
            let (path, seq, kind) = about[i];
            if let Some(fate) = fate(kind, result, channel.stamped) {
                tell(at, sent(path, seq, at, fate));
            }
        });
    }

    /// Reads the transmit stamps that a device has given: those probes have left. None of them is
    /// older than `since`.
    pub(super) fn read_stamps(
        &self,
        ifindex: Ifindex,
        probing: &Probing,
        since: Instant,
        buffer: &mut Buffer,
        mut tell: impl FnMut(Instant, Event),
    ) {
        let Some(channel) = self.get(ifindex) else { return };
        let offset = clock::Realtime::sample();
        for _ in 0..STAMPS_PER_TURN {
            let Ok(received) = buffer.receive_stamped(channel.send.as_fd()) else { break };
            let now = clock::now();
            let at = received.stamp.map_or(now, |s| offset.convert(s, since, now));
            match identify(received.frame) {
                Some(Sent::Probe(path, seq)) => tell(now, Event::Left { path, seq, at }),
                Some(Sent::Request(target)) => {
                    let asked = probing.neighbours.asked_for(channel.ifindex, target);
                    if let Some((path, seq)) = asked {
                        tell(now, sent(path, seq, at, Fate::Resolving));
                    }
                }
                None => {}
            }
        }
    }
}

fn sent(path: PathId, seq: Seq, at: Instant, fate: Fate) -> Event {
    Event::Sent { path, seq, at, fate }
}

/// An accepted frame has left where the device has no queue but its own (bypass); else only its
/// stamp will tell, and until then it waits.
fn fate(kind: Kind, result: Result<(), Errno>, stamped: bool) -> Option<Fate> {
    match (kind, result) {
        (Kind::Refresh, _) => None,
        (Kind::Echo | Kind::StandIn, Err(_)) => Some(Fate::Refused),
        (Kind::Echo | Kind::StandIn, Ok(())) if stamped => Some(Fate::Waiting),
        (Kind::Echo, Ok(())) => Some(Fate::Left),
        (Kind::StandIn, Ok(())) => Some(Fate::Resolving),
    }
}

impl Outgoing {
    const EMPTY: Outgoing = Outgoing {
        frames: [Frame::EMPTY; BATCH],
        about: [(PathId(0), Seq(0), Kind::Refresh); BATCH],
        len: 0,
    };

    fn add(&mut self, channel: &Channel, probe: &Probe, probing: &mut Probing, now: Instant) {
        let Probing { paths, neighbours, .. } = probing;
        let Some(path) = paths.get_mut(probe.path) else { return };
        let (ifindex, target, from) = (channel.ifindex, path.key.target, channel.mac);
        let Some(mac) = neighbours.mac(&mut path.neighbour, ifindex, target) else {
            if let Some(ask) = neighbours.ask_for(ifindex, target, (probe.path, probe.seq), now)
                && let Some(frame) = self.next(probe, Kind::StandIn)
            {
                path.request(from, ask, frame);
            }
            return;
        };
        if let Some(frame) = self.next(probe, Kind::Echo) {
            path.probe(probe.path, probe.seq, from, mac, frame);
        }
        if probe.refresh
            && let Some(ask) = neighbours.refresh(ifindex, target, now)
            && let Some(frame) = self.next(probe, Kind::Refresh)
        {
            path.request(from, ask, frame);
        }
    }

    fn next(&mut self, probe: &Probe, kind: Kind) -> Option<&mut Frame> {
        let frame = self.frames.get_mut(self.len)?;
        self.about[self.len] = (probe.path, probe.seq, kind);
        self.len += 1;
        Some(frame)
    }
}

const _: () = assert!(BATCH >= 2 * mpathd_core::config::MAX_TARGETS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_driver_took_has_left() {
        let refused = Err(Errno::ENOBUFS);
        assert_eq!(fate(Kind::Echo, Ok(()), false), Some(Fate::Left));
        assert_eq!(fate(Kind::Echo, Ok(()), true), Some(Fate::Waiting));
        assert_eq!(fate(Kind::StandIn, Ok(()), false), Some(Fate::Resolving));
        assert_eq!(fate(Kind::StandIn, Ok(()), true), Some(Fate::Waiting));
        assert_eq!(fate(Kind::Echo, refused, true), Some(Fate::Refused));
        assert_eq!(fate(Kind::StandIn, refused, false), Some(Fate::Refused));
        assert_eq!(fate(Kind::Refresh, refused, false), None);
    }
}
