//! Traffic leaves a dead NIC at the verdict, and comes back to its own way when nothing leads there any
//! more.

mod lan;

use std::time::Duration;

use lan::*;
use mpathd_core::event::{Command, Event};
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::Request;

const FDT: Duration = Duration::from_millis(100);
/// A host where containers come and go: each request waits for RTNL.
const BUSY: Duration = Duration::from_millis(80);

fn settled(members: usize, data: usize) -> Lan {
    let mut lan = Lan::settled(dual_stack(group(members, data, FDT)));
    for i in 0..members {
        redirectable(&mut lan, i, true);
    }
    lan.run(MS);
    lan.kernel = BUSY;
    lan
}

fn redirectable(lan: &mut Lan, i: usize, redirectable: bool) {
    let ifindex = lan.nics[&name(i)].link.ifindex;
    lan.post(Duration::ZERO, Event::Redirectable { ifindex, redirectable });
}

fn nic(i: u32) -> Ifindex {
    Ifindex(2 + i)
}

/// Who sends for the NIC now: IPv4, IPv6.
fn senders(lan: &Lan, i: u32) -> [Option<Ifindex>; 2] {
    Family::ALL.map(|family| {
        let of_nic = |it: &&(_, mpathd_core::request::Redirect)| {
            it.1.from == nic(i) && it.1.family == family
        };
        lan.redirects.iter().rev().find(of_nic).and_then(|(_, redirect)| redirect.to)
    })
}

fn fails(lan: &mut Lan, i: usize) {
    let before = lan.messages.len();
    let text = format!("IP interface failure detected on eth{i} of group g");
    lan.until(20 * FDT, |lan| {
        lan.messages[before..].iter().any(|(_, message)| message.to_string() == text)
    });
}

#[test]
fn a_host_without_it_is_told_nothing() {
    let mut lan = Lan::settled(dual_stack(group(2, 2, FDT)));
    lan.wire(0, Wire::Cut);
    lan.run(S);
    lan.assert_at_rest();
    assert!(lan.redirects.is_empty());
}

#[test]
fn it_begins_with_the_verdict_and_ends_with_the_last_change() {
    let mut lan = settled(2, 2);
    lan.wire(0, Wire::Cut);
    fails(&mut lan, 0);
    assert_eq!(senders(&lan, 0), [Some(nic(1)); 2]);
    let shown = |lan: &Lan| lan.view().interfaces[0].redirected;
    assert_eq!(shown(&lan), [Some(lan.view().interfaces[1].name); 2]);
    // One family is found dead a little before the other.
    let verdict = |family: Family| {
        let of_family = |it: &&(_, mpathd_core::request::Redirect)| it.1.family == family;
        let found: Vec<_> = lan.redirects.iter().filter(of_family).map(|(at, _)| *at).collect();
        assert_eq!(found.len(), 1, "{:?}", lan.redirects);
        found[0]
    };
    let inet = lan.heralds.iter().find(|(_, it)| it.address.is_ipv4()).unwrap();
    let inet6 = lan.heralds.iter().find(|(_, it)| it.address.is_ipv6()).unwrap();
    assert_eq!((inet.0, inet.1.ifindex), (verdict(Family::Inet), nic(1)));
    assert_eq!((inet6.0, inet6.1.ifindex), (verdict(Family::Inet6), nic(1)));
    let inet = verdict(Family::Inet);
    lan.until(S, |lan| senders(lan, 0)[0].is_none());
    let end = lan.now.since(inet);
    assert!(end >= 2 * BUSY, "an address comes, and then one goes: {end:?}");
    lan.until(S, |lan| senders(lan, 0) == [None; 2]);
    assert_eq!(shown(&lan), [None; 2]);
    lan.assert_at_rest();
    assert_eq!(lan.heralds.len(), 2, "each once");
    assert_eq!(
        lan.told(&format!(
            "inet traffic of eth0 left by another interface for {:.1} ms, until \
        its addresses and routes had moved",
            end.as_secs_f64() * 1e3
        )),
        1,
        "{:#?}",
        lan.texts()
    );
    lan.redirects.clear();
    lan.wire(0, Wire::Works);
    lan.run(60 * S);
    assert!(lan.redirects.is_empty(), "the way back is make before break");
}

#[test]
fn a_repair_in_between_ends_it() {
    let mut lan = settled(2, 2);
    lan.kernel = 60 * S;
    lan.wire(0, Wire::Cut);
    fails(&mut lan, 0);
    lan.wire(0, Wire::Works);
    lan.run(2 * S);
    assert_eq!(senders(&lan, 0), [None; 2], "{:#?}", lan.texts());
}

