//! The kernel threads that handle what a NIC receives, where that is left to threads. One that sleeps
//! has handled all that had come in: the receive witness of design 2.12. A NIC without frames
//! has it at once, and one whose thread waits for a CPU has not.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mpathd_core::time::Instant;

/// Opened and closed by the host thread.
pub struct Receiver {
    /// /proc/PID/stat: a read takes some 4 us and waits for nothing.
    stat: OwnedFd,
    slept_at: Instant,
}

impl Receiver {
    pub fn new(stat: OwnedFd) -> Self {
        Self { stat, slept_at: Instant(0) }
    }

    fn is_asleep(&self) -> bool {
        let mut text = [0_u8; 64];
        // SAFETY: the buffer is ours for the call, and its length is given.
        let read = unsafe {
            libc::pread(self.stat.as_fd().as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0)
        };
        usize::try_from(read).is_ok_and(|length| state(&text[..length]) == Some(b'S'))
    }
}

/// Until when all that had come in has been handled: by now each of the threads has slept once at
/// that time or later; 0 before. `None` where they are not known. `now`: any moment before the call.
pub(super) fn handled_until(receivers: &mut [Receiver], now: Instant) -> Option<Instant> {
    for receiver in receivers.iter_mut() {
        if receiver.is_asleep() {
            receiver.slept_at = now;
        }
    }
    receivers.iter().map(|receiver| receiver.slept_at).min()
}

/// The one after the name, which stands in brackets and may hold any (proc_pid_stat(5)).
fn state(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(pid: &str) -> Receiver {
        Receiver::new(std::fs::File::open(format!("/proc/{pid}/stat")).unwrap().into())
    }

    #[test]
    fn the_state_follows_the_name() {
        assert_eq!(state(b"14 (ksoftirqd/0) S 2 0 0"), Some(b'S'));
        assert_eq!(state(b"99 (napi/a) S (b-3) R 2 0"), Some(b'R'));
        assert_eq!(state(b"99 (napi/eth0"), None);
    }

    #[test]
    fn one_that_runs_is_no_witness_and_all_must_be() {
        let now = Instant(7);
        assert_eq!(handled_until(&mut [], now), None);
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut sleeping = [receiver(&sleeper.id().to_string())];
        let begun = std::time::Instant::now();
        // It runs until it has begun to sleep.
        while handled_until(&mut sleeping, now) == Some(Instant(0)) {
            assert!(begun.elapsed().as_secs() < 10, "it does not sleep");
        }
        let [sleeping] = sleeping;
        assert_eq!(sleeping.slept_at, now);
        assert_eq!(handled_until(&mut [sleeping, receiver("thread-self")], now), Some(Instant(0)));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
