//! What the engine has decided and nobody has fetched yet. Requests come first: what moves an address
//! waits neither for the probes of the same turn nor for what is told of it.

use alloc::collections::VecDeque;

use crate::message::Message;
use crate::request::{Action, Notice, Op};

pub struct Outbox {
    requests: VecDeque<Op>,
    rest: VecDeque<Action>,
    /// Somebody listens to `ipmpstat -p`.
    pub streaming: bool,
}

impl Outbox {
    /// Room for `capacity` actions between two fetches, whatever they are; more would allocate.
    pub fn new(capacity: usize) -> Self {
        Self {
            requests: VecDeque::with_capacity(capacity),
            rest: VecDeque::with_capacity(capacity),
            streaming: false,
        }
    }

    /// Room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.requests.reserve(self.requests.capacity() + more);
        self.rest.reserve(self.rest.capacity() + more);
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.rest.is_empty()
    }

    pub fn push(&mut self, action: Action) {
        match action {
            Action::Request(op) => self.requests.push_back(op),
            Action::Path { .. } | Action::Round(_) | Action::Notice(_) => {
                self.rest.push_back(action);
            }
        }
    }

    pub fn pop(&mut self) -> Option<Action> {
        self.requests.pop_front().map(Action::Request).or_else(|| self.rest.pop_front())
    }

    pub fn message(&mut self, message: Message) {
        self.push(Action::Notice(Notice::Message(message)));
    }

    /// A state that must survive has changed.
    pub fn persist(&mut self) {
        self.push(Action::Notice(Notice::Persist));
    }
}
