//! What somebody else has set, as the engine sees it: taken over when ours stands, where it stands, and never fought
//! over at the price of a failover (contract, Take-over; design 5, Drift).

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::event::{Event, Hops, ObservedRoute, RouteKey};
use mpathd_core::request::{Request, Role};
use mpathd_core::state::Saved;
use mpathd_core::view::InterfaceState;

fn foreign(lan: &Lan, address: &str, on: &[usize]) -> Event {
    let hops: Hops = on.iter().map(|i| lan.nics[&name(*i)].link.ifindex).collect();
    Event::Foreign { address: address.parse().unwrap(), on: hops }
}

/// Requests so far that concern an address or the routes, in order.
fn requests(lan: &Lan, address: &str) -> Vec<String> {
    let ip: std::net::IpAddr = address.parse().unwrap();
    let word = |request: &Request| match request {
        Request::SetAddress { name, address, .. } if address.address == ip => {
            Some(format!("set {name}"))
        }
        Request::UnsetAddress { name, address, .. } if address.address == ip => {
            Some(format!("unset {name}"))
        }
        Request::TakeAddress(address) if *address == ip => Some("take".to_owned()),
        Request::SetRoute(_) => Some("route".to_owned()),
        Request::TakeRoutes(_) => Some("take routes".to_owned()),
        _ => None,
    };
    lan.requests.iter().filter_map(|(_, request)| word(request)).collect()
}

#[test]
fn an_address_of_somebody_else_is_taken_where_it_stands_and_when_ours_does() {
    for at in [0, 1] {
        let mut lan = Lan::new(group(2, 1, 100 * MS), Saved::default());
        let event = foreign(&lan, "192.0.2.50", &[at]);
        lan.post(Duration::ZERO, event);
        lan.survey();
        lan.run(3 * S);
        let order = requests(&lan, "192.0.2.50");
        assert_eq!(order[0], format!("set {}", name(at)), "there the traffic is");
        let (route, take) = ("route".to_owned(), "take".to_owned());
        let first = |what| order.iter().position(|it| *it == what).expect("it is asked for");
        assert!(first(route) < first(take), "{order:?}");
        lan.assert_at_rest();
        assert_eq!(lan.holders("192.0.2.50"), [at], "it stays");
    }
}

/// With the last address of a NIC the kernel drops the routes over it: those of somebody else are taken while they
/// can be remembered, and ours stand first.
#[test]
fn routes_are_taken_before_addresses_and_addresses_when_all_of_ours_stands() {
    let mut lan = Lan::new(group(2, 1, 100 * MS), Saved::default());
    // Each step shows by itself.
    lan.kernel = 20 * MS;
    let key = RouteKey { table: 254, to: "0.0.0.0/0".parse().unwrap(), metric: 5 };
    lan.post(Duration::ZERO, Event::Rivals { key, stand: true });
    for address in ["192.0.2.50", "192.0.2.11"] {
        let event = foreign(&lan, address, &[0]);
        lan.post(Duration::ZERO, event);
    }
    lan.survey();
    lan.run(3 * S);
    for address in ["192.0.2.50", "192.0.2.11"] {
        let order = requests(&lan, address);
        let steps: Vec<_> = order.iter().map(String::as_str).collect();
        let first = |what| steps.iter().position(|it| *it == what).expect("it is asked for");
        let last_route = steps.iter().rposition(|it| *it == "route").expect("two are set");
        assert!(first("set eth0") < first("take"), "{order:?}");
        assert!(last_route < first("take routes"), "{order:?}");
        assert!(first("take routes") < first("take"), "{order:?}");
    }
    lan.assert_at_rest();
}

/// The routes of its subnet go with it, so it goes last; and never where something of ours is refused.
#[test]
fn a_test_address_is_taken_when_addresses_and_routes_of_ours_stand() {
    type Refuses = fn(&Request) -> Option<i32>;
    let no_test: Refuses =
        |r| matches!(r, Request::SetAddress { role: Role::Test, .. }).then_some(12);
    let no_data: Refuses =
        |r| matches!(r, Request::SetAddress { role: Role::Data, .. }).then_some(12);
    let with = |refuse: Refuses| {
        let mut lan = Lan::new(group(2, 1, 100 * MS), Saved::default());
        (lan.kernel, lan.refuse) = (20 * MS, refuse);
        let event = foreign(&lan, "192.0.2.11", &[0]);
        lan.post(Duration::ZERO, event);
        lan.survey();
        lan.run(3 * S);
        lan
    };
    let lan = with(|_| None);
    let when = |is_it: fn(&Request) -> bool| {
        let mut asked = lan.requests.iter().filter(|(_, request)| is_it(request));
        asked.next_back().expect("it is asked for").0
    };
    let route = when(|request| matches!(request, Request::SetRoute(_)));
    let take = when(|request| matches!(request, Request::TakeAddress(_)));
    assert!(take >= route + lan.kernel, "{:#?}", lan.requests);
    for refuses in [no_test, no_data] {
        let order = requests(&with(refuses), "192.0.2.11");
        assert!(!order.contains(&"take".to_owned()), "{order:?}");
    }
}

