//! `mpathd check --measure TIME`: which failure detection time this host can honour, found out on this host
//! as it is now, without the daemon. Nothing is changed.

use std::fmt::Write;
use std::io;
use std::thread;
use std::time::Duration;

use mpathd_core::histogram::Histogram;

use crate::config::{FDT_MAX, FDT_MIN, Realtime, Settings, words};
use crate::cpu;
use crate::fast::priority::Outcome;
use crate::fast::{clock, priority};
use crate::host::rtnl::Rtnl;

/// A verdict may be due at any moment: looked at that often.
const TICK: Duration = Duration::from_millis(1);
/// RTNL is asked for that often; more would be a load of its own.
const ASK: Duration = Duration::from_millis(5);
/// What the fast thread has where an FDT is under 1 s; the host thread is one below.
const PRIORITY: u8 = 51;
/// Bounds of the time it takes.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(1);

/// As in the configuration, `10s` or `5m`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    match crate::config::parse_duration(text)? {
        time if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
        _ => Err("1s to 1h is allowed".to_owned()),
    }
}

/// What was found.
pub struct Measured {
    pub length: Duration,
    /// Of the thread that woke.
    pub class: Outcome,
    /// How late a verdict would have been that was due at each [`TICK`]; a stall counts for all those that it
    /// has held up.
    pub wakes: Histogram,
    /// Waits for RTNL; in words where it may not be asked for.
    pub rtnl: Result<Histogram, String>,
    pub taken: Option<cpu::Taken>,
}

/// Takes `length`. The threads are scheduled as the daemon's would be with a short FDT.
///
/// # Errors
/// Where no thread is to be had.
pub fn measure(settings: &Settings, length: Duration) -> io::Result<Measured> {
    let priority = match settings.realtime {
        Realtime::Fixed(priority) => priority,
        Realtime::Deadline => priority::DEADLINE,
        Realtime::Auto => PRIORITY,
    };
    let before = cpu::taken();
    let (woken, asked) = thread::scope(|scope| {
        let woken = thread::Builder::new().spawn_scoped(scope, || wake_ups(priority, length))?;
        let asked = thread::Builder::new()
            .spawn_scoped(scope, || rtnl_waits(priority::of_host(priority), length))?;
        let gone = |_| io::Error::other("a measuring thread has panicked");
        io::Result::Ok((woken.join().map_err(gone)?, asked.join().map_err(gone)?))
    })?;
    let (class, wakes) = woken;
    let taken = cpu::taken().zip(before).map(|(now, before)| cpu::Taken {
        steal: now.steal.saturating_sub(before.steal),
        interrupts: now.interrupts.saturating_sub(before.interrupts),
    });
    Ok(Measured { length, class, wakes, rtnl: asked, taken })
}

/// As the fast thread waits: ppoll until a moment, on any CPU.
fn wake_ups(priority: u8, length: Duration) -> (Outcome, Histogram) {
    let class = priority::apply(priority);
    let mut wakes = Histogram::default();
    let mut due = clock::now() + TICK;
    let end = due + length;
    while due < end {
        clock::sleep_until(due);
        let now = clock::now();
        while due <= now && due < end {
            wakes.record(now.since(due), now);
            due = due + TICK;
        }
    }
    (class, wakes)
}

fn rtnl_waits(priority: u8, length: Duration) -> Result<Histogram, String> {
    let mut rtnl = Rtnl::open().map_err(|error| error.to_string())?;
    priority::apply(priority);
    let mut waits = Histogram::default();
    let mut now = clock::now();
    let end = now + length;
    while now < end {
        let waited = rtnl.ask().map_err(|refused| refused.to_string())?;
        now = clock::now();
        waits.record(waited, now);
        clock::sleep_until(now + ASK);
    }
    Ok(waits)
}

/// The shortest failure detection time, of 5, 10, 20, 50 ms and so on, that a host so late honours; `None` where
/// none can be told.
///
/// Lateness never makes a verdict false, so what matters is that FDT plus lateness stays a promise. A verdict
/// comes 5 T + L after the break at the latest (T = FDT / 6, L: how long a reply is waited for), so it may be
/// T - L late. With half of an interval left to L, which is the most that targets on a LAN need, T / 2 remains: it
/// must do for 999 verdicts of 1000. Not for all: the longest stall of a host depends on how long one looks, and
/// what it costs is said beside.
pub fn honoured(wakes: &Histogram) -> Option<Duration> {
    let late = wakes.quantile(999)?;
    scale().find(|fdt| late <= *fdt / 12)
}

/// 5, 10, 20, 50 ms ... up to the longest that may be configured.
fn scale() -> impl Iterator<Item = Duration> {
    let decades = (0..).map(|n| FDT_MIN * 10_u32.pow(n));
    let steps = decades.flat_map(|ms| [ms, ms * 2, ms * 4]);
    steps.take_while(|fdt| *fdt <= FDT_MAX)
}

