//! What is printed is a configuration file that means the same.

use std::path::Path;

use mpathd::cli::check::plan;

use crate::settings;

const LAN: &str = r#"failure_detection_time = "2s"
datapath = "tcx"
[groups.ipmp0]
failure_detection_time = "100ms"
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["192.0.2.1", "192.0.2.2", "fe80::1"]
routes = [
  { to = "default", via = "192.0.2.1" },
  { to = "2001:db8:1::/48", via = "fe80::1", metric = 9, table = 7, src = "2001:db8::50" },
]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24", "link-local"]
[groups.ipmp0.interfaces."eth0.100"]
test_addresses = ["198.51.100.12/24"]
standby = true
datapath = "socket"
consume_replies = false
[groups.lan.interfaces.eth1]
test_addresses = ["link-local"]
[groups.links]
failure_detection_time = "12.5ms"
[groups.links.interfaces.eth2]
"#;

fn text(toml: &str) -> String {
    plan::text(&settings(toml), Path::new("lan.toml"))
}

#[test]
fn every_value_with_its_origin() {
    let expected = r#"track_interfaces_only_with_groups = true                     # default
quiet_period = "40s"                                         # default
sysctls = "set"                                              # default
realtime_priority = "auto"                                   # default: 51, for a group's FDT is under 1s

[groups.ipmp0]                                               # lan.toml:3
# group ipmp0: FDT 100ms, probe every 16.7 ms, 180.0 probes/s in all
failure_detection_time = "100ms"                             # lan.toml:4
failback = true                                              # default
take_over = "static"                                         # default
egress_redirect = false                                      # default
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]        # lan.toml:5
targets = ["192.0.2.1", "192.0.2.2", "fe80::1"]              # lan.toml:6
routes = [                                                   # lan.toml:8
    { to = "default", via = "192.0.2.1", metric = 5, table = 254 },
    { to = "2001:db8:1::/48", via = "fe80::1", metric = 9, table = 7, src = "2001:db8::50" },
]

[groups.ipmp0.interfaces.eth0]                               # lan.toml:11
# inet: from 192.0.2.11 to 192.0.2.1 192.0.2.2 (pinned), 120.0 probes/s
# inet6: from the interface's link-local address to fe80::1 (pinned), 60.0 probes/s
test_addresses = ["192.0.2.11/24", "link-local"]             # lan.toml:12
standby = false                                              # default
datapath = "tcx"                                             # lan.toml:2
consume_replies = true                                       # default
receive_priority = 0                                         # default

[groups.ipmp0.interfaces."eth0.100"]                         # lan.toml:13
# inet: from 198.51.100.12, but none of the targets is on its subnet
test_addresses = ["198.51.100.12/24"]                        # lan.toml:14
standby = true                                               # lan.toml:15
datapath = "socket"                                          # lan.toml:16
consume_replies = false                                      # lan.toml:17
receive_priority = 0                                         # default

[groups.lan]                                                 # lan.toml:18
# group lan: FDT 2s, probe every 333.3 ms, 3.0 probes/s per interface and target, 15.0 probes/s in all at most
failure_detection_time = "2s"                                # lan.toml:1
failback = true                                              # default
take_over = "static"                                         # default
egress_redirect = false                                      # default
data_addresses = []                                          # default

[groups.lan.interfaces.eth1]                                 # lan.toml:18
# inet6: from the interface's link-local address to 5 targets at most, found by routes, else neighbors and multicast; 3.0 probes/s each
test_addresses = ["link-local"]                              # lan.toml:19
standby = false                                              # default
datapath = "tcx"                                             # lan.toml:2
consume_replies = true                                       # default
receive_priority = 0                                         # default

[groups.links]                                               # lan.toml:20
# group links: link only; no probes, so no FDT
failure_detection_time = "12.5ms"                            # lan.toml:21
failback = true                                              # default
take_over = "static"                                         # default
egress_redirect = false                                      # default
data_addresses = []                                          # default

[groups.links.interfaces.eth2]                               # lan.toml:22
# not probed, for it has no test address: only loss of its link counts
test_addresses = []                                          # default
standby = false                                              # default
datapath = "tcx"                                             # lan.toml:2
consume_replies = true                                       # default
receive_priority = 0                                         # default
"#;
    assert_eq!(text(LAN), expected);
}

#[test]
fn it_means_the_same() {
    let other = r#"
quiet_period = "1.5s"
realtime_priority = 7
sysctls = "check"
track_interfaces_only_with_groups = false
failback = false
[groups."a.b".interfaces.eth0]
"#;
    for toml in [LAN, other, ""] {
        let (before, after) = (settings(toml), settings(&text(toml)));
        assert_eq!(after.engine, before.engine);
        assert_eq!((after.realtime, after.sysctls), (before.realtime, before.sysctls));
        let track = |s: &mpathd::config::Settings| s.track_interfaces_only_with_groups;
        assert_eq!(track(&after), track(&before));
    }
}

#[test]
fn no_groups() {
    let text = text("");
    assert!(text.starts_with("# lan.toml: no groups; mpathd runs and touches nothing\n"), "{text}");
}
