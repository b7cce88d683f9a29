//! What will not work as the file says, or only with less protection than it seems to give.

use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::config::{Group, Member};
use mpathd_core::ids::Family;

use super::host::{Host, Link, mac_text};
use super::plan::pinned;
use crate::config::{Settings, words};

/// Below, a single target's own delays are taken for failures.
const TIGHT: Duration = Duration::from_secs(1);
/// Below, five losses in a row come by chance: at 100 ms and one target that loses 5 %, every 16 hours.
/// Three that lose 10 % each make none in a century at 5 ms.
const QUICK: Duration = Duration::from_millis(100);

/// Below, what a busy host keeps waiting in the NIC for so long is taken for a failure.
const STARVING: Duration = Duration::from_millis(100);

/// One line each: of the host as a whole, then group by group.
pub fn all(settings: &Settings, host: &Host) -> Vec<String> {
    let mut list = host.unknown.clone();
    let groups: Vec<Group> = settings.engine.named().cloned().collect();
    if groups.is_empty() {
        return list;
    }
    if host.arp_ignore >= 2 {
        list.push(format!(
            "net.ipv4.conf.all.arp_ignore is {}: moved addresses would not be answered for; set it \
             to 0 or 1",
            host.arp_ignore
        ));
    }
    if host.arp_filter == 1 {
        list.push(
            "net.ipv4.conf.all.arp_filter is 1: ARP would be answered by route, not by interface; \
             set it to 0"
                .into(),
        );
    }
    for group in &groups {
        of_group(group, host, &mut list);
        for member in &group.members {
            of_member(group, member, host, &mut list);
            if !settings.receive_priority.contains_key(&member.name) {
                starving(group, member, host, &mut list);
            }
        }
        twins(group, host, &mut list);
    }
    redirects(settings, &groups, &mut list);
    consumed(&groups, &mut list);
    list
}

fn of_group(group: &Group, host: &Host, list: &mut Vec<String>) {
    let name = group.name;
    if group.members.len() == 1 {
        list.push(format!("group {name} has one interface: nothing can take over from it"));
    }
    if group.data.is_empty() {
        list.push(format!("group {name} has no data address: it is watched, but nothing moves"));
    }
    let tests = group.members.iter().flat_map(|member| member.test.iter().flatten());
    if tests.count() == 0 {
        list.push(format!(
            "group {name} has no test address: loss of link is seen, a path that breaks behind it \
             is not; test_addresses = [\"link-local\"] probes at no cost in addresses"
        ));
    }
    for family in Family::ALL {
        let of_family = group.targets.iter().filter(|target| Family::of(**target) == family);
        let fdt = words::duration(group.fdt);
        match of_family.count() {
            1 if group.fdt < TIGHT => list.push(format!(
                "group {name} has one {family} target for an FDT of {fdt}: if it is busy or limits \
                 ICMP, that looks like a failure; add targets or raise failure_detection_time"
            )),
            2 if group.fdt < QUICK => list.push(format!(
                "group {name} has two {family} targets for an FDT of {fdt}: if both lose probes, \
                 losses in a row come by chance, and a failure takes more of them and longer; with \
                 three it does not"
            )),
            _ => {}
        }
    }
    if group.members.iter().all(|member| host.link(member.name.as_str()).is_none()) {
        list.push(format!("group {name}: none of its interfaces is on this host"));
    }
}

fn of_member(group: &Group, member: &Member, host: &Host, list: &mut Vec<String>) {
    let name = member.name;
    for family in Family::ALL {
        let Some(test) = member.test(family) else {
            unwatched(group, member, family, list);
            continue;
        };
        if pinned(group, family, test).is_some_and(|targets: Vec<IpAddr>| targets.is_empty()) {
            list.push(format!(
                "{name}: no target of group {} is on the subnet of its {family} test address, so it \
                 is not probed from there",
                group.name
            ));
        }
    }
    match host.link(name.as_str()) {
        None => list.push(format!("{name} is not on this host; it joins when it appears")),
        Some(link) => of_link(link, host, list),
    }
}

/// A family that is probed on the others only: here its path counts as good as long as the link is.
fn unwatched(group: &Group, member: &Member, family: Family, list: &mut Vec<String>) {
    let data = group.data.iter().any(|net| net.family() == family);
    let others = group.members.iter().any(|other| other.test(family).is_some());
    if data && others {
        list.push(format!(
            "{} has no {family} test address, others of group {} have: its {family} path is not \
             watched, and when all {family} targets fall silent, {family} addresses move to it",
            member.name, group.name
        ));
    }
}

