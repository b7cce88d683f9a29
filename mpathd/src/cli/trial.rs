//! `mpathd reload`, `try`, `confirm` and `revert`: what is done to the configuration of the running
//! daemon, and what that changed.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{self, words};
use crate::slow::client::{self, Client, ClientError, Reloaded};

/// Bounds of the time of a trial.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(1);

/// As in the configuration, `120s` or `5m`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    match config::parse_duration(text)? {
        time if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
        _ => Err("1s to 1h is allowed".to_owned()),
    }
}

/// 0: in force; 2: the files are bad; 1: anything else (contract, exit codes).
pub fn reload(run_dir: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    ask(run_dir, Client::reload, "nothing changed", None, out, err)
}

/// As `reload`, for so long unless it is confirmed.
pub fn start(
    run_dir: &Path,
    lasts: Duration,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let after = format!(
        "trying for {}: `mpathd confirm` keeps it, `mpathd revert` undoes it at once",
        words::duration(lasts)
    );
    ask(run_dir, |daemon| daemon.trial(lasts), "nothing changed", Some(&after), out, err)
}

/// 0: it stays; 1: nothing is on trial, or anything else.
pub fn confirm(run_dir: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    ask(run_dir, Client::confirm, "confirmed", None, out, err)
}

/// 0: what was in force before is in force again; 1: nothing is on trial, or anything else.
pub fn revert(run_dir: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    ask(run_dir, Client::revert, "nothing changed", None, out, err)
}

/// `without`: what is said where nothing changed; `after`: behind what did.
fn ask(
    run_dir: &Path,
    what: impl FnOnce(&mut Client) -> Result<Reloaded, ClientError>,
    without: &str,
    after: Option<&str>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let (code, written) = match client::connect(run_dir).and_then(|mut daemon| what(&mut daemon)) {
        Ok(reloaded) => (0, tell(&reloaded, without, after, out, err)),
        Err(error) => {
            let code = if matches!(error, ClientError::BadConfiguration(_)) { 2 } else { 1 };
            let text = error.to_string();
            (code, text.lines().try_for_each(|line| writeln!(err, "mpathd: {line}")))
        }
    };
    match written {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

fn tell(
    reloaded: &Reloaded,
    without: &str,
    after: Option<&str>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    if reloaded.changes.is_empty() {
        writeln!(out, "{without}")?;
    } else {
        reloaded.changes.iter().try_for_each(|change| writeln!(out, "{change}"))?;
        after.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    match &reloaded.missing {
        Some(missing) => writeln!(err, "mpathd: warning: in force, but {missing}"),
        None => Ok(()),
    }
}
