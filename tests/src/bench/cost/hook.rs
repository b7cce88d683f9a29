//! What the hook on the NIC costs the frames of others, and a flood of frames that look like replies.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

use crate::bench::Report;
use crate::bench::report::{Csv, Table};
use crate::clock;
use crate::cuts::Rig;
use crate::flood::{Flood, received};

const NIC: [u8; 6] = [2, 0, 0, 0, 0, 0];
const BYSTANDERS: u64 = 100_000;
const LOOK_ALIKES: u64 = 1_000_000;
/// ns a frame.
const LIMIT: f64 = 50.0;

pub(super) fn run(rig: &Rig, time: Duration, report: &mut Report) {
    report.heading("The hook's own time, by the kernel's run time statistics");
    // They end with the descriptor.
    let stats = enable_stats(Stats::RunTime).expect("Linux 5.8, and CAP_SYS_ADMIN");
    let mut table = Table::new(&["frames on eth0", "frames/s", "ns a frame"]);
    let mut csv = Csv::new("frames,frames_s,ns");
    let mut add = |name: &str, (rate, ns): (f64, f64)| {
        table.row(&[&name, &format!("{rate:.0}"), &format!("{ns:.0}")]);
        csv.row(&[&name, &rate, &ns]);
    };
    add("replies to probes", spent(rig, time));
    let udp = {
        let [lan, host] = [rig.lab.lan(), rig.lab.host()];
        let _flood = Flood::of_udp(lan, "sw0", NIC, host, [192, 0, 2, 10], BYSTANDERS);
        spent(rig, time)
    };
    add("UDP of others", udp);
    let flood = Flood::of_look_alikes(rig.lab.lan(), "sw0", NIC, LOOK_ALIKES);
    let begun = clock::now();
    let looks = spent(rig, time);
    add("look-alikes of replies", looks);
    report.table(&table);
    report.text("With the statistics' own reading of the clock, twice a run, in it.");
    report.csv("hook", &csv);
    drop(stats);
    let name = format!("a frame of somebody else costs at most {LIMIT} ns in our program");
    report.claim(name, format!("{:.0} ns", udp.1), udp.1 <= LIMIT);
    withstand(rig, &flood, begun, time, report);
}

/// Nothing fails while the flood comes in; what is cut does.
fn withstand(rig: &Rig, flood: &Flood, begun: u64, time: Duration, report: &mut Report) {
    std::thread::sleep(time);
    let failures = rig.daemon.log_since(begun);
    let failures = failures.iter().filter(|it| it.told("interface-failed").is_some()).count();
    let (rate, came) = (flood.rate(), received(rig.lab.host(), "eth0"));
    let cut = rig.lab.cut(0);
    let limit = Duration::from_secs(20);
    let told = rig.daemon.wait_log("IP interface failure detected on eth0 ", cut, limit);
    let took = Duration::from_nanos(told.at - cut);
    rig.lab.mend(0);
    report.heading("Frames that look like replies");
    report.text(format!(
        "Replies right in all but their cookie, sent to eth0 as fast as one thread can, {rate:.0} a second on \
         average ({came} frames have come to eth0 since its start); its real cut is told after {took:.1?} at FDT \
         {:.0?}. {}",
        rig.fdt(),
        rig.machine(begun, clock::now())
    ));
    report.claim("look-alikes fail no NIC", format!("{failures} failures"), failures == 0);
    let late = rig.fdt() + Duration::from_millis(50);
    report.claim("a cut is found in a flood of look-alikes", format!("{took:.1?}"), took <= late);
}

/// Frames a second, and ns for each.
fn spent(rig: &Rig, time: Duration) -> (f64, f64) {
    let (begun, before) = (clock::now(), runs(rig));
    std::thread::sleep(time);
    let (ended, after) = (clock::now(), runs(rig));
    let frames = (after.1 - before.1) as f64;
    (frames / (ended - begun) as f64 * 1e9, (after.0 - before.0) as f64 / frames)
}

/// Of the program on eth0 and eth1: ns, and how often it ran.
fn runs(rig: &Rig) -> (u64, u64) {
    let text = rig.lab.host().expect("ip", &["-j", "link", "show", "dev", "eth0"]);
    let told: serde_json::Value = serde_json::from_str(&text).expect("it says JSON");
    let id = told[0]["xdp"]["prog"]["id"].as_u64().expect("our hook is on eth0");
    let mut programs = loaded_programs().map_while(Result::ok);
    let program = programs.find(|it| u64::from(it.id()) == id).expect("it is loaded");
    let fd = program.fd().expect("it can be opened");
    let fd = fd.as_fd().as_raw_fd();
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("ours");
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|it| it.trim().parse().ok()).expect("a number")
    };
    (value("run_time_ns:"), value("run_cnt:"))
}
