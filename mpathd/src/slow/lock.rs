//! One daemon per network namespace: an abstract socket is the lock, for those belong to a network
//! namespace and vanish with their owner (unix(7)), which no file does.

use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

const NAME: &[u8] = b"mpathd";

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock(UnixListener);

/// Somebody holds the lock.
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
    #[error("cannot bind the socket @mpathd, which is the lock of this network namespace: {0}")]
    Io(#[from] io::Error),
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another mpathd runs in this namespace (pid {})", self.pid)?;
        // Abstract sockets have no permissions: anybody may take the name.
        match self.uid {
            0 => Ok(()),
            uid => write!(f, ", owned by uid {uid}"),
        }
    }
}

/// # Errors
/// Where another process of this network namespace has the lock, or no socket is to be had.
pub fn acquire() -> Result<Lock, LockError> {
    acquire_as(NAME)
}

/// The daemon of this network namespace.
pub fn running() -> Option<Running> {
    running_as(NAME)
}

/// Under a name of one's own, for tests that share a network namespace.
///
/// # Errors
/// As [`acquire`].
pub fn acquire_as(name: &[u8]) -> Result<Lock, LockError> {
    match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?) {
        Ok(listener) => Ok(Lock(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(running_as(name).map_or(LockError::Io(error), LockError::Running))
        }
        Err(error) => Err(error.into()),
    }
}

fn running_as(name: &[u8]) -> Option<Running> {
    let address = SocketAddr::from_abstract_name(name).ok()?;
    let stream = UnixStream::connect_addr(&address).ok()?;
    let holder = getsockopt(&stream, PeerCredentials).ok()?;
    Some(Running { pid: holder.pid(), uid: holder.uid() })
}

impl Lock {
    /// # Errors
    /// Where the runtime does not take it.
    pub(super) fn open(self) -> io::Result<tokio::net::UnixListener> {
        self.0.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(self.0)
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

    #[test]
    fn the_second_one_is_told_who_the_first_is() {
        let name = format!("mpathd-test-{}", std::process::id());
        let name = name.as_bytes();
        assert_eq!(running_as(name), None);
        let lock = acquire_as(name).unwrap();
        let Err(LockError::Running(running)) = acquire_as(name) else {
            panic!("two locks of one name")
        };
        assert_eq!(running.pid, i32::try_from(std::process::id()).unwrap());
        drop(lock);
        assert_eq!(running_as(name), None);
        acquire_as(name).unwrap();
    }
}
