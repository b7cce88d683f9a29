//! What the engine wants to exist in the kernel, and what it has seen there: addresses, routes,
//! prepared and attached interfaces. Each has one slot that says whether a request is under way.

use core::net::IpAddr;
use core::time::Duration;

use crate::capacity::Set;
use crate::claim::Claim;
use crate::config::MAX_MEMBERS;
use crate::damping::Moves;
use crate::event::{Hops, ObservedRoute, RouteKey};
use crate::ids::{Family, IfName, Ifindex, IpNet};
use crate::request::{OpId, WantedRoute};
use crate::time::Instant;

/// One data address.
#[derive(Clone, Copy, Debug)]
pub struct DataAddress {
    pub net: IpNet,
    /// Position in the group of the member it is to be on.
    pub holder: Option<usize>,
    /// Members it was seen on, in our form.
    pub on: Set,
    /// Those on which it has the form of a test address, which it was before.
    pub stale_on: Set,
    /// Where it stands without our mark.
    pub foreign: Hops,
    pub moves: Moves,
    /// All that the host has of it has been told.
    pub known: bool,
    /// The member it was on has left the group.
    pub left: Option<IfName>,
    /// Another host that answers for it.
    pub claim: Option<Claim>,
    /// Where it is present and refused by duplicate detection: it is on no member then.
    pub refused: Option<Ifindex>,
    /// The move under way: when it was decided, and from where.
    pub moving: Option<(Instant, Option<IfName>)>,
    /// Position of the member that has announced it ahead of standing there.
    pub heralded: Option<usize>,
}

impl DataAddress {
    pub fn new(net: IpNet) -> Self {
        Self {
            net,
            holder: None,
            on: Set::default(),
            stale_on: Set::default(),
            foreign: Hops::default(),
            moves: Moves::default(),
            known: false,
            left: None,
            claim: None,
            refused: None,
            moving: None,
            heralded: None,
        }
    }

    /// The same address under another configuration of its group. `name`: of the member at a position;
    /// `here`: the position of that member now, if it has stayed.
    pub fn inherited(
        &self,
        net: IpNet,
        name: impl Fn(usize) -> IfName,
        here: impl Fn(IfName) -> Option<usize>,
    ) -> Self {
        let Self {
            net: _,
            holder,
            on,
            stale_on,
            foreign,
            moves,
            known,
            left,
            claim,
            refused,
            moving,
            heralded: _,
        } = *self;
        let now_at = |before: Set| {
            let mut now = Set::default();
            let positions = (0..MAX_MEMBERS).filter(|p| before.contains(*p));
            positions.filter_map(|p| here(name(p))).for_each(|p| now.insert(p));
            now
        };
        let (on, stale_on) = (now_at(on), now_at(stale_on));
        let holder_was = holder.map(&name);
        let holder = holder_was.and_then(here);
        let left = if holder.is_none() { holder_was.or(left) } else { None };
        let heralded = None;
        Self {
            net,
            holder,
            on,
            stale_on,
            foreign,
            moves,
            known,
            left,
            claim,
            refused,
            moving,
            heralded,
        }
    }

    /// It is on no member, and may not be set on one.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some() && self.on.is_empty()
    }

    /// It is where it is to be, and nowhere else.
    pub fn settled(&self) -> bool {
        match self.holder {
            _ if !self.known => false,
            Some(_) if self.is_refused() => true,
            Some(m) => {
                let alone = self.on.contains(m) && self.on.len() == 1;
                alone && self.stale_on.is_empty() && self.foreign.as_slice().is_empty()
            }
            None => self.on.is_empty(),
        }
    }
}

/// One route of ours.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub key: RouteKey,
    /// `None` for the route of a data subnet.
    pub via: Option<IpAddr>,
    /// Configured source.
    pub src: Option<IpAddr>,
    pub observed: Option<ObservedRoute>,
    /// As of the last look at the routes of its group.
    pub wanted: Option<WantedRoute>,
    /// Routes of somebody else go the same way at other metrics.
    pub rivals: bool,
}

