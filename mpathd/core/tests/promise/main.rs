//! The promise checker: random worlds in virtual time, and a referee that knows the truth of each. What
//! it asserts is in `referee.rs` and `moves.rs`; what happens in the worlds in `generate.rs`.
//!
//! A history that breaks a promise is made small and printed; as a file in `cases` it is played for ever
//! after. `cargo xtask chaos --minutes N` plays more of them (`examples/chaos.rs`).

#![allow(dead_code, reason = "`examples/chaos.rs` uses the rest")]

#[path = "../lan/mod.rs"]
mod lan;

mod generate;
mod history;
mod moves;
mod open;
mod referee;
mod shrink;
mod world;

use std::fs;
use std::path::Path;

use generate::{generate, mix_of};
use history::History;
use open::{OPEN, Open};
use shrink::{judge, shrink};

/// Worlds in an ordinary run: some seconds.
const WORLDS: u64 = 250;

#[test]
fn no_promise_is_broken_in_any_world() {
    for seed in 0..WORLDS {
        let history = generate(seed, OPEN);
        if let Some(fault) = judge(&history).fault {
            let small = shrink(&history, fault.kind);
            let fault = judge(&small).fault.unwrap();
            panic!("seed {seed} ({:?}): {fault}\n{small}", mix_of(seed));
        }
    }
}

/// Histories that broke a promise once. Those that name an open fault may break it still, until none of
/// that name does.
#[test]
fn cases_that_were_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promise/cases");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut broken = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let named = text.lines().find_map(|line| line.strip_prefix("# open: "));
        let open = named.map(|name| Open::named(name.trim())).filter(|open| OPEN.contains(open));
        match (open, judge(&History::parse(&text)).fault) {
            (None, Some(fault)) => panic!("{}: {fault}\n{text}", file.display()),
            (Some(open), Some(_)) => broken.push(open),
            (_, None) => {}
        }
    }
    for open in OPEN {
        assert!(broken.contains(open), "no case shows {open:?} any more: remove it from OPEN");
    }
}

#[test]
fn a_history_is_read_as_it_is_written() {
    for seed in 0..50 {
        let history = generate(seed, &[]);
        assert_eq!(History::parse(&history.to_string()), history);
    }
}
