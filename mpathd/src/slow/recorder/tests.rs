use super::*;
use crate::slow::sample;
use mpathd_core::event::{Fate, Link};
use mpathd_core::ids::{PathId, Seq};

const MS: u64 = 1_000_000;

fn recorder(test: &str) -> (Recorder, sample::Dir) {
    let dir = sample::dir(test);
    let file = dir.join("record.jsonl");
    let recording =
        Recording { file, config: "[groups.g]".to_owned(), seed: 7, state: Saved::default() };
    let mut recorder = Recorder::start(&recording).unwrap();
    recorder.fact(Instant(1000 * MS), &Event::Surveyed);
    (recorder, dir)
}

fn lines(dir: &sample::Dir) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("record.jsonl")).unwrap();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.remove(1), json!({"t": 0, "surveyed": {}}));
    assert_eq!(lines.pop().unwrap()["end"], json!({}));
    lines
}

fn link(name: &str, ifindex: u32) -> Event {
    Event::Link(Link {
        name: sample::name(name),
        ifindex: Ifindex(ifindex),
        up: true,
        running: true,
        reported: true,
        carrier_changes: 2,
        mac: [2, 0, 0, 0, 0, 10],
        unfit: None,
    })
}

/// A round over both targets of the sample (paths 7 and 8), 10 ms after the one before.
fn round(recorder: &mut Recorder, seq: u16, answering: &[u16]) {
    let at = Instant((1000 + 10 * u64::from(seq)) * MS);
    let seq = Seq(seq);
    for path in [PathId(7), PathId(8)] {
        recorder.fact(at, &Event::Sent { path, seq, at, fate: Fate::Left });
    }
    for path in answering {
        let reply = at + Duration::from_micros(200);
        recorder.fact(reply, &Event::Reply { path: PathId(*path), seq, at: reply });
    }
}

#[test]
fn facts_go_by_name() {
    let (mut recorder, dir) = recorder("record-facts");
    recorder.fact(Instant(1005 * MS), &link("eth0", 2));
    recorder.fact(Instant(1006 * MS), &Event::LinkGone(Ifindex(2)));
    recorder.fact(Instant(1007 * MS), &Event::LinkGone(Ifindex(99_999)));
    recorder.finish().unwrap();
    let lines = lines(&dir);
    assert_eq!(lines[0]["mpathd_replay"], 1);
    assert_eq!(lines[0]["config"], "[groups.g]");
    assert_eq!(lines[0]["seed"], 7);
    assert!(!lines[0]["kernel"].as_str().unwrap().is_empty());
    assert_eq!(
        lines[1],
        json!({"t": 5 * MS, "link": {
            "interface": "eth0", "up": true, "running": true, "reported": true,
            "carrier_changes": 2, "mac": "02:00:00:00:00:0a", "unfit": null,
        }})
    );
    assert_eq!(lines[2], json!({"t": 6 * MS, "link-gone": {"interface": "eth0"}}));
    assert_eq!(lines[3], json!({"t": 7 * MS, "link-gone": {"interface": "#99999"}}));
}

#[test]
fn rounds_are_told_when_the_answers_change() {
    let (mut recorder, dir) = recorder("record-rounds");
    // The first round comes before any picture: it is held, not lost.
    round(&mut recorder, 1, &[7, 8]);
    recorder.learn(&sample::view());
    for seq in 2..=20 {
        round(&mut recorder, seq, &[7, 8]);
    }
    for seq in 21..=30 {
        round(&mut recorder, seq, &[7]);
    }
    recorder.finish().unwrap();
    let lines = lines(&dir);
    let answers = |t: u64, rounds: u64, second: Value| {
        json!({"t": t * MS, "answers": {
            "interface": "eth0", "family": "inet", "rounds": rounds,
            "targets": {"192.0.2.1": 200_000, "192.0.2.2": second},
        }})
    };
    assert_eq!(
        lines[1..],
        [
            answers(10, 0, 200_000.into()),
            answers(210, 20, Value::Null),
            answers(210, 10, Value::Null),
        ]
    );
}

