//! `cargo xtask vm`: the daemon under real Debian kernels and a live systemd, which a network namespace can't
//! give. Boots Debian in qemu, runs the scripts of `tests/vm` inside, and passes on what they print: one line a
//! test in the format of the Test Anything Protocol. Emulated by default, so figures are those of a slow machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{need_root, output, root, target};
use crate::{build, toolchain};

/// Part of a disk's name: another one makes disks anew.
const RECIPE: u32 = 1;
/// Seconds; emulated, all of a suite's tests take about six minutes.
const LIMIT: &str = "1800";
const SYSTEM: &str = "systemd,systemd-sysv,udev,dbus,kmod,initramfs-tools,linux-image-amd64,\
                      iproute2,iputils-ping,procps,ethtool,nftables";
/// Starts what the second disk brings, and shuts down after it.
const UNIT: &str = "[Unit]\nDescription=Tests of mpathd\nSuccessAction=poweroff\nFailureAction=poweroff\n\
    [Service]\nType=exec\nExecStartPre=mkdir -p /under-test\n\
    ExecStartPre=mount -o ro /dev/vdb /under-test\nExecStart=/under-test/vm/run\n\
    StandardOutput=file:/dev/ttyS1\nStandardError=inherit\n";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Releases of Debian, and so kernels: bookworm has 6.1, trixie 6.12
    #[arg(long = "suite", default_values = ["bookworm", "trixie"])]
    suites: Vec<String>,
    /// Where their packages come from [default: debootstrap's]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// The hardware's virtualisation instead of emulation
    #[arg(long)]
    kvm: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run_all(arguments: &Arguments) -> Result<()> {
    need_root("vm")?;
    toolchain::ensure_virtual_machine()?;
    // As for the tests in namespaces: finished binaries, where somebody names their folder.
    let binaries = match std::env::var_os("MPATHD_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => build::binaries()?,
    };
    let mut failed = Vec::new();
    for suite in &arguments.suites {
        let folder = target("vm").join(format!("{suite}-{RECIPE}"));
        if !folder.exists() {
            install(suite, arguments.mirror.as_deref(), &folder)
                .with_context(|| format!("Debian {suite} can't be set up"))?;
        }
        let tests = folder.join("tests.img");
        pack(&binaries, arguments.filter.as_deref(), &tests)?;
        println!("vm: Debian {suite}; its console is in {}", folder.join("console").display());
        if let Err(error) = boot(&folder, &tests, arguments.kvm) {
            println!("vm: {suite}: {error:#}");
            failed.push(suite.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("failed under {}", failed.join(", "));
    }
    Ok(())
}

/// Makes the disk, and lays kernel and initrd beside it. `folder` appears when all is done.
fn install(suite: &str, mirror: Option<&str>, folder: &Path) -> Result<()> {
    println!("vm: debootstrap {suite} into {} (two to four minutes)", folder.display());
    let making = folder.with_extension("making");
    let system = making.join("system");
    fs::create_dir_all(&system)?;
    // In a mount namespace of its own: what debootstrap mounts in there goes with it.
    output(
        Command::new("unshare")
            .args(["--mount", "debootstrap", "--variant=minbase", "--include"])
            .args([SYSTEM, suite])
            .arg(&system)
            .args(mirror),
    )?;
    let units = system.join("etc/systemd/system");
    fs::write(units.join("tests.service"), UNIT)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    std::os::unix::fs::symlink(
        "../tests.service",
        units.join("multi-user.target.wants/tests.service"),
    )?;
    for entry in fs::read_dir(system.join("boot"))? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if let Some(kind @ ("vmlinuz" | "initrd.img")) = name.split('-').next() {
            fs::copy(&file, making.join(kind))?;
        }
    }
    disk(&making.join("system.img"), &system, "3G")?;
    fs::remove_dir_all(&system)?;
    fs::rename(&making, folder)?;
    Ok(())
}

/// The second disk: binaries, what is installed with them, and the scripts.
fn pack(binaries: &Path, filter: Option<&str>, image: &Path) -> Result<()> {
    let folder = image.with_extension("folder");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("bin"))?;
    for name in ["mpathd", "ipmpstat", "if_mpadm"] {
        let program = binaries.join(name);
        fs::copy(&program, folder.join("bin").join(name))
            .with_context(|| format!("there is no {}", program.display()))?;
    }
    for (from, to) in [("dist", "dist"), ("tests/vm", "vm")] {
        output(Command::new("cp").arg("-r").arg(root().join(from)).arg(folder.join(to)))?;
    }
    fs::write(folder.join("filter"), filter.unwrap_or_default())?;
    disk(image, &folder, "512M")?;
    fs::remove_dir_all(&folder).context("cannot remove what the disk was made from")
}

