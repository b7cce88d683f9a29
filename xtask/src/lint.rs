//! `cargo xtask lint`: formatting, clippy for every crate, dependencies, and the house rules of `tidy`.

use anyhow::Result;

use crate::process::{cargo, find, output, run};
use crate::{behaviours, ebpf, tidy, toolchain};

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

pub(crate) fn run_all() -> Result<()> {
    step("tidy");
    tidy::run()?;
    step("behaviours");
    behaviours::check()?;
    step("cargo fmt --check");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    step("cargo clippy");
    run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets"]).args(DENY_WARNINGS))?;
    lint_ebpf()?;
    if find("cargo-deny").is_some() {
        step("cargo deny check");
        run(cargo().args([
            "deny",
            "--log-level",
            "error",
            "check",
            "licenses",
            "bans",
            "sources",
        ]))?;
    } else {
        step("cargo deny: not installed, so licences and sources of dependencies are not checked");
    }
    println!("lint: all is well");
    Ok(())
}

/// The XDP program for its real target; on the host its crate is an empty program.
fn lint_ebpf() -> Result<()> {
    let toolchain = toolchain::ensure()?;
    let has_clippy = output(ebpf::cargo(&toolchain, "clippy").arg("--version")).is_ok();
    if has_clippy {
        step("cargo clippy, the XDP program");
        run(ebpf::cargo(&toolchain, "clippy").arg("--quiet").args(DENY_WARNINGS))
    } else {
        step("cargo check, the XDP program (its compiler comes without clippy)");
        run(ebpf::cargo(&toolchain, "check").arg("--quiet"))
    }
}

fn step(name: &str) {
    println!("lint: {name}");
}
