//! `receive_priority`: what a NIC receives is handled by kernel threads of its own at SCHED_FIFO, so that hogs on
//! all CPUs can't keep replies waiting in the NIC. Not by default: such threads take CPU time from the rest of
//! the host, and with NAPI at 45 our own thread lost 11 to 14 % of its 1 ms ticks (datapath D).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;

use mpathd_core::ids::{IfName, Ifindex};
use mpathd_core::message::Severity;
use nix::errno::Errno;

use super::deferral;
use super::outbox::Slow;
use crate::descriptors::is_lack;
use crate::messages::ToSlow;

#[derive(Default)]
pub(super) struct Napi {
    /// Whether NAPI had threads before us.
    before: BTreeMap<IfName, bool>,
    /// It can't be had there; not tried again before a reload or another device of that name.
    given_up: BTreeSet<IfName>,
}

/// Why frames are still handled as the kernel does by itself.
#[derive(Debug)]
enum Obstacle {
    /// Not in this namespace's /sys, or a kernel before 5.12.
    NoAttribute,
    Write(io::Error),
    NoThreads,
    Schedule(Errno),
    /// Descriptors or memory are used up: tried again.
    Lack(io::Error),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NoAttribute => {
                f.write_str("/sys does not show its attribute `threaded` to this network namespace")
            }
            Obstacle::Write(error) => write!(
                f,
                "its attribute `threaded` can't be set ({error}); grant CAP_DAC_OVERRIDE, or set it by a udev \
                 rule"
            ),
            Obstacle::NoThreads => f.write_str(
                "its NAPI threads are not to be seen: it has none, or mpathd runs in a PID namespace",
            ),
            Obstacle::Lack(error) => write!(f, "it can't be looked at: {error}"),
            Obstacle::Schedule(errno) => write!(
                f,
                "the priority of its NAPI threads can't be set ({}); grant CAP_SYS_NICE",
                errno.desc()
            ),
        }
    }
}

impl Napi {
    /// What the state file tells of before.
    pub(super) fn remember(&mut self, before: &[(IfName, bool)]) {
        for (name, threaded) in before {
            self.before.entry(*name).or_insert(*threaded);
        }
    }

    /// Sees to it that the threads are there and have their priority; somebody may have changed both, and a NIC
    /// that was down has other threads. Where that can't be had, what was begun is undone: threads of ordinary
    /// priority would be worse than none.
    pub(super) fn raise(&mut self, ifindex: Ifindex, name: IfName, priority: u8, slow: &mut Slow) {
        if self.given_up.contains(&name) {
            return;
        }
        match self.try_to_raise(ifindex, name, priority, slow) {
            Ok(0) | Err(Obstacle::Lack(_)) => {}
            Ok(raised) => {
                let text = format!(
                    "{name}: {raised} threads at SCHED_FIFO {priority} handle what it receives"
                );
                slow.log(Severity::Notice, text);
            }
            Err(obstacle) => {
                self.put_back(name, slow);
                self.given_up.insert(name);
                let text =
                    format!("{name}: receive_priority = {priority} is not in force: {obstacle}");
                slow.log(Severity::Warning, text);
            }
        }
    }

    /// After a reload.
    pub(super) fn try_again(&mut self) {
        self.given_up.clear();
    }

    /// How many threads had another priority until now.
    fn try_to_raise(
        &mut self,
        ifindex: Ifindex,
        name: IfName,
        priority: u8,
        slow: &mut Slow,
    ) -> Result<usize, Obstacle> {
        let threaded = deferral::threaded(ifindex, name).map_err(Obstacle::Lack)?;
        let threaded = threaded.ok_or(Obstacle::NoAttribute)?;
        if !threaded {
            set_threaded(name, true).map_err(|error| match is_lack(&error) {
                true => Obstacle::Lack(error),
                false => Obstacle::Write(error),
            })?;
        }
        if let Entry::Vacant(place) = self.before.entry(name) {
            place.insert(threaded);
            slow.push(ToSlow::Threaded { interface: name, before: threaded });
        }
        let threads = deferral::napi_threads(name).map_err(Obstacle::Lack)?;
        if threads.is_empty() {
            return Err(Obstacle::NoThreads);
        }
        let others =
            threads.into_iter().filter(|thread| self::priority(*thread) != i32::from(priority));
        let mut raised = 0;
        for thread in others {
            schedule(thread, priority).map_err(Obstacle::Schedule)?;
            raised += 1;
        }
        Ok(raised)
    }

