//! Files that replace others by renaming.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Writes a file under a name that nothing has: a file that was left there, or a symbolic link that somebody
/// else has put there, is removed and never followed (`O_EXCL`, open(2)).
///
/// # Errors
/// Whatever removing, creating or writing says.
pub(super) fn write_new(path: &Path, contents: &[u8]) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = File::create_new(path)?;
    file.write_all(contents)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slow::sample;

    #[test]
    fn a_symbolic_link_is_replaced_and_not_followed() {
        let dir = sample::dir("new-file-link");
        let (victim, path) = (dir.join("victim"), dir.join("state.json.new"));
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        write_new(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn what_was_left_there_is_replaced() {
        let dir = sample::dir("new-file-left");
        let path = dir.join("trial.new");
        for contents in ["a longer one", "short"] {
            write_new(&path, contents.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
    }
}
