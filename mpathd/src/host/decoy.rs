//! Addresses that nobody can have, or that hardly anybody has: whoever answers for them answers for all, as
//! proxy ARP does, and does not claim the address that it was asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mpathd_core::ids::IpNet;

use super::claims::Decoy;

/// From so many host bits on, a random address is nobody's.
const SPARSE: u32 = 32;

/// Of the subnet of an address of ours: its network address in IPv4, and two random hosts.
pub(super) fn decoys(net: IpNet, random: u64) -> Vec<(IpAddr, Decoy)> {
    let bits = u32::from(net.family().host_bits() - net.len);
    // Both ends of a point-to-point link have a host.
    if bits < 2 {
        return Vec::new();
    }
    let unlikely = if bits >= SPARSE { Decoy::Impossible } else { Decoy::Unlikely };
    let mut all = Vec::new();
    match (net.address, net.network().address) {
        (IpAddr::V4(ours), IpAddr::V4(network)) => {
            all.push((network.into(), Decoy::Impossible));
            let hosts = u32::MAX >> (32 - bits);
            for random in [random as u32, (random >> 32) as u32] {
                let host = 1 + random % (hosts - 1);
                let ip = Ipv4Addr::from(u32::from(network) | host);
                if ip != ours {
                    all.push((ip.into(), unlikely));
                }
            }
        }
        (IpAddr::V6(ours), IpAddr::V6(network)) => {
            let hosts = u128::MAX >> (128 - bits);
            for random in [u128::from(random), u128::from(random.rotate_left(32) ^ 0x5555)] {
                let ip = Ipv6Addr::from(u128::from(network) | (random & hosts).max(1));
                if ip != ours {
                    all.push((ip.into(), unlikely));
                }
            }
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
    }
    all.dedup_by_key(|(ip, _)| *ip);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoys_are_of_the_subnet_and_not_ours() {
        for (net, expected) in [("192.0.2.11/24", 2), ("192.0.2.1/30", 1), ("2001:db8::11/64", 2)] {
            let net: IpNet = net.parse().unwrap();
            for random in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
                let all = decoys(net, random);
                assert!(all.len() >= expected, "{net}: {all:?}");
                assert!(
                    all.iter().all(|(ip, _)| net.contains(*ip) && *ip != net.address),
                    "{all:?}"
                );
            }
        }
        let first = decoys("192.0.2.11/24".parse().unwrap(), 7)[0];
        assert_eq!(first, ("192.0.2.0".parse().unwrap(), Decoy::Impossible));
        assert!(decoys("192.0.2.0/31".parse().unwrap(), 7).is_empty());
        assert!(decoys("2001:db8::1/128".parse().unwrap(), 7).is_empty());
    }
}
