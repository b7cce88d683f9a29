//! `mpathd release`: takes away all that mpathd has put into the kernel, or leaves the data addresses and
//! routes on one interface as ordinary ones. Works from marks and from the state file, so it also
//! cleans up after a daemon that died. Sysctls are restored last: without promote_secondaries the
//! removal of one address could take others with it (A 7).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::session;
use crate::host::release::{Record, Release, Step};
use crate::host::{napi, pins};
use crate::slow::{lock, state};

pub struct Options {
    /// Leave the data addresses and routes on this interface.
    pub keep_on: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Even if it cuts off the session that it is typed in.
    pub yes: bool,
    /// Directory of the state file.
    pub run_dir: PathBuf,
    /// Directories that may hold pins.
    pub bpffs: Vec<PathBuf>,
}

/// Exit code 0: done, or nothing to do; 1: something could not be done, and is named.
pub fn run(options: &Options) -> ExitCode {
    match release(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("mpathd: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// How many steps failed.
fn release(options: &Options) -> Result<usize, String> {
    // Held to the end, so that no daemon starts meanwhile.
    std::fs::create_dir_all(&options.run_dir)
        .map_err(|error| format!("cannot make {}: {error}", options.run_dir.display()))?;
    let _lock =
        lock::acquire(&options.run_dir).map_err(|error| format!("{error}; stop it first"))?;
    let known = read_state(options)?;
    let mut kernel = Release::begin()?;
    let plan = kernel.plan(&record(&known), options.keep_on.as_deref())?;
    let session = session::own_address().filter(|own| kernel.vanishes(&plan, *own));
    if let Some(own) = session.filter(|_| !options.yes && !options.dry_run) {
        return Err(format!(
            "this SSH session goes to {own}, which would be gone: keep it with --keep-on IF, or say --yes"
        ));
    }
    let (mut done, mut failures) = (0, 0);
    let mut tell = |what: String, result: Result<(), String>| match result {
        Ok(()) => {
            done += 1;
            println!("{}{what}", if options.dry_run { "would: " } else { "" });
        }
        Err(error) => {
            failures += 1;
            eprintln!("mpathd: {what}: {error}");
        }
    };
    for step in &plan {
        let result = if options.dry_run { Ok(()) } else { carry_out(&mut kernel, step) };
        tell(step.to_string(), result);
    }
    for state::OldThreading { interface, before } in &known.threaded {
        let put_back = || napi::give_back(*interface, *before).map_err(|e| e.to_string());
        let result = if options.dry_run { Ok(()) } else { put_back() };
        let how = if *before { "in threads of ordinary priority" } else { "not in threads" };
        tell(format!("NAPI of {interface} {how}"), result);
    }
    for place in &options.bpffs {
        match pins::remove(place, options.dry_run) {
            Ok(0) => {}
            Ok(count) => tell(format!("no pins ({count}), and no receive hooks"), Ok(())),
            Err(error) => {
                tell(format!("no pins below {}", place.display()), Err(error.to_string()))
            }
        }
    }
    for sysctl in &known.sysctls {
        let Some(name) = kernel.bearer_of(sysctl) else { continue };
        let path = Path::new("/proc/sys").join(sysctl.key.path(name));
        if path.exists() {
            let write = || std::fs::write(&path, sysctl.old.to_string()).map_err(|e| e.to_string());
            let result = if options.dry_run { Ok(()) } else { write() };
            tell(format!("{} = {}", path.display(), sysctl.old), result);
        }
    }
    if done == 0 && failures == 0 {
        println!("nothing to release");
    }
    if failures == 0 && !options.dry_run {
        state::remove(&options.run_dir).map_err(|error| {
            format!("everything is released, but the state file can't be removed: {error}")
        })?;
    }
    Ok(failures)
}

fn carry_out(kernel: &mut Release, step: &Step) -> Result<(), String> {
    kernel.run(step).map_err(|refused| refused.to_string())
}

/// A damaged file is not set aside here: the daemon reports it, and it may still be read by a human.
fn read_state(options: &Options) -> Result<state::State, String> {
    let missing = |problem: String| match options.keep_on {
        None => Ok(state::State::default()),
        Some(_) => Err(format!("{problem}: the prefix lengths of the addresses are not known")),
    };
    match state::read(&options.run_dir) {
        // Without the state file only the sysctls may be known.
        Ok(Some(state)) if options.keep_on.is_none() || state::exists(&options.run_dir) => {
            Ok(state)
        }
        Ok(_) => missing(format!("there is no state file in {}", options.run_dir.display())),
        Err(problem) => {
            eprintln!("mpathd: {problem}; only what carries mpathd's mark is removed");
            missing(problem)
        }
    }
}

fn record(state: &state::State) -> Record {
    Record {
        addresses: state.addresses.iter().map(|own| (own.interface, own.address)).collect(),
        data: state.core.bindings.iter().map(|binding| binding.address).collect(),
        taken: state.taken.clone(),
    }
}
