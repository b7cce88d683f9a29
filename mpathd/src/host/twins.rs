//! Asks whether another host has an address of ours too: soon after it was set, and now and then
//! (RFC 5227 2.1.1; RFC 4862 5.4). Who has a test address answers to the receive socket of the fast
//! thread, who has a data address to [`super::claims`].

use std::time::Duration;

use mpathd_core::message::Severity;
use mpathd_core::request::Role;
use mpathd_core::time::Instant;

use super::Host;
use crate::fast::clock;
use crate::messages::{OWN_MACS, ToFast};

const EVERY: Duration = Duration::from_secs(20);
/// The receive socket is open by then.
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
        if self.twins.due().is_none_or(|due| now < due) {
            return;
        }
        self.twins.0 = Some(now + EVERY);
        let Self { monitor, announcer, fast, claims, twins, slow, .. } = self;
        let mut own = [[0; 6]; OWN_MACS];
        own.iter_mut().zip(monitor.mirror.macs()).for_each(|(place, mac)| *place = mac);
        fast.push(ToFast::OwnMacs(own));
        // Known before the first answer comes.
        if !fast.flush() {
            return self.twins.ask_soon();
        }
        let tests = monitor.mirror.vouched().filter(|(_, _, role)| *role == Role::Test);
        let tests = tests.map(|(ifindex, net, _)| (ifindex, net.address));
        let (data, outcome) = claims.next(&monitor.mirror, now);
        for (ifindex, address) in tests.chain(data) {
            let Some(link) = monitor.mirror.link(ifindex).filter(|link| link.link.running) else {
                continue;
            };
            // What did not leave is asked again.
            match announcer.ask_for_twin(link, address) {
                Ok(()) | Err(_) => {}
            }
        }
        if claims.is_behind(&monitor.mirror) {
            twins.ask_soon();
        }
        if let Err(error) = outcome {
            let text = format!("no socket to hear who else has a data address: {error}");
            slow.log(Severity::Warning, text);
        }
    }
}
