//! Pictures like the samples of behaviour file 7, and daemons that show them.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use mpathd::cli::daemon::{
    Daemon, EventRecord, Events, Failure, ProbeRecord, Seconds, Snapshot, TargetCounts,
};
use mpathd_core::event::ReceiveMode;
use mpathd_core::histogram::Histogram;
use mpathd_core::ids::{Family, GroupName, IfName, Ifindex};
use mpathd_core::message::{Loss, Reason, Unwatched};
use mpathd_core::request::CommandError;
use mpathd_core::time::Instant;
use mpathd_core::view::*;

pub(crate) fn ifname(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn group_name(name: &str) -> GroupName {
    if name.is_empty() { GroupName::ANONYMOUS } else { GroupName::new(name).unwrap() }
}

fn group(name: &str, state: GroupState, fdt_ms: Option<u64>) -> GroupView {
    GroupView {
        name: group_name(name),
        state,
        fdt: fdt_ms.map(Duration::from_millis),
        fdt_requested: Duration::from_secs(10),
        failback: true,
    }
}

/// One that is well and carries data.
fn interface(name: &str, group: &str) -> InterfaceView {
    InterfaceView {
        name: ifname(name),
        group: group_name(group),
        ifindex: Some(Ifindex(7)),
        active: true,
        inactive: false,
        standby: false,
        down: false,
        duplicate_mac: false,
        offline: false,
        met: true,
        link: LinkState::Up,
        probe: ProbeState::Ok,
        state: InterfaceState::Ok,
        degraded: [false; 2],
        redirected: [None; 2],
        reason: None,
        since: Instant(1_000_000_000),
        receive: Some(ReceiveMode::XdpGeneric),
        damped: None,
    }
}

fn data(net: &str, group: &str, inbound: Option<&str>) -> AddressView {
    AddressView {
        address: net.parse().unwrap(),
        group: group_name(group),
        up: true,
        inbound: inbound.map(ifname),
        wanted: None,
        held: None,
        conflict: None,
        refused: None,
    }
}

fn instance(interface: &str, mode: TargetMode, test: Option<&str>) -> InstanceView {
    let test = test.map(address);
    InstanceView {
        interface: ifname(interface),
        family: test.map_or(Family::Inet, Family::of),
        mode,
        test,
        conflict: None,
        interval: Duration::from_micros(1_666_667),
        rounds_missed: 3,
        loss: Loss { losses_to_fail: 7, silent_ppm: 48_700 },
        false_failures_per_year: 0.5,
        unwatched: None,
    }
}

fn target(interface: &str, target: &str, state: TargetState) -> TargetView {
    TargetView {
        interface: ifname(interface),
        family: Family::of(address(target)),
        target: address(target),
        state,
        interval: Duration::from_micros(1_666_667),
        path: 4,
        sent: 100,
        acked: 98,
        lost: 2,
        srtt: 760_000,
        rttvar: 40_000,
        last_reply: Some(Instant(59_000_000_000)),
    }
}

/// The daemon met these in this order; lists show the newest first.
pub(crate) fn view() -> View {
    let failed = InterfaceView {
        active: false,
        link: LinkState::Down,
        state: InterfaceState::Failed,
        reason: Some(Reason::Link),
        damped: Some(Duration::from_millis(59_200)),
        redirected: [Some(ifname("fops0")); 2],
        ..interface("fops1", "field2")
    };
    let spare = InterfaceView {
        active: false,
        inactive: true,
        standby: true,
        ..interface("fops2", "field2")
    };
    let offline = InterfaceView {
        active: false,
        down: true,
        link: LinkState::Unknown,
        probe: ProbeState::Disabled,
        state: InterfaceState::Offline,
        reason: Some(Reason::Offline),
        ..interface("hme0", "acctg1")
    };
    let twin = InterfaceView {
        active: false,
        duplicate_mac: true,
        probe: ProbeState::Unknown,
        state: InterfaceState::Unknown,
        receive: None,
        ..interface("hme1", "acctg1")
    };
    View {
        at: Instant(60_000_000_000),
        settled: true,
        waiting_route: None,
        revision: 0,
        tidied: true,
        proven: Vec::new(),
        groups: vec![
            group("field2", GroupState::Degraded, Some(20_000)),
            group("acctg1", GroupState::Failed, None),
            group("itops0", GroupState::Ok, Some(104)),
        ],
        interfaces: vec![
            failed,
            spare,
            InterfaceView { degraded: [false, true], ..interface("fops3", "field2") },
            interface("fops0", "field2"),
            twin,
            offline,
            interface("net1", "itops0"),
            interface("net0", "itops0"),
        ],
        addresses: vec![
            AddressView { up: false, ..data("128.0.0.102/24", "field2", Some("fops0")) },
            data("192.0.0.100/24", "acctg1", None),
            data("192.168.10.10/24", "itops0", Some("net0")),
            AddressView { up: false, ..data("192.168.10.10/24", "itops0", None) },
            AddressView {
                wanted: Some(ifname("net0")),
                ..data("2001:db8::10/64", "itops0", Some("net1"))
            },
            data("192.168.99.10/24", "itops0", Some("net1")),
        ],
        instances: vec![
            instance("net0", TargetMode::Pinned, Some("192.168.10.30")),
            instance("net1", TargetMode::Multicast, Some("fe80::31")),
            instance("net1", TargetMode::Routes, Some("192.168.10.31")),
            instance("fops0", TargetMode::Disabled, None),
        ],
        targets: vec![
            target("net0", "192.168.10.1", TargetState::Active),
            target("net0", "192.168.10.9", TargetState::Unproven),
            target("net0", "192.168.10.3", TargetState::Active),
            target("net1", "192.168.10.1", TargetState::Dead),
            target("net1", "fe80::1", TargetState::Active),
        ],
        lateness: Lateness {
            max: Duration::from_micros(1500),
            rounds_missed: 3,
            request_max: Duration::from_millis(2),
            wakes: delays(&[(2_990, 100), (10, 1500)]),
            requests: delays(&[(2, 2000)]),
        },
    }
}

/// The daemon can tell of one target what became of the replies.
fn snapshot() -> Snapshot {
    let counts = TargetCounts {
        interface: ifname("net0"),
        family: Family::Inet,
        target: address("192.168.10.9"),
        outcomes: [("forged".to_owned(), 2), ("reply".to_owned(), 98)].into(),
        rtt_histogram: vec![0, 98],
    };
    Snapshot {
        view: view(),
        counts: vec![counts],
        skips: [("not_ours".to_owned(), 7)].into(),
        note: None,
        not_started: [].into(),
        machine: Seconds {
            steal: Some(delays(&[(3, 0), (1, 40_000)])),
            cpu_wait: Some(delays(&[(4, 300)])),
            interrupts: None,
        },
    }
}

/// So many of so many us each, the last one two seconds before the picture.
fn delays(all: &[(u32, u64)]) -> Histogram {
    let mut histogram = Histogram::default();
    for (count, us) in all {
        (0..*count)
            .for_each(|_| histogram.record(Duration::from_micros(*us), Instant(58_000_000_000)));
    }
    histogram
}

pub(crate) fn record(seq: u16, received_ns: Option<u64>) -> ProbeRecord {
    ProbeRecord {
        interface: ifname("net0"),
        family: Family::Inet,
        target: address("192.168.10.1"),
        seq,
        sent_ns: 5_110_000_000,
        received_ns,
        processed_ns: 5_110_760_000,
        srtt_ns: 755_000,
        rttvar_ns: 40_000,
    }
}

/// Shows [`view`] and three probes; knows the interfaces that the tests of `if_mpadm` name.
pub(crate) struct Lab;

impl Daemon for Lab {
    fn connect(_: &Path) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        Ok(snapshot())
    }

    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure> {
        let early = ProbeRecord { sent_ns: 4_900_000_000, srtt_ns: 0, ..record(65535, None) };
        Ok([record(589, Some(5_110_510_000)), record(590, None), early].into_iter().map(Ok))
    }

    fn events(self, follow: bool) -> Result<Events, Failure> {
        let known = Some("net0".to_owned());
        let failed = EventRecord {
            seq: 41,
            time: "2026-11-28T03:14:15.926Z".into(),
            at_ns: 5_000_000_000,
            severity: "err".into(),
            event: "interface-failed".into(),
            group: Some("ipmp0".into()),
            interface: known.clone(),
            reason: Some("probes".into()),
            text: "IP interface failure detected on net0 of group ipmp0".into(),
            detail: Some("probes: 3 of 3 targets silent".into()),
        };
        let repaired = EventRecord {
            seq: 43,
            severity: "notice".into(),
            event: "interface-repaired".into(),
            reason: None,
            detail: None,
            text: "IP interface repair detected on net0 of group ipmp0".into(),
            ..failed.clone()
        };
        let all = [failed, repaired];
        Ok(Box::new(all.into_iter().take(if follow { 2 } else { 1 }).map(Ok)))
    }

    fn offline(&mut self, interface: IfName) -> Result<(), Failure> {
        match interface.as_str() {
            "net0" => Ok(()),
            "net1" => Err(Failure::Refused(CommandError::NoRedundancy)),
            "hme0" => Err(Failure::Refused(CommandError::AlreadyOffline)),
            _ => Err(Failure::Refused(CommandError::UnknownInterface)),
        }
    }

    fn online(&mut self, interface: IfName) -> Result<(), Failure> {
        match interface.as_str() {
            "hme0" => Ok(()),
            "net1" => Err(Failure::Other("permission denied (group mpathd)".into())),
            _ => Err(Failure::Refused(CommandError::NotOffline)),
        }
    }
}

