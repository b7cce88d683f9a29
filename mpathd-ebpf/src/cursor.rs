//! Bounds-checked access to the packet: the only code that dereferences packet memory.

use mpathd_common::wire::Bytes;

/// The linear part of a frame, from its Ethernet header on.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl Bytes for Frame {
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if self.start + at + N > self.end {
            return None;
        }
        // SAFETY: start..end is packet memory for the whole run of the program, and at..at + N was
        // just checked to be in it; the verifier checks the same again. `[u8; N]` has no alignment.
        Some(unsafe { ((self.start + at) as *const [u8; N]).read() })
    }
}
