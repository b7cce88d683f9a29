//! The configuration file: text -> checked types, with errors that name file, line, column and key.

use mpathd_core::config::Config;

/// Everything a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the engine works from.
    pub engine: Config,
    pub track_interfaces_only_with_groups: bool,
    pub realtime: Realtime,
    pub sysctls: Sysctls,
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
