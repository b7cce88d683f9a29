//! The BFD daemons that the benchmark compares with: Debian's packages, unpacked into target/peers and never
//! installed, so that no daemon is started and no user is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{find, output, target};

/// The daemons, and those of their libraries that a small Debian 12 lacks.
const PACKAGES: &[&str] = &[
    "frr",
    "libyang2",
    "bird2",
    "libssh-gcrypt-4",
    "keepalived",
    "libnl-3-200",
    "libnl-genl-3-200",
    "libpci3",
    "libsnmp40",
    "libwrap0",
];
const DAEMONS: &[&str] = &["usr/lib/frr/bfdd", "usr/sbin/bird", "usr/sbin/keepalived"];
/// Names what has been unpacked; written last.
const MARK: &str = "packages";

/// Tells a program where the daemons are; they are fetched first, if they are not there. Without a network, or
/// on another distribution, it is left without.
pub(crate) fn offer(program: &mut Command) {
    match ensure() {
        Ok(folder) => {
            program.env("MPATHD_PEERS_LIBRARIES", library_path(&folder));
            program.env("MPATHD_PEERS_DIR", folder);
        }
        Err(error) => println!("peers: there is none to compare with: {error:#}"),
    }
}

/// The folder with the daemons, `usr/sbin/bird` and so on. Asks the network only when they are not there.
fn ensure() -> Result<PathBuf> {
    let folder = target("peers");
    let mark = folder.join(MARK);
    let wanted = PACKAGES.join("\n");
    // Without a mark there is nothing, or half of it.
    if fs::read_to_string(&mark).unwrap_or_default() != wanted {
        unpack(&folder)?;
        demand_libraries(&folder)?;
        fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))?;
    }
    Ok(folder)
}

fn unpack(folder: &Path) -> Result<()> {
    if find("apt-get").is_none() || find("dpkg").is_none() {
        bail!(
            "no apt-get and dpkg to fetch them with: {} (names of Debian 12)",
            PACKAGES.join(" ")
        );
    }
    println!("peers: apt-get download {} (9 MB, into target/peers)", PACKAGES.join(" "));
    if folder.exists() {
        fs::remove_dir_all(folder).context("cannot clear target/peers")?;
    }
    let packages = folder.join("deb");
    fs::create_dir_all(&packages).context("cannot make target/peers/deb")?;
    // A fresh image has no package lists; old ones name versions that are gone.
    if download(&packages).is_err() {
        output(Command::new("apt-get").args(["update", "-q"]))
            .context("apt-get has no package lists")?;
        download(&packages)?;
    }
    for package in fs::read_dir(&packages).context("cannot read target/peers/deb")? {
        output(Command::new("dpkg").arg("-x").arg(package?.path()).arg(folder))?;
    }
    fs::remove_dir_all(&packages).context("cannot remove target/peers/deb")
}

fn download(into: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    // Apt's own user may not write below a home.
    apt.args(["download", "-q", "-o", "APT::Sandbox::User=root"]).args(PACKAGES).current_dir(into);
    output(&mut apt).map(drop)
}

fn demand_libraries(folder: &Path) -> Result<()> {
    for daemon in DAEMONS {
        let mut ldd = Command::new("ldd");
        ldd.arg(folder.join(daemon)).env("LD_LIBRARY_PATH", library_path(folder));
        let said = output(&mut ldd)?;
        let missing: Vec<&str> = missing_libraries(&said).collect();
        if !missing.is_empty() {
            bail!("{daemon} needs {}: install what has it, and try again", missing.join(", "));
        }
    }
    Ok(())
}

/// `libpci.so.3 => not found`
fn missing_libraries(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.lines().filter_map(|line| line.trim().strip_suffix(" => not found"))
}

/// Where Debian's packages have their libraries, in the form of LD_LIBRARY_PATH.
fn library_path(folder: &Path) -> String {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    ["usr/lib/{}", "lib/{}", "usr/lib/{}/frr"]
        .map(|it| folder.join(it.replace("{}", &triplet)).display().to_string())
        .join(":")
}

#[cfg(test)]
mod tests {
    use super::missing_libraries;

    #[test]
    fn ldd_names_what_is_missing() {
        let said = "\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\tlibpci.so.3 => not found\n";
        assert_eq!(missing_libraries(said).collect::<Vec<_>>(), ["libpci.so.3"]);
    }
}
