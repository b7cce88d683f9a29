//! The configuration file: text -> checked types, with errors that name file, line, column and key.
//!
//! `read` takes the text apart (types, names, ranges: what one value can tell), `resolve` puts
//! defaults in and `rules` holds what two values have to say to each other. Nothing here looks at
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

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use mpathd_core::config::{Config, MAX_TARGETS};
use mpathd_core::ids::{Family, GroupName};

pub use duration::{FDT_MAX, FDT_MIN, QUIET_MAX};
pub use error::{ConfigError, Errors, Place, Problem};
pub use origin::{Origin, Origins, key_path};

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
    /// Groups with `take_over = "dynamic"`: addresses with a lifetime are taken over too.
    pub take_dynamic: BTreeSet<GroupName>,
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

/// Reads and checks a file; one that is not there says nothing, which is right.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn load(path: &Path) -> Result<Settings, Errors> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes, path),
        Err(error) if error.kind() == ErrorKind::NotFound => parse(b"", path),
        Err(error) => Err(Errors::unreadable(path, &error)),
    }
}

/// Checks the contents of a file; `path` is only named in the errors.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Settings, Errors> {
    let (file, mut errors) = read::read(bytes, path.into());
    rules::check(&file, &mut errors);
    let settings = resolve::resolve(file);
    Errors::unless_empty(errors).map_or(Ok(settings), Err)
}
