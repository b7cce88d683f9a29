//! On which member each data address is to be. Total: as long as a member exists, every address has
//! one (N4). Counts differ by at most one, in file order.

use crate::config::MAX_MEMBERS;

/// How good a place a member is; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Works and takes part.
    Active,
    /// The same, but damping keeps addresses from returning to it: it keeps what it has and is given
    /// nothing.
    Held,
    /// Takes part, but has yet to give its first answer while others have given theirs: it keeps what
    /// it has and is given nothing.
    Joining,
    /// A spare that would take part if the members failed whose family is dead: as a rule they do so a
    /// moment later, and then what it has been given is where it is to be.
    StandIn,
    /// Works, but is a spare or is held back.
    Spare,
    /// Usable by all that is known, but it has not answered since its return, as other members have.
    NotYetAnswered,
    /// Works in the other family only.
    FamilyDead,
    /// Failed by probes, but answers at this moment.
    Answering,
    /// Failed by probes, link up.
    Silent,
    LinkDown,
    Offline,
    /// Not there: no place at all.
    Absent,
}

impl Rank {
    /// It is there and nobody took it out of use, but nothing is carried by it.
    pub fn is_dead(self) -> bool {
        match self {
            Self::FamilyDead | Self::Answering | Self::Silent | Self::LinkDown => true,
            Self::Active | Self::Held | Self::Joining | Self::StandIn | Self::Spare => false,
            Self::NotYetAnswered | Self::Offline | Self::Absent => false,
        }
    }

    /// It takes part and works.
    pub fn carries(self) -> bool {
        matches!(self, Self::Active | Self::Held)
    }

    /// It may be given addresses for the sake of balance alone.
    fn is_filled_up(self) -> bool {
        !matches!(self, Self::Held | Self::Joining | Self::NotYetAnswered)
    }
}

/// One address, as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Position of the member that has it, in the group.
    pub holder: Option<usize>,
    /// Index into the rank tables: 0 inet, 1 inet6.
    pub family: usize,
    /// Has moved too often to be moved for balance, or between places that are equally bad
    /// (design 2.9).
    pub held: bool,
}

/// What a group's members are worth, per family.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub ranks: [&'a [Rank]; 2],
    /// Keeps what it has though a better one exists: a member that has just joined, or the holder
    /// in a group that comes back.
    pub sticky: [&'a [bool]; 2],
    /// Failed, but it answers now and then, and all that works has failed again and again: as good
    /// a place as any for an address that has moved too often.
    pub bearable: &'a [bool],
    /// Spread over all of the best; with FAILBACK=no an address that is well stays.
    pub rebalance: bool,
}

/// All that a placement, and where routes lead, follow from of a group's members: while it stays as it was,
/// only what is told of addresses and routes changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub ranks: [[Rank; MAX_MEMBERS]; 2],
    pub sticky: [[bool; MAX_MEMBERS]; 2],
    pub bearable: [bool; MAX_MEMBERS],
    pub rebalance: bool,
    /// The group has just come back.
    pub settling: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            ranks: [[Rank::Absent; MAX_MEMBERS]; 2],
            sticky: [[false; MAX_MEMBERS]; 2],
            bearable: [false; MAX_MEMBERS],
            rebalance: false,
            settling: false,
        }
    }
}

impl Standing {
    /// Of the first `n` members.
    pub fn places(&self, n: usize) -> Places<'_> {
        let [inet, inet6] = &self.ranks;
        Places {
            ranks: [&inet[..n], &inet6[..n]],
            sticky: self.sticky.each_ref().map(|sticky| &sticky[..n]),
            bearable: &self.bearable[..n],
            rebalance: self.rebalance,
        }
    }
}

/// Writes the new holder of each item.
pub fn place(items: &mut [Item], places: &Places<'_>) {
    let mut load = [0u16; MAX_MEMBERS];
    for item in items.iter_mut() {
        item.holder = item.holder.filter(|m| {
            places.may_stay(*m, item.family) || item.held && places.may_keep(*m, item.family)
        });
        if let Some(m) = item.holder {
            load[m] += 1;
        }
    }
    for item in items.iter_mut().filter(|i| i.holder.is_none()) {
        item.holder = places.best(item.family, &load);
        if let Some(m) = item.holder {
            load[m] += 1;
        }
    }
    if places.rebalance && places.some_work() {
        while rebalance_one(items, places, &mut load) {}
    }
}

/// Moves the last address of the most loaded member to the least loaded, if that evens them out.
fn rebalance_one(items: &mut [Item], places: &Places<'_>, load: &mut [u16; MAX_MEMBERS]) -> bool {
    let gain = |item: &Item| {
        let (from, to) = (item.holder?, places.best_of_both(load)?);
        let (has, gets) = (places.rank(from, item.family), places.rank(to, item.family));
        let same = has == gets || (has, gets) == (Rank::Held, Rank::Active);
        (!item.held && same && load[from] > load[to] + 1).then_some((load[from], from, to))
    };
    let movable = (0..items.len()).filter_map(|i| gain(&items[i]).map(|g| (i, g)));
    let Some((i, (_, from, to))) = movable.max_by_key(|(i, (load, ..))| (*load, *i)) else {
        return false;
    };
    items[i].holder = Some(to);
    load[from] -= 1;
    load[to] += 1;
    true
}

