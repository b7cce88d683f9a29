//! What is expected of a replay: texts of the log, states, places of addresses, routes. No probes
//! and no timers, or each tuning would break every case.

use std::collections::BTreeMap;
use std::time::Duration;

use mpathd_core::event::ObservedRoute;
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::message::Reason;
use mpathd_core::view::{GroupState, InterfaceState, InterfaceView, View};
use serde_json::{Map, Value, json};

/// One line: `{"t":NS,"KIND":...}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub t: Duration,
    pub kind: String,
    pub what: Value,
}

impl Change {
    pub fn log(t: Duration, text: &str) -> Self {
        Self { t, kind: "log".to_owned(), what: text.into() }
    }

    /// # Errors
    /// Why it is none.
    pub fn read(line: &str) -> Result<Self, String> {
        let mut object: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| error.to_string())?;
        let t = object.remove("t").and_then(|t| t.as_u64()).ok_or("no time `t`")?;
        let (kind, what) = object.into_iter().next().ok_or("nothing but a time")?;
        Ok(Self { t: Duration::from_nanos(t), kind, what })
    }

    pub fn line(&self) -> String {
        let kind = Value::from(self.kind.as_str());
        format!("{{\"t\":{},{kind}:{}}}", self.t.as_nanos(), self.what)
    }

    /// The text of a log line.
    pub fn text(&self) -> Option<&str> {
        self.what.as_str().filter(|_| self.kind == "log")
    }

    /// The same but for its time, and for times measured that a text tells of.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self.text(), other.text()) {
            (Some(one), Some(two)) => without_times(one) == without_times(two),
            (None, None) => (&self.kind, &self.what) == (&other.kind, &other.what),
            _ => false,
        }
    }
}

/// A log text as far as the same cause makes it the same again.
pub fn without_times(text: &str) -> &str {
    let before = |sign| text.rsplit_once(sign).map_or(text, |(before, _)| before);
    match text.split(' ').next() {
        Some("moved" | "placed") => before(" in "),
        Some("first") => before(" after "),
        Some("missed") => "missed sending",
        _ => text,
    }
}

/// What is wanted and known at a moment, each under a kind and a name. An address that stands
/// nowhere has no place.
#[derive(Clone, Debug, Default)]
pub struct Picture(BTreeMap<(&'static str, String), Value>);

impl Picture {
    pub fn of<'a>(
        view: &View,
        routes: impl Iterator<Item = &'a ObservedRoute>,
        name: impl Fn(Ifindex) -> String,
    ) -> Self {
        let mut all = BTreeMap::new();
        for group in &view.groups {
            let state = match group.state {
                GroupState::Ok => "ok",
                GroupState::Degraded => "degraded",
                GroupState::Failed => "failed",
            };
            all.insert(("group", group.name.to_string()), state.into());
        }
        for interface in &view.interfaces {
            all.insert(("state", interface.name.to_string()), state(interface).into());
        }
        for row in &view.addresses {
            let to = row.wanted.or(row.inbound).filter(|_| row.up);
            all.insert(("place", row.address.address.to_string()), json!(to));
        }
        for route in routes.filter(|route| route.ours) {
            let mut hops: Vec<_> = route.hops.as_slice().iter().map(|hop| name(*hop)).collect();
            hops.sort();
            let hops = json!({ "hops": hops, "src": route.src });
            all.insert(("route", route.key.to.to_string()), hops);
        }
        Self(all)
    }

    /// What is new or different; `null` for what is there no more.
    pub fn changes_since(&self, before: &Self, t: Duration) -> Vec<Change> {
        let gone = before.0.keys().filter(|key| !self.0.contains_key(*key));
        let gone = gone.map(|key| (key, Value::Null));
        let new = self.0.iter().filter(|(key, value)| before.0.get(*key) != Some(*value));
        let new = new.map(|(key, value)| (key, value.clone()));
        let change = |((kind, name), value): (&(&str, String), Value)| {
            let what = Value::Object(Map::from_iter([(name.clone(), value)]));
            Change { t, kind: (*kind).to_owned(), what }
        };
        gone.chain(new).map(change).collect()
    }
}

/// As an administrator would say it: `ok`, `ok, inactive`, `failed by probes`, `offline`, `missing`.
fn state(interface: &InterfaceView) -> String {
    let mut state = match (interface.ifindex, interface.state, interface.reason) {
        (None, ..) => "missing".to_owned(),
        (_, InterfaceState::Failed, Some(reason)) => format!("failed by {reason}"),
        (_, InterfaceState::Failed, None) => "failed".to_owned(),
        (_, InterfaceState::Ok, _) => "ok".to_owned(),
        (_, InterfaceState::Unknown, _) => "unknown".to_owned(),
        (_, InterfaceState::Offline, Some(Reason::DuplicateMac)) => {
            "offline by duplicate-mac".to_owned()
        }
        (_, InterfaceState::Offline, _) => "offline".to_owned(),
    };
    if interface.inactive {
        state.push_str(", inactive");
    }
    for family in Family::ALL.into_iter().filter(|f| interface.degraded[*f as usize]) {
        state.push_str(&format!(", {family} dead"));
    }
    state
}
