//! `cargo xtask demo`: the real daemon in a lab, shown live. The lab and the play are `tests/src/bin/demo.rs`.

use anyhow::Result;

use crate::process::need_root;
use crate::{build, process};

pub(crate) fn run(keep: bool) -> Result<()> {
    need_root("demo")?;
    let binaries = build::binaries()?;
    let arguments: &[&str] = if keep { &["--keep"] } else { &[] };
    process::run(&mut lab_program("demo", &binaries, arguments))
}

/// A program of the crate `mpathd-tests`, to be run on these release binaries.
pub(crate) fn lab_program<A: AsRef<std::ffi::OsStr>>(
    name: &str,
    binaries: &std::path::Path,
    arguments: &[A],
) -> std::process::Command {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--release", "--package", "mpathd-tests", "--bin", name, "--"]);
    command.args(arguments).env("MPATHD_BIN_DIR", binaries);
    command
}
