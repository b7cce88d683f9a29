//! The effective configuration, written as a configuration file: every value with its origin, and
//! in comments what follows from it.

use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use mpathd_core::config::{Group, MAX_TARGETS, Member, Route, TestAddress};
use mpathd_core::ids::{Family, IpNet};

use crate::config::{Origin, Realtime, Settings, Sysctls, key_path, words};

/// Rounds in a failure detection time (design 2).
const ROUNDS: u32 = 6;
/// Column of the comments.
const COMMENT: usize = 60;

/// `path` is only named.
pub fn text(settings: &Settings, path: &Path) -> String {
    let mut plan = Plan { settings, text: String::new() };
    plan.file(path);
    for group in settings.engine.named() {
        plan.group(group);
    }
    plan.text
}

struct Plan<'s> {
    settings: &'s Settings,
    text: String,
}

impl Plan<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn commented(&mut self, text: &str, comment: impl Display) {
        self.line(&format!("{text:COMMENT$} # {comment}"));
    }

    /// `key = value` with the origin of the first of `paths` that was written.
    fn value(&mut self, key: &str, value: impl Display, paths: &[String]) {
        let origin = self.settings.origins.of(paths).to_string();
        self.commented(&format!("{key} = {value}"), origin);
    }

    fn file(&mut self, path: &Path) {
        let settings = self.settings;
        let groups = &settings.engine.groups;
        if settings.engine.named().next().is_none() {
            self.line(&format!("# {}: no groups; mpathd runs and touches nothing", path.display()));
        }
        // What groups and interfaces may say differently is shown there.
        let track = settings.track_interfaces_only_with_groups;
        let key = "track_interfaces_only_with_groups";
        self.value(key, track, &[key.into()]);
        if let Some(anonymous) = groups.iter().find(|group| group.is_anonymous()) {
            let seats = anonymous.members.len();
            self.line(&format!(
                "# interfaces outside of groups are watched, {seats} at most, and left as they are: {}",
                rates(anonymous)
            ));
            let key = "failure_detection_time";
            self.value(key, duration(anonymous.fdt), &[key.into()]);
        }
        if let Some(group) = groups.first() {
            let key = "quiet_period";
            self.value(key, duration(group.quiet_period), &[key.into()]);
        }
        let sysctls = match settings.sysctls {
            Sysctls::Set => "\"set\"",
            Sysctls::Check => "\"check\"",
        };
        self.value("sysctls", sysctls, &["sysctls".into()]);
        self.realtime();
    }

    fn realtime(&mut self) {
        let key = "realtime_priority";
        let fast = self.settings.engine.groups.iter().any(|g| g.fdt < Duration::from_secs(1));
        let origin = self.settings.origins.of(&[key.into()]).to_string();
        let (value, meaning) = match self.settings.realtime {
            Realtime::Auto if fast => ("\"auto\"".into(), "51, for a group's FDT is under 1s"),
            Realtime::Auto => ("\"auto\"".into(), "ordinary scheduling, for no FDT is under 1s"),
            Realtime::Deadline => ("\"deadline\"".into(), "SCHED_DEADLINE"),
            Realtime::Fixed(0) => ("0".into(), "ordinary scheduling"),
            Realtime::Fixed(priority) => (priority.to_string(), "SCHED_FIFO"),
        };
        self.commented(&format!("{key} = {value}"), format!("{origin}: {meaning}"));
    }

    fn group(&mut self, group: &Group) {
        let path =
            |key: &str| key_path(["groups", group.name.as_str()].into_iter().chain(Some(key)));
        let here = key_path(["groups", group.name.as_str()]);
        self.line("");
        self.commented(&format!("[{here}]"), self.origin(&here));
        self.line(&format!("# {}", rates(group)));
        let key = "failure_detection_time";
        self.value(key, duration(group.fdt), &[path(key), key.into()]);
        self.value("failback", group.failback, &[path("failback"), "failback".into()]);
        let take_over = words::take_over(self.settings.take_dynamic.contains(&group.name));
        self.value("take_over", format!("\"{take_over}\""), &[path("take_over")]);
        let redirects = self.settings.redirected.contains(&group.name);
        self.value("egress_redirect", redirects, &[path("egress_redirect")]);
        self.value("data_addresses", list(&group.data), &[path("data_addresses")]);
        if !group.targets.is_empty() {
            self.value("targets", list(&group.targets), &[path("targets")]);
        }
        if !group.routes.is_empty() {
            let origin = self.origin(&path("routes"));
            self.commented("routes = [", origin);
            for entry in &group.routes {
                self.line(&format!("    {},", route(entry)));
            }
            self.line("]");
        }
        for member in &group.members {
            self.member(group, member);
        }
    }

    fn member(&mut self, group: &Group, member: &Member) {
        let table = ["groups", group.name.as_str(), "interfaces", member.name.as_str()];
        let path = |key: &str| key_path(table.into_iter().chain(Some(key)));
        let here = key_path(table);
        self.line("");
        self.commented(&format!("[{here}]"), self.origin(&here));
        let mut probed = false;
        for family in Family::ALL {
            if let Some(test) = member.test(family) {
                probed = true;
                self.line(&format!("# {}", probing(group, family, test)));
            }
        }
        if !probed {
            self.line("# not probed, for it has no test address: only loss of its link counts");
        }
        let tests: Vec<String> = member.test.iter().flatten().map(words::test_address).collect();
        self.value("test_addresses", list(&tests), &[path("test_addresses")]);
        self.value("standby", member.standby, &[path("standby")]);
        let datapath = format!("\"{}\"", words::datapath(member.datapath));
        self.value("datapath", datapath, &[path("datapath"), "datapath".into()]);
        let key = "consume_replies";
        self.value(key, member.consume_replies, &[path(key), key.into()]);
        let key = "receive_priority";
        let priority = self.settings.receive_priority.get(&member.name).copied().unwrap_or(0);
        self.value(key, priority, &[path(key), key.into()]);
    }

    fn origin(&self, path: &str) -> String {
        let origin: Origin<'_> = self.settings.origins.of(&[path.to_owned()]);
        origin.to_string()
    }
}

