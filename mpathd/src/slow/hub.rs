//! What the tasks of the slow thread share: the way to the engine, the counts of replies and the
//! stream of probes. Lives on that thread alone.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mpathd_core::event::{Command, Event};
use mpathd_core::ids::{Family, GroupName};
use mpathd_core::request::{CommandError, ProbeOutcome};
use tokio::sync::{Notify, broadcast, oneshot};

use super::control::ProbeRecord;
use super::counts::{Counts, Snapshot};
use super::events::{self, EventRecord, KEPT};
use super::machine::Machine;
use super::now;
use super::reload::{self, Asked, Wish};
use crate::messages::{Queues, ToFast};
use crate::shared::Shared;

/// The engine answers at once; longer means that its thread hangs.
const ANSWER: Duration = Duration::from_secs(5);
/// Probes a reader may lag behind before it loses some: 1.4 s of 720 a second.
const PROBES: usize = 1024;

type Answer = Result<(), CommandError>;

pub(super) struct Hub {
    shared: Arc<Shared>,
    queues: Queues,
    /// One for each command under way. The engine answers in order, so also who has given up
    /// waiting keeps its place.
    asking: RefCell<VecDeque<oneshot::Sender<Answer>>>,
    probes: broadcast::Sender<ProbeRecord>,
    kept: RefCell<Vec<EventRecord>>,
    events: broadcast::Sender<EventRecord>,
    counts: RefCell<Counts>,
    machine: RefCell<Machine>,
    /// What is wanted of the configuration, oldest first.
    wishes: RefCell<VecDeque<Asked>>,
    wished: Notify,
    /// What an administrator is to know of the configuration.
    note: RefCell<Option<String>>,
    /// Groups that this host does not let start, and why.
    not_started: RefCell<BTreeMap<String, String>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

impl Hub {
    pub(super) fn new(shared: Arc<Shared>, queues: Queues, kept: Vec<EventRecord>) -> Self {
        let probes = broadcast::Sender::new(PROBES);
        Self {
            shared,
            queues,
            asking: RefCell::default(),
            probes,
            kept: RefCell::new(kept),
            events: broadcast::Sender::new(KEPT),
            counts: RefCell::default(),
            machine: RefCell::default(),
            wishes: RefCell::default(),
            wished: Notify::new(),
            note: RefCell::default(),
            not_started: RefCell::default(),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let snapshot = self.counts().complete(self.shared.view(), now());
        let machine = self.machine().seconds();
        let not_started = self.not_started.borrow().clone();
        Snapshot { note: self.note.borrow().clone(), not_started, machine, ..snapshot }
    }

    pub(super) fn note(&self, note: Option<String>) {
        *self.note.borrow_mut() = note;
    }

    pub(super) fn not_started(&self, groups: &[(GroupName, String)]) {
        let named = groups.iter().map(|(name, why)| (name.to_string(), why.clone()));
        *self.not_started.borrow_mut() = named.collect();
    }

    /// Not to be held while waiting.
    pub(super) fn counts(&self) -> RefMut<'_, Counts> {
        self.counts.borrow_mut()
    }

    /// Not to be held while waiting.
    pub(super) fn machine(&self) -> RefMut<'_, Machine> {
        self.machine.borrow_mut()
    }

    pub(super) async fn command(&self, command: Command) -> Result<Answer, NoAnswer> {
        self.queues.fast.push(ToFast::Event(Event::Command(command))).map_err(|_| NoAnswer)?;
        let (sender, receiver) = oneshot::channel();
        self.asking.borrow_mut().push_back(sender);
        match tokio::time::timeout(ANSWER, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer),
        }
    }

    /// The engine's answer to the oldest command. `false`: nobody asked.
    pub(super) fn answer(&self, answer: Answer) -> bool {
        let Some(asking) = self.asking.borrow_mut().pop_front() else { return false };
        match asking.send(answer) {
            // An error: who asked has given up waiting.
            Ok(()) | Err(_) => true,
        }
    }

    /// Waits for the outcome of a wish.
    pub(super) async fn wish(&self, wish: Wish) -> Result<reload::Answer, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.ask(Asked { wish, answer: Some(sender) });
        receiver.await.map_err(|_| NoAnswer)
    }

    pub(super) fn ask(&self, asked: Asked) {
        self.wishes.borrow_mut().push_back(asked);
        self.wished.notify_one();
    }

    /// The next wish.
    pub(super) async fn asked(&self) -> Asked {
        loop {
            if let Some(asked) = self.wishes.borrow_mut().pop_front() {
                return asked;
            }
            self.wished.notified().await;
        }
    }

    pub(super) fn probe(&self, outcome: &ProbeOutcome) {
        // An error says that nobody reads, which is no news.
        match self.probes.send(record(outcome)) {
            Ok(_) | Err(_) => {}
        }
    }

    pub(super) fn event(&self, event: EventRecord) {
        events::keep(&mut self.kept.borrow_mut(), event.clone());
        match self.events.send(event) {
            Ok(_) | Err(_) => {}
        }
    }

    /// Those that are kept, and all that come from now on.
    pub(super) fn events(&self) -> (Vec<EventRecord>, Listener) {
        (self.kept.borrow().clone(), Listener(self.events.subscribe()))
    }

    pub(super) fn subscribe(&self) -> Subscription {
        self.shared.subscribe_probes();
        Subscription { shared: Arc::clone(&self.shared), probes: self.probes.subscribe() }
    }
}

/// A reader of probes; the engine tells of them while there is one.
pub(super) struct Subscription {
    shared: Arc<Shared>,
    probes: broadcast::Receiver<ProbeRecord>,
}

impl Subscription {
    /// `None` when the daemon stops. What a slow reader has missed is left out.
    pub(super) async fn next(&mut self) -> Option<ProbeRecord> {
        loop {
            match self.probes.recv().await {
                Ok(record) => return Some(record),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.unsubscribe_probes();
    }
}

/// A reader of events.
pub(super) struct Listener(broadcast::Receiver<EventRecord>);

impl Listener {
    /// `None` when the daemon stops, or when the reader lags so far behind that it would miss one: it is to ask
    /// anew.
    pub(super) async fn next(&mut self) -> Option<EventRecord> {
        self.0.recv().await.ok()
    }
}

fn record(outcome: &ProbeOutcome) -> ProbeRecord {
    ProbeRecord {
        interface: outcome.interface,
        family: Family::of(outcome.target),
        target: outcome.target,
        seq: outcome.seq.0,
        sent_ns: outcome.sent.0,
        received_ns: outcome.received.map(|at| at.0),
        processed_ns: outcome.processed.0,
        srtt_ns: outcome.srtt,
        rttvar_ns: outcome.rttvar,
    }
}
