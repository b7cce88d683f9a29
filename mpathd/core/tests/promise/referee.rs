//! Compares what the daemon shows with the truth of the world, after every turn.
//!
//! Truth comes from `World`. Of the daemon only what it shows is used: states as claims that are judged,
//! failure detection time, intervals and damping as the bounds that it has promised.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::ids::Family;
use mpathd_core::message::{Message, Reason, Unwatched};
use mpathd_core::time::Instant;
use mpathd_core::view::{
    GroupState, InstanceView, InterfaceState, InterfaceView, LinkState, TargetMode, TargetState,
    View,
};

use crate::history::{MOST_MEMBERS, Step};
use crate::lan::{MS, S};
use crate::moves::{Moves, works};
use crate::world::{World, nic};

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Failed while a target answered within the failure detection time.
    FalseFailure,
    /// Failed although fewer than five probes in a row were unanswered.
    Hasty,
    /// A cut is not shown within the failure detection time that was shown.
    Late,
    /// All targets answer again, and it is failed still.
    NotRepaired,
    /// Repaired though no target has answered.
    RepairedUnheard,
    /// An address left a NIC that answers for one that has never answered.
    MovedToSilent,
    /// An address went to and fro, and nothing had happened.
    ToAndFro,
    /// A failure of the whole group moved an address.
    MovedByGroupFailure,
    /// Moved for balance more often than damping allows.
    MovedTooOften,
    /// An address stays on a failed NIC while another one works.
    LeftBehind,
    /// At rest on no NIC, or on two.
    NotPlaced,
    /// Nobody has ever answered, and that is not shown or not said in time.
    Blind,
    /// Shown as unwatched while a target answers.
    NotBlind,
    /// A target that limits nothing passes for one that does.
    InventedLimit,
    /// An assertion of the LAN, or of the engine.
    Panic,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub at: Duration,
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:.3} s: {}", self.kind, self.at.as_secs_f64(), self.text)
    }
}

/// A silence that is to be shown by then.
#[derive(Clone, Copy, Debug)]
struct Case {
    since: Instant,
    /// Failure detection time that was shown when it began.
    fdt: Duration,
    due: Instant,
}

/// An interface and family, as the referee follows it.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    silent: bool,
    case: Option<Case>,
    /// An event has said that it is unwatched.
    unwatched_said: bool,
    /// When it was last shown as unwatched, or as failed.
    shown_at: Option<Instant>,
    /// The longest time between two probes that has been shown since it failed.
    slowest: Duration,
}

pub struct Referee {
    start: Instant,
    before: View,
    view: View,
    watches: BTreeMap<(usize, Family), Watch>,
    /// When an interface was last shown as damped.
    damped_at: [Option<Instant>; MOST_MEMBERS],
    moves: Moves,
    /// A reload or restart has just been: what is shown is compared with nothing.
    anew: bool,
}

pub fn interface(view: &View, i: usize) -> Option<&InterfaceView> {
    view.interfaces.iter().find(|row| row.name == nic(i))
}

fn instance(view: &View, i: usize, family: Family) -> Option<&InstanceView> {
    view.instances.iter().find(|row| row.interface == nic(i) && row.family == family)
}

/// Shown as good for traffic.
pub fn is_usable(row: &InterfaceView) -> bool {
    row.ifindex.is_some()
        && row.link != LinkState::Down
        && matches!(row.state, InterfaceState::Ok | InterfaceState::Unknown)
}

fn failed_by_probes(row: &InterfaceView) -> bool {
    matches!(row.reason, Some(Reason::Probes | Reason::TransmitStuck))
}

/// The failure detection time that is shown.
pub fn shown_fdt(view: &View) -> Duration {
    let group = &view.groups[0];
    group.fdt.unwrap_or_default().max(group.fdt_requested)
}

/// The longest time between two probes to a target that is shown.
fn longest_interval(view: &View, i: usize, family: Family) -> Duration {
    let rows = view.targets.iter().filter(|t| t.interface == nic(i) && t.family == family);
    rows.map(|t| t.interval).max().unwrap_or_default()
}

