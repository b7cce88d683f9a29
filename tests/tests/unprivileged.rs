//! The daemon as its unit runs it: a user of its own, three capabilities, a BPF file system of its own.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mpathd_tests::daemon::bin_dir;
use mpathd_tests::observe::link;
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{rows, wait_interface, wait_ok};
use mpathd_tests::{Config, Daemon, Lab, checkout, clock, isolated, wait_for};
use nix::mount::{MsFlags, mount};

const LIMIT: Duration = Duration::from_secs(10);
const NOBODY: u32 = 65534;
const BPFFS: &str = "/run/mpathd/bpf";
/// Of linux/capability.h: CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 39;

/// Where that user can reach it, whoever's folder it was built in.
fn reachable_binary() -> &'static str {
    const PLACE: &str = "/run/bin/mpathd";
    fs::create_dir("/run/bin").expect("our own /run");
    fs::copy(bin_dir().join("mpathd"), PLACE).expect("it can be copied");
    fs::set_permissions(PLACE, fs::Permissions::from_mode(0o755)).expect("it is ours");
    PLACE
}

fn prepare_folders() {
    fs::set_permissions("/sys/fs/bpf", fs::Permissions::from_mode(0o700)).expect("our own mount");
    fs::create_dir_all(BPFFS).expect("our own /run");
    let none = None::<&str>;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).expect("a bpffs can be mounted");
    fs::set_permissions(BPFFS, fs::Permissions::from_mode(0o700)).expect("our own mount");
    for folder in [BPFFS, "/run/mpathd"] {
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("it is ours");
    }
}

/// Besides the two files that each BPF file system has.
fn is_pinned() -> bool {
    let mut entries = fs::read_dir(BPFFS).expect("it is mounted");
    entries.any(|entry| entry.is_ok_and(|it| it.path().is_dir()))
}

/// The limits of the unit. Root may not raise them everywhere: a container may lack CAP_SYS_RESOURCE.
const LIMITS: [&str; 3] = ["prlimit", "--rtprio=99", "--memlock=unlimited"];

fn may_raise_limits() -> bool {
    let output = Command::new(LIMITS[0]).args(&LIMITS[1..]).arg("true").output();
    output.expect("prlimit (package util-linux) can be run").status.success()
}

/// A value of /proc/PID/status.
fn status(daemon: &Daemon, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).trim().to_owned()
}

/// What the unit runs as root before the daemon.
fn run_start_pre() {
    let unit = fs::read_to_string(checkout().join("dist/mpathd.service")).expect("a checkout");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStartPre=-+"));
    let line = line.expect("ExecStartPre").replace("mpathd:mpathd", &format!("{NOBODY}:{NOBODY}"));
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().expect("a program")).args(words).status();
    status.expect("it can be run");
}

/// The user of the daemon owns the directory of the mount point, and so may put there what he likes.
#[test]
fn the_unit_hands_over_the_bpf_file_system_and_nothing_else() {
    isolated(|| {
        const VICTIM: &str = "/run/victim";
        fs::write(VICTIM, "root's own").expect("our own /run");
        fs::create_dir("/run/mpathd").expect("our own /run");
        std::os::unix::fs::symlink(VICTIM, BPFFS).expect("nothing is there");
        run_start_pre();
        let owner = |path| fs::metadata(path).expect("it is there").uid();
        assert_eq!(owner(VICTIM), 0, "the link was followed");

        fs::remove_file(BPFFS).expect("it is ours");
        fs::create_dir(BPFFS).expect("our own /run");
        let none = None::<&str>;
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none)
            .expect("a bpffs can be mounted");
        run_start_pre();
        assert_eq!(owner(BPFFS), NOBODY);
    });
}

/// Any user may bind an abstract socket of this name.
#[test]
fn another_user_with_the_name_of_the_lock_keeps_no_daemon_from_starting() {
    isolated(|| {
        let lab = Lab::builder().build();
        let name = SocketAddr::from_abstract_name("mpathd").expect("a name");
        let bind = || {
            // SAFETY: it changes the user of this thread alone, which ends with this closure.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, NOBODY, -1) };
            assert_eq!(changed, 0, "root may become any user");
            UnixListener::bind_addr(&name).expect("nobody has it")
        };
        let _taken = std::thread::scope(|scope| {
            scope.spawn(|| lab.host().run(bind)).join().expect("it is bound")
        });
        let begun = clock::now();
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        daemon.wait_log("65534", begun, LIMIT);
    });
}

