//! Who else sets addresses and routes on this host: the likely one when something of ours was changed,
//! for the kernel does not say (O17).

use std::fs;
use std::path::Path;

/// Names as /proc has them, cut to 15 bytes, and how each is told to leave members alone.
const MANAGERS: [(&str, &str); 9] = [
    ("systemd-network", "systemd-networkd runs here: give it a .network file with Unmanaged=yes"),
    ("NetworkManager", "NetworkManager runs here: `nmcli device set IF managed no`"),
    ("dhclient", "dhclient runs here: stop it on members"),
    ("dhcpcd", "dhcpcd runs here: `denyinterfaces` in dhcpcd.conf keeps it off members"),
    ("udhcpc", "udhcpc runs here: stop it on members"),
    ("connmand", "connmand runs here: NetworkInterfaceBlacklist in main.conf keeps it off members"),
    ("wickedd", "wickedd runs here: take the members out of its ifcfg files"),
    ("keepalived", "keepalived runs here: it is not to have addresses of mpathd"),
    ("zebra", "zebra of FRR runs here: it is not to have addresses or routes of mpathd"),
];

/// In words; `None` where none of them runs in this network namespace.
pub(super) fn likely() -> Option<String> {
    let own = fs::read_link("/proc/self/ns/net").ok();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let at = process.path();
        let comm = fs::read_to_string(at.join("comm")).unwrap_or_default();
        let known = MANAGERS.iter().find(|(name, _)| *name == comm.trim_end());
        found.extend(known.filter(|_| is_here(&at, own.as_deref())).map(|(_, advice)| *advice));
    }
    found.sort_unstable();
    found.dedup();
    (!found.is_empty()).then(|| found.join("; "))
}

/// A namespace that we may not see is taken for ours.
fn is_here(process: &Path, own: Option<&Path>) -> bool {
    let its = fs::read_link(process.join("ns/net")).ok();
    its.is_none_or(|its| own.is_none_or(|own| its == own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_kernel_cuts_them() {
        assert!(MANAGERS.iter().all(|(name, _)| name.len() <= 15));
    }

    /// A program of a name; it ends when this is dropped.
    struct Running(std::process::Child, std::path::PathBuf);

    impl Running {
        fn named(name: &str) -> Self {
            let folder = format!("mpathd-managers-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::copy("/bin/sleep", folder.join(name)).unwrap();
            let child = std::process::Command::new(folder.join(name)).arg("60").spawn().unwrap();
            Self(child, folder)
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
            fs::remove_dir_all(&self.1).unwrap();
        }
    }

    fn named(text: &str) -> bool {
        likely().is_some_and(|all| all.contains(text))
    }

    /// A program that has just been started gets its name a moment after `exec` (Linux 6.18).
    fn wait_for(condition: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !condition() {
            assert!(begun.elapsed().as_secs() < 5, "{:?}", likely());
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_manager_is_named_once_while_it_runs_here() {
        let [text, other] = ["wickedd runs here: ", "connmand runs here: "];
        assert!(!named(text) && !named(other), "{:?}", likely());
        let first = Running::named("wickedd");
        wait_for(|| named(text));
        let second = Running::named("connmand");
        wait_for(|| named(text) && named(other) && named("; "));
        drop(first);
        assert!(!named(text) && named(other), "{:?}", likely());
        drop(second);
        assert!(!named(other));
    }

    #[test]
    fn a_process_of_another_network_namespace_is_not_here() {
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let own_process = Path::new("/proc/self");
        assert!(is_here(own_process, Some(&own)));
        assert!(!is_here(own_process, Some(Path::new("net:[1]"))));
        assert!(is_here(own_process, None), "what is ours is not known");
        assert!(is_here(Path::new("/proc/0"), Some(&own)), "it may not be looked at");
    }
}
