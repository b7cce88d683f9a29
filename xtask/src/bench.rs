//! `cargo xtask bench`: measurements in a lab, with peers in the same run. They are `tests/src/bin/bench.rs`.

use anyhow::Result;

use crate::process::need_root;
use crate::{build, demo, peers, process, toolchain};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    need_root("bench")?;
    toolchain::ensure_peers()?;
    let binaries = build::binaries()?;
    let mut bench = demo::lab_program("bench", &binaries, arguments);
    peers::offer(&mut bench);
    process::run(&mut bench)
}
