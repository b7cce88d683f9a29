//! What else a host does: programs that want all CPUs, some of them at real-time priorities, programs that fork and
//! want memory, and container engines that make and delete network namespaces, which holds RTNL.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::netns::batch;

/// Processes that run for ever, until dropped.
#[derive(Debug)]
pub struct Hogs(Vec<Child>);

impl Hogs {
    /// # Panics
    /// If they cannot be started.
    pub fn start(count: usize) -> Self {
        let hog = |_| {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .expect("a shell can be run")
        };
        Self((0..count).map(hog).collect())
    }

    /// One on each CPU, at this priority of SCHED_FIFO. What is below gets what the kernel takes from them: see
    /// sched(7), "Limiting the CPU usage of real-time and deadline processes".
    ///
    /// # Panics
    /// If they cannot be started.
    pub fn of_real_time(priority: u32) -> Self {
        let cpus = std::thread::available_parallelism().expect("Linux tells").get();
        let hog = |cpu: usize| {
            Command::new("chrt")
                .args(["-f", &priority.to_string(), "taskset", "-c", &cpu.to_string()])
                .args(["sh", "-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .expect("chrt and taskset (package util-linux) can be run")
        };
        Self((0..cpus).map(hog).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            hog.kill().expect("it is our child, and does not end by itself");
        }
        for hog in &mut self.0 {
            hog.wait().expect("it is our child");
        }
    }
}

/// A running stress-ng with its workers, until dropped.
#[derive(Debug)]
pub struct Stress(Child);

impl Stress {
    /// # Panics
    /// If it cannot be started: `cargo xtask bench` installs it.
    pub fn start(arguments: &[&str]) -> Self {
        let child = Command::new("stress-ng")
            .args(["--quiet", "--temp-path", "/run"])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn();
        Self(child.expect("stress-ng is installed"))
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        // It ends its workers.
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is our child");
        self.0.wait().expect("it is our child");
    }
}

/// Namespaces with a pair of devices each, made and deleted again and again, some at a time, until dropped. The kernel
/// takes RTNL for each step, and sleeps with it while the last readers of what is deleted finish.
#[derive(Debug)]
pub struct Containers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Containers {
    /// # Panics
    /// Outside of `isolated`.
    pub fn start(at_a_time: usize) -> Self {
        assert!(crate::isolate::is_inside(), "namespaces are made within `isolated`");
        let stop = Arc::new(AtomicBool::new(false));
        let container = |n| {
            let stopped = Arc::clone(&stop);
            let lines = format!(
                "netns add c{n}\nlink add veth0 netns c{n} type veth peer name veth1 netns c{n}\nnetns del c{n}\n"
            );
            std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    batch("ip", &lines);
                }
            })
        };
        let threads = (0..at_a_time).map(container).collect();
        Self { stop, threads }
    }
}

impl Drop for Containers {
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
