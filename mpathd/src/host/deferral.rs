//! Whether frames that have come in can wait although mpathd runs: receive processing of a NIC that
//! is left to a thread of ordinary priority starves when the host is busy, and no evidence from
//! above can tell that from silence (design 2.12, N16).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use mpathd_core::event::Event;
use mpathd_core::ids::{IfName, Ifindex};

use crate::descriptors::is_lack;
use crate::fast::receivers::Receiver;

/// From here on a softirq is no longer put off because ksoftirqd runs already.
const INLINE_SINCE: (u32, u32) = (6, 5);

/// Process ids of the kernel threads that may hold up the frames of each NIC where some do. Empty
/// in a PID namespace, which does not show them.
#[derive(Default)]
pub(super) struct Deferral(BTreeMap<Ifindex, Vec<u32>>);

impl Deferral {
    /// What the engine has to hear, if it has changed. The channel is to be opened anew then: its
    /// receivers are others. What can't be found out at the moment is taken to be as it was.
    pub(super) fn look(&mut self, ifindex: Ifindex, name: IfName) -> Option<Event> {
        let now = responsible(ifindex, name).ok()?;
        if now.as_ref() == self.0.get(&ifindex) {
            return None;
        }
        let deferred = now.is_some();
        match now {
            Some(threads) => drop(self.0.insert(ifindex, threads)),
            None => drop(self.0.remove(&ifindex)),
        }
        Some(Event::ReceiveDeferred { ifindex, deferred })
    }

    /// Of these links only.
    pub(super) fn keep(&mut self, links: &BTreeSet<Ifindex>) {
        self.0.retain(|ifindex, _| links.contains(ifindex));
    }

    pub(super) fn forget(&mut self, ifindex: Ifindex) {
        self.0.remove(&ifindex);
    }
}

/// The threads as the fast thread watches them.
///
/// # Errors
/// Where descriptors or memory are used up: some of the threads would prove nothing.
pub(super) fn receivers(ifindex: Ifindex, name: IfName) -> io::Result<Vec<Receiver>> {
    let threads = responsible(ifindex, name)?.unwrap_or_default();
    let mut receivers = Vec::new();
    for pid in threads {
        let stat = unless_lack(fs::File::open(format!("/proc/{pid}/stat")))?;
        receivers.extend(stat.map(|file| Receiver::new(file.into())));
    }
    Ok(receivers)
}

/// `None`: what was to be read is not there, or not for us.
fn unless_lack<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_lack(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// `None` where frames are handled as they come in.
///
/// # Errors
/// As [`receivers`].
fn responsible(ifindex: Ifindex, name: IfName) -> io::Result<Option<Vec<u32>>> {
    if threaded(ifindex, name)? == Some(true) {
        return napi_threads(name).map(Some);
    }
    softirqs_wait().then(|| kernel_threads(|comm| comm.starts_with("ksoftirqd/"))).transpose()
}

/// `napi/NAME-` and a number (Linux 5.17 and newer show more than 15 bytes of it).
///
/// # Errors
/// As [`receivers`].
pub(super) fn napi_threads(name: IfName) -> io::Result<Vec<u32>> {
    let number = |comm: &str| comm.strip_prefix(&format!("napi/{name}-"))?.parse::<u32>().ok();
    kernel_threads(|comm| number(comm).is_some())
}

pub(super) fn attribute(name: IfName) -> String {
    format!("/sys/class/net/{name}/threaded")
}

/// NAPI in kernel threads, by the device's `threaded` attribute (Linux 5.12); `None` where that is not to
/// be read, for the file system may show another network namespace than ours.
///
/// # Errors
/// As [`receivers`].
pub(crate) fn threaded(ifindex: Ifindex, name: IfName) -> io::Result<Option<bool>> {
    let index = unless_lack(fs::read_to_string(format!("/sys/class/net/{name}/ifindex")))?;
    if index.is_none_or(|index| index.trim().parse() != Ok(ifindex.0)) {
        return Ok(None);
    }
    let text = unless_lack(fs::read_to_string(attribute(name)))?;
    Ok(text.map(|text| text.trim() != "0"))
}

pub(crate) fn softirqs_wait() -> bool {
    nix::sys::utsname::uname().is_ok_and(|name| is_older(&name.release().to_string_lossy()))
}

/// Of a release that can't be read the worse is assumed.
fn is_older(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < INLINE_SINCE
}

/// Ascending. A process of the user that took such a name would only make verdicts late.
fn kernel_threads(is_one: impl Fn(&str) -> bool) -> io::Result<Vec<u32>> {
    let Some(entries) = unless_lack(fs::read_dir("/proc"))? else { return Ok(Vec::new()) };
    let pids =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut threads: Vec<u32> = Vec::new();
    for pid in pids {
        let comm = unless_lack(fs::read_to_string(format!("/proc/{pid}/comm")))?;
        threads.extend(comm.filter(|comm| is_one(comm.trim_end())).map(|_| pid));
    }
    threads.sort_unstable();
    Ok(threads)
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

    #[test]
    fn threads_are_found_by_their_name() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let named = |name: &str| kernel_threads(|comm| comm == name).unwrap();
        assert!(named(own.trim()).contains(&std::process::id()));
        assert_eq!(named("no thread has that"), Vec::<u32>::new());
    }
}
