//! A history: a small world and what happens in it. Its text form is what a failing run prints and what
//! the files in `cases` hold.

use std::fmt;
use std::time::Duration;

use mpathd_core::config::{Group, TestAddress};

use crate::lan::{group, ip, name};

/// The group and its surroundings at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub seed: u64,
    pub members: usize,
    /// One bit for each member.
    pub standby: u8,
    /// Members without test addresses, one bit for each.
    pub link_only: u8,
    pub failback: bool,
    pub fdt_ms: u64,
    pub quiet_ms: u64,
    pub data: usize,
    /// Targets of each family.
    pub targets: usize,
    pub dual: bool,
}

/// One thing that happens. NICs, targets and addresses are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing more than time.
    Pass,
    /// Silent cut of a NIC, and its end.
    Cut(usize),
    Mend(usize),
    /// The device takes nothing and transmits nothing.
    Stick(usize),
    /// Silent cut between one NIC and one target, and its end.
    CutPath(usize, usize),
    MendPath(usize, usize),
    Carrier(usize, bool),
    Kill(usize),
    Revive(usize),
    KillAll,
    ReviveAll,
    /// One answer in so many ms to each source, after a burst.
    Limit(usize, u64, u64),
    Unlimit(usize),
    /// Per cent that a target, or a NIC, loses.
    Lose(usize, u64),
    LoseOn(usize, u64),
    /// Round-trip time in us.
    Delay(usize, u64),
    Unplug(usize),
    Plug(usize),
    Offline(usize),
    Online(usize),
    /// Another program removes a data address.
    Steal(usize),
    /// Another program removes the IPv4 test address of a NIC.
    StealTest(usize),
    /// Another host says that it has the test address.
    Claim(usize),
    /// The daemon does not run for so many ms.
    Late(u64),
    Restart,
    /// Reloads.
    Dual(bool),
    Fdt(u64),
    Quiet(u64),
    Failback(bool),
    Standby(usize, bool),
    LinkOnly(usize, bool),
    Data(usize),
    Targets(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub setup: Setup,
    /// Each after so many ms.
    pub steps: Vec<(u64, Step)>,
}

pub const MOST_MEMBERS: usize = 4;
pub const MOST_TARGETS: usize = 4;

impl Setup {
    pub fn fdt(&self) -> Duration {
        Duration::from_millis(self.fdt_ms)
    }

    pub fn quiet(&self) -> Duration {
        Duration::from_millis(self.quiet_ms)
    }

    pub fn group(&self) -> Group {
        let mut group = group(self.members, self.data, self.fdt());
        group.failback = self.failback;
        group.quiet_period = self.quiet();
        group.targets = ip(&TARGETS[..self.targets]);
        if self.dual {
            group.targets.extend(ip(&TARGETS6[..self.targets]));
            group.data.push("2001:db8::50/64".parse().unwrap());
        }
        for (i, member) in group.members.iter_mut().enumerate() {
            member.standby = self.standby >> i & 1 == 1;
            if self.dual {
                let test = format!("2001:db8::{}/64", 11 + i).parse().unwrap();
                member.test[1] = Some(TestAddress::Static(test));
            }
            if self.link_only >> i & 1 == 1 {
                member.test = [None; 2];
            }
            assert_eq!(member.name, name(i));
        }
        group
    }
}

pub const TARGETS: [&str; MOST_TARGETS] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
pub const TARGETS6: [&str; MOST_TARGETS] =
    ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"];

impl Step {
    /// What it does to the configuration, if it is a reload.
    pub fn edit(self, setup: &mut Setup) -> bool {
        let set = |bits: &mut u8, i: usize, on| *bits = *bits & !(1 << i) | u8::from(on) << i;
        match self {
            Step::Dual(on) => setup.dual = on,
            Step::Fdt(ms) => setup.fdt_ms = ms,
            Step::Quiet(ms) => setup.quiet_ms = ms,
            Step::Failback(on) => setup.failback = on,
            Step::Standby(i, on) => set(&mut setup.standby, i, on),
            Step::LinkOnly(i, on) => set(&mut setup.link_only, i, on),
            Step::Data(n) => setup.data = n,
            Step::Targets(n) => setup.targets = n,
            _ => return false,
        }
        true
    }

