//! `mpathd`: the daemon, and what is done to it from the command line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mpathd::cli::{check, options, release, status, trial};
use mpathd::config::DEFAULT_PATH;
use mpathd::daemon::{self, Options};
use mpathd::fast::alloc::Watched;
use mpathd::host::pins;
use mpathd::slow::client::Client;
use mpathd::slow::log::{Format, Log, Sink};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// IP multipathing: data addresses and routes move to healthy NICs, and return after repair.
///
/// Without a command: runs in the foreground, in the network namespace it is started in, until TERM.
/// Addresses and routes stay when it ends.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    daemon: DaemonArguments,
}

#[derive(Args)]
struct DaemonArguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Configuration to run on where the first one is bad
    #[arg(long, value_name = "FILE")]
    fallback: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    /// Form of the log on stderr: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// Record what the engine is told, for a replay
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Args)]
struct Places {
    /// Directory of the control socket and the state file [default: $MPATHD_RUN_DIR or /run/mpathd]
    #[arg(long, value_name = "DIR", default_value_os_t = options::default_run_dir(), hide_default_value = true)]
    run_dir: PathBuf,
    /// Directory on a BPF file system for pinned maps and links [default: `bpf` in the run directory
    /// where such a file system is mounted there, else /sys/fs/bpf/mpathd]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
}

#[derive(Args)]
struct Running {
    /// Directory of the daemon's control socket [default: $MPATHD_RUN_DIR or /run/mpathd]
    #[arg(long, value_name = "DIR", default_value_os_t = options::default_run_dir(), hide_default_value = true)]
    run_dir: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and say what it comes to; needs no root and no daemon
    Check {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// Measure for so long, such as 10s, which failure detection time this host can honour
        #[arg(long, value_name = "TIME", value_parser = check::measure::parse_time)]
        measure: Option<Duration>,
    },
    /// Have the running daemon read its files, wait until they are in force, and say what changed
    Reload(Running),
    /// As reload, but undone by itself unless `mpathd confirm` comes in time, also if the daemon ends before
    Try {
        /// How long to wait for `mpathd confirm`, such as 120s or 5m
        #[arg(long, value_name = "TIME", default_value = "120s", value_parser = trial::parse_time)]
        timeout: Duration,
        #[command(flatten)]
        daemon: Running,
    },
    /// Keep the configuration that is on trial
    Confirm(Running),
    /// Undo the configuration that is on trial, at once
    Revert(Running),
    /// A line a group; exit code 0: all ok, 1: cannot ask, 3: some group degraded, 4: some group failed
    Status {
        /// Of this one only
        group: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        daemon: Running,
    },
    /// Remove every address, route, sysctl change and pin of mpathd
    Release {
        /// Leave the data addresses and routes on this interface, as ordinary ones
        #[arg(long, value_name = "IF")]
        keep_on: Option<String>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Even if the SSH session that this is typed in is cut off by it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        places: Places,
    },
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command {
        Some(Command::Check { config, measure }) => check::run(&config, measure),
        Some(Command::Reload(Running { run_dir })) => {
            with_output(|o, e| trial::reload(&run_dir, o, e))
        }
        Some(Command::Try { timeout, daemon: Running { run_dir } }) => {
            with_output(|o, e| trial::start(&run_dir, timeout, o, e))
        }
        Some(Command::Confirm(Running { run_dir })) => {
            with_output(|o, e| trial::confirm(&run_dir, o, e))
        }
        Some(Command::Revert(Running { run_dir })) => {
            with_output(|o, e| trial::revert(&run_dir, o, e))
        }
        Some(Command::Status { group, json, daemon: Running { run_dir } }) => {
            with_output(|o, e| status::run::<Client>(&run_dir, group.as_deref(), json, o, e))
        }
        Some(Command::Release { keep_on, dry_run, yes, places }) => {
            let Places { run_dir, bpffs } = places;
            let bpffs = bpffs.map_or_else(|| pins::places(&run_dir).to_vec(), |place| vec![place]);
            release::run(&release::Options { keep_on, dry_run, yes, run_dir, bpffs })
        }
        None => run(line.daemon),
    }
}

fn with_output(tool: impl FnOnce(&mut dyn Write, &mut dyn Write) -> ExitCode) -> ExitCode {
    tool(&mut io::stdout().lock(), &mut io::stderr().lock())
}

fn run(arguments: DaemonArguments) -> ExitCode {
    let DaemonArguments { config, fallback, places, log_format, record } = arguments;
    let log = Log::new(Sink::open(log_format));
    let Places { run_dir, bpffs } = places;
    let bpffs = bpffs.unwrap_or_else(|| pins::place(&run_dir));
    let options = Options { config, fallback, run_dir, bpffs, record };
    match daemon::run(options, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("mpathd: {line}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
