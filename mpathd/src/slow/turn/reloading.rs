//! The course of a reload: the files are read and the host is looked at; both threads are told to
//! stop; when they have, they are started anew on the new configuration and adopt what stands, so
//! nothing moves; it is answered when the new engine has settled. Until the threads are stopped
//! nothing is lost by a refusal.

use std::time::Duration;

use mpathd_core::message::Severity;
use mpathd_core::time::Instant;

use super::{Stopping, Turn};
use crate::slow::reload::{Asked, NotReloaded, Plan, Reloaded};
use crate::slow::{RunError, STOP_WITHIN, now, systemd};

/// It is answered then at the latest, with what is missing.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// A daemon without groups touches nothing (contract, Configuration).
const LAST_GROUP: &str = "no group is left, so nothing was taken away: when mpathd has stopped, \
                          `mpathd release` does";

/// A reload under way.
pub(super) struct Reloading {
    plan: Plan,
    asked: Asked,
    begun: Instant,
    phase: Phase,
}

enum Phase {
    /// Both threads are to stop.
    Stopping(Stopping),
    /// They run again.
    Settling,
}

impl Turn<'_> {
    /// One at a time; and who is to end does not begin anew.
    pub(in crate::slow) fn may_reload(&self) -> bool {
        self.reloading.is_none() && self.stopping.is_none()
    }

    pub(in crate::slow) fn begin_reload(&mut self, asked: Asked) {
        match self.reload.prepare(self.keeper.state()) {
            Err(why) => {
                match &why {
                    NotReloaded::Configuration(lines) => lines.iter().for_each(|line| {
                        self.log.line(Severity::Error, format!("reload: {line}"));
                    }),
                    NotReloaded::Refused(text) => {
                        self.log.line(Severity::Error, format!("reload: {text}"));
                    }
                }
                self.log.line(Severity::Error, "reload: the old configuration is kept");
                asked.answer(Err(why));
            }
            Ok(plan) if plan.changes.is_empty() => {
                self.log.line(Severity::Notice, "reload: nothing changed");
                let missing = (!plan.refused.is_empty()).then(|| plan.refused.join("; "));
                asked.answer(Ok(Reloaded { changes: plan.changes, missing }));
            }
            Ok(plan) => {
                for line in &plan.refused {
                    self.log.line(Severity::Error, format!("reload: {line}"));
                }
                // Before anything is taken over: how it was must not be lost with us.
                plan.taken.iter().for_each(|taken| self.keeper.taken(taken.clone()));
                self.save();
                for change in &plan.changes {
                    self.log.line(Severity::Notice, format!("reload: {change}"));
                }
                self.hub.close();
                let told = Stopping::default().tell(&self.queues);
                let phase = Phase::Stopping(told);
                self.reloading = Some(Reloading { plan, asked, begun: now(), phase });
                self.deadline = Some(tokio::time::Instant::now() + STOP_WITHIN);
            }
        }
    }

    /// Takes the next step, if its time has come.
    ///
    /// # Errors
    /// Where the threads could not be started again.
    pub(super) fn continue_reload(&mut self) -> Result<(), RunError> {
        let Some(Reloading { phase, .. }) = &mut self.reloading else { return Ok(()) };
        match phase {
            Phase::Stopping(told) => {
                *told = told.tell(&self.queues);
                if self.others_have_stopped() { self.start_anew() } else { Ok(()) }
            }
            Phase::Settling => {
                if self.view.as_ref().is_some_and(|view| view.settled) {
                    self.finish_reload();
                }
                Ok(())
            }
        }
    }

    /// The two threads have been told to stop, and are to start again.
    pub(super) fn is_between_threads(&self) -> bool {
        matches!(self.reloading, Some(Reloading { phase: Phase::Stopping(_), .. }))
    }

    fn start_anew(&mut self) -> Result<(), RunError> {
        // What the old threads have told last.
        self.picture();
        while self.queues.fast.pop().is_some() {}
        while self.queues.host.pop().is_some() {}
        self.stopped.clear();
        self.hub.forget();
        self.shared.unsettle();
        self.view = None;
        let Some(reloading) = &mut self.reloading else { return Ok(()) };
        let state = self.keeper.state();
        let seed = self.reload.respawn(&reloading.plan, state).map_err(|error| {
            let text = format!(
                "reload: the threads cannot be started again: {error}; addresses stay where they \
                 are and nothing watches them"
            );
            self.log.line(Severity::Critical, text);
            RunError::Respawn(error)
        })?;
        self.keeper.configure(&reloading.plan.settings.engine);
        if let Some(recorder) = &mut self.recorder {
            recorder.start_anew(now(), &reloading.plan.text, seed);
        }
        reloading.phase = Phase::Settling;
        self.deadline = Some(tokio::time::Instant::now() + SETTLE_WITHIN);
        Ok(())
    }

    /// Answers with what has been reached.
    fn finish_reload(&mut self) {
        let Some(Reloading { plan, asked, begun, .. }) = self.reloading.take() else { return };
        self.deadline = None;
        self.hub.open();
        let missing = match &self.view {
            Some(view) if view.settled && view.groups.is_empty() => Some(LAST_GROUP.to_owned()),
            Some(view) if view.settled => None,
            Some(view) => Some(systemd::missing(view)),
            None => Some("the engine has not started".to_owned()),
        };
        let missing = plan.refused.iter().cloned().chain(missing).reduce(|a, b| a + "; " + &b);
        match &missing {
            None => {
                let took = now().since(begun).as_millis();
                self.log.line(Severity::Notice, format!("reload: done in {took} ms"));
            }
            Some(missing) => {
                let text = format!("reload: the configuration is in force, but {missing}");
                self.log.line(Severity::Warning, text);
            }
        }
        asked.answer(Ok(Reloaded { changes: plan.changes, missing }));
    }

    /// The time that was given has passed.
    ///
    /// # Errors
    /// Where threads that are to stop have not.
    pub(in crate::slow) fn overdue(&mut self) -> Result<(), RunError> {
        match &self.reloading {
            Some(Reloading { phase: Phase::Settling, .. }) if self.stopping.is_none() => {
                self.finish_reload();
                Ok(())
            }
            Some(_) | None => Err(RunError::Hangs),
        }
    }

    /// The daemon is to end.
    pub(super) fn give_up_reload(&mut self) {
        if self.is_between_threads() {
            let Some(Reloading { asked, .. }) = self.reloading.take() else { return };
            asked.answer(Err(NotReloaded::Refused("mpathd(8) is stopping".to_owned())));
        } else {
            self.finish_reload();
        }
    }
}
