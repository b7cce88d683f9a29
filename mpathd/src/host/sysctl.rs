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
use crate::descriptors::is_lack;
use crate::messages::{SysctlKey, ToSlow};
use crate::slow::state::OldSysctl;
use crate::slow::sysctl_record::SysctlRecord;

const ROOT: &str = "/proc/sys";

#[derive(Default)]
pub(super) struct Sysctls {
    prepared: BTreeMap<IfName, Ifindex>,
    /// Per value: how often it was found changed.
    seen: BTreeMap<(IfName, SysctlKey), u32>,
    /// Those that could not be read or set, as has been logged.
    complained: BTreeSet<(IfName, SysctlKey)>,
    refused: Option<String>,
    /// Values that were there before ours.
    before: BTreeMap<(IfName, SysctlKey), i32>,
    /// The devices that had them, for one may be called otherwise by now.
    devices: BTreeMap<IfName, Ifindex>,
    /// Where these values are written before the first of ours.
    record: Option<SysctlRecord>,
}

impl Sysctls {
    /// Sets or checks the values of a member.
    ///
    /// # Errors
    /// EINVAL where `all` holds a value that makes our addresses unreachable; EMFILE, ENFILE or ENOMEM
    /// where not all could be looked at.
    pub(super) fn prepare(
        &mut self,
        ifindex: Ifindex,
        name: IfName,
        mode: Mode,
        slow: &mut Slow,
    ) -> Result<(), Refused> {
        self.prepared.insert(name, ifindex);
        self.refuse_global(slow)?;
        if mode == Mode::Set {
            self.record_first(ifindex, name, slow);
        }
        for key in SysctlKey::ALL {
            self.apply(name, key, mode, slow)?;
        }
        Ok(())
    }

    /// From now on the values before ours are kept in a file of this directory.
    pub(super) fn keep_record(&mut self, directory: Option<&Path>) {
        self.record = directory.map(SysctlRecord::new);
        self.rewrite_record();
    }

    /// Records the values that `apply` is about to change: a daemon that is killed between the two must not
    /// lose them.
    fn record_first(&mut self, ifindex: Ifindex, name: IfName, slow: &mut Slow) {
        let Some(record) = &self.record else { return };
        let unknown = |key: &SysctlKey| !self.before.contains_key(&(name, *key));
        let changes = SysctlKey::ALL.into_iter().filter(unknown).filter_map(|key| {
            let old = read(&key.path(name)).ok().filter(|old| *old != key.wanted())?;
            Some(OldSysctl { interface: name, ifindex: Some(ifindex), key, old })
        });
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            return;
        }
        match record.append(&changes) {
            Ok(()) => {
                for change in &changes {
                    self.before.insert((name, change.key), change.old);
                }
                self.devices.insert(name, ifindex);
            }
            Err(error) => slow.log(
                Severity::Error,
                format!(
                    "recording the sysctls of {name} failed: {error}; if mpathd is killed now, `mpathd \
                     release` cannot restore them"
                ),
            ),
        }
    }

    /// Without what has been restored. A line too many would restore a value twice, so an error is no
    /// more than that.
    fn rewrite_record(&self) {
        let Some(record) = &self.record else { return };
        let all: Vec<_> = self
            .before
            .iter()
            .map(|((interface, key), old)| OldSysctl {
                interface: *interface,
                ifindex: self.devices.get(interface).copied(),
                key: *key,
                old: *old,
            })
            .collect();
        record.rewrite(&all).unwrap_or_default();
    }

    fn refuse_global(&mut self, slow: &mut Slow) -> Result<(), Refused> {
        let reason = match global_obstacle() {
            Ok(reason) => reason,
            // What was found last holds.
            Err(_) => self.refused.clone(),
        };
        let Some(reason) = reason else {
            self.refused = None;
            return Ok(());
        };
        if self.refused.as_ref() != Some(&reason) {
            slow.log(Severity::Error, reason.clone());
            self.refused = Some(reason.clone());
        }
        Err(Refused::with(libc::EINVAL, reason))
    }

    /// # Errors
    /// Only where descriptors or memory are used up: nothing is known of the value then, and it is looked at
    /// again.
    fn apply(
        &mut self,
        name: IfName,
        key: SysctlKey,
        mode: Mode,
        slow: &mut Slow,
    ) -> io::Result<()> {
        let path = key.path(name);
        let wanted = key.wanted();
        let old = match read(&path) {
            Ok(old) => old,
            // No IPv6 in this kernel or on this device: nothing to set, and no harm to IPv4.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if is_lack(&error) => return Err(error),
            Err(error) => {
                self.complain(name, key, slow, &format!("reading failed: {error}"));
                return Ok(());
            }
        };
        if old == wanted {
            return Ok(());
        }
        if mode == Mode::Check {
            let why = format!("it is {old}, and mpathd may only check");
            self.complain(name, key, slow, &why);
            return Ok(());
        }
        match std::fs::write(Path::new(ROOT).join(&path), wanted.to_string()) {
            Ok(()) => self.report(name, key, old, slow),
            Err(error) if is_lack(&error) => return Err(error),
            Err(error) => {
                self.complain(name, key, slow, &format!("it is {old}; writing failed: {error}"));
            }
        }
        Ok(())
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
        if self.complained.insert((name, key)) {
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
        self.complained.retain(|(known, _)| *known != name);
        let recorded = self.before.len();
        self.before.retain(|(known, _), _| *known != name);
        if self.before.len() < recorded {
            self.rewrite_record();
        }
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
    let path = key.path(name);
    // The device may have gone, and somebody else may have set another value since.
    match read(&path) {
        Ok(value) if value == key.wanted() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let text = format!("{path} should be {old} again, but reading it failed: {error}");
            return slow.log(Severity::Error, text);
        }
        Ok(_) | Err(_) => return,
    }
    match std::fs::write(Path::new(ROOT).join(&path), old.to_string()) {
        Ok(()) => slow.log(Severity::Notice, format!("set {path} back to {old}")),
        Err(error) => {
            slow.log(Severity::Error, format!("setting {path} back to {old} failed: {error}"));
        }
    }
}

