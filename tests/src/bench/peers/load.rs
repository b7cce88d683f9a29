//! What else the machine has to do meanwhile.

use std::fmt::{self, Display};
use std::process::{Child, Command, Stdio};

use crate::load::Hogs;

const HOGS: usize = 16;
/// Below mpathd's own, and that of its contestants at their best.
const REAL_TIME: &str = "50";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Idle,
    /// As many for every CPU as a busy host has.
    Hogs,
    /// One for every CPU, before all that has no real-time priority.
    RealTimeHogs,
}

impl Load {
    pub(super) const ALL: [Self; 3] = [Self::Idle, Self::Hogs, Self::RealTimeHogs];

    /// Until it is dropped.
    pub(super) fn start(self) -> Running {
        match self {
            Self::Idle => Running { _hogs: None, real_time: Vec::new() },
            Self::Hogs => Running { _hogs: Some(Hogs::start(HOGS)), real_time: Vec::new() },
            Self::RealTimeHogs => {
                Running { _hogs: None, real_time: (0..cpus()).map(urgent_hog).collect() }
            }
        }
    }
}

impl Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Hogs => write!(f, "{HOGS} CPU hogs"),
            Self::RealTimeHogs => write!(f, "{} hogs at SCHED_FIFO {REAL_TIME}", cpus()),
        }
    }
}

pub(super) struct Running {
    _hogs: Option<Hogs>,
    real_time: Vec<Child>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for hog in &mut self.real_time {
            hog.kill().expect("it is our child, and does not end by itself");
            hog.wait().expect("it is our child");
        }
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn urgent_hog(_: usize) -> Child {
    Command::new("chrt")
        .args(["--fifo", REAL_TIME, "sh", "-c", "while :; do :; done"])
        .stdin(Stdio::null())
        .spawn()
        .expect("chrt (package util-linux) can be run")
}
