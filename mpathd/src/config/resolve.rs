//! From what was written to what holds: defaults filled in, origins noted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mpathd_core::config::{
    Config, Datapath, Group, MAX_MEMBERS, Member, ROUTE_METRIC, Route, TABLE_MAIN, TestAddress,
};
use mpathd_core::ids::{Family, IfName};

use super::MAX_INTERFACES;
use super::origin::Origins;
use super::raw::{self, List, Located};
use super::{Realtime, Settings, Sysctls, TakeOver};

/// The defaults of the contract.
const FAILURE_DETECTION_TIME: Duration = Duration::from_secs(10);
const QUIET_PERIOD: Duration = Duration::from_secs(40);

/// Values of the whole file that groups and interfaces take over.
struct Common {
    fdt: Duration,
    failback: bool,
    quiet_period: Duration,
    datapath: Datapath,
    consume_replies: bool,
}

/// Right only for a file without errors.
pub(super) fn resolve(mut file: raw::File) -> Settings {
    let origins = &mut Origins::default();
    let receive_priority = receive_priorities(&mut file, origins);
    let common = Common {
        fdt: take(file.failure_detection_time, origins).unwrap_or(FAILURE_DETECTION_TIME),
        failback: take(file.failback, origins).unwrap_or(true),
        quiet_period: take(file.quiet_period, origins).unwrap_or(QUIET_PERIOD),
        datapath: take(file.datapath, origins).unwrap_or_default(),
        consume_replies: take(file.consume_replies, origins).unwrap_or(true),
    };
    let track = take(file.track_interfaces_only_with_groups, origins).unwrap_or(true);
    let realtime = take(file.realtime_priority, origins).unwrap_or(Realtime::Auto);
    let sysctls = take(file.sysctls, origins).unwrap_or(Sysctls::Set);
    let (mut take_dynamic, mut redirected) = (BTreeSet::new(), BTreeSet::new());
    let mut groups = Vec::new();
    for mut written in file.groups {
        if take(written.take_over.take(), origins) == Some(TakeOver::Dynamic) {
            take_dynamic.insert(written.name.value);
        }
        if take(written.egress_redirect.take(), origins) == Some(true) {
            redirected.insert(written.name.value);
        }
        groups.push(group(written, &common, origins));
    }
    if !track {
        let taken = groups.iter().map(|g| g.members.len()).sum();
        let seats = MAX_MEMBERS.min(MAX_INTERFACES.saturating_sub(taken));
        groups.insert(0, Group::anonymous(common.fdt, common.quiet_period, seats));
    }
    Settings {
        engine: Config { groups },
        track_interfaces_only_with_groups: track,
        realtime,
        sysctls,
        receive_priority,
        take_dynamic,
        redirected,
        origins: std::mem::take(origins),
    }
}

/// Of those that have one.
fn receive_priorities(file: &mut raw::File, origins: &mut Origins) -> BTreeMap<IfName, u8> {
    let common = take(file.receive_priority.take(), origins);
    let interfaces = file.groups.iter_mut().flat_map(|group| &mut group.interfaces);
    let all = interfaces.filter_map(|interface| {
        let own = take(interface.receive_priority.take(), origins);
        let priority = own.or(common).and_then(|priority| u8::try_from(priority).ok())?;
        Some((interface.name.value, priority))
    });
    all.filter(|(_, priority)| *priority > 0).collect()
}

fn take<T>(value: Option<Located<T>>, origins: &mut Origins) -> Option<T> {
    value.map(|located| one(located, origins))
}

fn one<T>(Located { value, at }: Located<T>, origins: &mut Origins) -> T {
    origins.note(at.key, at.place);
    value
}

fn all<T>(values: List<Located<T>>, origins: &mut Origins) -> Vec<T> {
    values.into_iter().map(|value| one(value, origins)).collect()
}

fn group(group: raw::Group, common: &Common, origins: &mut Origins) -> Group {
    Group {
        name: one(group.name, origins),
        fdt: take(group.failure_detection_time, origins).unwrap_or(common.fdt),
        failback: take(group.failback, origins).unwrap_or(common.failback),
        quiet_period: common.quiet_period,
        data: all(group.data, origins),
        targets: all(group.targets, origins),
        routes: group.routes.into_iter().map(|r| route(r, origins)).collect(),
        members: group.interfaces.into_iter().map(|i| member(i, common, origins)).collect(),
    }
}

fn route(route: raw::Route, origins: &mut Origins) -> Route {
    origins.note(route.at.key, route.at.place);
    Route {
        to: route.to.value,
        via: route.via.value,
        metric: route.metric.map_or(ROUTE_METRIC, |m| m.value),
        table: route.table.map_or(TABLE_MAIN, |t| t.value),
        src: route.src.map(|s| s.value),
    }
}

fn member(interface: raw::Interface, common: &Common, origins: &mut Origins) -> Member {
    let mut test = [None; 2];
    for address in all(interface.test, origins) {
        let family = match address {
            TestAddress::Static(net) => net.family(),
            TestAddress::LinkLocal => Family::Inet6,
        };
        test[family as usize] = Some(address);
    }
    Member {
        name: one(interface.name, origins),
        standby: take(interface.standby, origins).unwrap_or(false),
        test,
        datapath: take(interface.datapath, origins).unwrap_or(common.datapath),
        consume_replies: take(interface.consume_replies, origins).unwrap_or(common.consume_replies),
    }
}
