//! The state file DIR/state.json: the record of what is ours and what the engine must know after a
//! restart (design 5, Ownership). Only the slow thread writes it; `mpathd release` reads it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mpathd_core::config::{Config, TestAddress};
use mpathd_core::ids::{IfName, Ifindex, IpNet};
use mpathd_core::state::Saved;
use mpathd_core::view::View;
use serde::{Deserialize, Serialize};

use super::events::{self, EventRecord};
use super::sysctl_record::SysctlRecord;
use crate::descriptors::{is_lack, with_reserve};
use crate::host::taken::Taken;
use crate::messages::SysctlKey;
use crate::private_file;

/// Of the file's format; another one is not read.
pub const VERSION: u32 = 1;
/// A host that has seen more targets forgets the oldest.
pub const MAX_PROVEN: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub core: Saved,
    /// Values that were there before ours.
    #[serde(default)]
    pub sysctls: Vec<OldSysctl>,
    /// NICs whose NAPI is in threads by us.
    #[serde(default)]
    pub threaded: Vec<OldThreading>,
    /// Addresses of ours on this host.
    #[serde(default)]
    pub addresses: Vec<OwnAddress>,
    /// What others had set of what is configured, as it was.
    #[serde(default)]
    pub taken: Vec<Taken>,
    /// What has happened lately.
    #[serde(default)]
    pub events: Vec<EventRecord>,
}

