//! `mpathd release`: after the host thread has put everything in place, all of it goes, or stays on one NIC.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mpathd::cli::release::{Options, run};
use mpathd::messages::SysctlKey;
use mpathd::slow::state::{OldSysctl, OwnAddress, State};
use mpathd_core::config::Datapath;
use mpathd_core::ids::IfName;
use mpathd_core::request::{Request, Role};
use mpathd_core::state::SavedBinding;
use mpathd_tests::observe::{addrs, holders, routes_v4, routes_v6};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::{Lab, clock, isolated, object, wait_for};

use crate::driver::{DATA, DATA6, Host, LIMIT, Options as HostOptions, ip, net};

const RUN_DIR: &str = "/run/mpathd";
const TEST: &str = "192.0.2.11/24";

/// Everything that a daemon leaves when it stops: addresses on both NICs, routes, a hook, sysctls, its state.
fn leave_behind(lab: &Lab) {
    let options = HostOptions {
        object: object::read().expect("the kernel program is built"),
        ..HostOptions::default()
    };
    let mut host = Host::with(lab.host(), options);
    let name = |name| IfName::new(name).expect("a name");
    for (n, device) in ["eth0", "eth1"].into_iter().enumerate() {
        let ifindex = host.ifindex(device);
        host.must(Request::Prepare { ifindex, name: name(device), set_up: true });
        host.must(host.set(device, &format!("192.0.2.{}/24", 11 + n), Role::Test, None));
        host.must(Request::Attach {
            ifindex,
            name: name(device),
            datapath: Datapath::Auto,
            consume_replies: true,
            bypassed: false,
        });
    }
    host.must(host.set("eth1", DATA, Role::Data, None));
    host.must(host.set("eth0", DATA6, Role::Data, None));
    for (to, via, src) in [
        ("192.0.2.0/24", None, "192.0.2.50"),
        ("0.0.0.0/0", Some("192.0.2.1"), "192.0.2.50"),
        ("2001:db8::/64", None, "2001:db8::50"),
        ("::/0", Some("2001:db8::1"), "2001:db8::50"),
    ] {
        host.must(host.route(to, via, src, &["eth0", "eth1"]));
    }
    let own = |device, address| OwnAddress { interface: name(device), address: net(address) };
    let state = State {
        addresses: vec![own("eth0", TEST), own("eth1", DATA), own("eth0", DATA6)],
        sysctls: vec![OldSysctl {
            interface: name("eth0"),
            ifindex: None,
            key: SysctlKey::RpFilter,
            old: 0,
        }],
        core: mpathd_core::state::Saved {
            bindings: [("eth1", DATA), ("eth0", DATA6)]
                .map(|(device, text)| SavedBinding {
                    address: net(text).address,
                    interface: name(device),
                })
                .into(),
            ..Default::default()
        },
        ..State::default()
    };
    std::fs::create_dir_all(RUN_DIR).expect("/run is ours");
    let text = serde_json::to_vec(&state).expect("it serialises");
    std::fs::write(Path::new(RUN_DIR).join("state.json"), text).expect("/run is ours");
    host.stop();
}

fn release(lab: &Lab, keep_on: Option<&str>, dry_run: bool) -> bool {
    let options = Options {
        keep_on: keep_on.map(str::to_owned),
        dry_run,
        yes: true,
        run_dir: PathBuf::from(RUN_DIR),
        bpffs: vec![PathBuf::from("/sys/fs/bpf/mpathd")],
    };
    lab.host().run(|| run(&options)) == ExitCode::SUCCESS
}

fn pins() -> usize {
    std::fs::read_dir("/sys/fs/bpf/mpathd").map_or(0, Iterator::count)
}

fn all(lab: &Lab) -> (Vec<mpathd_tests::observe::Address>, usize, String, String) {
    let ours = |routes: Vec<mpathd_tests::observe::Route>| {
        routes.into_iter().filter(|r| r.protocol == "109").count()
    };
    let routes = ours(routes_v4(lab.host())) + ours(routes_v6(lab.host()));
    let nexthops = lab.host().expect("ip", &["nexthop", "show"]);
    (addrs(lab.host()), routes, nexthops, lab.host().read_sysctl("ipv4/conf/eth0/rp_filter"))
}

