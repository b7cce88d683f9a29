//! What the values of a file have to say to each other.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "no_interface",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24"]
"#,
        errors: r#"
mpathd.toml:2:9: groups.g: a group needs an interface: add a table [groups.g.interfaces.NAME], which may be empty, for each
"#,
    },
    Case {
        name: "empty_group",
        toml: r#"
[groups.g]
"#,
        errors: r#"
mpathd.toml:2:9: groups.g: a group needs an interface: add a table [groups.g.interfaces.NAME], which may be empty, for each
"#,
    },
    Case {
        name: "interface_in_two_groups",
        toml: r#"
[groups.a.interfaces.eth0]
[groups.b.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:22: groups.b.interfaces.eth0: already in group a (mpathd.toml:2:22); an interface is in one group only
"#,
    },
    Case {
        name: "subnet_of_two_groups",
        toml: r#"
[groups.a]
data_addresses = ["192.0.2.50/24"]
[groups.a.interfaces.eth0]
[groups.b]
data_addresses = ["192.0.2.51/24"]
[groups.b.interfaces.eth1]
"#,
        errors: r#"
mpathd.toml:6:19: groups.b.data_addresses = "192.0.2.51/24": group a has an address of this subnet (mpathd.toml:3:19); a subnet belongs to one group only
"#,
    },
    Case {
        name: "data_twice",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "192.0.2.50/25"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:36: groups.g.data_addresses = "192.0.2.50/25": an address twice: it is a data address already (mpathd.toml:3:19)
"#,
    },
    Case {
        name: "data_in_two_groups",
        toml: r#"
[groups.a]
data_addresses = ["192.0.2.50/24"]
[groups.a.interfaces.eth0]
[groups.b]
data_addresses = ["192.0.2.50/24"]
[groups.b.interfaces.eth1]
"#,
        errors: r#"
mpathd.toml:6:19: groups.b.data_addresses = "192.0.2.50/24": an address twice: it is a data address already (mpathd.toml:3:19)
"#,
    },
    Case {
        name: "test_twice",
        toml: r#"
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.g.interfaces.eth1]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:5:19: groups.g.interfaces.eth1.test_addresses = "192.0.2.11/24": a test address twice: mpathd.toml:3:19 has it already; every interface needs one of its own
"#,
    },
    Case {
        name: "test_is_data",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.50/24"]
"#,
        errors: r#"
mpathd.toml:5:19: groups.g.interfaces.eth0.test_addresses = "192.0.2.50/24": mpathd.toml:3:19 has it as a data address; a test address stays on its interface, so it needs one of its own
"#,
    },
    Case {
        name: "test_is_data_of_another_group",
        toml: r#"
[groups.a]
[groups.a.interfaces.eth0]
test_addresses = ["192.0.2.50/24"]
[groups.b]
data_addresses = ["192.0.2.50/24"]
[groups.b.interfaces.eth1]
"#,
        errors: r#"
mpathd.toml:4:19: groups.a.interfaces.eth0.test_addresses = "192.0.2.50/24": mpathd.toml:6:19 has it as a data address; a test address stays on its interface, so it needs one of its own
"#,
    },
    Case {
        name: "second_test_of_family",
        toml: r#"
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24", "192.0.2.12/24"]
"#,
        errors: r#"
mpathd.toml:3:36: groups.g.interfaces.eth0.test_addresses = "192.0.2.12/24": a second IPv4 test address; an interface has one per family at most
"#,
    },
    Case {
        name: "link_local_beside_ipv6",
        toml: r#"
[groups.g.interfaces.eth0]
test_addresses = ["link-local", "2001:db8::11/64"]
"#,
        errors: r#"
mpathd.toml:3:33: groups.g.interfaces.eth0.test_addresses = "2001:db8::11/64": a second IPv6 test address; an interface has one per family at most
"#,
    },
    Case {
        name: "target_twice",
        toml: r#"
[groups.g]
targets = ["192.0.2.1", "192.0.2.1"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:25: groups.g.targets = "192.0.2.1": the same target twice (mpathd.toml:3:12)
"#,
    },
    Case {
        name: "target_is_own",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["192.0.2.50", "192.0.2.11"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:12: groups.g.targets = "192.0.2.50": it is an address of this host (mpathd.toml:3:19); a target is another host on the LAN
mpathd.toml:4:26: groups.g.targets = "192.0.2.11": it is an address of this host (mpathd.toml:6:19); a target is another host on the LAN
"#,
    },
    Case {
        name: "target_without_test",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["192.0.2.1"]
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:4:12: groups.g.targets = "192.0.2.1": no interface of the group has a test address, so no target can be probed; add some
"#,
    },
    Case {
        name: "target_off_subnet",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["198.51.100.1", "2001:db8::1"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:12: groups.g.targets = "198.51.100.1": on no test subnet of the group (192.0.2.0/24); probes are not routed, so a target is a neighbour
mpathd.toml:4:28: groups.g.targets = "2001:db8::1": on no test subnet of the group (192.0.2.0/24); probes are not routed, so a target is a neighbour
"#,
    },
    Case {
        name: "target_off_link",
        toml: r#"
[groups.g]
targets = ["2001:db8::1"]
[groups.g.interfaces.eth0]
test_addresses = ["link-local"]
"#,
        errors: r#"
mpathd.toml:3:12: groups.g.targets = "2001:db8::1": on no test subnet of the group (fe80::/64); probes are not routed, so a target is a neighbour
"#,
    },
    Case {
        name: "gateway_off_subnet",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "198.51.100.1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:35: groups.g.routes.via = "198.51.100.1": no data or test subnet of the group contains this gateway (192.0.2.0/24, 2001:db8::/64); a gateway is a neighbour
"#,
    },
    Case {
        name: "gateway_without_any_subnet",
        toml: r#"
[groups.g]
routes = [{ to = "default", via = "198.51.100.1" }]
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:35: groups.g.routes.via = "198.51.100.1": no data or test subnet of the group contains this gateway (there is none); a gateway is a neighbour
mpathd.toml:3:35: groups.g.routes.via = "198.51.100.1": the group has no IPv4 data address, so the route has no source; add one
"#,
    },
    Case {
        name: "gateway_is_own",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "192.0.2.50" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:35: groups.g.routes.via = "192.0.2.50": it is an address of this host (mpathd.toml:3:19); a gateway is another host on the LAN
"#,
    },
    Case {
        name: "route_of_two_families",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "198.51.100.0/24", via = "2001:db8::1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:43: groups.g.routes.via = "2001:db8::1": an IPv6 gateway does not lead to an IPv4 destination
"#,
    },
    Case {
        name: "route_without_data",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24"]
routes = [{ to = "default", via = "fe80::1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:35: groups.g.routes.via = "fe80::1": the group has no IPv6 data address, so the route has no source; add one
"#,
    },
    Case {
        name: "source_not_data",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "192.0.2.1", src = "192.0.2.11" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:54: groups.g.routes.src = "192.0.2.11": not an IPv4 data address of the group; a route's source is one of them (192.0.2.50/24)
"#,
    },
    Case {
        name: "source_of_other_family",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "192.0.2.1", src = "2001:db8::50" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:54: groups.g.routes.src = "2001:db8::50": not an IPv4 data address of the group; a route's source is one of them (192.0.2.50/24)
"#,
    },
    Case {
        name: "metric_zero_of_ipv6",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "fe80::1", metric = 0 }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:55: groups.g.routes.metric = 0: the kernel takes metric 0 of an IPv6 route for 1024; write 1024
"#,
    },
    Case {
        name: "route_twice",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [
  { to = "default", via = "192.0.2.1" },
  { to = "0.0.0.0/0", via = "192.0.2.2", metric = 5 },
]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:6:10: groups.g.routes.to = "0.0.0.0/0": the same destination, table and metric as mpathd.toml:5:10; give one of them another metric
"#,
    },
    Case {
        name: "routes_to_data_subnets",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24"]
routes = [
  { to = "192.0.2.0/24", via = "192.0.2.1", metric = 9 },
  { to = "198.51.100.0/24", via = "192.0.2.1" },
  { to = "198.51.100.0/24", via = "192.0.2.1", metric = 4 },
  { to = "198.51.100.0/24", via = "192.0.2.1", metric = 6 },
]
[groups.g.interfaces.eth0]
[groups.h]
data_addresses = ["198.51.100.50/24"]
[groups.h.interfaces.eth1]
"#,
        errors: r#"
mpathd.toml:5:10: groups.g.routes.to = "192.0.2.0/24": it is the subnet of the data address 192.0.2.50 (mpathd.toml:3:19), whose hosts are neighbours; mpathd sets this route itself, without a gateway: delete yours
mpathd.toml:6:10: groups.g.routes.to = "198.51.100.0/24": it is the subnet of the data address 198.51.100.50 (mpathd.toml:12:19), whose hosts are neighbours; mpathd sets this route itself, without a gateway: delete yours
mpathd.toml:7:10: groups.g.routes.to = "198.51.100.0/24": it is the subnet of the data address 198.51.100.50 (mpathd.toml:12:19), whose hosts are neighbours; mpathd sets this route itself, without a gateway: delete yours
"#,
    },
    Case {
        name: "addresses_of_no_single_host",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24"]
targets = ["192.0.2.0", "192.0.2.255", "240.0.0.1", "198.51.100.0"]
routes = [{ to = "default", via = "192.0.2.255" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.g.interfaces.eth1]
test_addresses = ["198.51.100.1/31"]
"#,
        errors: r#"
mpathd.toml:4:12: groups.g.targets = "192.0.2.0": the network address of 192.0.2.0/24; a target is one host of it
mpathd.toml:4:25: groups.g.targets = "192.0.2.255": the broadcast address of 192.0.2.0/24; a target is one host of it
mpathd.toml:4:40: groups.g.targets = "240.0.0.1": an address reserved for future use (240.0.0.0/4, RFC 1112); a target address is one that a host can have
mpathd.toml:5:35: groups.g.routes.via = "192.0.2.255": the broadcast address of 192.0.2.0/24; a gateway is one host of it
"#,
    },
    Case {
        name: "array_of_tables",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
[[groups.g.routes]]
to = "default"
via = "198.51.100.1"
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:6:7: groups.g.routes.via = "198.51.100.1": no data or test subnet of the group contains this gateway (192.0.2.0/24, 2001:db8::/64); a gateway is a neighbour
"#,
    },
    Case {
        name: "several",
        toml: r#"
failback = 1
quiet_period = 40

[groups.g]
data_addresses = ["192.0.2.50", "192.0.2.51/24"]
targets = ["192.0.2.51"]
routes = [{ to = "default", via = "198.51.100.1" }]

[groups.h]

[groups.g.interfaces.eth0]
standby = 0
"#,
        errors: r#"
mpathd.toml:2:12: failback = 1: expected true or false
mpathd.toml:3:16: quiet_period = 40: write "40s" or "40ms" (a duration is a string with a unit)
mpathd.toml:6:19: groups.g.data_addresses = "192.0.2.50": an address without a prefix length; write "192.0.2.50/24" if its subnet has 24 bits
mpathd.toml:7:12: groups.g.targets = "192.0.2.51": it is an address of this host (mpathd.toml:6:33); a target is another host on the LAN
mpathd.toml:10:9: groups.h: a group needs an interface: add a table [groups.h.interfaces.NAME], which may be empty, for each
mpathd.toml:13:11: groups.g.interfaces.eth0.standby = 0: expected true or false
"#,
    },
];
