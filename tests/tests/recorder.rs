//! What a running daemon records can be replayed: the engine alone, in virtual time, then says what
//! the daemon said.

#[path = "../../mpathd/tests/replay/player/mod.rs"]
mod player;

use std::time::Duration;

use mpathd_tests::{Daemon, Lab, isolated};
use nix::sys::signal::Signal;
use player::recording::Recording;

const CONFIG: &str = r#"
failure_detection_time = "100ms"

[groups.ipmp0]
data_addresses = ["192.0.2.50/24", "192.0.2.51/24"]
targets = ["192.0.2.1", "192.0.2.2"]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24"]
"#;

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_failover_is_replayed_from_its_recording() {
    isolated(|| {
        let lab = Lab::builder().targets(2).build();
        let arguments = ["--record", "/run/recording.jsonl", "--log-format", "json"];
        let mut daemon = Daemon::launch(lab.host(), CONFIG, &arguments);
        daemon.wait_ready(LIMIT);
        daemon.wait_log("first reply on eth0", 0, LIMIT);
        daemon.wait_log("first reply on eth1", 0, LIMIT);
        let cut = lab.cut(0);
        daemon.wait_log("moved ", cut, LIMIT);
        let mended = lab.mend(0);
        daemon.wait_log("repair detected", mended, LIMIT);
        daemon.wait_log("moved ", mended, LIMIT);
        daemon.signal(Signal::SIGTERM);
        daemon.wait_ended(LIMIT);
        let text = std::fs::read_to_string("/run/recording.jsonl").unwrap();
        std::fs::write("/tmp/replay-recording.jsonl", &text).unwrap();
        println!("{text}{}", daemon.log_text());
        let recording = Recording::read(&text).unwrap();
        let config = recording.header.config.clone().unwrap();
        let played = player::play(&recording, &config, Duration::ZERO).unwrap();
        for change in &played.changes {
            println!("{}", change.line());
        }
    });
}
