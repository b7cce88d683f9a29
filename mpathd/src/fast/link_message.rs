//! Reads RTM_NEWLINK and RTM_DELLINK without allocating: the few attributes that say whether a
//! member can carry traffic. rtnetlink(7), include/uapi/linux/if_link.h.

use mpathd_core::event::{Link, Unfit};
use mpathd_core::ids::{IfName, Ifindex};

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
/// Flags in the upper two bits of an attribute's type.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_CARRIER: u16 = 33;
const IFLA_CARRIER_CHANGES: u16 = 35;
const IFLA_INFO_KIND: u16 = 1;

/// RFC 2863: the driver has never told its carrier.
const IF_OPER_UNKNOWN: u8 = 0;
const ARPHRD_ETHER: u16 = 1;

/// What a message says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Is(Link),
    Gone(Ifindex),
}

/// Tells what the messages of a datagram say; `false` if it can't be read to its end.
pub(crate) fn parse(mut datagram: &[u8], mut tell: impl FnMut(Change)) -> bool {
    while !datagram.is_empty() {
        let Some(len) = u32_at(datagram, 0).map(|len| len as usize) else { return false };
        let Some(message) = datagram.get(..len).filter(|m| m.len() >= HEADER) else { return false };
        match change(message) {
            Ok(Some(change)) => tell(change),
            Ok(None) => {}
            Err(Malformed) => return false,
        }
        datagram = datagram.get(aligned(len)..).unwrap_or_default();
    }
    true
}

struct Malformed;

fn change(message: &[u8]) -> Result<Option<Change>, Malformed> {
    let kind = u16_at(message, 4).ok_or(Malformed)?;
    if kind != libc::RTM_NEWLINK && kind != libc::RTM_DELLINK {
        return Ok(None);
    }
    let body = &message[HEADER..];
    // Other families tell of one aspect only: AF_BRIDGE says DELLINK when a port leaves its bridge.
    if i32::from(*body.first().ok_or(Malformed)?) != libc::AF_UNSPEC {
        return Ok(None);
    }
    let device = u16_at(body, 2).ok_or(Malformed)?;
    let ifindex = Ifindex(u32_at(body, 4).ok_or(Malformed)?);
    let flags = u32_at(body, 8).ok_or(Malformed)?;
    if kind == libc::RTM_DELLINK {
        return Ok(Some(Change::Gone(ifindex)));
    }
    let facts = facts(body.get(LINK_HEADER..).ok_or(Malformed)?)?;
    // A link without a name is none that could be configured.
    Ok(facts.name.map(|name| Change::Is(facts.link(name, ifindex, device, flags))))
}

/// The attributes of a link that matter here.
#[derive(Default)]
struct Facts {
    name: Option<IfName>,
    mac: Option<[u8; 6]>,
    /// `false` only if the message says so.
    no_carrier: bool,
    oper_state: u8,
    carrier_changes: u32,
    enslaved: bool,
    shares_mac: bool,
}

fn facts(attributes: &[u8]) -> Result<Facts, Malformed> {
    let mut facts = Facts::default();
    for attribute in Attributes(attributes) {
        let (kind, value) = attribute?;
        match kind {
            IFLA_IFNAME => facts.name = text(value).and_then(IfName::new),
            IFLA_ADDRESS => facts.mac = value.try_into().ok(),
            IFLA_OPERSTATE => facts.oper_state = value.first().copied().unwrap_or(IF_OPER_UNKNOWN),
            IFLA_CARRIER => facts.no_carrier = value.first() == Some(&0),
            IFLA_CARRIER_CHANGES => facts.carrier_changes = u32_at(value, 0).unwrap_or(0),
            IFLA_MASTER => facts.enslaved = u32_at(value, 0).is_some_and(|master| master != 0),
            IFLA_LINKINFO => facts.shares_mac = is_ipvlan(value),
            _ => {}
        }
    }
    Ok(facts)
}

impl Facts {
    fn link(&self, name: IfName, ifindex: Ifindex, device: u16, flags: u32) -> Link {
        let is = |flag: libc::c_int| flags & flag as u32 != 0;
        let up = is(libc::IFF_UP);
        let alone = is(libc::IFF_LOOPBACK) || is(libc::IFF_POINTOPOINT);
        let unfit = if self.enslaved {
            Some(Unfit::Enslaved)
        } else if device != ARPHRD_ETHER || alone || self.mac.is_none() {
            Some(Unfit::NotEthernet)
        } else {
            self.shares_mac.then_some(Unfit::SharedMac)
        };
        Link {
            name,
            ifindex,
            up,
            running: up && is(libc::IFF_RUNNING) && !self.no_carrier,
            reported: self.oper_state != IF_OPER_UNKNOWN,
            carrier_changes: self.carrier_changes,
            mac: self.mac.unwrap_or_default(),
            unfit,
        }
    }
}

fn is_ipvlan(info: &[u8]) -> bool {
    Attributes(info).flatten().any(|(kind, value)| {
        kind == IFLA_INFO_KIND && matches!(text(value), Some("ipvlan" | "ipvtap"))
    })
}

fn text(value: &[u8]) -> Option<&str> {
    str::from_utf8(value.split(|b| *b == 0).next()?).ok()
}

/// Walks over attributes; ends at the first one that does not fit.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let attribute = u16_at(self.0, 0).and_then(|len| self.0.get(..usize::from(len)));
        let (Some(attribute), Some(kind)) = (attribute, u16_at(self.0, 2)) else {
            self.0 = &[];
            return Some(Err(Malformed));
        };
        let Some(value) = attribute.get(4..) else {
            self.0 = &[];
            return Some(Err(Malformed));
        };
        self.0 = self.0.get(aligned(attribute.len())..).unwrap_or_default();
        Some(Ok((kind & ATTRIBUTE_TYPE, value)))
    }
}

