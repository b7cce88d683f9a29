//! A brain for the fast thread that follows a script instead of deciding: one probe to each path at
//! a fixed interval, and a journal of all it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mpathd::fast::Brain;
use mpathd::queue::Queue;
use mpathd_core::engine::Engine;
use mpathd_core::event::{Event, Fate};
use mpathd_core::ids::{Family, Ifindex, PathId, Seq};
use mpathd_core::request::{Action, PathKey, Probe, Round};
use mpathd_core::time::Instant;
use mpathd_core::view::View;

/// Between two rounds.
pub const INTERVAL: Duration = Duration::from_millis(10);
/// A probe of the script is lost when no reply is in by then.
pub const LOST_AFTER: Duration = Duration::from_millis(150);
/// How long the thread stands still when told to.
pub const FREEZE: Duration = Duration::from_millis(500);

/// What the test sees and says.
pub struct Control {
    pub journal: Queue<Event>,
    pub lost: Queue<(PathId, Seq)>,
    /// Probes wait until then.
    pub probing: AtomicBool,
    /// Stand still once, at the end of a turn.
    pub freeze: AtomicBool,
    /// Allocate once.
    pub allocate: AtomicBool,
}

impl Control {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            journal: Queue::new(1 << 18).expect("an eventfd"),
            lost: Queue::new(1 << 16).expect("an eventfd"),
            probing: AtomicBool::new(false),
            freeze: AtomicBool::new(false),
            allocate: AtomicBool::new(false),
        })
    }
}

pub struct Script {
    control: Arc<Control>,
    paths: Vec<(PathId, PathKey)>,
    actions: VecDeque<Action>,
    /// Sent and not answered, with the moment of sending once it has left.
    open: VecDeque<(PathId, Seq, Option<Instant>)>,
    next: Option<Instant>,
    seq: Seq,
}

impl Script {
    pub fn new(control: Arc<Control>, paths: Vec<(PathId, PathKey)>) -> Self {
        let actions = paths.iter().map(|(path, key)| Action::Path { path: *path, key: Some(*key) });
        Self {
            control,
            actions: actions.collect(),
            open: VecDeque::with_capacity(4096),
            paths,
            next: None,
            seq: Seq(1),
        }
    }

    fn send_rounds(&mut self) {
        for family in Family::ALL {
            for ifindex in [1, 2, 3, 4, 5, 6, 7, 8].map(Ifindex) {
                let mut round = Round::new(ifindex, family);
                let of_round =
                    |key: &PathKey| key.ifindex == ifindex && Family::of(key.target) == family;
                for (path, _) in self.paths.iter().filter(|(_, key)| of_round(key)) {
                    round.push(Probe { path: *path, seq: self.seq, refresh: false });
                    self.open.push_back((*path, self.seq, None));
                }
                if !round.probes().is_empty() {
                    self.actions.push_back(Action::Round(round));
                }
            }
        }
        self.seq = self.seq.next();
    }

    fn left(&mut self, path: PathId, seq: Seq, at: Instant) {
        if let Some(open) = self.open.iter_mut().find(|o| (o.0, o.1) == (path, seq)) {
            open.2 = Some(at);
        }
    }

    fn close(&mut self, path: PathId, seq: Seq) {
        self.open.retain(|o| (o.0, o.1) != (path, seq));
    }
}

impl Brain for Script {
    fn handle(&mut self, _: Instant, event: Event) {
        match event {
            Event::Sent { path, seq, at, fate: Fate::Left } => self.left(path, seq, at),
            Event::Left { path, seq, at } => self.left(path, seq, at),
            Event::Sent { path, seq, fate: Fate::Refused | Fate::Resolving, .. } => {
                self.close(path, seq);
            }
            Event::Reply { path, seq, .. } => self.close(path, seq),
            _ => {}
        }
        assert!(self.control.journal.push(event).is_ok(), "the journal is full");
        if self.control.allocate.swap(false, Ordering::Relaxed) {
            std::hint::black_box(Box::new(7_u64));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let Self { open, control, .. } = self;
        open.retain(|(path, seq, at)| {
            let waits = at.is_none_or(|at| now.since(at) < LOST_AFTER);
            waits || control.lost.push((*path, *seq)).is_err()
        });
        if !self.control.probing.load(Ordering::Relaxed) {
            self.next = Some(now + INTERVAL);
        } else if self.next.is_none_or(|next| next <= now) {
            self.next = Some(now + INTERVAL);
            self.send_rounds();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn watched(&self) -> impl Iterator<Item = Ifindex> {
        std::iter::empty()
    }

    fn await_replies(&mut self, _: Instant, mut each: impl FnMut(PathId, Seq)) {
        self.open.iter().for_each(|(path, seq, _)| each(*path, *seq));
    }

    fn fill(&self, view: &mut View, now: Instant) {
        view.at = now;
        view.settled = self.control.probing.load(Ordering::Relaxed);
        // The last thing in a turn.
        if self.control.freeze.swap(false, Ordering::Relaxed) {
            // What is tested: a thread that stands still.
            mpathd_tests::clock::pass(FREEZE);
        }
    }

    fn stream_probes(&mut self, _: bool) {}

    /// A script has no heir.
    fn may_retire(&self) -> bool {
        false
    }

    fn make_way(&mut self, _: &mut Engine, _: Instant) {}
}
