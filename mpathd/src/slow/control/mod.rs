//! The control socket DIR/mpathd.sock: varlink, through zlink. Anybody may read; root, the daemon's
//! own user and the group `mpathd` may change. One task a connection, each with its own server, for
//! a stock one lets a single client that doesn't read silence all (review of the architecture, 5).

mod limits;
mod service;
mod socket;
mod wire;

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt::PeerCredentials};
use nix::unistd::{Group, geteuid};
use tokio::net::UnixStream;
use tokio::task::spawn_local;
use zlink::connection::socket::{FetchPeerCredentials, Socket};

use super::hub::Hub;
use crate::descriptors::{is_lack, with_reserve};
use limits::Limits;
pub(super) use wire::{ControlError, INTERFACE};
pub use wire::{Events, ProbeRecord};

/// Members of this group may change things.
pub const GROUP: &str = "mpathd";

pub(super) fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("mpathd.sock")
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "another mpathd (pid {pid}) listens at {}; give this one a directory of its own with \
         --run-dir",
        path.display()
    )]
    InUse { path: PathBuf, pid: i32 },
    #[error("{} is in the way: it is not a socket; remove it", .0.display())]
    NotSocket(PathBuf),
    #[error("cannot listen at {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Who may change things.
pub(super) struct Access {
    own: u32,
    group: Option<u32>,
}

impl Access {
    /// The group is looked up once: a directory service that hangs must not stop the watchdog.
    pub(super) fn new() -> Self {
        let group = Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw());
        Self { own: geteuid().as_raw(), group }
    }

    fn trusted(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own
    }

    async fn check<S: Socket>(
        &self,
        connection: &mut zlink::Connection<S>,
    ) -> Result<(), ControlError>
    where
        S::ReadHalf: FetchPeerCredentials,
    {
        let denied = ControlError::PermissionDenied { group: GROUP.to_owned() };
        let Ok(peer) = connection.peer_credentials().await else { return Err(denied) };
        let primary = peer.unix_primary_group_id();
        let mut groups = peer.unix_supplementary_group_ids().iter().chain([&primary]);
        let member = groups.any(|gid| Some(gid.as_raw()) == self.group);
        if self.trusted(peer.unix_user_id().as_raw()) || member { Ok(()) } else { Err(denied) }
    }
}

/// The control socket, on which nobody answers yet.
#[derive(Debug)]
pub struct Listener(UnixListener);

impl Listener {
    /// # Errors
    /// Where the runtime does not take it.
    pub(super) fn open(self) -> io::Result<tokio::net::UnixListener> {
        self.0.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(self.0)
    }
}

/// Replaces what a daemon that was killed has left. By renaming: there is no moment without a
/// socket, or with one that not all may open.
///
/// # Errors
/// Where somebody listens there, something else is in the way, or the directory can't be written.
pub fn listen(run_dir: &Path) -> Result<Listener, BindError> {
    let path = socket_path(run_dir);
    let io = |source| BindError::Io { path: path.clone(), source };
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotSocket(path)),
        Ok(_) => {
            // In another network namespace with the same directory, or it would have the lock.
            if let Ok(other) = StdUnixStream::connect(&path) {
                let pid = getsockopt(&other, PeerCredentials).map_or(0, |peer| peer.pid());
                return Err(BindError::InUse { path, pid });
            }
        }
    }
    let temporary = path.with_extension(format!("sock.{}", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&temporary).map_err(io)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o666)).map_err(io)?;
    fs::rename(&temporary, &path).map_err(io)?;
    Ok(Listener(listener))
}

/// Accepts for ever.
pub(super) async fn serve(listener: tokio::net::UnixListener, hub: Rc<Hub>, access: Access) {
    let (limits, access) = (Limits::default(), Rc::new(access));
    loop {
        let accepted = match listener.accept().await {
            // Of those that are kept back for it.
            Err(error) if is_lack(&error) => {
                with_reserve(|| listener.accept().now_or_never()).unwrap_or(Err(error))
            }
            accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let uid = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
                match limits.enter(uid, |uid| access.trusted(uid)) {
                    Some(place) => {
                        let connection = serve_one(stream, Rc::clone(&hub), Rc::clone(&access));
                        spawn_local(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                    None => refuse(&stream),
                }
            }
            // Out of descriptors or memory: who waits is served when there are some again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve_one(stream: UnixStream, hub: Rc<Hub>, access: Rc<Access>) {
    let stream = Rc::new(stream);
    let listener = zlink::ReadyListener::new(socket::Socket(Rc::clone(&stream)));
    let server = zlink::Server::new(listener, service::Control { hub, access, stream });
    // An error is the client's: it has closed, stalled, or sent what is no call.
    match server.run().await {
        Ok(()) | Err(_) => {}
    }
}

/// Says why before closing; the client takes it for the answer to its call.
fn refuse(stream: &UnixStream) {
    let error = serde_json::to_vec(&ControlError::TooManyConnections);
    let Ok(mut message) = error else { return };
    message.push(0);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // The buffer of a new socket takes it; who has gone again needs no reason.
    match send(stream.as_raw_fd(), &message, flags) {
        Ok(_) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests;
