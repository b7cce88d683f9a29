//! Real-time rights of the calling thread. Used by the fast and the host thread at their start.

use std::fmt;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// CPU time a real-time thread may use without one sleep; then SIGXCPU ends the process, for a
/// runaway loop at this priority would take a core from everything else. Not less: on a busy
/// emulated CPU the first turns of both threads took more than 200 ms. us.
const RUNAWAY_US: u64 = 2_000_000;
/// The same by SIGKILL, if the first was caught.
const KILL_US: u64 = 3_000_000;

/// In place of a priority: SCHED_DEADLINE, which comes before all of SCHED_FIFO.
pub const DEADLINE: u8 = 100;
/// What is promised to such a thread, and can't be exceeded: half of a CPU, and bursts that are longer than any turn.
/// The kernel's own server for ordinary tasks (Linux 6.12) has a deadline of 1 s, so ours always comes first. ns.
const DEADLINE_RUNTIME: u64 = 5_000_000;
const DEADLINE_PERIOD: u64 = 10_000_000;
/// SCHED_FIFO where that is refused, and of the host thread beside.
const FALLBACK: u8 = 51;

/// Of the host thread beside a fast thread of this one. Not less: at 50 it waits for ever behind others of 50,
/// and with it the addresses. Where both want one CPU, the kernel wakes the fast thread on another.
pub fn of_host(priority: u8) -> u8 {
    if priority == DEADLINE { FALLBACK } else { priority }
}

/// What the thread runs at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Ordinary scheduling was asked for.
    Ordinary,
    /// SCHED_FIFO at this priority.
    Fifo(u8),
    /// SCHED_FIFO at less than was asked for: RLIMIT_RTPRIO allows no more.
    Lowered { asked: u8, got: u8 },
    /// SCHED_DEADLINE.
    Deadline,
    /// SCHED_FIFO at [`FALLBACK`] instead of it.
    NoDeadline { errno: i32 },
    /// No right to real time; nice -20 instead if `nice`.
    Refused { asked: u8, nice: bool, errno: i32 },
}

impl Outcome {
    pub fn is_short(self) -> bool {
        !matches!(self, Outcome::Ordinary | Outcome::Fifo(_) | Outcome::Deadline)
    }
}

/// The line for the log. The bounds are measured (datapath D): with 8 busy loops and a flood on two
/// cores a SCHED_FIFO detector was late by 0.2 ms at p99, an ordinary one by up to 100 ms at most.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Outcome::Ordinary => f.write_str("ordinary scheduling"),
            Outcome::Fifo(priority) => write!(f, "SCHED_FIFO {priority}"),
            Outcome::Deadline => f.write_str("SCHED_DEADLINE"),
            Outcome::NoDeadline { errno } => write!(
                f,
                "SCHED_FIFO {FALLBACK} instead of SCHED_DEADLINE ({}); it needs CAP_SYS_NICE and all CPUs of \
                 this host",
                io::Error::from_raw_os_error(errno)
            ),
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

/// Gives the calling thread SCHED_FIFO at `priority` (1..=99; 0 = ordinary) or [`DEADLINE`], exact timers, and the
/// guard against a runaway loop: what takes seconds of CPU in one piece must be done before, or
/// [`at_ease`]. Never fails: what could not be had is in the outcome.
pub fn apply(priority: u8) -> Outcome {
    exact_timers();
    if priority == 0 {
        // After a reload it may have had more until now; giving it up is never refused.
        match set(libc::SCHED_OTHER, 0) {
            Ok(()) | Err(_) => return Outcome::Ordinary,
        }
    }
    if priority == DEADLINE {
        return match deadline() {
            Ok(()) => Outcome::Deadline,
            Err(errno) => match apply(FALLBACK) {
                Outcome::Fifo(_) => Outcome::NoDeadline { errno },
                less => less,
            },
        };
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

/// Does work that is long and not on the clock at ordinary scheduling, whatever the thread's own is.
pub fn at_ease<T>(work: impl FnOnce() -> T) -> T {
    let mut own = libc::sched_param { sched_priority: 0 };
    // SAFETY: pid 0 is the calling thread, `own` outlives the call.
    let known = unsafe { libc::sched_getparam(0, &raw mut own) } == 0;
    let real_time = known && own.sched_priority > 0;
    let eased = real_time && set(libc::SCHED_OTHER, 0).is_ok();
    let result = work();
    if eased {
        // RLIMIT_RTPRIO has not changed, so what was had can be had again.
        match set(libc::SCHED_FIFO, own.sched_priority) {
            Ok(()) | Err(_) => {}
        }
    }
    result
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
    set(libc::SCHED_FIFO, i32::from(priority))
}

fn deadline() -> Result<(), i32> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_DEADLINE.cast_unsigned(),
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: DEADLINE_RUNTIME,
        sched_deadline: DEADLINE_PERIOD,
        sched_period: DEADLINE_PERIOD,
    };
    // SAFETY: sched_setattr(2): pid 0 is the calling thread, the structure tells its size and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(nix::errno::Errno::last_raw()) }
}

fn set(policy: libc::c_int, sched_priority: libc::c_int) -> Result<(), i32> {
    let param = libc::sched_param { sched_priority };
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: pid 0 is the calling thread, `param` outlives the call.
    match unsafe { libc::sched_setscheduler(0, policy, &param) } {
        0 => Ok(()),
        _ => Err(nix::errno::Errno::last_raw()),
    }
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
    fn long_work_is_done_at_ordinary_scheduling() {
        // SAFETY: pid 0 is the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
        let seen = std::thread::spawn(move || {
            let outcome = apply(1);
            (outcome, policy(), at_ease(policy), policy())
        });
        let (outcome, before, during, after) = seen.join().unwrap();
        assert_eq!(during, libc::SCHED_OTHER);
        assert_eq!(before, after);
        // Only with the right to it there is anything to see.
        assert_eq!(before == libc::SCHED_FIFO, !outcome.is_short());
    }

    #[test]
    fn a_deadline_is_had_or_its_lack_is_told() {
        // SAFETY: pid 0 is the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
        let seen = std::thread::spawn(move || (apply(DEADLINE), policy())).join().unwrap();
        match seen {
            (Outcome::Deadline, policy) => assert_eq!(policy, libc::SCHED_DEADLINE),
            (outcome, policy) => assert!(outcome.is_short() && policy != libc::SCHED_DEADLINE),
        }
        assert_eq!([DEADLINE, 51, 1, 0].map(of_host), [51, 51, 1, 0]);
    }

    #[test]
    fn ordinary_is_no_shortage() {
        let outcome = std::thread::spawn(|| apply(0)).join().unwrap();
        assert_eq!(outcome, Outcome::Ordinary);
        assert!(!outcome.is_short());
    }
}
