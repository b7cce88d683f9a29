//! What the slow thread does with each thing it hears.

mod reloading;
mod trial;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mpathd_core::message::{Message, Severity};
use mpathd_core::request::{CommandError, Notice};
use mpathd_core::time::Instant;
use mpathd_core::view::View;

use super::hub::Hub;
use super::log::Log;
use super::recorder::{Recorder, Recording};
use super::reload::Reload;
use super::state::{Keeper, OldSysctl};
use super::systemd::Systemd;
use super::trial::Place;
use super::{RunError, STOP_WITHIN, now, statistics};
use crate::messages::{Queues, ToFast, ToHost, ToSlow};
use crate::shared::Shared;
use reloading::Reloading;
use trial::Trial;

/// Items taken from the queue before clients have their turn.
const BATCH: usize = 256;
/// Between two looks for replies that should not be there.
const ALARMS: Duration = Duration::from_secs(10);
/// Who has to stop before we may.
const OTHERS: [&str; 2] = ["fast", "host"];

pub(super) struct Turn<'a> {
    queues: Queues,
    shared: Arc<Shared>,
    hub: Rc<Hub>,
    log: Log,
    keeper: Keeper,
    /// The state file could not be written; said once.
    unwritten: bool,
    /// An event has been kept and is not in the file yet.
    happened: bool,
    recorder: Option<Recorder>,
    systemd: Systemd,
    start: Instant,
    next_alarms: Instant,
    view: Option<View>,
    /// Answers of the engine, to be given when the picture shows what they tell of: who asks for the
    /// picture next must not find the one before.
    answers: VecDeque<(Instant, Result<(), CommandError>)>,
    reload: &'a mut dyn Reload,
    reloading: Option<Reloading>,
    trial: Option<Trial>,
    /// Of the records of trials.
    place: Place,
    stopping: Option<Stopping>,
    stopped: Vec<&'static str>,
    /// Of stopping or reloading.
    deadline: Option<tokio::time::Instant>,
}

/// What it works with.
pub(super) struct Parts<'a> {
    pub(super) queues: Queues,
    pub(super) shared: Arc<Shared>,
    pub(super) hub: Rc<Hub>,
    pub(super) log: Log,
    pub(super) keeper: Keeper,
    pub(super) record: Option<Recording>,
    pub(super) place: Place,
    pub(super) reload: &'a mut dyn Reload,
}

/// Which threads have been told.
#[derive(Clone, Copy, Default)]
struct Stopping {
    fast: bool,
    host: bool,
}

impl Stopping {
    /// Tells those that had no room in their queue before.
    fn tell(self, queues: &Queues) -> Self {
        Self {
            fast: self.fast || queues.fast.push(ToFast::Stop).is_ok(),
            host: self.host || queues.host.push(ToHost::Stop).is_ok(),
        }
    }
}

impl<'a> Turn<'a> {
    /// # Errors
    /// Where the recording can't be made.
    pub(super) fn new(parts: Parts<'a>) -> Result<Self, RunError> {
        let Parts { queues, shared, hub, log, keeper, record, place, reload } = parts;
        let start = now();
        let recorder = record.map(|recording| {
            Recorder::start(&recording)
                .map_err(|source| RunError::Record { path: recording.file, source })
        });
        let recorder = recorder.transpose()?;
        shared.set_recording(recorder.is_some());
        Ok(Self {
            queues,
            shared,
            hub,
            log,
            keeper,
            unwritten: false,
            happened: false,
            recorder,
            systemd: Systemd::from_env(),
            start,
            next_alarms: start + ALARMS,
            view: None,
            answers: VecDeque::new(),
            reload,
            reloading: None,
            trial: None,
            place,
            stopping: None,
            stopped: Vec::new(),
            deadline: None,
        })
    }

    pub(super) fn deadline(&self) -> Option<tokio::time::Instant> {
        let trial = self.trial.as_ref().filter(|_| self.may_reload()).map(|trial| trial.until);
        self.deadline.into_iter().chain(trial).min()
    }

