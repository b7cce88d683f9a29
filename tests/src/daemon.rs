//! The real binaries, run in the lab's host: `mpathd` with a configuration, `ipmpstat`, `if_mpadm`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::clock::{self, Nanos};
use crate::netns::NetNs;
use crate::wait_for;

/// The contract's five seconds, and time for a loaded machine to start a process.
const READY_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The folder with the release binaries under test.
///
/// # Panics
/// If MPATHD_BIN_DIR does not tell.
pub fn bin_dir() -> PathBuf {
    std::env::var_os("MPATHD_BIN_DIR").map(PathBuf::from).expect(
        "MPATHD_BIN_DIR must name the folder with mpathd and ipmpstat: run `cargo xtask test`",
    )
}

/// A line of the daemon's log, and when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub at: Nanos,
    pub text: String,
}

impl LogLine {
    /// Of a daemon launched with `--log-format json`: the line, if it is a message about that.
    pub fn told(&self, event: &str) -> Option<Value> {
        let told: Value = serde_json::from_str(&self.text).ok()?;
        (told["mpathd_event"] == event).then_some(told)
    }
}

/// A running daemon. Killed when dropped; its log is printed if the test has failed.
#[derive(Debug)]
pub struct Daemon {
    namespace: NetNs,
    folder: PathBuf,
    command: Vec<String>,
    child: Child,
    /// What it has told its service manager since it was started.
    notices: Arc<Mutex<Vec<String>>>,
    log: Arc<Mutex<Vec<LogLine>>>,
    /// Ends when the daemon has, with its last line.
    log_reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts it with this configuration and waits for READY=1.
    ///
    /// # Panics
    /// If it is not ready within 15 s; with its log.
    pub fn start(namespace: &NetNs, config: &str) -> Self {
        let mut daemon = Self::launch(namespace, config, &[]);
        daemon.wait_ready(READY_LIMIT);
        daemon
    }

    /// Starts it with more arguments, and does not wait.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn launch(namespace: &NetNs, config: &str, arguments: &[&str]) -> Self {
        let program = bin_dir().join("mpathd");
        let program = program.to_str().expect("a path in UTF-8");
        Self::launch_by(namespace, config, &[&[program], arguments].concat())
    }

    /// As `launch`, with the whole command line: a program that becomes `mpathd`, and its arguments. What the
    /// run folder has in it is for everybody to read.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn launch_by(namespace: &NetNs, config: &str, command: &[&str]) -> Self {
        let folder = PathBuf::from("/run/mpathd");
        fs::create_dir_all(&folder).expect("/run is the lab's own");
        fs::write(folder.join("mpathd.toml"), config).expect("it can be written");
        let notices = listen_to_notices(&folder);
        let command: Vec<String> = command.iter().map(|&it| it.to_owned()).collect();
        let log = Arc::default();
        let (child, log_reader) = spawn(namespace, &folder, &command, &log);
        Self {
            namespace: namespace.clone(),
            folder,
            command,
            child,
            notices,
            log,
            log_reader: Some(log_reader),
        }
    }

    /// Starts it again with what the run folder holds now, after `stop` or `kill`; waits for READY=1.
    ///
    /// # Panics
    /// If it still runs, or is not ready in time.
    pub fn restart(&mut self) {
        assert!(self.has_ended().is_some(), "mpathd still runs");
        // What the last one said is not this one's word.
        self.notices = listen_to_notices(&self.folder);
        let (child, log_reader) = spawn(&self.namespace, &self.folder, &self.command, &self.log);
        (self.child, self.log_reader) = (child, Some(log_reader));
        self.wait_ready(READY_LIMIT);
    }

    /// Writes another configuration; the daemon reads it when told to.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, config: &str) {
        fs::write(self.config(), config).expect("it can be written");
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("mpathd.toml")
    }

    pub fn run_dir(&self) -> &Path {
        &self.folder
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Panics
    /// If it does not say READY=1 within `limit`, or ends.
    pub fn wait_ready(&mut self, limit: Duration) {
        wait_for("READY=1 from mpathd", limit, || {
            let notices = self.notices();
            if notices.iter().any(|notice| notice == "READY=1") {
                return Ok(());
            }
            if let Some(status) = self.has_ended() {
                panic!("mpathd has ended before it was ready: {status}\n{}", self.log_text());
            }
            Err((notices, self.log_text()))
        });
    }

    /// All that it has told its service manager since it was started: `READY=1`, `STATUS=...`, ...
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().expect("the reader has not panicked").clone()
    }

    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).unwrap_or_else(|error| panic!("cannot send {signal} to mpathd: {error}"));
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// If it has not ended within ten seconds.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_ended(STOP_LIMIT)
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Panics
    /// If it was already gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.wait_ended(STOP_LIMIT);
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended by itself\n{}", self.log_text());
    }

    /// Its log is complete then.
    ///
    /// # Panics
    /// If it has not ended within `limit`.
    pub fn wait_ended(&mut self, limit: Duration) -> ExitStatus {
        let status =
            wait_for("end of mpathd", limit, || self.has_ended().ok_or_else(|| self.log_text()));
        if let Some(reader) = self.log_reader.take() {
            reader.join().expect("the reader of the log does not panic");
        }
        status
    }

    /// Its exit status, if it has ended.
    ///
    /// # Panics
    /// If the kernel does not tell.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// All that it has logged, across restarts.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lock().expect("the reader has not panicked").clone()
    }

    /// As `log`, what was read at `since` or later.
    pub fn log_since(&self, since: Nanos) -> Vec<LogLine> {
        let log = self.log.lock().expect("the reader has not panicked");
        log[log.partition_point(|it| it.at < since)..].to_vec()
    }

    pub fn log_text(&self) -> String {
        self.log().into_iter().map(|line| line.text + "\n").collect()
    }

    /// The first line at `since` or later that contains `text`.
    ///
    /// # Panics
    /// If none comes within `limit`; with the log.
    pub fn wait_log(&self, text: &str, since: Nanos, limit: Duration) -> LogLine {
        wait_for(&format!("log line with `{text}`"), limit, || {
            let found = self.log_since(since).into_iter().find(|it| it.text.contains(text));
            found.ok_or_else(|| self.log_text())
        })
    }

    /// `ipmpstat ARGUMENTS` beside this daemon.
    pub fn ipmpstat(&self, arguments: &[&str]) -> Output {
        self.tool("ipmpstat", arguments)
    }

    /// `if_mpadm ARGUMENTS` beside this daemon.
    pub fn if_mpadm(&self, arguments: &[&str]) -> Output {
        self.tool("if_mpadm", arguments)
    }

    /// `mpathd ARGUMENTS` beside this daemon: `reload`, `release`, `status`.
    pub fn mpathd(&self, arguments: &[&str]) -> Output {
        self.tool("mpathd", arguments)
    }

    fn tool(&self, name: &str, arguments: &[&str]) -> Output {
        let program = bin_dir().join(name);
        let run = || {
            Command::new(&program)
                .args(arguments)
                .env("MPATHD_RUN_DIR", &self.folder)
                .stdin(Stdio::null())
                .output()
        };
        let output = self.namespace.run(run);
        output.unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may have ended in between: then there is nothing left to do.
            self.child.kill().unwrap_or_default();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- log of mpathd ---\n{}---", self.log_text());
        }
    }
}

