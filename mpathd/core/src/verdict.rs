//! The judgement of one group: what its instances say about its interfaces, and what those say about
//! the group (design 2.6 to 2.10).
//!
//! ```text
//! instance  ok -- all targets that count silent, a witness elsewhere ------> failed
//!           ok -- the same, nobody heard anything ----> all instances failed, together
//!           failed together -- repaired elsewhere, and still silent here ----> failed alone
//!           failed -- answered in every round for 2 x FDT -----------------> ok
//! interface ok -- link down, or every instance with a say failed ----------> failed
//!           failed -- link up, and an instance with a say ok --------------> ok
//! ```

use core::time::Duration;

use crate::capacity;
use crate::group::Group;
use crate::ids::Family;
use crate::instance::{DOUBT, Failure, Instance, Suspicion};
use crate::member::Member;
use crate::message::{Evidence, Message, Reason};
use crate::outbox::Outbox;
use crate::policing;
use crate::time::Instant;

/// How often in a round a receive witness is looked for: it wakes nobody.
const LOOKS_PER_ROUND: u32 = 4;

/// Did anybody else hear something that was asked after our fourth loss?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Witness {
    Heard,
    /// Somebody hears something now and then: the targets may be answering some of us by turns.
    Doubtful,
    /// Somebody may still hear something.
    NotYet,
    Nobody,
}

/// Judges all instances and members of a group, and the group.
pub fn judge(group: &mut Group, members: &mut [Member], now: Instant, out: &mut Outbox) {
    group.judges_again_at = None;
    for member in members.iter_mut() {
        drop_dead_targets(member, out);
    }
    for i in 0..members.len() {
        for family in Family::ALL {
            judge_instance(group, members, i, family, now, out);
        }
    }
    for member in members.iter_mut() {
        repair_instances(group, member, now, out);
    }
    for family in Family::ALL {
        part(members, family, now);
    }
    judge_members(group, members, now, out);
    judge_group(group, members, out);
}

fn drop_dead_targets(member: &mut Member, out: &mut Outbox) {
    let interface = member.name();
    for instance in &mut member.instances {
        while let Some(target) = instance.find_dead_target() {
            out.message(Message::TargetDead { target, interface });
        }
    }
}

fn judge_instance(
    group: &mut Group,
    members: &mut [Member],
    i: usize,
    family: Family,
    now: Instant,
    out: &mut Outbox,
) {
    let case = suspicion(group, members, i, family, now);
    // A target that answers once a second, whoever asks, answers each of them by turns.
    let askers = members.iter().filter(|m| m.instance(family).probing()).count() as u32;
    let handled = members[i].handled_until;
    let instance = &mut members[i].instances[family as usize];
    let lacks = |case: &Suspicion| instance.lacks_receive_witness(case, handled, now);
    instance.seeks_receive_witness = case.as_ref().is_some_and(lacks);
    let Some(case) = case else {
        instance.case_since = None;
        return;
    };
    if case.ready > now {
        return group.judge_again(case.ready);
    }
    // A path remembers its newest probes only, so `ready` advances during a long silence.
    let since = *instance.case_since.get_or_insert(case.ready);
    if instance.seeks_receive_witness {
        return group.judge_again(now + instance.interval() / LOOKS_PER_ROUND);
    }
    // A silence in common moves nothing: it has time where the targets are not known yet (N23).
    // It counts from the fourth loss. Of quick rounds a path remembers less than a second of losses, but the
    // fourth came no later than so many probes after the last reply.
    let heard = case.evidence.last_reply.map(|age| now - age + instance.longest_spacing() * 4);
    let fourth = heard.map_or(case.fourth, |at| at.min(case.fourth));
    let doubted_until = fourth + DOUBT * askers;
    let doubt = instance.may_be_limited(now).then_some(doubted_until);
    // A device that sends nothing says so itself, whatever the targets do.
    let stuck = case.evidence.reason == Reason::TransmitStuck;
    let doubtful = !stuck && instance.is_doubtful(now) && now < fourth + DOUBT;
    let common_at = (since + instance.longest_spacing())
        .max(doubt.unwrap_or(since))
        .max(others_have_answered_by(members, i, family, fourth).unwrap_or(since));
    let witness = match group.is_anonymous() {
        true => Witness::Heard,
        false => witness(members, i, family, fourth, case.fourth),
    };
    match witness {
        Witness::Heard if doubtful => group.judge_again(fourth + DOUBT),
        Witness::Doubtful if !stuck => {}
        Witness::Heard | Witness::Doubtful => {
            let failure =
                Failure { since: now, together: false, told: false, evidence: case.evidence };
            members[i].instances[family as usize].fail(failure);
        }
        Witness::NotYet if now < common_at => group.judge_again(common_at),
        Witness::Nobody if doubt.is_some_and(|until| now < until) => group.judge_again(common_at),
        Witness::NotYet | Witness::Nobody => fail_together(group, members, family, case, now, out),
    }
}

