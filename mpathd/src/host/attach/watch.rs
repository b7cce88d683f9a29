//! Whether a hook that was attached is still there and receives: any program with the rights may detach it,
//! replace it, or go before it in tcx.
//!
//! The sockets hear at once what a hook does not take, so nothing waits for this: it finds what no reply
//! tells of. Each look takes RTNL (link info does, too: `bpf_xdp_link_fill_link_info`), hence one NIC a
//! second, by turns, and never from the fast thread.

use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use aya::programs::TcAttachType;
use mpathd_common::abi::programs;
use mpathd_core::event::{HookLoss, ReceiveMode};
use mpathd_core::ids::Ifindex;
use mpathd_core::message::Severity;
use mpathd_core::time::Instant;

use super::{Attached, Hooks, Kernel, LinkFact, XdpSlot, bpf, kind, pin_name, tcx};
use crate::fast::clock;
use crate::host::outbox::Slow;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What bypassed a hook so soon after it was attached was on its way before.
const NEW: Duration = Duration::from_secs(1);
/// So often in a minute a hook is put before those of other programs.
const OVERTAKEN_AT_MOST: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Watch {
    last: Option<Ifindex>,
    due: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    InPlace,
    Gone,
    /// Other programs see frames before ours.
    Overtaken,
}

/// What a look has found.
#[derive(Clone, Copy, Default)]
pub(in crate::host) struct Found {
    pub(in crate::host) loss: Option<HookLoss>,
    /// It was put before those of other programs, and its sockets are to be opened anew.
    pub(in crate::host) first_again: bool,
    pub(in crate::host) egress_lost: bool,
}

impl Hooks {
    /// When a hook is to be looked at, if there is one.
    pub(in crate::host) fn look_due(&self) -> Option<Instant> {
        let mut attached = self.attached.values();
        attached.any(|it| it.hook.is_some() || it.egress.is_some()).then_some(self.watch.due)
    }

    /// The NIC whose turn it is.
    pub(in crate::host) fn next_to_look_at(&mut self, now: Instant) -> Option<Ifindex> {
        self.look_due().filter(|due| *due <= now)?;
        self.watch.due = now + LOOK_EVERY;
        let with_hooks = |(ifindex, it): (&Ifindex, &Attached)| {
            (it.hook.is_some() || it.egress.is_some()).then_some(*ifindex)
        };
        let after = self.watch.last.map_or(Unbounded, Excluded);
        let mut later = self.attached.range((after, Unbounded)).filter_map(with_hooks);
        let next = later.next().or_else(|| self.attached.iter().find_map(with_hooks));
        self.watch.last = next;
        next
    }

    /// Looks at the hooks of a NIC. `link`: as it is now.
    pub(in crate::host) fn look_at(&mut self, link: &LinkFact, slow: &mut Slow) -> Found {
        let mut found = Found::default();
        let ifindex = link.link.ifindex;
        match self.state(link) {
            Some(State::Gone) => {
                self.drop_hook(ifindex);
                found.loss = Some(HookLoss::Detached);
            }
            Some(State::Overtaken) if self.may_overtake(ifindex) => {
                self.note_overtaken(ifindex);
                if let Err(reason) = self.go_first(link) {
                    let name = link.link.name;
                    let text = format!("{name}: attaching to tcx ingress again failed: {reason}");
                    slow.log(Severity::Warning, text);
                    found.loss = Some(HookLoss::Detached);
                } else {
                    say_overtaken(link, slow);
                    found.first_again = true;
                }
            }
            Some(State::Overtaken | State::InPlace) | None => {}
        }
        if let Some(attached) = self.attached.get_mut(&ifindex)
            && let Some(egress) = &attached.egress
            && bpf::tcx_programs(ifindex, TcAttachType::Egress)
                .is_ok_and(|all| !all.contains(&egress.program))
        {
            attached.egress = None;
            found.egress_lost = true;
        }
        found
    }

