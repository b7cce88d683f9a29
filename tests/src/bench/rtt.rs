//! How true the RTT is. Truth is the kernel's stamps of request and reply at the switch's port, of each probe of
//! its own: what a prober tells on top of that is its own. Idle, and with CPU hogs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::fping::{self, Fping};
use super::report::{Csv, Plot, Table};
use super::{Plan, Report};
use crate::capture::{Capture, Content, Frame};
use crate::clock::{self, Nanos, ms_between};
use crate::cuts::Rig;
use crate::daemon::bin_dir;
use crate::load::Hogs;

const HOGS: usize = 16;
const TARGET: &str = "192.0.2.1";
/// The test address of eth0.
const OWN: &str = "192.0.2.10";
/// From a probe's own stamp to its frame at the switch.
const NEAR: Nanos = 5_000_000;

const FDT: Duration = Duration::from_millis(100);

pub(super) fn run(plan: &Plan, report: &mut Report) {
    fping::demand();
    let rig = Rig::start(FDT, 2);
    let mut csv = Csv::new("load,prober,sent_ns,told_us,wire_us");
    let mut plot = Plot::of_distributions("RTT: told less true", "microseconds").log_x();
    for hogs in [0, HOGS] {
        let load = Hogs::start(hogs);
        let begun = clock::now();
        let capture = Capture::start(rig.lab.lan(), "sw0");
        let (daemon, peer) = both(&rig, plan.measure);
        let wire = Wire::of(&capture.frames());
        drop(load);

        let with = if hogs == 0 { "idle".to_owned() } else { format!("with {hogs} CPU hogs") };
        report.heading(format!("RTT of eth0 to {TARGET}, {with}, {:?}", plan.measure));
        let mut table = Table::of_figures("microseconds");
        for (name, told) in [("mpathd", daemon), ("fping", peer)] {
            let pairs: Vec<_> = told.iter().filter_map(|it| Some((it, wire.rtt(it)?))).collect();
            assert!(!pairs.is_empty(), "no probe of {name} was found on the wire");
            let error = pairs.iter().map(error).collect();
            table
                .figures(format!("{name}: told"), &pairs.iter().map(|(it, _)| it.rtt_us).collect());
            table.figures(format!("{name}: at the switch"), &pairs.iter().map(|it| it.1).collect());
            table.figures(format!("{name}: told less true"), &error);
            plot.distribution(format!("{name}, {with}"), &error);
            for (it, true_us) in pairs {
                csv.row(&[&hogs, &name, &it.sent.unwrap_or(0), &it.rtt_us, &true_us]);
            }
        }
        report.table(&table);
        report.text(rig.machine(begun, clock::now()));
    }
    report.plot("error", &plot);
    report.csv("probes", &csv);
}

/// What a prober tells of one answered probe.
struct Told {
    /// Its own stamp; fping has none.
    sent: Option<Nanos>,
    sequence: u16,
    rtt_us: f64,
}

fn error((told, true_us): &(&Told, f64)) -> f64 {
    told.rtt_us - true_us
}

/// Both at the same time, at the same rate.
fn both(rig: &Rig, time: Duration) -> (Vec<Told>, Vec<Told>) {
    let period = rig.interval().as_secs_f64() * 1e3;
    let run_dir = rig.daemon.run_dir().to_owned();
    let mut probes = Command::new(bin_dir().join("ipmpstat"))
        .args(["-p", "-n", "--json"])
        .env("MPATHD_RUN_DIR", run_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ipmpstat can be run");
    let lines = BufReader::new(probes.stdout.take().expect("it is piped"));
    let reader = std::thread::spawn(move || lines.lines().map_while(Result::ok).collect());
    let target = [TARGET.to_owned()];
    let fping = Fping::start(rig.lab.host(), 0, period, &["-l", "-S", OWN], &target);
    std::thread::sleep(time);
    let (said, _) = fping.finish();
    probes.kill().expect("it is our child");
    probes.wait().expect("it is our child");
    let records: Vec<String> = reader.join().expect("it does not panic");
    let of_daemon = records.iter().filter_map(|line| probe_record(line)).collect();
    (of_daemon, said.lines().filter_map(fping_line).collect())
}

fn probe_record(line: &str) -> Option<Told> {
    let record: Value = serde_json::from_str(line).ok()?;
    let ours = record["interface"] == "eth0" && record["target"] == TARGET;
    Some(Told {
        sent: Some(record["sent_ns"].as_u64().filter(|_| ours)?),
        sequence: record["probe"].as_u64()?.try_into().ok()?,
        rtt_us: record["netrtt_ns"].as_f64()? / 1e3,
    })
}

/// `192.0.2.1 : [12], 64 bytes, 0.045 ms (0.051 avg, 0% loss)`
fn fping_line(line: &str) -> Option<Told> {
    let (_, rest) = line.split_once(" : [")?;
    let (number, rest) = rest.split_once("], ")?;
    let (_, rest) = rest.split_once("bytes, ")?;
    let (ms, _) = rest.split_once(" ms")?;
    let ms: f64 = ms.parse().ok()?;
    Some(Told { sent: None, sequence: number.trim().parse().ok()?, rtt_us: ms * 1e3 })
}

/// Requests to the target and their replies, by identifier and sequence number.
struct Wire {
    pairs: BTreeMap<(u16, u16), Vec<(Nanos, Nanos)>>,
    /// The identifier of fping, which begins with sequence number 0.
    peer: Option<u16>,
}

impl Wire {
    fn of(frames: &[Frame]) -> Self {
        let target: IpAddr = TARGET.parse().expect("an address");
        let mut open: BTreeMap<(u16, u16), Nanos> = BTreeMap::new();
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for frame in frames {
            match frame.content {
                Content::Echo { request: true, destination, id, sequence, .. }
                    if destination == target =>
                {
                    open.insert((id, sequence), frame.at);
                }
                Content::Echo { request: false, source, id, sequence, .. } if source == target => {
                    if let Some(sent) = open.remove(&(id, sequence)) {
                        found.entry((id, sequence)).or_default().push((sent, frame.at));
                    }
                }
                _ => {}
            }
        }
        let peer = found.keys().find(|key| key.1 == 0).map(|key| key.0);
        Self { pairs: found, peer }
    }

    /// Of that probe, in microseconds; by its stamp, or fping's by its number, which comes once in a run.
    fn rtt(&self, told: &Told) -> Option<f64> {
        let of_sequence = self.pairs.iter().filter(|(key, _)| key.1 == told.sequence);
        let mut seen = of_sequence.flat_map(|(key, pairs)| pairs.iter().map(move |it| (key.0, it)));
        let (_, (sent, answered)) = match told.sent {
            Some(stamp) => seen.find(|(_, (sent, _))| (stamp..stamp + NEAR).contains(sent))?,
            None => seen.find(|(id, _)| Some(*id) == self.peer)?,
        };
        Some(ms_between(*sent, *answered) * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::fping_line;

    #[test]
    fn a_reply_of_fping_is_read_and_nothing_else_is() {
        let told = fping_line("192.0.2.1 : [12], 64 bytes, 0.045 ms (0.051 avg, 0% loss)");
        let told = told.expect("it is a reply");
        assert_eq!((told.sequence, told.sent), (12, None));
        assert!((told.rtt_us - 45.0).abs() < 1e-9);
        assert!(fping_line("192.0.2.1 : [13], timed out (0.051 avg, 3% loss)").is_none());
    }
}
