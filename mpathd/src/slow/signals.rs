//! The daemon's signals (contract, Binaries).

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Stop,
    Reload,
    Statistics,
}

/// Until somebody handles them, these would end the process: they wait.
///
/// # Errors
/// None that sigprocmask(2) knows of for a valid set.
pub(crate) fn hold() -> io::Result<()> {
    Ok(held().thread_block()?)
}

/// They are handled now, those that waited too.
pub(super) fn release() -> io::Result<()> {
    Ok(held().thread_unblock()?)
}

fn held() -> SigSet {
    [Number::SIGHUP, Number::SIGUSR1].into_iter().collect()
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.user1.recv() => Wish::Statistics,
        }
    }
}
