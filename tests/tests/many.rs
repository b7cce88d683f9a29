//! A group with many addresses and routes, seen from outside.

use std::time::Duration;

use mpathd_tests::cuts::{Rig, Size};
use mpathd_tests::observe::{Route, holders, routes_v4, routes_v6};
use mpathd_tests::{isolated, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

/// Addresses in pieces, routes by groups of next-hop objects; the trap of the emptied group; and nothing of them is
/// left by `mpathd release`.
#[test]
fn many_addresses_and_routes_move_and_are_released() {
    isolated(|| {
        let size = Size { addresses: 20, routes: 40 };
        let mut rig = Rig::start_with(Duration::from_millis(100), 2, size, "");
        let ours = |rig: &Rig| -> Vec<Route> {
            let all = [routes_v4(rig.lab.host()), routes_v6(rig.lab.host())].concat();
            all.into_iter().filter(|route| route.protocol == "109").collect()
        };
        // And a subnet of each family.
        let wait_on = |rig: &Rig, nics: &[&str]| {
            wait_for(&format!("all routes over {nics:?}"), LIMIT, || {
                let all = ours(rig);
                let there = all.len() == 2 * (size.routes + 1);
                let so = all.iter().filter(|route| ways(route) != nics).count();
                if there && so == 0 { Ok(()) } else { Err((all.len(), so)) }
            });
        };
        wait_on(&rig, &["eth0", "eth1"]);
        let cut = rig.lab.cut(0);
        wait_on(&rig, &["eth1"]);
        let data = || [false, true].into_iter().flat_map(|v6| size.addresses(v6));
        for address in data() {
            let ip = address.split('/').next().expect("a part").to_owned();
            wait_for(&format!("{ip} on eth1"), LIMIT, || match holders(rig.lab.host(), &ip) {
                on if on == ["eth1"] => Ok(()),
                on => Err(on),
            });
        }
        // The only hop of all groups goes: the kernel deletes them with their routes, unsaid.
        rig.mend(0, cut);
        rig.lab.carrier(1, false);
        wait_on(&rig, &["eth0"]);
        rig.lab.carrier(1, true);
        rig.wait_healthy(0);
        rig.wait_healthy(1);
        wait_on(&rig, &["eth0", "eth1"]);

        rig.daemon.stop();
        let released = rig.daemon.mpathd(&["release"]);
        assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
        assert_eq!(ours(&rig), []);
        assert_eq!(rig.lab.host().expect("ip", &["nexthop", "show"]), "");
    });
}

fn ways(route: &Route) -> Vec<String> {
    let hops: Vec<String> = route.nexthops.iter().map(|hop| hop.dev.clone()).collect();
    if hops.is_empty() { route.dev.clone().into_iter().collect() } else { hops }
}