/// Time between two probes to a target that is shown.
fn shown_interval(view: &View, i: usize, family: Family, t: usize) -> Duration {
    let target = crate::world::address(family, t);
    let mut rows = view.targets.iter().filter(|row| row.interface == nic(i));
    rows.find(|row| row.target == target).map(|row| row.interval).unwrap_or_default()
}

/// How long replies of an interface's targets take at the most, as shown.
fn longest_wait(view: &View, i: usize) -> Duration {
    let rows = view.targets.iter().filter(|t| t.interface == nic(i));
    Duration::from_nanos(rows.map(|t| t.srtt + 4 * t.rttvar).max().unwrap_or_default())
}

impl Referee {
    pub fn new(world: &World) -> Self {
        let view = world.lan.view();
        Self {
            start: world.now(),
            before: view.clone(),
            view,
            watches: BTreeMap::new(),
            damped_at: [None; MOST_MEMBERS],
            moves: Moves::new(world),
            anew: true,
        }
    }

    fn fault(&self, world: &World, kind: Kind, text: String) -> Option<Fault> {
        Some(Fault { kind, at: world.now().since(self.start), text })
    }

    pub fn before_step(&mut self, world: &World) {
        std::mem::swap(&mut self.before, &mut self.view);
        world.lan.engine.fill(&mut self.view, world.now());
    }

    /// A step may begin silences, and ends what was to be shown of those that it ends.
    pub fn after_step(&mut self, world: &mut World, step: Step) {
        let now = world.now();
        if step == Step::Restart || world.changed_at == now {
            self.anew = true;
            self.moves.begin_anew(world, step == Step::Restart);
        }
        for i in 0..world.setup.members {
            for family in Family::ALL {
                self.follow(world, i, family, step);
            }
        }
    }

    fn follow(&mut self, world: &World, i: usize, family: Family, step: Step) {
        let now = world.now();
        let silent =
            world.probed(i, family) > 0 && world.paths_of(i, family).all(|(_, p)| !p.usable);
        let fdt = shown_fdt(&self.view);
        let requested = world.setup.fdt();
        let watched = self.is_watched(world, i, family);
        let watch = self.watches.entry((i, family)).or_default();
        let began = silent && !watch.silent;
        watch.silent = silent;
        if began && watched {
            watch.case = Some(Case { since: now, fdt, due: now + fdt + slack(requested) });
        }
        let out_of_service = matches!(step, Step::Offline(n) | Step::Online(n) if n == i);
        if !silent || out_of_service || !world.has_carrier(i) {
            watch.case = None;
        }
        if let Some(case) = &mut watch.case {
            let again = fdt.max(requested) + requested / 6 + slack(requested);
            match step {
                // Known after a restart is only who had failed: as of one that has never answered, a
                // verdict waits for the quiet period.
                Step::Restart => case.due = now + world.setup.quiet() + again * 2,
                // Rounds that our lateness has cost count for nothing, and one more is asked for.
                Step::Late(_) => case.due = case.due.max(now + again),
                // The rounds are kept, and go on at another pace.
                _ if world.changed_at == now => case.due = case.due.max(now + again),
                Step::StealTest(n) if n == i => case.due = case.due.max(now + again),
                // A device that takes nothing is only judged by its counter, read at rounds.
                Step::Stick(n) if n == i => case.due = case.due.max(now + fdt * 2),
                _ => {}
            }
            if now.since(world.late_until) < fdt {
                case.due = case.due.max(case.since + case.fdt + requested / 6 + slack(requested));
            }
        }
    }