    /// Before a hook is attached: takes off what is of no use any more.
    pub(super) fn look_again(&mut self, link: &mut LinkFact, bypassed: bool, slow: &mut Slow) {
        let (ifindex, now) = (link.link.ifindex, clock::now());
        let Some(state) = self.state(link) else { return };
        let Some(Attached { mode, since, .. }) = self.attached.get(&ifindex) else { return };
        let (mode, is_new) = (*mode, now.since(*since) < NEW);
        match state {
            State::Gone => self.drop_hook(ifindex),
            State::Overtaken if self.may_overtake(ifindex) => {
                self.note_overtaken(ifindex);
                self.drop_hook(ifindex);
                say_overtaken(link, slow);
            }
            State::InPlace | State::Overtaken if bypassed && !is_new => {
                let (name, kind) = (link.link.name, kind(mode));
                let why = if state == State::Overtaken {
                    "other programs keep taking frames before it"
                } else {
                    "its hook is in place, but replies bypass it"
                };
                let text = format!("{name}: {kind} is given up until the next reload: {why}");
                slow.log(Severity::Warning, text);
                self.deaf.entry(ifindex).or_default().push(mode);
            }
            State::InPlace | State::Overtaken => {}
        }
    }

    /// Another configuration: what was given up is tried again.
    pub(in crate::host) fn try_all_again(&mut self) {
        self.deaf.clear();
        self.attached.values_mut().for_each(|it| it.overtaken.clear());
    }

    fn may_overtake(&mut self, ifindex: Ifindex) -> bool {
        let now = clock::now();
        self.attached.get_mut(&ifindex).is_some_and(|it| {
            it.overtaken.retain(|at| now.since(*at) < MINUTE);
            it.overtaken.len() < OVERTAKEN_AT_MOST
        })
    }

    fn note_overtaken(&mut self, ifindex: Ifindex) {
        if let Some(attached) = self.attached.get_mut(&ifindex) {
            attached.overtaken.push(clock::now());
        }
    }

    /// tcx takes a program once, so ours is off for a moment; the sockets behind it receive.
    fn go_first(&mut self, link: &LinkFact) -> Result<(), String> {
        let ifindex = link.link.ifindex;
        self.drop_hook(ifindex);
        let Kernel::Ready { bpf, pins } = &mut self.kernel else { return Ok(()) };
        let pin = pins.as_deref().map(|pins| pins.join(pin_name(ReceiveMode::Tcx, ifindex)));
        let hook = tcx(bpf.tcx(programs::TCX)?, TcAttachType::Ingress, pin, link)?;
        if let Some(attached) = self.attached.get_mut(&ifindex) {
            attached.hook = Some(hook);
            attached.since = clock::now();
        }
        Ok(())
    }

    /// `None`: there is no hook.
    fn state(&self, link: &LinkFact) -> Option<State> {
        let attached = self.attached.get(&link.link.ifindex)?;
        let program = attached.hook.as_ref()?.program;
        let native = attached.mode == ReceiveMode::Xdp;
        Some(match attached.mode {
            ReceiveMode::Xdp | ReceiveMode::XdpGeneric => {
                if link.xdp == (XdpSlot { program, native }) { State::InPlace } else { State::Gone }
            }
            ReceiveMode::Tcx => {
                let all = bpf::tcx_programs(link.link.ifindex, TcAttachType::Ingress);
                match all.map(|all| all.iter().position(|id| *id == program)) {
                    Ok(Some(0)) | Err(_) => State::InPlace,
                    Ok(Some(_)) => State::Overtaken,
                    Ok(None) => State::Gone,
                }
            }
            ReceiveMode::Socket => State::InPlace,
        })
    }
}

fn say_overtaken(link: &LinkFact, slow: &mut Slow) {
    let name = link.link.name;
    slow.log(
        Severity::Warning,
        format!(
            "{name}: another program was attached to tcx ingress before the receive hook; the hook is \
             attached as the first one again"
        ),
    );
}
