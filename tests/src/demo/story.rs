//! The play, act by act: what is done, what is waited for, what is shown.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::instruments::{FAMILIES, Instruments, Moved};
use super::paper::{Ink, Paper};
use super::picture;
use super::scene::{CONFIG, DATA, FDT, LIMIT, Scene};
use super::strip::Strip;
use super::verdict::{Figures, Finding, FlowEnd, Move, judge};
use crate::clock::{self, Nanos, nanos};
use crate::daemon::bin_dir;
use crate::isolate::outer_pid;
use crate::observe::link;
use crate::traffic::Report;

/// Time to read a screen.
const READ: Duration = Duration::from_millis(2000);
/// Datagrams that are not answered by then are lost.
const LAST_DATAGRAM: Duration = Duration::from_millis(300);

/// What has to be there before anything is set up.
///
/// # Errors
/// Says what is missing, and what to do.
pub fn ready() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err(
            "it makes network namespaces and loads BPF programs: run `cargo xtask demo` as root"
                .to_owned(),
        );
    }
    let Some(folder) = std::env::var_os("MPATHD_BIN_DIR").map(PathBuf::from) else {
        return Err("MPATHD_BIN_DIR does not name the folder with mpathd: run `cargo xtask demo`"
            .to_owned());
    };
    for name in ["mpathd", "ipmpstat"] {
        let program = folder.join(name);
        if !program.is_file() {
            return Err(format!("{} is missing: run `cargo xtask demo`", program.display()));
        }
    }
    Ok(())
}