/// [`Lab`], but no target of net0 has ever answered.
pub(crate) struct Blind;

impl Daemon for Blind {
    fn connect(_: &Path) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        let mut snapshot = snapshot();
        snapshot.view.instances[0].unwatched = Some(Unwatched::NoReply);
        Ok(snapshot)
    }

    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure> {
        Lab.probes()
    }

    fn events(self, follow: bool) -> Result<Events, Failure> {
        Lab.events(follow)
    }

    fn offline(&mut self, interface: IfName) -> Result<(), Failure> {
        Lab.offline(interface)
    }

    fn online(&mut self, interface: IfName) -> Result<(), Failure> {
        Lab.online(interface)
    }
}

/// Has no groups; breaks when probes are asked for.
pub(crate) struct Idle;

impl Daemon for Idle {
    fn connect(_: &Path) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        Ok(Snapshot::default())
    }

    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure> {
        Err::<std::iter::Empty<_>, _>(Failure::Other("no probes here".into()))
    }

    fn events(self, _: bool) -> Result<Events, Failure> {
        Ok(Box::new(std::iter::empty()))
    }

    fn offline(&mut self, _: IfName) -> Result<(), Failure> {
        Err(Failure::Refused(CommandError::UnknownInterface))
    }

    fn online(&mut self, _: IfName) -> Result<(), Failure> {
        Err(Failure::Refused(CommandError::UnknownInterface))
    }
}

