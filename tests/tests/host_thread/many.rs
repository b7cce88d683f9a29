//! What moves together: many addresses, many routes by one gateway.

use std::collections::BTreeSet;

use mpathd_core::request::{Request, Role};
use mpathd_tests::capture::{Capture, Content};
use mpathd_tests::observe::{Route, routes_v4, routes_v6};
use mpathd_tests::{Lab, isolated, wait_for};

use crate::driver::{DATA, DATA6, Host, LIMIT, Options, ip, key, settings};

const SRC: &str = "192.0.2.50";
const SRC6: &str = "2001:db8::50";
const GATEWAY: &str = "192.0.2.1";
const GATEWAY6: &str = "2001:db8::1";
const MANY: usize = 40;

fn destinations(v6: bool) -> Vec<String> {
    let one =
        |n: usize| if v6 { format!("2001:db8:f:{n:x}::/64") } else { format!("10.0.{n}.0/24") };
    (1..=MANY).map(one).collect()
}

/// With the data addresses, and routes by a gateway configured to many destinations.
fn start(lab: &Lab) -> Host {
    let mut settings = settings();
    for (v6, via) in [(false, GATEWAY), (true, GATEWAY6)] {
        settings.gateways.extend(destinations(v6).iter().map(|to| (key(to), ip(via))));
    }
    settings.routes.extend(settings.gateways.keys());
    settings.busy_gateways.extend([GATEWAY, GATEWAY6].map(ip));
    let mut host = Host::with(lab.host(), Options { settings, ..Options::default() });
    host.must(host.set("eth0", DATA, Role::Data, None));
    host.must(host.set("eth1", "192.0.2.12/24", Role::Test, None));
    host.must(host.set("eth0", DATA6, Role::Data, None));
    host
}

fn to_all(host: &Host, hops: &[&str]) -> Vec<Request> {
    let mut all = vec![
        host.route("192.0.2.0/24", None, SRC, hops),
        host.route("2001:db8::/64", None, SRC6, hops),
    ];
    all.extend(destinations(false).iter().map(|to| host.route(to, Some(GATEWAY), SRC, hops)));
    all.extend(destinations(true).iter().map(|to| host.route(to, Some(GATEWAY6), SRC6, hops)));
    all
}

/// Those to many destinations, of one family, by gateway.
fn many(lab: &Lab, v6: bool) -> Vec<Route> {
    let all = if v6 { routes_v6(lab.host()) } else { routes_v4(lab.host()) };
    let wanted: BTreeSet<String> = destinations(v6).into_iter().collect();
    all.into_iter().filter(|route| wanted.contains(&route.dst)).collect()
}

fn devices(route: &Route) -> Vec<String> {
    let hops: Vec<_> = route.nexthops.iter().map(|hop| hop.dev.clone()).collect();
    if hops.is_empty() { route.dev.clone().into_iter().collect() } else { hops }
}

/// `ip nexthop`: number and the rest of each group.
fn groups(lab: &Lab) -> Vec<String> {
    let text = lab.host().expect("ip", &["-N", "nexthop", "show"]);
    text.lines().filter(|line| line.contains(" group ")).map(str::to_owned).collect()
}

#[test]
fn many_routes_by_one_gateway_move_as_one() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        let number = |group: &String| group.split(' ').nth(1).map(str::to_owned);
        let mut numbers: Option<Vec<_>> = None;
        for hops in [&["eth0"][..], &["eth0", "eth1"], &["eth1"]] {
            let requests = to_all(&host, hops);
            host.must_all(&requests);
            for v6 in [false, true] {
                let routes = many(&lab, v6);
                assert_eq!(routes.len(), MANY);
                for route in routes {
                    assert_eq!(devices(&route), hops, "{route:?}");
                    let source = if v6 { SRC6 } else { SRC };
                    assert_eq!(route.prefsrc, Some(ip(source)));
                }
            }
            // One for each family's gateway, and one for the IPv6 subnet; replaced in place.
            let groups = groups(&lab);
            assert_eq!(groups.len(), 3, "{groups:#?}");
            let now: Vec<_> = groups.iter().map(number).collect();
            assert_eq!(numbers.get_or_insert_with(|| now.clone()), &now);
        }
    });
}

#[test]
fn one_of_many_leaves_the_others_where_they_are() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = start(&lab);
        let requests = to_all(&host, &["eth0"]);
        host.must_all(&requests);
        // The kernel takes no gateway over a device that it cannot be reached by.
        host.must(host.route("2001:db8::/64", None, SRC6, &["eth0", "eth1"]));
        let (one, one6) = (&destinations(false)[7], &destinations(true)[7]);
        host.must(host.route(one, Some(GATEWAY), SRC, &["eth1"]));
        host.must(host.route(one6, Some(GATEWAY6), SRC6, &["eth1"]));
        for (v6, one) in [(false, one), (true, one6)] {
            for route in many(&lab, v6) {
                let expected = if route.dst == *one { "eth1" } else { "eth0" };
                assert_eq!(devices(&route), [expected], "{route:?}");
            }
        }
        // And back to them: what nobody uses any more is swept.
        let requests = to_all(&host, &["eth1"]);
        host.must_all(&requests);
        for v6 in [false, true] {
            assert!(many(&lab, v6).iter().all(|route| devices(route) == ["eth1"]));
        }
        let all = [destinations(false), destinations(true)].concat();
        let subnets = ["192.0.2.0/24", "2001:db8::/64"].map(str::to_owned);
        let gone = all.iter().chain(&subnets).map(|to| Request::UnsetRoute(key(to)));
        host.must_all(&gone.collect::<Vec<_>>());
        wait_for("no next-hop object to be left", LIMIT, || {
            let left = lab.host().expect("ip", &["nexthop", "show"]);
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    });
}

#[test]
fn all_are_announced_before_any_gateway_is_asked() {
    isolated(|| {
        let lab = Lab::builder().build();
        let mut host = Host::start(lab.host());
        let port = Capture::start(lab.lan(), "sw0");
        let addresses: Vec<String> = (1..=40).map(|n| format!("192.0.2.{}/24", 150 + n)).collect();
        let peers = [GATEWAY, "192.0.2.2"];
        let set = |address: &String| host.set("eth0", address, Role::Data, Some(&peers));
        let requests: Vec<Request> = addresses.iter().map(set).collect();
        host.must_all(&requests);
        let asks = |content: &Content| match *content {
            Content::Arp { request: true, sender, target, .. } if sender != target => Some(sender),
            _ => None,
        };
        let frames = wait_for("both peers to be asked for each", LIMIT, || {
            let frames = port.frames();
            let asked = frames.iter().filter(|it| it.from_device && asks(&it.content).is_some());
            if asked.count() >= 80 { Ok(frames) } else { Err(frames.len()) }
        });
        let asked = frames.iter().position(|it| it.from_device && asks(&it.content).is_some());
        let first = frames.iter().take(asked.unwrap_or(0)).filter(|it| it.from_device);
        let told: BTreeSet<_> = first
            .filter_map(|it| match it.content {
                Content::Arp { sender, target, .. } if sender == target => Some(sender),
                _ => None,
            })
            .collect();
        assert_eq!(told.len(), 40, "announced before the first gateway was asked: {told:?}");
    });
}