#[test]
fn a_reload_is_told_and_rounds_go_on() {
    let (mut recorder, dir) = recorder("record-reload");
    recorder.learn(&sample::view());
    for seq in 1..=5 {
        round(&mut recorder, seq, &[7, 8]);
    }
    recorder.reloaded(Instant(1100 * MS), "[groups.h]", 8);
    // Whose path it is has to be told anew, and what comes before that waits for it.
    for seq in 6..=10 {
        round(&mut recorder, seq, &[7, 8]);
    }
    recorder.learn(&sample::view());
    for seq in 11..=15 {
        round(&mut recorder, seq, &[7, 8]);
    }
    recorder.finish().unwrap();
    let lines = lines(&dir);
    let reload = lines.iter().position(|line| line.get("reload").is_some()).unwrap();
    let expected = json!({"t": 100 * MS, "reload": {"config": "[groups.h]", "seed": 8}});
    assert_eq!(lines[reload], expected);
    let rounds: u64 = lines.iter().filter_map(|line| line["answers"]["rounds"].as_u64()).sum();
    assert_eq!(rounds, 15, "{lines:#?}");
}

#[test]
fn what_never_left_is_not_silence() {
    let (mut recorder, dir) = recorder("record-unsent");
    recorder.learn(&sample::view());
    for seq in 1..=2 {
        let at = Instant(1010 * MS);
        let sent = Event::Sent { path: PathId(7), seq: Seq(seq), at, fate: Fate::Refused };
        recorder.fact(at, &sent);
    }
    recorder.finish().unwrap();
    let first = &lines(&dir)[1]["answers"];
    assert_eq!(first["unsent"], json!({"192.0.2.1": "refused"}));
}

#[test]
fn a_full_disk_is_noticed() {
    let (file, config) = ("/dev/full".into(), "x".repeat(10_000));
    let recording = Recording { file, config, seed: 7, state: Saved::default() };
    let recorder = Recorder::start(&recording).unwrap();
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    while !recorder.has_ended() {
        assert!(std::time::Instant::now() < limit);
        std::thread::yield_now();
    }
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn late_wake_ups_are_told_from_a_quarter_of_the_interval() {
    let (mut recorder, dir) = recorder("record-wake");
    recorder.learn(&sample::view());
    recorder.woken(Instant(2000 * MS), Duration::from_millis(4));
    recorder.woken(Instant(3000 * MS), Duration::from_millis(5));
    recorder.finish().unwrap();
    let lines = lines(&dir);
    let wake = json!({"t": 2000 * MS, "wake": {"late": 5 * MS, "since": 1000 * MS}});
    assert_eq!(lines[1..], [wake]);
}

#[test]
fn an_arp_request_in_place_of_a_probe_is_named() {
    let (mut recorder, dir) = recorder("record-resolving");
    recorder.learn(&sample::view());
    let at = Instant(1010 * MS);
    let asked = |path| Event::Sent { path: PathId(path), seq: Seq(1), at, fate: Fate::Resolving };
    recorder.fact(at, &asked(7));
    recorder.fact(at, &asked(8));
    let told = at + Duration::from_micros(50);
    recorder.fact(told, &Event::Resolved { path: PathId(7), seq: Seq(1), at: told });
    recorder.finish().unwrap();
    let first = &lines(&dir)[1]["answers"];
    assert_eq!(first["targets"], json!({"192.0.2.1": 50_000, "192.0.2.2": null}));
    assert_eq!(first["resolving"], json!(["192.0.2.1", "192.0.2.2"]));
}

#[test]
fn the_end_is_the_time_of_the_last_sign_of_life() {
    let (mut recorder, dir) = recorder("record-end");
    recorder.learn(&sample::view());
    recorder.woken(Instant(9000 * MS), Duration::ZERO);
    recorder.finish().unwrap();
    let text = std::fs::read_to_string(dir.join("record.jsonl")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({"t": 8000 * MS, "end": {}}));
}
