//! A named network namespace, and running code and programs in it.

use std::ffi::OsStr;
use std::fs::File;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};

/// Open as long as a value of it lives. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NetNs {
    name: String,
    file: Arc<File>,
}

impl NetNs {
    /// Opens `/run/netns/NAME`.
    ///
    /// # Panics
    /// If there is none.
    pub fn open(name: &str) -> Self {
        let path = format!("/run/netns/{name}");
        let file = File::open(&path).unwrap_or_else(|error| panic!("cannot open {path}: {error}"));
        Self { name: name.to_owned(), file: Arc::new(file) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into the namespace, for good: sockets that it opens from now on are there.
    ///
    /// # Panics
    /// Without CAP_SYS_ADMIN.
    pub fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|error| panic!("cannot enter the namespace {}: {error}", self.name));
    }

    /// Runs `work` in the namespace, in a thread of its own, and waits for it.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let in_namespace = || {
            self.enter();
            work()
        };
        std::thread::scope(|scope| match scope.spawn(in_namespace).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Starts a thread in the namespace.
    pub fn spawn<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let namespace = self.clone();
        let in_namespace = move || {
            namespace.enter();
            work()
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(in_namespace)
            .expect("a thread can be started")
    }

    /// Runs a program here and returns what it said.
    ///
    /// Not through `ip netns exec` or `tc -n`: those mount a new /sys, which hides the BPF file system.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn output<A: AsRef<OsStr> + Sync>(&self, program: &str, arguments: &[A]) -> Output {
        self.run(|| Command::new(program).args(arguments).stdin(Stdio::null()).output())
            .unwrap_or_else(|error| panic!("cannot run {program} in {}: {error}", self.name))
    }

    /// Runs a program here; its standard output.
    ///
    /// # Panics
    /// If it cannot be run or fails.
    pub fn expect<A: AsRef<OsStr> + Sync>(&self, program: &str, arguments: &[A]) -> String {
        let output = self.output(program, arguments);
        checked(&format!("{program} in {}", self.name), &output)
    }

    /// `ip -batch` in this namespace.
    pub fn ip(&self, lines: &str) {
        self.run(|| batch("ip", lines));
    }

    /// `tc -batch` in this namespace.
    pub(crate) fn tc(&self, lines: &str) {
        self.run(|| batch("tc", lines));
    }

    /// Loads nftables rules here, in addition to those that are there.
    ///
    /// # Panics
    /// If they are refused.
    pub fn nft(&self, rules: &str) {
        self.run(|| feed("nft", &["-f", "-"], rules));
    }

    /// Sets `/proc/sys/net/KEY` here.
    ///
    /// # Panics
    /// If it cannot be set.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.run(|| {
            let path = format!("/proc/sys/net/{key}");
            std::fs::write(&path, value)
                .unwrap_or_else(|error| panic!("cannot set {path} to {value}: {error}"));
        });
    }

    /// Reads `/proc/sys/net/KEY` here.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read_sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/net/{key}");
        let text = self.run(|| std::fs::read_to_string(&path));
        text.unwrap_or_else(|error| panic!("cannot read {path}: {error}")).trim().to_owned()
    }
}

/// Feeds lines to `PROGRAM -batch -` in the calling thread's namespace.
pub(crate) fn batch(program: &str, lines: &str) {
    feed(program, &["-batch", "-"], lines);
}

fn feed(program: &str, arguments: &[&str], lines: &str) {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program} (iproute2, nftables): {error}"));
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(lines.as_bytes()).expect("the lines are read");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    checked(&format!("{program} {}\n{lines}", arguments.join(" ")), &output);
}

fn checked(what: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
