//! A configuration on trial (`mpathd try`): what it replaces is kept in a file, so that neither a stop nor a
//! crash makes it last. And the last good configuration, for `--fallback`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::private_file;

/// Of the file's format.
const VERSION: u32 = 1;
/// Directory of what has to outlive the run directory; set by systemd where the unit asks for it
/// (systemd.exec(5), StateDirectory).
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// DIR/trial.json. It stays when the trial is over and was not confirmed: what was tried is not to
/// come in force by a restart either, as long as the files still say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// What was in force before; a configuration file.
    pub confirmed: String,
    /// What was tried instead.
    pub tried: String,
}

impl Record {
    pub(super) fn new(confirmed: String, tried: String) -> Self {
        Self { version: VERSION, confirmed, tried }
    }
}

/// Where records are.
#[derive(Clone, Debug)]
pub struct Place {
    trial: PathBuf,
    /// `None` where nothing would outlive a reboot.
    last_good: Option<PathBuf>,
}

impl Place {
    /// In the state directory if there is one, else in the run directory.
    pub fn from_env(run_dir: &Path) -> Self {
        let state = std::env::var_os(STATE_DIRECTORY).filter(|dir| !dir.is_empty());
        // Several are separated by colons.
        let state = state.and_then(|dirs| std::env::split_paths(&dirs).next());
        Self {
            trial: state.as_deref().unwrap_or(run_dir).join("trial.json"),
            last_good: state.map(|dir| dir.join("last-good.toml")),
        }
    }

    /// `None` where there is none, or none that can be used.
    pub fn record(&self) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(&self.trial).ok()?).ok()?;
        (record.version == VERSION).then_some(record)
    }

    /// # Errors
    /// What writing says.
    pub(super) fn keep(&self, record: &Record) -> io::Result<()> {
        private_file::replace(&self.trial, &serde_json::to_vec(record)?, true)
    }

    /// # Errors
    /// What unlink says, but none where there is no record.
    pub fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.trial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Keeps a configuration that has been applied and confirmed.
    ///
    /// # Errors
    /// What writing says.
    pub fn keep_good(&self, text: &str) -> io::Result<()> {
        match &self.last_good {
            Some(path) if fs::read_to_string(path).ok().as_deref() != Some(text) => {
                private_file::replace(path, text.as_bytes(), true)
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slow::sample;

    #[test]
    fn a_record_is_read_back_and_forgotten() {
        let dir = sample::dir("trial");
        let place = Place { trial: dir.join("trial.json"), last_good: Some(dir.join("good.toml")) };
        assert_eq!(place.record(), None);
        let record = Record::new("[groups.a]\n".to_owned(), "# nothing\n".to_owned());
        place.keep(&record).unwrap();
        assert_eq!(place.record(), Some(record));
        fs::write(dir.join("trial.json"), "{\"version\":1,").unwrap();
        assert_eq!(place.record(), None, "half a record");
        place.forget().unwrap();
        place.forget().unwrap();
        place.keep_good("a").unwrap();
        place.keep_good("b").unwrap();
        assert_eq!(fs::read_to_string(dir.join("good.toml")).unwrap(), "b");
    }
}
