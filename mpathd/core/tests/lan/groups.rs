//! The groups that the tests are about.

use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::config::{Datapath, Group, Member, Route, TestAddress};
use mpathd_core::ids::IfName;

use super::S;

/// A group `g` with `members`, test addresses 192.0.2.11.. and 2001:db8::11.., targets .1 to .3.
pub fn group(members: usize, data: usize, fdt: Duration) -> Group {
    Group {
        name: "g".parse().unwrap(),
        fdt,
        failback: true,
        quiet_period: 40 * S,
        data: (0..data).map(|i| format!("192.0.2.{}/24", 50 + i).parse().unwrap()).collect(),
        targets: ip(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        routes: vec![Route {
            to: "0.0.0.0/0".parse().unwrap(),
            via: "192.0.2.1".parse().unwrap(),
            metric: 5,
            table: 254,
            src: None,
        }],
        members: (0..members).map(member).collect(),
    }
}

pub fn member(i: usize) -> Member {
    let test = format!("192.0.2.{}/24", 11 + i).parse().unwrap();
    Member {
        name: name(i),
        standby: false,
        test: [Some(TestAddress::Static(test)), None],
        datapath: Datapath::Auto,
        consume_replies: true,
    }
}

/// The same group with IPv6 beside IPv4.
pub fn dual_stack(mut group: Group) -> Group {
    group.targets.extend(ip(&["2001:db8::1", "2001:db8::2"]));
    group.data.push("2001:db8::50/64".parse().unwrap());
    for (i, member) in group.members.iter_mut().enumerate() {
        let test = format!("2001:db8::{}/64", 11 + i).parse().unwrap();
        member.test[1] = Some(TestAddress::Static(test));
    }
    group
}

pub fn link_only(mut group: Group) -> Group {
    group.members.iter_mut().for_each(|m| m.test = [None, None]);
    group
}

pub fn ip(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

pub fn name(i: usize) -> IfName {
    format!("eth{i}").parse().unwrap()
}
