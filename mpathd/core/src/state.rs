//! What survives a restart: contents of the state file, by name, for indices do not survive.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::ids::IfName;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Saved {
    pub members: Vec<SavedMember>,
    /// Last known binding of each data address.
    pub bindings: Vec<SavedBinding>,
    /// Targets that have answered this host (N3).
    pub proven: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SavedMember {
    pub name: IfName,
    pub failed: bool,
    /// Takes part in carrying data: neither a spare nor put aside by FAILBACK=no.
    pub active: bool,
    pub offline: bool,
    /// Offline because another member has its MAC.
    #[cfg_attr(feature = "serde", serde(default))]
    pub duplicate: bool,
    /// Its link has been set up by us once; it is not set up again (O7).
    pub met: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SavedBinding {
    pub address: IpAddr,
    pub interface: IfName,
}
