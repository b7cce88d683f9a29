//! How addresses that leave a dead NIC are announced ahead of the kernel, and who sends for the dead
//! NIC: what repeated failures, leases and spares change.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::event::Event;
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::{Peers, Request};

const FDT: Duration = Duration::from_millis(100);
/// Each request waits so long for RTNL.
const BUSY: Duration = Duration::from_millis(80);
/// An egress redirect ends after this unless it is renewed.
const LEASE: Duration = Duration::from_secs(3);

fn settled(group: mpathd_core::config::Group, redirects: bool) -> Lan {
    let members = group.members.len();
    let mut lan = Lan::settled(group);
    for ifindex in (0..members).map(nic) {
        lan.post(Duration::ZERO, Event::Redirectable { ifindex, redirectable: redirects });
    }
    lan.run(MS);
    lan.kernel = BUSY;
    lan.heralds.clear();
    lan
}

fn nic(i: usize) -> Ifindex {
    Ifindex(2 + i as u32)
}

fn cut(lan: &mut Lan, i: usize) {
    lan.wire(i, Wire::Cut);
    let text = format!("IP interface failure detected on eth{i} of group g");
    let before = lan.told(&text);
    lan.until(20 * FDT, |lan| lan.told(&text) > before);
}

#[test]
fn a_second_failure_of_the_same_nic_is_announced_early_too() {
    let mut group = group(2, 1, FDT);
    group.members[1].standby = true;
    let mut lan = settled(group, false);
    for nth in 1..=2 {
        assert_eq!(lan.holders("192.0.2.50"), [0]);
        lan.heralds.clear();
        cut(&mut lan, 0);
        lan.run(BUSY / 2);
        assert_eq!(lan.heralds.len(), 1, "failure {nth}: {:#?}", lan.heralds);
        lan.run(60 * S);
        lan.wire(0, Wire::Works);
        lan.run(120 * S);
    }
}

#[test]
fn gateways_and_targets_are_addressed_early_only_where_traffic_is_redirected() {
    let mut lan = settled(group(2, 2, FDT), false);
    cut(&mut lan, 0);
    lan.run(BUSY / 2);
    let [(_, early)] = lan.heralds[..] else { panic!("{:#?}", lan.heralds) };
    assert_eq!(early.peers, Peers::default());

    let mut lan = settled(group(2, 2, FDT), true);
    cut(&mut lan, 0);
    lan.run(BUSY / 2);
    let [(_, early)] = lan.heralds[..] else { panic!("{:#?}", lan.heralds) };
    assert_ne!(early.peers, Peers::default());
}

#[test]
fn a_member_that_failback_set_aside_does_not_send_for_a_dead_one() {
    let mut group = group(4, 2, FDT);
    group.failback = false;
    group.members[2].standby = true;
    group.members[3].standby = true;
    let mut lan = settled(group, true);
    cut(&mut lan, 0);
    lan.run(10 * S);
    lan.wire(0, Wire::Works);
    lan.run(30 * S);
    assert!(lan.view().interfaces[0].inactive, "{:#?}", lan.view().interfaces);
    lan.redirects.clear();
    cut(&mut lan, 1);
    let of_dead = lan.redirects.iter().filter(|(_, it)| it.from == nic(1));
    let senders: Vec<_> = of_dead.filter_map(|(_, it)| it.to).collect();
    assert_eq!(senders[..1], [nic(2)], "{:#?}", lan.redirects);
    assert!(!senders.contains(&nic(0)), "{:#?}", lan.redirects);
}

#[test]
fn a_redirect_is_renewed_well_before_its_lease_ends() {
    let mut lan = settled(group(2, 2, FDT), true);
    lan.refuse = |request| matches!(request, Request::SetAddress { .. }).then_some(16);
    cut(&mut lan, 0);
    lan.run(10 * S);
    let stamps = lan.redirects.iter().filter(|(_, it)| it.family == Family::Inet);
    let stamps: Vec<_> = stamps.map(|(at, it)| (*at, it.until)).collect();
    assert!(stamps.len() > 3);
    for pair in stamps.windows(2) {
        let [(_, ends), (renewed, _)] = pair else { unreachable!() };
        assert!(*renewed + LEASE / 2 <= *ends, "renewed at {renewed:?}, ends at {ends:?}");
    }
}
