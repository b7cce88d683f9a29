//! Which configuration the daemon starts from: its files, as a rule; what was in force before, where the
//! files say what was tried and not confirmed; the fallback, where they are bad.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use mpathd_core::message::Severity;

use super::{Options, StartError};
use crate::cli::check::plan;
use crate::config::{self, Settings, diff};
use crate::slow::log::{self, Log};
use crate::slow::trial::{Place, Record};

pub(super) struct Source {
    pub settings: Settings,
    /// The same as the text of one file.
    pub text: String,
    /// What an administrator is to know of it.
    pub note: Option<String>,
    /// What the files say was tried, and nobody has confirmed it: nothing of it is to stay.
    pub unconfirmed: bool,
}

impl Source {
    /// # Errors
    /// Where the configuration is bad and there is no fallback.
    pub(super) fn read(
        options: &Options,
        place: &Place,
        log: &mut Log,
    ) -> Result<Self, StartError> {
        let source = match config::load(&options.config) {
            Ok(settings) => match place.record().and_then(|record| untried(&record, &settings)) {
                Some(confirmed) => {
                    let note = format!(
                        "what {} says was tried and not confirmed; running on what was in force \
                         before; `mpathd reload` applies it",
                        options.config.display()
                    );
                    let source = Self::new(confirmed, &options.config, Some(note));
                    Self { unconfirmed: true, ..source }
                }
                None => Self::new(settings, &options.config, None),
            },
            Err(errors) => {
                // One that is not there says nothing, and would leave the host without groups.
                let fallback = options.fallback.as_deref().filter(|path| path.exists());
                let Some(fallback) = fallback else { return Err(errors.into()) };
                for error in errors.iter() {
                    log.line(Severity::Error, error.to_string());
                }
                let of = age(fallback).map_or_else(String::new, |time| format!(" of {time}"));
                let note =
                    format!("running on the last good configuration{of}, {}", fallback.display());
                Self::new(config::load(fallback)?, fallback, Some(note))
            }
        };
        if let Some(note) = &source.note {
            log.line(Severity::Error, note);
        }
        Ok(source)
    }

    fn new(settings: Settings, path: &Path, note: Option<String>) -> Self {
        let text = plan::text(&settings, path);
        Self { settings, text, note, unconfirmed: false }
    }

    /// It is what the files say, and so what they said before does not matter any more.
    pub(super) fn settle(&self, place: &Place, log: &mut Log) {
        if self.note.is_some() {
            return;
        }
        if let Err(error) = place.forget().and_then(|()| place.keep_good(&self.text)) {
            let text = format!("the last good configuration cannot be kept: {error}");
            log.line(Severity::Error, text);
        }
    }
}

/// What was in force before the trial of what the files say.
fn untried(record: &Record, files: &Settings) -> Option<Settings> {
    let read = |text: &str| config::parse(text.as_bytes(), Path::new("trial.json")).ok();
    let tried = read(&record.tried)?;
    diff::changes(&tried, files).is_empty().then(|| read(&record.confirmed)).flatten()
}

/// When the file was written.
fn age(path: &Path) -> Option<String> {
    let written: SystemTime = path.metadata().ok()?.modified().ok()?;
    Some(log::rfc3339(written.duration_since(UNIX_EPOCH).ok()?))
}