/// Comments behind the plan.
pub fn text(measured: &Measured) -> String {
    let Measured { length, class, wakes, rtnl, taken } = measured;
    let mut text = format!("\n# this host, measured for {}:\n", words::duration(*length));
    let mut line = |line: String| writeln!(text, "# {line}").expect("a String takes everything");
    line(format!(
        "a thread at {} that wakes each ms is late by {}",
        self::class(*class),
        figures(wakes)
    ));
    line(match rtnl {
        Ok(waits) => {
            format!("RTNL, the kernel's lock for network configuration, takes {}", figures(waits))
        }
        Err(why) => format!("waits for RTNL are not known ({why}); CAP_NET_ADMIN is needed"),
    });
    line(match taken {
        Some(taken) => format!(
            "of all CPUs the hypervisor took {} ms (steal), interrupts and softirqs {} ms",
            taken.steal.as_millis(),
            taken.interrupts.as_millis()
        ),
        None => "steal is not known: /proc/stat can't be read".to_owned(),
    });
    match honoured(wakes) {
        Some(fdt) => {
            line(format!(
                "this host can honour a failure detection time of {}: 999 of 1000 verdicts come less than {} late,",
                words::duration(fdt),
                ms(fdt / 12)
            ));
            line(format!(
                "half of the time between two probes; the longest stall would make one {} late, none false",
                ms(wakes.max)
            ));
        }
        None => {
            line("this host honours no failure detection time: it hardly runs at all".to_owned())
        }
    }
    text
}

/// A line for each group that asks for more than the host can do.
pub fn warnings(settings: &Settings, measured: &Measured) -> Vec<String> {
    let Some(honoured) = honoured(&measured.wakes) else { return Vec::new() };
    let asks_more = settings.engine.named().filter(|group| group.fdt < honoured);
    let warning = |group: &mpathd_core::config::Group| {
        format!(
            "group {} has an FDT of {}, and this host can honour {}: verdicts come late more often than \
             once in 1000, never false; raise failure_detection_time, or find what delays (`ipmpstat -l`)",
            group.name,
            words::duration(group.fdt),
            words::duration(honoured)
        )
    };
    asks_more.map(warning).collect()
}

fn class(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ordinary => "ordinary priority".to_owned(),
        Outcome::Fifo(priority) => format!("SCHED_FIFO {priority}"),
        Outcome::Deadline => "SCHED_DEADLINE".to_owned(),
        Outcome::NoDeadline { .. } => "SCHED_FIFO 51 (SCHED_DEADLINE is refused)".to_owned(),
        Outcome::Lowered { asked, got } => format!("SCHED_FIFO {got} (instead of {asked})"),
        Outcome::Refused { asked, .. } => {
            format!("ordinary priority (SCHED_FIFO {asked} is refused to this user)")
        }
    }
}

fn figures(histogram: &Histogram) -> String {
    let at = |per_mille| ms(histogram.quantile(per_mille).unwrap_or_default());
    let [p50, p99, p999, max] = [500, 990, 999, 1000].map(at);
    format!("p50 {p50}, p99 {p99}, p99.9 {p999}, max {max} ({} times)", histogram.count())
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use mpathd_core::time::Instant;

    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn late(all: &[(u32, u32)]) -> Histogram {
        let mut wakes = Histogram::default();
        for (count, us) in all {
            (0..*count).for_each(|_| wakes.record(*us * US, Instant(1)));
        }
        wakes
    }

    #[test]
    fn what_999_of_1000_keep_is_honoured() {
        for (wakes, ms) in [
            // 5 ms / 12 = 417 us; the upper end of a bucket counts: 262 us.
            (&[(1000, 200)][..], 5),
            (&[(999, 200), (1, 40_000)], 5),
            (&[(998, 200), (2, 40_000)], 500),
            (&[(1000, 500)], 10),
            (&[(1000, 1_000)], 20),
            (&[(1000, 4_000)], 50),
            (&[(1000, 8_000)], 100),
            (&[(1000, 100_000)], 2_000),
        ] {
            assert_eq!(honoured(&late(wakes)), Some(Duration::from_millis(ms)), "{wakes:?}");
        }
        assert_eq!(honoured(&Histogram::default()), None);
    }

    #[test]
    fn the_scale_has_the_bounds_of_the_configuration() {
        let all: Vec<Duration> = scale().collect();
        let ms = |ms| Duration::from_millis(ms);
        assert_eq!(all[..5], [ms(5), ms(10), ms(20), ms(50), ms(100)]);
        assert!(all.last().is_some_and(|last| *last <= FDT_MAX && *last * 3 > FDT_MAX), "{all:?}");
    }

    #[test]
    fn a_time_is_written_as_in_the_configuration() {
        assert_eq!(parse_time("10s"), Ok(Duration::from_secs(10)));
        assert!(parse_time("10").unwrap_err().contains("unit"));
        assert!(parse_time("2h").unwrap_err().contains("1h"));
        assert_eq!(parse_time("10ms"), Err("1s to 1h is allowed".to_owned()));
    }

    #[test]
    fn only_a_group_that_asks_for_more_is_warned_of() {
        let toml = "[groups.quick]\nfailure_detection_time = \"10ms\"\n[groups.quick.interfaces.a]\n\
                    [groups.slow]\nfailure_detection_time = \"50ms\"\n[groups.slow.interfaces.b]\n";
        let settings = crate::config::parse(toml.as_bytes(), "x.toml".as_ref()).unwrap();
        let measured = |us| Measured {
            length: SHORTEST,
            class: Outcome::Fifo(51),
            wakes: late(&[(1000, us)]),
            rtnl: Err("no right".to_owned()),
            taken: None,
        };
        assert_eq!(warnings(&settings, &measured(100)), Vec::<String>::new());
        let told = warnings(&settings, &measured(4_000));
        assert!(
            told.len() == 1 && told[0].starts_with("group quick has an FDT of 10ms"),
            "{told:?}"
        );
        let text = text(&measured(4_000));
        assert!(text.contains("can honour a failure detection time of 50ms"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("# ")), "{text}");
    }
}
