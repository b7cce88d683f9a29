//! A member that is down when it appears is set up once; later an administrator decides.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::Config;
use mpathd_core::request::Request;
use mpathd_core::state::Saved;
use mpathd_core::view::LinkState;

const FDT: Duration = Duration::from_millis(600);

fn set_up(lan: &Lan) -> usize {
    let sets_up = |request: &Request| matches!(request, Request::Prepare { set_up: true, .. });
    lan.requests.iter().filter(|(_, request)| sets_up(request)).count()
}

fn set_down(lan: &mut Lan, i: usize) {
    let mut link = lan.nics[&name(i)].link;
    (link.up, link.running) = (false, false);
    lan.link(link);
}

#[test]
fn a_member_that_is_down_when_it_appears_is_set_up_once() {
    let mut lan = Lan::bare(Config { groups: vec![group(2, 1, FDT)] }, Saved::default(), 7);
    lan.plug(name(0), 2);
    lan.plug_down(name(1), 3);
    lan.survey();
    lan.run(120 * S);
    assert_eq!(set_up(&lan), 1, "{:#?}", lan.requests);
}

/// It is given five seconds to get carrier, and is no failure meanwhile.
#[test]
fn a_member_that_has_no_carrier_after_it_was_set_up_is_reported() {
    let mut lan = Lan::bare(Config { groups: vec![group(2, 1, FDT)] }, Saved::default(), 7);
    lan.plug(name(0), 2);
    lan.plug_down(name(1), 3);
    lan.survey();
    let text = "The link has gone down on eth1";
    lan.run(4 * S);
    assert_eq!((lan.told(text), lan.view().interfaces[1].reason), (0, None));
    lan.run(2 * S);
    assert_eq!(lan.told(text), 1, "{:#?}", lan.texts());
    assert!(lan.view().interfaces[1].reason.is_some());

    let mut lan = Lan::bare(Config { groups: vec![group(2, 1, FDT)] }, Saved::default(), 7);
    lan.plug(name(0), 2);
    lan.plug_down(name(1), 3);
    lan.survey();
    lan.run(S);
    lan.carrier(1, true);
    lan.run(20 * S);
    assert_eq!((lan.told(text), lan.view().interfaces[1].reason), (0, None));
}

#[test]
fn a_member_that_an_administrator_sets_down_stays_down() {
    let mut lan = Lan::settled(group(2, 1, FDT));
    set_down(&mut lan, 0);
    lan.run(120 * S);
    let prepared = lan.requests.iter().filter(|(_, it)| matches!(it, Request::Prepare { .. }));
    assert!(prepared.count() > 4, "its sysctls are still compared");
    assert_eq!(set_up(&lan), 0, "{:#?}", lan.requests);
    assert!(lan.view().interfaces[0].down);
}

/// Some drivers report no carrier; then it is taken for granted while the interface is up.
#[test]
fn a_link_is_unknown_only_where_carrier_is_not_reported_and_the_interface_is_up() {
    let mut lan = Lan::settled(group(2, 1, FDT));
    let state = |lan: &Lan| lan.view().interfaces[0].link;
    assert_eq!(state(&lan), LinkState::Up);
    let mut link = lan.nics[&name(0)].link;
    link.reported = false;
    lan.link(link);
    lan.run(MS);
    assert_eq!(state(&lan), LinkState::Unknown);
    (link.up, link.running) = (false, false);
    lan.link(link);
    lan.run(MS);
    assert_eq!(state(&lan), LinkState::Down);
}
