//! What travels over the control socket. The picture goes out as the `Snapshot` serializes;
//! the types here that nobody makes describe it to a client that asks, and a test holds them
//! against what is sent. Varlink can't name `xdp-generic`, so words with a hyphen are strings.

use std::net::IpAddr;

use mpathd_core::ids::{Family, IfName};
use serde::{Deserialize, Serialize};
use zlink::introspect::{self, CustomType, Type};

use crate::slow::counts::Snapshot;
use crate::slow::events::EventRecord;

pub(crate) const INTERFACE: &str = "org.mpathd.Control";

/// One probe that was answered or given up. Times on CLOCK_MONOTONIC, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRecord {
    pub interface: IfName,
    pub family: Family,
    pub target: IpAddr,
    pub seq: u16,
    pub sent_ns: u64,
    /// Absent when lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_ns: Option<u64>,
    pub processed_ns: u64,
    /// Smoothed round-trip time and mean deviation of the path; 0 = none yet.
    pub srtt_ns: u64,
    pub rttvar_ns: u64,
}

/// Oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<EventRecord>,
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, zlink::ReplyError, introspect::ReplyError)]
#[zlink(interface = "org.mpathd.Control")]
pub(crate) enum ControlError {
    /// Only root, the daemon's own user and this group may change anything.
    PermissionDenied {
        group: String,
    },
    /// Not a member of any group.
    UnknownInterface {
        interface: String,
    },
    /// No other functioning interface is in its group.
    NoRedundancy {
        interface: String,
    },
    AlreadyOffline {
        interface: String,
    },
    NotOffline {
        interface: String,
    },
    /// Another member in service has its MAC.
    DuplicateMac {
        interface: String,
    },
    /// What is wrong with the files, a line each; the old configuration is kept.
    BadConfiguration {
        errors: Vec<String>,
    },
    /// Why this host is not fit for the files; the old configuration is kept.
    NotReloaded {
        reason: String,
    },
    /// The engine has not answered within 5 s.
    NoAnswer,
    /// Somebody else has the places; try later.
    TooManyConnections,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Picture(pub(super) Snapshot);

impl Type for Picture {
    const TYPE: &'static zlink::idl::Type<'static> = described::Picture::TYPE;
}

impl Type for Events {
    const TYPE: &'static zlink::idl::Type<'static> = described::Events::TYPE;
}

impl Type for ProbeRecord {
    const TYPE: &'static zlink::idl::Type<'static> = described::Probe::TYPE;
}

pub(super) mod described {
    #![allow(dead_code, reason = "these types describe, they are never made")]
    use std::collections::BTreeMap;

    use super::{CustomType, Type};

    #[derive(Type)]
    pub(crate) struct Probe {
        interface: String,
        family: Family,
        target: String,
        seq: u16,
        sent_ns: u64,
        received_ns: Option<u64>,
        processed_ns: u64,
        srtt_ns: u64,
        rttvar_ns: u64,
    }

    #[derive(Type)]
    pub(crate) struct Events {
        events: Vec<Event>,
    }

    #[derive(CustomType)]
    pub(crate) struct Event {
        /// Larger than that of the one before.
        seq: u64,
        /// RFC 3339, UTC.
        time: String,
        /// The moment of the decision, CLOCK_MONOTONIC, ns.
        at_ns: u64,
        severity: String,
        event: String,
        group: Option<String>,
        interface: Option<String>,
        reason: Option<String>,
        text: String,
        detail: Option<String>,
    }

    #[derive(Type)]
    pub(crate) struct Picture {
        /// When it was taken, CLOCK_MONOTONIC, ns.
        at: u64,
        settled: bool,
        /// A route that leads where an earlier configuration had it, because its new group cannot carry it.
        waiting_route: Option<WaitingRoute>,
        /// Number of the configuration in force: 0 at the start, one more with each reload.
        revision: u32,
        /// What earlier configurations have left is gone.
        tidied: bool,
        groups: Vec<Group>,
        interfaces: Vec<Interface>,
        addresses: Vec<Address>,
        instances: Vec<Instance>,
        targets: Vec<Target>,
        /// Targets that have answered this host.
        proven: Vec<String>,
        lateness: Lateness,
        counts: Vec<TargetCounts>,
        /// Frames that were no reply to a probe, by reason.
        skips: BTreeMap<String, u64>,
        /// What is to be known of the configuration: on trial, or not what the files say.
        note: Option<String>,
        /// Groups that are configured, but that this host does not let start: name and reason.
        not_started: BTreeMap<String, String>,
        machine: Seconds,
    }

    #[derive(CustomType)]
    pub(crate) struct WaitingRoute {
        to: String,
        /// The group that it should belong to.
        group: String,
        via: Option<String>,
        interface: Option<String>,
        /// Number of routes in this state.
        count: u32,
    }

    #[derive(CustomType)]
    pub(crate) struct Span {
        secs: u64,
        nanos: u32,
    }

    #[derive(CustomType)]
    #[zlink(rename_all = "lowercase")]
    pub(crate) enum Family {
        Inet,
        Inet6,
    }

