//! The slow thread (design 3): control socket, state file, log, recorder and systemd, on a tokio
//! runtime at normal priority. It hears from the others through one queue and one picture, and
//! nothing it does can hold them up.

pub mod client;
mod control;
mod counts;
pub mod events;
mod hub;
pub mod lock;
pub mod log;
pub(crate) mod machine;
mod recorder;
mod reload;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod signals;
pub mod state;
mod statistics;
pub mod sysctl_record;
mod systemd;
pub mod trial;
mod turn;

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mpathd_core::config::Config;
use mpathd_core::ids::GroupName;
use mpathd_core::time::Instant;
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::interval;

use crate::messages::{Queues, ToFast, ToHost};
use crate::shared::Shared;
use control::Access;
pub use control::{BindError, Listener, listen};
use hub::Hub;
use log::Log;
pub use recorder::Recording;
use reload::Asked;
pub use reload::{NotReloaded, Plan, Reload, Reloaded};
use signals::{Signals, Wish};
use turn::{Parts, Turn};

/// The host thread may be in a request that waits for RTNL; longer than this is a hang.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Housekeeping: READY that is due, a state file that could not be written.
const TICK: Duration = Duration::from_millis(500);

/// All that the slow thread needs from whoever starts the daemon.
pub struct Setup<'a> {
    pub queues: Queues,
    pub shared: Arc<Shared>,
    pub lock: lock::Lock,
    pub listener: Listener,
    pub run_dir: PathBuf,
    pub log: Log,
    /// What the daemon started from.
    pub state: state::State,
    pub config: Config,
    pub record: Option<Recording>,
    /// Where the records of trials are.
    pub place: trial::Place,
    /// What an administrator is to know of the configuration, from the start.
    pub note: Option<String>,
    /// Groups that this host does not let start, and why.
    pub not_started: Vec<(GroupName, String)>,
    pub reload: &'a mut dyn Reload,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot start the runtime of the slow thread: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot record to {}: {source}", path.display())]
    Record { path: PathBuf, source: io::Error },
    #[error("the {0} thread has ended by itself")]
    Died(&'static str),
    #[error("the other threads have not stopped within {} s", STOP_WITHIN.as_secs())]
    Hangs,
}

/// Serves until TERM or INT, reloads at HUP, then stops the two other threads and waits for them. To be
/// called on the main thread, when they run.
///
/// # Errors
/// Where the recording can't be made, and where a thread ends by itself or
/// won't end; the others are told to stop in any case.
pub fn run(setup: Setup<'_>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let queues = setup.queues.clone();
    let result = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, serve(setup)),
        Err(error) => Err(RunError::Runtime(error)),
    };
    if result.is_err() {
        // A full queue belongs to a thread that hangs; the end of the process ends it too.
        match (queues.fast.push(ToFast::Stop), queues.host.push(ToHost::Stop)) {
            (Ok(()) | Err(_), Ok(()) | Err(_)) => {}
        }
    }
    result
}

/// CLOCK_MONOTONIC.
pub(crate) fn now() -> Instant {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(time) => Instant(Duration::from(time).as_nanos() as u64),
        Err(error) => unreachable!("a host without CLOCK_MONOTONIC: {error}"),
    }
}

async fn serve(setup: Setup<'_>) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Runtime)?;
    signals::release().map_err(RunError::Runtime)?;
    let Setup { queues, shared, lock, listener, run_dir, log, state, config, .. } = setup;
    let Setup { record, place, note, not_started, reload, .. } = setup;
    let mut log = log;
    log.resume(state.events.last().map_or(0, |event| event.seq));
    let hub = Rc::new(Hub::new(Arc::clone(&shared), queues.clone(), state.events.clone()));
    hub.note(note);
    hub.not_started(&not_started);
    let notices = watch(queues.slow.as_fd()).map_err(RunError::Runtime)?;
    let pictures = watch(shared.as_fd()).map_err(RunError::Runtime)?;
    let keeper = state::Keeper::new(&run_dir, state, &config);
    let for_turn = Rc::clone(&hub);
    let parts = Parts { queues, shared, hub: for_turn, log, keeper, record, place, reload };
    let mut turn = Turn::new(parts)?;
    let listener = listener.open().map_err(RunError::Runtime)?;
    let mut lock = lock;
    let name = lock.open().map_err(RunError::Runtime)?;
    spawn_local(control::serve(listener, Rc::clone(&hub), Access::new()));
    if let Some(name) = name {
        spawn_local(lock::Lock::serve(name));
    }

    let mut tick = interval(TICK);
    let ended = loop {
        tokio::select! {
            // Before the rest: a client that asks much must not hold up what the engine says.
            biased;
            () = woken(&notices) => turn.notices().await,
            () = woken(&pictures) => turn.picture(),
            wish = signals.next() => match wish {
                Wish::Stop => turn.begin_stop(),
                Wish::Reload => {
                    hub.ask(Asked { wish: reload::Wish::Reload, answer: None });
                }
                Wish::Statistics => turn.statistics(),
            },
            asked = hub.asked(), if turn.may_reload() => turn.begin(asked),
            _ = tick.tick() => turn.tick(),
            () = until(turn.deadline()) => if let Err(error) = turn.overdue() {
                break Err(error);
            },
        }
        if let Some(ended) = turn.ended() {
            break ended;
        }
    };
    turn.finish();
    // Tools are then told at once that nobody is here; left behind, the next daemon replaces it.
    match std::fs::remove_file(control::socket_path(&run_dir)) {
        Ok(()) | Err(_) => {}
    }
    ended
}

fn watch(eventfd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let eventfd = eventfd.try_clone_to_owned()?;
    // SAFETY: an OwnedFd is open, and nobody takes it out of the AsyncFd.
    Ok(unsafe { AsyncFd::register_with_interest(eventfd, Interest::READABLE) }?)
}

/// The eventfd has been written to. Whoever reads it must do so before looking at what it is for.
async fn woken(eventfd: &AsyncFd<OwnedFd>) {
    match eventfd.readable().await {
        Ok(mut guard) => guard.clear_ready(),
        Err(error) => unreachable!("the runtime is gone: {error}"),
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
