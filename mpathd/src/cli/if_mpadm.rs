//! `if_mpadm`: takes an interface out of use and back (behaviour file 6).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mpathd_core::ids::IfName;
use mpathd_core::request::CommandError;

use super::daemon::{Daemon, Failure};
use super::options::{self, Known, Opt};

const USAGE: &str = "Usage: if_mpadm [-d | -r] <interface>\n";
const HELP: &str = "\
Usage: if_mpadm [--run-dir DIR] -d|-r INTERFACE

  -d  out of service: its addresses move, it stays offline until -r, also over a restart of mpathd
  -r  back into service
  --run-dir  where the daemon's socket is [default: $MPATHD_RUN_DIR or /run/mpathd]
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Offline,
    UndoOffline,
}

struct Args {
    command: Command,
    interface: String,
    run_dir: PathBuf,
}

/// What is asked of this program.
enum Wish {
    Change(Args),
    Say(&'static str),
}

impl Args {
    /// The last of several options wins; further operands are ignored.
    fn parse(arguments: impl IntoIterator<Item = String>, mut run_dir: PathBuf) -> Option<Wish> {
        let known = Known { letters: "d:r:", long: &["run-dir:", "help", "version"] };
        let mut wish = None;
        for option in options::parse(arguments, known).ok()? {
            match option {
                Opt::Short('d', interface) => wish = Some((Command::Offline, interface)),
                Opt::Short('r', interface) => wish = Some((Command::UndoOffline, interface)),
                Opt::Long("run-dir", dir) => run_dir = dir.into(),
                Opt::Long("help", _) => return Some(Wish::Say(HELP)),
                Opt::Long("version", _) => {
                    return Some(Wish::Say(concat!("if_mpadm ", env!("CARGO_PKG_VERSION"), "\n")));
                }
                Opt::Short(..) | Opt::Long(..) | Opt::Operand(_) => {}
            }
        }
        wish.map(|(command, interface)| Wish::Change(Self { command, interface, run_dir }))
    }
}

/// All of `if_mpadm`: every error is 1, as in the original. `devices` is /sys/class/net.
pub fn run<D: Daemon>(
    arguments: impl IntoIterator<Item = String>,
    run_dir: PathBuf,
    devices: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let text = match Args::parse(arguments, run_dir) {
        None => USAGE.to_owned(),
        Some(Wish::Say(text)) => {
            return out
                .write_all(text.as_bytes())
                .map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        Some(Wish::Change(args)) => match ask::<D>(&args) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => format!("if_mpadm: fatal: {}\n", told(&args, &failure, devices)),
        },
    };
    // Nobody is left to be told of an error here.
    drop(err.write_all(text.as_bytes()));
    ExitCode::FAILURE
}

fn ask<D: Daemon>(args: &Args) -> Result<(), Failure> {
    let unknown = Failure::Refused(CommandError::UnknownInterface);
    let interface = IfName::new(&args.interface).ok_or(unknown)?;
    let mut daemon = D::connect(&args.run_dir)?;
    match args.command {
        Command::Offline => daemon.offline(interface),
        Command::UndoOffline => daemon.online(interface),
    }
}

/// Behaviour file 6.1 to 6.3.
fn told(args: &Args, failure: &Failure, devices: &Path) -> String {
    let interface = &args.interface;
    let wish = match args.command {
        Command::Offline => "offline",
        Command::UndoOffline => "undo-offline",
    };
    match failure {
        Failure::Refused(CommandError::AlreadyOffline) => {
            format!("interface {interface} is already offline")
        }
        Failure::Refused(CommandError::NotOffline) => {
            format!("interface {interface} is not offline")
        }
        Failure::Refused(CommandError::UnknownInterface) if !devices.join(interface).exists() => {
            format!("cannot get interface flags on {interface}: No such device")
        }
        failure => format!("cannot {wish} {interface}: {failure}"),
    }
}