impl ObservedRoute {
    /// It is the one that is wanted at its key.
    pub(crate) fn meets(&self, wanted: &WantedRoute) -> bool {
        let Self { key: _, via, src, hops, ours } = *self;
        ours && via == wanted.via && src == Some(wanted.src) && hops == wanted.hops
    }
}

impl Route {
    pub fn family(&self) -> Family {
        self.key.to.family()
    }
}

/// What a slot is for. Members, addresses and routes by their place in the engine's tables; the
/// member of `Data` by its position in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Prepare(usize),
    Test(usize, Family),
    Data(usize, usize),
    Route(usize),
    Attach(usize),
    Transmits(usize),
    /// Hosts to be probed where no router is known.
    Search(usize, Family),
    /// What an earlier configuration has left.
    Unconfigured,
    /// A data address where it is not ours.
    TakeData(usize),
    /// A test address likewise.
    TakeTest(usize, Family),
    /// Routes of somebody else that go where one of ours goes.
    TakeRoute(usize),
}

/// At most one request per resource is under way; after failures the pause doubles.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub what: Resource,
    serial: u16,
    in_flight: Option<OpId>,
    /// Acknowledged, but not observed yet: a slow notice must not cause a second request.
    awaits_notice_until: Instant,
    /// The notice came before the acknowledgement.
    told: bool,
    failures: u8,
    pub not_before: Instant,
    /// Repairs of somebody else's changes, newest first, at most one in [`DRIFT_INCIDENT`] (O17).
    drifts: [Option<Instant>; 7],
    /// More of them since the newest of those.
    drifts_since: u8,
    /// The newest of all.
    drifted_at: Option<Instant>,
    /// A repair that has not been told yet, and whether it was held back: told when it has succeeded.
    drift_untold: Option<bool>,
    /// `not_before` is for the sake of somebody else, who insists.
    held: bool,
    /// What it is to take over was taken once: who sets it again undoes that.
    pub taken: bool,
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Notices come within 0.3 ms (A 1.5); after this the request is made again.
const NOTICE_WITHIN: Duration = Duration::from_millis(500);
const DRIFT_WINDOW: Duration = Duration::from_secs(60);
/// A network manager that restarts can remove one address several times in this time. That counts as one change.
const DRIFT_INCIDENT: Duration = Duration::from_secs(1);
/// Pauses before the second and third repair within an incident. The next repair waits for the end of the incident.
const INCIDENT_PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];
/// Incidents in [`DRIFT_WINDOW`] that are repaired without a pause.
const DRIFTS_AT_ONCE: usize = 3;
/// Pause before the next repair; it doubles with each incident.
const FIRST_DRIFT_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_DRIFT_PAUSE: Duration = Duration::from_secs(10);
/// The same where the change leads traffic into a dead NIC.
const HARMFUL_DRIFT_PAUSE: Duration = Duration::from_millis(100);

impl Slot {
    pub fn new(what: Resource) -> Self {
        Self {
            what,
            serial: 0,
            in_flight: None,
            awaits_notice_until: Instant(0),
            told: false,
            failures: 0,
            not_before: Instant(0),
            drifts: [None; 7],
            drifts_since: 0,
            drifted_at: None,
            drift_untold: None,
            held: false,
            taken: false,
        }
    }

    pub fn ready(&self, now: Instant) -> bool {
        self.in_flight.is_none() && self.not_before <= now && self.awaits_notice_until <= now
    }

    pub fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub fn serial(&self) -> u16 {
        self.serial
    }

    /// Goes on from the slot of the same resource under another configuration. A number that is still
    /// to be answered is not given again: `serial` is the highest of all that were.
    pub fn inherit(&mut self, before: Option<&Self>, serial: u16) {
        let what = self.what;
        *self = Self { what, serial, ..before.copied().unwrap_or(*self) };
    }

    /// Whether this is the request under way.
    pub fn waits_for(&self, op: OpId) -> bool {
        self.in_flight == Some(op)
    }

    /// Marks a request as under way; its number names slot and serial.
    pub fn begin(&mut self, index: usize) -> OpId {
        self.serial = self.serial.wrapping_add(1);
        let op = OpId(index as u32 | u32::from(self.serial) << 16);
        self.in_flight = Some(op);
        self.told = false;
        op
    }

