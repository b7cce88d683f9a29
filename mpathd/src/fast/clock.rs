//! The clocks of the fast thread. All times are CLOCK_MONOTONIC, as the hook's stamps are; only the
//! stamps of sockets come in CLOCK_REALTIME and are converted here.

use std::time::Duration;

use mpathd_core::time::Instant;

const NS_PER_S: u64 = 1_000_000_000;

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec, and the clocks we name exist on every kernel.
    unsafe { libc::clock_gettime(clock, &mut time) };
    nanoseconds(time)
}

fn nanoseconds(time: libc::timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * NS_PER_S + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// CLOCK_MONOTONIC.
pub fn now() -> Instant {
    Instant(read(libc::CLOCK_MONOTONIC))
}

/// As the loop waits for a deadline. Not before `due`, unless a signal comes.
pub fn sleep_until(due: Instant) {
    let left = due.since(now());
    let timeout = libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(left.subsec_nanos()),
    };
    // SAFETY: no descriptors, no signal mask, and the time outlives the call.
    unsafe { libc::ppoll(std::ptr::null_mut(), 0, &raw const timeout, std::ptr::null()) };
}

/// CPU time that the calling thread has used so far; not what it waited.
pub fn used() -> Duration {
    Duration::from_nanos(read(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// How far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, sampled by [`Realtime::sample`].
#[derive(Clone, Copy, Debug)]
pub struct Realtime {
    ahead: u64,
}

impl Realtime {
    /// Reads one clock between two readings of the other; the error is half of what lies between
    /// them: some 50 ns, or as long as the thread was interrupted just there.
    pub fn sample() -> Self {
        let before = read(libc::CLOCK_MONOTONIC);
        let wall = read(libc::CLOCK_REALTIME);
        let after = read(libc::CLOCK_MONOTONIC);
        Self { ahead: wall.wrapping_sub(before + (after - before) / 2) }
    }

    /// The moment of a socket stamp. If the wall clock was set since the stamp was taken, the value
    /// is off by that step; so it is kept within `earliest..=latest`, where it must lie anyway.
    pub fn convert(self, stamp: libc::timespec, earliest: Instant, latest: Instant) -> Instant {
        let at = nanoseconds(stamp).wrapping_sub(self.ahead);
        Instant(at).max(earliest).min(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_stamp_comes_back_between_its_neighbours() {
        let earlier = now();
        let mut stamp = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a valid timespec.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut stamp) };
        let later = now();
        let slack = 1_000_000;
        let at = Realtime::sample().convert(stamp, Instant(0), Instant(u64::MAX));
        assert!(
            at.0 + slack >= earlier.0 && at.0 <= later.0 + slack,
            "{earlier:?} {at:?} {later:?}"
        );
    }

    #[test]
    fn a_clock_step_does_not_leave_the_bounds() {
        let (earliest, latest) = (Instant(1_000), Instant(2_000));
        let offset = Realtime { ahead: 5 * NS_PER_S };
        let stamp = |tv_sec| libc::timespec { tv_sec, tv_nsec: 1_500 };
        assert_eq!(offset.convert(stamp(5), earliest, latest), Instant(1_500));
        assert_eq!(offset.convert(stamp(6), earliest, latest), latest);
        assert_eq!(offset.convert(stamp(4), earliest, latest), latest);
    }
}
