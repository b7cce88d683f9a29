//! Whoever watches paths and says when one is dead.

use std::time::Duration;

use crate::clock::{self, Nanos};

/// mpathd on its NICs, or the BFD daemons of one kind at both ends of a path.
pub(super) trait Contestant {
    fn name(&self) -> String;

    /// What it was told, in its own terms.
    fn told(&self) -> String;

    /// After that time at the latest a failure should be found, by what it was told.
    fn promise(&self) -> Duration;

    /// What it has said since it was started, per end of a path, or per NIC.
    fn changes(&self) -> Vec<Vec<Change>>;

    /// Who must find out about a cut.
    fn concerned(&self) -> &'static [usize];

    /// Cuts a path silently, both ways, carrier up. The moment just before.
    fn cut(&self) -> Nanos;

    fn mend(&self);

    /// CPU time of all its threads so far, ns.
    fn cpu(&self) -> Nanos;

    /// Frames that it has sent so far.
    fn sent(&self) -> u64;

    fn log(&self) -> String;

    /// Since when all paths have been up at all ends, if they are.
    fn sound_since(&self) -> Option<Nanos> {
        let changes = self.changes();
        let last = changes.iter().map(|it| it.last().filter(|it| it.up).map(|it| it.at));
        last.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// From when to when not all was up that had been. An end that gives a path up tells the other, if it can:
    /// that is one outage, not two.
    fn outages(&self) -> Vec<(Nanos, Option<Nanos>)> {
        let changes = self.changes();
        let mut up = vec![false; changes.len()];
        let of_end = |(end, changes): (usize, Vec<Change>)| {
            changes.into_iter().map(move |it| (it.at, end, it.up))
        };
        let mut all: Vec<_> = changes.into_iter().enumerate().flat_map(of_end).collect();
        all.sort_unstable();
        let mut outages: Vec<(Nanos, Option<Nanos>)> = Vec::new();
        for (at, end, now_up) in all {
            let before = up.iter().all(|it| *it);
            up[end] = now_up;
            let now = up.iter().all(|it| *it);
            if before && !now {
                outages.push((at, None));
            } else if !before
                && now
                && let Some((_, back)) = outages.last_mut()
            {
                *back = Some(at);
            }
        }
        outages
    }
}

/// From now on a path is up, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The daemon's own stamp, where it has one finer than a second; else when its word was read.
    pub(super) at: Nanos,
    pub(super) heard: Nanos,
    pub(super) up: bool,
}

/// The moment that a line of a log, heard at `heard`, says of itself, if it names it finer than a second. All
/// daemons here tell UTC.
pub(super) fn stamp(line: &str, heard: Nanos) -> Option<Nanos> {
    const DAY: Nanos = 24 * 3600 * 1_000_000_000;
    let wall = clock::wall();
    let since_heard = clock::now() - heard;
    let told = time_of_day(line)?;
    // Some time before it was heard; the line does not always have its date.
    let age = ((wall - since_heard) % DAY + DAY - told) % DAY;
    Some(heard.saturating_sub(age))
}

/// The first `HH:MM:SS.FRACTION`, as nanoseconds of the day.
fn time_of_day(line: &str) -> Option<Nanos> {
    let (at, _) = line.match_indices(':').find(|(at, _)| {
        let form = line.as_bytes().get(at.wrapping_sub(2)..at + 7);
        form.is_some_and(|it| {
            it.iter().enumerate().all(|(index, byte)| match index {
                2 | 5 => *byte == b':',
                8 => *byte == b'.',
                _ => byte.is_ascii_digit(),
            })
        })
    })?;
    let number = |from: usize| line[from..from + 2].parse::<u64>().ok();
    let seconds = number(at - 2)? * 3600 + number(at + 1)? * 60 + number(at + 4)?;
    let digits = line[at + 7..].bytes().take_while(u8::is_ascii_digit).take(9);
    let fraction = digits.zip([8, 7, 6, 5, 4, 3, 2, 1, 0]);
    let fraction: u64 =
        fraction.map(|(digit, place)| u64::from(digit - b'0') * 10_u64.pow(place)).sum();
    Some(seconds * 1_000_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_found_in_every_log() {
        let half_past = (3600 + 30 * 60 + 7) * 1_000_000_000;
        for (line, fraction) in [
            ("2026-11-28 01:30:07.407276 <TRACE> bfd1: Starting", 407_276_000),
            ("2026/11/28 01:30:07.000009 BFD: [WJMQE-SVGRJ] state-change: 12:00:00.5", 9_000),
            ("2026-11-28T01:30:07.25Z err IP interface failure", 250_000_000),
        ] {
            assert_eq!(time_of_day(line), Some(half_past + fraction), "{line}");
        }
        assert_eq!(time_of_day("Sat Nov 28 01:30:07 2026: (peer) Entering Up state"), None);
        assert_eq!(time_of_day("é:1"), None);
    }

    #[test]
    fn a_stamp_lies_before_its_hearing_also_across_midnight() {
        let heard = clock::now();
        let day = 24 * 3600 * 1_000_000_000;
        let told = (clock::wall() + day - 5_000_000) % day;
        let (seconds, rest) = (told / 1_000_000_000, told % 1_000_000_000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let line = format!("{hour:02}:{minute:02}:{second:02}.{rest:09}");
        let age = heard - stamp(&line, heard).unwrap();
        assert!((4_000_000..=5_000_000).contains(&age), "{age}");
    }

    struct Told(Vec<Vec<Change>>);

    impl Contestant for Told {
        fn name(&self) -> String {
            String::new()
        }
        fn told(&self) -> String {
            String::new()
        }
        fn promise(&self) -> Duration {
            Duration::ZERO
        }
        fn changes(&self) -> Vec<Vec<Change>> {
            self.0.clone()
        }
        fn concerned(&self) -> &'static [usize] {
            &[]
        }
        fn cut(&self) -> Nanos {
            0
        }
        fn mend(&self) {}
        fn cpu(&self) -> Nanos {
            0
        }
        fn sent(&self) -> u64 {
            0
        }
        fn log(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn what_was_up_at_all_ends_is_out_once() {
        let change = |at, up| Change { at, heard: at, up };
        let mut told = Told(vec![vec![change(1, false), change(2, true)], vec![]]);
        assert_eq!(told.outages(), []);
        assert_eq!(told.sound_since(), None);
        told.0[1].push(change(3, true));
        assert_eq!(told.sound_since(), Some(3));
        told.0[0].extend([change(5, false), change(6, false)]);
        told.0[1].push(change(4, false));
        assert_eq!(told.outages(), [(4, None)]);
        assert_eq!(told.sound_since(), None);
        told.0[0].push(change(7, true));
        told.0[1].extend([change(8, true), change(9, false)]);
        assert_eq!(told.outages(), [(4, Some(8)), (9, None)]);
    }
}