    /// Of NICs that are not to have it any more.
    pub(super) fn restore_all_but(&mut self, wanted: &BTreeMap<IfName, u8>, slow: &mut Slow) {
        let names: BTreeSet<IfName> = self.before.keys().copied().collect();
        for name in names.into_iter().filter(|name| !wanted.contains_key(name)) {
            self.put_back(name, slow);
        }
    }

    fn put_back(&mut self, name: IfName, slow: &mut Slow) {
        let Some(before) = self.before.remove(&name) else { return };
        if let Err(error) = give_back(name, before) {
            slow.log(Severity::Error, format!("{name}: its NAPI can't be set back: {error}"));
        }
        slow.push(ToSlow::ThreadedRestored(name));
    }

    /// The device has gone, its threads with it; or it has another name now, and is no member.
    pub(super) fn gone(&mut self, name: IfName, renamed: Option<IfName>, slow: &mut Slow) {
        self.given_up.remove(&name);
        let Some(before) = self.before.remove(&name) else { return };
        if let Some(renamed) = renamed
            && let Err(error) = give_back(renamed, before)
        {
            slow.log(Severity::Error, format!("{renamed}: its NAPI can't be set back: {error}"));
        }
        slow.push(ToSlow::ThreadedRestored(name));
    }
}

/// As it was before us; also for `mpathd release`.
///
/// # Errors
/// The kernel's, but none where the device has gone. EOPNOTSUPP where it has no NAPI at the moment, as a veth
/// without our hook: to be called before that is detached.
pub(crate) fn give_back(name: IfName, threaded: bool) -> io::Result<()> {
    let Ok(ifindex) = nix::net::if_::if_nametoindex(name.as_str()) else { return Ok(()) };
    if deferral::threaded(Ifindex(ifindex), name)?.is_none() {
        return Err(io::Error::other(Obstacle::NoAttribute.to_string()));
    }
    // First, for threads that are no longer used may be used again one day.
    for thread in deferral::napi_threads(name)?.into_iter().filter(|it| priority(*it) > 0) {
        schedule(thread, 0)?;
    }
    set_threaded(name, threaded)
}

fn set_threaded(name: IfName, threaded: bool) -> io::Result<()> {
    // Opened for writing only: what is not there is not made.
    let mut file = fs::OpenOptions::new().write(true).open(deferral::attribute(name))?;
    io::Write::write_all(&mut file, if threaded { b"1" } else { b"0" })
}

/// 0: ordinary, or it has ended.
fn priority(thread: u32) -> i32 {
    let mut param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` outlives the call.
    unsafe { libc::sched_getparam(thread.cast_signed(), &raw mut param) };
    param.sched_priority
}

/// 0: ordinary.
fn schedule(thread: u32, priority: u8) -> Result<(), Errno> {
    let param = libc::sched_param { sched_priority: priority.into() };
    let policy = if priority == 0 { libc::SCHED_OTHER } else { libc::SCHED_FIFO };
    // SAFETY: `param` outlives the call.
    let result =
        unsafe { libc::sched_setscheduler(thread.cast_signed(), policy, &raw const param) };
    match Errno::result(result) {
        // It has ended meanwhile.
        Err(Errno::ESRCH) => Ok(()),
        result => result.map(drop),
    }
}
