//! A member that is down when it appears is set up once; later an administrator decides.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::config::Config;
use mpathd_core::request::Request;
use mpathd_core::state::Saved;

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
