//! fping: the well-kept prober that everybody knows, at the same rate beside the daemon.

use std::io::Read;
use std::process::{Child, Command, Stdio};

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
pub(super) struct Fping(Child);

impl Fping {
    /// Probes `targets` through `nic`, each every `period_ms`, without end; more arguments as given.
    pub(super) fn start(
        host: &NetNs,
        nic: usize,
        period_ms: f64,
        more: &[&str],
        targets: &[String],
    ) -> Self {
        let start = || {
            Command::new("fping")
                .args(["-l", "-i", "1", "-p", &period_ms.to_string()])
                .args(["-I", &format!("eth{nic}")])
                .args(more)
                .args(targets)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        Self(host.run(start).expect("fping can be run"))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it; what it has said: standard output, standard error.
    pub(super) fn finish(mut self) -> (String, String) {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("it is our child");
        let (mut out, mut err) = (String::new(), String::new());
        let mut stdout = self.0.stdout.take().expect("it is piped");
        let mut stderr = self.0.stderr.take().expect("it is piped");
        stdout.read_to_string(&mut out).expect("it writes text");
        stderr.read_to_string(&mut err).expect("it writes text");
        self.0.wait().expect("it is our child");
        (out, err)
    }
}

impl Drop for Fping {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.0.kill().unwrap_or_default();
            self.0.wait().ok();
        }
    }
}