#[test]
fn nothing_of_ours_is_left() {
    isolated(|| {
        let lab = Lab::builder().build();
        lab.host().expect("ip", &["address", "add", "10.1.1.1/24", "dev", "eth0"]);
        leave_behind(&lab);
        let before = all(&lab);
        assert_eq!((before.0.len(), before.1, before.3.as_str()), (5, 4, "2"));
        assert!(release(&lab, None, true) && all(&lab) == before && pins() == 1, "a dry run");

        assert!(release(&lab, None, false));
        let (addresses, routes, nexthops, sysctl) = all(&lab);
        let left: Vec<_> = addresses.iter().map(|a| a.info.local).collect();
        assert_eq!(left, [ip("10.1.1.1")], "somebody else's stays");
        assert_eq!((routes, nexthops.as_str(), sysctl.as_str(), pins()), (0, "", "0", 0));
        assert!(!Path::new(RUN_DIR).join("state.json").exists());
        assert!(release(&lab, None, false), "nothing to do is no error");
    });
}

#[test]
fn a_lost_mark_does_not_hide_an_address() {
    isolated(|| {
        let lab = Lab::builder().build();
        leave_behind(&lab);
        lab.host().expect("ip", &["address", "replace", "2001:db8::50/128", "dev", "eth0"]);
        assert!(release(&lab, None, false));
        assert!(addrs(lab.host()).is_empty(), "{:#?}", addrs(lab.host()));
    });
}

#[test]
fn a_running_daemon_is_left_in_peace() {
    isolated(|| {
        let lab = Lab::builder().build();
        leave_behind(&lab);
        let before = all(&lab);
        let lock = || mpathd::slow::lock::acquire(std::path::Path::new(RUN_DIR));
        let _daemon = lab.host().run(lock).expect("nobody holds it");
        assert!(!release(&lab, None, false));
        assert_eq!(all(&lab), before);
    });
}

#[test]
fn one_interface_goes_on_alone_and_connections_live() {
    isolated(|| {
        let lab = Lab::builder().far().build();
        leave_behind(&lab);
        let server = EchoServer::start(lab.host(), 7007);
        let streams = [DATA, DATA6].map(|data| {
            let to = SocketAddr::new(net(data).address, server.port());
            // A new NIC answers no neighbour before its link-local address is usable, about a second.
            wait_for("the address to be reached", LIMIT, || {
                let reached =
                    mpathd_tests::ping::ping(lab.far(), None, to.ip(), Duration::from_millis(200));
                if reached { Ok(()) } else { Err("silent") }
            });
            Stream::tcp(lab.far(), to, Duration::from_millis(2))
        });
        for stream in &streams {
            stream.wait_answered(0, LIMIT);
        }

        assert!(release(&lab, Some("eth0"), false));
        let released = clock::now();
        for stream in &streams {
            stream.wait_answered(released, LIMIT);
            assert_eq!(stream.report().broken, None);
        }
        for (data, length) in [(DATA, 24), (DATA6, 64)] {
            let address = net(data).address;
            assert_eq!(holders(lab.host(), &address.to_string()), ["eth0"]);
            let all = addrs(lab.host());
            let found = all.iter().find(|a| a.info.local == address).expect("it is there");
            assert_eq!((found.info.prefixlen, found.info.noprefixroute), (length, false));
        }
        assert_eq!(addrs(lab.host()).len(), 2);
        for routes in [routes_v4(lab.host()), routes_v6(lab.host())] {
            let default = routes.iter().find(|r| r.dst == "default").expect("it stays");
            assert_eq!((default.dev.as_deref(), default.protocol.as_str()), (Some("eth0"), "4"));
            assert!(routes.iter().all(|r| r.protocol != "109"), "{routes:#?}");
        }
        assert_eq!(all(&lab).2, "", "no next hop is left");
    });
}

#[test]
fn what_cannot_be_kept_is_said_before_anything_changes() {
    isolated(|| {
        let lab = Lab::builder().build();
        leave_behind(&lab);
        let before = all(&lab);
        assert!(!release(&lab, Some("eth7"), false));
        std::fs::remove_file(Path::new(RUN_DIR).join("state.json")).expect("it is there");
        assert!(!release(&lab, Some("eth0"), false));
        assert_eq!(all(&lab), before);
    });
}
