//! What a key on its own can have wrong: its name, its place, its kind.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "bare_integer",
        toml: r#"
failure_detection_time = 10
"#,
        errors: r#"
mpathd.toml:2:26: failure_detection_time = 10: write "10s" or "10ms" (a duration is a string with a unit)
"#,
    },
    Case {
        name: "bare_integer_of_group",
        toml: r#"
[groups.g]
failure_detection_time = 10
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:26: groups.g.failure_detection_time = 10: write "10s" or "10ms" (a duration is a string with a unit)
"#,
    },
    Case {
        name: "receive_priority_above_our_own",
        toml: r#"
receive_priority = -1
[groups.g.interfaces.eth0]
receive_priority = 50
"#,
        errors: r#"
mpathd.toml:2:20: receive_priority = -1: allowed: a number from 0 (left as it is) to 49
mpathd.toml:4:20: groups.g.interfaces.eth0.receive_priority = 50: allowed: a number from 0 (left as it is) to 49
"#,
    },
    Case {
        name: "take_over_of_what",
        toml: r#"
[groups.g]
take_over = "all"
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:13: groups.g.take_over = "all": allowed: "static", "dynamic"
"#,
    },
    Case {
        name: "bare_float",
        toml: r#"
quiet_period = 1.5
"#,
        errors: r#"
mpathd.toml:2:16: quiet_period = 1.5: write "1.5s" or "1.5ms" (a duration is a string with a unit)
"#,
    },
    Case {
        name: "quoted_without_unit",
        toml: r#"
failure_detection_time = "10"
"#,
        errors: r#"
mpathd.toml:2:26: failure_detection_time = "10": write "10s" or "10ms" (a duration is a string with a unit)
"#,
    },
    Case {
        name: "unknown_unit",
        toml: r#"
failure_detection_time = "10 days"
"#,
        errors: r#"
mpathd.toml:2:26: failure_detection_time = "10 days": a duration is a number and a unit (ms, s, m, h), such as "10s" or "10ms"
"#,
    },
    Case {
        name: "duration_of_wrong_type",
        toml: r#"
quiet_period = true
"#,
        errors: r#"
mpathd.toml:2:16: quiet_period = true: a duration is a number and a unit (ms, s, m, h), such as "10s" or "10ms"
"#,
    },
    Case {
        name: "fdt_too_short",
        toml: r#"
failure_detection_time = "4ms"
"#,
        errors: r#"
mpathd.toml:2:26: failure_detection_time = "4ms": 5ms to 1h is allowed
"#,
    },
    Case {
        name: "fdt_too_long",
        toml: r#"
failure_detection_time = "2h"
"#,
        errors: r#"
mpathd.toml:2:26: failure_detection_time = "2h": 5ms to 1h is allowed
"#,
    },
    Case {
        name: "quiet_too_long",
        toml: r#"
quiet_period = "2h"
"#,
        errors: r#"
mpathd.toml:2:16: quiet_period = "2h": 0s to 1h is allowed
"#,
    },
    Case {
        name: "not_boolean",
        toml: r#"
failback = "yes"
"#,
        errors: r#"
mpathd.toml:2:12: failback = "yes": expected true or false
"#,
    },
    Case {
        name: "track_not_boolean",
        toml: r#"
track_interfaces_only_with_groups = 1
"#,
        errors: r#"
mpathd.toml:2:37: track_interfaces_only_with_groups = 1: expected true or false
"#,
    },
    Case {
        name: "datapath",
        toml: r#"
datapath = "dpdk"
"#,
        errors: r#"
mpathd.toml:2:12: datapath = "dpdk": allowed: "auto", "xdp", "xdp-generic", "tcx", "socket"
"#,
    },
    Case {
        name: "sysctls",
        toml: r#"
sysctls = true
"#,
        errors: r#"
mpathd.toml:2:11: sysctls = true: allowed: "set", "check"
"#,
    },
    Case {
        name: "priority",
        toml: r#"
realtime_priority = 100
"#,
        errors: r#"
mpathd.toml:2:21: realtime_priority = 100: allowed: "auto", "deadline", or a number from 0 (ordinary) to 99
"#,
    },
    Case {
        name: "priority_negative",
        toml: r#"
realtime_priority = -1
"#,
        errors: r#"
mpathd.toml:2:21: realtime_priority = -1: allowed: "auto", "deadline", or a number from 0 (ordinary) to 99
"#,
    },
    Case {
        name: "priority_quoted",
        toml: r#"
realtime_priority = "51"
"#,
        errors: r#"
mpathd.toml:2:21: realtime_priority = "51": allowed: "auto", "deadline", or a number from 0 (ordinary) to 99
"#,
    },
    Case {
        name: "unknown_key_of_file",
        toml: r#"
failure_detection_tme = "10s"
"#,
        errors: r#"
mpathd.toml:2:1: failure_detection_tme = "10s": unknown key; the nearest known one is `failure_detection_time` (here: failure_detection_time, failback, track_interfaces_only_with_groups, quiet_period, datapath, consume_replies, receive_priority, realtime_priority, sysctls, groups)
"#,
    },
    Case {
        name: "key_of_the_original",
        toml: r#"
FAILURE_DETECTION_TIME = "10s"
"#,
        errors: r#"
mpathd.toml:2:1: FAILURE_DETECTION_TIME = "10s": unknown key; the nearest known one is `failure_detection_time` (here: failure_detection_time, failback, track_interfaces_only_with_groups, quiet_period, datapath, consume_replies, receive_priority, realtime_priority, sysctls, groups)
"#,
    },
    Case {
        name: "unknown_key_of_group",
        toml: r#"
[groups.g]
data_adresses = []
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:1: groups.g.data_adresses = []: unknown key; the nearest known one is `data_addresses` (here: failure_detection_time, failback, take_over, egress_redirect, data_addresses, targets, routes, interfaces)
"#,
    },
    Case {
        name: "unknown_key_of_interface",
        toml: r#"
[groups.g.interfaces.eth0]
test_address = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:1: groups.g.interfaces.eth0.test_address = ["192.0.2.11/24"]: unknown key; the nearest known one is `test_addresses` (here: test_addresses, standby, datapath, consume_replies, receive_priority)
"#,
    },
    Case {
        name: "unknown_key_of_route",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", gateway = "192.0.2.1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:11: groups.g.routes = { to = "default", gateway = "192.0.2.1" }: a route needs `via`, as in { to = "default", via = "192.0.2.1" }
mpathd.toml:4:29: groups.g.routes.gateway = "192.0.2.1": unknown key; the nearest known one is `table` (here: to, via, metric, table, src)
"#,
    },
    Case {
        name: "unknown_table",
        toml: r#"
[group.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:2:2: group: unknown key; the nearest known one is `groups` (here: failure_detection_time, failback, track_interfaces_only_with_groups, quiet_period, datapath, consume_replies, receive_priority, realtime_priority, sysctls, groups)
"#,
    },
    Case {
        name: "group_key_at_the_top",
        toml: r#"
targets = ["192.0.2.1"]
"#,
        errors: r#"
mpathd.toml:2:1: targets = ["192.0.2.1"]: not a key of the top level; it belongs to a group
"#,
    },
    Case {
        name: "interface_key_at_the_top",
        toml: r#"
standby = true
"#,
        errors: r#"
mpathd.toml:2:1: standby = true: not a key of the top level; it belongs to an interface of a group
"#,
    },
    Case {
        name: "interface_key_in_group",
        toml: r#"
[groups.g]
standby = true
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:1: groups.g.standby = true: not a key of a group; it belongs to an interface, [groups.NAME.interfaces.NAME]
"#,
    },
    Case {
        name: "file_key_in_group",
        toml: r#"
[groups.g]
sysctls = "set"
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:1: groups.g.sysctls = "set": not a key of a group; it belongs to the top level
"#,
    },
    Case {
        name: "group_key_in_interface",
        toml: r#"
[groups.g.interfaces.eth0]
failure_detection_time = "1s"
"#,
        errors: r#"
mpathd.toml:3:1: groups.g.interfaces.eth0.failure_detection_time = "1s": not a key of an interface; it belongs to its group
"#,
    },
    Case {
        name: "failback_of_interface",
        toml: r#"
[groups.g.interfaces.eth0]
failback = true
"#,
        errors: r#"
mpathd.toml:3:1: groups.g.interfaces.eth0.failback = true: failback is for the whole group, never per interface; move it to [groups.g]
"#,
    },
    Case {
        name: "unquoted_dot",
        toml: r#"
[groups.g.interfaces.eth0.100]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:2:27: groups.g.interfaces.eth0.100: a name with a dot is quoted: write [groups.g.interfaces."eth0.100"]
"#,
    },
    Case {
        name: "unquoted_dots",
        toml: r#"
[groups.g.interfaces.eth0.100.200]
standby = true
"#,
        errors: r#"
mpathd.toml:2:27: groups.g.interfaces.eth0.100: a name with a dot is quoted: write [groups.g.interfaces."eth0.100.200"]
"#,
    },
    Case {
        name: "unquoted_dot_inline",
        toml: r#"
[groups.g.interfaces]
eth0.100 = { standby = true }
"#,
        errors: r#"
mpathd.toml:3:6: groups.g.interfaces.eth0.100 = { standby = true }: a name with a dot is quoted: write [groups.g.interfaces."eth0.100"]
"#,
    },
    Case {
        name: "unquoted_dot_of_group",
        toml: r#"
[groups.prod.lan]
failback = true
[groups.prod.lan.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:2:14: groups.prod.lan: a name with a dot is quoted: write [groups."prod.lan"]
"#,
    },
    Case {
        name: "groups_not_table",
        toml: r#"
groups = []
"#,
        errors: r#"
mpathd.toml:2:10: groups = []: expected tables [groups.NAME]
"#,
    },
    Case {
        name: "group_not_table",
        toml: r#"
[groups]
g = 1
"#,
        errors: r#"
mpathd.toml:3:5: groups.g = 1: expected a table [groups.NAME]
"#,
    },
    Case {
        name: "interfaces_not_table",
        toml: r#"
[groups.g]
interfaces = ["eth0", "eth1"]
"#,
        errors: r#"
mpathd.toml:3:14: groups.g.interfaces = ["eth0", "eth1"]: expected tables [groups.NAME.interfaces.NAME]
"#,
    },
    Case {
        name: "interface_not_table",
        toml: r#"
[groups.g.interfaces]
eth0 = true
"#,
        errors: r#"
mpathd.toml:3:8: groups.g.interfaces.eth0 = true: expected a table [groups.NAME.interfaces.NAME], which may be empty
"#,
    },
    Case {
        name: "group_name_too_long",
        toml: r#"
[groups.a2345678901234567890123456789012.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:2:9: groups.a2345678901234567890123456789012: a group's name has 1 to 31 characters, no blanks, no control characters and no slash
"#,
    },
    Case {
        name: "group_name_with_blank",
        toml: r#"
[groups."a b".interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:2:9: groups."a b": a group's name has 1 to 31 characters, no blanks, no control characters and no slash
"#,
    },
    Case {
        name: "interface_name_too_long",
        toml: r#"
[groups.g.interfaces.a234567890123456]
"#,
        errors: r#"
mpathd.toml:2:22: groups.g.interfaces.a234567890123456: an interface's name has 1 to 15 bytes, no blanks, no slash, no colon, and is not `.` or `..`
"#,
    },
    Case {
        name: "interface_name_with_colon",
        toml: r#"
[groups.g.interfaces."eth0:1"]
"#,
        errors: r#"
mpathd.toml:2:22: groups.g.interfaces."eth0:1": an interface's name has 1 to 15 bytes, no blanks, no slash, no colon, and is not `.` or `..`
"#,
    },
    Case {
        name: "interface_name_dot",
        toml: r#"
[groups.g.interfaces."."]
"#,
        errors: r#"
mpathd.toml:2:22: groups.g.interfaces.".": an interface's name has 1 to 15 bytes, no blanks, no slash, no colon, and is not `.` or `..`
"#,
    },
];