    /// It is answered. `succeeded`: a notice is to follow.
    pub fn end(&mut self, succeeded: bool, now: Instant) {
        self.in_flight = None;
        if succeeded {
            self.failures = 0;
            self.awaits_notice_until = if self.told { now } else { now + NOTICE_WITHIN };
        } else {
            let pause = FIRST_PAUSE * (1u32 << self.failures.min(10));
            self.failures = self.failures.saturating_add(1);
            self.not_before = now + pause.min(LONGEST_PAUSE);
        }
    }

    /// The kernel has told what became of it.
    pub fn noticed(&mut self) {
        self.told = true;
        self.awaits_notice_until = Instant(0);
    }

    /// First failure in a row: worth a line in the log.
    pub fn failed_once(&self) -> bool {
        self.failures == 1
    }

    /// Another program removed or changed it. Three times in a minute it is repaired without a pause, then after
    /// pauses that grow from one second to ten.
    pub fn drifted(&mut self, now: Instant) {
        self.drifted_at = Some(now);
        if let Some(began) = self.drifts[0].filter(|at| now.since(*at) < DRIFT_INCIDENT) {
            let pause = INCIDENT_PAUSES.get(usize::from(self.drifts_since));
            let until = pause.map_or(began + DRIFT_INCIDENT, |pause| now + *pause);
            self.not_before = self.not_before.max(until);
            self.drifts_since = self.drifts_since.saturating_add(1);
            return;
        }
        let recent =
            self.drifts.iter().flatten().filter(|at| now.since(**at) < DRIFT_WINDOW).count();
        self.held = recent >= DRIFTS_AT_ONCE;
        if self.held {
            let pause = FIRST_DRIFT_PAUSE * (1u32 << (recent - DRIFTS_AT_ONCE));
            self.not_before = now + pause.min(LONGEST_DRIFT_PAUSE);
        }
        self.drifts.rotate_right(1);
        self.drifts[0] = Some(now);
        self.drifts_since = 0;
        self.drift_untold = Some(self.held);
    }

    /// A repair waits for the sake of somebody else, who insists.
    pub fn held(&self) -> bool {
        self.held
    }

    /// Something else is wanted now, and that is not to wait for whoever fought over what was.
    pub fn release(&mut self) {
        let within_incident = core::mem::take(&mut self.drifts_since) > 0;
        if core::mem::take(&mut self.held) || within_incident {
            self.not_before = Instant(0);
        }
    }

    /// What it waits with does harm: it waits for no longer than keeps two programs from undoing each
    /// other's work without end, and says nothing more of it.
    pub fn hasten(&mut self) {
        let Some(drifted) = self.drifted_at else { return };
        if self.held || self.drifts_since > 0 {
            self.not_before = self.not_before.min(drifted + HARMFUL_DRIFT_PAUSE);
            self.drift_untold = None;
        }
    }

    /// Whether what was just done put right somebody else's change, and if so, whether that had to
    /// wait.
    pub fn take_drift(&mut self) -> Option<bool> {
        self.drift_untold.take()
    }

    /// The reason for its failures has gone or is known: nobody else's doing, and no pause.
    pub fn forgive(&mut self) {
        (self.drift_untold, self.failures, self.not_before) = (None, 0, Instant(0));
    }

    /// When a pause ends.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let at = self.not_before.max(self.awaits_notice_until);
        (self.in_flight.is_none() && at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1_000_000_000_000);

    #[test]
    fn an_address_on_two_nics_is_not_where_it_should_be() {
        let mut address = DataAddress::new("192.0.2.50/24".parse().unwrap());
        (address.holder, address.known) = (Some(1), true);
        assert!(!address.settled());
        address.on.insert(1);
        assert!(address.settled());
        address.on.insert(0);
        assert!(!address.settled(), "the old place is still to be cleared");
    }

