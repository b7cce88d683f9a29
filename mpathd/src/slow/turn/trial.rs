//! The course of a trial: the files are applied as by a reload, and what was in force before is kept;
//! it comes back by itself unless the trial is confirmed in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mpathd_core::message::Severity;

use super::Turn;
use crate::slow::log::rfc3339;
use crate::slow::reload::{Asked, NotReloaded, Reloaded, Wish};
use crate::slow::trial::Record;

/// A trial under way.
pub(super) struct Trial {
    pub(super) until: tokio::time::Instant,
    lasts: Duration,
    record: Record,
}

const NOTHING: &str = "no configuration is on trial";

impl Turn<'_> {
    /// Applies the files until the time has passed.
    pub(super) fn begin_trial(&mut self, asked: Asked, lasts: Duration) {
        let plan = match self.reload.prepare(self.keeper.state()) {
            Err(why) => return self.refuse(asked, why),
            Ok(plan) => plan,
        };
        let until = tokio::time::Instant::now() + lasts;
        if plan.changes.is_empty() {
            let mut unchanged = plan.unchanged();
            // Once more the same: it gets its time anew.
            if let Some(trial) = &mut self.trial {
                (trial.until, trial.lasts) = (until, lasts);
                self.tell_trial(lasts);
                unchanged.changes.push("the files say what is on trial already".to_owned());
            }
            return asked.answer(Ok(unchanged));
        }
        let confirmed = match &self.trial {
            Some(trial) => trial.record.confirmed.clone(),
            None => self.reload.in_force(),
        };
        let record = Record::new(confirmed, plan.text.clone());
        if let Err(error) = self.place.keep(&record) {
            let text = format!("what is in force now cannot be kept, so nothing is tried: {error}");
            return self.refuse(asked, NotReloaded::Refused(text));
        }
        self.tell_trial(lasts);
        self.trial = Some(Trial { until, lasts, record });
        self.put_in_force(plan, asked);
    }

    fn tell_trial(&mut self, lasts: Duration) {
        let until = SystemTime::now() + lasts;
        let until = rfc3339(until.duration_since(UNIX_EPOCH).unwrap_or_default());
        let lasts = lasts.as_secs();
        let text = format!("a configuration is on trial for {lasts} s, until {until}");
        self.log.line(Severity::Notice, &text);
        self.hub.note(Some(text));
    }

    /// What is on trial is here to stay.
    pub(super) fn confirm(&mut self, asked: Asked) {
        let Some(trial) = self.trial.take() else {
            return asked.answer(Err(NotReloaded::Refused(NOTHING.to_owned())));
        };
        self.log.line(Severity::Notice, "try: confirmed");
        self.confirmed(&trial.record.tried);
        asked.answer(Ok(Reloaded { changes: Vec::new(), missing: None }));
    }

    /// Back to what was in force before. The record stays, for the files still say what was tried.
    pub(super) fn revert(&mut self, asked: Asked) {
        let Some(trial) = self.trial.take() else {
            return asked.answer(Err(NotReloaded::Refused(NOTHING.to_owned())));
        };
        let plan = match self.reload.restore(&trial.record.confirmed) {
            Err(why) => return self.refuse(asked, why),
            Ok(plan) => plan,
        };
        let text =
            "what the files say was tried and not confirmed; running on what was in force before";
        self.hub.note(Some(text.to_owned()));
        if plan.changes.is_empty() {
            return asked.answer(Ok(plan.unchanged()));
        }
        self.put_in_force(plan, asked);
    }

    /// Nobody has confirmed in time.
    pub(super) fn end_trial(&mut self) {
        if let Some(trial) = &self.trial {
            let lasted = trial.lasts.as_secs();
            let text =
                format!("try: not confirmed within {lasted} s; going back to what was before");
            self.log.line(Severity::Warning, text);
            self.revert(Asked { wish: Wish::Revert, answer: None });
        }
    }

    /// Asked for by an administrator without a proviso: this is what is gone back to from now on.
    pub(super) fn confirmed(&mut self, text: &str) {
        self.hub.note(None);
        let kept = self.place.forget().and_then(|()| self.place.keep_good(text));
        if let Err(error) = kept {
            let text = format!("the last good configuration cannot be kept: {error}");
            self.log.line(Severity::Error, text);
        }
    }

    pub(super) fn may_reload_files(&self) -> Result<(), NotReloaded> {
        match self.trial {
            None => Ok(()),
            Some(_) => Err(NotReloaded::Refused(
                "a configuration is on trial: `mpathd confirm` or `mpathd revert` first".to_owned(),
            )),
        }
    }
}
