//! The daemon as the tools see it; behind it is the control socket, in tests a made-up picture.

use std::fmt;
use std::path::Path;

use mpathd_core::ids::IfName;
use mpathd_core::request::CommandError;

use crate::slow::client::{self, Client, ClientError};
pub use crate::slow::client::{EventRecord, ProbeRecord, Seconds, Snapshot, TargetCounts};

/// One after the other.
pub type Events = Box<dyn Iterator<Item = Result<EventRecord, Failure>>>;

pub trait Daemon: Sized {
    /// # Errors
    /// Where no daemon answers, with the path in the text.
    fn connect(run_dir: &Path) -> Result<Self, Failure>;

    /// # Errors
    /// Where the connection breaks.
    fn snapshot(&mut self) -> Result<Snapshot, Failure>;

    /// Every probe from now on; ends when the daemon does.
    ///
    /// # Errors
    /// Where the connection breaks.
    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure>;

    /// What has happened lately, oldest first, and with `follow` each event as it happens.
    ///
    /// # Errors
    /// Where the connection breaks.
    fn events(self, follow: bool) -> Result<Events, Failure>;

    /// # Errors
    /// Where the daemon refuses, or we may not.
    fn offline(&mut self, interface: IfName) -> Result<(), Failure>;

    /// # Errors
    /// As [`Daemon::offline`].
    fn online(&mut self, interface: IfName) -> Result<(), Failure>;
}

/// Why there is no answer, or not the one that was wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Refused(CommandError),
    Other(String),
}

impl fmt::Display for Failure {
    /// The words of behaviour file 6.3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Refused(CommandError::UnknownInterface) => {
                "not a physical interface or not in an IPMP group"
            }
            Failure::Refused(CommandError::NoRedundancy) => {
                "no other functioning interfaces are in its IPMP group"
            }
            Failure::Refused(CommandError::AlreadyOffline) => "it is already offline",
            Failure::Refused(CommandError::NotOffline) => "it is not offline",
            Failure::Refused(CommandError::DuplicateMac) => {
                "interface has duplicate hardware address"
            }
            Failure::Other(text) => text,
        })
    }
}

impl Daemon for Client {
    fn connect(run_dir: &Path) -> Result<Self, Failure> {
        Ok(client::connect(run_dir)?)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        Ok(Client::snapshot(self)?)
    }

    fn probes(self) -> Result<impl Iterator<Item = Result<ProbeRecord, Failure>>, Failure> {
        Ok(Client::probes(self)?.map(|record| Ok(record?)))
    }

    fn events(mut self, follow: bool) -> Result<Events, Failure> {
        Ok(match follow {
            true => Box::new(self.follow_events()?.map(|event| Ok(event?))),
            false => Box::new(Client::events(&mut self)?.into_iter().map(Ok)),
        })
    }

    fn offline(&mut self, interface: IfName) -> Result<(), Failure> {
        Ok(Client::offline(self, interface)?)
    }

    fn online(&mut self, interface: IfName) -> Result<(), Failure> {
        Ok(Client::online(self, interface)?)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(why) => Failure::Refused(why),
            other => Failure::Other(other.to_string()),
        }
    }
}
