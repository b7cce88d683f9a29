//! Real-time rights of the calling thread. Used by the fast and the host thread at their start.

use std::fmt;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// CPU time a real-time thread may use without one sleep; then SIGXCPU ends the process, for a
/// runaway loop at this priority would take a core from everything else. us.
const RUNAWAY_US: u64 = 200_000;
/// The same by SIGKILL, if the first was caught.
const KILL_US: u64 = 1_000_000;

/// What the thread runs at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Ordinary scheduling was asked for.
    Ordinary,
    /// SCHED_FIFO at this priority.
    Fifo(u8),
    /// SCHED_FIFO at less than was asked for: RLIMIT_RTPRIO allows no more.
    Lowered { asked: u8, got: u8 },
    /// No right to real time; nice -20 instead if `nice`.
    Refused { asked: u8, nice: bool, errno: i32 },
}

impl Outcome {
    pub fn is_short(self) -> bool {
        matches!(self, Outcome::Lowered { .. } | Outcome::Refused { .. })
    }
}

/// The line for the log. The bounds are measured (datapath D): with 8 busy loops and a flood on two
/// cores a SCHED_FIFO detector was late by 0.2 ms at p99, an ordinary one by up to 100 ms at most.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Outcome::Ordinary => f.write_str("ordinary scheduling"),
            Outcome::Fifo(priority) => write!(f, "SCHED_FIFO {priority}"),
            Outcome::Lowered { asked, got } => write!(
                f,
                "SCHED_FIFO {got} instead of {asked}: RLIMIT_RTPRIO allows no more; \
                 set LimitRTPRIO={asked} in the unit"
            ),
            Outcome::Refused { asked, nice, errno } => write!(
                f,
                "no right to SCHED_FIFO {asked} ({}); running at {} priority: under load verdicts \
                 come up to 100 ms late (never false), so a failure_detection_time under 1s is not \
                 kept; set LimitRTPRIO={asked} in the unit or grant CAP_SYS_NICE",
                io::Error::from_raw_os_error(errno),
                if nice { "nice -20" } else { "ordinary" },
            ),
        }
    }
}

/// Gives the calling thread SCHED_FIFO at `priority` (1..=99; 0 = ordinary), exact timers, and the
/// guard against a runaway loop: what takes 200 ms of CPU in one piece, like reading the BTF of a
/// kernel object, must be done before. Never fails: what could not be had is in the outcome.
pub fn apply(priority: u8) -> Outcome {
    exact_timers();
    if priority == 0 {
        ordinary();
        return Outcome::Ordinary;
    }
    let allowed = raise_limit(priority);
    let first = match fifo(priority) {
        Ok(()) => return guarded(Outcome::Fifo(priority)),
        Err(errno) => errno,
    };
    if (1..priority).contains(&allowed) && fifo(allowed).is_ok() {
        return guarded(Outcome::Lowered { asked: priority, got: allowed });
    }
    Outcome::Refused { asked: priority, nice: nicest(), errno: first }
}

/// Timer slack of 1 ns (50 us otherwise for ordinary threads).
fn exact_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one plain number and concerns the calling thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

/// Lifts the soft limit as far as is allowed; answers the priority that may be had without
/// CAP_SYS_NICE.
fn raise_limit(priority: u8) -> u8 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_RTPRIO) else { return 0 };
    let wanted = u64::from(priority).min(hard);
    let now = if soft < wanted && setrlimit(Resource::RLIMIT_RTPRIO, wanted, hard).is_ok() {
        wanted
    } else {
        soft
    };
    u8::try_from(now.min(99)).unwrap_or(99)
}

fn fifo(priority: u8) -> Result<(), i32> {
    let param = libc::sched_param { sched_priority: i32::from(priority) };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: pid 0 is the calling thread, `param` outlives the call.
    match unsafe { libc::sched_setscheduler(0, policy, &param) } {
        0 => Ok(()),
        _ => Err(nix::errno::Errno::last_raw()),
    }
}

/// After a reload the thread may have had more until now. Giving up a priority is never refused.
fn ordinary() {
    let param = libc::sched_param { sched_priority: 0 };
    let policy = libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK;
    // SAFETY: pid 0 is the calling thread, `param` outlives the call.
    unsafe { libc::sched_setscheduler(0, policy, &param) };
}

/// The limit is one of the process but counts per thread, and only for real-time ones (O19). Where
/// it can't be set there is no guard, which harms nothing.
fn guarded(outcome: Outcome) -> Outcome {
    match setrlimit(Resource::RLIMIT_RTTIME, RUNAWAY_US, KILL_US) {
        Ok(()) | Err(_) => outcome,
    }
}

fn nicest() -> bool {
    // SAFETY: plain numbers; 0 is the calling thread (Linux keeps the nice value per thread).
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_fdt_is_honest() {
        let refused = Outcome::Refused { asked: 51, nice: false, errno: libc::EPERM };
        let text = refused.to_string();
        assert!(refused.is_short());
        assert!(text.contains("under 1s") && text.contains("LimitRTPRIO=51"), "{text}");
    }

    #[test]
    fn ordinary_is_no_shortage() {
        let outcome = std::thread::spawn(|| apply(0)).join().unwrap();
        assert_eq!(outcome, Outcome::Ordinary);
        assert!(!outcome.is_short());
    }
}
