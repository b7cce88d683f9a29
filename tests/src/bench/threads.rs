//! What threads have had of the CPUs, as the scheduler counts it: softirq work done in a thread's own context is in
//! it, unless the kernel has CONFIG_IRQ_TIME_ACCOUNTING.

const FAST: &str = "mpathd-fast";

/// CPU time of a process's threads so far, ns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Threads {
    pub fast: u64,
    pub all: u64,
    /// How often the fast thread has gone to sleep.
    pub wakeups: u64,
}

impl Threads {
    pub(super) fn of(pid: u32) -> Self {
        let mut sum = Self::default();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
        for task in tasks.map_while(Result::ok) {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name));
            let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
            let ns: u64 = times.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0);
            sum.all += ns;
            if name.trim() == FAST {
                sum.fast += ns;
                sum.wakeups += sleeps(&read("status").unwrap_or_default());
            }
        }
        sum
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            fast: self.fast - before.fast,
            all: self.all - before.all,
            wakeups: self.wakeups - before.wakeups,
        }
    }
}

fn sleeps(status: &str) -> u64 {
    let value = |line: &str| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok();
    status.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voluntary_switches_are_read() {
        assert_eq!(
            sleeps("Threads:\t3\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n"),
            42
        );
    }
}
