//! What somebody else had set and mpathd has taken over: remembered in the state file as the kernel
//! told it, whole, so that `release --keep-on` gives it back as it was, whatever properties it had.

use std::fmt;
use std::time::{Duration, SystemTime};

use mpathd_core::config::TABLE_MAIN;
use mpathd_core::event::RouteKey;
use mpathd_core::ids::{IfName, Ifindex, IpNet};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags};
use serde::{Deserialize, Serialize};

use super::facts::Fact;
use super::netlink::{Message, RTM_NEWADDR, RTM_NEWROUTE, Refused, frame};

/// A lifetime that has run out meanwhile is given back as this, for its owner to renew.
const LAST_MINUTE: u32 = 60;
/// Bytes of a label (IFNAMSIZ less the NUL).
const LONGEST_LABEL: usize = 15;

/// One address or route of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub interface: IfName,
    pub what: What,
    /// Body of the kernel's own message about it, in hexadecimal.
    form: String,
    /// When it was read, seconds since the epoch: lifetimes count from here.
    at: u64,
    /// Its place among the routes that stood at one key by the same interface (`ip route append`).
    #[serde(default)]
    nth: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Address(IpNet),
    Route(RouteKey),
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Address(address) => write!(f, "{address} on {}", self.interface),
            What::Route(RouteKey { table, to, metric }) => {
                write!(f, "route to {to} dev {} metric {metric}", self.interface)?;
                if table == TABLE_MAIN { Ok(()) } else { write!(f, " table {table}") }
            }
        }
    }
}

impl Taken {
    /// Of the kernel's message; `None` if it is about something else.
    pub(super) fn of(message: &Message, fact: &Fact, interface: IfName) -> Option<Self> {
        let what = match fact {
            Fact::Address(address) => What::Address(address.address),
            Fact::Route(route) => What::Route(route.key),
            _ => return None,
        };
        let form = message.body.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { interface, what, form, at: now(), nth: 0 })
    }

    /// Whether it stands for the same thing, so that the later one says how it is now.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.interface, self.what, self.nth) == (other.interface, other.what, other.nth)
    }

    /// Puts a route among those that one dump has told: several may stand at one key, by the same
    /// interface, and a dump that begins anew tells each once more.
    pub(super) fn number<'a>(&mut self, told: impl Iterator<Item = &'a Self>) -> bool {
        let at = |other: &&Self| (other.interface, other.what) == (self.interface, self.what);
        let here: Vec<&Self> = told.filter(at).collect();
        let is_new = here.iter().all(|other| other.form != self.form);
        self.nth = u16::try_from(here.len()).unwrap_or(u16::MAX);
        is_new
    }

    /// The request that sets it on `link`, as it was; lifetimes have run on.
    ///
    /// # Errors
    /// Where the record is damaged.
    pub(super) fn message(
        &self,
        link: Ifindex,
        name: IfName,
    ) -> Result<RouteNetlinkMessage, Refused> {
        match self.decode()? {
            RouteNetlinkMessage::NewAddress(mut message) => {
                let age = Duration::from_secs(now().saturating_sub(self.at));
                message.header.index = link.0;
                message.attributes.iter_mut().for_each(|attribute| match attribute {
                    AddressAttribute::Label(label) => *label = self.label_on(name, label),
                    AddressAttribute::CacheInfo(lifetime) => {
                        lifetime.ifa_valid = rest_of(lifetime.ifa_valid, age).max(1);
                        lifetime.ifa_preferred =
                            rest_of(lifetime.ifa_preferred, age).min(lifetime.ifa_valid);
                    }
                    _ => {}
                });
                Ok(RouteNetlinkMessage::NewAddress(message))
            }
            RouteNetlinkMessage::NewRoute(message) => {
                let mut message = as_request(message);
                message.attributes.iter_mut().for_each(|attribute| match attribute {
                    RouteAttribute::Oif(oif) => *oif = link.0,
                    // All were on members, and only one is to have it.
                    RouteAttribute::MultiPath(hops) => {
                        hops.truncate(1);
                        hops.iter_mut().for_each(|hop| hop.interface_index = link.0);
                    }
                    _ => {}
                });
                Ok(RouteNetlinkMessage::NewRoute(message))
            }
            _ => Err(self.damaged()),
        }
    }

    /// The request that removes exactly this.
    ///
    /// # Errors
    /// Where the record is damaged.
    pub(super) fn removal(&self) -> Result<RouteNetlinkMessage, Refused> {
        match self.decode()? {
            RouteNetlinkMessage::NewAddress(message) => {
                Ok(RouteNetlinkMessage::DelAddress(message))
            }
            RouteNetlinkMessage::NewRoute(message) => {
                Ok(RouteNetlinkMessage::DelRoute(as_request(message)))
            }
            _ => Err(self.damaged()),
        }
    }

    /// A label begins with the name of its device, or the kernel refuses it.
    fn label_on(&self, name: IfName, label: &str) -> String {
        let tail = label.strip_prefix(self.interface.as_str()).unwrap_or_default();
        let mut label = format!("{name}{tail}");
        label.truncate(label.floor_char_boundary(LONGEST_LABEL));
        label
    }

    fn damaged(&self) -> Refused {
        Refused::with(libc::EINVAL, format!("the record of {self} is damaged"))
    }

    fn decode(&self) -> Result<RouteNetlinkMessage, Refused> {
        let kind = match self.what {
            What::Address(_) => RTM_NEWADDR,
            What::Route(_) => RTM_NEWROUTE,
        };
        let digits = self.form.as_bytes().chunks_exact(2);
        let body: Option<Vec<u8>> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let bytes = frame(kind, 0, 0, &body.ok_or_else(|| self.damaged())?);
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes);
        match message.map_err(|_| self.damaged())?.payload {
            NetlinkPayload::InnerMessage(message) => Ok(message),
            _ => Err(self.damaged()),
        }
    }
}

