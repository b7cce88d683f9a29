//! Received frames in real-time threads of their own (`receive_priority`).

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mpathd_tests::clock::{self, nanos};
use mpathd_tests::daemon::bin_dir;
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::wait_ok;
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, isolated_beside_kernel_threads, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
const HOGS: usize = 8;
const UNDER_LOAD: Duration = Duration::from_secs(8);
/// Everything started here ends by then, whatever happens to the test.
const SECONDS: &str = "120";
const NICS: [&str; 2] = ["eth0", "eth1"];
/// /sys shows the network namespace that it was mounted in.
const WITH_SYS: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount --bind /sys/fs/bpf /mnt && mount -t sysfs none /sys && mount --move /mnt /sys/fs/bpf && exec \"$@\"",
];

/// `sh` takes the first word for its name.
fn with_sys(command: &[&str]) -> Vec<String> {
    let all = ["timeout", "-k", "5", SECONDS].into_iter().chain(WITH_SYS).chain(["sh"]);
    all.chain(command.iter().copied()).map(str::to_owned).collect()
}

fn mpathd() -> String {
    bin_dir().join("mpathd").to_str().expect("UTF-8").to_owned()
}

/// `threaded` of both NICs.
fn threaded(lab: &Lab) -> Vec<String> {
    let files = NICS.map(|nic| format!("/sys/class/net/{nic}/threaded"));
    let command = with_sys(&["cat", &files[0], &files[1]]);
    lab.host().expect(&command[0], &command[1..]).lines().map(str::to_owned).collect()
}

/// Threads of NICs with these names, of any host on this machine, with what `chrt -p` says of each.
fn napi_threads() -> BTreeMap<u32, String> {
    let entries = fs::read_dir("/proc").expect("it is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|comm| NICS.iter().any(|nic| comm.starts_with(&format!("napi/{nic}-"))))
    };
    let scheduled = |pid: u32| {
        let output = Command::new("chrt").args(["-p", &pid.to_string()]).output();
        String::from_utf8_lossy(&output.expect("chrt (package util-linux) can be run").stdout)
            .into()
    };
    pids.filter(is_one).map(|pid| (pid, scheduled(pid))).collect()
}

fn is_raised(scheduled: &str) -> bool {
    scheduled.contains("policy: SCHED_FIFO") && scheduled.contains("priority: 45")
}

struct Hog(Child);

impl Hog {
    fn start() -> Self {
        let mut hog = Command::new("timeout");
        hog.args([SECONDS, "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
        Self(hog.spawn().expect("a shell can be run"))
    }
}

impl Drop for Hog {
    /// `timeout` passes TERM on.
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap_or_default();
        self.0.wait().ok();
    }
}

#[test]
fn threads_of_a_nic_are_raised_and_given_back() {
    isolated_beside_kernel_threads(|| {
        let lab = Lab::builder().build();
        assert_eq!(threaded(&lab), ["0", "0"]);
        let before = napi_threads();
        let mut config = Config::dual_stack(2);
        config.top = "receive_priority = 45".to_owned();
        let command = with_sys(&[&mpathd()]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut daemon = Daemon::launch_by(lab.host(), &config.to_string(), &command);
        daemon.wait_ready(LIMIT);
        wait_ok(&daemon, &NICS);
        let raised = wait_for("a real-time thread for each NIC", LIMIT, || {
            let new: BTreeMap<_, _> =
                napi_threads().into_iter().filter(|(pid, _)| !before.contains_key(pid)).collect();
            let all = new.len() >= NICS.len() && new.values().all(|it| is_raised(it));
            if all { Ok(new) } else { Err((new, daemon.log_text())) }
        });
        println!("  {} threads at SCHED_FIFO 45", raised.len());
        assert_eq!(threaded(&lab), ["1", "1"]);

        let watch = AddressWatch::start(lab.host());
        let begun = clock::now();
        let hogs: Vec<Hog> = (0..HOGS).map(|_| Hog::start()).collect();
        clock::sleep_until(begun + nanos(UNDER_LOAD));
        let touched = watch.events();
        assert!(touched.iter().all(|it| it.at < begun), "addresses were touched: {touched:#?}");
        assert!(!daemon.log_text().contains("failure detected"), "{}", daemon.log_text());
        lab.cut(0);
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
        drop(hogs);
        lab.mend(0);

        daemon.stop();
        let release = with_sys(&[&mpathd(), "release", "--run-dir", "/run/mpathd"]);
        let said = lab.host().expect(&release[0], &release[1..]);
        assert!(said.contains("NAPI of eth0 not in threads"), "{said}");
        assert_eq!(threaded(&lab), ["0", "0"]);
        let left = napi_threads();
        let left: Vec<_> = left.iter().filter(|(pid, _)| raised.contains_key(pid)).collect();
        assert!(left.iter().all(|(_, it)| !is_raised(it)), "{left:?}");
    });
}

#[test]
fn without_threads_to_be_seen_nothing_is_changed() {
    mpathd_tests::isolated(|| {
        let lab = Lab::builder().build();
        let begun = clock::now();
        let mut config = Config::dual_stack(2);
        config.top = "receive_priority = 45".to_owned();
        let command = with_sys(&[&mpathd()]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut daemon = Daemon::launch_by(lab.host(), &config.to_string(), &command);
        daemon.wait_ready(LIMIT);
        wait_ok(&daemon, &NICS);
        let line = daemon.wait_log("receive_priority = 45 is not in force", begun, LIMIT);
        assert!(line.text.contains("PID namespace"), "{}", line.text);
        assert_eq!(threaded(&lab), ["0", "0"]);
        daemon.stop();
    });
}
