//! Loss of carrier: how soon the addresses are on the other NIC, and that in no moment of quick changes one is
//! missing, or something stays behind.
//!
//! The kernel itself may hold a change of carrier back: where link events come more often than once a second, for
//! up to a second (net/core/link_watch.c). So changes that are timed are spaced, the kernel's own notice is
//! stamped, and the promise counts from there; from the change itself where the notice was prompt.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use mpathd_tests::clock::{self, Nanos, ms_between, nanos};
use mpathd_tests::cuts::{Rig, data_addresses, holders};
use mpathd_tests::figures::Figures;
use mpathd_tests::link_watch::LinkWatch;
use mpathd_tests::observe::{Route, addrs, routes_v4, routes_v6};
use mpathd_tests::presence::Presence;
use mpathd_tests::{NetNs, isolated, wait_for};

const FDT: Duration = Duration::from_millis(100);
const TIMED: usize = 12;
const QUICK: usize = 20;
/// From the kernel's notice to the address on the other NIC.
const PROMISE: Duration = Duration::from_millis(20);
/// A notice that comes that soon was not held back.
const PROMPT: Duration = Duration::from_millis(2);
/// The kernel is prompt again after a second without link events.
const SPACE: Duration = Duration::from_millis(1100);
/// An address may be on two NICs for so long, while its routes are changed.
const TWICE: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(20);
const DAMPED: Duration = Duration::from_secs(75);

#[test]
fn addresses_move_within_20_ms_of_the_loss_of_carrier() {
    isolated(|| {
        let mut rig = Rig::start(FDT, 2);
        let links = LinkWatch::start(rig.lab.host());
        let (mut of_kernel, mut of_daemon) = (Figures::default(), Figures::default());
        let (mut prompt, mut excused, mut broken) = (0, 0, Vec::new());
        for number in 0..TIMED {
            wait_for_quiet(&links);
            let (nic, held) = rig.busiest();
            let down = rig.lab.carrier(nic, false);
            let told = links.wait_running(&format!("eth{nic}"), false, down, LIMIT);
            let was_prompt = told - down <= nanos(PROMPT);
            prompt += usize::from(was_prompt);
            of_kernel.push(ms_between(down, told));
            for address in held {
                let added = rig.wait_moved(address, nic, down).added;
                of_daemon.push(ms_between(told, added));
                let since = if was_prompt { down } else { told };
                let late =
                    Duration::from_nanos(added.saturating_sub(since)).saturating_sub(PROMISE);
                let machine = rig.stalls.within(since, added) + rig.rtnl.within(since, added);
                if late > machine {
                    broken.push(format!("loss {number}: {address} {late:.1?} too late"));
                } else if !late.is_zero() {
                    excused += 1;
                }
            }
            wait_for_quiet(&links);
            rig.restore_carrier(nic, down);
            rig.wait_repaired();
        }
        println!("loss of carrier, ms:");
        println!("  to the kernel's notice       {of_kernel}; {prompt} prompt");
        println!(
            "  from notice to address moved {of_daemon}; {excused} excused by measured delays"
        );
        assert_eq!(rig.daemon.has_ended(), None, "the daemon has ended");
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    });
}

