//! One daemon per run directory and network namespace. The lock is a file in the run directory, which other
//! users cannot take. An abstract socket (unix(7)) names the network namespace, which no file does; because any
//! user can bind one, it counts only where the daemon's user, the run directory's owner or root holds it.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{User, geteuid};

const NAME: &[u8] = b"mpathd";
/// The user of the unit file.
const USER: &str = "mpathd";

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// `None` where another user has taken the name.
    listener: Option<UnixListener>,
    /// That user.
    pub name_taken_by: Option<u32>,
}

/// Another process holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// As this process' PID namespace knows it; 0 if it doesn't.
    pub pid: i32,
    pub uid: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{0}")]
    Running(Running),
    #[error("cannot lock {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot bind the socket @mpathd, which is the lock of this network namespace: {0}")]
    Io(#[from] io::Error),
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another mpathd runs in this namespace (pid {})", self.pid)?;
        match self.uid {
            0 => Ok(()),
            uid => write!(f, ", owned by uid {uid}"),
        }
    }
}

/// `run_dir` exists.
///
/// # Errors
/// Where another process has the lock, or no file or socket is to be had.
pub fn acquire(run_dir: &Path) -> Result<Lock, LockError> {
    acquire_as(run_dir, NAME)
}

/// Under a name of one's own, for tests that share a network namespace.
///
/// # Errors
/// As [`acquire`].
pub fn acquire_as(run_dir: &Path, name: &[u8]) -> Result<Lock, LockError> {
    let path = run_dir.join("lock");
    let (file, owner) = lock_file(&path)?;
    let mut lock = Lock { _file: file, listener: None, name_taken_by: None };
    match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?) {
        Ok(listener) => lock.listener = Some(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let own = geteuid().as_raw();
            let of_unit = User::from_name(USER).ok().flatten().map(|user| user.uid.as_raw());
            match holder(name) {
                Some(it) if [0, own, owner].contains(&it.uid) || of_unit == Some(it.uid) => {
                    return Err(LockError::Running(it));
                }
                other => lock.name_taken_by = other.map(|it| it.uid),
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(lock)
}

/// The locked file and the owner of its directory.
fn lock_file(path: &Path) -> Result<(File, u32), LockError> {
    let failed = |source| LockError::File { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new(".")).metadata().map_err(failed)?;
    let mut options = OpenOptions::new();
    // Unreadable for others, because whoever can open it can lock it; O_NONBLOCK, because it may be a FIFO.
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let mut file = options.open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(failed(io::Error::other("it is no ordinary file, or has several names")));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(LockError::Running(Running { pid: pid.unwrap_or(0), uid: found.uid() }));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // After `mpathd release` by root the daemon must be able to open it.
    if geteuid().is_root() && found.uid() != directory.uid() {
        fchown(&file, Some(directory.uid()), Some(directory.gid())).map_err(failed)?;
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok((file, directory.uid()))
}

fn holder(name: &[u8]) -> Option<Running> {
    let address = SocketAddr::from_abstract_name(name).ok()?;
    let stream = UnixStream::connect_addr(&address).ok()?;
    let holder = getsockopt(&stream, PeerCredentials).ok()?;
    Some(Running { pid: holder.pid(), uid: holder.uid() })
}

impl Lock {
    /// The socket that names the network namespace; the lock lasts as long as `self`.
    ///
    /// # Errors
    /// Where the runtime does not take it.
    pub(super) fn open(&mut self) -> io::Result<Option<tokio::net::UnixListener>> {
        let Some(listener) = self.listener.take() else { return Ok(None) };
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener).map(Some)
    }

    /// Lets those go who asked for the pid, or the backlog fills and the next one hangs.
    pub(super) async fn serve(listener: tokio::net::UnixListener) {
        loop {
            if listener.accept().await.is_err() {
                // Out of descriptors: whoever waits is served when there are some again.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slow::sample;

    fn pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn the_second_one_is_told_who_the_first_is() {
        let (dir, other) = (sample::dir("lock"), sample::dir("lock-other"));
        let name = format!("mpathd-test-{}", pid());
        let name = name.as_bytes();
        let lock = acquire_as(&dir, name).unwrap();
        // By the file, and by the name of the network namespace.
        for directory in [&dir, &other] {
            let Err(LockError::Running(running)) = acquire_as(directory, name) else {
                panic!("two locks of one name")
            };
            assert_eq!(running.pid, pid());
        }
        drop(lock);
        drop(acquire_as(&other, name).unwrap());
        acquire_as(&dir, name).unwrap();
    }

    #[test]
    fn a_link_in_the_way_is_refused() {
        let dir = sample::dir("lock-link");
        std::fs::write(dir.join("victim"), "theirs").unwrap();
        std::os::unix::fs::symlink(dir.join("victim"), dir.join("lock")).unwrap();
        assert!(matches!(acquire_as(&dir, b"mpathd-test-link"), Err(LockError::File { .. })));
        std::fs::remove_file(dir.join("lock")).unwrap();
        std::fs::hard_link(dir.join("victim"), dir.join("lock")).unwrap();
        assert!(matches!(acquire_as(&dir, b"mpathd-test-link"), Err(LockError::File { .. })));
        assert_eq!(std::fs::read_to_string(dir.join("victim")).unwrap(), "theirs");
    }
}
