//! What right files mean.

use std::path::Path;
use std::time::Duration;

use mpathd::config::{self, Realtime, Settings, Sysctls};
use mpathd_core::config::{Datapath, Group, Member, Route, TestAddress};
use mpathd_core::ids::{Family, GroupName, IfName, IpNet};

/// The example of the contract, with every key.
const EXAMPLE: &str = r#"
failure_detection_time = "10s"
failback = true
track_interfaces_only_with_groups = true
quiet_period = "40s"
datapath = "auto"
consume_replies = true
realtime_priority = "auto"
sysctls = "set"

[groups.ipmp0]
failure_detection_time = "100ms"
failback = false
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["192.0.2.1", "192.0.2.2"]
routes = [{ to = "default", via = "192.0.2.1" }]

[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]

[groups.ipmp0.interfaces."eth0.100"]
test_addresses = ["192.0.2.12/24"]
standby = true
"#;

fn settings(toml: &str) -> Settings {
    match config::parse(toml.as_bytes(), Path::new("mpathd.toml")) {
        Ok(settings) => settings,
        Err(errors) => panic!("{errors}"),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn member(name: &str, test: &str, standby: bool) -> Member {
    Member {
        name: IfName::new(name).unwrap(),
        standby,
        test: [Some(TestAddress::Static(net(test))), None],
        datapath: Datapath::Auto,
        consume_replies: true,
    }
}

#[test]
fn a_deadline_stands_in_place_of_a_priority() {
    assert_eq!(settings("realtime_priority = \"deadline\"\n").realtime, Realtime::Deadline);
}

#[test]
fn a_receive_priority_is_of_the_file_or_of_an_interface() {
    let settings = settings(
        "receive_priority = 45\n[groups.g.interfaces.a]\n[groups.g.interfaces.b]\n\
         receive_priority = 0\n[groups.g.interfaces.c]\nreceive_priority = 1\n",
    );
    let all: Vec<_> =
        settings.receive_priority.iter().map(|(name, it)| (name.to_string(), *it)).collect();
    assert_eq!(all, [("a".to_owned(), 45), ("c".to_owned(), 1)]);
}

#[test]
fn the_example_of_the_contract() {
    let settings = settings(EXAMPLE);
    let expected = Group {
        name: GroupName::new("ipmp0").unwrap(),
        fdt: Duration::from_millis(100),
        failback: false,
        quiet_period: Duration::from_secs(40),
        data: vec![net("192.0.2.50/24"), net("2001:db8::50/64")],
        targets: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
        routes: vec![Route {
            to: net("0.0.0.0/0"),
            via: "192.0.2.1".parse().unwrap(),
            metric: 5,
            table: 254,
            src: None,
        }],
        members: vec![
            member("eth0", "192.0.2.11/24", false),
            member("eth0.100", "192.0.2.12/24", true),
        ],
    };
    assert_eq!(settings.engine.groups, [expected]);
    assert!(settings.track_interfaces_only_with_groups);
    assert_eq!((settings.realtime, settings.sysctls), (Realtime::Auto, Sysctls::Set));
}

/// Behaviour 1.
#[test]
fn nothing_written_means_the_defaults() {
    let settings = settings("[groups.g.interfaces.eth0]\n");
    let group = &settings.engine.groups[0];
    assert_eq!(group.fdt, Duration::from_secs(10));
    assert_eq!(group.quiet_period, Duration::from_secs(40));
    assert!(group.failback && group.members[0].consume_replies && !group.members[0].standby);
    assert_eq!(group.members[0].datapath, Datapath::Auto);
    assert_eq!(group.members[0].test, [None, None]);
    assert!(group.data.is_empty() && group.routes.is_empty() && group.targets.is_empty());
}

#[test]
fn the_inner_value_wins() {
    let settings = settings(
        r#"
failure_detection_time = "2s"
failback = false
datapath = "tcx"
consume_replies = false
realtime_priority = 0
sysctls = "check"
track_interfaces_only_with_groups = false
[groups.a]
failure_detection_time = "50ms"
failback = true
egress_redirect = true
[groups.a.interfaces.eth0]
datapath = "xdp-generic"
consume_replies = true
[groups.b.interfaces.eth1]
"#,
    );
    let [anonymous, a, b] = settings.engine.groups.as_slice() else { panic!("two groups") };
    assert!(anonymous.is_anonymous() && settings.engine.named().eq([a, b]));
    assert_eq!(anonymous.fdt, Duration::from_secs(2));
    assert_eq!((a.fdt, b.fdt), (Duration::from_millis(50), Duration::from_secs(2)));
    assert!(a.failback && !b.failback);
    let (eth0, eth1) = (&a.members[0], &b.members[0]);
    assert_eq!((eth0.datapath, eth1.datapath), (Datapath::XdpGeneric, Datapath::Tcx));
    assert!(eth0.consume_replies && !eth1.consume_replies);
    assert_eq!((settings.realtime, settings.sysctls), (Realtime::Fixed(0), Sysctls::Check));
    assert!(!settings.track_interfaces_only_with_groups);
    assert!(settings.redirected.iter().eq([&a.name]));
}

#[test]
fn the_order_of_the_file_is_kept() {
    let settings = settings(
        r#"
[groups.z]
data_addresses = ["192.0.2.9/24", "192.0.2.3/24", "192.0.2.7/24"]
[groups.a.interfaces]
eth9 = {}
eth10 = { standby = true }
[groups.z.interfaces.eth2]
[groups.z.interfaces.eth1]
[groups.a.interfaces.b0]
"#,
    );
    let groups: Vec<&str> = settings.engine.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(groups, ["z", "a"]);
    let members = |g: &Group| g.members.iter().map(|m| m.name.to_string()).collect::<Vec<_>>();
    assert_eq!(members(&settings.engine.groups[0]), ["eth2", "eth1"]);
    assert_eq!(members(&settings.engine.groups[1]), ["eth9", "eth10", "b0"]);
    let data: Vec<String> = settings.engine.groups[0].data.iter().map(IpNet::to_string).collect();
    assert_eq!(data, ["192.0.2.9/24", "192.0.2.3/24", "192.0.2.7/24"]);
}

#[test]
fn an_ipv4_group_probed_over_link_local_ipv6() {
    let settings = settings(
        r#"
[groups.g]
data_addresses = ["192.0.2.50/24", "2001:db8::50/64"]
targets = ["fe80::1"]
[[groups.g.routes]]
to = "default"
via = "192.0.2.1"
[[groups.g.routes]]
to = "2001:db8:1::/48"
via = "fe80::1"
metric = 100
table = 7
src = "2001:db8::50"
[groups.g.interfaces.eth0]
test_addresses = ["link-local"]
"#,
    );
    let group = &settings.engine.groups[0];
    assert_eq!(group.members[0].test(Family::Inet6), Some(TestAddress::LinkLocal));
    let expected = Route {
        to: net("2001:db8:1::/48"),
        via: "fe80::1".parse().unwrap(),
        metric: 100,
        table: 7,
        src: Some("2001:db8::50".parse().unwrap()),
    };
    assert_eq!(group.routes[1], expected);
}

#[test]
fn default_is_of_the_family_of_its_gateway() {
    let settings = settings(
        "[groups.g]\ndata_addresses = [\"2001:db8::50/64\"]\n\
         routes = [{ to = \"default\", via = \"2001:db8::1\" }]\n[groups.g.interfaces.eth0]\n",
    );
    assert_eq!(settings.engine.groups[0].routes[0].to, net("::/0"));
}

#[test]
fn both_ends_of_a_point_to_point_subnet_are_hosts() {
    let settings = settings(
        "[groups.g]\ndata_addresses = [\"192.0.2.0/31\", \"192.0.2.3/31\", \"192.0.2.9/32\", \
         \"2001:db8::/127\"]\n[groups.g.interfaces.eth0]\n",
    );
    assert_eq!(settings.engine.groups[0].data.len(), 4);
}

#[test]
fn values_remember_where_they_were_written() {
    let settings = settings(EXAMPLE);
    let of = |path: &str| settings.origins.of(&[path.to_owned()]).to_string();
    assert_eq!(of("failure_detection_time"), "mpathd.toml:2");
    assert_eq!(of("groups.ipmp0.failure_detection_time"), "mpathd.toml:12");
    assert_eq!(of("groups.ipmp0.data_addresses"), "mpathd.toml:14");
    assert_eq!(of("groups.ipmp0.routes"), "mpathd.toml:16");
    assert_eq!(of("groups.ipmp0.interfaces.\"eth0.100\".standby"), "mpathd.toml:23");
    assert_eq!(of("groups.ipmp0.interfaces.eth0.datapath"), "default");
    let inner_first = ["groups.ipmp0.interfaces.eth0.datapath".into(), "datapath".into()];
    assert_eq!(settings.origins.of(&inner_first).to_string(), "mpathd.toml:6");
}

#[test]
fn a_missing_file_has_no_groups() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("there-is-no-such-file.toml");
    assert!(config::load(&path).unwrap().engine.groups.is_empty());
}

#[test]
fn the_packaged_file_is_right_as_it_is_and_with_its_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/mpathd.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(settings(&text).engine.groups.is_empty());
    let uncommented: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix('#').or(Some(line))).collect();
    let keys: String = uncommented
        .into_iter()
        .filter(|line| !line.starts_with(' ') || line.starts_with("    {"))
        .fold(String::new(), |all, line| all + line + "\n");
    let groups = settings(&keys).engine.groups;
    assert_eq!(groups[0].members.len(), 3);
    assert_eq!(groups[0].routes.len(), 3);
}
