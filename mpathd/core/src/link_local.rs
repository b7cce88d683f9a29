//! The link-local addresses of an interface that is probed by one of them. Other programs add and remove
//! some at will (a VRRP address, for one), so that all have to be known: when the one in use goes, another one
//! takes its place.

use core::net::IpAddr;

/// Remembered for each interface. The kernel makes one.
pub const MAX_LINK_LOCALS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    address: IpAddr,
    by_kernel: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLocals([Option<Known>; MAX_LINK_LOCALS]);

impl LinkLocals {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().flatten().any(|known| known.address == address)
    }

    /// `used`: the address that is in use. Returns the one that there was no room for, if there was none; it
    /// is never the kernel's own nor the one in use as long as there are others.
    pub fn insert(
        &mut self,
        address: IpAddr,
        by_kernel: bool,
        used: Option<IpAddr>,
    ) -> Option<IpAddr> {
        let new = Known { address, by_kernel };
        let same = |place: &Option<Known>| place.is_some_and(|known| known.address == address);
        let place = self.0.iter().position(same);
        if let Some(place) = place.or_else(|| self.0.iter().position(Option::is_none)) {
            self.0[place] = Some(new);
            return None;
        }
        let spare = |known: &Known| !known.by_kernel && Some(known.address) != used;
        let worst = self.0.iter_mut().flatten().find(|known| by_kernel && spare(known));
        Some(worst.map_or(address, |worst| core::mem::replace(worst, new).address))
    }

    pub fn remove(&mut self, address: IpAddr) {
        for place in &mut self.0 {
            *place = place.filter(|known| known.address != address);
        }
    }

    /// The one in use as long as it is present, else the kernel's own, else the lowest.
    pub fn choose(&self, used: Option<IpAddr>) -> Option<IpAddr> {
        let best = self.0.iter().flatten().min_by_key(|known| (!known.by_kernel, known.address));
        used.filter(|used| self.contains(*used)).or(best.map(|known| known.address))
    }
}
