//! `ipmpstat -a` (behaviour file 7.3).

use std::collections::BTreeMap;
use std::net::IpAddr;

use mpathd_core::ids::{Family, IfName};
use mpathd_core::view::{AddressView, InterfaceView, View};
use serde_json::{Value, json};

use super::order;
use super::text::{ms, or_empty, remaining, words};
use crate::cli::columns::{Column, Row, column};
use crate::cli::names::Names;

pub const COLUMNS: &[Column] = &[
    column("ADDRESS", 26),
    column("STATE", 7),
    column("GROUP", 12),
    column("INBOUND", 12),
    column("OUTBOUND", 23),
    column("WANTED", 12),
    column("HELD", 8),
];

pub(super) fn rows(view: &View, names: &Names) -> Vec<Row> {
    addresses(view).into_iter().map(|address| row(view, address, names)).collect()
}

fn row(view: &View, address: &AddressView, names: &Names) -> Row {
    vec![
        names.of(address.address.address),
        if address.up { "up" } else { "down" }.to_owned(),
        address.group.to_string(),
        or_empty(address.inbound.filter(|_| address.up)),
        words(outbound(view, address)),
        or_empty(address.wanted),
        remaining(address.held),
    ]
}

/// One of each address, an up one preferred (behaviour 153).
fn addresses(view: &View) -> Vec<&AddressView> {
    let mut places: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let mut chosen: Vec<&AddressView> = Vec::new();
    let of_group = |name| view.addresses.iter().filter(move |address| address.group == name);
    for address in order::groups(view).flat_map(|group| of_group(group.name)) {
        match places.get(&address.address.address) {
            Some(place) if address.up && !chosen[*place].up => chosen[*place] = address,
            Some(_) => {}
            None => {
                places.insert(address.address.address, chosen.len());
                chosen.push(address);
            }
        }
    }
    chosen
}

/// Active members that traffic from this address leaves by. A family that is dead on a member has no
/// next hop there; nor has IPv4 where the member has no address of its own in the subnet (design 5).
fn outbound(view: &View, address: &AddressView) -> Vec<IfName> {
    let Some(inbound) = address.inbound.filter(|_| address.up) else { return Vec::new() };
    let family = address.address.family();
    let usable = |member: &&InterfaceView| {
        member.active
            && !member.degraded[family as usize]
            && (member.name == inbound
                || family == Family::Inet6
                || has_address_near(view, member.name, address))
    };
    order::members(view, address.group).filter(usable).map(|member| member.name).collect()
}

fn has_address_near(view: &View, member: IfName, address: &AddressView) -> bool {
    let near = |own: IpAddr| address.address.contains(own);
    let tests = view.instances.iter().filter(|instance| instance.interface == member);
    let data = view.addresses.iter().filter(|data| data.up && data.inbound == Some(member));
    let tests = tests.filter_map(|instance| instance.test);
    tests.chain(data.map(|data| data.address.address)).any(near)
}

pub(super) fn as_json(view: &View) -> Value {
    let one = |address: &AddressView| {
        json!({
            "address": address.address,
            "group": address.group,
            "up": address.up,
            "inbound": address.inbound,
            "outbound": outbound(view, address),
            "wanted": address.wanted,
            "held_ms": address.held.map(ms),
        })
    };
    addresses(view).into_iter().map(one).collect()
}
