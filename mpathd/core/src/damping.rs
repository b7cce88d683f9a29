//! Returns are damped, failures never are (design 2.9, N10): switches and EVPN fabrics punish
//! addresses that flap.

use core::time::Duration;

use crate::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);
const SECOND_RETURN_WAITS: Duration = Duration::from_secs(10);
const THIRD_RETURN_WAITS: Duration = Duration::from_secs(60);
/// Moves of one address in [`MOVE_WINDOW`]: EVPN calls five a duplicate address.
const MOVES: usize = 4;
const MOVE_WINDOW: Duration = Duration::from_secs(180);

/// The returns of one member to health.
#[derive(Clone, Copy, Debug, Default)]
pub struct Returns {
    last: [Option<Instant>; 2],
    held_until: Option<Instant>,
}

impl Returns {
    /// Notes a return; the time for which addresses are kept from going back, zero for none.
    pub fn returned(&mut self, now: Instant) -> Duration {
        let recent = self.last.iter().flatten().filter(|at| now.since(**at) < WINDOW).count();
        let wait = match recent {
            0 => Duration::ZERO,
            1 => SECOND_RETURN_WAITS,
            _ => THIRD_RETURN_WAITS,
        };
        self.last = [Some(now), self.last[0]];
        self.held_until = (!wait.is_zero()).then_some(now + wait);
        wait
    }

    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| now < *until)
    }
}

/// The moves of one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moves([Option<Instant>; MOVES]);

impl Moves {
    pub fn moved(&mut self, now: Instant) {
        self.0.rotate_right(1);
        self.0[0] = Some(now);
    }

    /// Until when the address may only leave a member that became unusable.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        let oldest = self.0[MOVES - 1]?;
        (now.since(oldest) < MOVE_WINDOW).then(|| oldest + MOVE_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant(s * 1_000_000_000)
    }

    #[test]
    fn the_second_and_third_return_wait() {
        let mut returns = Returns::default();
        assert_eq!(returns.returned(at(100)), Duration::ZERO);
        assert_eq!(returns.held_until(at(100)), None);
        assert_eq!(returns.returned(at(130)).as_secs(), 10);
        assert_eq!(returns.held_until(at(139)), Some(at(140)));
        assert_eq!(returns.held_until(at(140)), None);
        assert_eq!(returns.returned(at(150)).as_secs(), 60);
        assert_eq!(returns.returned(at(300)), Duration::ZERO);
    }

    #[test]
    fn a_fifth_move_waits() {
        let mut moves = Moves::default();
        for s in [10, 20, 30] {
            moves.moved(at(s));
        }
        assert_eq!(moves.held_until(at(31)), None);
        moves.moved(at(40));
        assert_eq!(moves.held_until(at(41)), Some(at(190)));
        assert_eq!(moves.held_until(at(190)), None);
    }
}
