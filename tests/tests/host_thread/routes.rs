//! Routes: ours are replaced in one step, somebody else's never, and silent losses are found.

use std::net::SocketAddr;
use std::time::Duration;

use mpathd_core::event::{Errno, Event, ObservedRoute};
use mpathd_core::ids::Family;
use mpathd_core::request::{Request, Role};
use mpathd_tests::observe::{Route, routes_v4, routes_v6};
use mpathd_tests::traffic::{EchoServer, Stream};
use mpathd_tests::{Lab, NetNs, isolated, wait_for};

use crate::driver::{DATA, DATA6, Host, LIMIT, Options, ip, key};

const SUBNET: &str = "192.0.2.0/24";
const SUBNET6: &str = "2001:db8::/64";
const SRC: &str = "192.0.2.50";
const SRC6: &str = "2001:db8::50";

fn start(lab: &Lab) -> Host {
    start_with(lab, Options::default())
}

fn start_with(lab: &Lab, options: Options) -> Host {
    let mut host = Host::with(lab.host(), options);
    host.must(host.set("eth0", DATA, Role::Data, None));
    host.must(host.set("eth1", "192.0.2.12/24", Role::Test, None));
    host.must(host.set("eth0", DATA6, Role::Data, None));
    host
}

fn ours(routes: Vec<Route>) -> Vec<Route> {
    routes.into_iter().filter(|route| route.protocol == "109").collect()
}

fn devices(route: &Route) -> Vec<String> {
    let hops: Vec<_> = route.nexthops.iter().map(|hop| hop.dev.clone()).collect();
    if hops.is_empty() { route.dev.clone().into_iter().collect() } else { hops }
}

fn observed(host: &mut Host, to: &str, fits: impl Fn(&ObservedRoute) -> bool) -> ObservedRoute {
    let wanted = key(to);
    let found = host.expect(to, |e| matches!(e, Event::Route(r) if r.key == wanted && fits(r)));
    match found {
        Event::Route(route) => route,
        other => unreachable!("{other:?}"),
    }
}

fn nexthops(namespace: &NetNs) -> Vec<String> {
    let text = namespace.expect("ip", &["-N", "nexthop", "show"]);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn ipv4_by_one_and_by_several() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        for hops in [&["eth0"][..], &["eth0", "eth1"], &["eth1"]] {
            host.must(host.route(SUBNET, None, SRC, hops));
            let routes = ours(routes_v4(lab.host()));
            assert_eq!(routes.len(), 1, "{routes:#?}");
            assert_eq!(devices(&routes[0]), hops);
            assert_eq!(routes[0].prefsrc, Some(ip(SRC)));
            assert_eq!(routes[0].metric, Some(5));
            let wanted = host.hops(hops);
            let seen = observed(&mut host, SUBNET, |r| r.hops == wanted);
            assert_eq!((seen.ours, seen.src, seen.via), (true, Some(ip(SRC)), None));
        }
        host.must(host.route("0.0.0.0/0", Some("192.0.2.1"), SRC, &["eth0", "eth1"]));
        let seen = observed(&mut host, "0.0.0.0/0", |_| true);
        assert_eq!((seen.via, seen.hops), (Some(ip("192.0.2.1")), host.hops(&["eth0", "eth1"])));
        for to in ["0.0.0.0/0", SUBNET, SUBNET] {
            host.must(Request::UnsetRoute(key(to)));
        }
        assert_eq!(ours(routes_v4(lab.host())), []);
    });
}

#[test]
fn gateways_of_all_tables_are_told() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        host.must(host.route(SUBNET, None, SRC, &["eth0"]));
        let add = ["route", "add", "default", "via", "192.0.2.3", "table", "77"];
        lab.host().expect("ip", &add);
        let has = |gateway: &'static str| move |e: &Event| matches!(e, Event::Gateways(g) if g.iter().any(|g| g.address == ip(gateway)));
        host.expect("the gateway", has("192.0.2.3"));
        // An address of this host answers whatever the NIC does: it is no target.
        let none =
            |e: &Event| matches!(e, Event::Gateways(g) if g.family == Family::Inet && g.is_empty());
        lab.host().expect("ip", &["address", "add", "192.0.2.3/32", "dev", "eth1"]);
        host.expect("no gateway while it is our own", none);
        lab.host().expect("ip", &["address", "del", "192.0.2.3/32", "dev", "eth1"]);
        host.expect("the gateway again", has("192.0.2.3"));
        lab.host().expect("ip", &["route", "del", "default", "table", "77"]);
        host.expect("no gateway", none);
    });
}