/// Plays it. `keep`: stays at the end, until the process is told to end.
pub fn play(paper: &Paper, keep: bool) -> ExitCode {
    let mut scene = open(paper);
    let nic = scene.nic_of(DATA[0]);
    let (cut, moved) = failover(paper, &scene, nic);
    let mend = repair(paper, &scene, nic);
    let findings = close(paper, &mut scene, cut, mend, &moved);
    if keep {
        stay(paper);
    }
    if findings.iter().all(|finding| finding.good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open(paper: &Paper) -> Scene {
    paper.line(&paper.ink(
        Ink::Strong,
        "mpathd: one host, two cables, and what happens when one of them goes dead",
    ));
    paper.heading("The network (namespaces of this machine)");
    picture::network(paper);
    let lab = Scene::lab();
    paper.pause(READ);

    paper.heading("The daemon starts");
    paper.command("cat mpathd.toml", "");
    CONFIG.lines().filter(|line| !line.is_empty()).for_each(|line| {
        paper.line(&format!("  {}", paper.ink(Ink::Faint, line)));
    });
    paper.command("mpathd --config mpathd.toml &", "");
    let mut scene = Scene::start(lab);
    scene.connect();
    scene.wait_steady();
    paper.pause(READ);
    println!();
    tables(paper, &scene, &["-g", "-i", "-a"]);
    paper.pause(READ);
    println!();
    picture::round_trips(paper, &scene);
    println!();
    paper
        .line(&paper.ink(Ink::Faint, "  Streams, each message answered by an echo, until the end"));
    for flow in &scene.flows {
        paper.line(&format!("  {:12}{}", flow.name, flow.path));
    }
    paper.pause(READ);
    scene
}

fn tables(paper: &Paper, scene: &Scene, modes: &[&str]) {
    for mode in modes {
        paper.command(&format!("ipmpstat {mode}"), &scene.ipmpstat(mode));
    }
}

fn failover(paper: &Paper, scene: &Scene, nic: usize) -> (Nanos, [Moved; 2]) {
    paper.heading(&format!("The path behind eth{nic} goes dead, silently"));
    let instruments = Instruments::listen_to_answers(scene, nic);
    let cut = scene.lab.cut(nic);
    let closed = clock::now();
    let moved = instruments.failover(scene, cut, closed, Strip::window(paper));
    let reports = resumed(scene, closed);
    let carrier = link(scene.lab.host(), &format!("eth{nic}")).has_carrier();
    picture::failover(paper, cut, nic, &moved, carrier);
    println!();
    log(paper, scene, cut);
    paper.pause(READ);
    println!();
    let strip = Strip::new(paper, cut);
    strip.axis(paper, Some(FDT));
    for (family, moved) in FAMILIES.into_iter().zip(&moved) {
        strip.probes(paper, &format!("probe {family}"), &moved.probes, moved.verdict);
    }
    streams(paper, scene, &strip, &reports);
    println!();
    blackouts(paper, scene, &reports, cut);
    paper.pause(READ);
    println!();
    tables(paper, scene, &["-g", "-i", "-a"]);
    paper.pause(READ);
    (cut, moved)
}

/// What the daemon has logged since then; the stamps stand in the table.
fn log(paper: &Paper, scene: &Scene, since: Nanos) {
    paper.line(&paper.ink(Ink::Faint, "  Log of mpathd"));
    for line in scene.daemon.log().iter().filter(|line| line.at >= since) {
        let text = line.text.split_once(' ').map_or(line.text.as_str(), |(_, text)| text);
        paper.line(&format!("  {text}"));
    }
}

fn streams(paper: &Paper, scene: &Scene, strip: &Strip, reports: &[Report]) {
    for (flow, report) in scene.flows.iter().zip(reports) {
        strip.stream(paper, flow.name, report);
    }
}

/// The longest silence of each stream.
fn blackouts(paper: &Paper, scene: &Scene, reports: &[Report], since: Nanos) {
    let names: String = scene.flows.iter().map(|flow| format!("{:>12}", flow.name)).collect();
    let silence = |report: &Report| report.longest_silence(since).as_secs_f64() * 1e3;
    let figures: String =
        reports.iter().map(|report| format!("{:>12.1}", silence(report))).collect();
    paper.line(&paper.ink(Ink::Faint, &format!("  {:14}{names}", "Longest")));
    paper.line(&format!("  {:14}{figures}", "silence (ms)"));
}

/// What the streams have seen, once each has been answered again; one that is not is left to the judgement.
fn resumed(scene: &Scene, since: Nanos) -> Vec<Report> {
    let end = since + nanos(LIMIT);
    let one = |stream: &crate::traffic::Stream| {
        loop {
            let report = stream.report();
            let done = report.first_answer(since).is_some() || report.broken.is_some();
            if done || clock::now() >= end {
                return report;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    scene.flows.iter().map(|flow| one(&flow.stream)).collect()
}

fn repair(paper: &Paper, scene: &Scene, nic: usize) -> Nanos {
    paper.heading("The path is mended");
    let instruments = Instruments::listen(scene, nic);
    let mend = scene.lab.mend(nic);
    let repaired = instruments.repair(scene, mend, Strip::window(paper));
    let reports = resumed(scene, repaired.returned.deleted);
    picture::repair(paper, mend, nic, &repaired);
    println!();
    log(paper, scene, mend);
    paper.pause(READ);
    println!();
    let strip = Strip::new(paper, mend);
    strip.axis(paper, None);
    for (index, family) in FAMILIES.into_iter().enumerate() {
        strip.probes(
            paper,
            &format!("probe {family}"),
            &repaired.probes[index],
            repaired.verdict[index],
        );
    }
    streams(paper, scene, &strip, &reports);
    println!();
    blackouts(paper, scene, &reports, mend);
    paper.pause(READ);
    println!();
    tables(paper, scene, &["-i", "-a"]);
    paper.pause(READ);
    mend
}

fn close(
    paper: &Paper,
    scene: &mut Scene,
    cut: Nanos,
    mend: Nanos,
    moved: &[Moved; 2],
) -> Vec<Finding> {
    let flows = scene.flows.drain(..).map(|flow| {
        let limit = if flow.is_tcp { LIMIT } else { LAST_DATAGRAM };
        FlowEnd::of(flow.name, flow.is_tcp, &flow.stream.finish(limit), mend)
    });
    let after = |at: Nanos| Duration::from_nanos(at.saturating_sub(cut));
    let moves = moved.iter().map(|it| Move {
        address: it.address,
        decided: after(it.verdict),
        stood: after(it.added),
    });
    let findings = judge(&Figures { fdt: FDT, moves: moves.collect(), flows: flows.collect() });
    let good = findings.iter().all(|finding| finding.good);
    let mut lines = vec![if good {
        (
            Ink::Good,
            format!("PASSED: failover within FDT {} ms, no connection broken", FDT.as_millis()),
        )
    } else {
        (Ink::Bad, "FAILED".to_owned())
    }];
    lines.extend(findings.iter().map(|finding| {
        let (ink, word) = if finding.good { (Ink::Plain, "ok ") } else { (Ink::Bad, "BAD") };
        (ink, format!("{word}  {}", finding.text))
    }));
    println!();
    paper.boxed(if good { Ink::Good } else { Ink::Bad }, &lines);
    findings
}

/// Says how to get in, and stays.
fn stay(paper: &Paper) -> ! {
    let tools = bin_dir();
    let tools = tools.display();
    paper.heading("The lab stays up until Ctrl-C");
    for line in [
        "As root in another terminal:",
        &format!("  nsenter --target {} --mount --net --pid", outer_pid()),
        "and there, for example:",
        &format!("  ip netns exec host {tools}/ipmpstat -i"),
        &format!("  ip netns exec host {tools}/ipmpstat -p"),
        "  bridge -n lan link set dev sw1 state 0    # a silent cut; state 3 mends it",
        "  ip -n lan link set sw1 down               # loss of carrier",
        "  ip netns                                  # host lan client t1 t2 t3 far",
    ] {
        paper.line(&format!("  {line}"));
    }
    loop {
        std::thread::park();
    }
}
