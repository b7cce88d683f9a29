//! What carries our mark and is in no configuration any more: left by an earlier one, or by a daemon
//! that was killed. Removed when all that is configured stands (O2).

use mpathd_core::event::RouteKey;
use mpathd_core::ids::IfName;
use mpathd_core::message::Severity;
use mpathd_core::request::Role;

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
        let is_home =
            |name: Option<IfName>| name.is_some_and(|n| settings.homes.contains(&(n, ip)));
        let stands_at_home = || {
            mirror
                .all_addresses()
                .any(|f| f.address.address == ip && is_home(mirror.name(f.ifindex)))
        };
        // On a renamed device it still serves, until a member has it.
        let data = settings.roles.get(&ip).is_some_and(|(_, role)| *role == Role::Data);
        if is_home(name) || data && !stands_at_home() {
            continue;
        }
        let device = name.map_or_else(|| fact.ifindex.0.to_string(), |name| name.to_string());
        slow.log(Severity::Notice, format!("removing {ip} from {device}: not configured there"));
        outcome = outcome.and(address::unset(requests, mirror, fact.ifindex, ip));
    }
    outcome
}