#[test]
fn somebody_elses_route_is_never_replaced() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        host.must(host.route(SUBNET, None, SRC, &["eth0"]));
        let foreign =
            ["route", "add", "default", "via", "192.0.2.3", "metric", "5", "proto", "dhcp"];
        lab.host().expect("ip", &foreign);
        let foreign6 = ["-6", "route", "add", "2001:db8::/64", "dev", "eth1", "metric", "5"];
        lab.host().expect("ip", &foreign6);
        host.refuses(host.route("0.0.0.0/0", Some("192.0.2.1"), SRC, &["eth0"]), libc::EEXIST);
        host.refuses(host.route(SUBNET6, None, SRC6, &["eth0"]), libc::EEXIST);
        host.must(Request::UnsetRoute(key("0.0.0.0/0")));
        host.must(Request::UnsetRoute(key(SUBNET6)));
        let all = routes_v4(lab.host());
        let default = all.iter().find(|r| r.dst == "default").expect("it stands");
        assert_eq!(default.gateway, Some(ip("192.0.2.3")));
        let all = routes_v6(lab.host());
        assert!(
            all.iter().any(|r| r.dst == SUBNET6 && r.dev.as_deref() == Some("eth1")),
            "{all:#?}"
        );
        assert!(!observed(&mut host, "0.0.0.0/0", |_| true).ours);
    });
}

#[test]
fn a_route_that_goes_without_notice_is_missed() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        host.must(host.route(SUBNET, None, SRC, &["eth1"]));
        host.must(host.route(SUBNET6, None, SRC6, &["eth0", "eth1"]));
        host.forget();
        lab.host().expect("ip", &["link", "set", "eth1", "down"]);
        host.expect("its end", |e| *e == Event::RouteGone(key(SUBNET)));
        lab.host().expect("ip", &["link", "set", "eth1", "up"]);
        host.must(host.route(SUBNET, None, SRC, &["eth0", "eth1"]));
        let both = host.hops(&["eth0", "eth1"]);
        host.must(host.route(SUBNET6, None, SRC6, &["eth0", "eth1"]));
        observed(&mut host, SUBNET6, |r| r.hops == both);
        host.forget();
        // Carrier: the IPv4 hop is marked, the IPv6 one drops out of its group.
        lab.carrier(1, false);
        let left = host.hops(&["eth0"]);
        let mut missing = vec![SUBNET, SUBNET6];
        wait_for("both to lose a hop", LIMIT, || {
            host.listen();
            for event in host.events.drain(..) {
                if let Event::Route(route) = event {
                    missing.retain(|to| route.key != key(to) || route.hops != left);
                }
            }
            if missing.is_empty() { Ok(()) } else { Err(missing.clone()) }
        });
    });
}

/// What `command` changes is told behind more notices than fit, and none of them is read.
fn change_unseen(host: &mut Host, lab: &Lab, command: &str) {
    let flood = |verb: &str| -> String {
        (0..100).map(|n| format!("address {verb} 10.7.0.{n}/32 dev eth1\n")).collect()
    };
    let lines = flood("add") + command + &flood("del");
    host.deaf_while(|| lab.host().ip(&lines));
    host.listen();
    let is_told = |e: &&Event| matches!(e, Event::Address(_) | Event::AddressGone { .. });
    let told = host.events.iter().find(is_told);
    assert_eq!(told, None, "it has read notices: the test shows nothing");
}

