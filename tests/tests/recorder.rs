//! What a running daemon records can be replayed: the engine alone, in virtual time, then says what
//! the daemon has said, in the same order and at the same times.

#[path = "../../mpathd/tests/replay/player/mod.rs"]
mod player;

use std::time::Duration;

use mpathd_tests::{Daemon, Lab, isolated};
use player::changes::without_times;
use player::recording::Recording;
use serde_json::Value;

const RECORDING: &str = "/run/recording.jsonl";
/// One target: which of two was the first to reply is a race. An FDT of nearly a second: a busy
/// machine makes the daemon late by parts of a round, not by rounds.
const CONFIG: &str = r#"
failure_detection_time = "900ms"

[groups.ipmp0]
data_addresses = ["192.0.2.50/24", "192.0.2.51/24", "192.0.2.52/24"]
targets = ["192.0.2.1"]
routes = [{ to = "default", via = "192.0.2.1" }]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24"]
"#;
/// Two sixths of the FDT: a repair needs a round more where its first was late by a hair, and the
/// kernel's hook wakes nobody, so that a reply is seen with the next round.
const TOLERANCE: Duration = Duration::from_millis(300);
const LIMIT: Duration = Duration::from_secs(20);

/// A text of the engine, and when it was said.
type Said = (Duration, String);

#[test]
fn a_failover_is_replayed_from_its_recording() {
    isolated(|| {
        let lab = Lab::builder().targets(1).build();
        let arguments = ["--record", RECORDING, "--log-format", "json"];
        let mut daemon = Daemon::launch(lab.host(), CONFIG, &arguments);
        daemon.wait_ready(LIMIT);
        for reply in ["first reply on eth0", "first reply on eth1"] {
            daemon.wait_log(reply, 0, LIMIT);
        }
        let cut = lab.cut(0);
        daemon.wait_log("failure detected on eth0", cut, LIMIT);
        daemon.wait_log("moved 192.0.2.52 from eth0 to eth1", cut, LIMIT);
        let mended = lab.mend(0);
        daemon.wait_log("repair detected on eth0", mended, LIMIT);
        daemon.wait_log("from eth1 to eth0", mended, LIMIT);
        assert!(daemon.stop().success(), "{}", daemon.log_text());

        let text = std::fs::read_to_string(RECORDING).expect("the daemon has written it");
        let mut recording = Recording::read(&text).expect("it can be read");
        assert_eq!(recording.lost(), 0);
        // What the daemon said just before its end may come later in the replay.
        recording.end += TOLERANCE;
        let config = recording.header.config.clone().expect("it is recorded");
        let played = player::play(&recording, &config, Duration::ZERO).expect("it is right");
        let replayed: Vec<Said> = played
            .changes
            .iter()
            .filter_map(|change| Some((change.t, change.text()?.to_owned())))
            .collect();
        assert_same(&said_by(&daemon), &replayed, &text);
    });
}

/// What the engine said; lines of the daemon about itself have no event.
fn said_by(daemon: &Daemon) -> Vec<Said> {
    let lines = daemon.log().into_iter().map(|line| serde_json::from_str(&line.text));
    let lines = lines.map(|line| line.expect("the log is JSON"));
    let of_engine = lines.filter(|line: &Value| line.get("mpathd_event").is_some());
    of_engine
        .map(|line| {
            let word = |key: &str| line[key].as_str().expect("each line has it").to_owned();
            (time_of_day(&word("time")), word("message"))
        })
        .collect()
}

/// Of `2026-01-31T23:59:59.999Z`.
fn time_of_day(time: &str) -> Duration {
    let (_, time) = time.trim_end_matches('Z').split_once('T').expect("RFC 3339");
    let seconds =
        time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"));
    Duration::from_secs_f64(seconds)
}

/// Times are counted from the first text, for a recording begins a moment before it.
fn assert_same(said: &[Said], replayed: &[Said], recording: &str) {
    const DAY: Duration = Duration::from_hours(24);
    let since_first =
        |all: &[Said], i: usize| (all[i].0 + DAY - all[0].0).as_millis() % DAY.as_millis();
    let texts = |all: &[Said]| -> Vec<String> {
        all.iter().map(|(_, text)| without_times(text).to_owned()).collect()
    };
    assert_eq!(texts(said), texts(replayed), "said, and replayed from\n{recording}");
    for i in 0..said.len() {
        let (said_at, replayed_at) = (since_first(said, i), since_first(replayed, i));
        assert!(
            said_at.abs_diff(replayed_at) <= TOLERANCE.as_millis(),
            "{}: said after {said_at} ms, replayed after {replayed_at} ms\n{recording}",
            said[i].1
        );
        println!("{said_at:>6} {replayed_at:>6} ms  {}", said[i].1);
    }
}
