//! The bounded queues between the three threads (design 3): storage is made once, an eventfd wakes
//! the reader, and a full queue is told to the writer, never waited for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crossbeam_queue::ArrayQueue;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Many writers, one reader.
pub struct Queue<T> {
    items: ArrayQueue<T>,
    wake: EventFd,
}

impl<T> Queue<T> {
    /// # Errors
    /// Where no eventfd is to be had (EMFILE, ENOMEM).
    pub fn new(capacity: usize) -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self { items: ArrayQueue::new(capacity), wake: EventFd::from_flags(flags)? })
    }

    /// Gives the item back when the queue is full.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.put(item)?;
        self.wake();
        Ok(())
    }

    /// As `push`, but the reader is not woken: of several items at once, `wake` follows the last.
    pub fn put(&self, item: T) -> Result<(), T> {
        self.items.push(item)
    }

    /// Wakes the reader, or makes it come back at once.
    pub fn wake(&self) {
        // EAGAIN: the counter is at its maximum, so the reader is woken anyway.
        match self.wake.write(1) {
            Ok(_) | Err(_) => {}
        }
    }

    /// Whether what can be done without should not be pushed any more.
    pub fn is_half_full(&self) -> bool {
        self.items.len() * 2 >= self.items.capacity()
    }

    pub fn pop(&self) -> Option<T> {
        self.items.pop()
    }

    /// Resets the wake-up. To be called before emptying the queue, or an item may be slept over.
    pub fn clear_wake(&self) {
        match self.wake.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => unreachable!("an eventfd that cannot be read: {error}"),
        }
    }
}

impl<T> AsFd for Queue<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl<T> AsRawFd for Queue<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let queue = Queue::new(2).unwrap();
        assert_eq!(queue.push(1), Ok(()));
        assert_eq!(queue.push(2), Ok(()));
        assert_eq!(queue.push(3), Err(3));
        queue.clear_wake();
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(1), Some(2), None));
    }
}