    pub fn word(self) -> &'static str {
        self.words().0
    }

    fn words(self) -> (&'static str, Vec<u64>) {
        let n = |i: usize| i as u64;
        match self {
            Step::Pass => ("pass", vec![]),
            Step::Cut(i) => ("cut", vec![n(i)]),
            Step::Mend(i) => ("mend", vec![n(i)]),
            Step::Stick(i) => ("stick", vec![n(i)]),
            Step::CutPath(i, t) => ("cut-path", vec![n(i), n(t)]),
            Step::MendPath(i, t) => ("mend-path", vec![n(i), n(t)]),
            Step::Carrier(i, on) => ("carrier", vec![n(i), on.into()]),
            Step::Kill(t) => ("kill", vec![n(t)]),
            Step::Revive(t) => ("revive", vec![n(t)]),
            Step::KillAll => ("kill-all", vec![]),
            Step::ReviveAll => ("revive-all", vec![]),
            Step::Limit(t, ms, burst) => ("limit", vec![n(t), ms, burst]),
            Step::Unlimit(t) => ("unlimit", vec![n(t)]),
            Step::Lose(t, percent) => ("lose", vec![n(t), percent]),
            Step::LoseOn(i, percent) => ("lose-on", vec![n(i), percent]),
            Step::Delay(t, us) => ("delay", vec![n(t), us]),
            Step::Unplug(i) => ("unplug", vec![n(i)]),
            Step::Plug(i) => ("plug", vec![n(i)]),
            Step::Offline(i) => ("offline", vec![n(i)]),
            Step::Online(i) => ("online", vec![n(i)]),
            Step::Steal(k) => ("steal", vec![n(k)]),
            Step::StealTest(i) => ("steal-test", vec![n(i)]),
            Step::Claim(i) => ("claim", vec![n(i)]),
            Step::Late(ms) => ("late", vec![ms]),
            Step::Restart => ("restart", vec![]),
            Step::Dual(on) => ("dual", vec![on.into()]),
            Step::Fdt(ms) => ("fdt", vec![ms]),
            Step::Quiet(ms) => ("quiet", vec![ms]),
            Step::Failback(on) => ("failback", vec![on.into()]),
            Step::Standby(i, on) => ("standby", vec![n(i), on.into()]),
            Step::LinkOnly(i, on) => ("link-only", vec![n(i), on.into()]),
            Step::Data(n_) => ("data", vec![n(n_)]),
            Step::Targets(n_) => ("targets", vec![n(n_)]),
        }
    }

    fn parse(word: &str, given: &[u64]) -> Option<Self> {
        let i = |n: usize| given.get(n).map(|n| *n as usize);
        let v = |n: usize| given.get(n).copied();
        let on = |n: usize| v(n).map(|n| n == 1);
        Some(match word {
            "pass" => Step::Pass,
            "cut" => Step::Cut(i(0)?),
            "mend" => Step::Mend(i(0)?),
            "stick" => Step::Stick(i(0)?),
            "cut-path" => Step::CutPath(i(0)?, i(1)?),
            "mend-path" => Step::MendPath(i(0)?, i(1)?),
            "carrier" => Step::Carrier(i(0)?, on(1)?),
            "kill" => Step::Kill(i(0)?),
            "revive" => Step::Revive(i(0)?),
            "kill-all" => Step::KillAll,
            "revive-all" => Step::ReviveAll,
            "limit" => Step::Limit(i(0)?, v(1)?, v(2)?),
            "unlimit" => Step::Unlimit(i(0)?),
            "lose" => Step::Lose(i(0)?, v(1)?),
            "lose-on" => Step::LoseOn(i(0)?, v(1)?),
            "delay" => Step::Delay(i(0)?, v(1)?),
            "unplug" => Step::Unplug(i(0)?),
            "plug" => Step::Plug(i(0)?),
            "offline" => Step::Offline(i(0)?),
            "online" => Step::Online(i(0)?),
            "steal" => Step::Steal(i(0)?),
            "steal-test" => Step::StealTest(i(0)?),
            "claim" => Step::Claim(i(0)?),
            "late" => Step::Late(v(0)?),
            "restart" => Step::Restart,
            "dual" => Step::Dual(on(0)?),
            "fdt" => Step::Fdt(v(0)?),
            "quiet" => Step::Quiet(v(0)?),
            "failback" => Step::Failback(on(0)?),
            "standby" => Step::Standby(i(0)?, on(1)?),
            "link-only" => Step::LinkOnly(i(0)?, on(1)?),
            "data" => Step::Data(i(0)?),
            "targets" => Step::Targets(i(0)?),
            _ => return None,
        })
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.setup;
        writeln!(
            f,
            "world seed={} members={} standby={} link-only={} failback={} fdt={} quiet={} data={} targets={} dual={}",
            s.seed,
            s.members,
            s.standby,
            s.link_only,
            u8::from(s.failback),
            s.fdt_ms,
            s.quiet_ms,
            s.data,
            s.targets,
            u8::from(s.dual)
        )?;
        for (after, step) in &self.steps {
            let (word, numbers) = step.words();
            write!(f, "{after:>8} {word}")?;
            numbers.iter().try_for_each(|n| write!(f, " {n}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl History {
    /// Lines that begin with `#` are left out.
    pub fn parse(text: &str) -> Self {
        let mut lines =
            text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let world = lines.next().expect("a line `world ...`");
        let value = |key: &str| -> u64 {
            let mut pairs = world.split_whitespace().filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(k, _)| *k == key);
            found.unwrap_or_else(|| panic!("`{world}` lacks {key}")).1.parse().unwrap()
        };
        let setup = Setup {
            seed: value("seed"),
            members: value("members") as usize,
            standby: value("standby") as u8,
            link_only: value("link-only") as u8,
            failback: value("failback") == 1,
            fdt_ms: value("fdt"),
            quiet_ms: value("quiet"),
            data: value("data") as usize,
            targets: value("targets") as usize,
            dual: value("dual") == 1,
        };
        let step = |line: &str| {
            let mut words = line.split_whitespace();
            let after = words.next().and_then(|w| w.parse().ok());
            let word = words.next().unwrap_or_default();
            let given: Vec<u64> = words.filter_map(|w| w.parse().ok()).collect();
            let step = Step::parse(word, &given);
            after.zip(step).unwrap_or_else(|| panic!("`{line}` is no step"))
        };
        Self { setup, steps: lines.map(step).collect() }
    }
}
