//! `ipmpstat`: shows groups, interfaces, addresses, targets and probes.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use mpathd::cli::ipmpstat::{self, Setting, screen};
use mpathd::cli::options;
use mpathd::slow::client::Client;
use mpathd_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let mut out = io::stdout();
    let setting = Setting {
        run_dir: options::default_run_dir(),
        hosts: "/etc/hosts".into(),
        started: now(),
        screen: &|| screen::lines(&io::stdout()),
    };
    ipmpstat::run::<Client>(options::arguments(), &setting, &mut out, &mut io::stderr())
}

/// On the clock of the daemon's stamps.
fn now() -> Instant {
    let at = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    Instant(0) + at
}
