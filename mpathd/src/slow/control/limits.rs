//! How many may talk to us: anybody may read, so nobody may take all places.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Connections in all.
pub(super) const TOTAL: usize = 32;
/// Of one user.
pub(super) const PER_UID: usize = 4;
/// Of root and of the daemon's own user each.
pub(super) const PER_TRUSTED: usize = 16;
/// Of all other users together: 8 places are kept for those who may repair something.
pub(super) const UNTRUSTED: usize = 24;

#[derive(Clone, Default)]
pub(super) struct Limits(Rc<RefCell<BTreeMap<u32, usize>>>);

/// A place that is free again when dropped.
pub(super) struct Place {
    limits: Limits,
    uid: u32,
}

impl Limits {
    /// `None`: full.
    pub(super) fn enter(&self, uid: u32, trusted: impl Fn(u32) -> bool) -> Option<Place> {
        let mut open = self.0.borrow_mut();
        let of_uid = open.get(&uid).copied().unwrap_or(0);
        let total: usize = open.values().sum();
        let untrusted: usize = open.iter().filter(|(uid, _)| !trusted(**uid)).map(|(_, n)| n).sum();
        let full = match trusted(uid) {
            true => of_uid >= PER_TRUSTED,
            false => of_uid >= PER_UID || untrusted >= UNTRUSTED,
        };
        if full || total >= TOTAL {
            return None;
        }
        *open.entry(uid).or_default() += 1;
        Some(Place { limits: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.0.borrow_mut();
        if let Some(count) = open.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(uid: u32) -> bool {
        uid == 0
    }

    #[test]
    fn users_leave_room_for_root() {
        let limits = Limits::default();
        let mut places: Vec<_> = (0..PER_UID).map(|_| limits.enter(1000, root).unwrap()).collect();
        assert!(limits.enter(1000, root).is_none(), "one user has had its share");
        places.extend((1001..1100).filter_map(|uid| limits.enter(uid, root)));
        assert_eq!(places.len(), UNTRUSTED);
        places.extend(std::iter::from_fn(|| limits.enter(0, root)));
        assert_eq!(places.len(), TOTAL);
        places.remove(0);
        assert!(limits.enter(1000, root).is_some(), "a place that was left is free");
    }

    #[test]
    fn root_has_a_limit_too() {
        let limits = Limits::default();
        let places: Vec<_> = std::iter::from_fn(|| limits.enter(0, root)).collect();
        assert_eq!(places.len(), PER_TRUSTED);
    }
}
