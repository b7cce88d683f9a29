//! Each warning, over made-up hosts.

use mpathd::cli::check::host::{Host, Link};
use mpathd::cli::check::warnings;

use crate::settings;

const LAN: &str = r#"
consume_replies = false
[groups.g]
data_addresses = ["192.0.2.50/24"]
targets = ["192.0.2.1", "192.0.2.2"]
[groups.g.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.g.interfaces.eth1]
test_addresses = ["192.0.2.12/24"]
"#;

fn nic(ifindex: u32, name: &str) -> Link {
    Link {
        ifindex,
        name: name.into(),
        up: true,
        carrier: true,
        ethernet: true,
        mac: vec![2, 0, 0, 0, 0, ifindex as u8],
        ..Link::default()
    }
}

/// One that has nothing to say to [`LAN`].
fn host() -> Host {
    Host { links: vec![nic(2, "eth0"), nic(3, "eth1"), nic(4, "br0")], ..Host::default() }
}

#[track_caller]
fn warns(toml: &str, host: &Host, expected: &[&str]) {
    assert_eq!(warnings::all(&settings(toml), host), expected);
}

/// `change` turns a host without anything to say into one with `expected`.
#[track_caller]
fn host_warns(change: impl FnOnce(&mut Host), expected: &[&str]) {
    let mut host = host();
    change(&mut host);
    warns(LAN, &host, expected);
}

#[test]
fn nothing_to_say() {
    host_warns(|_| {}, &[]);
    warns("", &Host { arp_ignore: 8, arp_filter: 1, ..Host::default() }, &[]);
}

#[test]
fn a_family_that_is_not_watched_on_one_interface() {
    let toml = LAN.replacen("192.0.2.50/24\"", "192.0.2.50/24\", \"2001:db8::50/64\"", 1);
    let toml = toml.replace("192.0.2.11/24\"", "192.0.2.11/24\", \"2001:db8::11/64\"");
    let list = warnings::all(&settings(&toml), &host());
    let of = |text| list.iter().filter(|it| it.contains(text)).count();
    assert_eq!(of("eth1 has no inet6 test address, others of group g have"), 1, "{list:?}");
    assert_eq!((of("eth0 has no"), of("no inet test address")), (0, 0), "{list:?}");
}

#[test]
fn replies_that_wait_for_a_thread() {
    let quick = LAN.replacen("[groups.g]", "failure_detection_time = \"50ms\"\n[groups.g]", 1);
    let quick = quick.replace("\"192.0.2.2\"", "\"192.0.2.2\", \"192.0.2.3\"");
    let starved = |change: fn(&mut Host)| {
        let mut host = host();
        change(&mut host);
        host
    };
    let told = |toml: &str, host: &Host| warnings::all(&settings(toml), host);
    let threaded = starved(|host| host.threaded = [3].into());
    let list = told(&quick, &threaded);
    assert_eq!(list.len(), 1, "{list:?}");
    assert!(list[0].starts_with("eth1: kernel threads of ordinary priority"), "{list:?}");
    assert!(list[0].contains("receive_priority = 45"), "{list:?}");
    let old = starved(|host| host.softirqs_wait = true);
    assert_eq!(told(&quick, &old).len(), 2);
    assert_eq!(told(LAN, &old), Vec::<String>::new(), "the FDT is not that short");
    let raised = format!("receive_priority = 45\n{quick}");
    assert_eq!(told(&raised, &threaded), Vec::<String>::new());
}

#[test]
fn of_the_host() {
    let text = "net.ipv4.conf.all.arp_ignore is 8: moved addresses would not be answered for; set it \
                to 0 or 1";
    host_warns(|host| host.arp_ignore = 8, &[text]);
    host_warns(|host| host.arp_ignore = 1, &[]);
    let text = "net.ipv4.conf.all.arp_filter is 1: ARP would be answered by route, not by interface; \
                set it to 0";
    host_warns(|host| host.arp_filter = 1, &[text]);
    host_warns(|host| host.unknown.push("cannot tell".into()), &["cannot tell"]);
}

