//! `ipmpstat --json`: names that scripts rely on.

use serde_json::{Value, json};

use crate::ipmpstat::shown;

fn parsed(command_line: &str) -> Value {
    serde_json::from_str(&shown(command_line)).unwrap()
}

#[test]
fn groups() {
    let groups = parsed("-g --json");
    let expected = json!({
        "name": "field2", "state": "degraded", "fdt_ms": 20000.0, "fdt_requested_ms": 10000.0,
        "failback": true, "active": ["fops0", "fops3"], "inactive": ["fops2"],
        "unusable": ["fops1"],
    });
    assert_eq!(groups["groups"][2], expected);
    assert_eq!(groups["groups"][1]["fdt_ms"], Value::Null);
    assert_eq!(groups["settled"], json!(true));
    let lateness = json!({ "max_ms": 1.5, "rounds_missed": 3, "request_max_ms": 2.0 });
    assert_eq!(groups["lateness"], lateness);
}

#[test]
fn interfaces() {
    let interfaces = parsed("-i --json");
    let expected = json!({
        "name": "fops1", "group": "field2", "ifindex": 7, "active": false, "inactive": false,
        "standby": false, "down": false, "duplicate_mac": false, "link": "down", "probe": "ok",
        "state": "failed", "state_age_ms": 59000.0, "reason": "link", "degraded": [],
        "receive": "xdp-generic", "damped_ms": 59200.0,
        "redirected": { "inet": "fops0", "inet6": "fops0" },
    });
    assert_eq!(interfaces["interfaces"][7], expected);
    assert_eq!(interfaces["interfaces"][5]["degraded"], json!(["inet6"]));
}

#[test]
fn addresses() {
    let addresses = parsed("-a --json");
    let expected = json!({
        "address": "2001:db8::10/64", "group": "itops0", "up": true, "inbound": "net1",
        "outbound": ["net0", "net1"], "wanted": "net0", "held_ms": null,
    });
    assert_eq!(addresses["addresses"][1], expected);
}

#[test]
fn targets() {
    let targets = parsed("-t --json");
    let expected = json!({
        "interface": "net0", "family": "inet", "target": "192.168.10.9", "state": "unproven",
        "interval_ms": 1666.667, "path": 4, "sent": 100, "acked": 98, "lost": 2,
        "srtt_ns": 760_000, "rttvar_ns": 40_000,
        "last_reply_age_ms": 1000.0, "outcomes": { "forged": 2, "reply": 98 },
        "rtt_histogram": [0, 98],
    });
    assert_eq!(targets["targets"][1], expected);
    let other = &targets["targets"][0];
    assert_eq!((&other["outcomes"], &other["rtt_histogram"]), (&Value::Null, &Value::Null));
    assert_eq!(targets["skips"], json!({ "not_ours": 7 }));
    let instance = json!({
        "interface": "net1", "family": "inet6", "mode": "multicast", "test": "fe80::31",
        "interval_ms": 1666.667, "rounds_missed": 3, "losses_to_fail": 7, "silent_ppm": 48_700,
        "false_failures_per_year": 0.5, "unwatched": null,
    });
    assert_eq!(targets["instances"][1], instance);
}

#[test]
fn lateness() {
    let all = parsed("-l --json");
    let wakes = &all["delays"][0];
    assert_eq!((&wakes["delay"], &wakes["count"]), (&json!("wake-up"), &json!(3000)));
    assert_eq!((&wakes["max_ms"], &wakes["max_age_ms"]), (&json!(1.5), &json!(2000.0)));
    assert_eq!(wakes["histogram"].as_array().map(Vec::len), Some(32));
    // 100 us are in the bucket of 2^16 to 2^17 - 1 ns.
    assert_eq!(wakes["histogram"][16], json!(2990));
    let unknown = json!({
        "delay": "interrupts", "per": "second", "known": false, "count": null, "p50_ms": null,
        "p99_ms": null, "p999_ms": null, "max_ms": null, "max_age_ms": null, "histogram": null,
    });
    assert_eq!(all["delays"][4], unknown);
}

#[test]
fn probes_are_one_object_a_line() {
    let out = shown("-p --json");
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let states: Vec<&Value> = lines.iter().map(|line| &line["state"]).collect();
    assert_eq!(states, ["acked", "lost", "lost"]);
    assert_eq!((&lines[0]["netrtt_ns"], &lines[0]["rtt_ns"]), (&json!(510_000), &json!(760_000)));
    assert_eq!(lines[1]["netrtt_ns"], Value::Null);
    assert_eq!(lines[0]["probe"], json!(589));
}