/// NLMSG_ALIGN and RTA_ALIGN: 4 bytes.
fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Builds messages as the kernel does, for the tests of this module and of its user.
#[cfg(test)]
pub(super) mod build {
    use super::*;

    pub(in super::super) struct Message(Vec<u8>);

    impl Message {
        pub(in super::super) fn new(kind: u16, family: u8, ifindex: u32, flags: i32) -> Self {
            let mut bytes = vec![0; HEADER + LINK_HEADER];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[HEADER] = family;
            bytes[HEADER + 2..HEADER + 4].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
            bytes[HEADER + 4..HEADER + 8].copy_from_slice(&ifindex.to_ne_bytes());
            bytes[HEADER + 8..HEADER + 12].copy_from_slice(&flags.to_ne_bytes());
            Self(bytes)
        }

        pub(in super::super) fn device(mut self, kind: u16) -> Self {
            self.0[HEADER + 2..HEADER + 4].copy_from_slice(&kind.to_ne_bytes());
            self
        }

        pub(in super::super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
            self.0.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
            self.0.extend_from_slice(&kind.to_ne_bytes());
            self.0.extend_from_slice(value);
            self.0.resize(aligned(self.0.len()), 0);
            self
        }

        pub(in super::super) fn done(mut self) -> Vec<u8> {
            let len = self.0.len() as u32;
            self.0[..4].copy_from_slice(&len.to_ne_bytes());
            self.0
        }
    }

    /// A running Ethernet link.
    pub(in super::super) fn link(name: &str, ifindex: u32) -> Message {
        let flags = libc::IFF_UP | libc::IFF_RUNNING;
        Message::new(libc::RTM_NEWLINK, 0, ifindex, flags)
            .attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
            .attribute(IFLA_OPERSTATE, &[6])
            .attribute(IFLA_CARRIER, &[1])
            .attribute(IFLA_CARRIER_CHANGES, &2_u32.to_ne_bytes())
            .attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::build::{Message, link};
    use super::*;

    fn read(datagram: &[u8]) -> (Vec<Change>, bool) {
        let mut all = Vec::new();
        let whole = parse(datagram, |change| all.push(change));
        (all, whole)
    }

    fn one(message: Message) -> Link {
        match read(&message.done()) {
            (all, true) if matches!(all[..], [Change::Is(_)]) => match all[0] {
                Change::Is(link) => link,
                Change::Gone(_) => unreachable!(),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_running_link() {
        let expected = Link {
            name: IfName::new("eth0").unwrap(),
            ifindex: Ifindex(7),
            up: true,
            running: true,
            reported: true,
            carrier_changes: 2,
            mac: [2, 0, 0, 0, 0, 1],
            unfit: None,
        };
        assert_eq!(one(link("eth0", 7)), expected);
    }

    #[test]
    fn carrier_and_operational_state() {
        assert!(!one(link("eth0", 7).attribute(IFLA_CARRIER, &[0])).running);
        let unknown = one(link("eth0", 7).attribute(IFLA_OPERSTATE, &[0]));
        assert!(unknown.running && !unknown.reported);
        let name = b"eth0\0";
        let down = Message::new(libc::RTM_NEWLINK, 0, 7, libc::IFF_RUNNING);
        let down = one(down.attribute(IFLA_IFNAME, name));
        assert!(!down.up && !down.running);
    }

    #[test]
    fn devices_that_can_be_no_member() {
        let unfit = |message| one(message).unfit;
        let eth = || link("eth0", 7);
        assert_eq!(unfit(eth().attribute(IFLA_MASTER, &[3, 0, 0, 0])), Some(Unfit::Enslaved));
        assert_eq!(unfit(eth().device(772)), Some(Unfit::NotEthernet));
        let kind = |name: &[u8]| {
            let nested = [&(4 + name.len() as u16).to_ne_bytes(), &[1, 0], name].concat();
            eth().attribute(IFLA_LINKINFO | 0x8000, &nested)
        };
        assert_eq!(unfit(kind(b"ipvlan\0")), Some(Unfit::SharedMac));
        assert_eq!(unfit(kind(b"macvlan\0")), None);
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_gone() {
        let bridge = libc::AF_BRIDGE as u8;
        let port = Message::new(libc::RTM_DELLINK, bridge, 7, 0).done();
        assert_eq!(read(&port), (vec![], true));
        let gone = Message::new(libc::RTM_DELLINK, 0, 7, 0).done();
        assert_eq!(read(&gone), (vec![Change::Gone(Ifindex(7))], true));
    }

    #[test]
    fn every_cut_is_noticed_and_none_panics() {
        let mut two = link("eth0", 7).done();
        let first = two.len();
        two.extend_from_slice(&link("eth1", 8).done());
        assert_eq!(read(&two).0.len(), 2);
        for len in 1..two.len() {
            let (all, whole) = read(&two[..len]);
            assert_eq!(whole, len == first, "{len}");
            assert_eq!(all.len(), usize::from(len >= first), "{len}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_message_of_any_content_panics(bytes: Vec<u8>, at in 0usize..200, value: u8) {
            read(&bytes);
            let mut near = link("eth0", 7).done();
            let place = at % near.len();
            near[place] = value;
            read(&near);
        }
    }
}
