//! A small host for the tests of the slow side: two NICs, eth0 failed, its address on eth1.

use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpathd_core::config::{Config, Datapath, Group, Member, TestAddress};
use mpathd_core::event::ReceiveMode;
use mpathd_core::histogram::Histogram;
use mpathd_core::ids::{Family, GroupName, IfName, Ifindex};
use mpathd_core::message::{Loss, Reason};
use mpathd_core::time::Instant;
use mpathd_core::view::*;

use super::counts::{Snapshot, TargetCounts};
use super::machine::Seconds;

pub(crate) fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

pub(crate) fn group() -> GroupName {
    GroupName::new("ipmp0").unwrap()
}

pub(crate) fn target(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// A folder of a test's own, gone with it.
pub(crate) struct Dir(PathBuf);

pub(crate) fn dir(test: &str) -> Dir {
    let dir = std::env::temp_dir().join(format!("mpathd-{test}-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    Dir(dir)
}

impl Deref for Dir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

pub(crate) fn config() -> Config {
    let member = |name: &str, test: Option<&str>| Member {
        name: self::name(name),
        standby: false,
        test: [test.map(|t| TestAddress::Static(t.parse().unwrap())), None],
        datapath: Datapath::Auto,
        consume_replies: true,
    };
    Config {
        groups: vec![Group {
            name: group(),
            fdt: Duration::from_millis(100),
            failback: true,
            quiet_period: Duration::from_secs(40),
            data: vec!["192.0.2.50/24".parse().unwrap()],
            targets: vec![target(1), target(2)],
            routes: Vec::new(),
            members: vec![member("eth0", Some("192.0.2.11/24")), member("eth1", None)],
        }],
    }
}

pub(crate) fn view() -> View {
    View {
        at: Instant(1_000_000_000),
        settled: true,
        revision: 0,
        tidied: true,
        waiting_route: None,
        groups: vec![GroupView {
            name: group(),
            state: GroupState::Degraded,
            fdt: Some(Duration::from_millis(100)),
            fdt_requested: Duration::from_millis(100),
            failback: true,
        }],
        interfaces: vec![failed(), healthy()],
        addresses: vec![AddressView {
            address: "192.0.2.50/24".parse().unwrap(),
            group: group(),
            up: true,
            inbound: Some(name("eth1")),
            wanted: None,
            held: None,
            conflict: None,
            refused: None,
        }],
        instances: vec![InstanceView {
            interface: name("eth0"),
            family: Family::Inet,
            mode: TargetMode::Pinned,
            test: Some(target(11)),
            conflict: Some(mpathd_core::ids::Mac([2, 0, 0, 0, 2, 0])),
            interval: Duration::from_micros(16_667),
            rounds_missed: 2,
            loss: Loss { losses_to_fail: 5, silent_ppm: 0 },
            false_failures_per_year: 0.0,
            unwatched: None,
        }],
        targets: vec![row(1, 7, TargetState::Active), row(2, 8, TargetState::Unproven)],
        proven: vec![target(1)],
        lateness: Lateness::default(),
    }
}

/// The picture with counts: 192.0.2.1 has had 95 replies, 3 forged ones and a duplicate.
pub(crate) fn snapshot() -> Snapshot {
    let counts = |last, odd: &[(&str, u64)]| TargetCounts {
        interface: name("eth0"),
        family: Family::Inet,
        target: target(last),
        outcomes: odd
            .iter()
            .chain(&[("reply", 95)])
            .map(|(name, count)| (String::from(*name), *count))
            .collect(),
        rtt_histogram: (0..32).map(|bucket| if bucket == 17 { 95 } else { 0 }).collect(),
    };
    Snapshot {
        view: view(),
        counts: vec![counts(1, &[("forged", 3), ("duplicate", 1)]), counts(2, &[])],
        skips: [("not_ours".to_owned(), 7)].into(),
        note: None,
        not_started: [].into(),
        machine: Seconds { steal: Some(Histogram::default()), ..Seconds::default() },
    }
}

fn row(last: u8, path: u16, state: TargetState) -> TargetView {
    TargetView {
        interface: name("eth0"),
        family: Family::Inet,
        target: target(last),
        state,
        interval: Duration::from_micros(16_667),
        path,
        sent: 100,
        acked: 95,
        lost: 5,
        srtt: 210_000,
        rttvar: 15_000,
        last_reply: Some(Instant(900_000_000)),
    }
}

fn failed() -> InterfaceView {
    InterfaceView {
        name: name("eth0"),
        group: group(),
        ifindex: Some(Ifindex(2)),
        active: false,
        inactive: false,
        standby: false,
        down: false,
        duplicate_mac: false,
        offline: false,
        met: true,
        link: LinkState::Up,
        probe: ProbeState::Failed,
        state: InterfaceState::Failed,
        degraded: [false; 2],
        redirected: [None; 2],
        reason: Some(Reason::Probes),
        since: Instant(950_000_000),
        receive: Some(ReceiveMode::XdpGeneric),
        damped: Some(Duration::from_secs(10)),
    }
}

fn healthy() -> InterfaceView {
    InterfaceView {
        name: name("eth1"),
        ifindex: Some(Ifindex(3)),
        active: true,
        probe: ProbeState::Disabled,
        state: InterfaceState::Ok,
        reason: None,
        receive: None,
        damped: None,
        ..failed()
    }
}