    /// The kernel's notice can come after its acknowledgement.
    #[test]
    fn a_request_is_not_repeated_while_its_notice_is_awaited() {
        let mut slot = Slot::new(Resource::Prepare(0));
        assert!(slot.ready(NOW));
        slot.begin(0);
        assert!(!slot.ready(NOW));
        slot.end(true, NOW);
        assert!(!slot.ready(NOW), "acknowledged, not observed");
        assert_eq!(slot.wake_at(NOW), Some(NOW + NOTICE_WITHIN));
        assert!(slot.ready(NOW + NOTICE_WITHIN), "the notice was lost");
        slot.noticed();
        assert!(slot.ready(NOW));
    }

    #[test]
    fn a_notice_that_comes_first_is_not_awaited_again() {
        let mut slot = Slot::new(Resource::Prepare(0));
        slot.begin(0);
        slot.noticed();
        slot.end(true, NOW);
        assert!(slot.ready(NOW));
    }

    #[test]
    fn pauses_double_after_failures_in_a_row_up_to_ten_seconds() {
        let mut slot = Slot::new(Resource::Prepare(0));
        for n in 0..20 {
            slot.begin(0);
            slot.end(false, NOW);
            let pause = (FIRST_PAUSE * (1 << n.min(10))).min(LONGEST_PAUSE);
            assert_eq!(slot.wake_at(NOW), Some(NOW + pause), "failure {n}");
            assert_eq!(slot.failed_once(), n == 0);
        }
        slot.begin(0);
        slot.end(true, NOW);
        slot.begin(0);
        slot.end(false, NOW);
        assert_eq!(slot.wake_at(NOW), Some(NOW + NOTICE_WITHIN), "one success ends the row");
        assert!(slot.failed_once());
    }

    #[test]
    fn repairs_of_one_minute_wait_longer_each_time() {
        let mut slot = Slot::new(Resource::Prepare(0));
        let second = Duration::from_secs(1);
        for n in 0..3 {
            slot.drifted(NOW + second * n);
            assert!(!slot.held() && slot.ready(NOW + second * n), "repair {n}");
            assert_eq!(slot.take_drift(), Some(false));
            assert_eq!(slot.take_drift(), None);
        }
        let mut now = NOW + second * 3;
        for pause in [1, 2, 4, 8, 10, 10] {
            slot.drifted(now);
            assert!(slot.held());
            assert_eq!(slot.take_drift(), Some(true));
            assert_eq!(slot.wake_at(now), Some(now + second * pause));
            now = now + second * pause;
        }
        slot.drifted(now);
        slot.release();
        assert!(!slot.held() && slot.ready(now), "something else is wanted");

        let mut slot = Slot::new(Resource::Prepare(0));
        (0..3).for_each(|n| slot.drifted(NOW + second * n));
        slot.drifted(NOW + DRIFT_WINDOW);
        assert!(!slot.held(), "the first one was a minute ago");
    }

    /// A network manager that restarts flushes an address two or three times within milliseconds.
    #[test]
    fn changes_within_a_second_are_one_change() {
        let mut slot = Slot::new(Resource::Prepare(0));
        let mut now = NOW;
        slot.drifted(now);
        assert!(slot.ready(now) && slot.take_drift() == Some(false));
        for pause in [10, 100, 890] {
            slot.drifted(now);
            let until = now + Duration::from_millis(pause);
            assert_eq!((slot.held(), slot.wake_at(now)), (false, Some(until)));
            assert_eq!(slot.take_drift(), None, "it has been told");
            now = until;
        }
        slot.drifted(NOW + DRIFT_INCIDENT);
        assert!(!slot.held(), "the second one");
    }

    #[test]
    fn the_number_of_a_request_names_its_slot_and_is_not_given_twice() {
        let mut slot = Slot::new(Resource::Prepare(0));
        let first = slot.begin(7);
        assert!(slot.waits_for(first) && slot.in_flight());
        slot.end(true, NOW);
        assert!(!slot.waits_for(first) && !slot.in_flight());
        let second = slot.begin(7);
        assert_ne!(first, second);
        assert_eq!([first, second].map(|op| op.0 & 0xffff), [7; 2]);

        let mut heir = Slot::new(Resource::Prepare(0));
        heir.inherit(None, 9);
        assert_eq!(heir.begin(7), OpId(7 | 10 << 16));
    }
}
