//! An address that is to leave a dead NIC is announced by the next one at the verdict, and waits for nothing.

mod lan;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lan::*;
use mpathd_core::event::Command;
use mpathd_core::ids::Ifindex;
use mpathd_core::time::Instant;
use mpathd_core::view::AddressView;

const FDT: Duration = Duration::from_millis(100);
/// A host where containers come and go: each request waits for RTNL.
const BUSY: Duration = Duration::from_millis(80);

fn settled(members: usize, data: usize) -> Lan {
    let mut lan = Lan::settled(dual_stack(group(members, data, FDT)));
    lan.kernel = BUSY;
    lan.heralds.clear();
    lan
}

fn nic(i: u32) -> Ifindex {
    Ifindex(2 + i)
}

/// Data addresses that stand on the NIC.
fn on(lan: &Lan, i: usize) -> Vec<IpAddr> {
    let of_nic = |it: &&AddressView| it.inbound == Some(name(i));
    lan.view().addresses.iter().filter(of_nic).map(|it| it.address.address).collect()
}

/// When the failure of the NIC was told.
fn failed(lan: &mut Lan, i: usize) -> Instant {
    let text = format!("IP interface failure detected on eth{i} of group g");
    lan.until(20 * FDT, |lan| lan.told(&text) > 0);
    lan.now
}

#[test]
fn all_that_is_to_leave_a_dead_nic_is_announced_before_the_kernel_has_set_it() {
    let mut lan = settled(2, 4);
    let on_eth0 = on(&lan, 0);
    lan.wire(0, Wire::Cut);
    let verdict = failed(&mut lan, 0);
    lan.run(BUSY - MS);
    assert_eq!(lan.heralds.len(), on_eth0.len(), "{:#?}", lan.heralds);
    for (at, herald) in &lan.heralds {
        assert!(on_eth0.contains(&herald.address), "{herald:?}");
        assert_eq!(herald.ifindex, nic(1));
        assert!(
            verdict.since(*at) <= FDT / 6,
            "one family is found dead a little before the other"
        );
    }
    assert_eq!(on(&lan, 1).len() + on_eth0.len(), 5, "none of them stands there yet");
    lan.run(60 * S);
    assert_eq!(lan.heralds.len(), on_eth0.len(), "each once");
    lan.wire(0, Wire::Works);
    lan.run(120 * S);
    assert_eq!(lan.heralds.len(), on_eth0.len(), "the way back is make before break");
}

#[test]
fn a_lost_link_and_a_dead_family_are_dead_too() {
    let mut lan = settled(2, 4);
    let on_eth0 = on(&lan, 0);
    lan.carrier(0, false);
    lan.run(MS);
    assert_eq!(lan.heralds.len(), on_eth0.len(), "{:#?}", lan.heralds);

    let mut lan = settled(2, 4);
    let v6_was_on = (0..2).find(|i| on(&lan, *i).iter().any(|a| a.is_ipv6())).unwrap();
    lan.deaf = Some((name(v6_was_on), true));
    lan.run(2 * FDT);
    let [(_, herald)] = lan.heralds[..] else { panic!("{:#?}", lan.heralds) };
    assert!(herald.address.is_ipv6() && herald.ifindex == nic(1 - v6_was_on as u32));
}

#[test]
fn a_nic_that_works_gives_its_addresses_away_unannounced() {
    let mut lan = settled(2, 4);
    assert!(lan.command(Command::Offline { interface: name(0) }));
    lan.run(10 * S);
    assert!(lan.heralds.is_empty(), "{:#?}", lan.heralds);
}

#[test]
fn who_is_to_have_it_next_and_dies_is_replaced() {
    let mut lan = settled(3, 3);
    lan.kernel = 60 * S;
    lan.wire(0, Wire::Cut);
    failed(&mut lan, 0);
    lan.wire(1, Wire::Cut);
    failed(&mut lan, 1);
    let last: BTreeMap<_, _> = lan.heralds.iter().map(|(_, it)| (it.address, it.ifindex)).collect();
    assert!(last.len() > 1 && last.values().all(|by| *by == nic(2)), "{last:?}");
}

#[test]
fn a_group_that_has_failed_as_a_whole_announces_nothing() {
    let mut lan = settled(2, 2);
    lan.wire(0, Wire::Cut);
    lan.wire(1, Wire::Cut);
    lan.run(2 * S);
    assert_eq!(lan.told("All IP interfaces in group g are now unusable"), 1);
    assert!(lan.heralds.is_empty(), "{:#?}", lan.heralds);
}

#[test]
fn many_follow_in_the_next_turns_so_that_rounds_do_not_wait() {
    let mut lan = settled(2, 80);
    let on_eth0 = on(&lan, 0);
    lan.wire(0, Wire::Cut);
    let verdict = failed(&mut lan, 0);
    lan.run(BUSY - MS);
    let mut by_turn = BTreeMap::<Instant, usize>::new();
    let of_v4 = lan.heralds.iter().filter(|(_, it)| it.address.is_ipv4());
    of_v4.for_each(|(at, _)| *by_turn.entry(*at).or_default() += 1);
    assert!(by_turn.values().all(|n| *n <= 8), "{by_turn:?}");
    assert_eq!(lan.heralds.len(), on_eth0.len());
    assert!(by_turn.keys().all(|at| at.since(verdict) < FDT / 2), "{by_turn:?}");

    let v4 = |all: &[IpAddr]| all.iter().copied().filter(IpAddr::is_ipv4).collect::<Vec<_>>();
    let told: Vec<IpAddr> = lan.heralds.iter().map(|(_, it)| it.address).collect();
    let (told, mut moved) = (v4(&told), v4(&on_eth0));
    moved[1..].reverse();
    assert_eq!(told, moved, "the source of most routes, then from the other end than the kernel");
}
