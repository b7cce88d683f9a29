//! Addresses in the form of design 5: IPv4 as /32 with the subnet's broadcast address and our label,
//! test addresses at scope link; IPv6 as /128 without duplicate detection, test addresses with
//! preferred lifetime 0; all with our IFA_PROTO. Somebody else's address is never touched.

use std::net::IpAddr;

use mpathd_core::ids::{Family, IfName, Ifindex, IpNet};
use mpathd_core::request::Role;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressHeaderFlags, AddressMessage,
    AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::facts::AddressFact;
use super::mirror::Mirror;
use super::netlink::{Asked, Refused, Requests};
use super::{LABEL, PROTOCOL};

const FOREVER: u32 = u32::MAX;

/// Adds an address, or puts its form right where it carries our mark.
///
/// # Errors
/// EEXIST where the address stands there without our mark, in the way of ours; else the kernel's.
pub(super) fn set(
    requests: &mut Requests,
    mirror: &Mirror,
    ifindex: Ifindex,
    name: IfName,
    address: IpNet,
    role: Role,
) -> Result<(), Refused> {
    match request(mirror, ifindex, name, address, role)? {
        Some((message, flags)) => requests.request(message, flags),
        None => Ok(()),
    }
}

/// What the kernel is to be asked for; nothing where the address stands in its form.
///
/// # Errors
/// EEXIST as [`set`].
pub(super) fn request(
    mirror: &Mirror,
    ifindex: Ifindex,
    name: IfName,
    address: IpNet,
    role: Role,
) -> Result<Option<Asked>, Refused> {
    let ip = address.address;
    let flags = match mirror.foremost(ifindex, ip) {
        None => NLM_F_CREATE | NLM_F_EXCL,
        Some(fact) if !mirror.is_ours(&fact) && stands_beside(mirror, &fact) => {
            NLM_F_CREATE | NLM_F_EXCL
        }
        Some(fact) if !mirror.is_ours(&fact) => {
            return Err(Refused::with(
                libc::EEXIST,
                format!("{} is there already, and is not mpathd's", fact.address),
            ));
        }
        Some(fact) if in_form(&fact, role) => return Ok(None),
        Some(_) => NLM_F_CREATE | NLM_F_REPLACE,
    };
    Ok(Some((RouteNetlinkMessage::NewAddress(message(ifindex, name, address, role)), flags)))
}

/// An address of ours that was a data address and is a test address now, or was one: the kernel changes
/// the scope of no IPv4 address that stands, so it goes and comes anew at once.
pub(super) fn must_be_reformed(mirror: &Mirror, fact: &AddressFact, role: Role) -> bool {
    mirror.is_ours(fact) && fact.address.address.is_ipv4() && !has_role(fact, role)
}

/// IPv4 takes ours beside somebody else's on one NIC, where that has another prefix length.
pub(super) fn stands_beside(mirror: &Mirror, fact: &AddressFact) -> bool {
    let ip = fact.address.address;
    let mut all = mirror.addresses(fact.ifindex, ip);
    ip.is_ipv4() && all.all(|fact| fact.address.len != fact.address.family().host_bits())
}

/// Removes an address of ours; one that is not there is no error.
///
/// # Errors
/// EPERM where the address stands there without our mark; else the kernel's.
pub(super) fn unset(
    requests: &mut Requests,
    mirror: &Mirror,
    ifindex: Ifindex,
    ip: IpAddr,
) -> Result<(), Refused> {
    let all: Vec<_> = mirror.addresses(ifindex, ip).copied().collect();
    let mut ours = all.iter().filter(|fact| mirror.is_ours(fact)).peekable();
    if !all.is_empty() && ours.peek().is_none() {
        return Err(Refused::with(libc::EPERM, format!("{ip} is not mpathd's to remove")));
    }
    ours.try_for_each(|fact| delete(requests, ifindex, fact.address))
}

/// Removes an address, whosever it is; `address` with the kernel's prefix length.
///
/// # Errors
/// The kernel's, but none where it is not there.
pub(super) fn delete(
    requests: &mut Requests,
    ifindex: Ifindex,
    address: IpNet,
) -> Result<(), Refused> {
    match requests.request(RouteNetlinkMessage::DelAddress(named(ifindex, address)), 0) {
        Err(refused) if !already_gone(refused.errno) => Err(refused),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn already_gone(errno: i32) -> bool {
    [libc::EADDRNOTAVAIL, libc::ENODEV].contains(&errno)
}

/// It has the form of a data address or of a test address.
pub(super) fn has_role(fact: &AddressFact, role: Role) -> bool {
    let as_test = match fact.address.family() {
        Family::Inet => fact.link_scope,
        Family::Inet6 => fact.deprecated,
    };
    as_test == (role == Role::Test)
}

/// What can be put right afterwards is put right; the prefix length of an address that stands cannot, and
/// a wrong one is somebody's doing that `ours` has survived. Nor can the scope, see [`must_be_reformed`].
fn in_form(fact: &AddressFact, role: Role) -> bool {
    has_role(fact, role)
        && fact.protocol == PROTOCOL
        && fact.noprefixroute
        && fact.address.len == fact.address.family().host_bits()
}

/// `IF:mpathd`, cut to the 15 bytes that fit (O2).
pub(super) fn label(name: IfName) -> String {
    let mut label = format!("{name}:{LABEL}");
    while label.len() > 15 {
        label.pop();
    }
    label
}

/// An address by its own value, without any property.
pub(super) fn named(ifindex: Ifindex, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: match address.family() {
            Family::Inet => AddressFamily::Inet,
            Family::Inet6 => AddressFamily::Inet6,
        },
        prefix_len: address.len,
        index: ifindex.0,
        ..AddressHeader::default()
    };
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    message
}

pub(super) fn message(
    ifindex: Ifindex,
    name: IfName,
    address: IpNet,
    role: Role,
) -> AddressMessage {
    let mut message = named(ifindex, IpNet::host(address.address));
    let mut flags = AddressFlags::Noprefixroute;
    match address.family() {
        Family::Inet => {
            if role == Role::Test {
                message.header.scope = AddressScope::Link;
            }
            message.attributes.extend(address.broadcast().map(AddressAttribute::Broadcast));
            message.attributes.push(AddressAttribute::Label(label(name)));
        }
        Family::Inet6 => {
            flags |= AddressFlags::Nodad;
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_valid = FOREVER;
            lifetime.ifa_preferred = if role == Role::Test { 0 } else { FOREVER };
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_the_name_and_fits() {
        assert_eq!(label(IfName::new("eth0").unwrap()), "eth0:mpathd");
        assert_eq!(label(IfName::new("enp129s0f0np0").unwrap()), "enp129s0f0np0:m");
        assert_eq!(label(IfName::new("a23456789012345").unwrap()), "a23456789012345");
    }
}
