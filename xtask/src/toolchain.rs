//! Finds, or installs on Debian, what building and testing needs. Says in one line each what it does; where
//! nothing is missing it only looks at a few files and asks rustc for its version.
//!
//! The XDP program needs three things that a plain Rust lacks: `core` as source (there is no ready one for
//! BPF), a compiler that may use unstable flags (RUSTC_BOOTSTRAP=1 lets a stable one), and bpf-linker built
//! for the same major LLVM as that compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, find, is_root, output, run, target};

/// bpf-linker 0.13 can be built for 21 to 23; Debian 12 has 22, and so have Rust 1.95 to 1.97.
const LLVM: &str = "22";
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const BPF_LINKER: &str = "0.13.0";
/// Seconds. rustup waits long for a mirror that does not answer.
const RUSTUP_LIMIT: &str = "120";

/// A Debian package, and a file that proves it is there (cheaper than asking dpkg).
struct Package {
    name: &'static str,
    proof: &'static str,
    why: &'static str,
}

/// For every verb.
const BASE: &[Package] = &[
    Package { name: "gcc", proof: "/usr/bin/cc", why: "links Rust programs" },
    Package { name: "libc6-dev", proof: "/usr/include/stdio.h", why: "links Rust programs" },
    Package {
        name: "iproute2",
        proof: "/usr/sbin/ip",
        why: "the labs of the tests, demo and bench",
    },
    Package { name: "nftables", proof: "/usr/sbin/nft", why: "tests with MASQUERADE and filters" },
    Package {
        name: "systemd",
        proof: "/usr/bin/systemd-analyze",
        why: "the test of the systemd unit",
    },
];

/// What the benchmark compares with, and its load.
const PEERS: &[Package] = &[
    Package { name: "fping", proof: "/usr/bin/fping", why: "the peer of the benchmark" },
    Package { name: "stress-ng", proof: "/usr/bin/stress-ng", why: "the load of the benchmark" },
];

/// What `cargo xtask vm` boots Debian with.
const VIRTUAL_MACHINE: &[Package] = &[
    Package {
        name: "qemu-system-x86",
        proof: "/usr/bin/qemu-system-x86_64",
        why: "runs the guests",
    },
    Package { name: "debootstrap", proof: "/usr/sbin/debootstrap", why: "installs the guests" },
    Package { name: "e2fsprogs", proof: "/usr/sbin/mkfs.ext4", why: "makes the guests' disks" },
];

/// To build bpf-linker.
const LINKER: &[Package] = &[
    Package { name: "llvm-22-dev", proof: "/usr/lib/llvm-22/bin/llvm-config", why: "bpf-linker" },
    Package {
        name: "libpolly-22-dev",
        proof: "/usr/lib/llvm-22/lib/libPolly.a",
        why: "bpf-linker",
    },
    Package { name: "libzstd-dev", proof: "/usr/include/zstd.h", why: "bpf-linker" },
];

/// A compiler with the source of `core`, where rustup has none.
const COMPILER: &[Package] = &[
    Package { name: "rustc-web", proof: "/usr/bin/rustc", why: "compiles the XDP program" },
    Package { name: "cargo-web", proof: "/usr/bin/cargo", why: "compiles the XDP program" },
    Package {
        name: "rust-web-src",
        proof: "/usr/lib/rustlib/src/rust/library/core/Cargo.toml",
        why: "the source of `core` for the XDP program",
    },
];

/// What the XDP program is built with.
pub(crate) struct Toolchain {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    pub(crate) linker: PathBuf,
}

/// Sets up what is missing.
pub(crate) fn ensure() -> Result<Toolchain> {
    install(BASE)?;
    let (cargo, rustc) = compiler()?;
    Ok(Toolchain { cargo, rustc, linker: linker()? })
}

/// Sets up what only the benchmark needs.
pub(crate) fn ensure_peers() -> Result<()> {
    install(PEERS)
}

/// Sets up what only the virtual machines need.
pub(crate) fn ensure_virtual_machine() -> Result<()> {
    install(VIRTUAL_MACHINE)
}