/// Replies that have come in, and wait for a thread of ordinary priority (design 2.12).
fn starving(group: &Group, member: &Member, host: &Host, list: &mut Vec<String>) {
    let Some(link) = host.link(member.name.as_str()) else { return };
    let why = if host.threaded.contains(&link.ifindex) {
        "kernel threads of ordinary priority handle what it receives (NAPI threads)"
    } else if host.softirqs_wait {
        "before Linux 6.5 a kernel thread of ordinary priority, ksoftirqd, may handle what it receives"
    } else {
        return;
    };
    if group.fdt >= STARVING || member.test.iter().all(Option::is_none) {
        return;
    }
    list.push(format!(
        "{}: {why}, so a busy host delays replies and verdicts, for an FDT of {}; receive_priority = 45 \
         gives it real-time threads of its own, which take CPU time from others (11 to 14 % of our own 1 ms \
         ticks were skipped on two busy cores)",
        member.name,
        words::duration(group.fdt)
    ));
}

fn of_link(link: &Link, host: &Host, list: &mut Vec<String>) {
    let name = &link.name;
    if !link.ethernet || link.point_to_point {
        list.push(format!("{name} is not an Ethernet device; mpathd will not use it"));
    }
    if let Some(master) = link.master {
        list.push(format!(
            "{name} is a port of {}; mpathd will not use it: `ip link set {name} nomaster` releases \
             it",
            host.name_of(master)
        ));
    }
    if !link.up {
        list.push(format!("{name} is down; mpathd sets it up when it first meets it"));
    } else if !link.carrier {
        list.push(format!("{name} has no carrier"));
    }
    if host.networkd.contains(&link.ifindex) {
        list.push(format!(
            "{name} is configured by systemd-networkd, which removes what it has not set itself; \
             give it a .network file with `[Link]` `Unmanaged=yes`"
        ));
    }
}

/// Members that fail together, or that the neighbours can't tell apart.
fn twins(group: &Group, host: &Host, list: &mut Vec<String>) {
    let links: Vec<&Link> =
        group.members.iter().filter_map(|member| host.link(member.name.as_str())).collect();
    for (number, one) in links.iter().enumerate() {
        for other in &links[..number] {
            if let Some(lower) = common_device(one, other, host) {
                list.push(format!(
                    "{} and {} both stand on {lower}: they fail together",
                    other.name, one.name
                ));
            }
            if !one.mac.is_empty() && one.mac == other.mac {
                list.push(format!(
                    "{} and {} have the same hardware address {}: give one of them its own, or \
                     mpathd takes it offline",
                    other.name,
                    one.name,
                    mac_text(&one.mac)
                ));
            }
        }
    }
}

fn common_device(one: &Link, other: &Link, host: &Host) -> Option<String> {
    let stands_on = |upper: &Link, lower: &Link| upper.lower == Some((lower.ifindex, None));
    if stands_on(one, other) {
        return Some(other.name.clone());
    }
    if stands_on(other, one) {
        return Some(one.name.clone());
    }
    match one.lower.filter(|lower| other.lower == Some(*lower))? {
        (ifindex, None) => Some(host.name_of(ifindex)),
        (_, Some(_)) => Some("one device of another network namespace".into()),
    }
}

/// The egress program stands beside the receive hook, and only who is probed has that.
fn redirects(settings: &Settings, groups: &[Group], list: &mut Vec<String>) {
    for group in groups.iter().filter(|group| settings.redirected.contains(&group.name)) {
        let unprobed = group.members.iter().filter(|it| it.test.iter().all(Option::is_none));
        list.extend(unprobed.map(|member| {
            format!(
                "{} has no test address, so egress_redirect of group {} does nothing for it",
                member.name, group.name
            )
        }));
    }
}

/// The first thing looked at during a failure is tcpdump (review O18).
fn consumed(groups: &[Group], list: &mut Vec<String>) {
    let members = groups.iter().flat_map(|group| &group.members);
    let blind: Vec<&str> = members
        .filter(|member| member.consume_replies && member.test.iter().any(Option::is_some))
        .map(|member| member.name.as_str())
        .collect();
    if !blind.is_empty() {
        list.push(format!(
            "replies to probes are consumed on {}: tcpdump on this host shows no probes; `ipmpstat -p` shows \
             requests and replies, and consume_replies = false lets the replies pass",
            blind.join(", ")
        ));
    }
}
