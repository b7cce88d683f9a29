//! The shape of a server with VLANs on one NIC pair: two groups whose members stand on the same two NICs. Their
//! devices are macvlans here, for not every kernel has VLAN devices; to mpathd both are devices with a lower one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mpathd_tests::owner::wait_held;
use mpathd_tests::told::{json, rows, wait_interface, wait_ok};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::{Daemon, Lab, clock, isolated};

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 7007;
const DEVICES: [&str; 4] = ["eth0.100", "eth1.100", "eth0.200", "eth1.200"];
const ADDRESSES: [&str; 2] = ["192.0.2.50", "198.18.7.50"];

/// A group for each VLAN; names with a dot are quoted.
fn config() -> String {
    let group = |vlan: &str, subnet: &str| {
        let members = ["eth0", "eth1"].iter().enumerate().map(|(n, nic)| {
            let test = 11 + n;
            format!(
                "[groups.v{vlan}.interfaces.\"{nic}.{vlan}\"]\ntest_addresses = [\"{subnet}.{test}/24\"]\n"
            )
        });
        format!(
            "[groups.v{vlan}]\ndata_addresses = [\"{subnet}.50/24\"]\ntargets = [\"{subnet}.1\", \"{subnet}.2\"]\n{}",
            members.collect::<String>()
        )
    };
    let groups = group("100", "192.0.2") + &group("200", "198.18.7");
    format!("failure_detection_time = \"200ms\"\n{groups}")
}

#[test]
fn two_groups_over_two_nics_fail_and_return_together() {
    isolated(|| {
        let lab = Lab::builder().build();
        let host = lab.host();
        for (n, device) in DEVICES.iter().enumerate() {
            let nic = &device[..4];
            host.ip(&format!(
                "link add {device} link {nic} address 02:00:00:00:03:0{n} type macvlan mode bridge
                link set {device} up
            "
            ));
        }
        for (station, address) in [(lab.target(1), 1), (lab.target(2), 2), (lab.client(), 100)] {
            station.ip(&format!("address add 198.18.7.{address}/24 dev eth0\n"));
        }
        let daemon = Daemon::start(host, &config());
        wait_ok(&daemon, &DEVICES);
        ADDRESSES.iter().zip(["eth0.100", "eth0.200"]).for_each(|(address, device)| {
            wait_held(host, address, device, LIMIT);
        });
        let receive = rows(&daemon, "-i", "interface,receive");
        let harmless = |row: &Vec<String>| ["tcx", "socket"].contains(&row[1].as_str());
        assert!(receive.len() == 4 && receive.iter().all(harmless), "{receive:?}");

        let _server = EchoServer::start(host, PORT);
        let streams: Vec<Stream> = ADDRESSES
            .iter()
            .map(|it| SocketAddr::new(it.parse::<IpAddr>().expect("ours"), PORT))
            .map(|to| Stream::tcp(lab.client(), to, Duration::from_millis(5)))
            .collect();
        let answered = || {
            let now = clock::now();
            streams.iter().for_each(|stream| {
                stream.wait_answered(now, LIMIT);
            });
        };
        answered();

        lab.cut(0);
        for (address, vlan) in ADDRESSES.iter().zip(["100", "200"]) {
            wait_held(host, address, &format!("eth1.{vlan}"), LIMIT);
            let fields = "link,state,reason";
            wait_interface(&daemon, &format!("eth0.{vlan}"), fields, &["up", "failed", "probes"]);
        }
        answered();
        lab.mend(0);
        for vlan in ["100", "200"] {
            wait_interface(&daemon, &format!("eth0.{vlan}"), "state", &["ok"]);
        }

        // The carrier of the NIC is that of all that stands on it.
        let cut = lab.carrier(1, false);
        for (address, vlan) in ADDRESSES.iter().zip(["100", "200"]) {
            wait_held(host, address, &format!("eth0.{vlan}"), LIMIT);
            wait_interface(&daemon, &format!("eth1.{vlan}"), "link,state", &["down", "failed"]);
            let line = format!("The link has gone down on eth1.{vlan}");
            daemon.wait_log(&line, cut, LIMIT);
        }
        answered();
        assert!(!daemon.log_text().contains("transmit-stuck"), "{}", daemon.log_text());
        for stream in streams {
            assert_eq!(stream.finish(Duration::from_secs(1)).broken, None);
        }
    });
}

/// A group of NICs, and one of devices that are stacked on them: a frame for the upper device passes the hook of
/// the lower one, which is no stray reply.
fn stacked_members_are_no_strays(datapath: &str) {
    let lab = Lab::builder().build();
    let host = lab.host();
    for nic in 0..2 {
        host.ip(&format!(
            "link add mac{nic} link eth{nic} address 02:00:00:00:03:0{nic} type macvlan mode bridge
            link set mac{nic} up
        "
        ));
    }
    for (station, address) in [(lab.target(1), 1), (lab.target(2), 2)] {
        station.ip(&format!("address add 198.18.7.{address}/24 dev eth0\n"));
    }
    let group = |name: &str, nics: [&str; 2], subnet: &str| {
        let members = nics.iter().enumerate().map(|(n, nic)| {
            let test = 11 + n;
            format!("[groups.{name}.interfaces.{nic}]\ntest_addresses = [\"{subnet}.{test}/24\"]\n")
        });
        format!(
            "[groups.{name}]\ndata_addresses = [\"{subnet}.50/24\"]\ntargets = [\"{subnet}.1\", \"{subnet}.2\"]\n{}",
            members.collect::<String>()
        )
    };
    let lower = group("lower", ["eth0", "eth1"], "192.0.2");
    let upper = group("upper", ["mac0", "mac1"], "198.18.7");
    let config =
        format!("failure_detection_time = \"200ms\"\ndatapath = \"{datapath}\"\n{lower}{upper}");
    let daemon = Daemon::start(host, &config);
    wait_ok(&daemon, &["eth0", "eth1", "mac0", "mac1"]);
    // The daemon looks for stray replies every ten seconds; its first look is for comparison.
    let began = clock::now();
    let log = |daemon: &Daemon| daemon.log_text();
    clock::sleep_until(began + clock::nanos(Duration::from_secs(25)));
    assert!(!log(&daemon).contains("came in on another interface"), "{}", log(&daemon));
    for target in json(&daemon, "-t") {
        let outcomes = &target["outcomes"];
        assert!(outcomes["reply"].as_u64() > Some(100), "{target:#?}");
        assert_eq!(outcomes["wrong_nic"], 0, "{target:#?}");
    }
}

#[test]
fn stacked_members_are_no_strays_to_the_kernel_program() {
    isolated(|| stacked_members_are_no_strays("auto"));
}

#[test]
fn stacked_members_are_no_strays_in_socket_mode() {
    isolated(|| stacked_members_are_no_strays("socket"));
}
