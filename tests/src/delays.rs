//! What the machine itself does to everybody meanwhile: moments at which a CPU ran nothing for us, though our
//! thread came before all others, and waits for RTNL, the kernel's lock for network configuration. A timed test
//! may blame the machine only for what one of these has measured in the same run, within the time in question.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::clock::{self, Nanos};

/// Above the daemon's 51, the lab's 40, and everything else that a host runs.
const PRIORITY: libc::c_int = 90;
/// A stall shorter than that is told by the next look only.
const LOOK: Duration = Duration::from_millis(1);
/// A wake-up takes some tens of microseconds; what is longer is written down.
const STALL: Nanos = 200_000;
/// RTNL is asked for that often; more would be a load of its own.
const ASK: Duration = Duration::from_millis(2);
/// A request that waits for nobody takes some microseconds.
const WAIT: Nanos = 500_000;

/// From the moment something was due until it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    pub from: Nanos,
    pub to: Nanos,
}

/// Delays as they are measured, until dropped.
#[derive(Debug)]
pub struct Delays {
    seen: Arc<Mutex<Vec<Delay>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Delays {
    /// Stalls of the machine: one thread pinned to each CPU, SCHED_FIFO 90, that wants to wake every
    /// millisecond.
    ///
    /// # Panics
    /// Without the right to SCHED_FIFO: the daemon's own promise rests on it.
    pub fn of_cpus() -> Self {
        let cpus = std::thread::available_parallelism().expect("Linux tells").get();
        Self::start(cpus, |cpu, seen, stop| {
            let mut own = CpuSet::new();
            own.set(cpu).expect("a CPU that is there");
            sched_setaffinity(Pid::from_raw(0), &own).expect("the CPU is ours to use");
            come_first();
            let mut due = clock::now();
            while !stop.load(Ordering::Relaxed) {
                due += clock::nanos(LOOK);
                clock::sleep_until(due);
                due = note(seen, due, STALL);
            }
        })
    }

    /// Waits for RTNL: a thread at SCHED_FIFO 90 that makes a request which takes the lock and changes nothing.
    ///
    /// # Panics
    /// Without the right to SCHED_FIFO, or outside of `isolated`.
    pub fn of_rtnl() -> Self {
        assert!(crate::isolate::is_inside(), "the namespace must be the test's own");
        Self::start(1, |_, seen, stop| {
            let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)
                .expect("a netlink socket can be opened");
            socket.bind_auto().expect("it can be bound");
            let request = nothing_new_on_loopback();
            come_first();
            while !stop.load(Ordering::Relaxed) {
                let asked = clock::now();
                // Runs the request to its end, RTNL included.
                socket.send(&request, 0).expect("the kernel takes the request");
                let next = note(seen, asked, WAIT);
                socket.recv_from_full().expect("the kernel answers");
                clock::sleep_until(next + clock::nanos(ASK));
            }
        })
    }

    fn start(
        count: usize,
        work: impl Fn(usize, &Mutex<Vec<Delay>>, &AtomicBool) + Clone + Send + 'static,
    ) -> Self {
        let (seen, stop): (Arc<Mutex<_>>, Arc<AtomicBool>) = Default::default();
        let spawn = |index| {
            let (seen, stop, work) = (Arc::clone(&seen), Arc::clone(&stop), work.clone());
            std::thread::spawn(move || work(index, &seen, &stop))
        };
        let threads = (0..count).map(spawn).collect();
        Self { seen, stop, threads }
    }

    pub fn seen(&self) -> Vec<Delay> {
        self.seen.lock().expect("no watch has panicked").clone()
    }

    /// How much of that time was delay, on any CPU.
    pub fn within(&self, from: Nanos, to: Nanos) -> Duration {
        let mut delays = self.seen();
        delays.sort_by_key(|it| it.from);
        let mut counted = from;
        let mut sum = 0;
        for delay in delays {
            let (begin, end) = (delay.from.max(counted), delay.to.min(to));
            sum += end.saturating_sub(begin);
            counted = counted.max(end);
        }
        Duration::from_nanos(sum)
    }

    /// The longest single one that touches that time.
    pub fn longest(&self, from: Nanos, to: Nanos) -> Duration {
        let seen = self.seen();
        let touching = seen.iter().filter(|it| it.from < to && it.to > from);
        Duration::from_nanos(touching.map(|it| it.to - it.from).max().unwrap_or(0))
    }
}

impl Drop for Delays {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Writes down what took longer than `limit`; the time now.
fn note(seen: &Mutex<Vec<Delay>>, from: Nanos, limit: Nanos) -> Nanos {
    let to = clock::now();
    if to - from > limit {
        seen.lock().expect("no reader has panicked").push(Delay { from, to });
    }
    to
}

/// For a thread whose moments must not depend on any load.
pub(crate) fn come_first() {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the parameters live through the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "timed tests need the right to SCHED_FIFO (CAP_SYS_NICE): {error}");
}

/// RTM_SETLINK that sets nothing.
fn nothing_new_on_loopback() -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = 1;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut message =
        NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::SetLink(link)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_cpus_lost_together_counts_once() {
        let delay = |from, to| Delay { from, to };
        let seen = vec![delay(50, 60), delay(10, 20), delay(15, 25), delay(90, 130)];
        let delays =
            Delays { seen: Arc::new(Mutex::new(seen)), stop: Arc::default(), threads: Vec::new() };
        assert_eq!(delays.within(12, 100).as_nanos(), 13 + 10 + 10);
        assert_eq!(delays.within(26, 49).as_nanos(), 0);
        assert_eq!(delays.longest(0, 100).as_nanos(), 40);
        assert_eq!(delays.longest(26, 49).as_nanos(), 0);
    }
}
