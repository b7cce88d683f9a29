//! The configuration files: text -> checked types, with errors that name file, line, column and key.
//!
//! `read` takes the text of each apart (types, names, ranges: what one value can tell), `raw` merges
//! them, `resolve` puts defaults in and `rules` holds what two values have to say to each other. Nothing here looks at
//! the host; `mpathd check` does.

mod address;
pub mod diff;
mod duration;
mod error;
mod origin;
mod raw;
mod read;
mod reader;
mod resolve;
mod rules;
mod source;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mpathd_core::config::{Config, MAX_TARGETS};
use mpathd_core::ids::{Family, GroupName, IfName};

pub use duration::{FDT_MAX, FDT_MIN, QUIET_MAX};
pub use error::{ConfigError, Errors, Place, Problem};
pub use origin::{Origin, Origins, key_path};

/// A time as it is written in the file, for the command line.
///
/// # Errors
/// What is wrong with it.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    duration::parse(text, &(std::time::Duration::ZERO..=FDT_MAX)).map_err(|e| e.to_string())
}

/// Where the daemon and `mpathd check` look unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/mpathd/mpathd.toml";

/// Each interface has a slot per family and target in the kernel maps.
const MAX_INTERFACES: usize =
    mpathd_common::abi::SLOTS as usize / (Family::ALL.len() * MAX_TARGETS);

/// Everything a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the engine works from.
    pub engine: Config,
    pub track_interfaces_only_with_groups: bool,
    pub realtime: Realtime,
    pub sysctls: Sysctls,
    /// `receive_priority`: SCHED_FIFO of the threads that handle what a member receives, 1..=49; the others are
    /// left as they are.
    pub receive_priority: BTreeMap<IfName, u8>,
    /// Groups with `take_over = "dynamic"`: addresses with a lifetime are taken over too.
    pub take_dynamic: BTreeSet<GroupName>,
    /// Groups with `egress_redirect`: traffic moves at the verdict, before addresses and routes do.
    pub redirected: BTreeSet<GroupName>,
    /// Where each value was written.
    pub origins: Origins,
}

/// `realtime_priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realtime {
    /// 51 if some FDT is under 1 s, else ordinary scheduling.
    Auto,
    /// SCHED_FIFO at this priority, 1..=99; 0 = ordinary.
    Fixed(u8),
    /// SCHED_DEADLINE: before all of SCHED_FIFO.
    Deadline,
}

/// `sysctls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sysctls {
    Set,
    /// A wrong value is reported, not changed.
    Check,
}

/// `take_over`: which addresses that the host has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    Static,
    /// Those of DHCP and SLAAC, too.
    Dynamic,
}

/// Reads and checks a file and its drop-ins, see [`files`]; where none is there nothing is said, which
/// is right.
///
/// # Errors
/// Everything that is wrong with them, in the order of files and lines.
pub fn load(path: &Path) -> Result<Settings, Errors> {
    let mut texts = Vec::new();
    for file in files(path)? {
        match std::fs::read(&file) {
            Ok(bytes) => texts.push((file, bytes)),
            // Removed meanwhile, or never there.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Errors::unreadable(&file, &error)),
        }
    }
    parse_all(texts.iter().map(|(file, bytes)| (file.as_path(), bytes.as_slice())))
}

/// The file and, for `X.toml`, all `X.d/*.toml` that are there, in the order in which they are read:
/// by the bytes of their names.
///
/// # Errors
/// Where the directory cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, Errors> {
    let folder = path.with_extension("d");
    let unreadable = |error| Errors::unreadable(&folder, &error);
    let mut files = vec![path.to_owned()];
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(unreadable(error)),
    };
    let names: Result<BTreeSet<_>, _> = entries.map(|it| it.map(|it| it.file_name())).collect();
    let wanted = |name: &&OsString| {
        let bytes = name.as_encoded_bytes();
        bytes.ends_with(b".toml") && !bytes.starts_with(b".")
    };
    let names = names.map_err(unreadable)?;
    files.extend(names.iter().filter(wanted).map(|name| folder.join(name)));
    Ok(files)
}

/// Checks the contents of a file; `path` is only named in the errors.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Settings, Errors> {
    parse_all([(path, bytes)].into_iter())
}

/// Checks the contents of several files, of which later ones have the last word: tables are merged,
/// other values replaced.
fn parse_all<'a>(files: impl Iterator<Item = (&'a Path, &'a [u8])>) -> Result<Settings, Errors> {
    let (mut merged, mut errors, mut order) = (raw::File::default(), Vec::new(), Vec::new());
    let mut readable = true;
    for (path, bytes) in files {
        let path: Arc<Path> = path.into();
        order.push(path.clone());
        let (file, of_file) = read::read(bytes, path);
        readable &= file.is_some();
        errors.extend(of_file);
        merged.merge(file.unwrap_or_default());
    }
    // What a file that is no TOML would have said is not missing.
    if readable {
        rules::check(&merged, &mut errors);
    }
    let settings = resolve::resolve(merged);
    Errors::unless_empty(errors, &order).map_or(Ok(settings), Err)
}
