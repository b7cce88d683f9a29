//! Requests in words.

use core::fmt;

use crate::request::Request;

/// A request in the words of an administrator.
pub struct Wish<'a>(pub &'a Request);

impl fmt::Display for Wish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Request::Prepare { name, .. } => write!(f, "setting the sysctls of {name}"),
            Request::SetAddress { name, address, .. } => write!(f, "adding {address} to {name}"),
            Request::UnsetAddress { name, address, .. } => {
                write!(f, "removing {address} from {name}")
            }
            Request::SetRoute(route) => write!(
                f,
                "setting the route to {} (table {}, metric {})",
                route.key.to, route.key.table, route.key.metric
            ),
            Request::UnsetRoute(key) => write!(
                f,
                "removing the route to {} (table {}, metric {})",
                key.to, key.table, key.metric
            ),
            Request::TakeAddress(address) => write!(f, "taking over {address}"),
            Request::TakeRoutes(key) => write!(
                f,
                "taking over the route to {} (table {}, metric {})",
                key.to, key.table, key.metric
            ),
            Request::Attach { name, .. } => write!(f, "attaching the receive hook to {name}"),
            Request::Announce { address, .. } => write!(f, "announcing {address}"),
            Request::RemoveUnconfigured => f.write_str("removing what is no longer configured"),
            Request::Search { name, .. } => write!(f, "looking for hosts on {name}"),
            Request::CountTransmits { name, .. } => {
                write!(f, "reading the transmit counter of {name}")
            }
        }
    }
}
