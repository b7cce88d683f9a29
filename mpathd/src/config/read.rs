//! The tables of the file: which keys each may have, and what their values are.

use std::path::Path;
use std::sync::Arc;

use mpathd_core::config::Datapath;
use mpathd_core::ids::{Family, GroupName, IfName, IpNet};
use toml_edit::{Document, Item, TableLike};

use super::error::{ConfigError, Problem};
use super::origin::key_path;
use super::raw::{self, At, List, Located};
use super::reader::{Choices, Entry, Reader, entries};
use super::source::Source;
use super::{FDT_MAX, FDT_MIN, QUIET_MAX, Sysctls, TakeOver, address};

const FILE: &[&str] = &[
    "failure_detection_time",
    "failback",
    "track_interfaces_only_with_groups",
    "quiet_period",
    "datapath",
    "consume_replies",
    "receive_priority",
    "realtime_priority",
    "sysctls",
    "groups",
];
const GROUP: &[&str] = &[
    "failure_detection_time",
    "failback",
    "take_over",
    "egress_redirect",
    "data_addresses",
    "targets",
    "routes",
    "interfaces",
];
const INTERFACE: &[&str] =
    &["test_addresses", "standby", "datapath", "consume_replies", "receive_priority"];
const ROUTE: &[&str] = &["to", "via", "metric", "table", "src"];

const DATAPATHS: Choices<Datapath> = Choices {
    names: &[
        ("auto", Datapath::Auto),
        ("xdp", Datapath::Xdp),
        ("xdp-generic", Datapath::XdpGeneric),
        ("tcx", Datapath::Tcx),
        ("socket", Datapath::Socket),
    ],
    allowed: "\"auto\", \"xdp\", \"xdp-generic\", \"tcx\", \"socket\"",
};
const SYSCTLS: Choices<Sysctls> = Choices {
    names: &[("set", Sysctls::Set), ("check", Sysctls::Check)],
    allowed: "\"set\", \"check\"",
};

const TAKE_OVER: Choices<TakeOver> = Choices {
    names: &[("static", TakeOver::Static), ("dynamic", TakeOver::Dynamic)],
    allowed: "\"static\", \"dynamic\"",
};

const DATA: &str = "a list of addresses with prefix lengths, such as [\"192.0.2.50/24\"]";
const TEST: &str = "a list, such as [\"192.0.2.11/24\"] or [\"link-local\"]";
const TARGETS: &str = "a list of addresses, such as [\"192.0.2.1\", \"192.0.2.2\"]";
const ROUTES: &str = "a list of tables, such as [{ to = \"default\", via = \"192.0.2.1\" }]";
const TO: &str = "\"default\" or a network, such as \"198.51.100.0/24\"";
const ADDRESS: &str = "an address, such as \"192.0.2.1\"";

/// All of a file that can be read, and what is wrong with the rest; `None` if it is no TOML at all.
pub(super) fn read(bytes: &[u8], file: Arc<Path>) -> (Option<raw::File>, Vec<ConfigError>) {
    let text = std::str::from_utf8(bytes);
    let valid = text.as_ref().map_or_else(|e| e.valid_up_to(), |t| t.len());
    // The part that is text still serves to count the lines up to what is not.
    let source = Source::new(file, std::str::from_utf8(&bytes[..valid]).unwrap_or_default());
    let mut reader = Reader { source, errors: Vec::new() };
    let fatal = |offset, problem| ConfigError {
        place: reader.source.place(offset),
        key: String::new(),
        found: None,
        problem,
    };
    if text.is_err() {
        return (None, vec![fatal(valid, Problem::NotUtf8)]);
    }
    match Document::parse(reader.source.text) {
        Ok(document) => {
            let file = reader.file(document.as_table());
            (Some(file), reader.errors)
        }
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let at = span.start;
            let mut message = error.message().trim().replace('\n', "; ");
            let found = reader.source.excerpt(span);
            if !found.is_empty() {
                message = format!("{message}: {found}");
            }
            (None, vec![fatal(at, Problem::Syntax(message))])
        }
    }
}

