//! DIR/sysctls.jsonl: the values of sysctls before ours. The thread that writes sysctls writes it first, so that
//! they are not lost if the daemon is killed before the state file is written. One JSON object a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::state::OldSysctl;
use crate::private_file;

pub struct SysctlRecord(PathBuf);

impl SysctlRecord {
    pub fn new(run_dir: &Path) -> Self {
        Self(run_dir.join("sysctls.jsonl"))
    }

    /// `None` where there is no record. A line that was cut off by a crash is left out: what it was about had
    /// not been changed yet.
    pub fn read(&self) -> Option<Vec<OldSysctl>> {
        let text = fs::read_to_string(&self.0).ok()?;
        Some(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// # Errors
    /// What opening or writing says.
    pub fn append(&self, sysctls: &[OldSysctl]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        // Made by `rewrite` in a directory that was checked.
        let mut file = options.append(true).custom_flags(libc::O_NOFOLLOW).open(&self.0)?;
        file.write_all(&lines(sysctls)?)
    }

    /// # Errors
    /// As [`private_file::replace`].
    pub fn rewrite(&self, sysctls: &[OldSysctl]) -> io::Result<()> {
        private_file::replace(&self.0, &lines(sysctls)?, false)
    }

    /// # Errors
    /// What unlink says, but none where there is no record.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn lines(sysctls: &[OldSysctl]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for sysctl in sysctls {
        serde_json::to_writer(&mut text, sysctl)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use mpathd_core::ids::Ifindex;

    use super::*;
    use crate::messages::SysctlKey;
    use crate::slow::{sample, state};

    #[test]
    fn values_are_known_though_no_state_file_was_written() {
        let dir = sample::dir("sysctl-record");
        let record = SysctlRecord::new(&dir);
        assert_eq!(record.read(), None);
        assert!(state::read(&dir).unwrap().is_none());
        record.rewrite(&[]).unwrap();
        let old = |key, old| OldSysctl {
            interface: sample::name("eth0"),
            ifindex: Some(Ifindex(2)),
            key,
            old,
        };
        let both = [old(SysctlKey::ArpIgnore, 0), old(SysctlKey::ArpAnnounce, 1)];
        record.append(&both[..1]).unwrap();
        record.append(&both[1..]).unwrap();
        let mut cut_off = OpenOptions::new().append(true).open(&record.0).unwrap();
        cut_off.write_all(b"{\"interface\":\"et").unwrap();
        assert_eq!(state::read(&dir).unwrap().unwrap().sysctls, both);
        assert_eq!(state::load(&dir).state.sysctls, both);
        // A damaged state file takes nothing of it away.
        fs::write(dir.join("state.json"), "{").unwrap();
        assert_eq!(state::load(&dir).state.sysctls, both);
        record.rewrite(&both[1..]).unwrap();
        assert_eq!(state::load(&dir).state.sysctls, both[1..]);
        state::remove(&dir).unwrap();
        assert_eq!(state::load(&dir).state.sysctls, []);
    }
}
