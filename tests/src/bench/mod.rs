//! The benchmark: what a failover takes, how true the measured RTT is, and what a probe costs, each beside a peer
//! in the same run, and beside what the machine did meanwhile. Prints tables; raw data goes to files.

mod cpu;
mod detection;
mod peer;
mod rtt;
mod table;

use std::path::Path;
use std::time::Duration;

use crate::clock::Nanos;
use crate::cuts::Rig;

const FDT: Duration = Duration::from_millis(100);

/// Measures all, and writes the raw data into `folder`.
///
/// # Panics
/// If the lab or the daemon fails, or fping is not installed.
pub fn run(cuts: u32, seconds: u64, folder: &Path) {
    peer::demand();
    std::fs::create_dir_all(folder)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    println!("{}", conditions());
    let mut rig = Rig::start(FDT, 2);
    detection::measure(&mut rig, cuts, folder);
    rig.wait_repaired();
    rtt::measure(&rig, seconds, folder);
    cpu::measure(&rig, seconds, folder);
    println!("\nraw data: {}", folder.display());
}

/// Figures mean little without them.
fn conditions() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cpus} CPUs, Linux {}, load average at the start {load}; network namespaces, veth",
        kernel.trim()
    )
}

/// What the machine did in that time.
fn machine(rig: &Rig, from: Nanos, to: Nanos) -> String {
    format!(
        "this machine meanwhile: longest stall {:.1?}, longest wait for RTNL {:.1?}",
        rig.stalls.longest(from, to),
        rig.rtnl.longest(from, to)
    )
}
