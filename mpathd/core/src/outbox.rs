//! What the engine has decided and nobody has fetched yet.

use alloc::collections::VecDeque;

use crate::message::Message;
use crate::request::{Action, Notice};

pub struct Outbox {
    actions: VecDeque<Action>,
    /// Somebody listens to `ipmpstat -p`.
    pub streaming: bool,
}

impl Outbox {
    /// Room for `capacity` actions between two fetches; more would allocate.
    pub fn new(capacity: usize) -> Self {
        Self { actions: VecDeque::with_capacity(capacity), streaming: false }
    }

    /// Room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.actions.reserve(self.actions.capacity() + more);
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    pub fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub fn pop(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub fn message(&mut self, message: Message) {
        self.push(Action::Notice(Notice::Message(message)));
    }

    /// A state that must survive has changed.
    pub fn persist(&mut self) {
        self.push(Action::Notice(Notice::Persist));
    }
}
