//! Puts the daemon together: configuration, checks of the host, the three threads, in the order of
//! design 5 (N13): nothing after the addresses is fatal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aya::include_bytes_aligned;
use mpathd_core::engine::Engine;
use mpathd_core::ids::IfName;
use mpathd_core::message::Severity;

use crate::cli::check::host as facts;
use crate::config::{self, Realtime, Settings};
use crate::messages::Queues;
use crate::shared::Shared;
use crate::slow::{Recording, lock, log::Log, state};
use crate::{fast, host, slow};

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
    RunDir { path: PathBuf, source: std::io::Error },
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
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
    let loaded = state::load(&options.run_dir);
    if let Some(damage) = &loaded.damage {
        log.line(Severity::Warning, damage);
    }
    refuse_unfit_host(&settings, &loaded.state)?;
    log.line(Severity::Info, fast::memory::lock().to_string());
    if !has_object() {
        let text = "this binary was built without the kernel program: probing through sockets";
        log.line(Severity::Warning, text);
    }

    let queues = Queues::new()?;
    let shared = Arc::new(Shared::new()?);
    let seed = seed()?;
    let record = options.record.map(|file| {
        let state = loaded.state.core.clone();
        Recording { file, config: text, seed, state }
    });
    // Before the first fact: a replay needs all of them.
    shared.set_recording(record.is_some());
    let priority = fast_priority(&settings);
    let names: Vec<IfName> =
        settings.engine.groups.iter().flat_map(|g| &g.members).map(|m| m.name).collect();
    let engine = Engine::new(settings.engine.clone(), loaded.state.core.clone(), seed);
    let fast = fast::spawn(fast::Setup {
        brain: engine,
        names,
        queues: queues.clone(),
        shared: Arc::clone(&shared),
        priority,
    })?;
    let host = host::spawn(host::Setup {
        queues: queues.clone(),
        settings: host::Settings::new(&settings.engine, settings.sysctls).with_record(
            loaded.state.addresses.iter().map(|own| (own.interface, own.address.address)),
        ),
        priority: priority.saturating_sub(1),
        bpffs: options.bpffs,
        object: OBJECT,
        notices: host::Setup::NOTICES,
    })?;
    let ended = slow::run(slow::Setup {
        queues,
        shared,
        lock,
        listener,
        run_dir: options.run_dir,
        log,
        state: loaded.state,
        config: settings.engine,
        record,
        on_hangup: Box::new(|log| {
            let text = "HUP: a changed configuration takes effect when mpathd is restarted, \
                        which moves nothing";
            log.line(Severity::Warning, text);
        }),
    });
    if ended.is_ok() {
        for thread in [fast, host] {
            thread.join().map_err(|_| slow::RunError::Died("fast or host"))?;
        }
    }
    Ok(ended?)
}

fn read_configuration(options: &Options, log: &mut Log) -> Result<(Settings, String), StartError> {
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    match config::load(&options.config) {
        Ok(settings) => Ok((settings, text(&options.config))),
        Err(errors) => {
            let Some(fallback) = &options.fallback else { return Err(errors.into()) };
            for error in errors.iter() {
                log.line(Severity::Error, error.to_string());
            }
            let settings = config::load(fallback)?;
            let told = format!("running on the fallback configuration {}", fallback.display());
            log.line(Severity::Error, &told);
            Ok((settings, text(fallback)))
        }
    }
}

/// An address of the configuration that stands on this host and is not ours, and sysctls under
/// which no address of ours would be answered (design 5).
fn refuse_unfit_host(settings: &Settings, state: &state::State) -> Result<(), StartError> {
    if settings.engine.groups.is_empty() {
        return Ok(());
    }
    let host = facts::read();
    let wanted = host::Settings::new(&settings.engine, settings.sysctls).addresses;
    let recorded = |address| state.addresses.iter().any(|a| a.address.address == address);
    for there in host.addresses.iter().filter(|a| wanted.contains(&a.net.address)) {
        let address = there.net.address;
        if !there.ours && !recorded(address) {
            let device = host.name_of(there.ifindex);
            return Err(StartError::Host(format!(
                "{address} is on {device} already and was not put there by mpathd: remove it with \
                 `ip address del {} dev {device}`, or take it out of the configuration",
                there.net
            )));
        }
    }
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

fn seed() -> Result<u64, std::io::Error> {
    let mut bytes = [0; 8];
    // SAFETY: the buffer is ours and as long as told.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 { Ok(u64::from_ne_bytes(bytes)) } else { Err(std::io::Error::last_os_error()) }
}
