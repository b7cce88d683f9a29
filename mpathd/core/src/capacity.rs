//! Which members of a group take part in carrying data: the configured number of active ones, the
//! spares as needed (founding text, "standby"; behaviour file 5).

/// How much speaks for giving a member data; a member takes part only while no better one can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// Not usable.
    Unfit,
    /// Usable by all that is known, but it has not answered since its return, as other members have.
    NotYetAnswered,
    /// Works, but damping keeps data from returning to it.
    Held,
    Ready,
}

/// What counts about one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub standby: bool,
    pub fitness: Fitness,
    /// Repaired under FAILBACK=no while the group had its capacity (behaviour 93).
    pub set_aside: bool,
    /// Takes part at present.
    pub active: bool,
    /// Took part when the whole group failed, which has just come back (N4).
    pub led: bool,
}

/// Members of a group as a set of bits, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Set(u32);

impl Set {
    pub fn contains(self, i: usize) -> bool {
        self.0 & (1 << i) != 0
    }

    pub fn insert(&mut self, i: usize) {
        self.0 |= 1 << i;
    }

    pub fn remove(&mut self, i: usize) {
        self.0 &= !(1 << i);
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The configured number of active members: those without STANDBY, one at the least (the
/// all-standby group; design 9).
pub fn intended(members: &[Candidate]) -> usize {
    members.iter().filter(|m| !m.standby).count().max(1)
}

/// The members that are to be active: of the fittest only. Never empty while one is usable; never more
/// than [`intended`].
///
/// Wanted first are the ordinary members. What they lack is filled by standbys, active ones first,
/// and only then by members that FAILBACK=no has set aside (behaviour 101).
pub fn choose(members: &[Candidate]) -> Set {
    let intended = intended(members);
    let mut chosen = Set::default();
    let best = members.iter().map(|m| m.fitness).max();
    let fit = |m: &Candidate| m.fitness != Fitness::Unfit && Some(m.fitness) == best;
    let rank = |m: &Candidate| match (m.standby, m.set_aside, m.active) {
        (false, false, _) => 0,
        _ if m.led => 1,
        (_, _, true) => 2,
        (true, _, false) => 3,
        (false, true, false) => 4,
    };
    for wanted in 0..=4 {
        for (i, member) in members.iter().enumerate() {
            if fit(member) && rank(member) == wanted && chosen.len() < intended {
                chosen.insert(i);
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use alloc::vec::Vec;

    const UP: Candidate = Candidate {
        standby: false,
        fitness: Fitness::Ready,
        set_aside: false,
        active: false,
        led: false,
    };
    const SPARE: Candidate = Candidate { standby: true, ..UP };
    const DOWN: Candidate = Candidate { fitness: Fitness::Unfit, ..UP };

    fn chosen(members: &[Candidate]) -> Vec<usize> {
        let set = choose(members);
        (0..members.len()).filter(|i| set.contains(*i)).collect()
    }

    #[test]
    fn behaviour_86_standbys_stand_by() {
        assert_eq!(chosen(&[UP, UP, SPARE]), [0, 1]);
    }

    #[test]
    fn behaviour_92_one_spare_for_one_failure() {
        assert_eq!(chosen(&[DOWN, UP, SPARE, SPARE]), [1, 2]);
    }

    #[test]
    fn an_active_spare_stays_the_one() {
        let active = Candidate { active: true, ..SPARE };
        assert_eq!(chosen(&[DOWN, UP, SPARE, active]), [1, 3]);
    }

    #[test]
    fn behaviour_88_the_spare_steps_back_after_repair() {
        let active = Candidate { active: true, ..SPARE };
        assert_eq!(chosen(&[UP, UP, active]), [0, 1]);
    }

    #[test]
    fn behaviour_93_set_aside_while_there_is_capacity() {
        let aside = Candidate { set_aside: true, ..UP };
        let active = Candidate { active: true, ..SPARE };
        assert_eq!(chosen(&[aside, UP, active]), [1, 2]);
    }

    #[test]
    fn behaviour_94_and_101_set_aside_is_the_last_resort() {
        let aside = Candidate { set_aside: true, ..UP };
        let active = Candidate { active: true, ..SPARE };
        assert_eq!(chosen(&[aside, DOWN, active]), [0, 2]);
        assert_eq!(chosen(&[aside, DOWN, SPARE]), [0, 2]);
        assert_eq!(chosen(&[aside, UP, SPARE]), [1, 2]);
    }

    #[test]
    fn behaviour_99_an_all_standby_group_has_one_active() {
        assert_eq!(chosen(&[SPARE, SPARE, SPARE]), [0]);
        assert_eq!(chosen(&[Candidate { fitness: Fitness::Unfit, ..SPARE }, SPARE]), [1]);
    }

    #[test]
    fn after_a_group_failure_the_former_one_leads_again() {
        let (active, led) = (Candidate { active: true, ..SPARE }, Candidate { led: true, ..SPARE });
        assert_eq!(chosen(&[active, led, SPARE]), [1]);
    }

    #[test]
    fn a_member_that_answers_comes_before_one_that_does_not_whoever_is_the_spare() {
        let held = Candidate { fitness: Fitness::Held, ..SPARE };
        let silent = Candidate { fitness: Fitness::NotYetAnswered, active: true, ..UP };
        assert_eq!(chosen(&[silent, held]), [1]);
        assert_eq!(chosen(&[silent, held, SPARE]), [2]);
        assert_eq!(chosen(&[silent, DOWN]), [0]);
    }

    #[test]
    fn all_small_groups_keep_the_two_promises() {
        let fitness = [Fitness::Unfit, Fitness::NotYetAnswered, Fitness::Held, Fitness::Ready];
        let mut seen = 0;
        for bits in 0u32..1 << 18 {
            let members: Vec<Candidate> = (0..3)
                .map(|i| {
                    let b = bits >> (6 * i);
                    Candidate {
                        standby: b & 1 != 0,
                        set_aside: b & 2 != 0,
                        active: b & 4 != 0,
                        led: b & 8 != 0,
                        fitness: fitness[b as usize >> 4 & 3],
                    }
                })
                .collect();
            let set = choose(&members);
            let best = members.iter().map(|m| m.fitness).max().unwrap();
            assert_eq!(set.is_empty(), best == Fitness::Unfit, "{members:?}");
            assert!(set.len() <= intended(&members), "{members:?}");
            let of_the_best = |i: usize| members[i].fitness == best;
            assert!((0..3).all(|i| !set.contains(i) || of_the_best(i)), "{members:?}");
            // Choosing again from the result changes nothing.
            let settled: Vec<Candidate> = members
                .iter()
                .enumerate()
                .map(|(i, m)| Candidate { active: set.contains(i), ..*m })
                .collect();
            assert_eq!(choose(&settled), set, "{members:?}");
            seen += 1;
        }
        assert_eq!(seen, 1 << 18);
    }
}
