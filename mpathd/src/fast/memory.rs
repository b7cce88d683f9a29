//! No page fault in the threads that are on the clock. Called by the daemon before its threads
//! start, and by each such thread for its own stack.

use std::fmt;
use std::fs;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Stack that the fast and the host thread use at most; touched in advance. Bytes.
const STACK: usize = 128 * 1024;

/// What is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything, what comes later included.
    All,
    /// RLIMIT_MEMLOCK is finite: under mlockall the third thread or a 4 MiB allocation would fail
    /// (measured, A6), so only code, static data and the heap of the start are locked. Bytes.
    Some {
        locked: usize,
        limit: u64,
    },
    Refused {
        errno: i32,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Outcome::All => f.write_str("all memory is locked"),
            Outcome::Some { locked, limit } => write!(
                f,
                "only {} KiB of memory are locked, for RLIMIT_MEMLOCK is {} KiB; a page fault may \
                 make a verdict late; set LimitMEMLOCK=infinity in the unit",
                locked / 1024,
                limit / 1024
            ),
            Outcome::Refused { errno } => write!(
                f,
                "memory can't be locked ({}); a page fault may make a verdict late",
                std::io::Error::from_raw_os_error(errno)
            ),
        }
    }
}

/// Locks all memory if the limit allows it, else the part that the fast and host threads touch.
pub fn lock() -> Outcome {
    if let Some(limit) = finite_limit() {
        return lock_some(limit);
    }
    match mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        Ok(()) => Outcome::All,
        Err(errno) => Outcome::Refused { errno: errno as i32 },
    }
}

/// `None` when the limit is infinite, or could be made so.
fn finite_limit() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((0, 0));
    let lifted = soft == RLIM_INFINITY
        || setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
    (!lifted).then_some(soft.min(hard))
}

/// Half of the limit at most, so that the slots and the rest find room.
fn lock_some(limit: u64) -> Outcome {
    let mut left = usize::try_from(limit / 2).unwrap_or(usize::MAX);
    let mut locked = 0;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = fs::read_link("/proc/self/exe").unwrap_or_default();
    let program = program.to_string_lossy();
    for (start, len) in maps.lines().filter_map(|line| touched(line, &program)) {
        if len > left {
            continue;
        }
        // SAFETY: mlock changes no memory and fails with ENOMEM on what is not mapped any more.
        if unsafe { libc::mlock(start as *const libc::c_void, len) } == 0 {
            left -= len;
            locked += len;
        }
    }
    Outcome::Some { locked, limit }
}

/// Start and length of a mapping of the program itself, of libc or of the heap; from a line of
/// `/proc/self/maps`, proc_pid_maps(5).
fn touched(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    let name = fields.nth(3)?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let len = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    let ours = name == "[heap]" || name == program || name.contains("/libc.so");
    (ours && rights.starts_with('r')).then_some((start, len))
}

/// Touches the stack that the calling thread will use.
#[inline(never)]
pub fn prefault_stack() {
    let mut room = [0_u8; STACK];
    for page in room.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&mut room);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_the_program_and_the_heap_only() {
        let program = "/usr/sbin/mpathd";
        let heap = "55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                  [heap]";
        assert_eq!(touched(heap, program), Some((0x55d0_c8a0_0000, 0x21000)));
        let code = "55d0c7000000-55d0c7100000 r-xp 00012000 fe:00 1234    /usr/sbin/mpathd";
        assert_eq!(touched(code, program), Some((0x55d0_c700_0000, 0x10_0000)));
        let other = "7f0000000000-7f0000100000 r-xp 00012000 fe:00 1234    /usr/lib/libz.so.1";
        assert_eq!(touched(other, program), None);
        let anonymous = "7f0000000000-7f0000100000 rw-p 00000000 00:00 0";
        assert_eq!(touched(anonymous, program), None);
        let guard = "55d0c7000000-55d0c7100000 ---p 00012000 fe:00 1234    /usr/sbin/mpathd";
        assert_eq!(touched(guard, program), None);
    }
}
