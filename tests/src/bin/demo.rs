//! The demo: a silent failure in a lab of network namespaces, and what the real daemon makes of it. To be run by
//! `cargo xtask demo`, which builds what it needs.

use std::process::ExitCode;

use mpathd_tests::demo::{ending, paper::Paper, story};
use mpathd_tests::isolate;

const USAGE: &str = "usage: demo [--keep]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--keep"] => true,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    ending::install();
    if let Err(missing) = story::ready() {
        ending::fail(&missing);
    }
    if let Some(code) = isolate::relaunched() {
        return code;
    }
    story::play(&Paper::on_stdout(), keep)
}
