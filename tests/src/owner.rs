//! Who has a data address, and whom the neighbours take for it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::netns::NetNs;
use crate::observe::holders;
use crate::wait_for;
use crate::watch::{AddressEvent, AddressWatch, NeighbourWatch};

/// Waits until this NIC and no other has the address.
///
/// # Panics
/// If it has not within `limit`, or if it is no address.
#[track_caller]
pub fn wait_held(host: &NetNs, address: &str, nic: &str, limit: Duration) {
    wait_for(&format!("{address} on {nic} alone"), limit, || match holders(host, address) {
        holders if holders == [nic] => Ok(()),
        holders => Err(holders),
    });
}

/// Compares, at every moment, the neighbour entry of a station for an address with the NIC that has it.
/// To be started before the address is there.
#[derive(Debug)]
pub struct OwnerWatch {
    begun: Nanos,
    addresses: AddressWatch,
    neighbours: NeighbourWatch,
}

/// Between the NIC that an address has left and the entry of a neighbour that has heard of it.
const NEWS: Nanos = 100_000_000;
/// Two threads read the notices; on a loaded machine one may stamp an address after the other has stamped what
/// followed from it.
const LATE: Nanos = 50_000_000;
const STEP: usize = 5_000_000;

impl OwnerWatch {
    pub fn start(host: &NetNs, station: &NetNs) -> Self {
        Self {
            begun: clock::now(),
            addresses: AddressWatch::start(host),
            neighbours: NeighbourWatch::start(station),
        }
    }

    /// How often the entry has changed.
    ///
    /// # Panics
    /// If the station had no entry for the address, or if it named, at some moment, the MAC address of a NIC
    /// that had lost the address for more than 100 ms, or never had it.
    pub fn check(&self, address: &str) -> usize {
        let ip: IpAddr = address.parse().expect("an IP address");
        let (changes, neighbours) = (self.addresses.events(), self.neighbours.events());
        let entries: Vec<_> = neighbours.iter().filter(|it| it.address == ip).collect();
        assert!(entries.iter().any(|it| it.mac.is_some()), "no entry for {address} was ever there");
        for at in (self.begun..clock::now()).step_by(STEP) {
            let entry = entries.iter().rev().find(|it| it.at <= at).and_then(|it| it.mac);
            let owners = owners(&changes, ip, at.saturating_sub(NEWS), at + LATE);
            assert!(
                entry.is_none_or(|mac| owners.contains(&mac)),
                "{address} was at {owners:x?}, but its neighbour took {entry:x?} for it, \
                 {} ms after the start\n{entries:#?}\n{changes:#?}",
                (at - self.begun) / 1_000_000
            );
        }
        let macs: Vec<_> = entries.iter().filter_map(|it| it.mac).collect();
        macs.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

/// MAC addresses of the NICs that had the address at some moment of this time.
fn owners(changes: &[AddressEvent], ip: IpAddr, from: Nanos, to: Nanos) -> BTreeSet<[u8; 6]> {
    let mut owners = BTreeSet::new();
    for event in changes.iter().filter(|it| it.address == ip) {
        if event.added && event.at <= to {
            owners.insert(mac(&event.ifname));
        } else if !event.added && event.at < from {
            owners.remove(&mac(&event.ifname));
        }
    }
    owners
}

/// As the lab numbers them.
fn mac(nic: &str) -> [u8; 6] {
    let number = nic.strip_prefix("eth").and_then(|it| it.parse().ok());
    [2, 0, 0, 0, 0, number.unwrap_or_else(|| panic!("{nic} is no NIC of the lab"))]
}
