//! Puts the daemon together: configuration, checks of the host, the three threads, in the order of
//! design 5 (N13): nothing after the addresses is fatal.

mod source;
mod threads;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aya::include_bytes_aligned;
use mpathd_core::message::Severity;

use crate::cli::check::host as facts;
use crate::config::{self, Settings};
use crate::slow::trial::Place;
use crate::slow::{Recording, lock, log::Log, state};
use crate::{descriptors, fast, private_file, slow, stock};
use source::Source;
use threads::{Threads, members, seed};

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
    #[error("cannot use the run directory {}: {source}", path.display())]
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
    slow::signals::hold()?;
    let place = Place::from_env(&options.run_dir);
    let source = Source::read(&options, &place, &mut log)?;
    std::fs::create_dir_all(&options.run_dir)
        .and_then(|()| private_file::open_directory(&options.run_dir))
        .map_err(|source| StartError::RunDir { path: options.run_dir.clone(), source })?;
    let lock = lock::acquire(&options.run_dir)?;
    if let Some(uid) = lock.name_taken_by {
        let text = format!(
            "uid {uid} has bound the abstract socket @mpathd: a second mpathd of this network namespace with \
             another run directory would not be noticed; end that process"
        );
        log.line(Severity::Warning, text);
    }
    let listener = slow::listen(&options.run_dir)?;
    let mut loaded = state::load(&options.run_dir);
    if let Some(damage) = &loaded.damage {
        log.line(Severity::Warning, damage);
    }
    refuse_unfit_host(&source.settings)?;
    let groups = source.settings.engine.named().count();
    let text = format!(
        "mpathd {} begins with {}, {groups} group{}",
        env!("CARGO_PKG_VERSION"),
        options.config.display(),
        if groups == 1 { "" } else { "s" }
    );
    log.line(Severity::Info, text);
    let limit = descriptors::raise(members(&source.settings.engine).count());
    if limit.is_short() {
        log.line(Severity::Warning, limit.to_string());
    }
    source.settle(&place, &mut log);
    let Source { settings, text, note, unconfirmed } = source;
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

    let mut threads =
        Threads::new(options.config, options.bpffs, options.run_dir.clone(), stock.settings)?;
    let seed = seed()?;
    let record = options.record.map(|file| {
        let state = loaded.state.core.clone();
        Recording { file, config: text, seed, state }
    });
    // Before the first fact: a replay needs all of them.
    threads.shared.set_recording(record.is_some());
    threads.spawn(&loaded.state, seed, unconfirmed)?;
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
        place,
        note,
        not_started: stock.refused,
        reload: &mut threads,
    });
    if ended.is_ok() {
        threads.join()?;
    }
    Ok(ended?)
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
