//! The egress program, where a group wants it (`egress_redirect`): beside the receive hook, on NICs that
//! are probed only, for the fast thread announces by their sockets.

use aya::programs::TcAttachType;
use mpathd_common::abi::{REDIRECT_NICS, programs};
use mpathd_core::ids::Ifindex;
use mpathd_core::message::Severity;

use super::{Hook, Hooks, Kernel, LinkFact, tcx, unpin};
use crate::host::outbox::{Fast, Slow};
use crate::host::pins;
use crate::messages::ToFast;

/// Begins the name of its pin.
pub(super) const PIN: &str = "egress-";

pub(super) fn pin_name(ifindex: Ifindex) -> String {
    format!("{PIN}{}", ifindex.0)
}

impl Hooks {
    /// Has the egress program stand on a NIC, or not; whether it does, if that was in question.
    pub(in crate::host) fn redirect_egress(
        &mut self,
        link: &LinkFact,
        wanted: bool,
        fast: &mut Fast,
        slow: &mut Slow,
    ) -> Option<bool> {
        let ifindex = link.link.ifindex;
        let stands = self.attached.get(&ifindex)?.egress.is_some();
        if !wanted {
            self.take_off(ifindex);
            return stands.then_some(false);
        }
        if !stands {
            let egress = self.attach_egress(link, fast).inspect_err(|reason| {
                let name = link.link.name;
                slow.log(Severity::Warning, format!("{name}: no egress_redirect: {reason}"));
            });
            self.attached.get_mut(&ifindex)?.egress = egress.ok();
        }
        Some(self.attached.get(&ifindex)?.egress.is_some())
    }

    /// Also what an earlier daemon has left, who had another configuration.
    fn take_off(&mut self, ifindex: Ifindex) {
        if let Some(attached) = self.attached.get_mut(&ifindex) {
            attached.egress = None;
        }
        if let Some(pins) = pins::present(&self.bpffs) {
            unpin(&pins.join(pin_name(ifindex)));
        }
    }

    fn attach_egress(&mut self, link: &LinkFact, fast: &mut Fast) -> Result<Hook, String> {
        let ifindex = link.link.ifindex;
        let shares = |other: &Ifindex| {
            *other != ifindex && other.0 % REDIRECT_NICS == ifindex.0 % REDIRECT_NICS
        };
        let with_egress = self.attached.iter().filter(|(_, it)| it.egress.is_some());
        if let Some((other, _)) = with_egress.into_iter().find(|(other, _)| shares(other)) {
            return Err(format!(
                "its index {} and that of another member, {}, differ by a multiple of {REDIRECT_NICS}",
                ifindex.0, other.0
            ));
        }
        let Kernel::Ready { bpf, pins } = &mut self.kernel else {
            return Err("there is no kernel program".to_owned());
        };
        let pin = pins.as_deref().map(|pins| pins.join(pin_name(ifindex)));
        if !self.redirects {
            fast.push(ToFast::Redirects(bpf.redirects()?));
            self.redirects = true;
        }
        tcx(bpf.tcx(programs::EGRESS)?, TcAttachType::Egress, pin, link)
    }
}
