//! One family of an interface: whether the interface takes its addresses, and what is said of it.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::event::Event;
use mpathd_core::ids::Family;
use mpathd_core::message::Message;

const FDT: Duration = Duration::from_millis(600);

fn takes_inet6(lan: &mut Lan, i: usize, plumbed: bool) {
    let ifindex = lan.nics[&name(i)].link.ifindex;
    lan.post(Duration::ZERO, Event::Plumbed { ifindex, family: Family::Inet6, plumbed });
    lan.run(MS);
}

fn said(lan: &Lan, of: fn(&Message) -> bool) -> usize {
    lan.messages.iter().filter(|(_, message)| of(message)).count()
}

#[test]
fn a_family_that_no_address_needs_may_be_off_without_a_word() {
    let mut lan = Lan::settled(group(2, 2, FDT));
    takes_inet6(&mut lan, 0, false);
    takes_inet6(&mut lan, 0, true);
    assert!(lan.texts().is_empty(), "{:#?}", lan.texts());

    let mut lan = Lan::settled(dual_stack(group(2, 2, FDT)));
    takes_inet6(&mut lan, 0, false);
    assert_eq!(said(&lan, |it| matches!(it, Message::NotPlumbed { .. })), 1, "{:#?}", lan.texts());
    takes_inet6(&mut lan, 0, true);
    assert_eq!(said(&lan, |it| matches!(it, Message::Consistent { .. })), 1, "{:#?}", lan.texts());
}

/// With IPv6 the kernel removes all its addresses from the interface.
#[test]
fn addresses_that_go_with_their_family_were_removed_by_nobody() {
    let mut lan = Lan::settled(dual_stack(group(2, 1, FDT)));
    let test = ip(&["2001:db8::11"])[0];
    let ifindex = lan.nics[&name(0)].link.ifindex;
    lan.take_away(ifindex, test);
    takes_inet6(&mut lan, 0, false);
    lan.run(5 * S);
    assert!(!lan.addresses.contains(&(ifindex, test)));
    takes_inet6(&mut lan, 0, true);
    lan.run(5 * S);
    assert!(lan.addresses.contains(&(ifindex, test)));
    assert_eq!(said(&lan, |it| matches!(it, Message::Drift { .. })), 0, "{:#?}", lan.texts());
}

#[test]
fn interfaces_that_come_back_after_a_group_failure_say_so_once() {
    let mut lan = Lan::settled(dual_stack(group(2, 2, FDT)));
    (0..2).for_each(|i| lan.wire(i, Wire::Cut));
    lan.run(5 * S);
    (0..2).for_each(|i| lan.wire(i, Wire::Works));
    lan.run(5 * S);
    assert_eq!(said(&lan, |it| matches!(it, Message::InterfaceRepaired { .. })), 2);
    assert_eq!(said(&lan, |it| matches!(it, Message::FamilyRepaired { .. })), 0);
}
