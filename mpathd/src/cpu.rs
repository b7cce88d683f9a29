//! Where this host's CPU time went, as far as the kernel tells: /proc/stat for all CPUs together, and what a
//! thread waited for one. Free for everyone to read.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Since boot, summed over all CPUs, in ticks of the kernel (10 ms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The hypervisor ran somebody else though we had work; 0 where nothing is virtual or it does not tell.
    pub steal: Duration,
    /// In interrupts and softirqs.
    pub interrupts: Duration,
}

/// `None` where /proc/stat can't be read.
pub fn taken() -> Option<Taken> {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten()?;
    parse(&fs::read_to_string("/proc/stat").ok()?, u64::try_from(ticks).ok()?)
}

/// The first line, proc_stat(5): cpu user nice system idle iowait irq softirq steal ...
fn parse(stat: &str, per_second: u64) -> Option<Taken> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|it| it.parse().ok()).collect();
    let [_, _, _, _, _, irq, softirq, steal, ..] = fields[..] else { return None };
    let time = |ticks: u64| Duration::from_millis(ticks * 1000 / per_second.max(1));
    Some(Taken { steal: time(steal), interrupts: time(irq + softirq) })
}

/// Number of a thread of this process by its name.
pub fn thread_named(name: &str) -> Option<i32> {
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten();
    let ids = threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is = |id: &i32| {
        fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|it| it.trim() == name)
    };
    ids.into_iter().find(is)
}

/// How long it has been ready to run without running, since its start. `None` where the kernel keeps no
/// such count (CONFIG_SCHED_INFO).
pub fn waited(thread: i32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let mut fields = text.split_whitespace().map_while(|it| it.parse().ok());
    let (ran, waited): (u64, u64) = (fields.next()?, fields.next()?);
    // Without the count all fields are zero, and who asks has a thread that has run.
    (ran > 0).then_some(Duration::from_nanos(waited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_all_cpus_is_read() {
        let stat = "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let ms = Duration::from_millis;
        assert_eq!(parse(stat, 100), Some(Taken { steal: ms(800), interrupts: ms(1300) }));
        assert_eq!(parse("cpu  1 2 3 4 5 6 7\n", 100), None, "before Linux 2.6.11");
        assert_eq!(parse("", 100), None);
    }

    #[test]
    fn this_host_tells() {
        assert!(taken().is_some());
        let told = std::thread::Builder::new().name("waiter".into()).spawn(|| {
            // What a thread has run is counted when it gives its CPU away.
            std::thread::yield_now();
            let id = thread_named("waiter").expect("it runs");
            (id, waited(id))
        });
        let (id, waited) = told.unwrap().join().unwrap();
        assert!(id > 0 && waited.is_some());
        assert_eq!(thread_named("nobody is called that"), None);
    }
}