impl Places<'_> {
    fn rank(&self, member: usize, family: usize) -> Rank {
        self.ranks[family][member]
    }

    fn best_rank(&self, family: usize) -> Rank {
        self.ranks[family].iter().copied().min().unwrap_or(Rank::Absent)
    }

    /// A group failure by itself moves nothing (design 2.7).
    fn some_work(&self) -> bool {
        self.best_rank(0).min(self.best_rank(1)) < Rank::Answering
    }

    fn may_stay(&self, member: usize, family: usize) -> bool {
        let rank = self.rank(member, family);
        rank != Rank::Absent && (rank == self.best_rank(family) || self.sticky[family][member])
    }

    /// An address that has moved too often leaves a member only if it must: not one that works, though it
    /// stands by, nor one that is no worse than the others.
    fn may_keep(&self, member: usize, family: usize) -> bool {
        self.rank(member, family) <= Rank::Spare || self.bearable[member]
    }

    /// The least loaded of those that are among the best in both families: a member where one
    /// family is dead is given nothing for the sake of balance.
    fn best_of_both(&self, load: &[u16; MAX_MEMBERS]) -> Option<usize> {
        let best = [self.best_rank(0), self.best_rank(1)];
        let there = best[0] != Rank::Absent && best.iter().all(|rank| rank.is_filled_up());
        let candidates = (0..self.bearable.len())
            .filter(|m| there && best == [self.rank(*m, 0), self.rank(*m, 1)]);
        candidates.min_by_key(|m| load[*m])
    }

    /// The least loaded of the best; the first of equals.
    fn best(&self, family: usize, load: &[u16; MAX_MEMBERS]) -> Option<usize> {
        let best = self.best_rank(family);
        if best == Rank::Absent {
            return None;
        }
        let candidates = self.ranks[family].iter().enumerate().filter(|(_, r)| **r == best);
        candidates.min_by_key(|(m, _)| load[*m]).map(|(m, _)| m)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::Rank::*;
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn item(holder: Option<usize>) -> Item {
        Item { holder, family: 0, held: false }
    }

    fn placed(items: &[Item], ranks: &[Rank], rebalance: bool) -> Vec<Option<usize>> {
        let sticky = vec![false; ranks.len()];
        let mut items = items.to_vec();
        let places =
            Places { ranks: [ranks, ranks], sticky: [&sticky; 2], bearable: &sticky, rebalance };
        place(&mut items, &places);
        items.iter().map(|i| i.holder).collect()
    }

    #[test]
    fn behaviour_102_four_addresses_on_two_members() {
        let new = [item(None); 4];
        assert_eq!(placed(&new, &[Active, Active], true), [Some(0), Some(1), Some(0), Some(1)]);
    }

    #[test]
    fn members_that_have_all_failed_are_not_balanced() {
        let items = [item(Some(0)); 4];
        assert_eq!(placed(&items, &[Answering, Answering], true), [Some(0); 4]);
        let balanced = placed(&items, &[Active, Active], true);
        assert_eq!(balanced.iter().filter(|holder| **holder == Some(0)).count(), 2);
    }

    #[test]
    fn behaviour_103_all_go_to_the_healthy_one() {
        let items = [item(Some(0)), item(Some(1)), item(Some(0)), item(Some(1))];
        assert_eq!(placed(&items, &[Silent, Active], true), [Some(1); 4]);
    }

    #[test]
    fn behaviour_104_exactly_half_comes_back() {
        let items = [item(Some(1)); 4];
        let back = placed(&items, &[Active, Active], true);
        assert_eq!(back.iter().filter(|h| **h == Some(0)).count(), 2);
        assert_eq!(placed(&items, &[Active, Active], false), [Some(1); 4], "FAILBACK=no");
    }

    #[test]
    fn a_group_failure_moves_nothing() {
        let items = [item(Some(0)), item(Some(1))];
        assert_eq!(placed(&items, &[Silent, Silent], true), [Some(0), Some(1)]);
        assert_eq!(placed(&items, &[LinkDown, LinkDown], true), [Some(0), Some(1)]);
        let all_on_the_last_one = [item(Some(1)), item(Some(1))];
        assert_eq!(placed(&all_on_the_last_one, &[Silent, Silent], true), [Some(1), Some(1)]);
    }

    #[test]
    fn a_failed_group_uses_what_has_a_link() {
        let items = [item(Some(0)), item(Some(1))];
        assert_eq!(placed(&items, &[LinkDown, Silent], true), [Some(1), Some(1)]);
    }

    #[test]
    fn nobody_there_is_nowhere() {
        assert_eq!(placed(&[item(Some(0))], &[Absent, Absent], true), [None]);
    }

    fn any_rank() -> impl Strategy<Value = Rank> {
        prop::sample::select(vec![Active, Spare, Answering, Silent, LinkDown, Offline, Absent])
    }

    proptest! {
        #[test]
        fn placement_is_total_fair_and_stable(
            ranks in prop::collection::vec(any_rank(), 1..6),
            holders in prop::collection::vec(prop::option::of(0usize..6), 0..12),
        ) {
            let items: Vec<Item> = holders
                .iter()
                .map(|h| item(h.filter(|m| *m < ranks.len())))
                .collect();
            let result = placed(&items, &ranks, true);
            let best = ranks.iter().min().unwrap();
            for holder in &result {
                prop_assert_eq!(holder.is_some(), *best != Absent);
                if let Some(m) = holder {
                    prop_assert_eq!(ranks[*m], *best);
                }
            }
            if *best < Answering {
                let counts: Vec<usize> = (0..ranks.len())
                    .filter(|m| ranks[*m] == *best)
                    .map(|m| result.iter().filter(|h| **h == Some(m)).count())
                    .collect();
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(most - least <= 1, "{counts:?}");
            }
            let again: Vec<Item> = result.iter().map(|h| item(*h)).collect();
            prop_assert_eq!(placed(&again, &ranks, true), result);
        }
    }
}
