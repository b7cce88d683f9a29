//! `mpathd check`: what a file means, and what this host has to say to it. Needs no root, no daemon
//! and no interfaces; changes nothing.

pub mod host;
pub mod plan;
pub mod warnings;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::{config, stock};

/// The file alone decides the exit code: 0 or 2; 1 if the answer cannot be written. Starts a tokio
/// runtime of its own, so it is not to be called from within one.
pub fn run(path: &Path) -> ExitCode {
    let found = config::load(path).map(|settings| {
        let mut warnings = warnings::all(&settings, &host::read());
        warnings.extend(stock::outlook(&settings));
        (plan::text(&settings, path), warnings)
    });
    match found {
        Err(errors) => {
            let mut err = io::stderr().lock();
            let told = errors.iter().try_for_each(|error| writeln!(err, "mpathd: {error}"));
            ExitCode::from(if told.is_ok() { 2 } else { 1 })
        }
        Ok((plan, warnings)) => {
            let mut out = io::stdout().lock();
            let told = out.write_all(plan.as_bytes()).and_then(|()| {
                if !warnings.is_empty() {
                    writeln!(out)?;
                }
                warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))
            });
            ExitCode::from(u8::from(told.is_err()))
        }
    }
}
