//! What the whole machine has left over: a thread on each CPU that only runs when nobody else wants to
//! (SCHED_IDLE), and counts what it gets done. What it misses is everybody's cost: threads, softirq, interrupts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Between two looks at the counter: some us.
const STEPS: u64 = 4096;

/// Soaks up all idle time, until dropped.
#[derive(Debug)]
pub(super) struct Leftover {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Leftover {
    /// # Panics
    /// If the kernel refuses SCHED_IDLE, which needs no right.
    pub(super) fn soak() -> Self {
        let (done, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let soaker = |cpu| {
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            std::thread::spawn(move || {
                settle_on(cpu);
                let mut state = 1_u64;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..STEPS {
                        state = std::hint::black_box(state.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 1);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..cpus).map(soaker).collect();
        Self { done, stop, threads }
    }

    /// Work done so far, of no particular unit.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn cpus(&self) -> usize {
        self.threads.len()
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|it| drop(it.join()));
    }
}

fn settle_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("there is such a CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("any thread may");
    let plain = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are ours for the call.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &plain) };
    assert_eq!(done, 0, "SCHED_IDLE: {}", std::io::Error::last_os_error());
}