    /// It is shown as working, a target has answered lately, and nothing says that it is not watched.
    fn is_watched(&self, world: &World, i: usize, family: Family) -> bool {
        let now = world.now();
        let Some(row) = interface(&self.view, i) else { return false };
        let shown = instance(&self.view, i, family).is_some_and(|it| {
            it.test.is_some() && it.mode != TargetMode::Disabled && it.unwatched.is_none()
        });
        let answers = |since: Instant| now.since(since) <= shown_fdt(&self.view);
        shown
            && is_usable(row)
            && row.reason.is_none()
            && !row.degraded[family as usize]
            && world.paths_of(i, family).any(|(_, p)| p.last_reply.is_some_and(answers))
    }

    pub fn after_turn(&mut self, world: &mut World) -> Option<Fault> {
        std::mem::swap(&mut self.before, &mut self.view);
        world.lan.engine.fill(&mut self.view, world.now());
        for (_, message) in &world.lan.messages {
            let (interface, family, unwatched) = match message {
                Message::Unwatched { interface, family, .. } => (interface, family, true),
                Message::Watched { interface, family } => (interface, family, false),
                _ => continue,
            };
            let i = (0..MOST_MEMBERS).find(|i| nic(*i) == *interface).unwrap();
            self.watches.entry((i, *family)).or_default().unwatched_said = unwatched;
        }
        world.lan.messages.clear();
        world.lan.requests.clear();
        world.lan.heralds.clear();
        world.lan.replies.clear();
        for i in 0..world.setup.members {
            if interface(&self.view, i).is_some_and(|row| row.damped.is_some()) {
                self.damped_at[i] = Some(world.now());
            }
        }
        let anew = std::mem::take(&mut self.anew);
        let mut fault = None;
        if !anew {
            fault = self.failures(world).or_else(|| self.invented_limits(world));
        }
        let found = fault.or_else(|| self.silences(world)).or_else(|| self.repairs(world));
        found.or_else(|| self.blindness(world)).or_else(|| {
            let found = self.moves.after_turn(world, &self.before, &self.view, anew);
            found.and_then(|(kind, text)| self.fault(world, kind, text))
        })
    }

    /// Whoever is shown as failed now and was not: is it true? And whoever is repaired.
    fn failures(&self, world: &World) -> Option<Fault> {
        let newly = |i: usize, family: Family| {
            let (before, now) = (interface(&self.before, i)?, interface(&self.view, i)?);
            let failed = |row: &InterfaceView| {
                failed_by_probes(row)
                    || row.reason == Some(Reason::Link)
                    || row.degraded[family as usize]
            };
            let same = before.ifindex == now.ifindex;
            let by_probes = failed_by_probes(now) || now.degraded[family as usize];
            (same && by_probes && !failed(before)).then_some(())
        };
        let all = (0..world.setup.members).flat_map(|i| Family::ALL.map(|family| (i, family)));
        let failing: Vec<_> = all.filter(|(i, family)| newly(*i, *family).is_some()).collect();
        for (i, family) in &failing {
            let together = failing.iter().any(|(other, _)| other != i);
            let found = self.false_failure(world, *i, *family, together);
            if found.is_some() {
                return found;
            }
        }
        (0..world.setup.members).find_map(|i| self.unheard_repair(world, i))
    }

    fn false_failure(
        &self,
        world: &World,
        i: usize,
        family: Family,
        together: bool,
    ) -> Option<Fault> {
        let now = world.now();
        let fdt = shown_fdt(&self.before);
        let interval = instance(&self.before, i, family)?.interval;
        for (t, path) in world.paths_of(i, family) {
            // A path that loses probes, or that was cut meanwhile, can lose five in a row by right.
            let limit_changed_at = path.limit_changed_at.unwrap_or_default();
            let works = path.clean_since.map(|at| at.max(limit_changed_at));
            let works = works.is_some_and(|since| now.since(since) >= fdt);
            // The next answer of one that limits them is counted from the probe that it answered. One
            // that answers fewer than one in five of the probes, and is not known to yet, cannot be
            // told from a cut.
            let limit = world.target(family, t).limit;
            let newest = if limit.is_some() { path.last_answered } else { path.last_reply };
            let known = limit.is_none_or(|limit| {
                S / limit.per_second as u32 <= shown_interval(&self.before, i, family, t) * 5
            });
            let replied = newest.filter(|at| known && now.since(*at) < fdt);
            if let Some(at) = replied.filter(|_| works) {
                let text = format!(
                    "eth{i} {family} failed; target {t} works there, its last reply came {:?} ago, FDT {fdt:?}",
                    now.since(at)
                );
                return self.fault(world, Kind::FalseFailure, text);
            }
            // Five in a row take four intervals; whoever fails with others has heard nothing since
            // their fourth loss, which moves nothing.
            let least = if together { interval } else { interval * 4 };
            let answered = path.last_answered.filter(|at| now.since(*at) < least - interval / 16);
            if let Some(at) = answered {
                let text = format!(
                    "eth{i} {family} failed; target {t} answered a probe that was sent {:?} ago, interval {interval:?}",
                    now.since(at)
                );
                return self.fault(world, Kind::Hasty, text);
            }
        }
        None
    }

