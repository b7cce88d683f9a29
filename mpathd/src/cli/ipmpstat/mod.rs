//! `ipmpstat`: what the daemon sees, in the columns of behaviour file 7 or as JSON. Each mode is a
//! pure function of a [`View`] or, with what became of the replies and what the machine did, of a
//! [`Snapshot`].

pub mod address;
pub mod args;
pub mod event;
pub mod group;
pub mod interface;
pub mod lateness;
pub mod order;
pub mod probe;
pub mod screen;
pub mod target;
pub mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use mpathd_core::time::Instant;
use mpathd_core::view::View;
use serde_json::{Value, json};

use self::args::{Args, Mode, NoArgs, USAGE};
use self::text::ms;
use crate::cli::columns::{Column, FieldError, Layout, Printer, Row, fields};
use crate::cli::daemon::{Daemon, EventRecord, Failure, Snapshot};
use crate::cli::names::Names;

/// What the tool knows of its surroundings.
pub struct Setting<'a> {
    pub run_dir: PathBuf,
    /// hosts(5).
    pub hosts: PathBuf,
    /// Start of the tool, on the daemon's clock.
    pub started: Instant,
    /// Lines of the terminal.
    pub screen: &'a dyn Fn() -> usize,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Fields(#[from] FieldError),
    #[error("{0}")]
    Daemon(Failure),
    #[error("cannot snapshot IPMP state: {0}")]
    Snapshot(Failure),
    #[error("probe-based failure detection is disabled")]
    NoProbes,
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// All of `ipmpstat`: every error is 1, as in the original.
pub fn run<D: Daemon>(
    arguments: impl IntoIterator<Item = String>,
    setting: &Setting<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    match Args::parse(arguments, setting.run_dir.clone()) {
        Ok(args) => match show::<D>(&args, setting, out, err) {
            Ok(()) => ExitCode::SUCCESS,
            // The reader has seen enough: `ipmpstat -p | head`.
            Err(Error::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => tell(err, &format!("ipmpstat: {error}\n")),
        },
        Err(NoArgs::Help) => help(out, &format!("{USAGE}\n{}", all_fields())),
        Err(NoArgs::Version) => help(out, concat!("ipmpstat ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(NoArgs::Usage) => tell(err, USAGE),
        Err(NoArgs::Option(bad)) => tell(err, &format!("ipmpstat: {bad}\n{USAGE}")),
        Err(error) => tell(err, &format!("ipmpstat: {error}\n")),
    }
}

/// What -o may name.
fn all_fields() -> String {
    let names = |mode| {
        let names: Vec<String> = columns(mode).iter().map(|c| c.name.to_lowercase()).collect();
        names.join(",")
    };
    let line = |(letter, mode)| format!("  -{letter} -o {}\n", names(mode));
    let modes = [
        ('a', Mode::Addresses),
        ('e', Mode::Events),
        ('g', Mode::Groups),
        ('i', Mode::Interfaces),
        ('l', Mode::Lateness),
        ('p', Mode::Probes),
        ('t', Mode::Targets),
    ];
    modes.into_iter().map(line).collect()
}

fn tell(err: &mut dyn Write, text: &str) -> ExitCode {
    // Nobody is left to be told of an error here.
    drop(err.write_all(text.as_bytes()));
    ExitCode::FAILURE
}

fn help(out: &mut dyn Write, text: &str) -> ExitCode {
    out.write_all(text.as_bytes()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn show<D: Daemon>(
    args: &Args,
    setting: &Setting<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Error> {
    let layout = Layout::new(columns(args.mode), args.fields.as_deref(), args.parseable)?;
    if !layout.ignored.is_empty() {
        writeln!(err, "ipmpstat: ignoring unknown output {}", fields(&layout.ignored))?;
    }
    let names = if args.numeric { Names::numeric() } else { Names::load(&setting.hosts) };
    let mut daemon = D::connect(&args.run_dir).map_err(Error::Daemon)?;
    if args.mode == Mode::Events {
        return events(daemon, args, setting, layout, out);
    }
    let snapshot = daemon.snapshot().map_err(Error::Snapshot)?;
    let view = &snapshot.view;
    if args.mode == Mode::Probes {
        return follow(daemon, view, args, setting, layout, &names, out);
    }
    if args.json {
        writeln!(out, "{:#}", as_json(args.mode, &snapshot))?;
        return Ok(());
    }
    let mut printer = Printer::new(layout, out, setting.screen);
    for row in rows(args.mode, &snapshot, &names) {
        printer.row(&row)?;
    }
    // They have no row: who looks for a group is told why.
    if args.mode == Mode::Groups {
        snapshot.not_started.values().try_for_each(|why| writeln!(err, "ipmpstat: {why}"))?;
    }
    Ok(())
}

fn events<D: Daemon>(
    daemon: D,
    args: &Args,
    setting: &Setting<'_>,
    layout: Layout,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut events = daemon.events(args.follow).map_err(Error::Daemon)?;
    if args.json && !args.follow {
        let all: Vec<EventRecord> = events.collect::<Result<_, _>>().map_err(Error::Daemon)?;
        writeln!(out, "{:#}", json!({ "events": all }))?;
        return Ok(());
    }
    if args.json {
        return events.try_for_each(|event| {
            writeln!(out, "{}", json!(event.map_err(Error::Daemon)?))?;
            Ok(out.flush()?)
        });
    }
    let mut printer = Printer::new(layout, out, setting.screen);
    events.try_for_each(|event| Ok(printer.row(&event::row(&event.map_err(Error::Daemon)?))?))
}

fn follow<D: Daemon>(
    daemon: D,
    view: &View,
    args: &Args,
    setting: &Setting<'_>,
    layout: Layout,
    names: &Names,
    out: &mut dyn Write,
) -> Result<(), Error> {
    if !probe::enabled(view) {
        return Err(Error::NoProbes);
    }
    let records = daemon.probes().map_err(Error::Daemon)?;
    if args.json {
        for record in records {
            let record = record.map_err(Error::Daemon)?;
            writeln!(out, "{}", probe::as_json(&record, setting.started))?;
            out.flush()?;
        }
        return Ok(());
    }
    let mut printer = Printer::new(layout, out, setting.screen);
    for record in records {
        let record = record.map_err(Error::Daemon)?;
        printer.row(&probe::row(&record, setting.started, names))?;
    }
    Ok(())
}

pub fn columns(mode: Mode) -> &'static [Column] {
    match mode {
        Mode::Addresses => address::COLUMNS,
        Mode::Events => event::COLUMNS,
        Mode::Groups => group::COLUMNS,
        Mode::Interfaces => interface::COLUMNS,
        Mode::Lateness => lateness::COLUMNS,
        Mode::Probes => probe::COLUMNS,
        Mode::Targets => target::COLUMNS,
    }
}

/// Of every mode but -e and -p, whose rows come one by one.
pub fn rows(mode: Mode, snapshot: &Snapshot, names: &Names) -> Vec<Row> {
    let view = &snapshot.view;
    match mode {
        Mode::Addresses => address::rows(view, names),
        Mode::Groups => group::rows(view),
        Mode::Interfaces => interface::rows(view),
        Mode::Lateness => lateness::rows(snapshot),
        Mode::Targets => target::rows(view, names),
        Mode::Events | Mode::Probes => Vec::new(),
    }
}

/// One object, the list under the name of the mode. Field names are stable: some may come, none go.
pub fn as_json(mode: Mode, snapshot: &Snapshot) -> Value {
    let view = &snapshot.view;
    let mut object = json!({
        "settled": view.settled,
        "lateness": {
            "max_ms": ms(view.lateness.max),
            "rounds_missed": view.lateness.rounds_missed,
            "request_max_ms": ms(view.lateness.request_max),
        },
    });
    match mode {
        Mode::Addresses => object["addresses"] = address::as_json(view),
        Mode::Groups => {
            object["groups"] = group::as_json(view);
            object["not_started"] = json!(snapshot.not_started);
            object["note"] = json!(snapshot.note);
        }
        Mode::Interfaces => object["interfaces"] = interface::as_json(view),
        Mode::Lateness => object["delays"] = lateness::as_json(snapshot),
        Mode::Targets => {
            object["instances"] = target::instances_as_json(view);
            object["targets"] = target::as_json(snapshot);
            object["skips"] = json!(snapshot.skips);
        }
        Mode::Events | Mode::Probes => {}
    }
    object
}
