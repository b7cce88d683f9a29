//! What else a host does: programs that want all CPUs, and container engines that make and delete network
//! namespaces, which holds RTNL.

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