/// When each of the other members has been asked after `moment`, and has had the time to answer.
fn others_have_answered_by(
    members: &[Member],
    me: usize,
    family: Family,
    moment: Instant,
) -> Option<Instant> {
    let others = members.iter().enumerate().filter(|(o, m)| *o != me && m.link_up() && !m.offline);
    let instances = others.map(|(_, m)| m.instance(family)).filter(|i| i.probing());
    instances.filter(|i| i.failure.is_none()).map(|i| moment + i.answers_within()).max()
}

fn suspicion(
    group: &Group,
    members: &[Member],
    i: usize,
    family: Family,
    now: Instant,
) -> Option<Suspicion> {
    let member = &members[i];
    let instance = member.instance(family);
    if instance.failure.is_some() || !member.link_up() || member.offline || !instance.running() {
        return None;
    }
    let quiet = instance.started.is_some_and(|at| now.since(at) < group.quiet_period);
    if quiet && !instance.replied {
        return None;
    }
    let early = || instance.early_suspicion(now);
    let lives =
        |case: &Suspicion| policing::lives_elsewhere(members, i, family, Some(case.fourth), now);
    instance.suspicion(now).or_else(|| early().filter(lives))
}

/// Members without probing in this family witness by the other one; members that nothing proves
/// or disproves witness by their link (design 2.7).
/// `fourth`: our fourth loss; `recent`: of those that are still remembered.
fn witness(
    members: &[Member],
    me: usize,
    family: Family,
    fourth: Instant,
    recent: Instant,
) -> Witness {
    let mut verdict = Witness::Nobody;
    for (i, member) in members.iter().enumerate() {
        if i == me || !member.fit() || !member.link_up() || member.offline {
            continue;
        }
        let same = Some(member.instance(family)).filter(|i| i.probing());
        let Some(instance) = same.or_else(|| member.instances.iter().find(|i| i.probing())) else {
            if member.failed.is_none() {
                return Witness::Heard;
            }
            continue;
        };
        if instance.answers_after(recent) {
            return Witness::Heard;
        }
        if instance.answered_after(fourth) {
            verdict = Witness::Doubtful;
        } else if instance.failure.is_none() && verdict == Witness::Nobody {
            verdict = Witness::NotYet;
        }
    }
    verdict
}

/// Nobody heard anything: the cause lies beyond the NICs. All instances of the family that probe
/// fail with this one, so that nothing moves from one to another.
fn fail_together(
    group: &mut Group,
    members: &mut [Member],
    family: Family,
    case: Suspicion,
    now: Instant,
    out: &mut Outbox,
) {
    let failure = Failure { since: now, together: true, told: true, evidence: case.evidence };
    for member in members.iter_mut().filter(|m| m.link_up() && !m.offline) {
        let instance = &mut member.instances[family as usize];
        if instance.probing() && instance.failure.is_none() {
            instance.fail(failure);
        }
    }
    let other_works =
        members.iter().any(|m| m.instances.iter().any(|i| i.probing() && i.failure.is_none()));
    if other_works {
        out.message(Message::FamilySilent { family, group: group.name });
    }
}

fn repair_instances(group: &mut Group, member: &mut Member, now: Instant, out: &mut Outbox) {
    if !member.link_up() || member.offline {
        return;
    }
    let (interface, whole) = (member.name(), member.failed.is_some());
    // The two families run at phases of their own: a repaired interface comes back whole.
    let other_follows = |i: &Instance| i.failure.is_some() && i.is_about_to_earn_repair(now);
    if whole && member.instances.iter().any(other_follows) {
        return;
    }
    let quiet = member.up_since.is_some_and(|at| now.since(at) >= group.quiet_period);
    let watched = Family::ALL.map(|family| member.test_config(family).is_some());
    for instance in &mut member.instances {
        let Some(failure) = instance.failure else { continue };
        // Nobody is there to answer: then the link alone decides. Where targets have fallen silent, it decides
        // only if the configuration asks for no probes any more; a test address that has got lost proves nothing.
        let had_targets = failure.evidence.counted > 0 || instance.test.is_none();
        let silenced = had_targets && watched[instance.family as usize];
        let orphaned = quiet && !instance.has_targets() && !silenced;
        if orphaned || instance.has_earned_repair(now) {
            instance.repair();
            // Its addresses did not move, but neighbours may have learnt another MAC for them meanwhile.
            group.announce |= failure.together;
            if !whole && failure.told {
                let family = instance.family;
                out.message(Message::FamilyRepaired { interface, family, group: group.name });
            }
        }
    }
}

