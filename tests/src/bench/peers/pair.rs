//! Two BFD daemons of one kind, one at each end of a path.

use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::bfd::{MULTIPLIER, Setting, told};
use super::contestant::{Change, Contestant, stamp};
use super::usage;
use super::wire::{ENDS, Wire};
use crate::clock::{self, Nanos};
use crate::delays;
use crate::netns::NetNs;

const BOTH: &[usize] = &[0, 1];

#[derive(Debug)]
pub(super) struct Pair<'a> {
    setting: Setting,
    interval: Duration,
    number: usize,
    wire: &'a Wire,
    ends: [Speaker; 2],
}

impl<'a> Pair<'a> {
    /// Starts both on this pair of ends; it does not wait.
    pub(super) fn start(
        setting: Setting,
        interval: Duration,
        wire: &'a Wire,
        number: usize,
    ) -> Self {
        let speaker = |end: usize| {
            let folder = format!("/run/peers/{number}{}", ENDS[end]);
            setting.configure(Path::new(&folder), end, interval);
            Speaker::start(setting, wire.end(number, end), Path::new(&folder))
        };
        Self { setting, interval, number, wire, ends: [speaker(0), speaker(1)] }
    }
}

impl Contestant for Pair<'_> {
    fn name(&self) -> String {
        self.setting.name()
    }

    fn told(&self) -> String {
        let ms = self.interval.as_secs_f64() * 1e3;
        let decimals = if ms.fract() < 0.01 { 0 } else { 2 };
        format!("{MULTIPLIER} x {ms:.decimals$} ms")
    }

    fn promise(&self) -> Duration {
        self.interval * MULTIPLIER
    }

    fn changes(&self) -> Vec<Vec<Change>> {
        let of = |it: &Speaker| it.said.lock().expect("no reader has panicked").changes.clone();
        self.ends.iter().map(of).collect()
    }

    fn concerned(&self) -> &'static [usize] {
        BOTH
    }

    fn cut(&self) -> Nanos {
        self.wire.cut(self.number)
    }

    fn mend(&self) {
        self.wire.mend(self.number);
    }

    fn cpu(&self) -> Nanos {
        self.ends.iter().map(|it| usage::of_group(it.child.id())).sum()
    }

    fn sent(&self) -> u64 {
        self.wire.sent(self.number)
    }

    fn log(&self) -> String {
        let of = |it: &Speaker| it.said.lock().expect("no reader has panicked").text.clone();
        let text: String = self.ends.iter().map(of).collect();
        // keepalived tells its command line; where the repository lies is nobody's business.
        text.replace(&told("MPATHD_PEERS_DIR").display().to_string(), "")
    }
}

/// A running BFD daemon. Ends when dropped, with the processes that it has started.
#[derive(Debug)]
struct Speaker {
    child: Child,
    said: Arc<Mutex<Said>>,
}

#[derive(Debug, Default)]
struct Said {
    text: String,
    changes: Vec<Change>,
}

impl Speaker {
    fn start(setting: Setting, namespace: &NetNs, folder: &Path) -> Self {
        let (out, into) = std::io::pipe().expect("a pipe can be made");
        let start = || {
            let into = into.try_clone()?;
            let mut command = setting.command(folder);
            command.stdin(Stdio::null()).stdout(into.try_clone()?).stderr(into);
            command.process_group(0).spawn()
        };
        let child = namespace.run(start);
        let child = child.unwrap_or_else(|error| panic!("cannot run {}: {error}", setting.name()));
        let said = Arc::default();
        let list = Arc::clone(&said);
        std::thread::spawn(move || listen(out, setting, &list));
        Self { child, said }
    }
}

/// Before all load, so that what is heard is heard when it was said.
fn listen(out: PipeReader, setting: Setting, said: &Mutex<Said>) {
    delays::come_first();
    for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
        let heard = clock::now();
        let line = String::from_utf8_lossy(&line);
        let mut said = said.lock().expect("no reader has panicked");
        if let Some(up) = setting.bfd.state(&line) {
            let at = stamp(&line, heard).unwrap_or(heard);
            said.changes.push(Change { at, heard, up });
        }
        said.text += &line;
        said.text.push('\n');
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // Also what it has started; it is gone only if it has ended by itself.
        killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL).unwrap_or_default();
        self.child.wait().ok();
    }
}
