//! Builds the XDP program with one cargo command in a target folder of its own, and puts the object where
//! mpathd's build script looks for it. Cargo's own fingerprints decide whether there is anything to do.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{root, run, target};
use crate::toolchain::Toolchain;

/// Where `mpathd/build.rs` expects it.
pub(crate) fn object() -> PathBuf {
    target("ebpf/mpathd.bpf.o")
}

/// Builds the object, and replaces the one in place only if it differs: its age decides whether the daemon
/// is built again.
pub(crate) fn build(toolchain: &Toolchain) -> Result<()> {
    let begun = Instant::now();
    let folder = target("bpf");
    if !object().exists() {
        println!("ebpf: building `core` and the XDP program (a minute or two the first time)");
    }
    run(cargo(toolchain, "build").arg("--quiet")).context("the XDP program does not build")?;
    let built = folder.join("bpfel-unknown-none/release/mpathd-ebpf");
    let new = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if !new.starts_with(b"\x7fELF") {
        bail!("{} is no BPF object: mpathd-ebpf was built for the wrong target", built.display());
    }
    let object = object();
    if fs::read(&object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::create_dir_all(object.parent().expect("it lies in target/ebpf"))?;
    fs::write(&object, &new).with_context(|| format!("cannot write {}", object.display()))?;
    if begun.elapsed() > Duration::from_secs(1) {
        println!("ebpf: {} bytes in {:.0} s", new.len(), begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// `cargo VERB` on the crate of the XDP program, with its own compiler.
pub(crate) fn cargo(toolchain: &Toolchain, verb: &str) -> Command {
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    flags.push(format!("-Clinker={}", toolchain.linker.display()));
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(root())
        .args([verb, "--package", "mpathd-ebpf", "--release", "--target", "bpfel-unknown-none"])
        .args(["-Zbuild-std=core", "--target-dir"])
        .arg(target("bpf"))
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        // Encoded, for a path may contain a space; it takes precedence over RUSTFLAGS and the configuration.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    command
}
