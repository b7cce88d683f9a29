//! Runs a test, or a whole program, in its own mount, PID and network namespace, so that names may be
//! constant, tests parallel, and nothing is left behind, not even after SIGKILL: the kernel ends every process
//! of a PID namespace with its first one, and namespaces, mounts and pins with their last user.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getppid};

/// Set in what runs inside.
const MARKER: &str = "MPATHD_ISOLATED";
/// No test takes that long, not even a series of cuts.
const TEST_LIMIT: Duration = Duration::from_secs(300);

static OUTER_PID: OnceLock<u32> = OnceLock::new();

/// Runs the body of a test in namespaces of its own, by running this test program once more for this test
/// alone. To be called with a closure written in the test function itself: its type tells the test's name.
///
/// # Panics
/// If the test fails inside, or takes more than five minutes.
pub fn isolated<F: FnOnce()>(test: F) {
    if is_inside() {
        prepare();
        end_after(TEST_LIMIT);
        return test();
    }
    let path = std::any::type_name::<F>();
    let name = path.trim_end_matches("::{{closure}}").split_once("::").map_or(path, |(_, it)| it);
    let output = wrapper()
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .output()
        .expect("unshare (package util-linux) can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    // Set off, so that nobody takes the inner result line for one of the outer program.
    let told = [&*said, &String::from_utf8_lossy(&output.stderr)].concat();
    told.lines().for_each(|line| println!("  | {line}"));
    assert!(output.status.success(), "{name} failed in its namespaces: {}", output.status);
    // A name that no test has would run nothing, and succeed.
    assert!(said.contains("1 passed"), "no test `{name}` has run in its namespaces");
}

/// For the start of a program's `main`: outside, runs the same program with the same arguments inside and
/// gives its exit code; inside, gives nothing, and the program goes on.
pub fn relaunched() -> Option<ExitCode> {
    if is_inside() {
        enter();
        return None;
    }
    let code = run_inside(std::env::args_os().skip(1)).code();
    Some(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Outside: runs the same program with these arguments inside, and waits for its end.
///
/// # Panics
/// Without root or `unshare`.
pub fn run_inside<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> ExitStatus {
    wrapper().args(arguments).status().expect("unshare (package util-linux) can be run")
}

/// Inside: the first thing that a program run by `run_inside` does.
///
/// # Panics
/// If something cannot be mounted.
pub fn enter() {
    prepare();
    end_on_signals();
}

/// The process that `nsenter --target PID --mount --net --pid` enters these namespaces by.
///
/// # Panics
/// Outside.
pub fn outer_pid() -> u32 {
    *OUTER_PID.get().expect("only within `isolated` or after `relaunched`")
}

pub fn is_inside() -> bool {
    std::env::var_os(MARKER).is_some()
}

/// This program in new namespaces. Its whole tree dies with the calling thread.
fn wrapper() -> Command {
    assert!(nix::unistd::geteuid().is_root(), "labs need root: run `cargo xtask test` as root");
    let program = std::env::current_exe().expect("a running program has a file");
    let caller = Pid::this();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .arg(program)
        .env(MARKER, "1");
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // The caller may have died before it was asked for.
            if getppid() == caller { Ok(()) } else { Err(std::io::ErrorKind::NotFound.into()) }
        });
    }
    command
}

/// Replaces what belongs to the machine: /proc, /run (with the names of namespaces) and the BPF file system.
fn prepare() {
    // The outer /proc still stands, so this link tells our number outside.
    let outer = std::fs::read_link("/proc/self").expect("/proc is mounted");
    let outer = outer.to_str().and_then(|pid| pid.parse().ok()).expect("it names a process");
    OUTER_PID.set(outer).expect("namespaces are prepared once");
    for (kind, place) in [("proc", "/proc"), ("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|error| panic!("cannot mount {kind} on {place}: {error}"));
    }
    std::fs::create_dir("/run/netns").expect("/run is empty");
    crate::netns::batch("ip", "link set lo up\n");
}

fn end_after(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("the test has taken {limit:?}: it hangs");
        std::process::exit(124);
    });
}

/// The first process of a PID namespace ignores signals that it has no handler for, Ctrl-C too.
fn end_on_signals() {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(128 + signal) }
    }
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only calls _exit.
        unsafe { sigaction(signal, &action) }.expect("these signals can be handled");
    }
}