#[test]
fn nothing_is_written_in_a_directory_of_another_user() {
    isolated(|| {
        fs::create_dir("/run/theirs").expect("our own /run");
        chown("/run/theirs", Some(NOBODY), None).expect("it is ours");
        let path = Path::new("/run/theirs/state.json");
        let refused = mpathd::private_file::replace(path, b"ours", false).expect_err("refused");
        assert!(refused.to_string().contains("uid 65534"), "{refused}");
        assert!(!path.exists());
    });
}

#[test]
fn three_capabilities_are_enough() {
    isolated(|| {
        let lab = Lab::builder().build();
        let program = reachable_binary();
        prepare_folders();
        let few = "-all,+bpf,+net_admin,+net_raw";
        let (limits, scheduling) = match may_raise_limits() {
            true => (&LIMITS[..], "fast thread: SCHED_FIFO 51"),
            false => (&[][..], "fast thread: no right to SCHED_FIFO 51"),
        };
        let command = [
            limits,
            &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"],
            &["--inh-caps", few, "--ambient-caps", few, "--bounding-set", few],
            &[program],
        ]
        .concat();
        let begun = clock::now();
        let config = Config::dual_stack(2).to_string();
        let mut daemon = Daemon::launch_by(lab.host(), &config, &command);
        daemon.wait_ready(LIMIT);
        wait_ok(&daemon, &["eth0", "eth1"]);
        assert_eq!(status(&daemon, "Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(u64::from_str_radix(&status(&daemon, "CapEff"), 16), Ok(CAPABILITIES));

        for row in rows(&daemon, "-i", "interface,receive") {
            assert_eq!(row[1], "xdp", "{}", daemon.log_text());
            assert_eq!(link(lab.host(), &row[0]).xdp.map(|it| it.mode), Some(1));
        }
        assert!(is_pinned(), "nothing is pinned");
        assert!(!Path::new("/sys/fs/bpf/mpathd").exists());
        daemon.wait_log(scheduling, begun, LIMIT);
        assert_eq!(lab.host().read_sysctl("ipv4/conf/eth0/arp_ignore"), "1");
        for refusal in ["cannot", "no kernel program", "failed: ", "nothing is pinned"] {
            assert!(!daemon.log_text().contains(refusal), "{}", daemon.log_text());
        }

        wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
        lab.cut(0);
        wait_held(lab.host(), "192.0.2.50", "eth1", LIMIT);
        wait_held(lab.host(), "2001:db8::50", "eth1", LIMIT);
        // What it has pinned and written down it can take up again.
        let state = daemon.run_dir().join("state.json");
        wait_for("failure in the state file", LIMIT, || {
            let text = fs::read_to_string(&state).expect("it can be read");
            if text.contains("\"failed\": true") { Ok(()) } else { Err(text) }
        });
        daemon.kill();
        daemon.restart();
        wait_ok(&daemon, &["eth1"]);
        wait_interface(&daemon, "eth0", "state,receive", &["failed", "xdp"]);
        lab.mend(0);
        wait_interface(&daemon, "eth0", "active,state", &["yes", "ok"]);

        // Root is not told where. The hooks go with the pins, when the kernel gets to it.
        daemon.stop();
        let release = daemon.mpathd(&["release"]);
        assert!(release.status.success(), "{release:?}");
        assert!(!is_pinned());
        wait_for("end of the hook", LIMIT, || link(lab.host(), "eth0").xdp.map_or(Ok(()), Err));
    });
}

/// Needs neither root nor a running systemd. What the program finds odd it only says, and ends with 0.
#[test]
fn the_unit_is_one_that_systemd_understands() {
    let folder = std::env::temp_dir().join(format!("mpathd-unit-{}", std::process::id()));
    fs::create_dir(&folder).expect("a place in /tmp");
    let unit = mpathd_tests::checkout().join("dist/mpathd.service");
    let unit = fs::read_to_string(unit).expect("it is part of the project");
    let verify = |unit: &str| {
        // Not installed here: the program has to exist.
        let installed = bin_dir().join("mpathd");
        let unit = unit.replace("/usr/sbin/mpathd", installed.to_str().expect("UTF-8"));
        let file = folder.join("mpathd.service");
        fs::write(&file, unit).expect("it is ours");
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&file)
            .output()
            .expect("systemd-analyze (package systemd) can be run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success() && !said.contains("mpathd.service"), said)
    };
    let (well, said) = verify(&unit);
    let (odd, unsaid) = verify(&unit.replace("ProtectHome=yes", "ProtectHome=perhaps"));
    fs::remove_dir_all(&folder).expect("it is ours");
    assert!(well, "{said}");
    assert!(!odd, "a mistake was not found: {unsaid}");
}
