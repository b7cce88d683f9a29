//! Addresses as they are written, and whether a host can have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mpathd_core::config::TestAddress;
use mpathd_core::ids::{Family, IpNet};

use super::error::Problem;

/// How a family is called in texts.
pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::Inet => "IPv4",
        Family::Inet6 => "IPv6",
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// # Errors
/// What is not an address with a prefix, or none that moves between hosts' interfaces.
pub(super) fn data(text: &str) -> Result<IpNet, Problem> {
    let net = with_prefix(text)?;
    unfit_host(net).map_or(Ok(()), |kind| Err(Problem::NotAHost { kind, role: "a data" }))?;
    if is_link_local(net.address) {
        return Err(Problem::LinkLocalData);
    }
    Ok(net)
}

/// # Errors
/// What is neither "link-local" nor an address with a prefix that a host can have.
pub(super) fn test(text: &str) -> Result<TestAddress, Problem> {
    if text == "link-local" {
        return Ok(TestAddress::LinkLocal);
    }
    if text.split('/').next().and_then(|a| a.parse().ok()).is_some_and(is_link_local) {
        return Err(Problem::LinkLocalTest);
    }
    let net = with_prefix(text).map_err(|problem| match problem {
        Problem::NotAnAddress => Problem::NotATestAddress,
        other => other,
    })?;
    unfit_host(net).map_or(Ok(()), |kind| Err(Problem::NotAHost { kind, role: "a test" }))?;
    Ok(TestAddress::Static(net))
}

/// # Errors
/// What is not an address of a single other host. `role` says what for.
pub(super) fn neighbour(text: &str, role: &'static str) -> Result<IpAddr, Problem> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(match text.split_once('/').map(|(a, _)| a.parse::<IpAddr>()) {
            Some(Ok(address)) => Problem::WithPrefix { role, write: address.to_string() },
            _ => Problem::NotAnIp,
        });
    };
    unfit(address).map_or(Ok(address), |kind| Err(Problem::NotAHost { kind, role }))
}

/// A destination; `None` is "default", whose family is the gateway's.
///
/// # Errors
/// What is neither "default" nor a network.
pub(super) fn destination(text: &str) -> Result<Option<IpNet>, Problem> {
    if text == "default" {
        return Ok(None);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Err(Problem::NoPrefix(address.to_string(), Family::of(address).host_bits()));
    }
    let net: IpNet = text.parse().map_err(|_| Problem::Destination)?;
    if net != net.network() {
        return Err(Problem::HostBits(net.network().to_string()));
    }
    Ok(Some(net))
}

fn with_prefix(text: &str) -> Result<IpNet, Problem> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| Problem::NotAnAddress)?;
    let family = Family::of(address);
    let Some(len) = len else {
        let usual = if address.is_ipv4() { 24 } else { 64 };
        return Err(Problem::NoPrefix(address.to_string(), usual));
    };
    let net = len.parse().ok().filter(|len| *len > 0).and_then(|len| IpNet::new(address, len));
    net.ok_or_else(|| Problem::PrefixLength {
        len: len.to_owned(),
        family: family_name(family),
        max: family.host_bits(),
    })
}

/// Why no host has this address on this subnet.
fn unfit_host(net: IpNet) -> Option<&'static str> {
    unfit(net.address).or_else(|| {
        // The two addresses of a point-to-point subnet are both hosts (RFC 3021, RFC 6164).
        if net.len + 1 >= net.family().host_bits() {
            None
        } else if net == net.network() {
            Some("the address of the subnet itself")
        } else if net.broadcast().map(IpAddr::V4) == Some(net.address) {
            Some("the broadcast address of the subnet")
        } else {
            None
        }
    })
}

/// Why no host has this address.
fn unfit(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(a) => unfit4(a),
        IpAddr::V6(a) => unfit6(a),
    }
}

fn unfit4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_broadcast() {
        Some("the limited broadcast address")
    } else if address.octets()[0] == 0 {
        Some("an address of \"this network\", 0.0.0.0/8")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.octets()[0] >= 240 {
        Some("an address reserved for future use (240.0.0.0/4, RFC 1112)")
    } else {
        None
    }
}

fn unfit6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("the loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.to_ipv4_mapped().is_some() {
        Some("an IPv4 address mapped into IPv6")
    } else {
        None
    }
}