/// The other one stays where ours can't stand.
#[test]
fn routes_are_left_where_ours_is_refused() {
    let mut lan = Lan::new(group(2, 1, 100 * MS), Saved::default());
    lan.survey();
    lan.run(3 * S);
    let key = *lan.routes.keys().next_back().expect("two stand");
    let theirs = ObservedRoute { ours: false, ..lan.routes[&key] };
    lan.routes.insert(key, theirs);
    lan.post(Duration::ZERO, Event::Route(theirs));
    lan.post(Duration::ZERO, Event::Rivals { key, stand: true });
    lan.run(30 * S);
    assert!(!requests(&lan, "192.0.2.50").contains(&"take routes".to_owned()));
}

/// O5: an address is not moved for the sake of balance to a NIC that has not shown that it works.
#[test]
fn addresses_stay_until_the_others_have_answered() {
    let mut lan = Lan::new(group(2, 2, 100 * MS), Saved::default());
    lan.wire(1, Wire::Cut);
    for address in ["192.0.2.50", "192.0.2.51"] {
        let event = foreign(&lan, address, &[0]);
        lan.post(Duration::ZERO, event);
    }
    lan.survey();
    lan.run(5 * S);
    assert_eq!(lan.holders("192.0.2.51"), [0]);
    lan.wire(1, Wire::Works);
    lan.run(5 * S);
    assert_eq!(lan.holders("192.0.2.51"), [1]);
}

#[test]
fn a_copy_that_comes_back_is_taken_three_times_at_once_then_after_longer_pauses() {
    let mut lan = Lan::settled(group(2, 1, 100 * MS));
    for pause in [S, S, S, S, 700 * MS] {
        let event = foreign(&lan, "192.0.2.50", &[1]);
        lan.post(Duration::ZERO, event);
        lan.run(pause);
    }
    let taken = |lan: &Lan| requests(lan, "192.0.2.50").iter().filter(|it| *it == "take").count();
    assert_eq!(taken(&lan), 1 + 3, "the first time it was no fight");
    lan.run(S);
    assert_eq!(taken(&lan), 1 + 3 + 1);
    let text = "192.0.2.50 was set by somebody else once more; it was taken away";
    assert_eq!(lan.told(text), 3);
    assert_eq!(lan.told(&format!("{text}; further repairs are delayed, by up to 10 s")), 1);
}

#[test]
fn a_failure_does_not_wait_for_a_fight() {
    let mut lan = Lan::settled(group(2, 2, 100 * MS));
    let key = *lan.routes.keys().next().expect("the route of the subnet");
    for _ in 0..4 {
        lan.routes.remove(&key);
        lan.post(Duration::ZERO, Event::RouteGone(key));
        lan.run(20 * MS);
    }
    assert!(!lan.routes.contains_key(&key), "it is held back");
    lan.wire(0, Wire::Cut);
    lan.run(S);
    let only: Hops = [lan.nics[&name(1)].link.ifindex].into_iter().collect();
    assert_eq!(lan.routes.get(&key).map(|route| route.hops), Some(only));
}

/// Another program renews a copy, whatever becomes of it: on a NIC that has just died it would lead all that
/// is sent to the subnet astray.
#[test]
fn a_copy_on_a_nic_that_dies_does_not_wait_for_a_fight() {
    let copies = |lan: &Lan| requests(lan, "192.0.2.50").iter().filter(|it| *it == "take").count();
    // On the NIC that has ours, and on the other one.
    for on in [0, 1] {
        let mut lan = Lan::settled(group(2, 1, 100 * MS));
        for pause in [S, S, S, S, 700 * MS] {
            let event = foreign(&lan, "192.0.2.50", &[on]);
            lan.post(Duration::ZERO, event);
            lan.run(pause);
        }
        let before = copies(&lan);
        lan.wire(on, Wire::Cut);
        lan.until(S, |l| l.view().interfaces[on].state == InterfaceState::Failed);
        lan.run(5 * MS);
        assert_eq!(copies(&lan), before + 1, "{on}: {:#?}", lan.requests);
        // Nor later, while that NIC is dead: but not without a pause.
        for nth in 0..20 {
            let event = foreign(&lan, "192.0.2.50", &[on]);
            lan.post(Duration::ZERO, event);
            lan.run(5 * MS);
            assert!(copies(&lan) <= before + 1 + nth);
            lan.run(115 * MS);
            assert_eq!(copies(&lan), before + 2 + nth, "{on} {nth}");
        }
        assert!(lan.texts().len() < 20, "{:#?}", lan.texts());
    }
}
