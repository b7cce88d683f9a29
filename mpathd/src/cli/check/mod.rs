//! `mpathd check`: what a file means, and what this host has to say to it. Needs no root, no daemon
//! and no interfaces; changes nothing.

pub mod host;
pub mod measure;
pub mod plan;
pub mod warnings;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::{config, stock};

/// The file alone decides the exit code: 0 or 2; 1 if the answer cannot be written. `measure`: for so long,
/// how late the host runs us. Starts a tokio runtime of its own, so it is not to be called from within one.
pub fn run(path: &Path, measure: Option<Duration>) -> ExitCode {
    let found = config::load(path).map(|settings| {
        let mut warnings = warnings::all(&settings, &host::read());
        if !config::files(path).is_ok_and(|files| files.iter().any(|file| file.exists())) {
            warnings.push(format!("{} is not there", path.display()));
        }
        warnings.extend(stock::outlook(&settings));
        let mut text = plan::text(&settings, path);
        match measure.map(|length| measure::measure(&settings, length)) {
            Some(Ok(measured)) => {
                text.push_str(&measure::text(&measured));
                warnings.extend(measure::warnings(&settings, &measured));
            }
            Some(Err(error)) => warnings.push(format!("nothing could be measured: {error}")),
            None => {}
        }
        (text, warnings)
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
