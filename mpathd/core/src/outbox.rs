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
            Action::Path { .. }
            | Action::Redirect(_)
            | Action::Herald(_)
            | Action::Round(_)
            | Action::Notice(_) => self.rest.push_back(action),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Family, Ifindex};
    use crate::request::{OpId, Request, Round};
    use crate::time::Instant;

    #[test]
    fn requests_pass_probes_and_notices() {
        let mut out = Outbox::new(8);
        let announce = |id| {
            let address = core::net::IpAddr::from([192, 0, 2, 50]);
            let request =
                Request::Announce { ifindex: Ifindex(1), address, peers: Default::default() };
            Action::Request(Op { id: OpId(id), decided: Instant(0), request })
        };
        let round = Action::Round(Round::new(Ifindex(1), Family::Inet));
        out.persist();
        out.push(round);
        out.push(announce(1));
        out.push(announce(2));
        let all: alloc::vec::Vec<_> = core::iter::from_fn(|| out.pop()).collect();
        assert_eq!(all, [announce(1), announce(2), Action::Notice(Notice::Persist), round]);
        assert!(out.is_empty());
    }
}
