//! What the fast and the slow thread hold in common besides the queues: the picture of the engine
//! and two switches. The fast thread never waits here: it only tries the lock, and a picture that
//! could not be handed over is handed over at its next turn.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use mpathd_core::view::View;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Made once, before the threads; all hold it in an `Arc`.
pub struct Shared {
    view: Mutex<View>,
    changed: EventFd,
    probe_subscribers: AtomicU32,
    recording: AtomicBool,
}

impl Shared {
    /// # Errors
    /// Where no eventfd is to be had (EMFILE, ENOMEM).
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            view: Mutex::default(),
            changed: EventFd::from_flags(flags)?,
            probe_subscribers: AtomicU32::new(0),
            recording: AtomicBool::new(false),
        })
    }

    /// For the fast thread: lets `fill` write the picture in place and tells the reader. `false`
    /// when the reader holds the lock: nothing was done, try again at the next turn. To be called
    /// after every turn that changed a state, and else when the last one is 100 ms old, for the
    /// counters; `fill` must reuse the buffers, which then stop growing.
    pub fn publish(&self, fill: impl FnOnce(&mut View)) -> bool {
        let mut view = match self.view.try_lock() {
            Ok(view) => view,
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        fill(&mut view);
        drop(view);
        // EAGAIN: the counter is at its maximum, so the reader is woken anyway.
        match self.changed.write(1) {
            Ok(_) | Err(_) => true,
        }
    }

    /// A copy of the picture; `at` is zero until the engine has filled it. Not for the fast thread.
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Lets `make_room` enlarge the buffers of the picture, so that `publish` never has to. Not for the
    /// fast thread.
    pub fn prepare(&self, make_room: impl FnOnce(&mut View)) {
        make_room(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets the wake-up. To be called before looking at the picture.
    pub fn clear_changed(&self) {
        match self.changed.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => unreachable!("an eventfd that cannot be read: {error}"),
        }
    }

    /// Is anybody reading single probes? Only then `Notice::Probe` is sent.
    pub fn probes_wanted(&self) -> bool {
        self.probe_subscribers.load(Ordering::Relaxed) > 0
    }

    pub fn subscribe_probes(&self) {
        self.probe_subscribers.fetch_add(1, Ordering::Relaxed);
    }

    pub fn unsubscribe_probes(&self) {
        self.probe_subscribers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Is a recorder running? Only then `ToSlow::Fact` is sent.
    pub fn recording(&self) -> bool {
        self.recording.load(Ordering::Relaxed)
    }

    pub fn set_recording(&self, on: bool) {
        self.recording.store(on, Ordering::Relaxed);
    }
}

/// Readable when a new picture was published.
impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changed.as_fd()
    }
}

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.changed.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_never_waits_for_a_reader() {
        let shared = Shared::new().unwrap();
        let reader = shared.lock();
        assert!(!shared.publish(|_| unreachable!("the reader has the picture")));
        drop(reader);
        assert!(shared.publish(|view| view.settled = true));
        assert!(shared.view().settled);
    }
}