    #[derive(CustomType)]
    pub(crate) struct Group {
        name: String,
        state: GroupState,
        /// Achieved failure detection time; null while nobody probes.
        fdt: Option<Span>,
        fdt_requested: Span,
        failback: bool,
    }

    #[derive(CustomType)]
    #[zlink(rename_all = "lowercase")]
    pub(crate) enum GroupState {
        Ok,
        Degraded,
        Failed,
    }

    #[derive(CustomType)]
    pub(crate) struct Interface {
        name: String,
        group: String,
        ifindex: Option<u32>,
        active: bool,
        inactive: bool,
        standby: bool,
        down: bool,
        duplicate_mac: bool,
        offline: bool,
        /// Its link has been set up by mpathd once.
        met: bool,
        link: LinkState,
        probe: ProbeState,
        state: InterfaceState,
        /// Families that are dead while the interface is ok: inet, inet6.
        degraded: Vec<bool>,
        /// link, probes, transmit-stuck, removed, offline or duplicate-mac.
        reason: Option<String>,
        /// CLOCK_MONOTONIC, ns.
        since: u64,
        /// xdp, tcx, xdp-generic or socket.
        receive: Option<String>,
        damped: Option<Span>,
        /// Who sends for it until addresses and routes have moved: inet, inet6.
        redirected: Vec<Option<String>>,
    }

    #[derive(CustomType)]
    #[zlink(rename_all = "lowercase")]
    pub(crate) enum LinkState {
        Up,
        Down,
        Unknown,
    }

    #[derive(CustomType)]
    #[zlink(rename_all = "lowercase")]
    pub(crate) enum ProbeState {
        Ok,
        Failed,
        Unknown,
        Disabled,
    }

    #[derive(CustomType)]
    #[zlink(rename_all = "lowercase")]
    pub(crate) enum InterfaceState {
        Ok,
        Failed,
        Unknown,
        Offline,
    }

    #[derive(CustomType)]
    pub(crate) struct Address {
        address: String,
        group: String,
        up: bool,
        inbound: Option<String>,
        wanted: Option<String>,
        held: Option<Span>,
        /// The MAC of another host that has the address too.
        conflict: Option<String>,
        /// The address is on this interface alone, and duplicate address detection has failed.
        refused: Option<String>,
    }

    #[derive(CustomType)]
    pub(crate) struct Instance {
        interface: String,
        family: Family,
        mode: TargetMode,
        test: Option<String>,
        /// The MAC of another host that has the test address too.
        conflict: Option<String>,
        interval: Span,
        rounds_missed: u32,
        loss: Loss,
        /// Expected by chance, from the loss and its bursts.
        false_failures_per_year: f64,
        /// Why no silent failure would be found here: no-test-address, address-conflict, not-attached,
        /// no-target or no-reply; null while it is watched.
        unwatched: Option<String>,
    }

    #[derive(CustomType)]
    pub(crate) struct Loss {
        /// Silent rounds in a row that make a verdict: such as come by chance less than once a year.
        losses_to_fail: u8,
        /// So many rounds in a million are silent.
        silent_ppm: u32,
    }

    #[derive(CustomType)]
    #[zlink(rename_all = "lowercase")]
    pub(crate) enum TargetMode {
        Disabled,
        Pinned,
        Routes,
        Multicast,
        Neighbors,
    }

    #[derive(CustomType)]
    pub(crate) struct Target {
        interface: String,
        family: Family,
        target: String,
        state: TargetState,
        interval: Span,
        path: u16,
        sent: u64,
        acked: u64,
        lost: u64,
        srtt: u64,
        rttvar: u64,
        /// CLOCK_MONOTONIC, ns.
        last_reply: Option<u64>,
    }

    #[derive(CustomType)]
    #[zlink(rename_all = "lowercase")]
    pub(crate) enum TargetState {
        Active,
        Unproven,
        Dead,
        Policed,
    }

    /// The replies of a target since it was found.
    #[derive(CustomType)]
    pub(crate) struct TargetCounts {
        interface: String,
        family: Family,
        target: String,
        /// reply, late, duplicate, forged, stale, wrong_source, wrong_destination, wrong_nic.
        outcomes: BTreeMap<String, u64>,
        /// Element b counts the RTTs of 2^b to 2^(b+1) - 1 ns.
        rtt_histogram: Vec<u64>,
    }

    #[derive(CustomType)]
    pub(crate) struct Lateness {
        max: Span,
        rounds_missed: u64,
        request_max: Span,
        /// From the moment of each wake-up that was asked for to the turn.
        wakes: Histogram,
        /// From the decision to the kernel's answer: requests that set or unset addresses and routes.
        requests: Histogram,
    }

    /// What the machine did to the fast thread, a sample a second; null where the kernel does not tell.
    #[derive(CustomType)]
    pub(crate) struct Seconds {
        steal: Option<Histogram>,
        /// Ready to run while others ran.
        cpu_wait: Option<Histogram>,
        interrupts: Option<Histogram>,
    }

    #[derive(CustomType)]
    pub(crate) struct Histogram {
        /// Element b counts what took 2^b to 2^(b+1) - 1 ns, the last one all from 2.1 s.
        counts: Vec<u64>,
        max: Span,
        /// CLOCK_MONOTONIC, ns.
        max_at: Option<u64>,
    }
}