/// Could not start its group; else as [`Idle`].
pub(crate) struct Refused;

impl Daemon for Refused {
    fn connect(_: &Path) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        let why = "group ipmp9 can't start: 192.0.2.9/24 on net0 has a lifetime".to_owned();
        Ok(Snapshot { not_started: [("ipmp9".to_owned(), why)].into(), ..Snapshot::default() })
    }

    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure> {
        Idle.probes()
    }

    fn events(self, _: bool) -> Result<Events, Failure> {
        Ok(Box::new(std::iter::empty()))
    }

    fn offline(&mut self, interface: IfName) -> Result<(), Failure> {
        Idle.offline(interface)
    }

    fn online(&mut self, interface: IfName) -> Result<(), Failure> {
        Idle.online(interface)
    }
}

/// Is not there.
pub(crate) enum Absent {}

impl Daemon for Absent {
    fn connect(run_dir: &Path) -> Result<Self, Failure> {
        let path = run_dir.join("mpathd.sock");
        let text = format!("cannot contact mpathd(8) at {} -- is it running?", path.display());
        Err(Failure::Other(text))
    }

    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        match *self {}
    }

    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure> {
        Err::<std::iter::Empty<_>, _>(Failure::Other("nobody to ask".into()))
    }

    fn events(self, _: bool) -> Result<Events, Failure> {
        Ok(Box::new(std::iter::empty()))
    }

    fn offline(&mut self, _: IfName) -> Result<(), Failure> {
        match *self {}
    }

    fn online(&mut self, _: IfName) -> Result<(), Failure> {
        match *self {}
    }
}

/// Watches interfaces outside of groups only.
pub(crate) struct Ungrouped;

impl Daemon for Ungrouped {
    fn connect(_: &Path) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        let mut snapshot = snapshot();
        snapshot.view = View {
            groups: vec![group("", GroupState::Ok, Some(10_000))],
            interfaces: vec![interface("net9", "")],
            ..View::default()
        };
        Ok(snapshot)
    }

    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure> {
        Ok(std::iter::empty())
    }

    fn events(self, _: bool) -> Result<Events, Failure> {
        Ok(Box::new(std::iter::empty()))
    }

    fn offline(&mut self, _: IfName) -> Result<(), Failure> {
        Ok(())
    }

    fn online(&mut self, _: IfName) -> Result<(), Failure> {
        Ok(())
    }
}
