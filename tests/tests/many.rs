//! A group with many addresses and routes, seen from outside.

use std::time::Duration;

use mpathd_tests::cuts::{Rig, Size};
use mpathd_tests::daemon::bin_dir;
use mpathd_tests::observe::{Route, holders, routes_v4, routes_v6};
use mpathd_tests::told::{interface, rows, wait_ok};
use mpathd_tests::watch::AddressWatch;
use mpathd_tests::{Config, Daemon, Lab, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

/// Addresses in pieces, routes by groups of next-hop objects; the trap of the emptied group; and nothing of them is
/// left by `mpathd release`.
#[test]
fn many_addresses_and_routes_move_and_are_released() {
    isolated(|| {
        let size = Size { addresses: 20, routes: 40 };
        let mut rig = Rig::start_with(Duration::from_millis(100), 2, size, "");
        let ours = |rig: &Rig| -> Vec<Route> {
            let all = [routes_v4(rig.lab.host()), routes_v6(rig.lab.host())].concat();
            all.into_iter().filter(|route| route.protocol == "109").collect()
        };
        // And a subnet of each family.
        let wait_on = |rig: &Rig, nics: &[&str]| {
            wait_for(&format!("all routes over {nics:?}"), LIMIT, || {
                let all = ours(rig);
                let there = all.len() == 2 * (size.routes + 1);
                let so = all.iter().filter(|route| ways(route) != nics).count();
                if there && so == 0 { Ok(()) } else { Err((all.len(), so)) }
            });
        };
        wait_on(&rig, &["eth0", "eth1"]);
        let cut = rig.lab.cut(0);
        wait_on(&rig, &["eth1"]);
        let data = || [false, true].into_iter().flat_map(|v6| size.addresses(v6));
        for address in data() {
            let ip = address.split('/').next().expect("a part").to_owned();
            wait_for(&format!("{ip} on eth1"), LIMIT, || match holders(rig.lab.host(), &ip) {
                on if on == ["eth1"] => Ok(()),
                on => Err(on),
            });
        }
        // The only hop of all groups goes: the kernel deletes them with their routes, unsaid.
        rig.mend(0, cut);
        rig.lab.carrier(1, false);
        wait_on(&rig, &["eth0"]);
        rig.lab.carrier(1, true);
        rig.wait_healthy(0);
        rig.wait_healthy(1);
        wait_on(&rig, &["eth0", "eth1"]);

        rig.daemon.stop();
        let released = rig.daemon.mpathd(&["release"]);
        assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
        assert_eq!(ours(&rig), []);
        assert_eq!(rig.lab.host().expect("ip", &["nexthop", "show"]), "");
    });
}

fn ways(route: &Route) -> Vec<String> {
    let hops: Vec<String> = route.nexthops.iter().map(|hop| hop.dev.clone()).collect();
    if hops.is_empty() { route.dev.clone().into_iter().collect() } else { hops }
}

const NICS: usize = 8;
/// NICs get their hooks one after the other.
const ATTACHED: Duration = Duration::from_secs(60);

fn nics() -> Vec<String> {
    (0..NICS).map(|n| format!("eth{n}")).collect()
}

/// A daemon of eight dual-stack members, with these limits of its descriptors.
fn limited(lab: &Lab, soft: u32, hard: u32) -> Daemon {
    let program = bin_dir().join("mpathd");
    let script =
        format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec {} \"$@\"", program.display());
    let config = Config::dual_stack(NICS);
    Daemon::launch_by(lab.host(), &config.to_string(), &["sh", "-c", &script, "mpathd"])
}

/// The usual soft limit of a shell or an old service manager is no limit.
#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    isolated(|| {
        let lab = Lab::builder().nics(NICS).build();
        let mut daemon = limited(&lab, 64, 4096);
        daemon.wait_ready(LIMIT);
        let names = nics();
        for nic in &names {
            daemon.wait_log(&format!("{nic} receives replies through"), 0, ATTACHED);
        }
        wait_ok(&daemon, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let log = daemon.log_text();
        assert!(!log.contains("file descriptors"), "{log}");
    });
}

/// No IPv6 address leaves its NIC because a file could not be opened; the lack is named, and the tools answer.
#[test]
fn used_up_descriptors_move_no_address() {
    isolated(|| {
        const HARD: u32 = 84;
        let lab = Lab::builder().nics(NICS).build();
        let addresses = AddressWatch::start(lab.host());
        let begun = clock::now();
        let mut daemon = limited(&lab, HARD, HARD);
        daemon.wait_ready(LIMIT);
        daemon.wait_log(&format!("at most {HARD} file descriptors may be open"), begun, LIMIT);
        let named = daemon.wait_log("file descriptors are used up", begun, ATTACHED);
        assert!(named.text.contains("LimitNOFILE="), "{}", named.text);
        // Long enough for what is tried again, and for a client's patience.
        let placed = addresses.events().len();
        for _ in 0..10 {
            let asked = clock::now();
            let interfaces = rows(&daemon, "-i", "interface,state");
            assert_eq!(interfaces.len(), NICS, "{interfaces:?}");
            let took = clock::now() - asked;
            assert!(took < clock::nanos(Duration::from_secs(3)), "{took} ns");
            clock::pass(Duration::from_millis(500));
        }
        let events = addresses.events();
        assert_eq!(events.len(), placed, "an address has moved: {:#?}", &events[placed..]);
        let log = daemon.log_text();
        for wrong in ["not plumbed", "is not consistent", "failure detected"] {
            assert!(!log.contains(wrong), "{log}");
        }
        assert_eq!(holders(lab.host(), "2001:db8::50").len(), 1);
        // An interface without sockets is not attached, and says so. Those that go leave their descriptors to others.
        let (dark, attached): (Vec<_>, Vec<_>) =
            nics().into_iter().partition(|nic| interface(&daemon, nic)["receive"].is_null());
        assert!(!dark.is_empty() && !attached.is_empty(), "{log}");
        for nic in attached.iter().skip(2) {
            lab.host().expect("ip", &["link", "del", nic]);
        }
        wait_for("hook on one that had none", Duration::from_secs(30), || {
            let lit = dark.iter().any(|nic| !interface(&daemon, nic)["receive"].is_null());
            if lit { Ok(()) } else { Err(daemon.log_text()) }
        });
    });
}

/// That a file could not be opened says nothing about IPv6.
#[test]
fn without_descriptors_an_interface_keeps_its_families() {
    isolated(|| {
        let lab = Lab::builder().nics(2).build();
        let daemon = Daemon::start(lab.host(), &Config::dual_stack(2).to_string());
        wait_ok(&daemon, &["eth0", "eth1"]);
        let pid = daemon.pid().to_string();
        // All lower ones are open, so that none can be had.
        let limits = "--nofile=3:10";
        lab.host().expect("prlimit", &["--pid", &pid, limits]);
        let begun = clock::now();
        lab.host().ip("link set eth1 down\nlink set eth1 name away\nlink set away name eth1\nlink set eth1 up\n");
        daemon.wait_log("eth1: reading whether it takes IPv6 addresses failed", begun, LIMIT);
        daemon.wait_log("file descriptors are used up", begun, LIMIT);
        assert!(!daemon.log_text().contains("is not plumbed"), "{}", daemon.log_text());
    });
}
