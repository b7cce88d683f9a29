//! One file as it was written: every value with its place, nothing filled in. Drop-ins are merged
//! at this level.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use mpathd_core::config::{Datapath, TestAddress};
use mpathd_core::ids::{GroupName, IfName, IpNet};

use super::error::{ConfigError, Place, Problem};
use super::{Realtime, Sysctls, TakeOver};

/// Where something stands, and how.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub place: Place,
    /// Dotted path.
    pub key: String,
    /// The text of the value; `None` for a table.
    pub found: Option<String>,
}

impl At {
    pub(super) fn error(&self, problem: Problem) -> ConfigError {
        let Self { place, key, found } = self.clone();
        ConfigError { place, key, found, problem }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub value: T,
    pub at: At,
}

/// A list of the file; one that is written without contents replaces another one too.
#[derive(Debug)]
pub(super) struct List<T> {
    values: Vec<T>,
    written: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { values: Vec::new(), written: false }
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> Self {
        Self { values, written: true }
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.values.iter()
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.values.into_iter()
    }
}

impl<T> List<T> {
    fn replace_by(&mut self, later: Self) {
        if later.written {
            *self = later;
        }
    }
}

fn replace<T>(value: &mut Option<T>, later: Option<T>) {
    if later.is_some() {
        *value = later;
    }
}

impl File {
    /// What is said in a later file goes before; tables of one name are one.
    pub(super) fn merge(&mut self, later: Self) {
        let Self {
            failure_detection_time,
            failback,
            track_interfaces_only_with_groups,
            quiet_period,
            datapath,
            consume_replies,
            receive_priority,
            realtime_priority,
            sysctls,
            groups,
            places: _,
        } = later;
        replace(&mut self.failure_detection_time, failure_detection_time);
        replace(&mut self.failback, failback);
        let track = &mut self.track_interfaces_only_with_groups;
        replace(track, track_interfaces_only_with_groups);
        replace(&mut self.quiet_period, quiet_period);
        replace(&mut self.datapath, datapath);
        replace(&mut self.consume_replies, consume_replies);
        replace(&mut self.receive_priority, receive_priority);
        replace(&mut self.realtime_priority, realtime_priority);
        replace(&mut self.sysctls, sysctls);
        for group in groups {
            match self.places.get(&group.name.value) {
                Some(known) => self.groups[*known].merge(group),
                None => {
                    self.places.insert(group.name.value, self.groups.len());
                    self.groups.push(group);
                }
            }
        }
    }
}

impl Group {
    fn merge(&mut self, later: Self) {
        let Self {
            name: _,
            failure_detection_time,
            failback,
            take_over,
            egress_redirect,
            data,
            targets,
            routes,
            interfaces,
            incomplete,
        } = later;
        replace(&mut self.failure_detection_time, failure_detection_time);
        replace(&mut self.failback, failback);
        replace(&mut self.take_over, take_over);
        replace(&mut self.egress_redirect, egress_redirect);
        self.data.replace_by(data);
        self.targets.replace_by(targets);
        self.routes.replace_by(routes);
        let known: BTreeMap<IfName, usize> =
            self.interfaces.iter().enumerate().map(|(at, it)| (it.name.value, at)).collect();
        for interface in interfaces {
            match known.get(&interface.name.value) {
                Some(at) => self.interfaces[*at].merge(interface),
                None => self.interfaces.push(interface),
            }
        }
        self.incomplete |= incomplete;
    }
}

impl Interface {
    fn merge(&mut self, later: Self) {
        let Self { name: _, test, standby, datapath, consume_replies, receive_priority } = later;
        self.test.replace_by(test);
        replace(&mut self.standby, standby);
        replace(&mut self.datapath, datapath);
        replace(&mut self.consume_replies, consume_replies);
        replace(&mut self.receive_priority, receive_priority);
    }
}

#[derive(Debug, Default)]
pub(super) struct File {
    pub failure_detection_time: Option<Located<Duration>>,
    pub failback: Option<Located<bool>>,
    pub track_interfaces_only_with_groups: Option<Located<bool>>,
    pub quiet_period: Option<Located<Duration>>,
    pub datapath: Option<Located<Datapath>>,
    pub consume_replies: Option<Located<bool>>,
    pub receive_priority: Option<Located<u32>>,
    pub realtime_priority: Option<Located<Realtime>>,
    pub sysctls: Option<Located<Sysctls>>,
    pub groups: Vec<Group>,
    /// Of the groups that were merged, by name.
    places: BTreeMap<GroupName, usize>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub name: Located<GroupName>,
    pub failure_detection_time: Option<Located<Duration>>,
    pub failback: Option<Located<bool>>,
    pub take_over: Option<Located<TakeOver>>,
    pub egress_redirect: Option<Located<bool>>,
    pub data: List<Located<IpNet>>,
    pub targets: List<Located<IpAddr>>,
    pub routes: List<Route>,
    pub interfaces: Vec<Interface>,
    /// Something in it could not be read, so that what is missing may be only misspelt.
    pub incomplete: bool,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub name: Located<IfName>,
    pub test: List<Located<TestAddress>>,
    pub standby: Option<Located<bool>>,
    pub datapath: Option<Located<Datapath>>,
    pub consume_replies: Option<Located<bool>>,
    pub receive_priority: Option<Located<u32>>,
}

/// A route that has both `to` and `via`, of one family.
#[derive(Debug)]
pub(super) struct Route {
    pub at: At,
    pub to: Located<IpNet>,
    pub via: Located<IpAddr>,
    pub metric: Option<Located<u32>>,
    pub table: Option<Located<u32>>,
    pub src: Option<Located<IpAddr>>,
}
