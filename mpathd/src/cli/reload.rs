//! `mpathd reload`: has the running daemon read its files, and says what that changed.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::slow::client::{self, ClientError, Reloaded};

/// 0: in force; 2: the files are bad; 1: anything else (contract, exit codes).
pub fn run(run_dir: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let (code, written) = match client::connect(run_dir).and_then(|mut daemon| daemon.reload()) {
        Ok(reloaded) => (0, tell(&reloaded, out, err)),
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

fn tell(reloaded: &Reloaded, out: &mut dyn Write, err: &mut dyn Write) -> std::io::Result<()> {
    if reloaded.changes.is_empty() {
        writeln!(out, "nothing changed")?;
    }
    reloaded.changes.iter().try_for_each(|change| writeln!(out, "{change}"))?;
    match &reloaded.missing {
        Some(missing) => writeln!(err, "mpathd: warning: in force, but {missing}"),
        None => Ok(()),
    }
}
