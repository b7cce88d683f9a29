//! Hosts that have their addresses and routes already: they are converted while they are in use, and back, byte for
//! byte; what is not named in the configuration stays as it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mpathd_tests::daemon::bin_dir;
use mpathd_tests::observe::{Address, Route, addrs, all_addrs, routes_v4, routes_v6};
use mpathd_tests::told::wait_ok;
use mpathd_tests::traffic::{EchoServer, Report, Stream};
use mpathd_tests::{Config, Daemon, Lab, NetNs, clock, isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 7007;
const INTERVAL: Duration = Duration::from_millis(2);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

type State = (Vec<Address>, Vec<Route>, Vec<Route>);

/// All that is to be given back byte for byte. Of IPv6 routes at one key the kernel lists the latest last.
fn state_of(host: &NetNs) -> State {
    let mut v6 = routes_v6(host);
    v6.sort_by_key(|it| (it.dst.clone(), it.metric, it.dev.clone()));
    (addrs(host), routes_v4(host), v6)
}

/// The forms in which an address stands on the host.
fn forms(host: &NetNs, address: &str) -> Vec<String> {
    let all = addrs(host).into_iter().filter(|it| it.info.local == ip(address));
    all.map(|it| format!("{}/{} {}", it.info.local, it.info.prefixlen, it.ifname)).collect()
}

fn on_lo(host: &NetNs) -> Vec<String> {
    let all = all_addrs(host).into_iter().filter(|it| it.ifname == "lo");
    all.map(|it| format!("{}/{}", it.info.local, it.info.prefixlen)).collect()
}

fn wait_forms(daemon: &Daemon, host: &NetNs, address: &str, wanted: &[&str]) {
    wait_for(&format!("{address} as {wanted:?}"), LIMIT, || {
        let forms = forms(host, address);
        if forms == wanted { Ok(()) } else { Err((forms, daemon.log_text())) }
    });
}

/// Streams to the host's own addresses and from it.
struct Users {
    tcp: Vec<Stream>,
    udp: Vec<Stream>,
    _servers: Vec<EchoServer>,
}

impl Users {
    /// Of the LAN and from far, to each of these; and from the host to the client.
    fn start(lab: &Lab, addresses: &[&str]) -> Self {
        let servers =
            vec![EchoServer::start(lab.host(), PORT), EchoServer::start(lab.client(), PORT)];
        let to = |address: &str| SocketAddr::new(ip(address), PORT);
        let tcp = addresses.iter().flat_map(|it| {
            [lab.client(), lab.far()].map(|from| Stream::tcp(from, to(it), INTERVAL))
        });
        let tcp: Vec<Stream> = tcp.collect();
        let families = [("192.0.2.100", false), ("2001:db8::100", true)];
        let udp =
            families.iter().filter(|(_, v6)| addresses.iter().any(|it| it.contains(':') == *v6));
        let udp = udp.map(|(client, _)| Stream::udp(lab.host(), to(client), INTERVAL));
        let users = Self { tcp, udp: udp.collect(), _servers: servers };
        users.wait_answered();
        users
    }

    fn wait_answered(&self) {
        let now = clock::now();
        self.tcp.iter().chain(&self.udp).for_each(|stream| {
            stream.wait_answered(now, LIMIT);
        });
    }

    /// No connection was lost, and the host could always send.
    fn check(self) {
        self.wait_answered();
        let tcp: Vec<Report> = self.tcp.into_iter().map(|it| it.finish(LIMIT)).collect();
        for report in tcp {
            assert_eq!(report.broken, None, "a connection was lost");
            assert_eq!(report.unanswered(), 0, "TCP has lost something");
        }
        for stream in self.udp {
            let report = stream.finish(Duration::from_secs(1));
            let last = report.last_refusal.as_deref();
            assert_eq!(report.refused, 0, "the host had no route for a moment: {last:?}");
        }
    }
}

fn config() -> Config {
    let mut config = Config::dual_stack(2);
    config.data = vec!["192.0.2.50/24", "2001:db8::50/64"];
    config
}

/// As `ip`, or the scripts of a distribution, set it by hand; .60 and some routes are nobody's business.
fn set_by_hand(host: &NetNs) {
    host.ip("address add 198.18.0.60/15 broadcast + dev eth0 label eth0:web
        address add 192.0.2.50/24 broadcast + dev eth0
        address add 2001:db8::50/64 dev eth0 nodad
        address add 2001:db8::60/64 dev eth1 nodad
        route add default via 192.0.2.1 dev eth0
        route add default via 2001:db8::1 dev eth0
        route add 203.0.113.0/24 via 192.0.2.2 dev eth0 src 192.0.2.50
        route add 2001:db8:2::/64 via 2001:db8::2 dev eth0 src 2001:db8::50
        route add default via 192.0.2.2 dev eth0 metric 700
    ");
}

/// Contract, "Take-over", and issue 3.10.
#[test]
fn a_host_set_by_hand_is_converted_under_its_own_sessions_and_back() {
    isolated(|| {
        let lab = Lab::builder().far().build();
        let host = lab.host();
        set_by_hand(host);
        let before = state_of(host);
        let users = Users::start(&lab, &["192.0.2.50", "2001:db8::50"]);

        let mut daemon = Daemon::start(host, &config().to_string());
        wait_forms(&daemon, host, "192.0.2.50", &["192.0.2.50/32 eth0"]);
        wait_forms(&daemon, host, "2001:db8::50", &["2001:db8::50/128 eth0"]);
        wait_ok(&daemon, &["eth0", "eth1"]);
        users.wait_answered();
        let others = |(addresses, v4, v6): &State| {
            let addresses = addresses.iter().filter(|it| it.info.local.to_string().ends_with("60"));
            let routes = v4.iter().chain(v6);
            let routes = routes.filter(|it| {
                ["203.0.113.0/24", "2001:db8:2::/64"].contains(&it.dst.as_str())
                    || it.metric == Some(700)
            });
            (addresses.cloned().collect::<Vec<_>>(), routes.cloned().collect::<Vec<_>>())
        };
        assert_eq!(others(&state_of(host)), others(&before), "somebody else's was touched");
        let defaults = |routes: Vec<Route>| -> Vec<_> {
            let defaults = routes.into_iter().filter(|it| it.dst == "default");
            defaults.map(|it| (it.metric, it.protocol)).collect()
        };
        let ours = (Some(5), "109".to_owned());
        assert_eq!(defaults(routes_v4(host)), [ours.clone(), (Some(700), "3".to_owned())]);
        assert_eq!(defaults(routes_v6(host)), [ours]);

        assert_eq!(daemon.stop().code(), Some(0));
        let released = daemon.mpathd(&["release", "--keep-on", "eth0"]);
        assert!(released.status.success(), "{released:?}");
        assert_eq!(state_of(host), before, "{released:?}");
        users.check();
    });
}

/// What a tool makes of a host with one address on eth0.
struct Imitation {
    tool: &'static str,
    lines: &'static str,
    /// It renews them.
    dynamic: bool,
}

const IMITATIONS: [Imitation; 6] = [
    Imitation {
        tool: "hand, behind another address of the subnet",
        lines: "address add 192.0.2.60/24 broadcast + dev eth0
            address add 192.0.2.50/24 broadcast + dev eth0
            address add 2001:db8::50/64 dev eth0 nodad
            route add default via 192.0.2.1 dev eth0 src 192.0.2.60
            route add default via 2001:db8::1 dev eth0
        ",
        dynamic: false,
    },
    Imitation {
        tool: "ifupdown",
        lines: "address add 192.0.2.50/24 broadcast 192.0.2.255 dev eth0 label eth0
            address add 2001:db8::50/64 dev eth0 nodad
            route add default via 192.0.2.1 dev eth0 onlink
            route add default via 2001:db8::1 dev eth0 metric 1024
        ",
        dynamic: false,
    },
    Imitation {
        tool: "systemd-networkd",
        lines: "address add 192.0.2.50/24 broadcast 192.0.2.255 dev eth0
            address add 2001:db8::50/64 dev eth0 nodad
            route add default via 192.0.2.1 dev eth0 proto static
            route add default via 2001:db8::1 dev eth0 proto static metric 1024 pref medium
        ",
        dynamic: false,
    },
    Imitation {
        tool: "NetworkManager",
        lines: "address add 192.0.2.50/24 broadcast 192.0.2.255 dev eth0 noprefixroute
            address add 2001:db8::50/64 dev eth0 noprefixroute nodad
            route add 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.50 metric 100
            route add 2001:db8::/64 dev eth0 proto kernel metric 100
            route add default via 192.0.2.1 dev eth0 proto static metric 100
            route add default via 2001:db8::1 dev eth0 proto static metric 100
        ",
        dynamic: false,
    },
    Imitation {
        tool: "DHCP client of systemd-networkd",
        lines: "address add 192.0.2.50/24 broadcast 192.0.2.255 dev eth0 metric 1024 valid_lft 3600 preferred_lft 3600
            route add default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.50 metric 1024
            route add 192.0.2.1 dev eth0 proto dhcp scope link src 192.0.2.50 metric 1024
            address add 2001:db8::50/128 dev eth0 nodad noprefixroute valid_lft 3600 preferred_lft 1800
            route add 2001:db8::/64 dev eth0 proto ra metric 1024
            route add default via 2001:db8::1 dev eth0 proto ra metric 1024 expires 1800
        ",
        dynamic: true,
    },
    Imitation {
        tool: "dhclient",
        lines: "address add 192.0.2.50/24 broadcast 192.0.2.255 dev eth0 label eth0 valid_lft 3600 preferred_lft 3600
            address add 2001:db8::50/64 dev eth0 nodad valid_lft 3600 preferred_lft 3600
            route add default via 192.0.2.1 dev eth0
            route add default via 2001:db8::1 dev eth0 metric 5
        ",
        dynamic: true,
    },
];

/// Lifetimes run on meanwhile, by a few seconds.
fn without_age((mut addresses, v4, mut v6): State) -> State {
    for address in &mut addresses {
        for life in [&mut address.info.valid_life_time, &mut address.info.preferred_life_time] {
            *life = life.div_ceil(100).saturating_mul(100);
        }
    }
    v6.iter_mut().for_each(|route| route.expires = None);
    (addresses, v4, v6)
}

/// Contract, "Take-over": each of these hosts, there and back.
#[test]
fn hosts_set_by_any_tool_are_converted_and_back() {
    isolated(|| {
        let lab = Lab::builder().far().build();
        let host = lab.host();
        for Imitation { tool, lines, dynamic } in IMITATIONS {
            host.ip(lines);
            let before = without_age(state_of(host));
            let mut config = config();
            if dynamic {
                config.group = "take_over = \"dynamic\"\n".to_owned();
            }
            if lines.contains("expires") {
                // What a router advertises is its own, and ours would stay beside it.
                config.routes.retain(|(_, via)| !via.contains(':'));
            }
            let mut daemon = Daemon::start(host, &config.to_string());
            wait_forms(&daemon, host, "192.0.2.50", &["192.0.2.50/32 eth0"]);
            wait_for("IPv6 address in our form", LIMIT, || {
                let forms = forms(host, "2001:db8::50");
                let ours = forms.len() == 1 && forms[0].starts_with("2001:db8::50/128");
                if ours { Ok(()) } else { Err((tool, forms)) }
            });
            assert_eq!(daemon.stop().code(), Some(0));
            let released = daemon.mpathd(&["release", "--keep-on", "eth0"]);
            assert!(released.status.success(), "{tool}: {released:?}");
            let after = without_age(state_of(host));
            assert_eq!(after, before, "{tool}: {released:?}\n{}", daemon.log_text());
            host.expect("ip", &["address", "flush", "dev", "eth0", "scope", "global"]);
            host.expect("ip", &["-6", "route", "flush", "dev", "eth0", "root", "2000::/3"]);
            host.expect("ip", &["-6", "route", "flush", "default"]);
        }
    });
}

/// Contract, "Take-over": one that is renewed is left alone with its group, unless told otherwise.
#[test]
fn an_address_with_a_lifetime_keeps_its_group_from_starting_and_no_other() {
    isolated(|| {
        let lab = Lab::builder().nics(4).far().build();
        let host = lab.host();
        host.ip("address add 192.0.2.50/24 broadcast + dev eth0 valid_lft 3600 preferred_lft 3600
            route add default via 192.0.2.1 dev eth0 proto dhcp metric 100
            address add 198.18.0.52/24 dev eth2
        ");
        let mut first = config();
        first.data = vec!["192.0.2.50/24"];
        first.routes = vec![("default", "192.0.2.1")];
        let second = "[groups.other]\ndata_addresses = [\"198.18.0.52/24\"]\n\
            [groups.other.interfaces.eth2]\n[groups.other.interfaces.eth3]\n";
        let both = |first: &Config| format!("{first}{second}");
        let of_dhcp = |host: &NetNs| {
            let (mut addresses, mut routes, _) = without_age(state_of(host));
            addresses.retain(|it| it.ifname == "eth0");
            routes.retain(|it| it.dev.as_deref() == Some("eth0"));
            (addresses, routes)
        };
        let before = of_dhcp(host);
        let begun = clock::now();
        let mut daemon = Daemon::start(host, &both(&first));
        let why = daemon.wait_log("group ipmp0 can't start", begun, LIMIT);
        assert!(why.text.contains("192.0.2.50/24 on eth0 has a lifetime"), "{}", why.text);
        wait_forms(&daemon, host, "198.18.0.52", &["198.18.0.52/32 eth2"]);
        assert_eq!(of_dhcp(host), before, "it was touched");
        let check = daemon.mpathd(&["check", "--config", daemon.config().to_str().expect("UTF-8")]);
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(
            check.status.success() && said.contains("warning: group ipmp0 can't start"),
            "{said}"
        );

        let users = Users::start(&lab, &["192.0.2.50"]);
        first.group = "take_over = \"dynamic\"\n".to_owned();
        daemon.configure(&both(&first));
        let reloaded = daemon.mpathd(&["reload"]);
        assert!(reloaded.status.success(), "{reloaded:?}");
        wait_forms(&daemon, host, "192.0.2.50", &["192.0.2.50/32 eth0"]);
        assert_eq!(daemon.stop().code(), Some(0));
        let released = daemon.mpathd(&["release", "--keep-on", "eth0"]);
        assert!(released.status.success(), "{released:?}");
        users.check();
    });
}

/// What is not on a member, and what is to be a test address, comes over as well.
#[test]
fn test_addresses_and_addresses_of_other_devices_are_taken_over() {
    isolated(|| {
        let lab = Lab::builder().nics(3).far().build();
        let host = lab.host();
        host.sysctl("ipv4/conf/eth2/promote_secondaries", "0");
        host.ip("address add 192.0.2.50/24 broadcast + dev eth2
            address add 192.0.2.60/24 broadcast + dev eth2
            address add 192.0.2.11/24 broadcast + dev eth0
            address add 2001:db8::11/64 dev eth0 nodad
            address add 192.0.2.51/32 dev lo scope host
            address add 2001:db8::50/128 dev eth1 nodad
            route add default via 192.0.2.1 dev eth2
            route add default via 2001:db8::1 dev eth0
            route add 203.0.113.0/24 via 192.0.2.2 dev eth0 src 192.0.2.11
        ");
        let users = Users::start(&lab, &["192.0.2.50", "192.0.2.11", "2001:db8::11"]);
        let mut config = config();
        config.data.push("192.0.2.51/24");
        let mut daemon = Daemon::start(host, &config.to_string());
        let one = |address: &str| {
            wait_for(&format!("{address} on a member in our form"), LIMIT, || {
                let forms = forms(host, address);
                let whole = if address.contains(':') { 128 } else { 32 };
                let ours = forms.len() == 1
                    && [0, 1].iter().any(|n| forms[0] == format!("{address}/{whole} eth{n}"));
                if ours { Ok(()) } else { Err((forms, daemon.log_text())) }
            });
        };
        ["192.0.2.50", "192.0.2.51", "2001:db8::50"].into_iter().for_each(one);
        wait_forms(&daemon, host, "192.0.2.11", &["192.0.2.11/32 eth0"]);
        wait_forms(&daemon, host, "2001:db8::11", &["2001:db8::11/128 eth0"]);
        wait_forms(&daemon, host, "192.0.2.60", &["192.0.2.60/24 eth2"]);
        assert_eq!(host.read_sysctl("ipv4/conf/eth2/promote_secondaries"), "0");
        let metrics: Vec<_> = routes_v4(host)
            .into_iter()
            .filter(|it| it.dst == "default")
            .map(|it| it.metric)
            .collect();
        assert_eq!(metrics, [Some(5)], "the default route by eth2 went with its address");
        users.wait_answered();

        // Typed in a session to 192.0.2.50, `release` cuts nobody off by accident.
        assert_eq!(daemon.stop().code(), Some(0));
        let session = "SSH_CONNECTION=192.0.2.100 40000 192.0.2.50 22";
        let release = |arguments: &[&str]| {
            let program = bin_dir().join("mpathd");
            let program = program.to_str().expect("UTF-8");
            let line = ["MPATHD_RUN_DIR=/run/mpathd", session, program, "release"];
            host.output("env", &[&line[..], arguments].concat())
        };
        let before = state_of(host);
        let refused = release(&[]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("192.0.2.50"), "{refused:?}");
        let dry = release(&["--keep-on", "eth1", "--dry-run"]);
        let said = String::from_utf8_lossy(&dry.stdout).into_owned();
        assert!(said.contains("would: 192.0.2.50/24 on eth2, as it was, now on eth1"), "{said}");
        assert_eq!(state_of(host), before);

        let released = release(&["--keep-on", "eth1"]);
        assert!(released.status.success(), "{released:?}");
        assert_eq!(forms(host, "192.0.2.50"), ["192.0.2.50/24 eth1"]);
        // On `lo` it is nobody's on the LAN: there it is again, and eth1 has it as it is configured.
        assert_eq!(forms(host, "192.0.2.51"), ["192.0.2.51/24 eth1"]);
        assert!(on_lo(host).contains(&"192.0.2.51/32".to_owned()), "{:?}", on_lo(host));
        assert_eq!(forms(host, "192.0.2.11"), ["192.0.2.11/24 eth0"]);
        assert_eq!(forms(host, "2001:db8::11"), ["2001:db8::11/64 eth0"]);
        users.check();
    });
}

/// Routes that stand at one key, and copies of an address on `lo` and on another NIC, are all remembered:
/// `release` and a reload that takes them out of the configuration leave the host as it was.
#[test]
fn all_routes_of_a_key_and_all_copies_of_an_address_come_back() {
    isolated(|| {
        let lab = Lab::builder().nics(3).build();
        let host = lab.host();
        // What is given back comes behind other addresses of its subnet.
        host.ip("address add 192.0.2.60/24 broadcast + dev eth0
            address add 192.0.2.50/24 broadcast + dev eth0
            address add 192.0.2.50/32 dev lo
            address add 192.0.2.50/24 broadcast + noprefixroute dev eth2
            route add 203.0.113.0/24 via 192.0.2.2 dev eth0 metric 100 src 192.0.2.50
            route append 203.0.113.0/24 via 192.0.2.2 dev eth0 metric 100 src 192.0.2.60
            route add 198.51.100.0/24 via 192.0.2.2 dev eth0 metric 5 src 192.0.2.60
            route append 198.51.100.0/24 via 192.0.2.2 dev eth0 metric 5 src 192.0.2.50
        ");
        let whole = |host: &NetNs| {
            let mut addresses = all_addrs(host);
            addresses.retain(|it| it.info.local.is_ipv4());
            (addresses, routes_v4(host))
        };
        let before = whole(host);
        let mut config = config();
        config.data = vec!["192.0.2.50/24"];
        config.routes = vec![("203.0.113.0/24", "192.0.2.2"), ("198.51.100.0/24", "192.0.2.2")];
        let mut daemon = Daemon::start(host, &config.to_string());
        let ours = |daemon: &Daemon| {
            wait_forms(daemon, host, "192.0.2.50", &["192.0.2.50/32 eth0"]);
            wait_for("routes of ours alone", LIMIT, || {
                let routes = routes_v4(host);
                let of_others: Vec<_> = routes
                    .iter()
                    .filter(|it| it.dst == "203.0.113.0/24" && it.protocol != "109")
                    .collect();
                let on_lo = on_lo(host).contains(&"192.0.2.50/32".to_owned());
                let done = of_others.is_empty() && !on_lo;
                if done { Ok(()) } else { Err((format!("{routes:?}"), daemon.log_text())) }
            });
        };
        ours(&daemon);
        assert_eq!(daemon.stop().code(), Some(0));
        let released = daemon.mpathd(&["release", "--keep-on", "eth0"]);
        assert!(released.status.success(), "{released:?}");
        assert_eq!(sorted(whole(host)), sorted(before.clone()), "{released:?}");

        daemon.restart();
        ours(&daemon);
        daemon.configure("");
        let reloaded = daemon.mpathd(&["reload"]);
        assert!(reloaded.status.success(), "{reloaded:?}");
        assert_eq!(sorted(whole(host)), sorted(before), "{}", daemon.log_text());
    });
}

/// Of different devices the order says nothing; of routes at one key the first is the one that is used.
fn sorted((addresses, routes): (Vec<Address>, Vec<Route>)) -> (Vec<String>, Vec<Route>) {
    let text = |it: &Address| {
        let info = &it.info;
        format!("{} {}/{} {}", it.ifname, info.local, info.prefixlen, info.scope)
    };
    let mut addresses: Vec<_> = addresses.iter().map(text).collect();
    addresses.sort();
    (addresses, routes)
}