#[test]
fn who_sends_instead_and_dies_is_replaced() {
    let mut lan = settled(3, 3);
    lan.kernel = 60 * S;
    lan.wire(0, Wire::Cut);
    fails(&mut lan, 0);
    assert_eq!(senders(&lan, 0), [Some(nic(1)); 2]);
    lan.wire(1, Wire::Cut);
    fails(&mut lan, 1);
    assert_eq!(senders(&lan, 0), [Some(nic(2)); 2]);
    assert_eq!(senders(&lan, 1), [Some(nic(2)); 2]);
    let last = |address: &str| {
        let address = ip(&[address])[0];
        lan.heralds.iter().rev().find(|(_, it)| it.address == address).map(|(_, it)| it.ifindex)
    };
    assert_eq!(last("192.0.2.50"), Some(nic(2)));
    assert_eq!(last("192.0.2.51"), Some(nic(2)));
}

#[test]
fn a_group_that_has_failed_as_a_whole_redirects_nothing() {
    let mut lan = settled(2, 2);
    lan.kernel = 60 * S;
    lan.wire(0, Wire::Cut);
    fails(&mut lan, 0);
    lan.wire(1, Wire::Cut);
    lan.run(2 * S);
    assert_eq!(lan.told("All IP interfaces in group g are now unusable"), 1);
    assert_eq!([senders(&lan, 0), senders(&lan, 1)], [[None; 2]; 2]);
}

#[test]
fn a_dead_family_goes_alone() {
    let mut lan = settled(2, 2);
    lan.kernel = 60 * S;
    lan.deaf = Some((name(0), true));
    lan.run(5 * FDT);
    assert_eq!(senders(&lan, 0), [None, Some(nic(1))], "{:#?}", lan.texts());
}

#[test]
fn a_link_that_goes_down_is_a_verdict_too() {
    let mut lan = settled(2, 2);
    lan.carrier(0, false);
    lan.run(MS);
    assert_eq!(senders(&lan, 0), [Some(nic(1)); 2]);
    lan.until(S, |lan| senders(lan, 0) == [None; 2]);
    lan.assert_at_rest();
}

#[test]
fn what_an_administrator_takes_out_of_service_works_until_it_is_empty() {
    let mut lan = settled(2, 2);
    assert!(lan.command(Command::Offline { interface: name(0) }));
    lan.run(S);
    lan.assert_at_rest();
    assert!(lan.redirects.is_empty());
}

/// A daemon that dies redirects for three seconds at most; one that lives renews in time.
#[test]
fn it_is_renewed_while_it_lasts() {
    let mut lan = settled(2, 2);
    lan.refuse = |request| matches!(request, Request::SetAddress { .. }).then_some(16);
    lan.wire(0, Wire::Cut);
    fails(&mut lan, 0);
    let begun = lan.now;
    lan.run(10 * S);
    let mut until = begun;
    for (at, redirect) in lan.redirects.iter().filter(|(_, it)| it.family == Family::Inet) {
        assert_eq!(redirect.to, Some(nic(1)));
        assert!(*at <= until, "it had run out");
        assert!(redirect.until.since(*at) <= 3 * S);
        until = redirect.until;
    }
    assert!(until > lan.now);
    assert_eq!(lan.heralds.len(), 2, "its repeats are those of the address: {:?}", lan.heralds);
}

#[test]
fn a_nic_that_can_t_takes_no_part() {
    let mut lan = settled(3, 3);
    redirectable(&mut lan, 1, false);
    lan.run(MS);
    lan.wire(0, Wire::Cut);
    fails(&mut lan, 0);
    assert_eq!(senders(&lan, 0), [Some(nic(2)); 2]);
    lan.run(S);
    lan.redirects.clear();
    lan.wire(0, Wire::Works);
    lan.run(60 * S);
    lan.wire(1, Wire::Cut);
    lan.run(S);
    assert!(lan.redirects.is_empty());
}

/// Whatever fails and comes back in whatever order: nobody sends for a NIC that works, only who works
/// sends for others, and at rest nobody does.
#[test]
fn random_cuts_leave_no_redirect_behind() {
    for seed in 1..=3_u64 {
        let mut lan = settled(3, 4);
        let mut random = seed;
        for _ in 0..10 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (i, wire) = ((random >> 33) % 3, (random >> 40) % 2);
            lan.wire(i as usize, if wire == 0 { Wire::Cut } else { Wire::Works });
            lan.run(MS * ((random >> 45) % 400) as u32);
            for i in 0..3 {
                for to in senders(&lan, i).into_iter().flatten() {
                    let sends = to.0 - 2;
                    assert_ne!(sends, i);
                    assert_eq!(senders(&lan, sends), [None; 2], "seed {seed}: a chain");
                }
            }
        }
        (0..3).for_each(|i| lan.wire(i, Wire::Works));
        lan.run(60 * S);
        lan.assert_at_rest();
        assert!((0..3).all(|i| senders(&lan, i) == [None; 2]), "seed {seed}");
    }
}