/// N17: one that the kernel refuses for what was not seen is asked for again after a look at the tables; and
/// where its source has gone, the engine hears of that first.
#[test]
fn a_refusal_is_believed_only_after_a_look_at_the_tables() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start_with(&lab, Options { notices: 4096, ..Options::default() });
        let stranger = format!("route add {SUBNET} dev eth1 metric 5 proto 109 src {SRC}\n");
        change_unseen(&mut host, &lab, &stranger);
        host.must(host.route(SUBNET, None, SRC, &["eth0", "eth1"]));
        assert_eq!(devices(&ours(routes_v4(lab.host()))[0]), ["eth0", "eth1"]);

        change_unseen(&mut host, &lab, &format!("address del {SRC}/32 dev eth0\n"));
        let (eth0, source) = (host.ifindex("eth0"), ip(SRC));
        let request = host.begin(host.route(SUBNET, None, SRC, &["eth0"]));
        let refused = |e: &Event| matches!(e, Event::Done(done) if done.op == request);
        let gone = Event::AddressGone { ifindex: eth0, address: source };
        let first = host.expect("an answer", |e| refused(e) || *e == gone);
        assert_eq!(first, gone, "the engine does not know why it is refused");
        let answer = host.expect("the answer", refused);
        assert!(matches!(answer, Event::Done(done) if done.result == Err(Errno(libc::EINVAL))));
    });
}

#[test]
fn ipv6_goes_through_a_group_that_is_swept_when_unused() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        for hops in [&["eth0"][..], &["eth0", "eth1"], &["eth1"], &["eth0", "eth1"]] {
            host.must(host.route(SUBNET6, None, SRC6, hops));
            let routes = ours(routes_v6(lab.host()));
            assert_eq!(routes.len(), 1, "{routes:#?}");
            assert_eq!(devices(&routes[0]), hops);
            assert_eq!(routes[0].prefsrc, Some(ip(SRC6)));
            let wanted = host.hops(hops);
            observed(&mut host, SUBNET6, |r| r.ours && r.hops == wanted);
        }
        host.must(host.route("::/0", Some("2001:db8::1"), SRC6, &["eth0", "eth1"]));
        let seen = observed(&mut host, "::/0", |_| true);
        assert_eq!(seen.via, Some(ip("2001:db8::1")));
        lab.host().expect("ip", &["nexthop", "add", "id", "9", "dev", "eth0"]);
        host.must(Request::UnsetRoute(key("::/0")));
        host.must(Request::UnsetRoute(key(SUBNET6)));
        assert_eq!(ours(routes_v6(lab.host())), []);
        wait_for("only somebody else's object to be left", LIMIT, || {
            let left = nexthops(lab.host());
            if left.len() == 1 && left[0].starts_with("id 9 ") { Ok(()) } else { Err(left) }
        });
    });
}

#[test]
fn replacing_ipv6_hops_interrupts_nothing() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        host.must(host.set("eth1", "2001:db8::12/64", Role::Test, None));
        let server = EchoServer::start(lab.client(), 7007);
        let to = SocketAddr::new(ip("2001:db8::100"), server.port());
        // A new NIC asks for no neighbour before its link-local address is usable, about a second.
        for hop in ["eth1", "eth0"] {
            host.must(host.route(SUBNET6, None, SRC6, &[hop]));
            Stream::udp(lab.host(), to, Duration::from_millis(10)).wait_answered(0, LIMIT);
        }
        let stream = Stream::udp(lab.host(), to, Duration::from_micros(500));
        stream.wait_answered(0, LIMIT);
        let mut slowest = Duration::ZERO;
        let rounds: usize = 600;
        for round in 0..rounds {
            let hops = [&["eth0"][..], &["eth0", "eth1"], &["eth1"]][round % 3];
            let done = host.ask(host.route(SUBNET6, None, SRC6, hops));
            assert_eq!(done.result, Ok(()));
            slowest = slowest.max(done.ran);
        }
        let report = stream.finish(Duration::from_secs(2));
        let lost = report.unanswered();
        println!("{} sent, {lost} lost, slowest replacement {slowest:?}", report.sent);
        assert!(report.sent > 100, "the stream ran beside the replacements");
        assert_eq!((report.refused, &report.broken), (0, &None));
        // The kernel drops a packet that is between its lookup and its device in that very moment.
        assert!(lost * 50 <= rounds as u64, "{lost} lost");
    });
}