/// Cargo and rustc that can build `core`: the ones in use, then Debian's, then the ones in use after rustup
/// has fetched the source, then Debian's after apt has. So the network is asked only when neither is there.
fn compiler() -> Result<(PathBuf, PathBuf)> {
    let own = || (PathBuf::from(cargo().get_program()), PathBuf::from("rustc"));
    let debian = || (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    if builds_core(&own().1) {
        return Ok(own());
    }
    if builds_core(&debian().1) {
        return Ok(debian());
    }
    if add_rust_src() && builds_core(&own().1) {
        return Ok(own());
    }
    install(COMPILER)?;
    if !builds_core(&debian().1) {
        bail!(
            "/usr/bin/rustc with LLVM {LLVM} and the source of `core` is not there, though its packages are: \
             `rustup component add rust-src` on a toolchain with LLVM {LLVM} (Rust 1.95) is the other way"
        );
    }
    Ok(debian())
}

/// Whether this compiler has the source of `core` and the LLVM that bpf-linker is built for.
fn builds_core(rustc: &Path) -> bool {
    let Ok(version) = output(Command::new(rustc).arg("-vV")) else { return false };
    let Ok(sysroot) = output(Command::new(rustc).args(["--print", "sysroot"])) else {
        return false;
    };
    llvm_major(&version) == Some(LLVM)
        && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

fn llvm_major(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()
}

fn add_rust_src() -> bool {
    if find("rustup").is_none() {
        return false;
    }
    println!("toolchain: rustup component add rust-src (the source of `core` for the XDP program)");
    let mut rustup = Command::new("timeout");
    rustup.args([RUSTUP_LIMIT, "rustup", "component", "add", "rust-src"]);
    match output(&mut rustup) {
        Ok(_) => true,
        Err(error) => {
            println!(
                "toolchain: rustup cannot fetch it, Debian's packages are used instead ({error:#})"
            );
            false
        }
    }
}

/// The project's own bpf-linker, under target/tools.
fn linker() -> Result<PathBuf> {
    let folder = target("tools");
    let linker = folder.join("bin/bpf-linker");
    if !linker.exists() {
        install(LINKER)?;
        let build = folder.join("build");
        println!(
            "toolchain: cargo install bpf-linker {BPF_LINKER} into target/tools (one to two minutes)"
        );
        run(cargo()
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--quiet"])
            .args(["--no-default-features", "--features", &format!("llvm-{LLVM}"), "--root"])
            .arg(&folder)
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .env("CARGO_TARGET_DIR", &build))
        .context("bpf-linker links the XDP program; without it there is none")?;
        std::fs::remove_dir_all(&build).context("cannot remove what bpf-linker was built in")?;
    }
    Ok(linker)
}

fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> =
        packages.iter().filter(|it| !Path::new(it.proof).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|it| it.name).collect();
    if !is_root() {
        bail!("missing: {0}. As root: apt-get install {0}", names.join(" "));
    }
    if find("apt-get").is_none() {
        bail!(
            "missing, and no apt-get to install it with: {} (names of Debian 12)",
            names.join(" ")
        );
    }
    for package in &missing {
        println!("toolchain: apt-get install {} ({})", package.name, package.why);
    }
    // A fresh image has no package lists; where they are there, but old, the second attempt renews them.
    if apt_install(&names).is_err() {
        output(Command::new("apt-get").args(["update", "-q"]))
            .context("apt-get has no package lists")?;
        apt_install(&names)?;
    }
    Ok(())
}

fn apt_install(names: &[&str]) -> Result<()> {
    // --no-remove: Debian's compiler conflicts with a rustup that apt has installed; rather fail.
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-q", "--no-remove", "--no-install-recommends"]).args(names);
    output(apt.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::llvm_major;

    #[test]
    fn llvm_major_is_read_from_the_verbose_version() {
        assert_eq!(llvm_major("release: 1.95.0\nLLVM version: 22.1.2\n"), Some("22"));
        assert_eq!(llvm_major("release: 1.95.0\n"), None);
    }
}
