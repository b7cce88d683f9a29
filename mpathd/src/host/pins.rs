//! Where maps and links are pinned, so that they outlive the daemon. Pins lie in a directory named by
//! layout version and the network namespace's cookie, so that neither another version nor a daemon of
//! another namespace is ever adopted (N25).

use std::error::Error;
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use mpathd_common::abi::LAYOUT;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::private_file;

/// Where a daemon may have pinned what it left in place, the best first: a BPF file system of its own
/// in its run directory (the unit mounts it, for systemd closes the system's to all but root, O8).
pub fn places(run_dir: &Path) -> [PathBuf; 2] {
    [run_dir.join("bpf"), PathBuf::from("/sys/fs/bpf/mpathd")]
}

/// Where to pin.
pub fn place(run_dir: &Path) -> PathBuf {
    let [own, common] = places(run_dir);
    if is_bpffs(&own) { own } else { common }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|system| system.filesystem_type() == BPF_FS_MAGIC)
}

/// Makes the directory for pins below `bpffs`.
///
/// # Errors
/// In words, where there is no BPF file system or it is closed to us (systemd mounts it 0700, O8).
pub(super) fn directory(bpffs: &Path) -> Result<PathBuf, String> {
    let cookie = netns_cookie().map_err(|e| format!("no cookie of this network namespace: {e}"))?;
    let directory = bpffs.join(format!("{LAYOUT}-{cookie}"));
    let failed = |error: &dyn Error| format!("{}: {error}", directory.display());
    // The kernel mounts BPF file systems with mode 1777: another user may have made the directory first, and
    // what is pinned there would be that user's.
    private_file::make_directory(bpffs).map_err(|e| e.to_string())?;
    private_file::make_directory(&directory).map_err(|e| failed(&e))?;
    let system = statfs(&directory).map_err(|e| failed(&e))?;
    if system.filesystem_type() != BPF_FS_MAGIC {
        match fs::remove_dir(&directory) {
            Ok(()) | Err(_) => {}
        }
        return Err(format!("{} is not on a BPF file system", directory.display()));
    }
    Ok(directory)
}

/// That directory, if there is one.
pub(super) fn present(bpffs: &Path) -> Option<PathBuf> {
    let directory = bpffs.join(format!("{LAYOUT}-{}", netns_cookie().ok()?));
    private_file::open_directory(&directory).is_ok().then_some(directory)
}

/// Removes the pins of this network namespace, of whatever layout, and with them the hooks: nothing
/// else holds them when the daemon is gone. With `dry` they are only counted.
///
/// # Errors
/// Where the directory can't be read or a pin not be removed; none where there is no directory.
pub fn remove(bpffs: &Path, dry: bool) -> io::Result<usize> {
    let suffix = format!("-{}", netns_cookie()?);
    let mut pins = 0;
    for directory in entries(bpffs)?.iter().filter(|path| ends_with(path, &suffix)) {
        let files = entries(directory)?;
        pins += files.len();
        if !dry {
            files.iter().try_for_each(fs::remove_file)?;
            fs::remove_dir(directory)?;
        }
    }
    Ok(pins)
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn ends_with(path: &Path, suffix: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(suffix))
}

/// Unlike the number of its inode, the cookie of a namespace is never used again (Linux 5.14).
///
/// # Errors
/// ENOPROTOOPT on older kernels.
pub fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = 0u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into the u64, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
