//! Which targets limit what they answer, and which paths just lose probes (N23).

use crate::ids::Family;
use crate::member::Member;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::pace::Change;
use crate::time::Instant;

/// Adapts how often each target of a group is asked.
pub fn judge(members: &mut [Member], now: Instant, out: &mut Outbox) {
    for m in 0..members.len() {
        for family in Family::ALL {
            if !members[m].instance(family).running() {
                continue;
            }
            for n in 0..members[m].instance(family).paths.len() {
                judge_path(members, (m, family, n), now, out);
            }
        }
    }
}

fn judge_path(
    members: &mut [Member],
    (m, family, n): (usize, Family, usize),
    now: Instant,
    out: &mut Outbox,
) {
    let well = others_are_steady(members, m, family, n);
    let lossy = !well && is_steady_elsewhere(members, m, family, n);
    let interface = members[m].name();
    let instance = &mut members[m].instances[family as usize];
    let interval = instance.interval();
    let path = &mut instance.paths[n];
    let Some(target) = path.target().filter(|_| path.proven) else { return };
    path.pace.pass(now, interval);
    let change = if path.pace.is_limited(now, well) && !lossy {
        path.pace.slow_down(now, interval)
    } else {
        path.pace.try_faster(now)
    };
    let spacing = interval * path.pace.every();
    match change {
        Some(Change::Slowed { answered }) => {
            out.message(Message::TargetPoliced { target, interface, answered, spacing });
        }
        Some(Change::Full) => out.message(Message::TargetFull { target, interface }),
        None => {}
    }
}

/// Another target answers well through this NIC.
fn others_are_steady(members: &[Member], m: usize, family: Family, n: usize) -> bool {
    let paths = members[m].instance(family).paths.iter().enumerate();
    paths.filter(|(i, p)| *i != n && p.counts()).any(|(_, p)| p.pace.is_steady())
}

/// The same target answers well through another NIC: then it is this one that loses probes.
fn is_steady_elsewhere(members: &[Member], m: usize, family: Family, n: usize) -> bool {
    let target = members[m].instance(family).paths[n].target();
    let others = members.iter().enumerate().filter(|(o, other)| *o != m && other.link_up());
    let paths = others.flat_map(|(_, other)| &other.instance(family).paths);
    paths.filter(|p| p.key.is_some() && p.target() == target).any(|p| p.pace.is_steady())
}
