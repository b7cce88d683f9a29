//! Where data addresses are, and what moves them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::ids::Family;
use mpathd_core::time::Instant;
use mpathd_core::view::View;

use crate::history::MOST_MEMBERS;
use crate::lan::{MS, S};
use crate::referee::{Kind, Referee, interface, is_usable, shown_fdt};
use crate::world::{World, nic};

/// Moves of one address in [`WINDOW`], those off a NIC that became unusable aside.
const MOST_MOVES: usize = 4;
const WINDOW: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug)]
struct Move {
    at: Instant,
    from: usize,
    /// Its NIC could have kept it.
    by_choice: bool,
}

#[derive(Clone, Debug, Default)]
struct Track {
    /// The NIC to which it came last.
    on: Option<usize>,
    holders: Vec<usize>,
    moves: Vec<Move>,
    /// Since when it is on a failed NIC while another one works.
    left_since: Option<Instant>,
}

pub struct Moves {
    tracks: BTreeMap<IpAddr, Track>,
    /// When the state of an interface last changed.
    changed_at: Instant,
}

impl Moves {
    pub fn new(world: &World) -> Self {
        Self { tracks: BTreeMap::new(), changed_at: world.now() }
    }

    /// Other addresses may be configured. A restart forgets what has moved when.
    pub fn begin_anew(&mut self, world: &World, restarted: bool) {
        if restarted {
            self.tracks.values_mut().for_each(|track| track.moves.clear());
        }
        let data: Vec<IpAddr> = world.setup.group().data.iter().map(|net| net.address).collect();
        self.tracks.retain(|address, _| data.contains(address));
    }

