//! The sysctls of members (design 5): set before the first address, compared at every survey, for a
//! change of theirs makes no notice and udev sets them anew at hotplug (O16). Only values of one
//! interface are written, never `all` or `default`. Where `all` has a say, the kernel takes the
//! larger of both, or either for the switches; so `all` can only forbid what we need by too large
//! a value, and that is refused with the reason (N7).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::message::Severity;

use super::mirror::Mirror;
use super::netlink::Refused;
use super::outbox::Slow;
use crate::config::Sysctls as Mode;
use crate::messages::{SysctlKey, ToSlow};
use crate::slow::state::OldSysctl;

const ROOT: &str = "/proc/sys";

#[derive(Default)]
pub(super) struct Sysctls {
    prepared: BTreeMap<IfName, Ifindex>,
    /// Per value: how often it was found changed, or could not be set.
    seen: BTreeMap<(IfName, SysctlKey), u32>,
    refused: Option<String>,
    /// Values that were there before ours.
    before: BTreeMap<(IfName, SysctlKey), i32>,
    /// The devices that had them, for one may be called otherwise by now.
    devices: BTreeMap<IfName, Ifindex>,
}

impl Sysctls {
    /// Sets or checks the values of a member.
    ///
    /// # Errors
    /// EINVAL where `all` holds a value that makes our addresses unreachable.
    pub(super) fn prepare(
        &mut self,
        ifindex: Ifindex,
        name: IfName,
        mode: Mode,
        slow: &mut Slow,
    ) -> Result<(), Refused> {
        self.prepared.insert(name, ifindex);
        self.refuse_global(slow)?;
        for key in SysctlKey::ALL {
            self.apply(name, key, mode, slow);
        }
        Ok(())
    }

    fn refuse_global(&mut self, slow: &mut Slow) -> Result<(), Refused> {
        let Some(reason) = global_obstacle() else {
            self.refused = None;
            return Ok(());
        };
        if self.refused.as_ref() != Some(&reason) {
            slow.log(Severity::Error, reason.clone());
            self.refused = Some(reason.clone());
        }
        Err(Refused::with(libc::EINVAL, reason))
    }

    fn apply(&mut self, name: IfName, key: SysctlKey, mode: Mode, slow: &mut Slow) {
        let path = key.path(name);
        let wanted = key.wanted();
        let old = match read(&path) {
            Ok(old) => old,
            // No IPv6 in this kernel or on this device: nothing to set, and no harm to IPv4.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                return self.complain(name, key, slow, &format!("reading failed: {error}"));
            }
        };
        if old == wanted {
            return;
        }
        if mode == Mode::Check {
            return self.complain(
                name,
                key,
                slow,
                &format!("it is {old}, and mpathd may only check"),
            );
        }
        match std::fs::write(Path::new(ROOT).join(&path), wanted.to_string()) {
            Ok(()) => self.report(name, key, old, slow),
            Err(error) => {
                self.complain(name, key, slow, &format!("it is {old}; writing failed: {error}"))
            }
        }
    }

    /// The first change is ours and is remembered for `release`; a later one puts right what somebody
    /// else did.
    fn report(&mut self, name: IfName, key: SysctlKey, old: i32, slow: &mut Slow) {
        let new = key.wanted();
        let times = self.seen.entry((name, key)).or_insert(0);
        *times += 1;
        match *times {
            1 => {
                self.before.entry((name, key)).or_insert(old);
                let ifindex = self.prepared.get(&name).copied();
                self.devices.extend(ifindex.map(|ifindex| (name, ifindex)));
                slow.push(ToSlow::Sysctl { interface: name, ifindex, key, old, new });
            }
            2..=4 => slow.log(
                Severity::Warning,
                format!("{} was set to {old} by somebody else; it is {new} again", key.path(name)),
            ),
            _ => {}
        }
    }

    fn complain(&mut self, name: IfName, key: SysctlKey, slow: &mut Slow, why: &str) {
        let times = self.seen.entry((name, key)).or_insert(0);
        *times += 1;
        if *times == 1 {
            let path = key.path(name).replace('/', ".");
            slow.log(Severity::Error, format!("sysctl {path} should be {}: {why}", key.wanted()));
        }
    }

    /// Members whose values are set.
    pub(super) fn prepared(&self) -> impl Iterator<Item = (IfName, Ifindex)> + '_ {
        self.prepared.iter().map(|(name, ifindex)| (*name, *ifindex))
    }

    /// The device has gone: its successor starts with the system's defaults.
    pub(super) fn left(&mut self, name: IfName, slow: &mut Slow) {
        if self.before.keys().any(|(known, _)| *known == name) {
            slow.push(ToSlow::SysctlsRestored(name));
        }
        self.forget(name);
    }

    fn forget(&mut self, name: IfName) {
        self.prepared.remove(&name);
        self.devices.remove(&name);
        self.seen.retain(|(known, _), _| *known != name);
        self.before.retain(|(known, _), _| *known != name);
    }

    /// What the state file tells of values before ours.
    pub(super) fn remember(&mut self, before: &[OldSysctl]) {
        for OldSysctl { interface, ifindex, key, old } in before {
            self.before.entry((*interface, *key)).or_insert(*old);
            if let Some(ifindex) = ifindex {
                self.devices.entry(*interface).or_insert(*ifindex);
            }
        }
    }

    /// Of devices that were given another name while no daemon ran.
    pub(super) fn give_back_renamed(&mut self, mirror: &Mirror, slow: &mut Slow) {
        let renamed: Vec<(IfName, IfName)> = self
            .devices
            .iter()
            .filter_map(|(name, ifindex)| Some((*name, mirror.name(*ifindex)?)))
            .filter(|(name, now)| name != now)
            .collect();
        for (name, now) in renamed {
            self.give_back(name, now, slow);
            self.left(name, slow);
        }
    }

    /// NICs that are no members any more get back the values they had, where ours still stand.
    pub(super) fn restore_all_but(&mut self, members: &BTreeSet<IfName>, slow: &mut Slow) {
        let names: BTreeSet<IfName> = self.before.keys().map(|(name, _)| *name).collect();
        for name in names.difference(members) {
            for key in SysctlKey::ALL {
                if let Some(old) = self.before.get(&(*name, key)) {
                    restore(*name, key, *old, slow);
                }
            }
            slow.push(ToSlow::SysctlsRestored(*name));
        }
        let others = |name: &IfName| !members.contains(name);
        let leaving: Vec<_> = self.prepared.keys().copied().filter(others).collect();
        leaving.into_iter().chain(names.difference(members).copied()).for_each(|name| {
            self.forget(name);
        });
    }

    /// A device that is called otherwise now is no member any more, and gets its own values back.
    pub(super) fn give_back(&self, name: IfName, renamed: IfName, slow: &mut Slow) {
        for ((_, key), old) in self.before.iter().filter(|((known, _), _)| *known == name) {
            restore(renamed, *key, *old, slow);
        }
    }
}

