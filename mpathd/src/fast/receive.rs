//! Reads the receive sockets: answers about MACs on every NIC and, where no hook receives, the echo
//! replies themselves, by the same parser and the same match as the kernel program.

use std::os::fd::AsFd;

use mpathd_common::matching::match_reply;
use mpathd_common::neighbour::parse_neighbour_answer;
use mpathd_common::wire::parse;
use mpathd_core::event::{Event, ReceiveMode};
use mpathd_core::time::Instant;
use nix::errno::Errno;

use super::channels::Probing;
use super::clock::{self, Realtime};
use super::socket::{Buffer, Received};
use crate::messages::Channel;

/// Frames read from one socket in one turn, so that no flood holds up the links and timers.
const FRAMES_PER_TURN: usize = 64;

/// Reads what is there; echo replies end in the slots, answers about MACs in `tell`. `false` if
/// more is there than one turn takes: no probe may be judged yet. `since`: when the socket was last
/// empty, so nothing in it is older.
pub(super) fn drain(
    channel: &Channel,
    probing: &mut Probing,
    since: Instant,
    buffer: &mut Buffer,
    mut tell: impl FnMut(Instant, Event),
) -> bool {
    let offset = Realtime::sample();
    for _ in 0..FRAMES_PER_TURN {
        match buffer.receive(channel.receive.as_fd()) {
            Ok(received) => {
                let now = clock::now();
                let at = received.stamp.map_or(now, |s| offset.convert(s, since, now));
                take(channel, probing, &received, at, &mut tell);
            }
            Err(Errno::EINTR | Errno::ENETDOWN) => {}
            Err(_) => return true,
        }
    }
    false
}

fn take(
    channel: &Channel,
    probing: &mut Probing,
    received: &Received<'_>,
    at: Instant,
    tell: &mut impl FnMut(Instant, Event),
) {
    if !received.for_us {
        return;
    }
    if channel.mode == ReceiveMode::Socket
        && let Ok(reply) = parse(received.frame)
    {
        // The outcome is in the slot's counts.
        match match_reply(&probing.slots, &reply, channel.ifindex.0, || at.0) {
            Ok(_) | Err(_) => return,
        }
    }
    let Some(answer) = parse_neighbour_answer(received.frame) else { return };
    if probing.neighbours.guards(channel.ifindex, answer.ip) {
        if answer.mac != channel.mac && !probing.own.contains(&answer.mac) {
            let (ifindex, address, mac) = (channel.ifindex, answer.ip, answer.mac);
            tell(at, Event::Claimed { ifindex, address, mac });
        }
        return;
    }
    if let Some((path, seq)) = probing.neighbours.learn(channel.ifindex, answer.ip, answer.mac) {
        tell(at, Event::Resolved { path, seq, at });
    }
}