/// Without what only the kernel may say: states of next hops, ages.
pub(super) fn as_request(mut message: RouteMessage) -> RouteMessage {
    message.header.flags &= RouteFlags::Onlink | RouteFlags::Pervasive;
    message.attributes.retain(|a| !matches!(a, RouteAttribute::CacheInfo(_)));
    for attribute in &mut message.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            hops.iter_mut().for_each(|hop| hop.flags &= RouteNextHopFlags::Onlink);
        }
    }
    message
}

fn rest_of(seconds: u32, age: Duration) -> u32 {
    match seconds {
        0 | u32::MAX => seconds,
        _ => {
            let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
            seconds.saturating_sub(age).max(LAST_MINUTE.min(seconds))
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_runs_on_and_never_quite_out() {
        assert_eq!(rest_of(u32::MAX, Duration::from_secs(500)), u32::MAX);
        assert_eq!(rest_of(0, Duration::from_secs(5)), 0, "deprecated");
        assert_eq!(rest_of(600, Duration::from_secs(100)), 500);
        assert_eq!(rest_of(600, Duration::from_secs(1000)), LAST_MINUTE);
        assert_eq!(rest_of(10, Duration::from_secs(1000)), 10);
    }

    #[test]
    fn a_label_follows_its_device() {
        let form = String::new();
        let interface = IfName::new("eth0").unwrap();
        let what = What::Address("192.0.2.50/24".parse().unwrap());
        let taken = Taken { interface, what, form, at: 0, nth: 0 };
        assert_eq!(taken.label_on(IfName::new("eth1").unwrap(), "eth0:web"), "eth1:web");
        assert_eq!(taken.label_on(IfName::new("eth1").unwrap(), "eth0"), "eth1");
        assert_eq!(
            taken.label_on(IfName::new("enp129s0f0np0").unwrap(), "eth0:web"),
            "enp129s0f0np0:w"
        );
        let name = IfName::new("netz\u{fc}\u{fc}\u{fc}").unwrap();
        assert_eq!(taken.label_on(name, "eth0:b\u{fc}ro"), "netz\u{fc}\u{fc}\u{fc}:b\u{fc}r");
        let name = IfName::new("netz\u{fc}\u{fc}\u{fc}\u{fc}").unwrap();
        assert_eq!(taken.label_on(name, "eth0:b\u{fc}ro"), "netz\u{fc}\u{fc}\u{fc}\u{fc}:b");
    }
}
