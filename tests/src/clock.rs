//! CLOCK_MONOTONIC in nanoseconds: the clock of the kernel's probe stamps, so that all figures compare.

use std::time::Duration;

use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// Nanoseconds of CLOCK_MONOTONIC.
pub type Nanos = u64;

pub fn now() -> Nanos {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds of CLOCK_REALTIME.
pub(crate) fn wall() -> Nanos {
    read(ClockId::CLOCK_REALTIME)
}

/// A moment of CLOCK_REALTIME, which the kernel stamps captured frames with, on CLOCK_MONOTONIC.
pub(crate) fn monotonic(stamp: Nanos) -> Nanos {
    /// Reading both clocks takes less, unless the thread is held up in between.
    const AT_ONCE: Nanos = 2_000;
    let read_both = || (now(), wall(), now());
    let mut best = read_both();
    for _ in 0..10 {
        if best.2 - best.0 < AT_ONCE {
            break;
        }
        let again = read_both();
        if again.2 - again.0 < best.2 - best.0 {
            best = again;
        }
    }
    let (before, real, after) = best;
    before + (after - before) / 2 - real.saturating_sub(stamp)
}

fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock).expect("both clocks exist on every Linux");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// Lets time pass that is itself what is tested: a load that lasts, a daemon that stands still.
pub fn pass(span: std::time::Duration) {
    sleep_until(now() + nanos(span));
}

/// Sleeps until that moment; the pace of a stream, never a substitute for a condition.
pub fn sleep_until(at: Nanos) {
    let (seconds, rest) = ((at / 1_000_000_000).cast_signed(), (at % 1_000_000_000).cast_signed());
    let at = nix::sys::time::TimeSpec::new(seconds, rest);
    let absolute = ClockNanosleepFlags::TIMER_ABSTIME;
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, absolute, &at).is_err() {}
}

/// Milliseconds between two moments; negative if the second is the earlier one.
pub fn ms_between(from: Nanos, to: Nanos) -> f64 {
    to.wrapping_sub(from).cast_signed() as f64 / 1e6
}

pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).expect("a duration under 584 years")
}

/// Makes the calling thread one of the lab's instruments: SCHED_FIFO 40, below the daemon's 50 and 51, above
/// all load. Without the right to it the thread stays as it is, and its stamps are later.
pub fn be_punctual() {
    run_at(40);
}

/// Runs the calling thread at this priority of SCHED_FIFO from now on, if it may.
pub(crate) fn run_at(priority: libc::c_int) {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters live through the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
}
