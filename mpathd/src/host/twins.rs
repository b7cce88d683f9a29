//! Asks whether another host has an address of ours too: soon after it was set, and now and then
//! (RFC 5227 2.1.1; RFC 4862 5.4). What the answers come to is decided by [`super::claims`].

use std::net::IpAddr;
use std::time::Duration;

use mpathd_core::ids::Ifindex;
use mpathd_core::message::Severity;
use mpathd_core::time::Instant;

use super::Host;
use crate::fast::clock;
use crate::messages::ToFast;

const EVERY: Duration = Duration::from_secs(20);
/// The addresses that are set together are asked for together.
const SOON: Duration = Duration::from_millis(100);

/// When it is asked next.
pub(super) struct Twins(Option<Instant>);

impl Twins {
    pub(super) fn new() -> Self {
        Self(None)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.0
    }

    pub(super) fn ask_soon(&mut self) {
        self.0 = Some(clock::now() + SOON);
    }

    pub(super) fn ask_if_never(&mut self) {
        if self.0.is_none() {
            self.ask_soon();
        }
    }
}

impl Host {
    pub(super) fn ask_for_twins(&mut self) {
        let now = clock::now();
        let Self { monitor, fast, claims, .. } = self;
        if claims.due().is_some_and(|due| due <= now) {
            claims.receive(&monitor.mirror);
            let tell = |event| fast.push(ToFast::Event(event));
            let again = claims.conclude(&monitor.mirror, now, tell);
            again.into_iter().for_each(|at| self.ask_for_twin(at, now));
        }
        if self.twins.due().is_none_or(|due| now < due) {
            return;
        }
        self.twins.0 = Some(now + EVERY);
        let addresses = self.claims.next(&self.monitor.mirror);
        let outcome = self.claims.listen(&self.monitor.mirror);
        addresses.into_iter().for_each(|at| self.ask_for_twin(at, now));
        if self.claims.is_behind(&self.monitor.mirror) {
            self.twins.ask_soon();
        }
        if let Err(error) = outcome {
            let text = format!("no socket to hear who else has an address of ours: {error}");
            self.slow.log(Severity::Warning, text);
        }
    }

    fn ask_for_twin(&mut self, at: (Ifindex, IpAddr), now: Instant) {
        let random = self.searcher.random();
        let Some(link) = self.monitor.mirror.link(at.0) else { return };
        for address in self.claims.ask(at, now, random) {
            // What did not leave is asked again.
            match self.announcer.ask_for_twin(link, address) {
                Ok(()) | Err(_) => {}
            }
        }
    }
}