    fn unheard_repair(&self, world: &World, i: usize) -> Option<Fault> {
        let (before, now) = (interface(&self.before, i)?, interface(&self.view, i)?);
        let probed = Family::ALL.iter().any(|f| world.probed(i, *f) > 0);
        let repaired = failed_by_probes(before) && now.reason.is_none() && is_usable(now);
        let window = shown_fdt(&self.before) * 2;
        let heard = Family::ALL.iter().any(|family| {
            let mut paths = world.paths_of(i, *family);
            paths.any(|(_, p)| p.last_reply.is_some_and(|at| world.now().since(at) < window))
        });
        (repaired && probed && !heard).then(|| {
            let text = format!("eth{i} is repaired, and no target has answered there");
            self.fault(world, Kind::RepairedUnheard, text)
        })?
    }

    /// What all NICs show at one moment is no limit of a target.
    fn invented_limits(&self, world: &World) -> Option<Fault> {
        let now = world.now();
        for row in self.view.targets.iter().filter(|row| row.state == TargetState::Policed) {
            let same = |old: &&mpathd_core::view::TargetView| {
                (old.interface, old.target) == (row.interface, row.target)
            };
            let known = self.before.targets.iter().find(same);
            if known.is_none_or(|old| old.state == TargetState::Policed) {
                continue;
            }
            let i = (0..MOST_MEMBERS).find(|i| nic(*i) == row.interface)?;
            let at = |(t, _): &(usize, _)| crate::world::address(row.family, *t) == row.target;
            let Some((t, path)) = world.paths_of(i, row.family).find(at) else { continue };
            let quiet =
                !path.disturbed && path.disturbed_at.is_none_or(|at| now.since(at) > 15 * S);
            let late = now.since(world.late_until) < 15 * S;
            if quiet && !late && world.target(row.family, t).limit.is_none() {
                let fdt = shown_fdt(&self.view);
                let text = format!(
                    "target {t} passes for limited on eth{i}, FDT {fdt:?}; only outages of all were there"
                );
                return self.fault(world, Kind::InventedLimit, text);
            }
        }
        None
    }

    fn silences(&mut self, world: &World) -> Option<Fault> {
        let now = world.now();
        let mut late = None;
        for ((i, family), watch) in &mut self.watches {
            let Some(case) = watch.case else { continue };
            let row = interface(&self.view, *i);
            let unwatched =
                instance(&self.view, *i, *family).is_none_or(|it| it.unwatched.is_some());
            let shown = row.is_none_or(|row| {
                !is_usable(row) || row.reason.is_some() || row.degraded[*family as usize]
            });
            if shown || unwatched {
                watch.case = None;
            } else if now > case.due && late.is_none() {
                late = Some((*i, *family, case));
            }
        }
        let (i, family, case) = late?;
        let due = case.due + self.excuse(world, i, family, &case);
        if now <= due {
            return None;
        }
        let text = format!(
            "eth{i} {family} is silent for {:?} and shown as working; FDT was {:?}",
            now.since(case.since),
            case.fdt
        );
        self.fault(world, Kind::Late, text)
    }

