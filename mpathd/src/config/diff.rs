//! What a reload changes, in words; each line names its group or interface.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use mpathd_core::config::{Group, Member, ROUTE_METRIC, Route, TABLE_MAIN};
use mpathd_core::ids::{GroupName, IpNet};

use super::words::{self, datapath, duration, test_address};
use super::{Realtime, Settings, Sysctls};

/// One line per difference; none if both mean the same, wherever it is written.
pub fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut diff = Diff::default();
    diff.whole_file(old, new);
    let named = |settings: &Settings| settings.engine.named().cloned().collect::<Vec<_>>();
    let (before, after) = (&named(old), &named(new));
    let places = |groups: &[Group]| -> BTreeMap<GroupName, usize> {
        groups.iter().enumerate().map(|(at, group)| (group.name, at)).collect()
    };
    let (of_before, of_after) = (places(before), places(after));
    for group in before {
        if !of_after.contains_key(&group.name) {
            diff.line(format_args!("group {} removed", group.name));
            diff.contents(group, &empty(group));
        }
    }
    for group in after {
        match of_before.get(&group.name) {
            Some(index) => {
                diff.group(&before[*index], group);
                let what = format_args!("group {}: take_over", group.name);
                diff.value(what, take_over(old, group.name), take_over(new, group.name));
                let redirects = |settings: &Settings| settings.redirected.contains(&group.name);
                let what = format_args!("group {}: egress_redirect", group.name);
                diff.value(what, redirects(old), redirects(new));
                for member in group.members.iter().map(|member| member.name) {
                    let priority =
                        |of: &Settings| of.receive_priority.get(&member).copied().unwrap_or(0);
                    let what = format_args!("{member}: receive_priority");
                    diff.value(what, priority(old), priority(new));
                }
            }
            None => {
                diff.line(format_args!("group {} added", group.name));
                diff.contents(&empty(group), group);
            }
        }
    }
    diff.order("groups", before, after, |group| group.name);
    diff.lines
}

/// As if it had been there without contents: what was put in or taken out is told by the same words.
fn empty(group: &Group) -> Group {
    Group {
        data: Vec::new(),
        targets: Vec::new(),
        routes: Vec::new(),
        members: Vec::new(),
        ..group.clone()
    }
}

fn take_over(settings: &Settings, group: GroupName) -> &'static str {
    words::take_over(settings.take_dynamic.contains(&group))
}

#[derive(Default)]
struct Diff {
    lines: Vec<String>,
}

impl Diff {
    fn line(&mut self, line: impl Display) {
        self.lines.push(line.to_string());
    }

