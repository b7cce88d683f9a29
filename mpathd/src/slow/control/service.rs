//! The interface org.mpathd.Control as zlink serves it to one connection.

use std::rc::Rc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use mpathd_core::event::Command;
use mpathd_core::ids::IfName;
use mpathd_core::request::CommandError;
use tokio::net::UnixStream;
use zlink::Reply;
use zlink::connection::socket::FetchPeerCredentials;

use super::wire::{ControlError, Events, Picture, ProbeRecord, described};
use super::{Access, socket};
use crate::slow::events::EventRecord;
use crate::slow::hub::{Hub, Listener, Subscription};
use crate::slow::reload::{NotReloaded, Reloaded, Wish};

/// How often a reader of probes is checked while none are sent.
const CHECK: Duration = Duration::from_secs(1);

pub(super) struct Control {
    pub(super) hub: Rc<Hub>,
    pub(super) access: Rc<Access>,
    pub(super) stream: Rc<UnixStream>,
}

#[zlink::service(
    interface = "org.mpathd.Control",
    vendor = "mpathd",
    product = "mpathd",
    version = env!("CARGO_PKG_VERSION"),
    types = [
        described::WaitingRoute,
        described::Span,
        described::Family,
        described::GroupState,
        described::Group,
        described::LinkState,
        described::ProbeState,
        described::InterfaceState,
        described::Interface,
        described::Address,
        described::TargetMode,
        described::Loss,
        described::Instance,
        described::TargetState,
        described::Target,
        described::Lateness,
        described::Seconds,
        described::Histogram,
        described::TargetCounts,
        described::Event
    ]
)]
impl<Sock> Control
where
    Sock::ReadHalf: FetchPeerCredentials,
{
    /// All groups, interfaces, addresses and targets, as they are now, and what became of the replies.
    async fn snapshot(&self) -> Picture {
        Picture(self.hub.snapshot())
    }

    /// Each probe as it is answered or given up.
    #[zlink(more)]
    async fn probes(&self, more: bool) -> impl Stream<Item = Reply<ProbeRecord>> + Unpin {
        Box::pin(unfold(Some(Reader::new(self)), move |reader| async move {
            let mut reader = reader?;
            let record = reader.next().await?;
            let reply = Reply::new(Some(record)).set_continues(Some(more));
            Some((reply, more.then_some(reader)))
        }))
    }

    /// What has happened lately, and with `more` each event as it happens, in a list of its own.
    #[zlink(more)]
    async fn events(&self, more: bool) -> impl Stream<Item = Reply<Events>> + Unpin {
        let (kept, listener) = self.hub.events();
        let reader = Happenings { kept: Some(kept), listener, stream: Rc::clone(&self.stream) };
        Box::pin(unfold(Some(reader), move |reader| async move {
            let mut reader = reader?;
            let events = reader.next().await?;
            let reply = Reply::new(Some(Events { events })).set_continues(Some(more));
            Some((reply, more.then_some(reader)))
        }))
    }

    /// Takes an interface out of service (if_mpadm -d).
    async fn offline(
        &self,
        interface: String,
        #[zlink(connection)] connection: &mut zlink::Connection<Sock>,
    ) -> Result<(), ControlError> {
        self.access.check(connection).await?;
        self.ask(interface, |interface| Command::Offline { interface }).await
    }

    /// Puts it back (if_mpadm -r).
    async fn online(
        &self,
        interface: String,
        #[zlink(connection)] connection: &mut zlink::Connection<Sock>,
    ) -> Result<(), ControlError> {
        self.access.check(connection).await?;
        self.ask(interface, |interface| Command::Online { interface }).await
    }

    /// Has the files read again; answers when what they say is in force (mpathd reload).
    async fn reload(
        &self,
        #[zlink(connection)] connection: &mut zlink::Connection<Sock>,
    ) -> Result<Reloaded, ControlError> {
        self.access.check(connection).await?;
        self.wish(Wish::Reload).await
    }

    /// The same, undone by itself after so many seconds unless it is confirmed (mpathd try).
    async fn trial(
        &self,
        seconds: u32,
        #[zlink(connection)] connection: &mut zlink::Connection<Sock>,
    ) -> Result<Reloaded, ControlError> {
        self.access.check(connection).await?;
        self.wish(Wish::Try(Duration::from_secs(seconds.into()))).await
    }

    /// What is on trial is to stay (mpathd confirm).
    async fn confirm(
        &self,
        #[zlink(connection)] connection: &mut zlink::Connection<Sock>,
    ) -> Result<Reloaded, ControlError> {
        self.access.check(connection).await?;
        self.wish(Wish::Confirm).await
    }

    /// What is on trial is undone at once (mpathd revert).
    async fn revert(
        &self,
        #[zlink(connection)] connection: &mut zlink::Connection<Sock>,
    ) -> Result<Reloaded, ControlError> {
        self.access.check(connection).await?;
        self.wish(Wish::Revert).await
    }
}

impl Control {
    async fn wish(&self, wish: Wish) -> Result<Reloaded, ControlError> {
        match self.hub.wish(wish).await {
            Ok(Ok(reloaded)) => Ok(reloaded),
            Ok(Err(NotReloaded::Configuration(errors))) => {
                Err(ControlError::BadConfiguration { errors })
            }
            Ok(Err(NotReloaded::Refused(reason))) => Err(ControlError::NotReloaded { reason }),
            Err(_) => Err(ControlError::NoAnswer),
        }
    }

    async fn ask(
        &self,
        interface: String,
        command: impl Fn(IfName) -> Command,
    ) -> Result<(), ControlError> {
        let Some(name) = IfName::new(&interface) else {
            return Err(ControlError::UnknownInterface { interface });
        };
        match self.hub.command(command(name)).await {
            Err(_) => Err(ControlError::NoAnswer),
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(match refused {
                CommandError::UnknownInterface => ControlError::UnknownInterface { interface },
                CommandError::NoRedundancy => ControlError::NoRedundancy { interface },
                CommandError::AlreadyOffline => ControlError::AlreadyOffline { interface },
                CommandError::NotOffline => ControlError::NotOffline { interface },
                CommandError::DuplicateMac => ControlError::DuplicateMac { interface },
            }),
        }
    }
}

/// A client that reads events.
struct Happenings {
    /// Not sent yet.
    kept: Option<Vec<EventRecord>>,
    listener: Listener,
    stream: Rc<UnixStream>,
}

impl Happenings {
    /// `None` when the client has gone, or has missed one.
    async fn next(&mut self) -> Option<Vec<EventRecord>> {
        if let Some(kept) = self.kept.take() {
            return Some(kept);
        }
        loop {
            match tokio::time::timeout(CHECK, self.listener.next()).await {
                Ok(event) => return event.map(|event| vec![event]),
                Err(_) if socket::hung_up(&self.stream) => return None,
                Err(_) => {}
            }
        }
    }
}

/// A client that reads probes.
struct Reader {
    probes: Subscription,
    stream: Rc<UnixStream>,
}

impl Reader {
    fn new(control: &Control) -> Self {
        Self { probes: control.hub.subscribe(), stream: Rc::clone(&control.stream) }
    }

    /// `None` when the client has gone: without probes no write would ever tell.
    async fn next(&mut self) -> Option<ProbeRecord> {
        loop {
            match tokio::time::timeout(CHECK, self.probes.next()).await {
                Ok(record) => return record,
                Err(_) if socket::hung_up(&self.stream) => return None,
                Err(_) => {}
            }
        }
    }
}
