//! Plays a history on the LAN and keeps the truth: what the LAN delivered, and which paths work. Nothing
//! here is read from the engine.

use std::array;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use mpathd_core::config::Group;
use mpathd_core::event::{Command, Event};
use mpathd_core::ids::{Family, IfName};
use mpathd_core::state::Saved;
use mpathd_core::time::Instant;

use crate::history::{History, MOST_MEMBERS, MOST_TARGETS, Setup, Step, TARGETS, TARGETS6};
use crate::lan::{Lan, Limit, MS, Target, Wire, name};
use crate::referee::{Fault, Referee};

/// Of targets that nothing was done to.
const RTT: Duration = Duration::from_micros(200);

/// A NIC, a family and a target.
pub type PathAt = (usize, Family, usize);

/// The truth about one path.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Probes can be answered on it.
    pub usable: bool,
    /// Since when it has been usable, loses nothing, and has had no longer delay.
    pub clean_since: Option<Instant>,
    /// It is not clean by itself, not by an outage of all targets; and when it last was so.
    pub disturbed: bool,
    pub disturbed_at: Option<Instant>,
    pub limit_changed_at: Option<Instant>,
    /// When an outage of all targets last ended.
    pub outage_at: Option<Instant>,
    /// When the newest reply arrived.
    pub last_reply: Option<Instant>,
    /// When the newest answered probe was sent.
    pub last_answered: Option<Instant>,
    pub first_reply: Option<Instant>,
    /// Replies that have not arrived yet: sent, arrives.
    on_the_way: Vec<(Instant, Instant)>,
}

pub struct World {
    pub setup: Setup,
    pub lan: Lan,
    pub paths: BTreeMap<PathAt, Path>,
    cut_paths: BTreeSet<(usize, usize)>,
    all_dead: bool,
    /// Since when each NIC has been there, up and in service, with the daemon running.
    pub epoch: [Instant; MOST_MEMBERS],
    pub last_step: Instant,
    /// When the daemon last went on after it had not run.
    pub late_until: Instant,
    /// When another configuration last came into force, or the daemon was started.
    pub changed_at: Instant,
    next_ifindex: u32,
    aloud: bool,
    began: Instant,
}

pub struct Played {
    pub fault: Option<Fault>,
    pub steps: usize,
    pub time: Duration,
    pub turns: usize,
}

static ADDRESSES: LazyLock<[[IpAddr; MOST_TARGETS]; 2]> =
    LazyLock::new(|| [TARGETS, TARGETS6].map(|all| all.map(|text| text.parse().unwrap())));
static NAMES: LazyLock<[IfName; MOST_MEMBERS]> = LazyLock::new(|| array::from_fn(name));

/// Of a target.
pub fn address(family: Family, t: usize) -> IpAddr {
    ADDRESSES[family as usize][t]
}

/// As [`name`], which is asked for in every turn.
pub fn nic(i: usize) -> IfName {
    NAMES[i]
}

impl World {
    fn new(setup: &Setup) -> Self {
        let group = setup.group();
        let mut lan = Lan::new(group, Saved::default());
        for family in Family::ALL {
            for t in 0..MOST_TARGETS {
                let works = Target { alive: true, rtt: RTT, lose_percent: 0, limit: None };
                lan.targets.insert(address(family, t), works);
            }
        }
        lan.deliveries = Some(Vec::new());
        let now = lan.now;
        lan.start_anew(lan_config(setup.group()), setup.seed);
        let mut paths = BTreeMap::new();
        for i in 0..setup.members {
            for family in Family::ALL {
                for t in 0..MOST_TARGETS {
                    paths.insert((i, family, t), Path::default());
                }
            }
        }
        let mut world = Self {
            setup: setup.clone(),
            lan,
            paths,
            cut_paths: BTreeSet::new(),
            all_dead: false,
            epoch: [now; MOST_MEMBERS],
            last_step: now,
            late_until: Instant(0),
            changed_at: now,
            next_ifindex: 100,
            aloud: false,
            began: now,
        };
        world.look_at_paths();
        world
    }

    pub fn now(&self) -> Instant {
        self.lan.now
    }

