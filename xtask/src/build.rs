//! `cargo xtask build`: release binaries with the XDP program inside.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::{self, cargo, target};
use crate::{ebpf, toolchain};

/// Builds everything; the folder with the three binaries.
pub(crate) fn binaries() -> Result<PathBuf> {
    ebpf::build(&toolchain::ensure()?)?;
    process::run(
        cargo()
            .args(["build", "--release", "--package", "mpathd", "--bins", "--target-dir"])
            .arg(target(""))
            // What is built must hold the object that was just built, not one that the environment names,
            // and lie where it is looked for.
            .env_remove("MPATHD_EBPF")
            .env_remove("CARGO_BUILD_TARGET"),
    )?;
    Ok(target("release"))
}

pub(crate) fn run() -> Result<()> {
    let folder = binaries()?;
    println!("built: mpathd, ipmpstat, if_mpadm in {}", folder.display());
    Ok(())
}
