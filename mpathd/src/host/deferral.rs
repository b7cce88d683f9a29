//! Whether frames that have come in can wait although mpathd runs: receive processing of a NIC that
//! is left to a thread of ordinary priority starves when the host is busy, and no evidence from
//! above can tell that from silence (design 2.12, N16).

use std::collections::BTreeSet;
use std::fs;

use mpathd_core::event::Event;
use mpathd_core::ids::{IfName, Ifindex};

/// From here on a softirq is no longer put off because ksoftirqd runs already.
const INLINE_SINCE: (u32, u32) = (6, 5);

#[derive(Default)]
pub(super) struct Deferral {
    deferred: BTreeSet<Ifindex>,
}

impl Deferral {
    /// What the engine has to hear, if it has changed.
    pub(super) fn look(&mut self, ifindex: Ifindex, name: IfName) -> Option<Event> {
        let deferred = softirqs_wait() || is_threaded(ifindex, name);
        let changed = match deferred {
            true => self.deferred.insert(ifindex),
            false => self.deferred.remove(&ifindex),
        };
        changed.then_some(Event::ReceiveDeferred { ifindex, deferred })
    }

    pub(super) fn forget(&mut self, ifindex: Ifindex) {
        self.deferred.remove(&ifindex);
    }
}

/// NAPI in kernel threads, by the device's `threaded` attribute (Linux 5.12). The file system may
/// show another network namespace than ours.
fn is_threaded(ifindex: Ifindex, name: IfName) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/sys/class/net/{name}/{file}")).ok();
    let ours = read("ifindex").is_some_and(|text| text.trim().parse() == Ok(ifindex.0));
    ours && read("threaded").is_some_and(|text| text.trim() != "0")
}

fn softirqs_wait() -> bool {
    nix::sys::utsname::uname().is_ok_and(|name| is_older(&name.release().to_string_lossy()))
}

/// Of a release that can't be read the worse is assumed.
fn is_older(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < INLINE_SINCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        for older in ["5.15.0-113-generic", "6.1.0-21-amd64", "6.4", "6.4.16", "unknown"] {
            assert!(is_older(older), "{older}");
        }
        for newer in ["6.5", "6.5.0-rc1", "6.12.9+bpo-amd64", "6.18.1", "7.0"] {
            assert!(!is_older(newer), "{newer}");
        }
    }
}