    pub fn after_turn(
        &mut self,
        world: &World,
        before: &View,
        view: &View,
        anew: bool,
    ) -> Option<(Kind, String)> {
        let states = |v: &View| -> Vec<_> {
            v.interfaces.iter().map(|row| (row.reason, row.state, row.ifindex)).collect()
        };
        if states(before) != states(view) {
            self.changed_at = world.now();
        }
        for row in &view.addresses {
            let address = row.address.address;
            let holders: Vec<usize> = (0..MOST_MEMBERS)
                .filter(|i| {
                    let nic = world.lan.nics.get(&nic(*i));
                    nic.is_some_and(|n| world.lan.addresses.contains(&(n.link.ifindex, address)))
                })
                .collect();
            let held = before.addresses.iter().any(|a| {
                let lasts = |left| before.at + left > world.now();
                a.address == row.address && a.held.is_some_and(lasts)
            });
            let changed_at = self.changed_at;
            let track = self.tracks.entry(address).or_default();
            // A move is judged when the address comes to the other NIC, in the turn of the decision.
            let came = holders.iter().copied().find(|i| !track.holders.contains(i));
            track.holders.clone_from(&holders);
            let Some(on) = came.or(track.on) else { continue };
            let from = track.on.replace(on);
            let found = match from.filter(|from| *from != on) {
                Some(from) if !anew => {
                    let moved = Moved { address, from, to: on, held, changed_at };
                    track.judge(world, before, view, moved)
                }
                _ => None,
            };
            let found = found.or_else(|| track.left_behind(world, view, address, on));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// A move that has just been made.
#[derive(Clone, Copy)]
struct Moved {
    address: IpAddr,
    from: usize,
    to: usize,
    held: bool,
    changed_at: Instant,
}

/// Truly answers, and has for one failure detection time.
pub fn works(world: &World, i: usize, family: Family, fdt: Duration) -> bool {
    let now = world.now();
    world.paths_of(i, family).any(|(t, p)| {
        p.clean_since.is_some_and(|since| now.since(since) >= fdt)
            && world.target(family, t).limit.is_none()
            && p.last_reply.is_some_and(|at| now.since(at) < fdt.max(world.setup.fdt()))
    })
}

/// Truly answers nobody, in no family, and has not since it came.
fn was_never_heard(world: &World, i: usize) -> bool {
    let probed = Family::ALL.iter().any(|f| world.probed(i, *f) > 0);
    let heard = |family: &Family| {
        world.paths_of(i, *family).any(|(_, p)| p.usable || p.last_reply.is_some())
    };
    probed && !Family::ALL.iter().any(heard)
}

impl Track {
    fn judge(
        &mut self,
        world: &World,
        before: &View,
        view: &View,
        moved: Moved,
    ) -> Option<(Kind, String)> {
        let Moved { address, from, to, held, changed_at } = moved;
        let (now, family) = (world.now(), Family::of(address));
        let fdt = shown_fdt(before);
        let good = |v: &View, i| interface(v, i).is_some_and(is_usable);
        let family_dead =
            |v: &View, i| interface(v, i).is_some_and(|row| row.degraded[family as usize]);
        let could_stay = |v: &View| good(v, from) && !family_dead(v, from);
        // One that has just been replaced by a device of the same name could keep nothing.
        let replaced = [from, to].iter().any(|i| now.since(world.epoch[*i]) <= MS);
        let by_choice = could_stay(before) && could_stay(view) && !replaced;
        let last = self.moves.last().copied();
        let recent =
            self.moves.iter().rev().take_while(|m| now.since(m.at) + 10 * MS < WINDOW).count();
        self.moves.push(Move { at: now, from, by_choice });
        let said = format!("{address} went from eth{from} to eth{to}");
        let answers = works(world, from, family, fdt);
        if by_choice && answers && was_never_heard(world, to) {
            return Some((Kind::MovedToSilent, format!("{said}, which has never answered")));
        }
        if by_choice && (held || recent >= MOST_MOVES) {
            let text = format!("{said} for balance, after {recent} moves in 180 s");
            return Some((Kind::MovedTooOften, text));
        }
        let since = last.filter(|m| m.from == to && m.by_choice && by_choice);
        if let Some(m) = since.filter(|m| world.last_step <= m.at && changed_at <= m.at) {
            let text =
                format!("{said} and back in {:?}, and nothing had happened", now.since(m.at));
            return Some((Kind::ToAndFro, text));
        }
        let failed = Referee::group_failed(before) && Referee::group_failed(view);
        let silent = |i| world.paths_of(i, family).all(|(_, p)| !p.usable);
        let in_service = |i| {
            let row = interface(view, i);
            world.has_carrier(i)
                && row.is_some_and(|row| row.reason.is_some() && !row.offline)
                && now.since(world.epoch[i]) > 2 * fdt
        };
        let same = silent(from) && silent(to) && now.since(world.last_step) > 2 * fdt
            || works(world, from, family, fdt * 2);
        if failed && in_service(from) && same && world.probed(from, family) > 0 {
            return Some((Kind::MovedByGroupFailure, format!("{said} while the group was failed")));
        }
        None
    }

    fn left_behind(
        &mut self,
        world: &World,
        view: &View,
        address: IpAddr,
        on: usize,
    ) -> Option<(Kind, String)> {
        let (now, family) = (world.now(), Family::of(address));
        let fdt = shown_fdt(view);
        // One that truly answers is about to be repaired.
        let answers = works(world, on, family, Duration::ZERO);
        let bad = interface(view, on).is_some_and(|row| !is_usable(row)) && !answers;
        let better = (0..world.setup.members).find(|j| {
            *j != on && interface(view, *j).is_some_and(is_usable) && works(world, *j, family, fdt)
        });
        let since = better.filter(|_| bad).map(|_| self.left_since.unwrap_or(now));
        self.left_since = since;
        let patience = fdt + S + 100 * MS;
        let (since, j) = since.zip(better)?;
        (now.since(since) > patience).then(|| {
            let text = format!("{address} stays on eth{on}, which is not usable; eth{j} works");
            (Kind::LeftBehind, text)
        })
    }
}
