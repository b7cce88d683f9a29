//! The client of the control socket, for `ipmpstat`, `if_mpadm` and `mpathd reload`: blocking, one
//! JSON object and a zero byte each way (varlink.org, "Method calls"), so a tool needs no runtime.

use std::io::{self, BufRead, BufReader, Write};
use std::iter;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpathd_core::ids::IfName;
use mpathd_core::request::CommandError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::control::Events;
use super::control::{ControlError, INTERFACE, socket_path};
pub use super::control::{GROUP, ProbeRecord};
pub use super::counts::{Snapshot, TargetCounts};
pub use super::events::EventRecord;
pub use super::machine::Seconds;
pub use super::reload::Reloaded;

/// The daemon answers from memory; a command waits 5 s for the engine at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// A reload is answered after 5 s at the latest, and others may come before ours.
const RELOAD: Duration = Duration::from_secs(40);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot contact mpathd(8) at {} -- is it running?", .0.display())]
    NotRunning(PathBuf),
    #[error("cannot contact mpathd(8) at {} -- permission denied (group {GROUP})", .0.display())]
    NoAccess(PathBuf),
    #[error("cannot contact mpathd(8) at {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("permission denied (group {group})")]
    PermissionDenied { group: String },
    #[error("{}", words(*.0))]
    Refused(CommandError),
    /// Lines of the daemon about its files.
    #[error("{}", .0.join("\n"))]
    BadConfiguration(Vec<String>),
    #[error("{0}")]
    NotReloaded(String),
    #[error("mpathd(8) has too many connections, try again later")]
    TooManyConnections,
    #[error("mpathd(8) has not answered")]
    NoAnswer,
    #[error("connection to mpathd(8) broken: {0}")]
    Io(io::Error),
    #[error("mpathd(8) says what this program does not understand: {0}")]
    Protocol(String),
}

/// Behaviour file 6.3 and 6.1; if_mpadm puts its own words before them.
fn words(refused: CommandError) -> &'static str {
    match refused {
        CommandError::UnknownInterface => "not a physical interface or not in an IPMP group",
        CommandError::NoRedundancy => "no other functioning interfaces are in its IPMP group",
        CommandError::AlreadyOffline => "interface is already offline",
        CommandError::NotOffline => "interface is not offline",
        CommandError::DuplicateMac => "interface has duplicate hardware address",
    }
}

#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// # Errors
/// Where nobody listens at DIR/mpathd.sock, or not for us.
pub fn connect(run_dir: &Path) -> Result<Client, ClientError> {
    let path = socket_path(run_dir);
    let stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(path.clone())
        }
        io::ErrorKind::PermissionDenied => ClientError::NoAccess(path.clone()),
        _ => ClientError::Connect { path: path.clone(), source },
    })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(ClientError::Io)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(ClientError::Io)?;
    Ok(Client { stream: BufReader::new(stream) })
}

impl Client {
    /// # Errors
    /// As [`connect`], and where the connection breaks.
    pub fn snapshot(&mut self) -> Result<Snapshot, ClientError> {
        self.call("Snapshot", json!({}), false)?;
        Ok(self.reply()?.0)
    }

    /// # Errors
    /// `Refused` or `PermissionDenied`, besides those of [`Client::snapshot`].
    pub fn offline(&mut self, interface: IfName) -> Result<(), ClientError> {
        self.command("Offline", interface)
    }

    /// # Errors
    /// As [`Client::offline`].
    pub fn online(&mut self, interface: IfName) -> Result<(), ClientError> {
        self.command("Online", interface)
    }

    /// Has the daemon read its files again, and waits until what they say is in force.
    ///
    /// # Errors
    /// `BadConfiguration`, `NotReloaded` or `PermissionDenied`, besides those of
    /// [`Client::snapshot`]; in all of these the daemon goes on as before.
    pub fn reload(&mut self) -> Result<Reloaded, ClientError> {
        self.configure("Reload", json!({}))
    }

    /// The same for so long, unless it is confirmed.
    ///
    /// # Errors
    /// As [`Client::reload`].
    pub fn trial(&mut self, lasts: Duration) -> Result<Reloaded, ClientError> {
        self.configure("Trial", json!({ "seconds": lasts.as_secs() }))
    }

    /// # Errors
    /// As [`Client::reload`]; `NotReloaded` where nothing is on trial.
    pub fn confirm(&mut self) -> Result<Reloaded, ClientError> {
        self.configure("Confirm", json!({}))
    }

    /// # Errors
    /// As [`Client::confirm`].
    pub fn revert(&mut self) -> Result<Reloaded, ClientError> {
        self.configure("Revert", json!({}))
    }

