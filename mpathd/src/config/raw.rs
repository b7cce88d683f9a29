//! One file as it was written: every value with its place, nothing filled in. Drop-ins are merged
//! at this level.

use std::net::IpAddr;
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

#[derive(Debug, Default)]
pub(super) struct File {
    pub failure_detection_time: Option<Located<Duration>>,
    pub failback: Option<Located<bool>>,
    pub track_interfaces_only_with_groups: Option<Located<bool>>,
    pub quiet_period: Option<Located<Duration>>,
    pub datapath: Option<Located<Datapath>>,
    pub consume_replies: Option<Located<bool>>,
    pub realtime_priority: Option<Located<Realtime>>,
    pub sysctls: Option<Located<Sysctls>>,
    pub groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub name: Located<GroupName>,
    pub failure_detection_time: Option<Located<Duration>>,
    pub failback: Option<Located<bool>>,
    pub take_over: Option<Located<TakeOver>>,
    pub data: Vec<Located<IpNet>>,
    pub targets: Vec<Located<IpAddr>>,
    pub routes: Vec<Route>,
    pub interfaces: Vec<Interface>,
    /// Something in it could not be read, so that what is missing may be only misspelt.
    pub incomplete: bool,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub name: Located<IfName>,
    pub test: Vec<Located<TestAddress>>,
    pub standby: Option<Located<bool>>,
    pub datapath: Option<Located<Datapath>>,
    pub consume_replies: Option<Located<bool>>,
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