#[test]
fn quick_changes_leave_no_address_missing_and_nothing_behind() {
    isolated(|| {
        let mut rig = Rig::start(FDT, 2);
        let links = LinkWatch::start(rig.lab.host());
        let before = Traces::of(rig.lab.host());
        let presence = Presence::start(rig.lab.host(), data_addresses());
        let begun = clock::now();
        for number in 0..QUICK {
            // By turns the carrier, and the path behind it, for less and for more than detection takes.
            let nic = number / 2 % 2;
            let hold = FDT.mul_f64(0.3 + 0.13 * number as f64);
            if number % 2 == 0 {
                let down = rig.lab.carrier(nic, false);
                clock::sleep_until(down + nanos(hold));
                rig.lab.carrier(nic, true);
            } else {
                let cut = rig.lab.cut(nic);
                clock::sleep_until(cut + nanos(hold));
                rig.lab.mend(nic);
            }
        }
        // Nothing that the kernel has held back is to come, and nothing that the daemon makes of it.
        wait_for_quiet(&links);
        (0..rig.lab.nics()).for_each(|nic| rig.wait_healthy(nic));
        rig.wait_at_rest();
        let dumps = presence.finish();
        let events = rig.addresses.events();
        let moves = events.iter().filter(|it| it.at >= begun && it.added).count();
        let twice = always_somewhere(&rig, begun);
        println!(
            "{QUICK} quick changes: {moves} moves, {dumps} dumps, each with all data addresses"
        );
        println!("  on two NICs, ms: {twice}");
        assert!(moves >= QUICK / 2, "{moves} moves: the changes did not reach the daemon");
        assert!(
            twice.is_empty() || twice.max() < TWICE.as_secs_f64() * 1e3,
            "on two NICs: {twice}"
        );
        // A NIC that has returned three times in a minute takes part again after a minute.
        wait_for("the traces of the start, and no more", DAMPED, || {
            let now = Traces::of(rig.lab.host());
            if now == before { Ok(()) } else { Err((before.clone(), now)) }
        });
        assert_eq!(rig.daemon.has_ended(), None, "the daemon has ended");
    });
}

/// The kernel tells link events at once again.
fn wait_for_quiet(links: &LinkWatch) {
    let begun = clock::now();
    wait_for("a second without link events", LIMIT, || {
        let last = links.events().last().map_or(begun, |it| it.at.max(begun));
        if clock::now() - last > nanos(SPACE) { Ok(()) } else { Err(()) }
    });
}

/// By the kernel's notices, which come in the order of its changes: each data address was on some NIC at any time.
/// How long those on two were, in ms.
fn always_somewhere(rig: &Rig, since: Nanos) -> Figures {
    let events = rig.addresses.events();
    let mut twice = Figures::default();
    for address in data_addresses() {
        let mut two_since = None;
        for count in 1..=events.len() {
            let at = events[count - 1].at;
            if events[count - 1].address != address || at < since {
                continue;
            }
            match (holders(&events[..count], address).len(), two_since) {
                (0, _) => panic!("{address} is nowhere after {:?}", events[count - 1]),
                (1, Some(begun)) => {
                    twice.push(ms_between(begun, at));
                    two_since = None;
                }
                (2.., None) => two_since = Some(at),
                _ => {}
            }
        }
        assert_eq!(two_since, None, "{address} rests on two NICs");
    }
    twice
}

/// What the daemon has put into the kernel, without what may differ at rest: which NIC holds a data address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Traces {
    addresses: Vec<(IpAddr, u8, Option<String>)>,
    routes: BTreeSet<String>,
    nexthops: usize,
}

impl Traces {
    fn of(host: &NetNs) -> Self {
        let shared = data_addresses();
        let mut addresses: Vec<_> = addrs(host)
            .into_iter()
            .map(|it| {
                let nic = (!shared.contains(&it.info.local)).then_some(it.ifname);
                (it.info.local, it.info.prefixlen, nic)
            })
            .collect();
        addresses.sort();
        let shown = |route: Route| {
            let mut hops: Vec<_> =
                route.nexthops.iter().map(|it| (it.dev.clone(), it.gateway)).collect();
            hops.sort();
            // Routes of single addresses follow the holder.
            let device = route.dst.contains('/').then_some(route.dev);
            let Route { dst, gateway, protocol, prefsrc, metric, .. } = route;
            format!("{dst} {gateway:?} {device:?} {protocol} {prefsrc:?} {metric:?} {hops:?}")
        };
        let routes = routes_v4(host).into_iter().chain(routes_v6(host)).map(shown).collect();
        let nexthops = host.expect("ip", &["nexthop", "show"]).lines().count();
        Self { addresses, routes, nexthops }
    }
}
