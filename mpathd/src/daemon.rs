//! Puts the daemon together: configuration, checks of the host, the three threads, in the order of
//! design 5 (N13): nothing after the addresses is fatal; and at a reload, the two threads anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use aya::include_bytes_aligned;
use mpathd_core::engine::Engine;
use mpathd_core::ids::IfName;
use mpathd_core::message::Severity;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::cli::check::host as facts;
use crate::config::{self, Realtime, Settings};
use crate::messages::Queues;
use crate::shared::Shared;
use crate::slow::{NotReloaded, Plan, Recording, lock, log::Log, state};
use crate::{fast, host, slow, stock};

/// SCHED_FIFO of the fast thread where some FDT is under 1 s; the host thread runs one below. IRQ
/// threads run at 50 (design 3).
const FAST_PRIORITY: u8 = 51;
const TIGHT: Duration = Duration::from_secs(1);

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mpathd.bpf.o"));

/// The command line of the daemon.
pub struct Options {
    pub config: PathBuf,
    /// Used where `config` is bad.
    pub fallback: Option<PathBuf>,
    pub run_dir: PathBuf,
    pub bpffs: PathBuf,
    pub record: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] config::Errors),
    #[error(transparent)]
    Lock(#[from] lock::LockError),
    #[error(transparent)]
    Bind(#[from] slow::BindError),
    #[error("{0}")]
    Host(String),
    #[error("cannot make {}: {source}", path.display())]
    RunDir { path: PathBuf, source: io::Error },
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Run(#[from] slow::RunError),
}

impl StartError {
    /// 2: bad configuration; 1: anything else (contract, exit codes).
    pub fn exit_code(&self) -> u8 {
        if matches!(self, StartError::Config(_)) { 2 } else { 1 }
    }
}

/// Whether the kernel program is in this binary.
pub fn has_object() -> bool {
    !OBJECT.is_empty()
}

/// Runs until TERM or INT. Addresses and routes stay.
///
/// # Errors
/// Where the configuration is bad, another daemon has this network namespace, or the host is not
/// fit for it; nothing has been touched then.
pub fn run(options: Options, mut log: Log) -> Result<(), StartError> {
    fast::alloc::init_from_env();
    let (settings, text) = read_configuration(&options, &mut log)?;
    let lock = lock::acquire()?;
    std::fs::create_dir_all(&options.run_dir)
        .map_err(|source| StartError::RunDir { path: options.run_dir.clone(), source })?;
    let listener = slow::listen(&options.run_dir)?;
    let mut loaded = state::load(&options.run_dir);
    if let Some(damage) = &loaded.damage {
        log.line(Severity::Warning, damage);
    }
    refuse_unfit_host(&settings)?;
    let stock = stock::take(settings, &loaded.state).map_err(StartError::Host)?;
    stock.refused.iter().for_each(|(_, line)| log.line(Severity::Error, line));
    if !stock.taken.is_empty() {
        stock.taken.into_iter().for_each(|taken| loaded.state.remember(taken));
        // Before anything is taken: how it was must not be lost with us.
        state::save(&options.run_dir, &loaded.state)?;
    }
    log.line(Severity::Info, fast::memory::lock().to_string());
    if !has_object() {
        let text = "this binary was built without the kernel program: probing through sockets";
        log.line(Severity::Warning, text);
    }

    let mut threads = Threads {
        queues: Queues::new()?,
        shared: Arc::new(Shared::new()?),
        config: options.config,
        bpffs: options.bpffs,
        settings: stock.settings,
        running: Vec::new(),
    };
    let seed = seed()?;
    let record = options.record.map(|file| {
        let state = loaded.state.core.clone();
        Recording { file, config: text, seed, state }
    });
    // Before the first fact: a replay needs all of them.
    threads.shared.set_recording(record.is_some());
    threads.spawn(&loaded.state, seed)?;
    let ended = slow::run(slow::Setup {
        queues: threads.queues.clone(),
        shared: Arc::clone(&threads.shared),
        lock,
        listener,
        run_dir: options.run_dir,
        log,
        state: loaded.state,
        config: threads.settings.engine.clone(),
        record,
        reload: &mut threads,
    });
    if ended.is_ok() {
        threads.join()?;
    }
    Ok(ended?)
}

/// The fast and the host thread, and what they are made from.
struct Threads {
    queues: Queues,
    shared: Arc<Shared>,
    config: PathBuf,
    bpffs: PathBuf,
    /// In force.
    settings: Settings,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    fn spawn(&mut self, state: &state::State, seed: u64) -> io::Result<()> {
        let config = &self.settings.engine;
        let names: Vec<IfName> =
            config.groups.iter().flat_map(|g| &g.members).map(|m| m.name).collect();
        let priority = fast_priority(&self.settings);
        let fast = fast::Setup {
            brain: Engine::new(config.clone(), state.core.clone(), seed),
            names,
            queues: self.queues.clone(),
            shared: Arc::clone(&self.shared),
            priority,
        };
        let host = host::Setup {
            queues: self.queues.clone(),
            settings: stock::host_settings(&self.settings, state),
            priority: priority.saturating_sub(1),
            bpffs: self.bpffs.clone(),
            object: OBJECT,
            notices: host::Setup::NOTICES,
        };
        without_signals(|| {
            self.running.push(fast::spawn(fast)?);
            self.running.push(host::spawn(host)?);
            Ok(())
        })
    }

    /// They have been told to stop.
    fn join(&mut self) -> Result<(), slow::RunError> {
        self.running
            .drain(..)
            .try_for_each(|thread| thread.join().map_err(|_| slow::RunError::Died("fast or host")))
    }
}

impl slow::Reload for Threads {
    fn prepare(&mut self, state: &state::State) -> Result<Plan, NotReloaded> {
        // At a start that means no groups; here, that somebody is about to replace it, or has
        // mistyped, and all addresses would go.
        if !self.config.exists() && self.settings.engine.named().next().is_some() {
            let path = self.config.display();
            return Err(NotReloaded::Refused(format!(
                "{path} is not there; if no group is wanted any more, make an empty file"
            )));
        }
        let settings = config::load(&self.config)?;
        refuse_unfit_host(&settings).map_err(|error| NotReloaded::Refused(error.to_string()))?;
        let stock = stock::take(settings, state).map_err(NotReloaded::Refused)?;
        let stock::Stock { settings, refused, taken } = stock;
        // One that runs is not to be stopped by what the host has set meanwhile.
        let runs = |name| self.settings.engine.groups.iter().any(|group| group.name == name);
        if let Some((_, line)) = refused.iter().find(|(name, _)| runs(*name)) {
            return Err(NotReloaded::Refused(line.clone()));
        }
        let refused = refused.into_iter().map(|(_, line)| line).collect();
        let changes = config::diff::changes(&self.settings, &settings);
        Ok(Plan { changes, settings, refused, taken, text: text_of(&self.config) })
    }

    fn respawn(&mut self, plan: &Plan, state: &state::State) -> io::Result<u64> {
        // What they hold of the kernel must be gone before it is taken again.
        self.join().map_err(io::Error::other)?;
        self.settings = plan.settings.clone();
        let seed = seed()?;
        self.spawn(state, seed)?;
        Ok(seed)
    }
}

/// Threads that `spawn` makes never run a handler: signals are for the slow thread. Left out is
/// what a thread brings on itself.
fn without_signals<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut signals = SigSet::all();
    let own = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP];
    own.into_iter().chain([Signal::SIGABRT, Signal::SIGSYS]).for_each(|it| signals.remove(it));
    let before = signals.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let result = spawn();
    before.thread_set_mask()?;
    result
}

