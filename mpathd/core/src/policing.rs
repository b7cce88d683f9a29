//! Which targets limit what they answer, and which paths just lose probes (N23).

use crate::ids::Family;
use crate::member::Member;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::pace::Change;
use crate::path::Path;
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
    for member in 0..members.len() {
        for family in Family::ALL {
            let instance = members[member].instance(family);
            let asks = instance.limited().next().is_some() && instance.unlimited().next().is_some();
            let confirmed = asks && lives_elsewhere(members, member, family, None, now);
            members[member].instances[family as usize].confirmed_elsewhere = confirmed;
        }
    }
}

/// A target that answers every probe on this member answers on another one as well: if it is silent
/// here, it is not the target. `after`: it has answered one there that left after that moment.
pub fn lives_elsewhere(
    members: &[Member],
    me: usize,
    family: Family,
    after: Option<Instant>,
    now: Instant,
) -> bool {
    let works = |m: &Member| m.fit() && m.link_up() && !m.offline;
    let others = members.iter().enumerate().filter(|(i, m)| *i != me && works(m));
    let mut there = others.flat_map(|(_, m)| m.instance(family).unlimited());
    there.any(|other| {
        let same = |p: &&Path| p.target() == other.target() && p.pace.was_steady();
        let here = members[me].instance(family).unlimited().find(same);
        let lately = after.is_none_or(|moment| other.last_steady > Some(moment));
        let known = |p: &Path| p.pace.is_known(now) || other.pace.is_known(now);
        lately && other.pace.was_steady() && here.is_some_and(known)
    })
}

fn judge_path(members: &mut [Member], at: At, now: Instant, out: &mut Outbox) {
    let interface = members[at.member].name();
    let instance = &mut members[at.member].instances[at.family as usize];
    let interval = instance.interval();
    let path = &mut instance.paths[at.path];
    let Some(target) = path.target().filter(|_| path.proven) else { return };
    if path.pace.may_be_outage() {
        judge_silence(members, at);
    }
    let path = &members[at.member].instance(at.family).paths[at.path];
    let limited = path.pace.is_limited(now, true) && is_limited(members, at, now);
    let path = &mut members[at.member].instances[at.family as usize].paths[at.path];
    let change = if limited {
        path.begin_evidence(now);
        // It answers some: it was not dead.
        path.dead = false;
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

/// What all targets of a NIC show at one moment is an outage of the network or of the NIC, and no limit
/// of one of them. Where the NIC has no other target, those of the other NICs tell.
fn judge_silence(members: &mut [Member], at: At) {
    let instance = members[at.member].instance(at.family);
    let (interval, path) = (instance.interval(), &instance.paths[at.path]);
    let spacing = path.spacing(interval);
    let Some(silence) = path.ended_silence() else { return };
    let shared = |paths: &mut dyn Iterator<Item = &Path>| {
        let counting = paths.filter(|p| p.counts());
        let told = counting.filter_map(|p| p.shares_silence(silence, spacing, interval));
        told.fold(None, |all, one| Some(all.unwrap_or(true) && one))
    };
    let own = instance.paths.iter().enumerate().filter(|(i, _)| *i != at.path);
    let elsewhere = || {
        let others = members.iter().enumerate().filter(|(i, m)| *i != at.member && m.link_up());
        shared(&mut others.flat_map(|(_, m)| &m.instance(at.family).paths))
    };
    let outage = shared(&mut own.map(|(_, p)| p)).or_else(elsewhere) == Some(true);
    let path = &mut members[at.member].instances[at.family as usize].paths[at.path];
    match outage {
        false => path.pace.confirm_hole(),
        true if path.has_resumed() => path.pace.forgive_hole(),
        true => {}
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

/// The same target answers all probes well through another NIC: then it is this one that loses probes. Where it
/// is asked as seldom as it answers, it says nothing of that.
fn is_steady_elsewhere(members: &[Member], at: At) -> bool {
    let target = members[at.member].instance(at.family).paths[at.path].target();
    let others = members.iter().enumerate().filter(|(o, other)| *o != at.member && other.link_up());
    let paths = others.flat_map(|(_, other)| &other.instance(at.family).paths);
    let same = |p: &&Path| p.key.is_some() && p.target() == target && !p.pace.policed();
    paths.filter(same).any(|p| p.pace.is_steady())
}