/// Where the daemon sends READY=1; a new one for each start. Always read, as a service manager does: a daemon
/// may wait until it is.
fn listen_to_notices(folder: &Path) -> Arc<Mutex<Vec<String>>> {
    let path = folder.join("notify");
    if path.exists() {
        fs::remove_file(&path).expect("the folder is the lab's own");
    }
    let socket = UnixDatagram::bind(&path).expect("the folder is the lab's own");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let notices = Arc::default();
    let list: Arc<Mutex<Vec<String>>> = Arc::clone(&notices);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let lines = text.lines().map(str::to_owned);
            list.lock().expect("no reader has panicked").extend(lines);
        }
    });
    notices
}

fn spawn(
    namespace: &NetNs,
    folder: &Path,
    command: &[String],
    log: &Arc<Mutex<Vec<LogLine>>>,
) -> (Child, JoinHandle<()>) {
    let start = || {
        Command::new(&command[0])
            .args(&command[1..])
            .arg("--config")
            .arg(folder.join("mpathd.toml"))
            .arg("--run-dir")
            .arg(folder)
            .env("NOTIFY_SOCKET", folder.join("notify"))
            // The first allocation of the fast thread after READY ends it, in every lab.
            .env("MPATHD_ABORT_ON_ALLOC", "1")
            // Log lines shall come here, as on a terminal, and not go to a journal.
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let mut child =
        namespace.run(start).unwrap_or_else(|error| panic!("cannot run {}: {error}", command[0]));
    let stderr = child.stderr.take().expect("it is piped");
    let log = Arc::clone(log);
    (child, std::thread::spawn(move || collect(stderr, &log)))
}

fn collect(stderr: ChildStderr, log: &Mutex<Vec<LogLine>>) {
    for text in BufReader::new(stderr).lines().map_while(Result::ok) {
        let line = LogLine { at: clock::now(), text };
        log.lock().expect("no reader has panicked").push(line);
    }
}
