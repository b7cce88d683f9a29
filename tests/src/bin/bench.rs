//! `cargo xtask bench [SECTION ...] [--quick] [--cuts N] [--minutes N] [--seconds N]`: see `mpathd_tests::bench`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use mpathd_tests::bench::{Plan, SECTIONS, Section};
use mpathd_tests::isolate;

#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", about = "Measures mpathd")]
struct Arguments {
    /// What is measured; all if none is named
    #[arg(value_parser = PossibleValuesParser::new(SECTIONS.iter().map(|it| it.name)))]
    sections: Vec<String>,
    /// A look whether all works; the page goes to target/bench
    #[arg(long)]
    quick: bool,
    /// Silent cuts in each class
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cuts: Option<u32>,
    /// For what must hold for long
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// For what is measured within seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let sizes = if self.quick { Plan::quick() } else { Plan::full() };
        Plan {
            quick: self.quick,
            cuts: self.cuts.unwrap_or(sizes.cuts),
            endure: self.minutes.map_or(sizes.endure, Duration::from_mins),
            measure: self.seconds.map_or(sizes.measure, Duration::from_secs),
        }
    }

    fn sections(&self) -> Vec<&'static Section> {
        let named = |it: &&Section| {
            self.sections.is_empty() || self.sections.iter().any(|name| name == it.name)
        };
        SECTIONS.iter().filter(named).collect()
    }
}

/// Each section in namespaces of its own, so that one that fails leaves nothing to the next.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sections = arguments.sections();
    if isolate::is_inside() {
        isolate::enter();
        let kept = sections.iter().all(|it| it.measure(&arguments.plan()));
        return if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let options = || std::env::args().skip(1).filter(|it| Section::named(it).is_none());
    let failed: Vec<&str> = sections
        .iter()
        .filter(|it| !isolate::run_inside(options().chain([it.name.to_owned()])).success())
        .map(|it| it.name)
        .collect();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("bench: failed, or has not kept a claim: {}", failed.join(", "));
    ExitCode::FAILURE
}
