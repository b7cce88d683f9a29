//! Takes an address from a NIC and sets the same one there in another form, in one datagram, with the
//! routes that would be lost in between: without them IPv4 loses those routes, and IPv6 their source.

use std::net::IpAddr;

use mpathd_core::ids::{Family, IfName};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::{Refused, Requests};
use super::taken::as_request;
use super::{PROTOCOL, monitor, sysctl};

/// Carries out `removal` of an address on the NIC `name`, and `instead`, if any, right behind it.
///
/// # Errors
/// The kernel's; a removal of what is not there is none.
pub(super) fn swap(
    requests: &mut Requests,
    name: IfName,
    ip: IpAddr,
    removal: RouteNetlinkMessage,
    instead: Option<RouteNetlinkMessage>,
) -> Result<(), Refused> {
    let flags = match Family::of(ip) {
        Family::Inet => NLM_F_CREATE | NLM_F_APPEND,
        Family::Inet6 => NLM_F_CREATE | NLM_F_REPLACE,
    };
    // Where the address stands elsewhere too, the kernel leaves the routes of IPv4 alone.
    let routes = match (Family::of(ip), &instead) {
        (Family::Inet, None) => Vec::new(),
        _ => routes_from(requests, ip)?,
    };
    let mut batch = vec![(removal, 0)];
    batch.extend(instead.clone().map(|message| (message, NLM_F_CREATE | NLM_F_EXCL)));
    batch.extend(routes.into_iter().map(|m| (RouteNetlinkMessage::NewRoute(m), flags)));
    let _kept = sysctl::Promotion::of(name)?;
    let answers = requests.each(batch);
    match answers.first() {
        Some(Err(refused)) if refused.errno != libc::EADDRNOTAVAIL => return Err(refused.clone()),
        _ => {}
    }
    match (answers.get(1), instead) {
        // Nothing may be without its address.
        (Some(Err(_)), Some(message)) => requests.request(message, NLM_F_CREATE | NLM_F_REPLACE),
        _ => Ok(()),
    }
}

/// Routes with this source that are lost with it.
fn routes_from(requests: &mut Requests, ip: IpAddr) -> Result<Vec<RouteMessage>, Refused> {
    let source = RouteAttribute::PrefSource(RouteAddress::from(ip));
    let mut routes = Vec::new();
    for request in monitor::route_requests(RouteProtocol::Unspec) {
        requests.dump(request, |message| {
            if let Ok(RouteNetlinkMessage::NewRoute(route)) = message.decode()
                && route.attributes.contains(&source)
                && is_lost(&route)
                && !routes.contains(&route)
            {
                routes.push(route);
            }
        })?;
    }
    Ok(routes.into_iter().map(as_request).collect())
}

/// Those of the kernel's own making come and go with the address; IPv6 routes by next-hop objects keep
/// their source.
fn is_lost(route: &RouteMessage) -> bool {
    let by_object = route.attributes.iter().any(|a| matches!(a, RouteAttribute::NhId(_)));
    let ours = route.header.protocol == RouteProtocol::from(PROTOCOL);
    let in_ipv4 = route.header.address_family == AddressFamily::Inet;
    route.header.protocol != RouteProtocol::Kernel && (!by_object || ours && in_ipv4)
}
