//! The fast and the host thread: how they are started, and what takes over at a reload.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mpathd_core::config::Config;
use mpathd_core::engine::Engine;
use mpathd_core::ids::IfName;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::{OBJECT, refuse_unfit_host};
use crate::cli::check::plan;
use crate::config::{self, Realtime, Settings};
use crate::fast::{self, Heir, Note, priority};
use crate::host;
use crate::messages::Queues;
use crate::shared::Shared;
use crate::slow::{self, NotReloaded, Plan, state};
use crate::stock;

/// SCHED_FIFO of the fast thread where some FDT is under 1 s; of the host thread, too. IRQ threads run at 50
/// (design 3).
const FAST_PRIORITY: u8 = 51;
const TIGHT: Duration = Duration::from_secs(1);

/// The fast and the host thread, and what they are made from.
pub(super) struct Threads {
    pub queues: Queues,
    pub shared: Arc<Shared>,
    config: PathBuf,
    bpffs: PathBuf,
    run_dir: PathBuf,
    /// In force, or about to be.
    pub settings: Settings,
    /// Its number.
    revision: u32,
    /// Members that any of them has had at most.
    seats: usize,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    /// # Errors
    /// Where no eventfd is to be had.
    pub(super) fn new(
        config: PathBuf,
        bpffs: PathBuf,
        run_dir: PathBuf,
        settings: Settings,
    ) -> io::Result<Self> {
        Ok(Self {
            queues: Queues::new()?,
            shared: Arc::new(Shared::new()?),
            config,
            bpffs,
            run_dir,
            seats: members(&settings.engine).count(),
            settings,
            revision: 0,
            running: Vec::new(),
        })
    }

    /// Starts both in the network namespace of the caller. `tidy`: what an earlier configuration has left
    /// goes, even if there is no group.
    ///
    /// # Errors
    /// Where descriptors or threads are not to be had.
    pub(super) fn spawn(&mut self, state: &state::State, seed: u64, tidy: bool) -> io::Result<()> {
        let config = &self.settings.engine;
        let names: Vec<IfName> = members(config).collect();
        let priority = fast_priority(&self.settings);
        let mut brain = Engine::new(config.clone(), state.core.clone(), seed);
        if tidy {
            brain.tidy_up();
        }
        let fast = fast::Setup {
            brain,
            names,
            queues: self.queues.clone(),
            shared: Arc::clone(&self.shared),
            priority,
        };
        let mut settings = stock::host_settings(&self.settings, state);
        settings.record_dir = Some(self.run_dir.clone());
        let host = host::Setup {
            queues: self.queues.clone(),
            settings,
            priority: priority::of_host(priority),
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
    pub(super) fn join(&mut self) -> Result<(), slow::RunError> {
        self.running
            .drain(..)
            .try_for_each(|thread| thread.join().map_err(|_| slow::RunError::Died("fast or host")))
    }
}

impl slow::Reload for Threads {
    fn prepare(&mut self, state: &state::State) -> Result<Plan, NotReloaded> {
        // At a start that means no groups; here, that somebody is about to replace it, or has
        // mistyped, and all addresses would go.
        let nothing_there = !config::files(&self.config)?.iter().any(|file| file.exists());
        if nothing_there && self.settings.engine.named().next().is_some() {
            let path = self.config.display();
            return Err(NotReloaded::Refused(format!(
                "{path} is not there; if no group is wanted any more, make an empty file"
            )));
        }
        let files = config::load(&self.config)?;
        let text = plan::text(&files, &self.config);
        refuse_unfit_host(&files).map_err(|error| NotReloaded::Refused(error.to_string()))?;
        let stock = stock::take(files, state).map_err(NotReloaded::Refused)?;
        let stock::Stock { settings, refused, taken } = stock;
        // One that runs is not to be stopped by what the host has set meanwhile.
        let runs = |name| self.settings.engine.groups.iter().any(|group| group.name == name);
        if let Some((_, line)) = refused.iter().find(|(name, _)| runs(*name)) {
            return Err(NotReloaded::Refused(line.clone()));
        }
        let changes = config::diff::changes(&self.settings, &settings);
        Ok(Plan { changes, settings, refused, taken, text })
    }

    fn restore(&mut self, text: &str) -> Result<Plan, NotReloaded> {
        let settings = config::parse(text.as_bytes(), &self.config)?;
        let changes = config::diff::changes(&self.settings, &settings);
        let (refused, taken) = (Vec::new(), Vec::new());
        Ok(Plan { changes, settings, refused, taken, text: text.to_owned() })
    }

    fn in_force(&self) -> String {
        plan::text(&self.settings, &self.config)
    }

    fn heir(&mut self, plan: &Plan, state: &state::State) -> io::Result<Box<Heir>> {
        let seed = seed()?;
        self.revision += 1;
        let config = plan.settings.engine.clone();
        self.seats = self.seats.max(members(&config).count());
        let settings = stock::host_settings(&plan.settings, state);
        let text = plan::text(&plan.settings, &self.config);
        let note = Note { config, text, seed, revision: self.revision };
        let priority = fast_priority(&plan.settings);
        let before = &self.settings.engine;
        let saved = state.core.clone();
        Ok(Heir::new(note, saved, before, self.seats, settings, priority, &self.shared))
    }

    fn handed_over(&mut self, settings: Settings) {
        self.settings = settings;
    }
}

pub(super) fn members(config: &Config) -> impl Iterator<Item = IfName> + '_ {
    config.groups.iter().flat_map(|group| &group.members).map(|member| member.name)
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

fn fast_priority(settings: &Settings) -> u8 {
    match settings.realtime {
        Realtime::Fixed(priority) => priority,
        Realtime::Deadline => priority::DEADLINE,
        Realtime::Auto if settings.engine.groups.iter().any(|g| g.fdt < TIGHT) => FAST_PRIORITY,
        Realtime::Auto => 0,
    }
}

/// For the phases of the rounds.
pub(super) fn seed() -> Result<u64, io::Error> {
    let mut bytes = [0; 8];
    // SAFETY: the buffer is ours and as long as told.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 { Ok(u64::from_ne_bytes(bytes)) } else { Err(io::Error::last_os_error()) }
}
