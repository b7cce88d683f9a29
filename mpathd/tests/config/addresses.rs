//! Addresses, targets and routes that are wrong by themselves, and what is no TOML.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "list_expected",
        toml: r#"
[groups.g]
data_addresses = "192.0.2.50/24"
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:18: groups.g.data_addresses = "192.0.2.50/24": expected a list of addresses with prefix lengths, such as ["192.0.2.50/24"]
"#,
    },
    Case {
        name: "list_of_texts_expected",
        toml: r#"
[groups.g]
targets = [1]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:12: groups.g.targets = 1: expected a list of addresses, such as ["192.0.2.1", "192.0.2.2"]
"#,
    },
    Case {
        name: "no_prefix",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "192.0.2.50": an address without a prefix length; write "192.0.2.50/24" if its subnet has 24 bits
"#,
    },
    Case {
        name: "no_prefix_of_test",
        toml: r#"
[groups.g.interfaces.eth0]
test_addresses = ["2001:db8::11"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.interfaces.eth0.test_addresses = "2001:db8::11": an address without a prefix length; write "2001:db8::11/64" if its subnet has 64 bits
"#,
    },
    Case {
        name: "prefix_too_long",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/33"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "192.0.2.50/33": a prefix length of 33; an IPv4 address has 1 to 32 bits
"#,
    },
    Case {
        name: "prefix_of_none",
        toml: r#"
[groups.g]
data_addresses = ["2001:db8::1/0"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "2001:db8::1/0": a prefix length of 0; an IPv6 address has 1 to 128 bits
"#,
    },
    Case {
        name: "prefix_is_mask",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/255.255.255.0"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "192.0.2.50/255.255.255.0": a prefix length of 255.255.255.0; an IPv4 address has 1 to 32 bits
"#,
    },
    Case {
        name: "not_an_address",
        toml: r#"
[groups.g]
data_addresses = ["www.example.org"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "www.example.org": not an address with a prefix length, such as "192.0.2.50/24" or "2001:db8::50/64"
"#,
    },
    Case {
        name: "network_address",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.0/24", "2001:db8::/64"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "192.0.2.0/24": the address of the subnet itself; a data address is one that a host can have
mpathd.toml:3:35: groups.g.data_addresses = "2001:db8::/64": the address of the subnet itself; a data address is one that a host can have
"#,
    },
    Case {
        name: "broadcast_address",
        toml: r#"
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.255/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.interfaces.eth0.test_addresses = "192.0.2.255/24": the broadcast address of the subnet; a test address is one that a host can have
"#,
    },
    Case {
        name: "loopback_address",
        toml: r#"
[groups.g]
data_addresses = ["127.0.0.2/8", "::1/128"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "127.0.0.2/8": a loopback address; a data address is one that a host can have
mpathd.toml:3:34: groups.g.data_addresses = "::1/128": the loopback address; a data address is one that a host can have
"#,
    },
    Case {
        name: "multicast_address",
        toml: r#"
[groups.g]
data_addresses = ["224.0.0.5/24", "ff02::1/64"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "224.0.0.5/24": a multicast address; a data address is one that a host can have
mpathd.toml:3:35: groups.g.data_addresses = "ff02::1/64": a multicast address; a data address is one that a host can have
"#,
    },
    Case {
        name: "other_addresses_of_no_host",
        toml: r#"
[groups.g]
data_addresses = ["0.0.0.1/24", "255.255.255.255/32", "::/128", "::ffff:192.0.2.1/128"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "0.0.0.1/24": an address of "this network", 0.0.0.0/8; a data address is one that a host can have
mpathd.toml:3:33: groups.g.data_addresses = "255.255.255.255/32": the limited broadcast address; a data address is one that a host can have
mpathd.toml:3:55: groups.g.data_addresses = "::/128": the unspecified address; a data address is one that a host can have
mpathd.toml:3:65: groups.g.data_addresses = "::ffff:192.0.2.1/128": an IPv4 address mapped into IPv6; a data address is one that a host can have
"#,
    },
    Case {
        name: "link_local_data",
        toml: r#"
[groups.g]
data_addresses = ["fe80::1/64"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.data_addresses = "fe80::1/64": a link-local address belongs to one link and never moves; write a global one
"#,
    },
    Case {
        name: "link_local_written_out",
        toml: r#"
[groups.g.interfaces.eth0]
test_addresses = ["fe80::1/64"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.interfaces.eth0.test_addresses = "fe80::1/64": write "link-local": the address that the kernel gives the interface is used as it is
"#,
    },
    Case {
        name: "link_local_misspelt",
        toml: r#"
[groups.g.interfaces.eth0]
test_addresses = ["linklocal"]
"#,
        errors: r#"
mpathd.toml:3:19: groups.g.interfaces.eth0.test_addresses = "linklocal": neither "link-local" nor an address with a prefix length, such as "192.0.2.11/24"
"#,
    },
    Case {
        name: "target_with_prefix",
        toml: r#"
[groups.g]
targets = ["192.0.2.1/24"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:12: groups.g.targets = "192.0.2.1/24": a target address has no prefix length; write "192.0.2.1"
"#,
    },
    Case {
        name: "target_not_address",
        toml: r#"
[groups.g]
targets = ["router"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:12: groups.g.targets = "router": not an address, such as "192.0.2.1" or "2001:db8::1"
"#,
    },
    Case {
        name: "target_multicast",
        toml: r#"
[groups.g]
targets = ["224.0.0.1"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:3:12: groups.g.targets = "224.0.0.1": a multicast address; a target address is one that a host can have
"#,
    },
    Case {
        name: "route_not_table",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = ["default"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:11: groups.g.routes = "default": expected a list of tables, such as [{ to = "default", via = "192.0.2.1" }]
"#,
    },
    Case {
        name: "routes_not_list",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = { to = "default", via = "192.0.2.1" }
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:10: groups.g.routes = { to = "default", via = "192.0.2.1" }: expected a list of tables, such as [{ to = "default", via = "192.0.2.1" }]
"#,
    },
    Case {
        name: "route_without_to",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ via = "192.0.2.1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:11: groups.g.routes = { via = "192.0.2.1" }: a route needs `to`, as in { to = "default", via = "192.0.2.1" }
"#,
    },
    Case {
        name: "route_without_via",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:11: groups.g.routes = { to = "default" }: a route needs `via`, as in { to = "default", via = "192.0.2.1" }
"#,
    },
    Case {
        name: "destination",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "0/0", via = "192.0.2.1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:18: groups.g.routes.to = "0/0": a destination is "default" or a network with a prefix length, such as "198.51.100.0/24"
"#,
    },
    Case {
        name: "destination_without_prefix",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "198.51.100.7", via = "192.0.2.1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:18: groups.g.routes.to = "198.51.100.7": an address without a prefix length; write "198.51.100.7/32" if its subnet has 32 bits
"#,
    },
    Case {
        name: "destination_with_host_bits",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "198.51.100.7/24", via = "192.0.2.1" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:18: groups.g.routes.to = "198.51.100.7/24": host bits are set; write "198.51.100.0/24"
"#,
    },
    Case {
        name: "gateway_is_device",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "eth0" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:35: groups.g.routes.via = "eth0": not an address, such as "192.0.2.1" or "2001:db8::1"
"#,
    },
    Case {
        name: "metric",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "192.0.2.1", metric = -1 }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:57: groups.g.routes.metric = -1: allowed: 0 to 4294967295
"#,
    },
    Case {
        name: "table",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "192.0.2.1", table = 255 }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:56: groups.g.routes.table = 255: allowed: the number of a routing table (main is 254), 1 to 4294967295 without 255
"#,
    },
    Case {
        name: "table_by_name",
        toml: r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
routes = [{ to = "default", via = "192.0.2.1", table = "main" }]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#,
        errors: r#"
mpathd.toml:4:56: groups.g.routes.table = "main": allowed: the number of a routing table (main is 254), 1 to 4294967295 without 255
"#,
    },
    Case {
        name: "syntax",
        toml: r#"
failback = 
"#,
        errors: r#"
mpathd.toml:2:12: not TOML: string values must be quoted, expected literal string
"#,
    },
    Case {
        name: "key_twice",
        toml: r#"
failback = true
failback = false
"#,
        errors: r#"
mpathd.toml:3:1: not TOML: duplicate key: failback
"#,
    },
    Case {
        name: "interface_twice_in_a_group",
        toml: r#"
[groups.g.interfaces.eth0]
[groups.g.interfaces.eth0]
"#,
        errors: r#"
mpathd.toml:3:22: not TOML: duplicate key: eth0
"#,
    },
];
