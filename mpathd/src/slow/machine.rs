//! What the machine did to the fast thread, second by second: the daemon names what made it blind.

use std::time::Duration;

use mpathd_core::histogram::Histogram;
use mpathd_core::time::Instant;
use serde::{Deserialize, Serialize};

use crate::cpu;
use crate::fast;

/// Since the start of the daemon, a sample a second. `None`: this kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seconds {
    /// The hypervisor ran somebody else instead, all CPUs together, in steps of 10 ms.
    pub steal: Option<Histogram>,
    /// The fast thread was ready to run and others ran.
    pub cpu_wait: Option<Histogram>,
    /// Interrupts and softirqs, all CPUs together, in steps of 10 ms.
    pub interrupts: Option<Histogram>,
}

#[derive(Clone, Copy, Default)]
struct Reading {
    taken: Option<cpu::Taken>,
    waited: Option<Duration>,
}

/// Between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Meanwhile {
    steal: Option<Duration>,
    cpu_wait: Option<Duration>,
    interrupts: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Machine {
    seconds: Seconds,
    /// Number of the fast thread.
    thread: Option<i32>,
    last: Option<Reading>,
    /// The one before: what a cause is sought in may have begun before the last one.
    before: Option<Reading>,
}

impl Machine {
    pub(super) fn seconds(&self) -> Seconds {
        self.seconds
    }

    /// To be called each second, when the fast thread has come round.
    pub(super) fn sample(&mut self, now: Instant) {
        let reading = self.read();
        if let Some(last) = self.last {
            let Meanwhile { steal, cpu_wait, interrupts } = reading.since(last);
            let all = &mut self.seconds;
            record(&mut all.steal, steal, now);
            record(&mut all.cpu_wait, cpu_wait, now);
            record(&mut all.interrupts, interrupts, now);
        }
        (self.before, self.last) = (self.last, Some(reading));
    }

    /// Why the fast thread was late just now, in words.
    pub(super) fn cause(&mut self, late: Duration) -> Option<String> {
        let before = self.before.or(self.last)?;
        Some(likely_cause(late, self.read().since(before)))
    }

    fn read(&mut self) -> Reading {
        self.thread = self.thread.or_else(|| cpu::thread_named(fast::NAME));
        Reading { taken: cpu::taken(), waited: self.thread.and_then(cpu::waited) }
    }
}

impl Reading {
    fn since(self, before: Self) -> Meanwhile {
        let more = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        let taken = |of: fn(cpu::Taken) -> Duration| more(self.taken.map(of), before.taken.map(of));
        Meanwhile {
            steal: taken(|it| it.steal),
            cpu_wait: more(self.waited, before.waited),
            interrupts: taken(|it| it.interrupts),
        }
    }
}

fn record(all: &mut Option<Histogram>, second: Option<Duration>, now: Instant) {
    if let Some(second) = second {
        all.get_or_insert_default().record(second, now);
    }
}

/// Whatever amounts to half of the lateness can have caused it; the figures overlap, for who waits for a
/// virtual CPU that is stolen is counted twice.
fn likely_cause(late: Duration, meanwhile: Meanwhile) -> String {
    let Meanwhile { steal, cpu_wait, interrupts } = meanwhile;
    let enough = |it: &Duration| *it > Duration::ZERO && *it >= late / 2;
    let ms = |it: Duration| it.as_secs_f64() * 1e3;
    let mut causes = Vec::new();
    causes.extend(
        steal
            .filter(enough)
            .map(|it| format!("the hypervisor ran somebody else for {:.0} ms (steal)", ms(it))),
    );
    causes.extend(
        cpu_wait
            .filter(enough)
            .map(|it| format!("the thread waited {:.1} ms for a CPU that others had", ms(it))),
    );
    if causes.is_empty() {
        causes.extend(
            interrupts
                .filter(enough)
                .map(|it| format!("interrupts and softirqs took {:.0} ms", ms(it))),
        );
    }
    if !causes.is_empty() {
        return format!("likely cause: {}", causes.join("; "));
    }
    match (steal, cpu_wait) {
        (Some(_), Some(_)) => "likely cause: none that the kernel counts (steal, wait for a CPU, \
                               interrupts); was mpathd stopped, or the whole machine?"
            .to_owned(),
        _ => "likely cause: not to be known, for this kernel counts no steal or no wait for a CPU"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_amounts_to_the_lateness_is_named() {
        let told = |steal, wait, interrupts| {
            let known = |ms: u32| Some(ms * MS);
            let (steal, cpu_wait, interrupts) = (known(steal), known(wait), known(interrupts));
            likely_cause(20 * MS, Meanwhile { steal, cpu_wait, interrupts })
        };
        for (figures, words) in [
            ((30, 0, 40), "the hypervisor ran somebody else for 30 ms (steal)"),
            ((0, 18, 40), "the thread waited 18.0 ms for a CPU that others had"),
            ((10, 25, 0), "for 10 ms (steal); the thread waited 25.0 ms for a CPU that others had"),
            ((0, 1, 40), "interrupts and softirqs took 40 ms"),
            ((0, 0, 0), "none that the kernel counts"),
        ] {
            let (steal, wait, interrupts) = figures;
            let told = told(steal, wait, interrupts);
            assert!(
                told.starts_with("likely cause: ") && told.contains(words),
                "{figures:?}: {told}"
            );
        }
        let silent =
            likely_cause(MS, Meanwhile { steal: Some(Duration::ZERO), ..Meanwhile::default() });
        assert!(silent.contains("not to be known"), "{silent}");
    }

    #[test]
    fn seconds_are_counted_from_the_second_reading() {
        let mut machine = Machine::default();
        machine.sample(Instant(1));
        assert_eq!(machine.seconds(), Seconds::default());
        assert!(machine.cause(MS).is_some());
        machine.sample(Instant(2));
        assert_eq!(machine.seconds().steal.expect("Linux tells").count(), 1);
        assert_eq!(machine.seconds().cpu_wait, None, "there is no fast thread in this test");
    }
}
