//! `ipmpstat -g` (behaviour file 7.4).

use std::time::Duration;

use mpathd_core::ids::IfName;
use mpathd_core::view::{GroupState, GroupView, View};
use serde_json::{Value, json};

use super::order;
use super::text::{millis, ms, words, yes};
use crate::cli::columns::{Column, Row, column};

pub const COLUMNS: &[Column] = &[
    column("GROUP", 12),
    column("GROUPNAME", 12),
    column("STATE", 10),
    column("FDT", 10),
    column("INTERFACES", 30),
    column("ACHIEVED", 12),
    column("REQUESTED", 12),
    column("FAILBACK", 10),
];

/// Members by what they are good for.
#[derive(Default)]
struct Members {
    active: Vec<IfName>,
    inactive: Vec<IfName>,
    unusable: Vec<IfName>,
}

impl Members {
    fn of(view: &View, group: &GroupView) -> Self {
        let mut members = Self::default();
        for interface in order::members(view, group.name) {
            let list = if interface.active {
                &mut members.active
            } else if interface.inactive {
                &mut members.inactive
            } else {
                &mut members.unusable
            };
            list.push(interface.name);
        }
        members
    }

    /// `fops0 fops3 (fops2) [fops1]`
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.active.is_empty() {
            parts.push(words(&self.active));
        }
        if !self.inactive.is_empty() {
            parts.push(format!("({})", words(&self.inactive)));
        }
        if !self.unusable.is_empty() {
            parts.push(format!("[{}]", words(&self.unusable)));
        }
        parts.join(" ")
    }
}

fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::Ok => "ok",
        GroupState::Degraded => "degraded",
        GroupState::Failed => "failed",
    }
}

/// `0.10s`, as the original; below that the milliseconds too, for 5 ms are not 0.01 s.
fn fdt(fdt: Duration) -> String {
    let rounded = fdt < Duration::from_millis(100) && !fdt.as_millis().is_multiple_of(10);
    format!("{:.*}s", if rounded { 3 } else { 2 }, fdt.as_secs_f64())
}

pub(super) fn rows(view: &View) -> Vec<Row> {
    order::groups(view).map(|group| row(view, group)).collect()
}

fn row(view: &View, group: &GroupView) -> Row {
    vec![
        group.name.to_string(),
        group.name.to_string(),
        state(group.state).to_owned(),
        group.fdt.map(fdt).unwrap_or_default(),
        Members::of(view, group).text(),
        group.fdt.map(millis).unwrap_or_default(),
        millis(group.fdt_requested),
        yes(group.failback),
    ]
}

pub(super) fn as_json(view: &View) -> Value {
    let one = |group: &GroupView| {
        let members = Members::of(view, group);
        json!({
            "name": group.name,
            "state": group.state,
            "fdt_ms": group.fdt.map(ms),
            "fdt_requested_ms": ms(group.fdt_requested),
            "failback": group.failback,
            "active": members.active,
            "inactive": members.inactive,
            "unusable": members.unusable,
        })
    };
    order::groups(view).map(one).collect()
}