fn disk(image: &Path, folder: &Path, size: &str) -> Result<()> {
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-d"]).arg(folder).arg(image).arg(size);
    output(&mut command).map(drop)
}

/// Runs the guest to its end and judges what it prints.
fn boot(folder: &Path, tests: &Path, kvm: bool) -> Result<()> {
    let drive = |file: &Path| format!("file={},format=raw,if=virtio,snapshot=on", file.display());
    let accelerator = if kvm { ["kvm", "host"] } else { ["tcg,thread=multi", "max"] };
    let mut guest = Command::new("timeout")
        .args([LIMIT, "nice", "-n", "10", "qemu-system-x86_64", "-M", "q35"])
        .args(["-accel", accelerator[0], "-cpu", accelerator[1], "-smp", "2", "-m", "1G"])
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-device", "virtio-rng-pci"])
        .args(["-append", "console=ttyS0 root=/dev/vda rw", "-kernel"])
        .arg(folder.join("vmlinuz"))
        .arg("-initrd")
        .arg(folder.join("initrd.img"))
        .args(["-drive", &drive(&folder.join("system.img")), "-drive", &drive(tests)])
        .args(["-serial", &format!("file:{}", folder.join("console").display())])
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run qemu")?;
    let mut tally = Tally::default();
    for line in BufReader::new(guest.stdout.take().expect("it is piped")).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("  {}", line.trim_end());
        tally.count(line.trim_end());
    }
    let status = guest.wait()?;
    tally.judge().with_context(|| format!("qemu: {status}"))
}

/// What was read so far of the guest's lines: `ok 1 - NAME`, `not ok 2 - NAME`, `# TEXT`, and at the end `1..2`.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    planned: Option<usize>,
}

impl Tally {
    fn count(&mut self, line: &str) {
        if line.starts_with("ok ") {
            self.passed += 1;
        } else if line.starts_with("not ok ") {
            self.failed += 1;
        } else if let Some(plan) = line.strip_prefix("1..") {
            self.planned = plan.parse().ok();
        }
    }

    fn judge(&self) -> Result<()> {
        match self.planned {
            None => bail!("the guest has ended before its tests have"),
            Some(0) => bail!("no test has run"),
            Some(planned) if planned != self.passed + self.failed => {
                bail!("{} of {planned} tests have told their result", self.passed + self.failed)
            }
            Some(_) if self.failed > 0 => bail!("{} tests failed", self.failed),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn only_a_complete_list_without_a_failure_passes() {
        let judged = |lines: &[&str]| {
            let mut tally = Tally::default();
            lines.iter().for_each(|line| tally.count(line));
            tally.judge().is_ok()
        };
        assert!(judged(&["ok 1 - a", "# not ok", "ok 2 - b", "1..2"]));
        assert!(!judged(&["ok 1 - a", "not ok 2 - b", "1..2"]));
        assert!(!judged(&["ok 1 - a", "1..2"]));
        assert!(!judged(&["ok 1 - a"]));
        assert!(!judged(&["1..0"]));
    }
}