impl State {
    /// Remembers what is taken over; of the same thing the latest form counts, in the first place.
    pub fn remember(&mut self, taken: Taken) {
        match self.taken.iter_mut().find(|known| known.is_of(&taken)) {
            Some(known) => *known = taken,
            None => self.taken.push(taken),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            core: Saved::default(),
            sysctls: Vec::new(),
            threaded: Vec::new(),
            addresses: Vec::new(),
            taken: Vec::new(),
            events: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSysctl {
    pub interface: IfName,
    /// The device, whatever its name is now; absent in files of older versions.
    #[serde(default)]
    pub ifindex: Option<Ifindex>,
    pub key: SysctlKey,
    pub old: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldThreading {
    pub interface: IfName,
    pub before: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAddress {
    pub interface: IfName,
    pub address: IpNet,
}

/// What `load` found.
#[derive(Debug)]
pub struct Loaded {
    pub state: State,
    /// Why the file could not be used, in words for the log; it was set aside.
    pub damage: Option<String>,
}

/// Reads DIR/state.json. A missing file is a first start; one that can't be used is renamed to
/// state.json.bad and reported, for a daemon that doesn't start helps nobody.
pub fn load(run_dir: &Path) -> Loaded {
    let path = path(run_dir);
    let problem = match read(run_dir) {
        Ok(state) => return Loaded { state: state.unwrap_or_default(), damage: None },
        Err(problem) => problem,
    };
    let state = with_sysctls(State::default(), run_dir);
    let bad = path.with_extension("json.bad");
    let fate = match fs::rename(&path, &bad) {
        Ok(()) => format!("set aside as {}", bad.display()),
        Err(error) => format!("and can't be set aside: {error}"),
    };
    Loaded { state, damage: Some(format!("{problem}; {fate}")) }
}

/// Reads DIR/state.json and leaves it as it is; `None` where there is none.
///
/// # Errors
/// In words, where the file can't be used.
pub fn read(run_dir: &Path) -> Result<Option<State>, String> {
    let path = path(run_dir);
    let unusable = |problem: String| format!("{} is not usable ({problem})", path.display());
    match fs::read(&path) {
        Ok(bytes) => {
            parse(&bytes).map(|state| Some(with_sysctls(state, run_dir))).map_err(unusable)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let state = with_sysctls(State::default(), run_dir);
            Ok((!state.sysctls.is_empty()).then_some(state))
        }
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// Whether there is a state file, usable or not.
pub fn exists(run_dir: &Path) -> bool {
    path(run_dir).exists()
}

/// Removes DIR/state.json, when nothing on this host is ours any more.
///
/// # Errors
/// What unlink says, but none where there is no file.
pub fn remove(run_dir: &Path) -> io::Result<()> {
    SysctlRecord::new(run_dir).remove()?;
    match fs::remove_file(path(run_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes DIR/state.json. Atomic by renaming; no fsync, for the directory is on a tmpfs and what it says
/// is void after a reboot.
///
/// # Errors
/// Whatever writing or renaming says.
pub fn save(run_dir: &Path, state: &State) -> io::Result<()> {
    save_as(&path(run_dir), state)
}

fn save_as(path: &Path, state: &State) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(state)?;
    text.push(b'\n');
    match private_file::replace(path, &text, false) {
        // What is ours must not be forgotten for want of a descriptor.
        Err(error) if is_lack(&error) => with_reserve(|| private_file::replace(path, &text, false)),
        result => result,
    }
}

/// The record is written before the first sysctl, so it is never behind the state file.
fn with_sysctls(state: State, run_dir: &Path) -> State {
    match SysctlRecord::new(run_dir).read() {
        Some(sysctls) => State { sysctls, ..state },
        None => state,
    }
}

fn parse(bytes: &[u8]) -> Result<State, String> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if head.version != VERSION {
        return Err(format!("version {}, this mpathd reads {VERSION}", head.version));
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("state.json")
}

/// Keeps the file in step with the engine.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    state: State,
    written: Option<State>,
    tests: Vec<OwnAddress>,
}

impl Keeper {
    /// `loaded` is what the daemon started from; nothing of it is lost until the engine knows
    /// better.
    pub(super) fn new(run_dir: &Path, loaded: State, config: &Config) -> Self {
        let path = path(run_dir);
        let mut keeper = Self { path, tests: Vec::new(), state: loaded, written: None };
        keeper.configure(config);
        keeper
    }

    /// Another configuration is in force. What was ours by the old one stays so until the engine
    /// has settled.
    pub(super) fn configure(&mut self, config: &Config) {
        let tests = config.named().flat_map(|group| &group.members).flat_map(|member| {
            member.test.iter().filter_map(|test| match test {
                Some(TestAddress::Static(address)) => {
                    Some(OwnAddress { interface: member.name, address: *address })
                }
                Some(TestAddress::LinkLocal) | None => None,
            })
        });
        self.tests = tests.collect();
    }

    /// As the file has it, or is to have it.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Takes over what the picture says.
    pub(super) fn observe(&mut self, view: &View) {
        self.state.core = saved(&self.state.core, view);
        let present = |name| view.interfaces.iter().any(|i| i.name == name && i.ifindex.is_some());
        let data = view
            .addresses
            .iter()
            .filter_map(|row| Some(OwnAddress { interface: row.inbound?, address: row.address }));
        let tests = self.tests.iter().copied().filter(|test| present(test.interface));
        let mut now: Vec<_> = data.chain(tests).collect();
        if !view.tidied {
            // What an earlier configuration left behind is ours until it has been taken away, and a
            // daemon that starts without groups touches nothing.
            now.extend(
                self.state
                    .addresses
                    .iter()
                    .filter(|old| !now.contains(old))
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
        self.state.addresses = now;
    }

    /// The first value is the administrator's; later ones may be ours.
    pub(super) fn sysctl(&mut self, changed: OldSysctl) {
        let OldSysctl { interface, key, .. } = changed;
        let known = |s: &OldSysctl| s.interface == interface && s.key == key;
        if !self.state.sysctls.iter().any(known) {
            self.state.sysctls.push(changed);
        }
    }

    /// They are what they were before us, or gone with the device.
    pub(super) fn sysctls_restored(&mut self, interface: IfName) {
        self.state.sysctls.retain(|sysctl| sysctl.interface != interface);
    }

    /// As with sysctls, the first value is the administrator's.
    pub(super) fn threaded(&mut self, interface: IfName, before: bool) {
        if !self.state.threaded.iter().any(|known| known.interface == interface) {
            self.state.threaded.push(OldThreading { interface, before });
        }
    }

    pub(super) fn threaded_restored(&mut self, interface: IfName) {
        self.state.threaded.retain(|known| known.interface != interface);
    }

    pub(super) fn given_back(&mut self, taken: &Taken) {
        self.state.taken.retain(|known| !known.is_of(taken));
    }

    pub(super) fn taken(&mut self, taken: Taken) {
        self.state.remember(taken);
    }

    pub(super) fn event(&mut self, event: EventRecord) {
        events::keep(&mut self.state.events, event);
    }

    /// Writes the file if it differs from what was written last.
    ///
    /// # Errors
    /// Whatever writing or renaming says; the next change tries again.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        if self.written.as_ref() == Some(&self.state) {
            return Ok(false);
        }
        save_as(&self.path, &self.state)?;
        self.written = Some(self.state.clone());
        Ok(true)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// What the picture says, and what it can't know: where an address was that is nowhere now.
/// An address that is nowhere now keeps its last known binding.
fn saved(before: &Saved, view: &View) -> Saved {
    let mut saved = view.saved();
    let nowhere = view.addresses.iter().filter(|row| row.inbound.is_none());
    let last = |address| before.bindings.iter().find(|binding| binding.address == address);
    saved.bindings.extend(nowhere.filter_map(|row| last(row.address.address)).copied());
    saved.proven.drain(..saved.proven.len().saturating_sub(MAX_PROVEN));
    saved
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = sample::dir("state-round-trip");
        let mut keeper = Keeper::new(&dir, State::default(), &sample::config());
        keeper.observe(&sample::view());
        let (interface, ifindex) = (sample::name("eth0"), Some(Ifindex(2)));
        let changed = |old| OldSysctl { interface, ifindex, key: SysctlKey::ArpIgnore, old };
        [0, 1].into_iter().for_each(|old| keeper.sysctl(changed(old)));
        assert!(keeper.write().unwrap());
        assert!(!keeper.write().unwrap(), "nothing has changed");

        let Loaded { state, damage: None } = load(&dir) else { panic!("damaged") };
        assert_eq!(state, keeper.state);
        assert_eq!(state.sysctls[0].old, 0, "the administrator's value");
        let eth0 = &state.core.members[0];
        assert!(eth0.failed && !eth0.offline && eth0.met);
        assert_eq!(state.core.bindings[0].interface, sample::name("eth1"));
        assert_eq!(state.core.proven, [sample::target(1)]);
        let ours: Vec<_> = state.addresses.iter().map(|a| a.address.to_string()).collect();
        assert_eq!(ours, ["192.0.2.50/24", "192.0.2.11/24"]);
    }

    #[test]
    fn a_binding_is_remembered_while_its_address_is_nowhere() {
        let dir = sample::dir("state-binding");
        let mut keeper = Keeper::new(&dir, State::default(), &sample::config());
        let mut view = sample::view();
        keeper.observe(&view);
        view.addresses[0].inbound = None;
        keeper.observe(&view);
        assert_eq!(keeper.state.core.bindings[0].interface, sample::name("eth1"));
    }

    #[test]
    fn what_an_earlier_configuration_left_is_ours_until_it_is_gone() {
        let dir = sample::dir("state-left-behind");
        let left = OwnAddress {
            interface: sample::name("eth9"),
            address: "192.0.2.99/24".parse().unwrap(),
        };
        let loaded = State { addresses: vec![left], ..State::default() };
        let mut keeper = Keeper::new(&dir, loaded, &Config::default());
        keeper.observe(&View { at: sample::view().at, settled: true, ..View::default() });
        assert_eq!(keeper.state.addresses, [left], "without groups nothing is touched");
        keeper.configure(&sample::config());
        keeper.observe(&View { tidied: false, ..sample::view() });
        let ours: Vec<_> = keeper.state.addresses.iter().map(|a| a.address.to_string()).collect();
        assert_eq!(ours, ["192.0.2.50/24", "192.0.2.11/24", "192.0.2.99/24"]);
        keeper.observe(&sample::view());
        assert!(!keeper.state.addresses.contains(&left));
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = sample::dir("state-damage");
        assert!(load(&dir).damage.is_none(), "a missing file is a first start");
        for bad in ["{\"version\":1,\"core\":{\"mem", "{\"version\":99}", ""] {
            fs::write(dir.join("state.json"), bad).unwrap();
            let loaded = load(&dir);
            assert_eq!(loaded.state, State::default());
            assert!(loaded.damage.unwrap().contains("state.json.bad"));
            assert_eq!(fs::read_to_string(dir.join("state.json.bad")).unwrap(), bad);
            assert!(!dir.join("state.json").exists());
        }
    }
}
