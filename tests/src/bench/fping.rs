//! fping: the well-kept prober that everybody knows, at the same rate beside the daemon.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::NetNs;

/// # Panics
/// If fping is not installed.
pub(super) fn demand() {
    let there = Command::new("fping").arg("-v").stdout(Stdio::null()).status();
    assert!(there.is_ok_and(|it| it.success()), "fping is not installed: run `cargo xtask bench`");
}

/// A running fping. Ends when dropped.
#[derive(Debug)]
pub(super) struct Fping {
    child: Child,
    /// Reads what it says: a full pipe would hold it up.
    out: Option<JoinHandle<String>>,
}

impl Fping {
    /// Probes `targets` through `nic`, each every `period_ms`; how long, and what it tells, by more arguments.
    pub(super) fn start(
        host: &NetNs,
        nic: usize,
        period_ms: f64,
        more: &[&str],
        targets: &[String],
    ) -> Self {
        let start = || {
            Command::new("fping")
                .args(["-i", "1", "-p", &period_ms.to_string()])
                .args(["-I", &format!("eth{nic}")])
                .args(more)
                .args(targets)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        let mut child = host.run(start).expect("fping can be run");
        let mut stdout = child.stdout.take().expect("it is piped");
        let out = std::thread::spawn(move || {
            let mut said = String::new();
            stdout.read_to_string(&mut said).expect("it writes text");
            said
        });
        Self { child, out: Some(out) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it; what it has said: standard output, standard error.
    pub(super) fn finish(mut self) -> (String, String) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("it is our child");
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut err).expect("it writes text");
        let out = self.out.take().expect("it is finished once").join().expect("it does not panic");
        self.child.wait().expect("it is our child");
        (out, err)
    }
}

impl Drop for Fping {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap_or_default();
            self.child.wait().ok();
        }
    }
}
