//! File descriptors: how many this process may have, what happens when they are used up, and some that
//! are kept back so that the control socket answers all the same.

use std::fmt;
use std::io;

use mpathd_core::time::Instant;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::fast::clock;

/// Kept back for clients of the control socket: more than it serves at a time.
const RESERVE: u64 = 40;
/// Of a low limit no more than this part is kept back.
const RESERVE_SHARE: u64 = 8;
/// What a daemon without members has open (queues, netlink sockets, maps and programs, runtime, log: some 30),
/// and as many clients as it serves.
const BASE: u64 = 64;
/// For each member: two probe sockets, two more where a tcx program receives, one for announcements, two
/// that hear of address conflicts, the hook; for a time two that look for hosts.
const PER_MEMBER: u64 = 10;
/// Between two log lines about the same lack.
const SAY_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);

/// What the limit allows, after [`raise`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub hard: u64,
    /// About what the configured members need.
    pub needed: u64,
}

impl Limit {
    pub fn is_short(&self) -> bool {
        self.hard < self.needed
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hard, needed } = self;
        write!(
            f,
            "at most {hard} file descriptors may be open (hard limit of RLIMIT_NOFILE), and the configured \
             interfaces need about {needed}: some of them may not be watched; {}",
            Remedy(*needed)
        )
    }
}

/// What an administrator can do about it.
struct Remedy(u64);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enough = self.0.next_power_of_two().max(1024);
        write!(
            f,
            "set LimitNOFILE={enough} in mpathd.service, or start mpathd after `ulimit -n {enough}`"
        )
    }
}

/// Raises the soft limit to the hard one, but for the reserve.
pub fn raise(members: usize) -> Limit {
    let needed = BASE + PER_MEMBER * members as u64;
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Limit { hard: u64::MAX, needed };
    };
    restrict(hard);
    Limit { hard, needed }
}

/// Keeps the last descriptors back.
fn restrict(hard: u64) {
    let soft = hard - RESERVE.min(hard / RESERVE_SHARE);
    match setrlimit(Resource::RLIMIT_NOFILE, soft, hard) {
        // It then stays as it was: a soft limit may always be set below the hard one, but a sandbox may forbid
        // the call.
        Ok(()) | Err(_) => {}
    }
}

/// Runs `act` with the reserve at hand. It is to be short, for another thread might use it up.
pub fn with_reserve<T>(act: impl FnOnce() -> T) -> T {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return act() };
    let lifted = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let result = act();
    if lifted.is_ok() {
        restrict(hard);
    }
    result
}

/// Whether so many descriptors can be opened now: to be asked before a series of calls whose errors would
/// otherwise be taken for what the kernel can't do.
///
/// # Errors
/// EMFILE where this process, ENFILE where the host has used them up; ENOMEM.
pub fn available(count: usize) -> Result<(), Errno> {
    let open = |_| EventFd::from_flags(EfdFlags::EFD_CLOEXEC);
    (0..count).map(open).collect::<Result<Vec<_>, _>>().map(drop)
}

/// The error says that something is used up, and nothing about what was asked for.
pub fn is_lack(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(is_lack_errno)
}

pub fn is_lack_errno(errno: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS].contains(&errno)
}

/// Says that descriptors are used up, now and then.
#[derive(Default)]
pub struct Reminder(Option<Instant>);

impl Reminder {
    /// The log line for this error, if it is one of too few descriptors and not said a short while ago.
    pub fn text(&mut self, errno: i32) -> Option<String> {
        let now = clock::now();
        let quiet = self.0.is_some_and(|at| now.since(at) < SAY_AGAIN);
        let text = lack(errno).filter(|_| !quiet)?;
        self.0 = Some(now);
        Some(text)
    }
}

fn lack(errno: i32) -> Option<String> {
    match errno {
        libc::EMFILE => {
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
            Some(format!(
                "file descriptors are used up: mpathd may open {soft} (hard limit of RLIMIT_NOFILE: {hard}); \
                 interfaces without sockets are not watched, and their sockets are tried for again; {}",
                Remedy(hard.saturating_mul(2).min(1 << 20))
            ))
        }
        libc::ENFILE => Some(
            "this host's file descriptors are used up (fs.file-max): interfaces without sockets are not \
             watched, and their sockets are tried for again; raise fs.file-max"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_told_apart_from_a_fact() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            assert!(is_lack(&io::Error::from_raw_os_error(errno)));
        }
        for errno in [libc::ENOENT, libc::EAFNOSUPPORT, libc::EACCES, libc::ENODEV] {
            assert!(!is_lack(&io::Error::from_raw_os_error(errno)));
        }
    }

    #[test]
    fn a_lack_is_said_once_a_minute() {
        let mut reminder = Reminder::default();
        assert_eq!(reminder.text(libc::ENOENT), None);
        assert!(reminder.text(libc::EMFILE).is_some_and(|text| text.contains("RLIMIT_NOFILE")));
        assert_eq!(reminder.text(libc::EMFILE), None);
    }
}
