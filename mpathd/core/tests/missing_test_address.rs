//! Nothing is probed from an address that is not there.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::event::Event;
use mpathd_core::request::Request;

const FDT: Duration = Duration::from_millis(600);
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 99];

/// Another host claims the test address, and meanwhile it is removed and cannot be set again: when the
/// claim is over, the address still does not exist.
#[test]
fn the_end_of_an_address_conflict_does_not_bring_back_an_address_that_was_removed() {
    let mut lan = Lan::settled(group(2, 1, FDT));
    let (ifindex, address) = (lan.nics[&name(0)].link.ifindex, ip(&["192.0.2.11"])[0]);
    lan.refuse = |request| matches!(request, Request::SetAddress { .. }).then_some(1);
    lan.post(Duration::ZERO, Event::Claimed { ifindex, address, mac: STRANGER });
    lan.run(MS);
    lan.steal("192.0.2.11");
    lan.run(120 * S);
    let test = |lan: &Lan| {
        let view = lan.view();
        view.instances.iter().find(|row| row.interface == name(0)).unwrap().test
    };
    assert_eq!(test(&lan), None, "{:#?}", lan.texts());
    lan.refuse = |_| None;
    lan.run(60 * S);
    assert_eq!(test(&lan), Some(address));
}
