//! The course of a reload: the files are read and the host is looked at; an engine for what they say is
//! made here and handed to the fast thread, which lets it take over between two turns; it is answered
//! when all stands that is configured, and all is gone that is not. What a reload has replaced comes
//! back to be freed here.

use mpathd_core::ids::GroupName;
use mpathd_core::message::Severity;
use mpathd_core::time::Instant;
use mpathd_core::view::View;

use super::Turn;
use crate::fast::Heir;
use crate::messages::ToFast;
use crate::slow::reload::{Asked, NotReloaded, Plan, Reloaded, Wish};
use crate::slow::{now, systemd};

/// It is answered then at the latest, with what is missing.
const SETTLE_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// A reload under way.
pub(super) struct Reloading {
    changes: Vec<String>,
    /// Groups that this host does not let start, a line each.
    refused: Vec<(GroupName, String)>,
    asked: Asked,
    begun: Instant,
    /// Of the configuration that is to be in force.
    revision: u32,
}

impl Turn<'_> {
    /// One at a time; and who is to end does not begin anew.
    pub(in crate::slow) fn may_reload(&self) -> bool {
        self.reloading.is_none() && self.stopping.is_none()
    }

    pub(in crate::slow) fn begin(&mut self, asked: Asked) {
        match asked.wish {
            Wish::Reload => self.begin_reload(asked),
            Wish::Try(lasts) => self.begin_trial(asked, lasts),
            Wish::Confirm => self.confirm(asked),
            Wish::Revert => self.revert(asked),
        }
    }

    fn begin_reload(&mut self, asked: Asked) {
        let plan = self.may_reload_files().and_then(|()| self.reload.prepare(self.keeper.state()));
        match plan {
            Err(why) => self.refuse(asked, why),
            Ok(plan) => {
                self.confirmed(&plan.text);
                self.hub.not_started(&plan.refused);
                if plan.changes.is_empty() {
                    self.log.line(Severity::Notice, "reload: nothing changed");
                    asked.answer(Ok(plan.unchanged()));
                } else {
                    self.put_in_force(plan, asked);
                }
            }
        }
    }

    pub(super) fn refuse(&mut self, asked: Asked, why: NotReloaded) {
        let lines = match &why {
            NotReloaded::Configuration(lines) => lines.as_slice(),
            NotReloaded::Refused(text) => std::slice::from_ref(text),
        };
        for line in lines {
            self.log.line(Severity::Error, format!("reload: {line}"));
        }
        self.log.line(Severity::Error, "reload: the old configuration is kept");
        // A restart would not find them good either. What is on trial is the more pressing note.
        if let (NotReloaded::Configuration(lines), None) = (&why, &self.trial) {
            let first = lines.first().map_or("", String::as_str);
            let text = format!(
                "the files are bad, and were not applied: {first}; `mpathd check` says all"
            );
            self.hub.note(Some(text));
        }
        asked.answer(Err(why));
    }

    pub(super) fn put_in_force(&mut self, plan: Plan, asked: Asked) {
        self.hub.not_started(&plan.refused);
        for (_, line) in &plan.refused {
            self.log.line(Severity::Error, format!("reload: {line}"));
        }
        // Before anything is taken over: how it was must not be lost with us.
        plan.taken.iter().for_each(|taken| self.keeper.taken(taken.clone()));
        self.save();
        let heir = match self.reload.heir(&plan, self.keeper.state()) {
            Ok(heir) => heir,
            Err(error) => return self.refuse(asked, NotReloaded::Refused(error.to_string())),
        };
        let revision = heir.note.revision;
        if self.queues.fast.push(ToFast::Heir(heir)).is_err() {
            let text = "the engine does not keep up; try again".to_owned();
            return self.refuse(asked, NotReloaded::Refused(text));
        }
        for change in &plan.changes {
            self.log.line(Severity::Notice, format!("reload: {change}"));
        }
        self.reload.handed_over(plan.settings.clone());
        let Plan { changes, refused, .. } = plan;
        self.reloading = Some(Reloading { changes, refused, asked, begun: now(), revision });
        self.deadline = Some(tokio::time::Instant::now() + SETTLE_WITHIN);
    }

    /// What has been replaced; `since`: when it was.
    pub(super) fn succeeded(&mut self, heir: &Heir, since: Option<Instant>) {
        let Some(since) = since else { return };
        self.keeper.configure(&heir.note.config);
        if let Some(recorder) = &mut self.recorder {
            recorder.reloaded(since, &heir.note.text, heir.note.seed);
        }
    }

    /// Answers, if the time has come.
    pub(super) fn continue_reload(&mut self) {
        let Some(Reloading { revision, .. }) = &self.reloading else { return };
        let stands = |view: &View| view.revision == *revision && view.settled && view.tidied;
        if self.view.as_ref().is_some_and(stands) {
            self.finish_reload();
        }
    }

    /// Answers with what has been reached.
    pub(super) fn finish_reload(&mut self) {
        let Some(reloading) = self.reloading.take() else { return };
        let Reloading { changes, refused, asked, begun, revision } = reloading;
        self.deadline = None;
        let missing = match &self.view {
            Some(view) if view.revision != revision => {
                Some("the engine has not taken it over yet".to_owned())
            }
            Some(view) if !view.settled => Some(systemd::missing(view)),
            Some(view) if !view.tidied => {
                Some("what is no longer configured is not all gone yet; see the log".to_owned())
            }
            Some(view) => view.waiting_route.map(|route| route.to_string()),
            None => Some("the engine has not started".to_owned()),
        };
        let refused = refused.into_iter().map(|(_, line)| line);
        let missing = refused.chain(missing).reduce(|a, b| a + "; " + &b);
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
        asked.answer(Ok(Reloaded { changes, missing }));
    }
}
