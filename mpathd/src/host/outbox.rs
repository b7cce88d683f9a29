//! What the host thread has to say, in order. Said together what belongs together, for each wake-up
//! of the reader is one more in the way of a move. A full queue is never waited for: what does not fit
//! is kept here and offered again at the next turn.

use std::collections::VecDeque;
use std::sync::Arc;

use mpathd_core::message::Severity;

use crate::messages::{ToFast, ToSlow};
use crate::queue::Queue;

pub(super) struct Outbox<T> {
    queue: Arc<Queue<T>>,
    waiting: VecDeque<T>,
}

pub(super) type Fast = Outbox<ToFast>;
pub(super) type Slow = Outbox<ToSlow>;

impl<T> Outbox<T> {
    pub(super) fn new(queue: Arc<Queue<T>>) -> Self {
        Self { queue, waiting: VecDeque::new() }
    }

    /// It goes out with the next `flush`.
    pub(super) fn push(&mut self, item: T) {
        self.waiting.push_back(item);
    }

    /// Whether all is out.
    pub(super) fn flush(&mut self) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        while let Some(item) = self.waiting.pop_front() {
            if let Err(item) = self.queue.put(item) {
                self.waiting.push_front(item);
                break;
            }
        }
        self.queue.wake();
        self.waiting.is_empty()
    }
}

impl Slow {
    pub(super) fn log(&mut self, severity: Severity, text: impl Into<String>) {
        self.push(ToSlow::Log { severity, text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_a_full_queue() {
        let queue = Arc::new(Queue::new(1).unwrap());
        let mut outbox = Outbox::new(Arc::clone(&queue));
        (1..=3).for_each(|n| outbox.push(n));
        outbox.flush();
        let mut seen = Vec::new();
        while let Some(n) = queue.pop() {
            seen.push(n);
            outbox.flush();
        }
        assert_eq!(seen, [1, 2, 3]);
    }
}