fn read_configuration(options: &Options, log: &mut Log) -> Result<(Settings, String), StartError> {
    match config::load(&options.config) {
        Ok(settings) => Ok((settings, text_of(&options.config))),
        Err(errors) => {
            let Some(fallback) = &options.fallback else { return Err(errors.into()) };
            for error in errors.iter() {
                log.line(Severity::Error, error.to_string());
            }
            let settings = config::load(fallback)?;
            let told = format!("running on the fallback configuration {}", fallback.display());
            log.line(Severity::Error, &told);
            Ok((settings, text_of(fallback)))
        }
    }
}

/// For the recorder; it was read a moment ago.
fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Sysctls under which no address of ours would be answered (design 5).
fn refuse_unfit_host(settings: &Settings) -> Result<(), StartError> {
    if settings.engine.named().next().is_none() {
        return Ok(());
    }
    let host = facts::arp();
    if host.arp_ignore >= 2 || host.arp_filter == 1 {
        return Err(StartError::Host(format!(
            "net.ipv4.conf.all.arp_ignore is {} and net.ipv4.conf.all.arp_filter is {}: this host \
             would not answer ARP for addresses of a group; set them to at most 1 and 0",
            host.arp_ignore, host.arp_filter
        )));
    }
    Ok(())
}

fn fast_priority(settings: &Settings) -> u8 {
    match settings.realtime {
        Realtime::Fixed(priority) => priority,
        Realtime::Auto if settings.engine.groups.iter().any(|g| g.fdt < TIGHT) => FAST_PRIORITY,
        Realtime::Auto => 0,
    }
}

fn seed() -> Result<u64, io::Error> {
    let mut bytes = [0; 8];
    // SAFETY: the buffer is ours and as long as told.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 { Ok(u64::from_ne_bytes(bytes)) } else { Err(io::Error::last_os_error()) }
}
