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

/// A namespace with many veth pairs, made and deleted again and again until dropped. The kernel takes RTNL once
/// for each device that is made, and holds it while all of a namespace are deleted.
#[derive(Debug)]
pub struct Containers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Containers {
    /// # Panics
    /// Outside of `isolated`.
    pub fn start(pairs: usize) -> Self {
        assert!(crate::isolate::is_inside(), "namespaces are made within `isolated`");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let links: String = (0..pairs)
                .map(|n| {
                    format!(
                        "link add c{n} netns container type veth peer name d{n} netns container\n"
                    )
                })
                .collect();
            while !stopped.load(Ordering::Relaxed) {
                batch("ip", &format!("netns add container\n{links}netns del container\n"));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
