//! The text of a configuration, as far as scenarios have it in common: one group `ipmp0` of the lab's NICs.

use std::fmt::{Display, Formatter, Result};

/// Start from `dual_stack`, change what the scenario is about, and write it with `to_string`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Lines before the group.
    pub top: String,
    pub fdt: &'static str,
    pub data: Vec<&'static str>,
    pub targets: Vec<&'static str>,
    /// Destination and gateway.
    pub routes: Vec<(&'static str, &'static str)>,
    /// More lines of the group.
    pub group: String,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub test_addresses: Vec<String>,
    /// More lines.
    pub lines: String,
}

/// The targets of `Config::dual_stack`.
pub const TARGETS_V4: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
pub const TARGETS_V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

impl Config {
    /// Three data addresses, targets and test addresses of both families, default routes through target 1.
    pub fn dual_stack(nics: usize) -> Self {
        Self {
            top: String::new(),
            fdt: "100ms",
            data: vec!["192.0.2.50/24", "192.0.2.51/24", "2001:db8::50/64"],
            targets: [&TARGETS_V4[..], &TARGETS_V6[..]].concat(),
            routes: vec![("default", "192.0.2.1"), ("default", "2001:db8::1")],
            group: String::new(),
            members: (0..nics).map(Member::of_nic).collect(),
        }
    }
}

impl Member {
    /// With test addresses 192.0.2.11 and 2001:db8::11 for eth0, .12 and ::12 for eth1, ...
    pub fn of_nic(nic: usize) -> Self {
        let test = 11 + nic;
        Self {
            name: format!("eth{nic}"),
            test_addresses: vec![format!("192.0.2.{test}/24"), format!("2001:db8::{test}/64")],
            lines: String::new(),
        }
    }

    pub fn standby(self) -> Self {
        Self { lines: self.lines + "standby = true\n", ..self }
    }
}

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { top, fdt, data, targets, routes, group, members } = self;
        writeln!(f, "failure_detection_time = \"{fdt}\"\n{top}\n[groups.ipmp0]\n{group}")?;
        // A list of strings is the same in TOML and in Debug.
        writeln!(f, "data_addresses = {data:?}\ntargets = {targets:?}")?;
        let routes = routes.iter().map(|(to, via)| format!("{{ to = {to:?}, via = {via:?} }}"));
        writeln!(f, "routes = [{}]", routes.collect::<Vec<_>>().join(", "))?;
        for Member { name, test_addresses, lines } in members {
            writeln!(f, "[groups.ipmp0.interfaces.{name:?}]")?;
            writeln!(f, "test_addresses = {test_addresses:?}\n{lines}")?;
        }
        Ok(())
    }
}
