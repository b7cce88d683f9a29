//! Others who change what is ours, and notices that are lost: it is put right, told, and never fought over without
//! end; nothing that happened meanwhile is overlooked.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mpathd_tests::clock::Nanos;
use mpathd_tests::observe::{addrs, routes_v4};
use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{rows, wait_interface, wait_ok};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, NetNs, clock, isolated, wait_for};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(10);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn config() -> Config {
    let mut config = Config::dual_stack(2);
    config.data = vec!["192.0.2.50/24", "192.0.2.51/24"];
    config.routes.truncate(1);
    config
}

fn running(lab: &Lab) -> Daemon {
    let daemon = Daemon::start(lab.host(), &config().to_string());
    wait_ok(&daemon, &["eth0", "eth1"]);
    wait_held(lab.host(), "192.0.2.50", "eth0", LIMIT);
    wait_held(lab.host(), "192.0.2.51", "eth1", LIMIT);
    daemon
}

/// A manager that insists: whenever `stands` holds, it does `command` again. Ends when dropped.
struct Fighter {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fighter {
    fn start(
        host: &NetNs,
        stands: impl Fn(&NetNs) -> bool + Send + 'static,
        command: &'static [&'static str],
    ) -> Self {
        let (stop, namespace) = (Arc::new(AtomicBool::new(false)), host.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if stands(&namespace) {
                    // It may have been quicker than we are.
                    namespace.output("ip", command);
                }
                clock::pass(Duration::from_millis(5));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Fighter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(std::thread::JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A process of this name, as far as a host can tell.
struct Process(Child);

impl Process {
    fn start(host: &NetNs, name: &str) -> Self {
        let program = std::path::Path::new("/run").join(name);
        std::fs::copy("/bin/sleep", &program).expect("/run is the lab's own");
        let start = || std::process::Command::new(&program).arg("600").spawn();
        Self(host.run(start).expect("it can be run"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().ok();
    }
}

fn stands(host: &NetNs, address: &str, len: u8) -> bool {
    addrs(host).iter().any(|it| it.info.local == ip(address) && it.info.prefixlen == len)
}

fn has_default(host: &NetNs) -> bool {
    routes_v4(host).iter().any(|it| it.dst == "default" && it.metric == Some(5))
}

/// When the daemon has set or removed an address.
fn times(watch: &AddressWatch, address: &str, added: bool, len: u8) -> Vec<Nanos> {
    let all = watch
        .events()
        .into_iter()
        .filter(|it| (it.address, it.added, it.prefixlen) == (ip(address), added, len));
    all.map(|it| it.at).collect()
}

/// Within the first eight seconds, and then.
fn check_bound(what: &str, times: &[Nanos], begun: Nanos) {
    let since = |at: &Nanos| Duration::from_nanos(at.saturating_sub(begun));
    let at_once = times.iter().filter(|at| since(at) < Duration::from_secs(8)).count();
    // Four in each of three seconds at the most, then after one, two and four seconds more.
    assert!((3..=15).contains(&at_once), "{what}: {at_once} times at once: {times:?} from {begun}");
    let then = times.len() - at_once;
    assert!((1..=2).contains(&then), "{what}: {then} times later: {times:?} from {begun}");
}

/// O17, design 5 ("Drift"): three fights at a time, over an address, over a route, and with somebody who sets an
/// address of ours elsewhere. A failure meanwhile is answered at once.
#[test]
fn who_fights_is_answered_at_once_for_three_seconds_and_then_more_and_more_seldom() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let host = lab.host();
        let daemon = running(&lab);
        let _manager = Process::start(host, "dhclient");
        let watch = AddressWatch::start(host);
        // The first copy is taken over, which is no fight yet.
        host.ip("address add 192.0.2.51/24 dev eth2\n");
        wait_for("the copy taken over", LIMIT, || {
            if stands(host, "192.0.2.51", 24) { Err(daemon.log_text()) } else { Ok(()) }
        });
        let begun = clock::now();
        let fighters = [
            Fighter::start(
                host,
                |host| stands(host, "192.0.2.50", 32),
                &["address", "del", "192.0.2.50/32", "dev", "eth0"],
            ),
            Fighter::start(
                host,
                |host| !stands(host, "192.0.2.51", 24),
                &["address", "add", "192.0.2.51/24", "dev", "eth2"],
            ),
            Fighter::start(host, has_default, &["route", "del", "default", "metric", "5"]),
        ];
        for told in [
            "192.0.2.50 on eth0 was changed",
            "192.0.2.51 was set",
            "the route to 0.0.0.0/0 was changed",
        ] {
            let line = daemon.wait_log(&format!("{told} by somebody else"), begun, LIMIT);
            daemon.wait_log("dhclient", line.at, LIMIT);
        }
        clock::sleep_until(begun + clock::nanos(Duration::from_secs(13)));
        check_bound("address", &times(&watch, "192.0.2.50", true, 32), begun);
        check_bound("copy", &times(&watch, "192.0.2.51", false, 24), begun);
        let log = daemon.log_text();
        let routes = log.matches("the route to 0.0.0.0/0 was changed").count();
        assert!((4..=6).contains(&routes), "{routes} times: {log}");
        assert!(log.contains("further repairs are delayed"), "{log}");

        // Its route is held back now, and so is the address; a failure is not.
        let [address, copy, route] = fighters;
        drop((address, route));
        let cut = lab.cut(0);
        wait_held(host, "192.0.2.50", "eth1", Duration::from_secs(2));
        wait_for("the default route over eth1", Duration::from_secs(2), || {
            let all = routes_v4(host);
            let over = all.iter().any(|it| {
                it.dst == "default" && it.metric == Some(5) && it.dev.as_deref() == Some("eth1")
            });
            if over { Ok(()) } else { Err((all, cut)) }
        });
        drop(copy);
    });
}

/// How many notices the kernel could not give to netlink sockets of this process.
fn dropped(host: &NetNs, pid: u32) -> u64 {
    let mine = |link: std::io::Result<std::path::PathBuf>| {
        link.ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let inodes: Vec<u64> =
        descriptors.filter_map(|entry| mine(std::fs::read_link(entry.ok()?.path()))).collect();
    let table = host.run(|| std::fs::read_to_string("/proc/thread-self/net/netlink"));
    let table = table.expect("the kernel has it");
    let fields = |line: &str| -> Option<(u64, u64)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.last()?.parse().ok()?, words.get(words.len() - 2)?.parse().ok()?))
    };
    let of_process = table.lines().filter_map(fields).filter(|(inode, _)| inodes.contains(inode));
    of_process.map(|(_, drops)| drops).sum()
}

/// Behaviour 160: ten thousand changes while nobody reads; in their middle an address and a route of ours are
/// removed, a copy of another address is set, and a link goes down.
#[test]
fn no_transition_is_lost_with_notices() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let host = lab.host();
        let daemon = running(&lab);
        let mut half = [String::new(), String::new()];
        for (n, lines) in half.iter_mut().enumerate() {
            for i in 0..1250 {
                let address = format!("10.{n}.{}.{}/32", i / 250, i % 250);
                writeln!(lines, "address add {address} dev eth2").expect("a String takes all");
                writeln!(lines, "link set eth2 mtu {}", 1400 + i % 2).expect("a String takes all");
                writeln!(lines, "address del {address} dev eth2").expect("a String takes all");
                writeln!(lines, "link set eth2 txqueuelen {}", 500 + i % 2).expect("it does");
            }
        }
        let begun = clock::now();
        daemon.signal(Signal::SIGSTOP);
        host.ip(&half[0]);
        host.ip("route del default metric 5
            address del 192.0.2.50/32 dev eth0
            address add 192.0.2.51/24 dev eth2
        ");
        lab.carrier(1, false);
        host.ip(&half[1]);
        let lost = dropped(host, daemon.pid());
        daemon.signal(Signal::SIGCONT);
        assert!(lost > 0, "no notice was lost: the test shows nothing");

        wait_held(host, "192.0.2.50", "eth0", LIMIT);
        wait_for("the copy taken over, and the address on eth0", LIMIT, || {
            let copy = stands(host, "192.0.2.51", 24);
            let held = addrs(host).iter().any(|it| {
                (it.info.local, it.ifname.as_str(), it.info.prefixlen)
                    == (ip("192.0.2.51"), "eth0", 32)
            });
            if held && !copy { Ok(()) } else { Err((addrs(host), daemon.log_text())) }
        });
        wait_interface(&daemon, "eth1", "link,state", &["down", "failed"]);
        wait_for("the default route", LIMIT, || {
            if has_default(host) { Ok(()) } else { Err(routes_v4(host)) }
        });
        daemon.wait_log("The link has gone down on eth1", begun, LIMIT);
        daemon.wait_log("192.0.2.50 on eth0 was changed by somebody else", begun, LIMIT);

        // Down and up again unseen is found by the count of the carrier's changes.
        lab.carrier(1, true);
        wait_interface(&daemon, "eth1", "state", &["ok"]);
        let begun = clock::now();
        daemon.signal(Signal::SIGSTOP);
        host.ip(&half[0]);
        lab.carrier(0, false);
        lab.carrier(0, true);
        daemon.signal(Signal::SIGCONT);
        daemon.wait_log("The link has gone down on eth0", begun, LIMIT);
        wait_interface(&daemon, "eth0", "state", &["ok"]);
    });
}

/// Behaviour 153: a copy that somebody renews stands beside ours. It is one address, and it is up.
#[test]
fn an_address_that_stands_twice_is_one() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let host = lab.host();
        let daemon = running(&lab);
        let row = || -> Vec<Vec<String>> {
            let all = rows(&daemon, "-a", "address,state,inbound");
            all.into_iter().filter(|row| row[0].starts_with("192.0.2.50")).collect()
        };
        let one = row();
        assert_eq!(one.len(), 1);
        host.ip("address add 192.0.2.50/24 dev eth1 valid_lft 600 preferred_lft 600
            address add 192.0.2.50/24 dev eth2 valid_lft 600 preferred_lft 600
            link set eth2 down
        ");
        wait_interface(&daemon, "eth0", "state", &["ok"]);
        assert_eq!(row(), one);
        assert!(
            one[0].contains(&"up".to_owned()) && one[0].contains(&"eth0".to_owned()),
            "{one:?}"
        );
        // Nor is it taken, for its lifetime says that somebody renews it.
        assert!(stands(host, "192.0.2.50", 24));
    });
}