/// The value is the one that we set.
pub(super) fn is_ours(name: IfName, key: SysctlKey) -> bool {
    read(&key.path(name)).ok() == Some(key.wanted())
}

fn restore(name: IfName, key: SysctlKey, old: i32, slow: &mut Slow) {
    // The device may have gone, and somebody else may have set another value since.
    if !is_ours(name, key) {
        return;
    }
    let path = key.path(name);
    match std::fs::write(Path::new(ROOT).join(&path), old.to_string()) {
        Ok(()) => slow.log(Severity::Notice, format!("set {path} back to {old}")),
        Err(error) => {
            slow.log(Severity::Error, format!("setting {path} back to {old} failed: {error}"));
        }
    }
}

/// Whether the interface takes IPv6 addresses; without the directory it has no IPv6 at all.
pub(super) fn takes_v6(name: IfName) -> bool {
    read(&format!("net/ipv6/conf/{name}/disable_ipv6")).is_ok_and(|disabled| disabled == 0)
}

/// What makes a /32 unreachable whatever the member's own values are.
fn global_obstacle() -> Option<String> {
    let ignore = read("net/ipv4/conf/all/arp_ignore").unwrap_or(0);
    if ignore >= 2 {
        return Some(format!(
            "net.ipv4.conf.all.arp_ignore is {ignore}: the kernel then answers no ARP request for an \
             address of mpathd's; set it to 0 or 1"
        ));
    }
    let filter = read("net/ipv4/conf/all/arp_filter").unwrap_or(0);
    if filter != 0 {
        return Some(
            "net.ipv4.conf.all.arp_filter is 1: the kernel then answers ARP requests by route, not by \
             interface, so members would fall silent; set it to 0"
                .to_owned(),
        );
    }
    None
}

fn read(path: &str) -> io::Result<i32> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(path))?;
    text.trim().parse().map_err(|_| io::Error::other(format!("not a number: {text:?}")))
}

/// Whether this host forwards IPv6 on an interface: the router flag of its advertisements.
pub(super) fn forwards_v6(name: IfName) -> bool {
    read(&format!("net/ipv6/conf/{name}/forwarding")).is_ok_and(|value| value != 0)
}

/// While this lives, the removal of an IPv4 address does not take others of its subnet with it on
/// that device (promote_secondaries). Of members that is so anyway.
pub(super) struct Promotion(Option<String>);

impl Promotion {
    pub(super) fn of(name: IfName) -> Self {
        let path = format!("net/ipv4/conf/{name}/promote_secondaries");
        let off = read(&path).is_ok_and(|value| value == 0);
        let path = Path::new(ROOT).join(path).to_string_lossy().into_owned();
        Self(Some(path).filter(|path| off && std::fs::write(path, "1").is_ok()))
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The device may have gone, and its values with it.
            std::fs::write(path, "0").unwrap_or_default();
        }
    }
}