    fn value(&mut self, what: impl Display, old: impl Display, new: impl Display) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.line(format_args!("{what} {old} -> {new}"));
        }
    }

    fn whole_file(&mut self, old: &Settings, new: &Settings) {
        self.value("realtime_priority", realtime(old.realtime), realtime(new.realtime));
        self.value("sysctls", sysctls(old.sysctls), sysctls(new.sysctls));
        let track = |settings: &Settings| settings.track_interfaces_only_with_groups;
        self.value("track_interfaces_only_with_groups", track(old), track(new));
    }

    fn group(&mut self, old: &Group, new: &Group) {
        let here = format!("group {}:", new.name);
        let key = |key: &str| format!("{here} {key}");
        self.value(key("failure_detection_time"), duration(old.fdt), duration(new.fdt));
        self.value(key("failback"), old.failback, new.failback);
        let quiet = |group: &Group| duration(group.quiet_period);
        self.value(key("quiet_period"), quiet(old), quiet(new));
        self.contents(old, new);
        for member in &new.members {
            if let Some(before) = old.members.iter().find(|other| other.name == member.name) {
                self.member(before, member);
            }
        }
    }

    /// What groups and interfaces have several of.
    fn contents(&mut self, old: &Group, new: &Group) {
        let here = format!("group {}:", new.name);
        self.list(&here, "data_addresses", &old.data, &new.data, IpNet::to_string);
        let target = |target: &IpAddr| format!("target {target}");
        self.list(&here, "targets", &old.targets, &new.targets, target);
        self.list(&here, "routes", &old.routes, &new.routes, route);
        self.memberships(new.name, &old.members, &new.members);
    }

    fn memberships(&mut self, group: GroupName, old: &[Member], new: &[Member]) {
        let name = |member: &Member| member.name;
        self.gone_and_come(old, new, name, |diff, sign, member| {
            let does = if sign == '-' { "leaves" } else { "joins" };
            diff.line(format_args!("{} {does} {group}", member.name));
        });
        self.order(format_args!("group {group}: interfaces"), old, new, name);
    }

    fn member(&mut self, old: &Member, new: &Member) {
        let key = |key: &str| format!("{}: {key}", new.name);
        self.value(key("standby"), old.standby, new.standby);
        for (before, after) in old.test.iter().zip(&new.test).filter(|(a, b)| a != b) {
            if let Some(test) = before {
                self.line(format_args!("{}: - test address {}", new.name, test_address(test)));
            }
            if let Some(test) = after {
                self.line(format_args!("{}: + test address {}", new.name, test_address(test)));
            }
        }
        self.value(key("datapath"), datapath(old.datapath), datapath(new.datapath));
        self.value(key("consume_replies"), old.consume_replies, new.consume_replies);
    }

    fn list<T: Ord>(
        &mut self,
        here: &str,
        key: &str,
        old: &[T],
        new: &[T],
        text: impl Fn(&T) -> String,
    ) {
        self.gone_and_come(
            old,
            new,
            |value| value,
            |diff, sign, value| {
                diff.line(format_args!("{here} {sign} {}", text(value)));
            },
        );
        self.order(format_args!("{here} {key}"), old, new, |value| value);
    }

    /// What only one of two lists has, by `key`.
    fn gone_and_come<'t, T, K: Ord>(
        &mut self,
        old: &'t [T],
        new: &'t [T],
        key: impl Fn(&'t T) -> K,
        tell: impl Fn(&mut Self, char, &T),
    ) {
        let (before, after) = (keys(old, &key), keys(new, &key));
        old.iter().filter(|it| !after.contains(&key(it))).for_each(|it| tell(self, '-', it));
        new.iter().filter(|it| !before.contains(&key(it))).for_each(|it| tell(self, '+', it));
    }

    /// What both have stands in another order, by which addresses are spread.
    fn order<'t, T, K: Ord>(
        &mut self,
        what: impl Display,
        old: &'t [T],
        new: &'t [T],
        key: impl Fn(&'t T) -> K,
    ) {
        let (before, after) = (keys(old, &key), keys(new, &key));
        let stayed = old.iter().map(&key).filter(|it| after.contains(it));
        let also = new.iter().map(&key).filter(|it| before.contains(it));
        if !stayed.eq(also) {
            self.line(format_args!("{what} in another order"));
        }
    }
}

fn keys<'t, T, K: Ord>(all: &'t [T], key: impl Fn(&'t T) -> K) -> BTreeSet<K> {
    all.iter().map(key).collect()
}

fn realtime(realtime: Realtime) -> String {
    match realtime {
        Realtime::Auto => "auto".to_owned(),
        Realtime::Deadline => "deadline".to_owned(),
        Realtime::Fixed(priority) => priority.to_string(),
    }
}

fn sysctls(sysctls: Sysctls) -> &'static str {
    match sysctls {
        Sysctls::Set => "set",
        Sysctls::Check => "check",
    }
}

/// As `ip route` writes it.
fn route(route: &Route) -> String {
    let Route { to, via, metric, table, src } = route;
    let to = if to.len == 0 { "default".to_owned() } else { to.to_string() };
    let mut text = format!("route {to} via {via}");
    if *metric != ROUTE_METRIC {
        text += &format!(" metric {metric}");
    }
    if *table != TABLE_MAIN {
        text += &format!(" table {table}");
    }
    if let Some(src) = src {
        text += &format!(" src {src}");
    }
    text
}