    /// Targets of a NIC's family in the configuration.
    pub fn probed(&self, i: usize, family: Family) -> usize {
        let has_test = self.setup.link_only >> i & 1 == 0;
        let has_family = family == Family::Inet || self.setup.dual;
        if has_test && has_family { self.setup.targets } else { 0 }
    }

    pub fn paths_of(&self, i: usize, family: Family) -> impl Iterator<Item = (usize, &Path)> {
        (0..self.probed(i, family)).map(move |t| (t, &self.paths[&(i, family, t)]))
    }

    pub fn target(&self, family: Family, t: usize) -> &Target {
        &self.lan.targets[&address(family, t)]
    }

    pub fn is_there(&self, i: usize) -> bool {
        self.lan.nics.contains_key(&nic(i))
    }

    pub fn has_carrier(&self, i: usize) -> bool {
        self.lan.nics.get(&nic(i)).is_some_and(|nic| nic.link.running)
    }

    fn is_usable(&self, (i, family, t): PathAt) -> bool {
        let nic = self.lan.nics.get(&nic(i));
        nic.is_some_and(|nic| nic.link.running && nic.wire == Wire::Works)
            && self.target(family, t).alive
            && !self.cut_paths.contains(&(i, t))
    }

    pub fn loses(&self, i: usize, family: Family, t: usize) -> bool {
        self.lan.lossy.get(&nic(i)).is_some_and(|percent| *percent > 0)
            || self.target(family, t).lose_percent > 0
    }

    /// A step may have changed what works.
    fn look_at_paths(&mut self) {
        let now = self.now();
        let all_dead = self.all_dead;
        for at in self.paths.keys().copied().collect::<Vec<_>>() {
            let usable = self.is_usable(at);
            let clean = usable && !self.loses(at.0, at.1, at.2);
            let limited = self.target(at.1, at.2).limit.is_some();
            let path = self.paths.get_mut(&at).unwrap();
            if path.disturbed {
                path.disturbed_at = Some(now);
            }
            path.usable = usable;
            path.clean_since = clean.then(|| path.clean_since.unwrap_or(now));
            path.disturbed = !clean && !all_dead || limited;
        }
    }

    /// What the LAN has delivered since the last look.
    fn hear(&mut self) {
        let now = self.now();
        for delivery in self.lan.deliveries.as_mut().unwrap().drain(..) {
            let Some(reply) = delivery.reply else { continue };
            let family = Family::of(delivery.target);
            let Some(i) = (0..MOST_MEMBERS).find(|i| nic(*i) == delivery.nic) else { continue };
            let t = (0..MOST_TARGETS).find(|t| address(family, *t) == delivery.target).unwrap();
            let path = self.paths.get_mut(&(i, family, t)).unwrap();
            path.on_the_way.push((delivery.sent, reply));
        }
        for path in self.paths.values_mut().filter(|path| !path.on_the_way.is_empty()) {
            let come: Vec<_> = path.on_the_way.extract_if(.., |(_, at)| *at <= now).collect();
            for (sent, at) in come {
                path.last_reply = path.last_reply.max(Some(at));
                path.last_answered = path.last_answered.max(Some(sent));
                path.first_reply = path.first_reply.or(Some(at));
            }
        }
    }

    /// What a NIC has heard until now is no evidence any more, for it or the daemon begins anew.
    fn begin_anew(&mut self, i: usize) {
        self.epoch[i] = self.now();
        for (_, path) in self.paths.iter_mut().filter(|((nic, ..), _)| *nic == i) {
            let kept = Path {
                usable: path.usable,
                clean_since: path.clean_since,
                disturbed: path.disturbed,
                disturbed_at: path.disturbed_at,
                limit_changed_at: path.limit_changed_at,
                ..Path::default()
            };
            *path = kept;
        }
    }

    fn say(&self, shown: &str) {
        for (at, message) in &self.lan.messages {
            println!("{:>10.4} {message} [{shown}]", at.since(self.began).as_secs_f64());
        }
    }

    fn targets(&mut self, t: usize, mut change: impl FnMut(&mut Target)) {
        for family in Family::ALL {
            change(self.lan.targets.get_mut(&address(family, t)).unwrap());
        }
    }

