//! How often the kernel is asked, and when: the transmit counter, routes without a way, and receive hooks
//! that are attached one after the other.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::Config;
use mpathd_core::message::Message;
use mpathd_core::request::Request;
use mpathd_core::state::Saved;

const FDT: Duration = Duration::from_millis(600);

fn count(lan: &Lan, of: fn(&Request) -> bool) -> usize {
    lan.requests.iter().filter(|(_, request)| of(request)).count()
}

#[test]
fn the_transmit_counter_is_read_once_in_an_interval() {
    let mut lan = Lan::settled(group(2, 1, FDT));
    lan.wire(0, Wire::Congested);
    lan.run(2 * FDT);
    let reads = count(&lan, |request| matches!(request, Request::CountTransmits { .. }));
    assert!((6..=14).contains(&reads), "{reads} in twelve intervals");
}

/// A request that takes as long as the failure detection time is worth no line, a longer one is.
#[test]
fn a_kernel_is_slow_when_it_takes_longer_than_the_fdt() {
    for (took, told) in [(FDT, 0), (FDT + MS, 1)] {
        let mut lan = Lan::settled(group(2, 1, FDT));
        lan.kernel = took;
        lan.steal("192.0.2.11");
        lan.run(5 * S);
        let slow = |message: &Message| matches!(message, Message::KernelSlow { .. });
        assert_eq!(lan.messages.iter().filter(|(_, it)| slow(it)).count(), told, "{took:?}");
    }
}

#[test]
fn no_route_is_set_while_no_member_has_a_link() {
    let mut lan = Lan::settled(group(2, 1, FDT));
    (0..2).for_each(|i| lan.carrier(i, false));
    lan.run(S);
    // As the kernel does: routes over a link that is down are removed.
    for key in std::mem::take(&mut lan.routes).into_keys() {
        lan.post(Duration::ZERO, mpathd_core::event::Event::RouteGone(key));
    }
    lan.requests.clear();
    lan.run(30 * S);
    assert_eq!(count(&lan, |request| matches!(request, Request::SetRoute(_))), 0);
    lan.carrier(1, true);
    lan.run(10 * S);
    lan.assert_at_rest();
    assert_eq!(lan.routes.len(), 2);
}

#[test]
fn a_group_is_not_settled_before_its_routes_are_set() {
    let mut lan = Lan::new(group(2, 1, FDT), Saved::default());
    lan.kernel = S;
    lan.survey();
    for _ in 0..100 {
        lan.run(S / 10);
        assert!(lan.routes.len() == 2 || !lan.view().settled, "{:#?}", lan.routes);
    }
    lan.assert_at_rest();
}

/// Attaching can reset a link; one FDT, at most a second, is given to the first one to prove itself.
#[test]
fn the_second_hook_waits_a_second_for_replies_to_the_first() {
    let config = Config { groups: vec![group(2, 1, 12 * S)] };
    let mut lan = Lan::bare(config, Saved::default(), 7);
    (0..2).for_each(|i| lan.plug(name(i), 2 + i as u32));
    // No target is there to answer.
    lan.survey();
    lan.run(20 * S);
    let is_attach = |request: &Request| matches!(request, Request::Attach { .. });
    let attached = lan.requests.iter().filter(|(_, request)| is_attach(request));
    let [first, second] = attached.map(|(at, _)| *at).collect::<Vec<_>>()[..] else {
        panic!("{:#?}", lan.requests)
    };
    let gap = second.since(first);
    assert!((S..=S * 11 / 10).contains(&gap), "{gap:?}");
}
