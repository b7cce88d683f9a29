//! CPU time as the scheduler counts it, to the nanosecond.

use std::fs;

use crate::clock::Nanos;

/// Of all threads of a process so far.
pub(super) fn of_process(pid: u32) -> Nanos {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let of = |task: fs::DirEntry| {
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<Nanos>().ok()
    };
    // One that ends meanwhile has no more to tell.
    tasks.map_while(Result::ok).filter_map(of).sum()
}

/// Of all processes of a process group.
pub(super) fn of_group(group: u32) -> Nanos {
    let processes = fs::read_dir("/proc").expect("/proc is mounted").map_while(Result::ok);
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| group_of(*pid) == Some(group)).map(of_process).sum()
}

/// `PID (NAME) STATE PARENT GROUP ...`; the name may have anything in it.
fn group_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_used_some_and_its_group_no_less() {
        let own = std::process::id();
        let used = super::of_process(own);
        assert!(used > 0);
        let group = super::group_of(own).unwrap();
        assert!(super::of_group(group) >= used);
    }
}
