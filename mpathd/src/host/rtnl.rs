//! RTNL, the kernel's lock for network configuration: how long one waits for it now.

use std::io;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;

use super::netlink::{Refused, Requests};
use crate::fast::clock;

/// Of every network namespace.
const LOOPBACK: u32 = 1;

pub struct Rtnl(Requests);

impl Rtnl {
    /// # Errors
    /// Where no netlink socket is to be had.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Requests::open()?))
    }

    /// Takes the lock and changes nothing: RTM_SETLINK without anything to set. An idle host needs some
    /// microseconds.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN.
    pub fn ask(&mut self) -> Result<Duration, Refused> {
        let mut nothing = LinkMessage::default();
        nothing.header.index = LOOPBACK;
        let asked = clock::now();
        self.0.request(RouteNetlinkMessage::SetLink(nothing), 0)?;
        Ok(clock::now().since(asked))
    }
}