    /// A step of which the world has no use is left out, so that any part of a history is one.
    fn apply(&mut self, step: Step) {
        let there = |world: &Self, i: usize| i < world.setup.members && world.is_there(i);
        match step {
            Step::Cut(i) if there(self, i) => self.lan.wire(i, Wire::Cut),
            Step::Mend(i) if there(self, i) => self.lan.wire(i, Wire::Works),
            Step::Stick(i) if there(self, i) => self.lan.wire(i, Wire::Stuck),
            Step::Carrier(i, on) if there(self, i) => {
                if self.has_carrier(i) != on {
                    self.lan.carrier(i, on);
                    self.begin_anew(i);
                }
            }
            Step::Unplug(i) if there(self, i) => {
                self.lan.unplug(nic(i));
                self.begin_anew(i);
            }
            Step::Plug(i) if i < self.setup.members && !self.is_there(i) => {
                self.next_ifindex += 1;
                self.lan.plug(nic(i), self.next_ifindex);
                self.begin_anew(i);
            }
            Step::Offline(i) if there(self, i) => {
                self.lan
                    .post(Duration::ZERO, Event::Command(Command::Offline { interface: nic(i) }));
                self.begin_anew(i);
            }
            Step::Online(i) if there(self, i) => {
                let online = Event::Command(Command::Online { interface: nic(i) });
                self.lan.post(Duration::ZERO, online);
                if self.lan.view().interfaces.iter().any(|row| row.name == nic(i) && row.offline) {
                    self.begin_anew(i);
                }
            }
            Step::CutPath(i, t) if i < self.setup.members => {
                self.cut_paths.insert((i, t));
                let both = Family::ALL.map(|family| (nic(i), address(family, t)));
                self.lan.cut_paths.extend(both);
            }
            Step::MendPath(i, t) if i < self.setup.members => {
                self.cut_paths.remove(&(i, t));
                for family in Family::ALL {
                    self.lan.cut_paths.remove(&(nic(i), address(family, t)));
                }
            }
            Step::Kill(t) => self.targets(t, |target| target.alive = false),
            Step::Revive(t) => {
                self.targets(t, |target| target.alive = true);
                self.all_dead = false;
            }
            Step::KillAll => {
                (0..MOST_TARGETS).for_each(|t| self.targets(t, |target| target.alive = false));
                self.all_dead = true;
            }
            Step::ReviveAll => {
                (0..MOST_TARGETS).for_each(|t| self.targets(t, |target| target.alive = true));
                self.look_at_paths();
                let now = self.now();
                self.paths.values_mut().for_each(|path| path.outage_at = Some(now));
                self.all_dead = false;
            }
            Step::Limit(t, ms, burst) => {
                let per_second = (1000 / ms.max(1)).max(1);
                let limit = Limit { per_second, burst: burst.max(1), per_source: true };
                self.targets(t, |target| target.limit = Some(limit));
                self.disturb(t);
            }
            Step::Unlimit(t) => {
                self.targets(t, |target| target.limit = None);
                self.disturb(t);
            }
            Step::Lose(t, percent) => self.targets(t, |target| target.lose_percent = percent),
            Step::LoseOn(i, percent) if i < self.setup.members => {
                self.lan.lossy.insert(nic(i), percent);
            }
            Step::Delay(t, us) => self.delay(t, Duration::from_micros(us)),
            Step::Steal(k) if k < self.setup.data => {
                let address = format!("192.0.2.{}", 50 + k);
                if self.lan.stands(address.parse().unwrap()) {
                    self.lan.steal(&address);
                }
            }
            Step::StealTest(i) if there(self, i) => {
                let ifindex = self.lan.nics[&nic(i)].link.ifindex;
                let address = format!("192.0.2.{}", 11 + i).parse().unwrap();
                if self.lan.addresses.contains(&(ifindex, address)) {
                    self.lan.take_away(ifindex, address);
                    self.begin_anew(i);
                }
            }
            Step::Claim(i) if there(self, i) && self.probed(i, Family::Inet) > 0 => {
                let ifindex = self.lan.nics[&nic(i)].link.ifindex;
                let address = format!("192.0.2.{}", 11 + i).parse().unwrap();
                let claimed = Event::Claimed { ifindex, address, mac: [2, 9, 9, 9, 9, 9] };
                self.lan.post(Duration::ZERO, claimed);
            }
            Step::Restart => {
                self.lan.restart();
                (0..self.setup.members).for_each(|i| self.begin_anew(i));
                self.lan.deliveries.as_mut().unwrap().clear();
                self.changed_at = self.now();
            }
            Step::Late(ms) => {
                self.lan.stop_daemon(MS * ms as u32);
                self.late_until = self.now();
            }
            _ => self.reload(step),
        }
        self.look_at_paths();
        self.last_step = self.now();
    }

