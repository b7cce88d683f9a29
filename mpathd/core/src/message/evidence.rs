//! What a verdict rests on, and why an interface is not in use.

use core::fmt;
use core::time::Duration;

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Evidence {
    pub reason: Reason,
    /// Silent targets, of so many that count.
    pub silent: u8,
    pub counted: u8,
    /// Age of the last reply at the verdict; `None` if there never was one.
    pub last_reply: Option<Duration>,
    /// From the first unanswered probe to the verdict.
    pub detected: Duration,
}

/// Rounds of an instance in which no target answered though it has not failed, and what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Loss {
    /// Silent rounds in a row that make a verdict: such as come by chance less than once a year.
    pub losses_to_fail: u8,
    /// So many rounds in a million are silent.
    pub silent_ppm: u32,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, losses) = (f64::from(self.silent_ppm) / 1e4, self.losses_to_fail);
        write!(
            f,
            "{percent:.2} % of the rounds are lost, so a failure takes {losses} losses in a row"
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Reason {
    Link,
    Probes,
    TransmitStuck,
    Removed,
    Offline,
    DuplicateMac,
}

impl Reason {
    /// The interface has failed, and has to earn its repair.
    pub fn is_failure(self) -> bool {
        matches!(self, Reason::Link | Reason::Probes | Reason::TransmitStuck)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Link => "link",
            Reason::Probes => "probes",
            Reason::TransmitStuck => "transmit-stuck",
            Reason::Removed => "removed",
            Reason::Offline => "offline",
            Reason::DuplicateMac => "duplicate-mac",
        })
    }
}

/// Why nothing watches a family of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Unwatched {
    /// Its test address is not on the interface, or not usable yet.
    NoTestAddress,
    /// Another host uses its test address, and no reply comes.
    AddressConflict,
    /// Replies cannot be received: no hook is attached, or no socket could be opened.
    NotAttached,
    /// No target is configured or has been found.
    NoTarget,
    /// It has targets, but none of them has ever answered this host.
    NoReply,
}

impl Unwatched {
    /// The word for tools and log fields.
    pub fn word(self) -> &'static str {
        match self {
            Unwatched::NoTestAddress => "no-test-address",
            Unwatched::AddressConflict => "address-conflict",
            Unwatched::NotAttached => "not-attached",
            Unwatched::NoTarget => "no-target",
            Unwatched::NoReply => "no-reply",
        }
    }
}

/// The reason as the end of a sentence about one family of one interface.
impl fmt::Display for Unwatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unwatched::NoTestAddress => "its test address is not on the interface",
            Unwatched::AddressConflict => "another host uses its test address",
            Unwatched::NotAttached => "replies to probes cannot be received there",
            Unwatched::NoTarget => "no target is known",
            Unwatched::NoReply => "none of its targets has ever answered",
        })
    }
}