/// As the configuration takes it.
fn duration(duration: Duration) -> String {
    format!("\"{}\"", words::duration(duration))
}

fn list<T: Display>(values: &[T]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn route(route: &Route) -> String {
    let Route { to, via, metric, table, src } = route;
    let to = if to.len == 0 { "default".to_owned() } else { to.to_string() };
    let mut text = format!("{{ to = \"{to}\", via = \"{via}\", metric = {metric}, table = {table}");
    if let Some(src) = src {
        write!(text, ", src = \"{src}\"").expect("a String takes everything");
    }
    text + " }"
}

/// Configured targets that a test address can probe: those on its subnet, of which so many are
/// active at most. `None`: the daemon has to find some.
pub(super) fn pinned(group: &Group, family: Family, test: TestAddress) -> Option<Vec<IpAddr>> {
    if group.targets.is_empty() {
        return None;
    }
    let on_subnet = |target: &IpAddr| match test {
        TestAddress::Static(net) => net.contains(*target),
        TestAddress::LinkLocal => {
            matches!(target, IpAddr::V6(address) if address.is_unicast_link_local())
        }
    };
    let of_family = group.targets.iter().copied().filter(|target| Family::of(*target) == family);
    Some(of_family.filter(on_subnet).take(MAX_TARGETS).collect())
}

/// To one target.
fn probes_per_second(group: &Group) -> f64 {
    f64::from(ROUNDS) / group.fdt.as_secs_f64()
}

fn rates(group: &Group) -> String {
    let rate = probes_per_second(group);
    let tests = group.members.iter().flat_map(|member| {
        Family::ALL.into_iter().filter_map(|family| Some((family, member.test(family)?)))
    });
    let (mut pairs, mut searching) = (0_u32, 0_u32);
    for (family, test) in tests {
        match pinned(group, family, test) {
            Some(targets) => pairs += targets.len() as u32,
            None => searching += 1,
        }
    }
    let fdt = words::duration(group.fdt);
    let every = millis(group.fdt / ROUNDS);
    let all = if searching > 0 {
        let most = f64::from(searching) * rate * MAX_TARGETS as f64;
        format!("{rate:.1} probes/s per interface and target, {most:.1} probes/s in all at most")
    } else {
        format!("{:.1} probes/s in all", f64::from(pairs) * rate)
    };
    if pairs + searching == 0 {
        return format!("group {}: link only; no probes, so no FDT", group.name);
    }
    format!("group {}: FDT {fdt}, probe every {every} ms, {all}", group.name)
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

fn probing(group: &Group, family: Family, test: TestAddress) -> String {
    let from = match test {
        TestAddress::Static(IpNet { address, .. }) => address.to_string(),
        TestAddress::LinkLocal => "the interface's link-local address".to_owned(),
    };
    let rate = probes_per_second(group);
    match pinned(group, family, test) {
        Some(targets) if targets.is_empty() => {
            format!("{family}: from {from}, but none of the targets is on its subnet")
        }
        Some(targets) => {
            let to: Vec<String> = targets.iter().map(IpAddr::to_string).collect();
            let rate = rate * targets.len() as f64;
            format!("{family}: from {from} to {} (pinned), {rate:.1} probes/s", to.join(" "))
        }
        None => format!(
            "{family}: from {from} to {MAX_TARGETS} targets at most, found by routes, else \
             neighbors and multicast; {rate:.1} probes/s each"
        ),
    }
}