/// Whether the interface takes IPv6 addresses. One that has a directory for IPv4 but none for IPv6 takes
/// none at all.
///
/// # Errors
/// Where that could not be read (EMFILE, ENFILE, ENOMEM), or the interface has gone: it says nothing about
/// IPv6.
pub(super) fn takes_v6(name: IfName) -> io::Result<bool> {
    match read(&format!("net/ipv6/conf/{name}/disable_ipv6")) {
        Ok(disabled) => Ok(disabled == 0),
        Err(error) => {
            let there = Path::new(ROOT).join(format!("net/ipv4/conf/{name}")).exists();
            if error.kind() == io::ErrorKind::NotFound && there { Ok(false) } else { Err(error) }
        }
    }
}

/// What makes a /32 unreachable whatever the member's own values are.
///
/// # Errors
/// Where that could not be read.
fn global_obstacle() -> io::Result<Option<String>> {
    let ignore = read_or_zero("net/ipv4/conf/all/arp_ignore")?;
    if ignore >= 2 {
        return Ok(Some(format!(
            "net.ipv4.conf.all.arp_ignore is {ignore}: the kernel then answers no ARP request for an \
             address of mpathd's; set it to 0 or 1"
        )));
    }
    let filter = read_or_zero("net/ipv4/conf/all/arp_filter")?;
    if filter != 0 {
        return Ok(Some(
            "net.ipv4.conf.all.arp_filter is 1: the kernel then answers ARP requests by route, not by \
             interface, so members would fall silent; set it to 0"
                .to_owned(),
        ));
    }
    Ok(None)
}

/// What is not there is 0.
fn read_or_zero(path: &str) -> io::Result<i32> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        result => result,
    }
}

fn read(path: &str) -> io::Result<i32> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(path))?;
    text.trim().parse().map_err(|_| io::Error::other(format!("not a number: {text:?}")))
}

/// Whether this host forwards IPv6 on an interface: the router flag of its advertisements.
///
/// # Errors
/// Where that could not be read: neighbours would drop a router that says it is none.
pub(super) fn forwards_v6(name: IfName) -> io::Result<bool> {
    Ok(read_or_zero(&format!("net/ipv6/conf/{name}/forwarding"))? != 0)
}

/// While this lives, the removal of an IPv4 address does not take others of its subnet with it on
/// that device (promote_secondaries). Of members that is so anyway.
pub(super) struct Promotion(Option<String>);

impl Promotion {
    /// # Errors
    /// Where descriptors or memory are used up: nothing is to be removed then. A value that can't be set
    /// otherwise is left.
    pub(super) fn of(name: IfName) -> io::Result<Self> {
        let path = format!("net/ipv4/conf/{name}/promote_secondaries");
        let off = match read(&path) {
            Ok(value) => value == 0,
            Err(error) if is_lack(&error) => return Err(error),
            Err(_) => false,
        };
        let path = Path::new(ROOT).join(path).to_string_lossy().into_owned();
        match off.then(|| std::fs::write(&path, "1")) {
            Some(Ok(())) => Ok(Self(Some(path))),
            Some(Err(error)) if is_lack(&error) => Err(error),
            Some(Err(_)) | None => Ok(Self(None)),
        }
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
