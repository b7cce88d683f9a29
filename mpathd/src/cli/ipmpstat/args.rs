//! Command line of `ipmpstat` (behaviour file 7.1).

use std::path::PathBuf;

use crate::cli::options::{self, BadOption, Known, Opt};

pub const USAGE: &str = "\
Usage: ipmpstat [-n] [-o FIELD[,...] [-P]] [--json] [--run-dir DIR] -a|-e|-g|-i|-l|-p|-t

  -a  data addresses        -n  addresses as numbers
  -e  events, newest last   -o  these columns, in this order; `all' for every one
  -g  groups                -P  for programs: no header, `:' between values
  -i  interfaces            --follow   -e: then each event as it happens
  -l  lateness of mpathd    --json     everything that is known, as JSON
  -p  probes, as they end   --run-dir  where the daemon's socket is
  -t  probe targets
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Addresses,
    Events,
    Groups,
    Interfaces,
    Lateness,
    Probes,
    Targets,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    pub mode: Mode,
    pub numeric: bool,
    pub fields: Option<String>,
    pub parseable: bool,
    pub json: bool,
    /// -e goes on.
    pub follow: bool,
    pub run_dir: PathBuf,
}

/// Why there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoArgs {
    /// --help: not an error.
    #[error("help")]
    Help,
    /// --version: not an error.
    #[error("version")]
    Version,
    #[error("usage")]
    Usage,
    #[error("{0}")]
    Option(#[from] BadOption),
    #[error("only one output format may be specified")]
    TwoModes,
    #[error("--json shows every field; it goes without -o and -P")]
    JsonFields,
    #[error("--follow goes with -e")]
    Follow,
}

impl Args {
    /// `run_dir` serves if no `--run-dir` is given.
    ///
    /// # Errors
    /// What is not a command line of `ipmpstat`, and the two questions about itself.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
        run_dir: PathBuf,
    ) -> Result<Self, NoArgs> {
        let known = Known {
            letters: "nPo:aegilpt",
            long: &["json", "follow", "run-dir:", "help", "version"],
        };
        let mut mode = None;
        let mut args = Self {
            mode: Mode::Groups,
            numeric: false,
            fields: None,
            parseable: false,
            json: false,
            follow: false,
            run_dir,
        };
        for option in options::parse(arguments, known)? {
            let chosen = match option {
                Opt::Short('a', _) => Mode::Addresses,
                Opt::Short('e', _) => Mode::Events,
                Opt::Short('g', _) => Mode::Groups,
                Opt::Short('i', _) => Mode::Interfaces,
                Opt::Short('l', _) => Mode::Lateness,
                Opt::Short('p', _) => Mode::Probes,
                Opt::Short('t', _) => Mode::Targets,
                other => {
                    args.set(other)?;
                    continue;
                }
            };
            if mode.replace(chosen).is_some_and(|before| before != chosen) {
                return Err(NoArgs::TwoModes);
            }
        }
        args.mode = mode.ok_or(NoArgs::Usage)?;
        if args.json && (args.fields.is_some() || args.parseable) {
            return Err(NoArgs::JsonFields);
        }
        if args.follow && args.mode != Mode::Events {
            return Err(NoArgs::Follow);
        }
        Ok(args)
    }

    fn set(&mut self, option: Opt) -> Result<(), NoArgs> {
        match option {
            Opt::Short('n', _) => self.numeric = true,
            Opt::Short('P', _) => self.parseable = true,
            Opt::Short('o', list) => self.fields = Some(list),
            Opt::Long("json", _) => self.json = true,
            Opt::Long("follow", _) => self.follow = true,
            Opt::Long("run-dir", dir) => self.run_dir = dir.into(),
            Opt::Long("help", _) => return Err(NoArgs::Help),
            Opt::Long("version", _) => return Err(NoArgs::Version),
            Opt::Short(..) | Opt::Long(..) | Opt::Operand(_) => return Err(NoArgs::Usage),
        }
        Ok(())
    }
}
