//! Reads the receive sockets: answers about MACs on every NIC and the echo replies that no hook has
//! taken, by the same parser and the same match as the kernel program. Where there is a hook, such a reply
//! counts like any other, and says that the hook is gone or bypassed.

use mpathd_common::abi::Outcome;
use mpathd_common::matching::match_reply;
use mpathd_common::neighbour::parse_neighbour_answer;
use mpathd_common::wire::{EchoReply, parse};
use mpathd_core::event::{Event, HookLoss, ReceiveMode};
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
    channel: &mut Channel,
    probing: &mut Probing,
    since: Instant,
    buffer: &mut Buffer,
    mut tell: impl FnMut(Instant, Event),
) -> bool {
    let mut complete = true;
    for nth in 0..=channel.behind.len() {
        complete &= drain_socket(nth, channel, probing, since, buffer, &mut tell);
    }
    complete
}

fn drain_socket(
    nth: usize,
    channel: &mut Channel,
    probing: &mut Probing,
    since: Instant,
    buffer: &mut Buffer,
    tell: &mut impl FnMut(Instant, Event),
) -> bool {
    let offset = Realtime::sample();
    for _ in 0..FRAMES_PER_TURN {
        let Some(fd) = channel.heard().nth(nth) else { return true };
        match buffer.receive(fd) {
            Ok(received) => {
                let now = clock::now();
                let at = received.stamp.map_or(now, |s| offset.convert(s, since, now));
                take(channel, probing, &received, at, tell);
            }
            Err(Errno::EINTR | Errno::ENETDOWN) => {}
            Err(_) => return true,
        }
    }
    false
}

fn take_reply(
    channel: &mut Channel,
    probing: &Probing,
    reply: &EchoReply,
    at: Instant,
    tell: &mut impl FnMut(Instant, Event),
) {
    let ifindex = channel.ifindex;
    if channel.mode == ReceiveMode::Socket {
        // The outcome is in the slot's counts.
        match match_reply(&probing.slots, reply, ifindex.0, || at.0) {
            Ok(_) | Err(_) => return,
        }
    }
    // What the hook has seen it has counted, and it lets pass what is not to be consumed.
    let matched = match_reply(&probing.slots.uncounted(), reply, ifindex.0, || at.0);
    if matched.is_ok_and(|it| it.outcome == Outcome::Reply) {
        probing.slots.count_reply(reply.slot);
        if channel.bypass.count(at) {
            tell(at, Event::HookLost { ifindex, loss: HookLoss::Bypassed });
        }
    }
}

fn take(
    channel: &mut Channel,
    probing: &mut Probing,
    received: &Received<'_>,
    at: Instant,
    tell: &mut impl FnMut(Instant, Event),
) {
    if !received.for_us {
        return;
    }
    if let Ok(reply) = parse(received.frame) {
        return take_reply(channel, probing, &reply, at, tell);
    }
    let Some(answer) = parse_neighbour_answer(received.frame) else { return };
    if let Some((path, seq)) = probing.neighbours.learn(channel.ifindex, answer.ip, answer.mac) {
        tell(at, Event::Resolved { path, seq, at });
    }
}