    /// What a verdict may wait for beside the failure detection time.
    fn excuse(&self, world: &World, i: usize, family: Family, case: &Case) -> Duration {
        let requested = world.setup.fdt();
        let answers = |j: usize| {
            let row = interface(&self.view, j);
            let in_use = row.is_some_and(|row| is_usable(row) && row.reason.is_none());
            let silent =
                |f: Family| world.paths_of(j, f).all(|(_, p)| !p.usable || p.last_reply.is_none());
            let probed = Family::ALL.iter().any(|f| world.probed(j, *f) > 0);
            in_use && (!probed || !silent(family))
        };
        let mut others = (0..world.setup.members).filter(|j| *j != i);
        // No witness: the cause is beyond the NIC. That is said after one more interval, and moves
        // nothing.
        let common = !others.clone().any(answers);
        let interval = longest_interval(&self.view, i, family).max(requested / 6);
        let mut excuse = Duration::ZERO;
        let unsteady = |j: usize| {
            let mut paths = world.paths_of(j, family);
            paths.any(|(t, p)| {
                let disturbed = p.disturbed_at.is_some_and(|at| case.since.since(at) < 10 * S);
                let outage = p.outage_at.is_some_and(|at| case.since.since(at) < 10 * S);
                let new = p.first_reply.is_none_or(|at| case.since.since(at) < 6 * S);
                let changed = p
                    .limit_changed_at
                    .is_some_and(|at| at <= case.since && case.since.since(at) < 10 * S);
                disturbed
                    || changed
                    || outage
                    || new
                    || world.target(family, t).limit.is_some()
                    || world.loses(j, family, t)
            })
        };
        if common {
            excuse += interval + longest_wait(&self.view, i) + 5 * MS;
            // Targets that are new, or answered by turns until now, have a second for each member that asks
            // them (they may limit their answers).
            if unsteady(i) {
                excuse += S * world.setup.members as u32;
            }
        }
        // A witness that answers by turns only, as one whose limit has not been found out yet: its
        // single answers prove nothing until then.
        if others.any(unsteady) || unsteady(i) {
            excuse += 10 * S;
        }
        excuse
    }

    /// What nobody has answered since it was there is not watched, or has failed: one of both is shown.
    fn blindness(&mut self, world: &World) -> Option<Fault> {
        let now = world.now();
        for i in 0..world.setup.members {
            for family in Family::ALL {
                let Some(shown) = instance(&self.view, i, family) else { continue };
                let Some(row) = interface(&self.view, i) else { continue };
                if !world.has_carrier(i) || row.offline || world.probed(i, family) == 0 {
                    continue;
                }
                let began = world.epoch[i].max(world.changed_at).max(world.late_until);
                let fdt = shown_fdt(&self.view);
                // Hooks are attached one after the other, each when the one before has a reply or a
                // second has passed; a silence of all is judged a second later.
                let patience = world.setup.quiet().max(fdt * 2)
                    + fdt
                    + 1_100 * MS * (world.setup.members as u32 + 1);
                let heard = world.paths_of(i, family).any(|(_, p)| p.first_reply.is_some());
                let watch = self.watches.get(&(i, family)).copied().unwrap_or_default();
                let failed = row.reason.is_some() || row.degraded[family as usize];
                let said = failed || shown.unwatched.is_some() && watch.unwatched_said;
                if said {
                    self.watches.entry((i, family)).or_default().shown_at = Some(now);
                }
                // Asked anew after a conflict or a failure, it has the quiet period again.
                let began = began.max(watch.shown_at.unwrap_or_default());
                if !heard && !said && now.since(began) > patience {
                    let text = format!(
                        "eth{i} {family}: nobody has answered for {:?}; shown as unwatched {:?}, said {}",
                        now.since(began),
                        shown.unwatched,
                        watch.unwatched_said
                    );
                    return self.fault(world, Kind::Blind, text);
                }
                let answers = works(world, i, family, shown_fdt(&self.view));
                let attached = shown.unwatched.is_some_and(|why| why == Unwatched::NoReply);
                if answers && attached {
                    let text = format!("eth{i} {family} is shown as unwatched and answers");
                    return self.fault(world, Kind::NotBlind, text);
                }
            }
        }
        None
    }

