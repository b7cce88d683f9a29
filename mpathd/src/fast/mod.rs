//! The fast thread: engine, timers, probe sockets, slots and link notices (design 3). Started by
//! the daemon; talks to the other threads through the queues only. Once ready it makes no call that
//! can wait for RTNL, opens or closes no socket, touches no file, log or client, and does not
//! allocate.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use mpathd_core::engine::Engine;
use mpathd_core::event::Event;
use mpathd_core::ids::{IfName, Ifindex, PathId, Seq};
use mpathd_core::request::Action;
use mpathd_core::time::Instant;
use mpathd_core::view::View;

use crate::messages::Queues;
use crate::shared::Shared;
pub use heir::{Heir, Note};

pub mod alloc;
mod area;
mod channels;
pub mod clock;
mod frames;
mod heir;
pub(crate) mod link_message;
mod links;
pub mod memory;
mod neighbours;
pub mod priority;
mod random;
mod ready;
mod receive;
pub mod receivers;
pub mod redirects;
pub mod slots;
mod socket;
mod turn;

/// What decides. The engine; in tests a script.
pub trait Brain {
    /// Takes a fact. Its consequences are drawn by `handle_timeout`.
    fn handle(&mut self, now: Instant, event: Event);
    /// Draws the consequences. `now` is a moment before which everything that came in was told.
    fn handle_timeout(&mut self, now: Instant);
    /// When `handle_timeout` is to be called next.
    fn poll_timeout(&self) -> Option<Instant>;
    fn poll_action(&mut self) -> Option<Action>;
    /// Probes whose reply is to be looked for now: only what was looked for is given up at `now`.
    fn await_replies(&mut self, now: Instant, each: impl FnMut(PathId, Seq));
    /// NICs for which `Event::HandledUntil` is to be told before the next turn.
    fn watched(&self) -> impl Iterator<Item = Ifindex>;
    /// Renews the picture, in the same buffers.
    fn fill(&self, view: &mut View, now: Instant);
    /// Whether outcomes of single probes are wanted as notices.
    fn stream_probes(&mut self, on: bool);
    /// Whether another one may take over now.
    fn may_retire(&self) -> bool;
    /// `heir` takes over; what is left of this one comes back in its place.
    fn make_way(&mut self, heir: &mut Engine, now: Instant);
}

impl Brain for Engine {
    fn handle(&mut self, now: Instant, event: Event) {
        self.handle(now, event);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.poll_action()
    }

    fn await_replies(&mut self, now: Instant, each: impl FnMut(PathId, Seq)) {
        self.await_replies(now, each);
    }

    fn watched(&self) -> impl Iterator<Item = Ifindex> {
        self.watched()
    }

    fn fill(&self, view: &mut View, now: Instant) {
        self.fill(view, now);
    }

    fn stream_probes(&mut self, on: bool) {
        self.stream_probes(on);
    }

    fn may_retire(&self) -> bool {
        self.may_retire()
    }

    fn make_way(&mut self, heir: &mut Engine, now: Instant) {
        heir.succeed(self, now);
        std::mem::swap(self, heir);
    }
}

/// What the thread is made of.
pub struct Setup<B> {
    pub brain: B,
    /// The interfaces of the configuration.
    pub names: Vec<IfName>,
    pub queues: Queues,
    pub shared: Arc<Shared>,
    /// SCHED_FIFO, 1..=99; 0 = ordinary.
    pub priority: u8,
}

/// Of the thread.
pub const NAME: &str = "mpathd-fast";
/// The thread's stack; a few KiB are used. Bytes.
const STACK: usize = 512 * 1024;

/// Starts the thread in the network namespace of the caller. It ends at `ToFast::Stop`.
///
/// # Errors
/// Where the link socket, memory for the slots or the thread are not to be had.
pub fn spawn<B: Brain + Send + 'static>(setup: Setup<B>) -> io::Result<JoinHandle<()>> {
    let fast = turn::Fast::new(setup)?;
    Builder::new().name(NAME.into()).stack_size(STACK).spawn(move || fast.run())
}