    fn configure(&mut self, method: &str, parameters: Value) -> Result<Reloaded, ClientError> {
        self.stream.get_ref().set_read_timeout(Some(RELOAD)).map_err(ClientError::Io)?;
        self.call(method, parameters, false)?;
        Ok(self.reply()?.0)
    }

    /// Every probe from now on. Ends when the daemon does.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn probes(
        self,
    ) -> Result<impl Iterator<Item = Result<ProbeRecord, ClientError>>, ClientError> {
        self.stream_of("Probes")
    }

    fn stream_of<T: DeserializeOwned>(
        mut self,
        method: &str,
    ) -> Result<impl Iterator<Item = Result<T, ClientError>> + use<T>, ClientError> {
        self.call(method, json!({}), true)?;
        // It may be long until there is something to tell of.
        self.stream.get_ref().set_read_timeout(None).map_err(ClientError::Io)?;
        let mut more = true;
        Ok(iter::from_fn(move || {
            if !more {
                return None;
            }
            let reply = self.reply();
            more = matches!(reply, Ok((_, true)));
            Some(reply.map(|(record, _)| record))
        }))
    }

    /// What has happened lately, oldest first.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn events(&mut self) -> Result<Vec<EventRecord>, ClientError> {
        self.call("Events", json!({}), false)?;
        let (Events { events }, _) = self.reply()?;
        Ok(events)
    }

    /// The same, and then each event as it happens. Ends when the daemon does.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn follow_events(
        self,
    ) -> Result<impl Iterator<Item = Result<EventRecord, ClientError>>, ClientError> {
        let lists = self.stream_of::<Events>("Events")?;
        Ok(lists.flat_map(|list| match list {
            Ok(Events { events }) => events.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }))
    }

    fn command(&mut self, method: &str, interface: IfName) -> Result<(), ClientError> {
        self.call(method, json!({ "interface": interface }), false)?;
        let (Nothing {}, _) = self.reply()?;
        Ok(())
    }

    fn call(&mut self, method: &str, parameters: Value, more: bool) -> Result<(), ClientError> {
        let mut call =
            json!({ "method": format!("{INTERFACE}.{method}"), "parameters": parameters });
        if more {
            call["more"] = true.into();
        }
        let message = format!("{call}\0");
        match self.stream.get_mut().write_all(message.as_bytes()) {
            // Closed already; its reason may still be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(ClientError::Io),
        }
    }

    /// The parameters, and whether more will come.
    fn reply<T: DeserializeOwned>(&mut self) -> Result<(T, bool), ClientError> {
        let mut message = Vec::new();
        self.stream.read_until(0, &mut message).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => ClientError::NoAnswer,
            _ => ClientError::Io(error),
        })?;
        if message.pop() != Some(0) {
            return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let protocol = |error: serde_json::Error| ClientError::Protocol(error.to_string());
        let reply: Reply = serde_json::from_slice(&message).map_err(protocol)?;
        if reply.error.is_some() {
            return Err(refusal(&message));
        }
        let parameters = serde_json::from_value(reply.parameters.unwrap_or_else(|| json!({})));
        Ok((parameters.map_err(protocol)?, reply.continues))
    }
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Reply {
    error: Option<String>,
    parameters: Option<Value>,
    #[serde(default)]
    continues: bool,
}

fn refusal(message: &[u8]) -> ClientError {
    match serde_json::from_slice(message) {
        Ok(ControlError::PermissionDenied { group }) => ClientError::PermissionDenied { group },
        Ok(ControlError::UnknownInterface { .. }) => {
            ClientError::Refused(CommandError::UnknownInterface)
        }
        Ok(ControlError::NoRedundancy { .. }) => ClientError::Refused(CommandError::NoRedundancy),
        Ok(ControlError::AlreadyOffline { .. }) => {
            ClientError::Refused(CommandError::AlreadyOffline)
        }
        Ok(ControlError::NotOffline { .. }) => ClientError::Refused(CommandError::NotOffline),
        Ok(ControlError::DuplicateMac { .. }) => ClientError::Refused(CommandError::DuplicateMac),
        Ok(ControlError::BadConfiguration { errors }) => ClientError::BadConfiguration(errors),
        Ok(ControlError::NotReloaded { reason }) => ClientError::NotReloaded(reason),
        Ok(ControlError::NoAnswer) => ClientError::NoAnswer,
        Ok(ControlError::TooManyConnections) => ClientError::TooManyConnections,
        Err(_) => ClientError::Protocol(String::from_utf8_lossy(message).into_owned()),
    }
}
