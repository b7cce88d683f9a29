//! Files that only this user may have made. A daemon or `mpathd release` started as root works in directories
//! that may belong to another user, who must not be able to lead its writes elsewhere by a symbolic link.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Replaces the file at `path` by one with these contents, atomically; with `durable`, even if the power fails.
///
/// # Errors
/// PermissionDenied where its directory is another user's or others may write to it; else what the kernel says.
pub fn replace(path: &Path, contents: &[u8], durable: bool) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = open_directory(parent)?;
    // Names are resolved in the directory that was checked, whatever its path leads to by now.
    let within = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let mut temporary = name.to_owned();
    temporary.push(".new");
    let temporary = within.join(temporary);
    // Left by a writer that was killed, or put there by another program; a link is removed, not followed.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&temporary)?;
    file.write_all(contents)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, within.join(name))
}

/// Makes a directory that only this user may use, with its parents, or checks the one that is there.
///
/// # Errors
/// As [`replace`].
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    open_directory(path).map(drop)
}

/// Opens a directory that no other user but root controls.
///
/// # Errors
/// As [`replace`]; ENOTDIR for a symbolic link.
pub fn open_directory(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    // A bare file name lies in the working directory.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(path, &directory.metadata()?)?;
    Ok(directory)
}

fn check(path: &Path, found: &Metadata) -> io::Result<()> {
    let refused = |why: String| {
        let text = format!("{} {why}", path.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    };
    let own = geteuid().as_raw();
    if found.uid() != 0 && found.uid() != own {
        return refused(format!(
            "belongs to uid {}, not to root or uid {own}: remove it, or run as its owner",
            found.uid()
        ));
    }
    if found.mode() & GROUP_OR_OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return refused(format!(
            "may be written by others (mode {:04o}): run chmod go-w on it",
            found.mode() & 0o7777
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::slow::sample;

    #[test]
    fn a_symbolic_link_in_the_way_is_replaced_and_not_followed() {
        let dir = sample::dir("private-link");
        let (victim, path) = (dir.join("victim"), dir.join("state.json"));
        fs::write(&victim, "theirs").unwrap();
        symlink(&victim, dir.join("state.json.new")).unwrap();
        symlink(&victim, &path).unwrap();
        replace(&path, b"ours", false).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert!(!dir.join("state.json.new").exists());
    }

    #[test]
    fn a_directory_that_others_control_is_refused() {
        let dir = sample::dir("private-directory");
        let theirs = dir.join("theirs");
        make_directory(&theirs).unwrap();
        assert_eq!(fs::metadata(&theirs).unwrap().mode() & 0o777, 0o700);
        let refused = |path: &Path| {
            let written = replace(&path.join("state.json"), b"ours", true).map_err(|e| e.kind());
            assert_eq!(written, Err(io::ErrorKind::PermissionDenied));
            assert!(!path.join("state.json").exists());
            make_directory(path).unwrap_err().to_string()
        };
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&theirs).contains("mode 0777"));
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
        replace(&theirs.join("trial.json"), b"ours", true).unwrap();
        let link = dir.join("link");
        symlink(&*dir, &link).unwrap();
        assert!(make_directory(&link).is_err());
    }
}