#[test]
fn of_links() {
    host_warns(
        |host| drop(host.links.remove(1)),
        &["eth1 is not on this host; it joins when it appears"],
    );
    host_warns(|host| host.links[1].altnames = vec!["eth9".into()], &[]);
    host_warns(
        |host| host.links[0].up = false,
        &["eth0 is down; mpathd sets it up when it first meets it"],
    );
    host_warns(|host| host.links[0].carrier = false, &["eth0 has no carrier"]);
    host_warns(
        |host| host.links[0].master = Some(4),
        &["eth0 is a port of br0; mpathd will not use it: `ip link set eth0 nomaster` releases it"],
    );
    let not_ethernet = "eth0 is not an Ethernet device; mpathd will not use it";
    host_warns(|host| host.links[0].ethernet = false, &[not_ethernet]);
    host_warns(|host| host.links[0].point_to_point = true, &[not_ethernet]);
    host_warns(
        |host| host.networkd.extend([3]),
        &[
            "eth1 is configured by systemd-networkd, which removes what it has not set itself; give \
           it a .network file with `[Link]` `Unmanaged=yes`",
        ],
    );
}

#[test]
fn of_links_that_are_one() {
    let together = |lower| format!("eth0 and eth1 both stand on {lower}: they fail together");
    host_warns(|host| host.links[1].lower = Some((2, None)), &[&together("eth0")]);
    host_warns(|host| host.links[0].lower = Some((3, None)), &[&together("eth1")]);
    let both = |host: &mut Host, lower| {
        host.links[0].lower = Some(lower);
        host.links[1].lower = Some(lower);
    };
    host_warns(|host| both(host, (4, None)), &[&together("br0")]);
    let elsewhere = together("one device of another network namespace");
    host_warns(|host| both(host, (3, Some(0))), &[&elsewhere]);
    // Ends of two veth pairs.
    host_warns(|host| host.links[0].lower = Some((3, Some(0))), &[]);
    host_warns(
        |host| host.links[1].mac = host.links[0].mac.clone(),
        &["eth0 and eth1 have the same hardware address 02:00:00:00:00:02: give one of them its \
           own, or mpathd takes it offline"],
    );
}

#[test]
fn of_the_configuration() {
    let host = host();
    warns(
        &LAN.replace("consume_replies = false", ""),
        &host,
        &["replies to probes are consumed on eth0, eth1: tcpdump on this host shows no probes; \
             `ipmpstat -p` shows requests and replies, and consume_replies = false lets the replies pass"],
    );
    let redirected = "[groups.g]\negress_redirect = true\n";
    let unprobed = LAN.replace("test_addresses = [\"192.0.2.12/24\"]", "");
    warns(&LAN.replace("[groups.g]\n", redirected), &host, &[]);
    warns(
        &unprobed.replace("[groups.g]\n", redirected),
        &host,
        &[
            "eth1 has no inet test address, others of group g have: its inet path is not watched, and \
             when all inet targets fall silent, inet addresses move to it",
            "eth1 has no test address, so egress_redirect of group g does nothing for it",
        ],
    );
    let one = LAN.replace(", \"192.0.2.2\"", "");
    warns(&one, &host, &[]);
    warns(
        &one.replace("[groups.g]\n", "[groups.g]\nfailure_detection_time = \"50ms\"\n"),
        &host,
        &[
            "group g has one inet target for an FDT of 50ms: if it is busy or limits ICMP, that looks \
           like a failure; add targets or raise failure_detection_time",
        ],
    );
    let quick = LAN.replace("[groups.g]\n", "[groups.g]\nfailure_detection_time = \"99ms\"\n");
    warns(
        &quick,
        &host,
        &[
            "group g has two inet targets for an FDT of 99ms: if both lose probes, losses in a row come \
           by chance, and a failure takes more of them and longer; with three it does not",
        ],
    );
    warns(&quick.replace("99ms", "100ms"), &host, &[]);
    warns(&quick.replace("\"192.0.2.2\"", "\"192.0.2.2\", \"192.0.2.3\""), &host, &[]);
    warns(
        &LAN.replace("192.0.2.12/24", "198.51.100.12/24"),
        &host,
        &[
            "eth1: no target of group g is on the subnet of its inet test address, so it is not probed \
           from there",
        ],
    );
    warns(
        "[groups.g.interfaces.eth0]\n",
        &host,
        &[
            "group g has one interface: nothing can take over from it",
            "group g has no data address: it is watched, but nothing moves",
            "group g has no test address: loss of link is seen, a path that breaks behind it is not; \
             test_addresses = [\"link-local\"] probes at no cost in addresses",
        ],
    );
}

#[test]
fn of_a_host_that_is_not_meant() {
    warns(
        LAN,
        &Host::default(),
        &[
            "group g: none of its interfaces is on this host",
            "eth0 is not on this host; it joins when it appears",
            "eth1 is not on this host; it joins when it appears",
        ],
    );
}
