//! What carries our mark and is in no configuration any more: left by an earlier one, or by a daemon
//! that was killed. Removed when all that is configured stands (O2).

use mpathd_core::event::RouteKey;
use mpathd_core::message::Severity;

use super::facts::AddressFact;
use super::mirror::Mirror;
use super::netlink::{Refused, Requests};
use super::outbox::Slow;
use super::settings::Settings;
use super::{PROTOCOL, address, route};

/// # Errors
/// The first refusal of the kernel; the rest is still tried.
pub(super) fn remove(
    requests: &mut Requests,
    mirror: &Mirror,
    settings: &Settings,
    slow: &mut Slow,
) -> Result<(), Refused> {
    let mut outcome = Ok(());
    let routes: Vec<RouteKey> = mirror
        .routes()
        .filter(|fact| fact.protocol == PROTOCOL && !settings.routes.contains(&fact.key))
        .map(|fact| fact.key)
        .collect();
    for key in routes {
        slow.log(Severity::Notice, format!("removing the route to {}: not configured", key.to));
        outcome = outcome.and(route::unset(requests, &key));
    }
    let strays: Vec<AddressFact> = mirror.all_addresses().filter(|f| f.ours()).copied().collect();
    for fact in strays {
        let ip = fact.address.address;
        let name = mirror.name(fact.ifindex);
        if name.is_some_and(|name| settings.homes.contains(&(name, ip))) {
            continue;
        }
        let device = name.map_or_else(|| fact.ifindex.0.to_string(), |name| name.to_string());
        slow.log(Severity::Notice, format!("removing {ip} from {device}: not configured there"));
        outcome = outcome.and(address::unset(requests, mirror, fact.ifindex, ip));
    }
    outcome
}
