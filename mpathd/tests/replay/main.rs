//! Recorded cases, one folder of `tests/replay` for each behaviour: `description.txt` says what is
//! to be seen, `config.toml` and `events.jsonl` are what the daemon and the host are given,
//! `expect.jsonl` is what comes of it. `MPATHD_BLESS=1` writes that anew and fails the run, so that
//! somebody reads the difference. A new case begins with the header of `expect.jsonl` alone.
//!
//! A recording that `mpathd --record` has made is a case as it is: its header has the configuration.

mod cases;
mod expect;
mod player;

use std::path::{Path, PathBuf};

use expect::Expectation;
use player::recording::Recording;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/replay")
}

/// Replays the case of this name.
fn replay(case: &str) {
    let case = folder().join(case);
    let read = |file: &str| {
        let path = case.join(file);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let must_read = |file| read(file).unwrap_or_else(|error| panic!("{error}"));
    assert!(!must_read("description.txt").is_empty(), "nobody knows what this case is about");
    let recording = Recording::read(&must_read("events.jsonl")).unwrap();
    assert_eq!(recording.lost(), 0, "the recording has gaps");
    let config = recording.header.config.clone().unwrap_or_else(|| must_read("config.toml"));

    let path = case.join("expect.jsonl");
    let expected = Expectation::read(&path);
    let played = player::play(&recording, &config, expected.header.from()).unwrap();
    let verdict = expected.compare(&played.changes);
    if let (Err(told), Some("1")) = (&verdict, std::env::var("MPATHD_BLESS").ok().as_deref()) {
        Expectation::write(expected.header, &played.changes, &path);
        panic!("{} is written anew; read what has changed\n{told}", path.display());
    }
    verdict.unwrap_or_else(|told| panic!("{told}"));
    played.assert_at_rest();
}
