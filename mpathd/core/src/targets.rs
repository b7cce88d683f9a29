//! Which targets an instance has: the configured ones, else the next hops on its test subnet
//! (behaviour file 4).

use core::net::IpAddr;

use crate::config::{self, MAX_TARGETS, TestAddress};
use crate::event::Gateways;
use crate::ids::{Family, Ifindex};
use crate::view::TargetMode;

/// At most [`MAX_TARGETS`], and how they were found.
pub struct Targets {
    pub mode: TargetMode,
    pub all: [Option<IpAddr>; MAX_TARGETS],
}

/// `group_links`: interfaces of the group, for a link-local next hop means nothing elsewhere.
pub fn choose(
    group: &config::Group,
    test: TestAddress,
    family: Family,
    gateways: &Gateways,
    group_links: impl Fn(Ifindex) -> bool,
) -> Targets {
    let own = |a: IpAddr| is_own(group, a);
    let pinned = group.targets.iter().copied().filter(|t| Family::of(*t) == family);
    let mut all = [None; MAX_TARGETS];
    let mode = if pinned.clone().next().is_some() {
        let reachable = pinned.filter(|t| !own(*t) && is_on_link(group, test, *t));
        all.iter_mut().zip(reachable).for_each(|(place, t)| *place = Some(t));
        TargetMode::Pinned
    } else {
        let hops = gateways.iter().filter(|g| {
            let link_local = is_link_local(g.address);
            Family::of(g.address) == family
                && !own(g.address)
                && if link_local {
                    group_links(g.ifindex)
                } else {
                    is_on_link(group, test, g.address)
                }
        });
        for hop in hops {
            if !all.contains(&Some(hop.address))
                && let Some(place) = all.iter_mut().find(|p| p.is_none())
            {
                *place = Some(hop.address);
            }
        }
        TargetMode::Routes
    };
    Targets { mode, all }
}

/// The test address' own prefix; a link-local one reaches the data subnets of its family too.
fn is_on_link(group: &config::Group, test: TestAddress, target: IpAddr) -> bool {
    match test {
        TestAddress::Static(net) => net.contains(target),
        TestAddress::LinkLocal => {
            is_link_local(target) || group.data.iter().any(|net| net.contains(target))
        }
    }
}

fn is_own(group: &config::Group, address: IpAddr) -> bool {
    let tests = group.members.iter().flat_map(|m| m.test).flatten();
    group.data.iter().any(|net| net.address == address)
        || tests
            .into_iter()
            .any(|t| matches!(t, TestAddress::Static(net) if net.address == address))
}

/// fe80::/10.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::config::{Group, Member};
    use crate::event::Gateway;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::time::Duration;

    fn group(targets: &[&str]) -> Group {
        let member = |test: &str| Member {
            name: "eth0".parse().unwrap(),
            standby: false,
            test: [Some(TestAddress::Static(test.parse().unwrap())), None],
            datapath: config::Datapath::Auto,
            consume_replies: true,
        };
        Group {
            name: "g".parse().unwrap(),
            fdt: Duration::from_secs(1),
            failback: true,
            quiet_period: Duration::from_secs(40),
            data: vec!["192.0.2.50/24".parse().unwrap(), "2001:db8::50/64".parse().unwrap()],
            targets: targets.iter().map(|t| t.parse().unwrap()).collect(),
            routes: vec![],
            members: vec![member("192.0.2.11/24"), member("192.0.2.12/24")],
        }
    }

    fn chosen(
        group: &Group,
        test: TestAddress,
        gateways: &[(&str, u32)],
    ) -> Vec<std::string::String> {
        let mut all = Gateways::default();
        for (address, ifindex) in gateways {
            all.push(Gateway { address: address.parse().unwrap(), ifindex: Ifindex(*ifindex) });
        }
        let family = match test {
            TestAddress::Static(net) => net.family(),
            TestAddress::LinkLocal => Family::Inet6,
        };
        let targets = choose(group, test, family, &all, |i| i.0 < 3);
        targets.all.iter().flatten().map(std::string::ToString::to_string).collect()
    }

    #[test]
    fn behaviour_112_and_117_next_hops_on_the_test_subnet() {
        let test = TestAddress::Static("192.0.2.11/24".parse().unwrap());
        let gateways = [("192.0.2.1", 1), ("198.51.100.1", 9), ("192.0.2.12", 1), ("192.0.2.1", 2)];
        assert_eq!(chosen(&group(&[]), test, &gateways), ["192.0.2.1"]);
    }

    #[test]
    fn configured_targets_beat_all() {
        let test = TestAddress::Static("192.0.2.11/24".parse().unwrap());
        let group = group(&["192.0.2.7", "2001:db8::7", "192.0.2.8"]);
        assert_eq!(chosen(&group, test, &[("192.0.2.1", 1)]), ["192.0.2.7", "192.0.2.8"]);
        assert_eq!(chosen(&group, TestAddress::LinkLocal, &[]), ["2001:db8::7"]);
    }

    #[test]
    fn link_local_next_hops_count_on_their_own_link_only() {
        let gateways = [("fe80::1", 1), ("fe80::2", 9)];
        assert_eq!(chosen(&group(&[]), TestAddress::LinkLocal, &gateways), ["fe80::1"]);
    }
}