/// What failed together does not all come back: a family that works again elsewhere, and is silent here, is dead
/// here. Who has earned its repair was answered for 2 x FDT, in which this one could have been, too.
fn part(members: &mut [Member], family: Family, now: Instant) {
    let works = |m: &Member| {
        let instance = m.instance(family);
        m.usable() && instance.probing() && instance.failure.is_none()
    };
    if !members.iter().any(works) {
        return;
    }
    for instance in members.iter_mut().map(|m| &mut m.instances[family as usize]) {
        let silent = !instance.answering(now);
        if let Some(failure) = instance.failure.as_mut().filter(|f| f.together && silent) {
            (failure.together, failure.told, failure.since) = (false, false, now);
        }
    }
}

fn judge_members(group: &mut Group, members: &mut [Member], now: Instant, out: &mut Outbox) {
    let mut failed_now = capacity::Set::default();
    for i in 0..members.len() {
        if members[i].link.is_none() {
            continue;
        }
        match (members[i].failed, members[i].verdict(now)) {
            (None, Some(reason)) => {
                members[i].failed = Some(reason);
                members[i].since = now;
                failed_now.insert(i);
            }
            (Some(_), None) => repair(group, members, i, now, out),
            (Some(_), Some(reason)) => members[i].failed = Some(reason),
            (None, None) => members[i].has_worked |= members[i].usable(),
        }
        tell_flapping(&mut members[i], now, out);
    }
    for i in 0..members.len() {
        let others_work = members.iter().enumerate().any(|(j, m)| j != i && m.usable());
        if failed_now.contains(i) && (others_work || group.is_anonymous()) {
            let evidence = evidence(&members[i], now);
            let (interface, group) = (members[i].name(), group.name);
            out.message(Message::InterfaceFailed { interface, group, evidence });
        }
        tell_family_failures(group, &mut members[i], now, out);
    }
}

fn repair(group: &mut Group, members: &mut [Member], i: usize, now: Instant, out: &mut Outbox) {
    let others = members.iter().enumerate().filter(|(j, m)| *j != i && m.active && m.usable());
    let capacity_stands = others.count() >= group.intended;
    let member = &mut members[i];
    member.failed = None;
    for failure in member.instances.iter_mut().filter_map(|i| i.failure.as_mut()) {
        (failure.since, failure.told) = (now, false);
    }
    member.flap_told = false;
    member.since = now;
    member.set_aside = !group.failback && !member.config.standby && capacity_stands;
    let interface = member.name();
    out.message(Message::InterfaceRepaired { interface, group: group.name });
    // One that appeared without carrier has not been away.
    let worked = core::mem::replace(&mut member.has_worked, true);
    let wait =
        if worked && !group.is_anonymous() { member.returns.returned(now) } else { Duration::ZERO };
    // With the whole group it has lost no address that could return.
    if wait > Duration::ZERO && !member.led {
        out.message(Message::ReturnDamped { interface, wait });
    }
}

fn tell_flapping(member: &mut Member, now: Instant, out: &mut Outbox) {
    let held = member.failed == Some(Reason::Link) && member.link_up() && !member.probing();
    if held && !member.flap_told && member.flap_until(now).is_some() {
        member.flap_told = true;
        out.message(Message::LinkFlapping { interface: member.name() });
    }
}

/// One family alone is dead.
fn tell_family_failures(group: &Group, member: &mut Member, now: Instant, out: &mut Outbox) {
    let (interface, failed) = (member.name(), member.failed.is_some());
    for instance in &mut member.instances {
        let (family, due) = (instance.family, instance.tells_failure_at());
        let Some(failure) = &mut instance.failure else { continue };
        if !failed && due.is_some_and(|at| at <= now) {
            failure.told = true;
            let evidence = failure.evidence;
            out.message(Message::FamilyFailed { interface, family, group: group.name, evidence });
        }
    }
}

fn evidence(member: &Member, now: Instant) -> Evidence {
    let by_probes = member.instances.iter().find_map(|i| i.failure).map(|f| f.evidence);
    by_probes.filter(|_| member.failed != Some(Reason::Link)).unwrap_or_else(|| {
        let paths = member.instances.iter().flat_map(|i| &i.paths);
        let last_reply = paths.filter_map(|p| p.last_reply).max().map(|at| now.since(at));
        let reason = Reason::Link;
        Evidence { reason, silent: 0, counted: 0, last_reply, detected: Duration::ZERO }
    })
}

fn judge_group(group: &mut Group, members: &[Member], out: &mut Outbox) {
    let usable = members.iter().find(|m| m.usable());
    match usable {
        _ if group.is_anonymous() => {}
        None if group.has_worked && !group.failure_told => {
            group.failure_told = true;
            out.message(Message::GroupFailed { group: group.name });
        }
        Some(member) => {
            if group.failure_told {
                let (interface, group) = (member.name(), group.name);
                out.message(Message::GroupUsable { interface, group });
            }
            group.failure_told = false;
            group.has_worked = true;
        }
        None => {}
    }
}
