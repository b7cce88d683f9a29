//! Host facts in the words of a replay file.

use mpathd_core::event::{Address, Command, Done, Event, Link, ObservedRoute, RouteKey};
use mpathd_core::ids::Mac;
use serde_json::{Map, Value, json};

use super::Names;

/// Kind and content; `None` for probes, which are told in rounds, and for what
/// is told in every turn while a verdict waits.
pub(super) fn of(event: &Event, names: &Names) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::Link(link) => ("link", self::link(link)),
        Event::LinkGone(ifindex) => ("link-gone", json!({ "interface": names.of(*ifindex) })),
        Event::Address(address) => ("address", self::address(address, names)),
        Event::AddressGone { ifindex, address } => {
            ("address-gone", json!({ "interface": names.of(*ifindex), "address": address }))
        }
        Event::OwnAddress(own) => (
            "own-address",
            json!({
                "interface": names.of(own.ifindex),
                "family": own.family,
                "address": own.address,
            }),
        ),
        Event::Foreign { address, on } => {
            let on: Vec<_> = on.as_slice().iter().map(|ifindex| names.of(*ifindex)).collect();
            ("foreign", json!({ "address": address, "on": on }))
        }
        Event::Rivals { key, stand } => {
            let mut fact = self::key(key);
            fact.insert("stand".to_owned(), (*stand).into());
            ("rivals", Value::Object(fact))
        }
        Event::Route(route) => ("route", self::route(route, names)),
        Event::RouteGone(key) => ("route-gone", Value::Object(self::key(key))),
        Event::Gateways(gateways) => {
            let all = gateways
                .iter()
                .map(|gateway| json!({ "address": gateway.address, "kind": gateway.kind }));
            let fact = json!({
                "interface": names.of(gateways.ifindex),
                "family": gateways.family,
                "all": all.collect::<Vec<_>>(),
                "omitted": gateways.omitted,
            });
            ("next-hops", fact)
        }
        Event::Found { ifindex, address, by } => {
            ("found", json!({ "interface": names.of(*ifindex), "address": address, "by": by }))
        }
        Event::Surveyed => ("surveyed", json!({})),
        Event::Claimed { ifindex, address, mac } => (
            "claimed",
            json!({
                "interface": names.of(*ifindex),
                "address": address,
                "mac": Mac(*mac),
            }),
        ),
        Event::Refused { address, on } => {
            ("refused", json!({ "address": address, "interface": on.map(|on| names.of(on)) }))
        }
        Event::NeighbourProxy { ifindex, family, mac } => (
            "neighbour-proxy",
            json!({ "interface": names.of(*ifindex), "family": family, "mac": Mac(*mac) }),
        ),
        Event::Plumbed { ifindex, family, plumbed } => (
            "plumbed",
            json!({ "interface": names.of(*ifindex), "family": family, "plumbed": plumbed }),
        ),
        Event::Attached { ifindex, mode } => {
            ("attached", json!({ "interface": names.of(*ifindex), "mode": mode }))
        }
        Event::HookLost { ifindex, loss } => {
            ("hook-lost", json!({ "interface": names.of(*ifindex), "loss": loss }))
        }
        Event::Redirectable { ifindex, redirectable } => (
            "redirectable",
            json!({ "interface": names.of(*ifindex), "redirectable": redirectable }),
        ),
        Event::ReceiveDeferred { ifindex, deferred } => {
            ("receive-deferred", json!({ "interface": names.of(*ifindex), "deferred": deferred }))
        }
        Event::Transmits { ifindex, frames } => {
            ("transmits", json!({ "interface": names.of(*ifindex), "frames": frames }))
        }
        Event::Done(done) => ("done", self::done(done)),
        Event::Command(Command::Offline { interface }) => {
            ("command", json!({ "offline": interface }))
        }
        Event::Command(Command::Online { interface }) => {
            ("command", json!({ "online": interface }))
        }
        Event::HandledUntil { .. }
        | Event::Sent { .. }
        | Event::Left { .. }
        | Event::Reply { .. }
        | Event::Resolved { .. } => return None,
    })
}

fn link(link: &Link) -> Value {
    json!({
        "interface": link.name,
        "up": link.up,
        "running": link.running,
        "reported": link.reported,
        "carrier_changes": link.carrier_changes,
        "mac": Mac(link.mac),
        "unfit": link.unfit,
    })
}

fn address(address: &Address, names: &Names) -> Value {
    let mut fact = json!({
        "interface": names.of(address.ifindex),
        "address": address.address,
        "ours": address.ours,
        "tentative": address.tentative,
        "link_scope": address.link_scope,
        "refused": address.refused,
        "by_kernel": address.by_kernel,
    });
    if address.stale_form {
        fact["stale_form"] = true.into();
    }
    fact
}

fn key(key: &RouteKey) -> Map<String, Value> {
    let mut fact = Map::new();
    fact.insert("to".to_owned(), key.to.to_string().into());
    fact.insert("table".to_owned(), key.table.into());
    fact.insert("metric".to_owned(), key.metric.into());
    fact
}

fn route(route: &ObservedRoute, names: &Names) -> Value {
    let mut fact = self::key(&route.key);
    let hops = route.hops.as_slice().iter().map(|hop| names.of(*hop));
    fact.insert("via".to_owned(), json!(route.via));
    fact.insert("src".to_owned(), json!(route.src));
    fact.insert("hops".to_owned(), hops.collect());
    fact.insert("ours".to_owned(), route.ours.into());
    Value::Object(fact)
}

fn done(done: &Done) -> Value {
    json!({
        "op": done.op,
        "errno": done.result.err(),
        "waited_ns": u64::try_from(done.waited.as_nanos()).unwrap_or(u64::MAX),
        "ran_ns": u64::try_from(done.ran.as_nanos()).unwrap_or(u64::MAX),
    })
}
