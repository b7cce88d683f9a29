//! Link-local addresses of the NICs.

use mpathd_core::event::{Address, Event};
use mpathd_core::ids::IpNet;

use super::{Lan, MS, name};

impl Lan {
    /// The kernel gives a NIC its link-local address.
    pub fn link_local(&mut self, i: usize, address: &str) {
        self.link_local_of(i, address, |seen| seen.by_kernel = true);
    }

    /// A link-local address comes, or changes.
    pub fn link_local_of(&mut self, i: usize, address: &str, change: impl Fn(&mut Address)) {
        let ifindex = self.nics[&name(i)].link.ifindex;
        let address = IpNet::new(address.parse().unwrap(), 64).unwrap();
        let mut seen = Address {
            ifindex,
            address,
            ours: false,
            tentative: false,
            link_scope: true,
            stale_form: false,
            refused: false,
            by_kernel: false,
        };
        change(&mut seen);
        self.post(MS, Event::Address(seen));
    }

    pub fn link_local_gone(&mut self, i: usize, address: &str) {
        let ifindex = self.nics[&name(i)].link.ifindex;
        self.post(MS, Event::AddressGone { ifindex, address: address.parse().unwrap() });
    }
}
