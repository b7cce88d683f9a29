//! Which targets limit what they answer, and which paths just lose probes (N23).

use crate::ids::Family;
use crate::member::Member;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::pace::Change;
use crate::time::Instant;

/// Which path of a group.
#[derive(Clone, Copy)]
struct At {
    member: usize,
    family: Family,
    path: usize,
}

/// Adapts how often each target of a group is asked.
pub fn judge(members: &mut [Member], now: Instant, out: &mut Outbox) {
    for member in 0..members.len() {
        for family in Family::ALL {
            if !members[member].instance(family).running() {
                continue;
            }
            for path in 0..members[member].instance(family).paths.len() {
                judge_path(members, At { member, family, path }, now, out);
            }
        }
    }
}

fn judge_path(members: &mut [Member], at: At, now: Instant, out: &mut Outbox) {
    let interface = members[at.member].name();
    let instance = &mut members[at.member].instances[at.family as usize];
    let interval = instance.interval();
    let path = &mut instance.paths[at.path];
    let Some(target) = path.target().filter(|_| path.proven) else { return };
    let limited = path.pace.is_limited(now, true) && is_limited(members, at, now);
    let path = &mut members[at.member].instances[at.family as usize].paths[at.path];
    let change =
        if limited { path.pace.slow_down(now, interval) } else { path.pace.try_faster(now) };
    let spacing = interval * path.pace.every();
    match change {
        Some(Change::Slowed { answered }) => {
            out.message(Message::TargetPoliced { target, interface, answered, spacing });
        }
        Some(Change::Full) => out.message(Message::TargetFull { target, interface }),
        None => {}
    }
}

/// It is the target that limits its answers, not the NIC that loses probes.
fn is_limited(members: &[Member], at: At, now: Instant) -> bool {
    let path = &members[at.member].instance(at.family).paths[at.path];
    let well = others_are_steady(members, at);
    path.pace.is_limited(now, well) && (well || !is_steady_elsewhere(members, at))
}

/// Another target answers well through this NIC.
fn others_are_steady(members: &[Member], at: At) -> bool {
    let paths = members[at.member].instance(at.family).paths.iter().enumerate();
    paths.filter(|(i, p)| *i != at.path && p.counts()).any(|(_, p)| p.pace.is_steady())
}

/// The same target answers well through another NIC: then it is this one that loses probes.
fn is_steady_elsewhere(members: &[Member], at: At) -> bool {
    let target = members[at.member].instance(at.family).paths[at.path].target();
    let others = members.iter().enumerate().filter(|(o, other)| *o != at.member && other.link_up());
    let paths = others.flat_map(|(_, other)| &other.instance(at.family).paths);
    paths.filter(|p| p.key.is_some() && p.target() == target).any(|p| p.pace.is_steady())
}