    fn disturb(&mut self, t: usize) {
        let now = self.now();
        for (_, path) in self.paths.iter_mut().filter(|((_, _, to), _)| *to == t) {
            (path.disturbed_at, path.limit_changed_at) = (Some(now), Some(now));
        }
    }

    /// A longer delay looks like a loss until the first slow reply is there.
    fn delay(&mut self, t: usize, rtt: Duration) {
        let longer = rtt > self.target(Family::Inet, t).rtt;
        self.targets(t, |target| target.rtt = rtt);
        let now = self.now();
        for (_, path) in self.paths.iter_mut().filter(|((_, _, to), _)| longer && *to == t) {
            path.clean_since = path.clean_since.map(|_| now);
            path.disturbed_at = Some(now);
        }
    }

    fn reload(&mut self, step: Step) {
        let mut setup = self.setup.clone();
        if step.edit(&mut setup) && setup != self.setup && self.lan.engine.may_retire() {
            let changes_tests =
                (setup.dual, setup.link_only) != (self.setup.dual, self.setup.link_only);
            self.setup = setup;
            self.lan.reload_group(self.setup.group());
            self.changed_at = self.now();
            if changes_tests {
                (0..self.setup.members).for_each(|i| self.epoch[i] = self.now());
            }
        }
    }
}

fn lan_config(group: Group) -> mpathd_core::config::Config {
    mpathd_core::config::Config { groups: vec![group] }
}

/// Time without events at the end of a history: what is decided at rest is decided by then.
fn rest(setup: &Setup) -> Duration {
    setup.fdt() * 4 + Duration::from_secs(15)
}

/// Plays all of a history, or until a promise is broken.
pub fn play(history: &History) -> Played {
    play_in(World::new(&history.setup), history)
}

/// The same; prints what happens and what the daemon says.
pub fn play_aloud(history: &History) -> Played {
    let mut world = World::new(&history.setup);
    world.aloud = true;
    play_in(world, history)
}

fn play_in(mut world: World, history: &History) -> Played {
    let mut referee = Referee::new(&world);
    let start = world.now();
    let mut steps = 0;
    let mut fault = None;
    for (after, step) in &history.steps {
        fault = run(&mut world, &mut referee, MS * *after as u32);
        if fault.is_some() {
            break;
        }
        if *step != Step::Pass {
            referee.before_step(&world);
            if world.aloud {
                let at = world.now().since(world.began).as_secs_f64();
                println!("{at:>10.4} *** {step:?}");
            }
            world.apply(*step);
            world.hear();
            referee.after_step(&mut world, *step);
        }
        steps += 1;
    }
    if fault.is_none() {
        let span = rest(&world.setup);
        fault = run(&mut world, &mut referee, span).or_else(|| referee.at_rest(&world));
    }
    Played { fault, steps, time: world.now().since(start), turns: world.lan.turns }
}

fn run(world: &mut World, referee: &mut Referee, span: Duration) -> Option<Fault> {
    let end = world.now() + span;
    while let Some(at) = world.lan.next().filter(|at| *at <= end) {
        world.lan.now = world.lan.now.max(at);
        world.lan.turn();
        world.hear();
        if world.aloud {
            world.say(&referee.shown());
        }
        if let Some(fault) = referee.after_turn(world) {
            return Some(fault);
        }
    }
    world.lan.now = end;
    world.hear();
    None
}
