//! The proof that the fast thread does not allocate once it is ready: an allocation waits for the
//! arena's lock and sometimes for mmap_lock (A1). Installed by the daemon as `#[global_allocator]`;
//! armed and disarmed by the fast loop for its own thread only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The system's allocator, watched.
pub struct Watched;

/// Tests set it to `1`: the first allocation of an armed thread ends the process.
pub const ABORT_VARIABLE: &str = "MPATHD_ABORT_ON_ALLOC";

static ABORT: AtomicBool = AtomicBool::new(false);
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Constant and without destructor, so that reading it never allocates.
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

/// Reads [`ABORT_VARIABLE`]; called once, before the threads start.
pub fn init_from_env() {
    ABORT.store(std::env::var_os(ABORT_VARIABLE).is_some_and(|v| v == "1"), Ordering::Relaxed);
}

/// From now on allocations of this thread are counted, or end the process.
pub fn arm() {
    ARMED.set(true);
}

/// Allocations of this thread are allowed again.
pub fn disarm() {
    ARMED.set(false);
}

/// Allocations made by armed threads so far.
pub fn violations() -> u64 {
    VIOLATIONS.load(Ordering::Relaxed)
}

fn note() {
    if !ARMED.get() {
        return;
    }
    VIOLATIONS.fetch_add(1, Ordering::Relaxed);
    if ABORT.load(Ordering::Relaxed) {
        const TEXT: &[u8] = b"mpathd: the fast thread allocated memory after READY\n";
        // SAFETY: a static buffer and its length; both calls are async-signal-safe.
        unsafe {
            libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
            libc::abort();
        }
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator; `note` does not allocate.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_armed_thread_is_counted() {
        let count = |armed: bool| {
            let before = violations();
            if armed {
                arm();
            }
            // SAFETY: the layout is not empty, and the block goes back with the same layout.
            unsafe {
                let layout = Layout::new::<[u64; 4]>();
                let block = Watched.alloc(layout);
                Watched.dealloc(block, layout);
            }
            disarm();
            violations() - before
        };
        assert_eq!(count(false), 0);
        assert_eq!(count(true), 1);
        assert_eq!(count(false), 0);
    }
}
