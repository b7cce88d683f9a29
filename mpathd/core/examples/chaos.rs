//! The promise checker of `tests/promise`, for as long as it is given (`cargo xtask chaos`), or one history
//! in a file: then what the daemon says is printed.
//!
//! ```text
//! cargo run --package mpathd-core --example chaos [FILE]
//! ```

#![allow(dead_code, reason = "the modules are those of the test, which uses more of them")]

#[path = "../tests/lan/mod.rs"]
mod lan;

#[path = "../tests/promise/chaos.rs"]
mod chaos;
#[path = "../tests/promise/generate.rs"]
mod generate;
#[path = "../tests/promise/history.rs"]
mod history;
#[path = "../tests/promise/moves.rs"]
mod moves;
#[path = "../tests/promise/open.rs"]
mod open;
#[path = "../tests/promise/referee.rs"]
mod referee;
#[path = "../tests/promise/shrink.rs"]
mod shrink;
#[path = "../tests/promise/world.rs"]
mod world;

use std::process::ExitCode;

use history::History;

fn main() -> ExitCode {
    let kept = match std::env::args().nth(1) {
        Some(file) => is_kept(&file),
        None => chaos::run() == 0,
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays the history in a file, and prints what the daemon says. Whether every promise is kept.
fn is_kept(file: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let fault = world::play_aloud(&History::parse(&text)).fault;
    println!("{}", fault.as_ref().map_or("no promise is broken".into(), ToString::to_string));
    fault.is_none()
}
