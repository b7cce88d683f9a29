//! Identities: one type each, so that an interface index is never taken for a slot number.
//! All are small and `Copy`, for they travel through queues that must not allocate.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// A short name, stored in place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<const N: usize>([u8; N]);

/// Name of a network interface: 1 to 15 bytes (IFNAMSIZ less the closing zero).
pub type IfName = Name<15>;
/// Name of an IPMP group: 1 to 31 bytes (behaviour file 1.1).
pub type GroupName = Name<31>;

impl<const N: usize> Name<N> {
    /// `None` when `text` is empty, longer than `N` bytes, or holds a zero byte.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > N || text.bytes().any(|b| b == 0) {
            return None;
        }
        let mut bytes = [0; N];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(N);
        core::str::from_utf8(&self.0[..end]).unwrap_or("?")
    }
}

impl GroupName {
    /// Of the group of those that are in no group: the empty name, shown as `--`.
    pub const ANONYMOUS: Self = Self([0; 31]);

    pub fn is_anonymous(&self) -> bool {
        *self == Self::ANONYMOUS
    }
}

impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> FromStr for Name<N> {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::new(text).ok_or(BadName)
    }
}

/// The text is empty or too long for the kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("empty or too long a name")
    }
}

/// The kernel's interface index; a replugged NIC gets a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ifindex(pub u32);

/// Position of a group in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u16);

/// Position of a member in the configuration, counted over all groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberId(pub u16);

/// A path is member x family x target; its number is the index of its slot in the kernel maps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PathId(pub u16);

/// ICMP sequence number of a path; wraps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Seq(pub u16);

impl Seq {
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many steps `self` lies behind `newer`.
    pub fn behind(self, newer: Seq) -> u16 {
        newer.0.wrapping_sub(self.0)
    }
}

/// Address family; used as an index too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum Family {
    Inet,
    Inet6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::Inet, Family::Inet6];

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::Inet } else { Family::Inet6 }
    }

    /// Length of a host prefix in bits.
    pub fn host_bits(self) -> u8 {
        match self {
            Family::Inet => 32,
            Family::Inet6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        })
    }
}

/// An address with its prefix length; the host bits are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNet {
    pub address: IpAddr,
    /// 0..=32 for IPv4, 0..=128 for IPv6.
    pub len: u8,
}

impl IpNet {
    /// `None` when `len` exceeds the address' bits.
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        (len <= Family::of(address).host_bits()).then_some(Self { address, len })
    }

    pub fn host(address: IpAddr) -> Self {
        Self { address, len: Family::of(address).host_bits() }
    }

    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// The same prefix with all host bits zero.
    pub fn network(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask4(self.len))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask6(self.len))),
        };
        Self { address, len: self.len }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family()
            && Self { address, len: self.len }.network() == self.network()
    }

    /// The IPv4 broadcast address; `None` for IPv6, /31 and /32.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(a) if self.len < 31 => {
                Some(Ipv4Addr::from_bits(a.to_bits() | !mask4(self.len)))
            }
            _ => None,
        }
    }
}

fn mask4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IpNet {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (address, len) = text.split_once('/').ok_or(BadName)?;
        let address = address.parse().map_err(|_| BadName)?;
        Self::new(address, len.parse().map_err(|_| BadName)?).ok_or(BadName)
    }
}

/// A hardware address, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
        let mut mac = [0; 6];
        for byte in &mut mac {
            *byte = bytes.next().and_then(Result::ok).ok_or(BadName)?;
        }
        if bytes.next().is_none() { Ok(Self(mac)) } else { Err(BadName) }
    }
}

#[cfg(feature = "serde")]
mod text {
    //! Names and prefixes are texts in files and on the control socket.
    use super::{IpNet, Mac, Name};
    use alloc::borrow::Cow;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    impl<const N: usize> Serialize for Name<N> {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.serialize_str(self.as_str())
        }
    }

    impl<'de, const N: usize> Deserialize<'de> for Name<N> {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            let text = Cow::<str>::deserialize(d)?;
            // The anonymous group.
            if text.is_empty() && N == 31 {
                return Ok(Self([0; N]));
            }
            text.parse().map_err(D::Error::custom)
        }
    }

    impl Serialize for Mac {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Mac {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            let text = Cow::<str>::deserialize(d)?;
            text.parse().map_err(|_| D::Error::custom("not a MAC address"))
        }
    }

    impl Serialize for IpNet {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for IpNet {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            let text = Cow::<str>::deserialize(d)?;
            text.parse().map_err(|_| D::Error::custom("not an address with a prefix length"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_at_both_ends() {
        let net: IpNet = "192.0.2.50/24".parse().unwrap();
        assert_eq!(net.network().address, IpAddr::from([192, 0, 2, 0]));
        assert_eq!(net.broadcast(), Some(Ipv4Addr::new(192, 0, 2, 255)));
        assert!(net.contains(IpAddr::from([192, 0, 2, 1])));
        assert!(!net.contains(IpAddr::from([192, 0, 3, 1])));
        assert!("0.0.0.0/0".parse::<IpNet>().unwrap().contains(IpAddr::from([1, 2, 3, 4])));
        assert!("::/0".parse::<IpNet>().unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!("192.0.2.1/33".parse::<IpNet>().is_err());
        assert!("192.0.2.1".parse::<IpNet>().is_err());
    }

    #[test]
    fn names_are_bounded() {
        assert_eq!(IfName::new("eth0.100").unwrap().as_str(), "eth0.100");
        assert!(IfName::new("").is_none());
        assert!(IfName::new("a123456789012345").is_none());
        assert!(IfName::new("a12345678901234").is_some());
    }

    /// Behaviour 29.
    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(Seq(65535).next(), Seq(0));
        assert_eq!(Seq(65534).behind(Seq(1)), 3);
    }

    #[test]
    fn only_a_subnet_with_room_for_one_has_a_broadcast_address() {
        let broadcast = |net: &str| net.parse::<IpNet>().unwrap().broadcast().map(|a| a.octets());
        assert_eq!(broadcast("192.0.2.50/24"), Some([192, 0, 2, 255]));
        assert_eq!(broadcast("192.0.2.50/30"), Some([192, 0, 2, 51]));
        assert_eq!(broadcast("192.0.2.50/31"), None, "RFC 3021");
        assert_eq!(broadcast("192.0.2.50/32"), None);
        assert_eq!(broadcast("2001:db8::50/64"), None);
    }
}