    /// Empties the queue.
    pub(super) async fn notices(&mut self) {
        self.queues.slow.clear_wake();
        let mut taken = 0;
        while let Some(item) = self.queues.slow.pop() {
            self.take(item);
            taken += 1;
            if taken % BATCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        if std::mem::take(&mut self.happened) {
            self.save();
        }
    }

    fn take(&mut self, item: ToSlow) {
        match item {
            ToSlow::Notice(at, notice) => self.notice(at, &notice),
            ToSlow::Fact(at, event) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.fact(at, &event);
                }
            }
            ToSlow::Sysctl { interface, ifindex, key, old, new } => {
                let path = key.path(interface);
                self.log.line(Severity::Notice, format!("set {path} from {old} to {new}"));
                self.keeper.sysctl(OldSysctl { interface, ifindex, key, old });
                self.save();
            }
            ToSlow::Threaded { interface, before } => {
                self.keeper.threaded(interface, before);
                self.save();
            }
            ToSlow::ThreadedRestored(interface) => {
                self.keeper.threaded_restored(interface);
                self.save();
            }
            ToSlow::SysctlsRestored(interface) => {
                self.keeper.sysctls_restored(interface);
                self.save();
            }
            ToSlow::Past { heir, since } => self.succeeded(&heir, since),
            ToSlow::Scheduled { thread, outcome } => {
                let severity = if outcome.is_short() { Severity::Warning } else { Severity::Info };
                self.log.line(severity, format!("{thread} thread: {outcome}"));
            }
            ToSlow::GivenBack(taken) => {
                self.keeper.given_back(&taken);
                self.save();
            }
            ToSlow::Taken(taken) => {
                self.keeper.taken(*taken);
                self.save();
            }
            ToSlow::Counters(source) => self.hub.counts().set(*source),
            ToSlow::Log { severity, text } => self.log.line(severity, text),
            ToSlow::Unheard { interface, errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                let text = format!(
                    "{interface}: its sockets cannot be watched (epoll: {error}), so answers are not heard; \
                     free memory or raise fs.epoll.max_user_watches, then restart mpathd"
                );
                self.log.line(Severity::Error, text);
            }
            ToSlow::Alive { late } => {
                let now = now();
                self.systemd.alive(now);
                self.hub.machine().sample(now);
                if let Some(recorder) = &mut self.recorder {
                    recorder.woken(now, late);
                }
            }
            ToSlow::Overrun(lost) => {
                let text =
                    format!("{lost} notices of the engine were lost: this thread was starved");
                self.log.line(Severity::Warning, text);
                if let Some(recorder) = &mut self.recorder {
                    recorder.overrun(now(), lost);
                }
            }
            ToSlow::Stopped(name) => self.stopped.push(name),
        }
    }

    fn notice(&mut self, at: Instant, notice: &Notice) {
        match notice {
            Notice::Message(message) => {
                let cause = match message {
                    Message::Late { by, .. } => self.hub.machine().cause(*by),
                    _ => None,
                };
                if let Some(event) = self.log.message(at, message, cause) {
                    self.hub.event(event.clone());
                    self.keeper.event(event);
                    self.happened = true;
                }
            }
            Notice::Probe(outcome) => self.hub.probe(outcome),
            Notice::Reply(answer) => {
                self.answers.push_back((at, *answer));
                self.answer();
            }
            // The picture with the change comes with the same turn of the fast loop or, where the
            // lock was taken, with the next: each is compared with the file.
            Notice::Persist => self.picture(),
        }
    }

    /// Looks at what the fast thread has published.
    pub(super) fn picture(&mut self) {
        self.shared.clear_changed();
        let view = self.shared.view();
        if view.at == Instant::default() {
            // Nothing but room for rows yet: taken for the truth, it would empty the state file.
            return;
        }
        self.log.learn(&view);
        self.keeper.observe(&view);
        self.hub.counts().follow(&view);
        if let Some(recorder) = &mut self.recorder {
            recorder.learn(&view);
        }
        self.view = Some(view);
        self.answer();
        self.save();
        self.tell_systemd();
    }

    fn answer(&mut self) {
        let shown = self.view.as_ref().map_or_else(Instant::default, |view| view.at);
        while let Some((_, answer)) = self.answers.pop_front_if(|(at, _)| *at <= shown) {
            if !self.hub.answer(answer) {
                self.log.line(Severity::Warning, "the engine answered what nobody asked");
            }
        }
    }

    fn tell_systemd(&mut self) {
        self.systemd.update(self.view.as_ref(), now().since(self.start));
    }

    fn save(&mut self) {
        match self.keeper.write() {
            Ok(_) => self.unwritten = false,
            Err(_) if self.unwritten => {}
            Err(error) => {
                self.unwritten = true;
                let path = self.keeper.path().display();
                let text = format!("cannot write {path}: {error}; a restart would forget");
                self.log.line(Severity::Error, text);
            }
        }
    }

    /// What is due without anything having happened.
    pub(super) fn tick(&mut self) {
        self.tell_systemd();
        if self.unwritten {
            self.save();
        }
        if let Some(ended) = self.recorder.take_if(|recorder| recorder.has_ended()) {
            self.shared.set_recording(false);
            self.end_recording(ended);
        }
        self.stopping = self.stopping.map(|told| told.tell(&self.queues));
        if self.next_alarms <= now() {
            self.next_alarms = now() + ALARMS;
            self.alarms();
        }
    }

    /// Replies that should not be there (design 4, N2).
    fn alarms(&mut self) {
        let Some(view) = &self.view else { return };
        let alarms = self.hub.counts().alarms(view, now());
        match alarms {
            Ok(alarms) => alarms.iter().for_each(|alarm| self.log.alarm(alarm)),
            Err(error) => {
                let text = format!("the kernel does not give its counts any more: {error}");
                self.log.line(Severity::Warning, text);
            }
        }
    }

    pub(super) fn statistics(&mut self) {
        if self.view.is_none() {
            return;
        }
        for line in statistics::lines(&self.hub.snapshot()) {
            self.log.line(Severity::Notice, line);
        }
    }

    pub(super) fn begin_stop(&mut self) {
        self.systemd.stopping();
        self.finish_reload();
        self.stopping = Some(self.stopping.unwrap_or_default().tell(&self.queues));
        self.deadline = Some(tokio::time::Instant::now() + STOP_WITHIN);
    }

    fn others_have_stopped(&self) -> bool {
        OTHERS.iter().all(|name| self.stopped.contains(name))
    }

    /// Whether, and how, the daemon ends; to be asked after everything that was heard.
    pub(super) fn ended(&mut self) -> Option<Result<(), RunError>> {
        self.continue_reload();
        match (self.stopping, self.stopped.first()) {
            (Some(_), _) => self.others_have_stopped().then_some(Ok(())),
            (None, Some(name)) => Some(Err(RunError::Died(name))),
            (None, None) => None,
        }
    }

    /// The time that was given has passed.
    ///
    /// # Errors
    /// Where threads that are to stop have not.
    pub(super) fn overdue(&mut self) -> Result<(), RunError> {
        if self.stopping.is_some() {
            return Err(RunError::Hangs);
        }
        if self.reloading.is_some() {
            self.finish_reload();
        } else {
            self.end_trial();
        }
        Ok(())
    }

    fn end_recording(&mut self, recorder: Recorder) {
        if let Err(error) = recorder.finish() {
            self.log.line(Severity::Error, format!("the recording has ended early: {error}"));
        }
    }

    pub(super) fn finish(mut self) {
        self.save();
        if let Some(recorder) = self.recorder.take() {
            self.shared.set_recording(false);
            self.end_recording(recorder);
        }
        let text = "stopped; addresses stay where they are and nothing watches them";
        self.log.line(Severity::Notice, text);
    }
}