impl Reader<'_> {
    fn file(&mut self, table: &dyn TableLike) -> raw::File {
        let mut file = raw::File::default();
        for entry in entries(table, &[]) {
            match entry.name {
                "failure_detection_time" => {
                    file.failure_detection_time = self.duration(&entry, &(FDT_MIN..=FDT_MAX));
                }
                "failback" => file.failback = self.boolean(&entry),
                "track_interfaces_only_with_groups" => {
                    file.track_interfaces_only_with_groups = self.boolean(&entry);
                }
                "quiet_period" => {
                    file.quiet_period =
                        self.duration(&entry, &(std::time::Duration::ZERO..=QUIET_MAX));
                }
                "datapath" => file.datapath = self.choice(&entry, &DATAPATHS),
                "consume_replies" => file.consume_replies = self.boolean(&entry),
                "receive_priority" => file.receive_priority = self.receive_priority(&entry),
                "realtime_priority" => file.realtime_priority = self.realtime(&entry),
                "sysctls" => file.sysctls = self.choice(&entry, &SYSCTLS),
                "groups" => file.groups = self.groups(&entry),
                _ if misplaced(&entry, GROUP) => self.misplaced(&entry, "the top level", "a group"),
                _ if misplaced(&entry, INTERFACE) => {
                    self.misplaced(&entry, "the top level", "an interface of a group");
                }
                _ => self.unknown(&entry, FILE),
            }
        }
        file
    }

    fn groups(&mut self, entry: &Entry<'_>) -> Vec<raw::Group> {
        let Some(table) = self.table(entry, "tables [groups.NAME]") else { return Vec::new() };
        entries(table, &entry.path).filter_map(|group| self.group(&group)).collect()
    }

    fn group(&mut self, entry: &Entry<'_>) -> Option<raw::Group> {
        let before = self.errors.len();
        let name = self.name(entry, group_name, Problem::GroupName);
        let table = self.table(entry, "a table [groups.NAME]")?;
        let (mut fdt, mut failback) = (None, None);
        let (mut take_over, mut egress_redirect) = (None, None);
        let (mut data, mut targets) = (List::default(), List::default());
        let (mut routes, mut interfaces) = (List::default(), Vec::new());
        for entry in entries(table, &entry.path) {
            match entry.name {
                "failure_detection_time" => fdt = self.duration(&entry, &(FDT_MIN..=FDT_MAX)),
                "failback" => failback = self.boolean(&entry),
                "take_over" => take_over = self.choice(&entry, &TAKE_OVER),
                "egress_redirect" => egress_redirect = self.boolean(&entry),
                "data_addresses" => data = self.texts(&entry, DATA, address::data).into(),
                "targets" => {
                    let target = |t: &str| address::neighbour(t, "a target");
                    targets = self.texts(&entry, TARGETS, target).into();
                }
                "routes" => routes = self.routes(&entry).into(),
                "interfaces" => interfaces = self.interfaces(&entry),
                _ if holds_group(entry.item) => self.unquoted(&entry, 1),
                _ if misplaced(&entry, INTERFACE) => {
                    self.misplaced(
                        &entry,
                        "a group",
                        "an interface, [groups.NAME.interfaces.NAME]",
                    );
                }
                _ if misplaced(&entry, FILE) => {
                    self.misplaced(&entry, "a group", "the top level");
                }
                _ => self.unknown(&entry, GROUP),
            }
        }
        Some(raw::Group {
            name: name?,
            failure_detection_time: fdt,
            failback,
            take_over,
            egress_redirect,
            data,
            targets,
            routes,
            interfaces,
            incomplete: self.errors.len() > before,
        })
    }

    fn interfaces(&mut self, entry: &Entry<'_>) -> Vec<raw::Interface> {
        let want = "tables [groups.NAME.interfaces.NAME]";
        let Some(table) = self.table(entry, want) else { return Vec::new() };
        entries(table, &entry.path).filter_map(|interface| self.interface(&interface)).collect()
    }

    fn interface(&mut self, entry: &Entry<'_>) -> Option<raw::Interface> {
        let name = self.name(entry, interface_name, Problem::InterfaceName);
        let table =
            self.table(entry, "a table [groups.NAME.interfaces.NAME], which may be empty")?;
        let mut test = List::default();
        let (mut standby, mut datapath) = (None, None);
        let (mut consume_replies, mut receive_priority) = (None, None);
        for entry in entries(table, &entry.path) {
            match entry.name {
                "test_addresses" => test = self.texts(&entry, TEST, address::test).into(),
                "standby" => standby = self.boolean(&entry),
                "datapath" => datapath = self.choice(&entry, &DATAPATHS),
                "consume_replies" => consume_replies = self.boolean(&entry),
                "receive_priority" => receive_priority = self.receive_priority(&entry),
                "failback" => {
                    let group = key_path(entry.path[..2].iter().copied());
                    let at = self.at_key(&entry);
                    self.reject(&at, Problem::FailbackOfInterface { group });
                }
                _ if entry.item.is_table_like() => self.unquoted(&entry, 3),
                _ if misplaced(&entry, GROUP) => {
                    self.misplaced(&entry, "an interface", "its group")
                }
                _ if misplaced(&entry, FILE) => {
                    self.misplaced(&entry, "an interface", "the top level");
                }
                _ => self.unknown(&entry, INTERFACE),
            }
        }
        let name = name?;
        Some(raw::Interface { name, test, standby, datapath, consume_replies, receive_priority })
    }

    /// `[groups.g.interfaces.eth0.100]`: to TOML a table 100 in a table eth0. The name begins behind
    /// `outer` others.
    fn unquoted(&mut self, entry: &Entry<'_>, outer: usize) {
        let mut parts = entry.path[outer..].join(".");
        let mut item = entry.item;
        while let Some((name, inner)) = only_table(item) {
            parts = format!("{parts}.{name}");
            item = inner;
        }
        let path = entry.path[..outer].iter().copied().chain([parts.as_str()]);
        let at = self.at_key(entry);
        self.reject(&at, Problem::UnquotedDot(key_path(path)));
    }

    fn routes(&mut self, entry: &Entry<'_>) -> Vec<raw::Route> {
        if let Some(tables) = entry.item.as_array_of_tables() {
            let at = self.at_key(entry);
            return tables.iter().filter_map(|t| self.route(entry, at.clone(), t)).collect();
        }
        let Some(list) = entry.item.as_array() else {
            let at = self.at(entry);
            self.reject(&at, Problem::Expected(ROUTES));
            return Vec::new();
        };
        let mut routes = Vec::new();
        for value in list {
            let at = self.at_value(entry, value);
            match value.as_inline_table() {
                Some(table) => routes.extend(self.route(entry, at, table)),
                None => self.reject(&at, Problem::Expected(ROUTES)),
            }
        }
        routes
    }

    fn route(&mut self, around: &Entry<'_>, at: At, table: &dyn TableLike) -> Option<raw::Route> {
        let (mut to, mut via, mut src) = (None, None, None);
        let (mut metric, mut kernel_table) = (None, None);
        for entry in entries(table, &around.path) {
            match entry.name {
                "to" => to = self.text(&entry, TO, address::destination),
                "via" => via = self.text(&entry, ADDRESS, |t| address::neighbour(t, "a gateway")),
                "src" => src = self.text(&entry, ADDRESS, |t| address::neighbour(t, "a source")),
                "metric" => metric = self.number(&entry, |_| true, Problem::Metric),
                // 255 is the kernel's own table of local addresses.
                "table" => {
                    let usable = |n| n != 0 && n != 255;
                    kernel_table = self.number(&entry, usable, Problem::Table);
                }
                _ => self.unknown(&entry, ROUTE),
            }
        }
        for key in ["to", "via"] {
            if !table.contains_key(key) {
                self.reject(&at, Problem::RouteLacks(key));
            }
        }
        let (to, via) = (to?, via?);
        let everywhere = IpNet::new(unspecified(Family::of(via.value)), 0);
        let to = Located { value: to.value.or(everywhere)?, at: to.at };
        Some(raw::Route { at, to, via, metric, table: kernel_table, src })
    }

    fn name<T>(
        &mut self,
        entry: &Entry<'_>,
        parse: fn(&str) -> Option<T>,
        problem: Problem,
    ) -> Option<Located<T>> {
        let at = self.at_key(entry);
        match parse(entry.name) {
            Some(value) => Some(Located { value, at }),
            None => {
                self.reject(&at, problem);
                None
            }
        }
    }

    fn misplaced(&mut self, entry: &Entry<'_>, here: &'static str, belongs: &'static str) {
        let at = self.at_key(entry);
        self.reject(&at, Problem::Misplaced { here, belongs });
    }
}

/// The key is known, but elsewhere.
fn misplaced(entry: &Entry<'_>, elsewhere: &[&str]) -> bool {
    elsewhere.contains(&entry.name)
}

/// A table with keys of a group, within a group: half of a name with a dot.
fn holds_group(item: &Item) -> bool {
    item.as_table_like().is_some_and(|t| t.iter().any(|(key, _)| GROUP.contains(&key)))
}

/// The one table that stands in a table which is only there as part of a dotted name.
fn only_table(item: &Item) -> Option<(&str, &Item)> {
    let table = item.as_table().filter(|table| table.is_implicit() && table.len() == 1)?;
    table.iter().next().filter(|(_, item)| item.is_table())
}

fn unspecified(family: Family) -> std::net::IpAddr {
    match family {
        Family::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn group_name(name: &str) -> Option<GroupName> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    GroupName::new(name).filter(|_| !name.contains(bad))
}

/// As the kernel's dev_valid_name().
fn interface_name(name: &str) -> Option<IfName> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    IfName::new(name).filter(|_| !name.contains(bad) && name != "." && name != "..")
}
