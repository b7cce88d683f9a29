//! What moves traffic at the verdict, before netlink does: stores into the rows by which the egress
//! program sends for a dead NIC, and the first announcement of an address by the NIC that is to have it.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;

use mpathd_common::abi::{self, Detour, REDIRECTS, redirect_key};
use mpathd_core::ids::{Family, Ifindex};
use mpathd_core::request::{Herald, Peers, Redirect};

use super::area::Area;
use super::channels::Channels;
use super::frames::{Frame, Paths};
use super::socket;
use crate::announcement;

/// The rows of the egress program. Made by the host thread, used by the fast thread.
pub struct RedirectMap(Area<abi::Redirect<AtomicU64>>);

impl RedirectMap {
    /// Maps the map of the object. What an earlier daemon redirected ends: who sends for whom is
    /// decided anew.
    ///
    /// # Errors
    /// What mmap says.
    pub fn from_fd(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let map = Self(Area::map(Some(fd), REDIRECTS)?);
        (0..REDIRECTS).filter_map(|key| map.0.get(key)).for_each(abi::Redirect::end);
        Ok(map)
    }

    fn row(&self, ifindex: Ifindex, family: Family) -> Option<&abi::Redirect<AtomicU64>> {
        self.0.get(redirect_key(ifindex.0, family as u32))
    }

    /// One that has no sockets any more is gone: nothing is sent for it or by it.
    pub(super) fn set(&self, wanted: &Redirect, channels: &Channels, paths: &mut Paths) {
        let Some(row) = self.row(wanted.from, wanted.family) else { return };
        let from = channels.get(wanted.from);
        let to = wanted.to.and_then(|to| channels.get(to));
        let (Some(from), Some(to)) = (from, to) else { return row.end() };
        let mut tests = paths.of_nic(from.ifindex).map(|(_, path)| path.key.test);
        row.begin(&Detour {
            to: to.ifindex.0,
            until_ns: wanted.until.0,
            own_mac: from.mac,
            new_mac: to.mac,
            test: tests.find(|test| Family::of(*test) == wanted.family),
        });
    }
}

/// Best effort: the host thread announces again when the address stands there.
pub(super) fn announce(herald: &Herald, channels: &Channels) {
    let Some(channel) = channels.get(herald.ifindex) else { return };
    // Where transmit stamps are read, a request to a target would pass for one in a probe's place.
    let peers = if channel.stamped { Peers::default() } else { herald.peers };
    let mut frames = [Frame::EMPTY; announcement::FRAMES_MAX];
    let mut count = 0;
    let keep = |frame: &[u8]| {
        frames[count].set(frame);
        count += 1;
        Ok::<(), Infallible>(())
    };
    match announcement::frames(herald.address, channel.mac, &peers, channel.router, keep) {
        Ok(()) => socket::send(channel.send.as_fd(), &frames[..count], |_, _| {}),
    }
}

const _: () = assert!(announcement::FRAMES_MAX <= socket::BATCH);