    fn repairs(&mut self, world: &World) -> Option<Fault> {
        for i in 0..world.setup.members {
            for family in Family::ALL {
                let found = self.repair(world, i, family);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn repair(&mut self, world: &World, i: usize, family: Family) -> Option<Fault> {
        let now = world.now();
        let began = world.epoch[i].max(world.changed_at).max(world.late_until);
        let answers = |t: usize, p: &crate::world::Path| {
            let counts = world.target(family, t).limit.is_none() && p.last_reply.is_some();
            let clean_since = p.clean_since.filter(|_| counts)?;
            Some(clean_since.max(p.first_reply?).max(p.disturbed_at.unwrap_or_default()))
        };
        let well = world.paths_of(i, family).filter_map(|(t, p)| answers(t, p)).min();
        // Targets that limit their answers count too, once they are asked as seldom as they answer.
        let limited = world.paths_of(i, family).filter_map(|(t, p)| {
            let limit = world.target(family, t).limit?;
            p.clean_since
                .filter(|_| p.last_reply.is_some() && limit.per_second > 1)
                .map(|at| at.max(p.disturbed_at.unwrap_or_default()) + 30 * S)
        });
        let well = well.or(limited.min()).map(|at| at.max(began));
        let row = interface(&self.view, i)?;
        let shown = instance(&self.view, i, family)?;
        let failed = row.reason.is_some_and(Reason::is_failure) || row.degraded[family as usize];
        let interval = longest_interval(&self.view, i, family).max(shown.interval);
        let watch = self.watches.entry((i, family)).or_default();
        watch.slowest = if failed { watch.slowest.max(interval) } else { Duration::ZERO };
        let interval = watch.slowest;
        if !failed || shown.test.is_none() || !world.has_carrier(i) {
            return None;
        }
        let bound = shown_fdt(&self.view).max(interval * 6) * 2
            + interval * 5
            + longest_wait(&self.view, i)
            + 200 * MS;
        let since = well?.max(self.damped_at[i].unwrap_or_default());
        (now.since(since) > bound).then(|| {
            let text = format!(
                "eth{i} {family} answers all for {:?} and is shown as failed ({:?}); bound {bound:?}",
                now.since(since),
                row.reason
            );
            self.fault(world, Kind::NotRepaired, text)
        })?
    }

    /// Nothing has happened for a while.
    pub fn at_rest(&mut self, world: &World) -> Option<Fault> {
        for data in world.setup.group().data {
            let address: IpAddr = data.address;
            let on = world.lan.addresses.iter().filter(|(_, a)| *a == address).count();
            let there = usize::from(!world.lan.nics.is_empty());
            if on != there {
                let text = format!("{address} is on {on} NICs at rest");
                return self.fault(world, Kind::NotPlaced, text);
            }
        }
        if !self.view.settled && !world.lan.nics.is_empty() {
            return self.fault(world, Kind::NotPlaced, "not settled at rest".into());
        }
        None
    }

    /// For people who look into a case.
    pub fn shown(&self) -> String {
        let fdt = shown_fdt(&self.view);
        let rows = self.view.interfaces.iter();
        let rows = rows.map(|row| format!("{} {:?} {:?}", row.name, row.state, row.damped));
        format!("FDT {fdt:?}, {}", rows.collect::<Vec<_>>().join(", "))
    }

    pub fn group_failed(view: &View) -> bool {
        view.groups[0].state == GroupState::Failed
    }
}

/// A deadline is met by a turn that comes a little later, with the rounds that share it.
fn slack(fdt: Duration) -> Duration {
    fdt / 100 + 2 * MS
}
