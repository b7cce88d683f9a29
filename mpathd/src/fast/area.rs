//! Words that the kernel programs share with the fast thread, mapped into our memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// An array of `T` in a mapping of its own. `T` is made of `AtomicU64` only.
pub(super) struct Area<T> {
    first: NonNull<T>,
    count: u32,
}

// SAFETY: the mapping belongs to the area, and `T` is `Sync`: atomics only.
unsafe impl<T: Sync> Send for Area<T> {}
// SAFETY: shared access gives `&T` only, and `T` is `Sync`.
unsafe impl<T: Sync> Sync for Area<T> {}

impl<T> Area<T> {
    /// Maps `count` elements of a BPF array, whose stride is the value size rounded up to 8, or of
    /// anonymous memory; either is there at once, so no page fault follows.
    pub(super) fn map(fd: Option<BorrowedFd<'_>>, count: u32) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let flags = match fd {
            Some(_) => libc::MAP_SHARED,
            None => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
        };
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        // SAFETY: a fresh mapping, placed by the kernel; it overlaps nothing of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::bytes(count),
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { first, count })
    }

    fn bytes(count: u32) -> usize {
        count as usize * size_of::<T>()
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        if index >= self.count {
            return None;
        }
        // SAFETY: within the mapping, which is page-aligned and lives as long as `self`; zeroes and
        // whatever the kernel writes are valid values of atomics.
        Some(unsafe { self.first.add(index as usize).as_ref() })
    }
}

impl<T> Drop for Area<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, with the same length; no reference outlives `self`.
        unsafe { libc::munmap(self.first.as_ptr().cast(), Self::bytes(self.count)) };
    }
}
