//! `cargo xtask VERB`: everything that is done to this repository rather than by it. One file per verb;
//! `toolchain` and `ebpf` are the steps that the verbs share. Depends on anyhow and clap only, so that it
//! is built in seconds on a fresh machine, before anything else is there.

mod behaviours;
mod bench;
mod build;
mod chaos;
mod demo;
mod ebpf;
mod lint;
mod peers;
mod process;
mod test;
mod tidy;
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, tests and shows mpathd")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Set up what is missing on this machine (the other verbs do it by themselves)
    Toolchain,
    /// Build mpathd, ipmpstat and if_mpadm into target/release
    Build,
    /// Run every test, those that need root included
    Test {
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// Show a failover live, in a lab of network namespaces (root)
    Demo {
        /// Leave the lab up and say how to enter it
        #[arg(long)]
        keep: bool,
    },
    /// Measure (root); the arguments are the benchmark's own
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Play random worlds against the engine's promises, and print what breaks one
    Chaos(chaos::Arguments),
    /// Run the tests of tests/vm in Debian guests with their own kernels and a live systemd (root, qemu)
    Vm(vm::Arguments),
    /// Everything that CI checks without running the product
    Lint,
    /// Make tests/BEHAVIOURS.md anew
    Behaviours,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Toolchain => toolchain::ensure().map(drop),
        Verb::Build => build::run(),
        Verb::Test { filter } => test::run(filter.as_deref()),
        Verb::Demo { keep } => demo::run(keep),
        Verb::Bench { arguments } => bench::run(&arguments),
        Verb::Chaos(arguments) => chaos::run(&arguments),
        Verb::Vm(arguments) => vm::run_all(&arguments),
        Verb::Lint => lint::run_all(),
        Verb::Behaviours => behaviours::write(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
