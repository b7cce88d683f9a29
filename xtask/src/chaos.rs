//! `cargo xtask chaos --minutes N`: the promise checker of `mpathd/core/tests/promise`, for as long as it is
//! given, in worlds that its ordinary run leaves out too. Needs no root.

use anyhow::Result;

use crate::process::{cargo, run as run_to_the_end};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long to run
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The first seed; each world has the next one
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Worlds that are played at the same time
    #[arg(long, default_value_t = 1)]
    threads: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut chaos = cargo();
    chaos.args(["run", "--quiet", "--package", "mpathd-core", "--example", "chaos"]);
    chaos.env("MPATHD_CHAOS_MINUTES", arguments.minutes.to_string());
    chaos.env("MPATHD_CHAOS_SEED", arguments.seed.to_string());
    chaos.env("MPATHD_CHAOS_THREADS", arguments.threads.to_string());
    run_to_the_end(&mut chaos)
}
