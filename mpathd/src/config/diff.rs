//! What a reload changes, in words; each line names its group or interface.

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
    let in_group = |groups: &[Group], name| groups.iter().position(|group| group.name == name);
    for group in before {
        if in_group(after, group.name).is_none() {
            diff.line(format_args!("group {} removed", group.name));
            diff.contents(group, &empty(group));
        }
    }
    for group in after {
        match in_group(before, group.name) {
            Some(index) => {
                diff.group(&before[index], group);
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
    diff.order("groups", before, after, |a, b| a.name == b.name);
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
        let same = |a: &Member, b: &Member| a.name == b.name;
        for left in old.iter().filter(|a| !new.iter().any(|b| same(a, b))) {
            self.line(format_args!("{} leaves {group}", left.name));
        }
        for joined in new.iter().filter(|a| !old.iter().any(|b| same(a, b))) {
            self.line(format_args!("{} joins {group}", joined.name));
        }
        self.order(format_args!("group {group}: interfaces"), old, new, same);
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

    fn list<T: PartialEq>(
        &mut self,
        here: &str,
        key: &str,
        old: &[T],
        new: &[T],
        text: impl Fn(&T) -> String,
    ) {
        for gone in old.iter().filter(|value| !new.contains(value)) {
            self.line(format_args!("{here} - {}", text(gone)));
        }
        for come in new.iter().filter(|value| !old.contains(value)) {
            self.line(format_args!("{here} + {}", text(come)));
        }
        self.order(format_args!("{here} {key}"), old, new, T::eq);
    }

    /// What both have stands in another order, by which addresses are spread.
    fn order<T>(
        &mut self,
        what: impl Display,
        old: &[T],
        new: &[T],
        same: impl Fn(&T, &T) -> bool + Copy,
    ) {
        let stayed = old.iter().filter(|a| new.iter().any(|b| same(a, b)));
        let also = new.iter().filter(|b| old.iter().any(|a| same(a, b)));
        if !stayed.zip(also).all(|(a, b)| same(a, b)) {
            self.line(format_args!("{what} in another order"));
        }
    }
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
