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
