//! What is told of a difference between two files.

use std::path::Path;

use mpathd::config::{self, Settings, diff};

const OLD: &str = r#"
failure_detection_time = "1s"
[groups.ipmp0]
data_addresses = ["192.0.2.50/24", "192.0.2.51/24"]
targets = ["192.0.2.1", "192.0.2.2"]
routes = [{ to = "default", via = "192.0.2.1" }]
[groups.ipmp0.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
[groups.ipmp0.interfaces.eth1]
test_addresses = ["192.0.2.12/24"]
"#;

fn settings(toml: &str) -> Settings {
    match config::parse(toml.as_bytes(), Path::new("mpathd.toml")) {
        Ok(settings) => settings,
        Err(errors) => panic!("{errors}\n{toml}"),
    }
}

/// `OLD` with parts of its text replaced.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(OLD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

fn changes(old: &str, new: &str) -> Vec<String> {
    diff::changes(&settings(old), &settings(new))
}

fn assert_told(edits: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(changes(OLD, &edited(edits)), expected, "{edits:?}");
}

#[test]
fn what_is_only_written_otherwise_is_no_change() {
    let moved =
        edited(&[("[groups.ipmp0]", "# a comment\n\n[groups.ipmp0]"), ("\"1s\"", "\"1000ms\"")]);
    assert_eq!(changes(OLD, &moved), [""; 0]);
    let said_by_the_group = edited(&[
        ("failure_detection_time = \"1s\"\n", ""),
        ("[groups.ipmp0]", "[groups.ipmp0]\nfailure_detection_time = \"1s\""),
    ]);
    assert_eq!(changes(OLD, &said_by_the_group), [""; 0]);
}

#[test]
fn values_of_the_whole_file() {
    assert_told(
        &[(
            "failure_detection_time = \"1s\"",
            "realtime_priority = 60\nsysctls = \"check\"\ntrack_interfaces_only_with_groups = false\nfailure_detection_time = \"1s\"",
        )],
        &[
            "realtime_priority auto -> 60",
            "sysctls set -> check",
            "track_interfaces_only_with_groups true -> false",
        ],
    );
}

#[test]
fn values_of_a_group() {
    assert_told(&[("\"1s\"", "\"3s\"")], &["group ipmp0: failure_detection_time 1s -> 3s"]);
    assert_told(
        &[(
            "failure_detection_time = \"1s\"",
            "failure_detection_time = \"12.5ms\"\nfailback = false\nquiet_period = \"0s\"",
        )],
        &[
            "group ipmp0: failure_detection_time 1s -> 12.5ms",
            "group ipmp0: failback true -> false",
            "group ipmp0: quiet_period 40s -> 0s",
        ],
    );
    assert_told(
        &[("data_addresses", "egress_redirect = true\ndata_addresses")],
        &["group ipmp0: egress_redirect false -> true"],
    );
}

#[test]
fn lists_of_a_group() {
    assert_told(
        &[("\"192.0.2.51/24\"]", "\"192.0.2.52/24\", \"2001:db8::50/64\"]")],
        &[
            "group ipmp0: - 192.0.2.51/24",
            "group ipmp0: + 192.0.2.52/24",
            "group ipmp0: + 2001:db8::50/64",
        ],
    );
    assert_told(
        &[("\"192.0.2.51/24\"]", "\"192.0.2.51/25\"]")],
        &["group ipmp0: - 192.0.2.51/24", "group ipmp0: + 192.0.2.51/25"],
    );
    assert_told(
        &[
            (", \"192.0.2.2\"]", ", \"192.0.2.3\"]"),
            (
                "via = \"192.0.2.1\" }",
                "via = \"192.0.2.1\", metric = 9, table = 7, src = \"192.0.2.50\" }",
            ),
        ],
        &[
            "group ipmp0: - target 192.0.2.2",
            "group ipmp0: + target 192.0.2.3",
            "group ipmp0: - route default via 192.0.2.1",
            "group ipmp0: + route default via 192.0.2.1 metric 9 table 7 src 192.0.2.50",
        ],
    );
}

#[test]
fn interfaces() {
    assert_told(
        &[("eth1]\ntest_addresses = [\"192.0.2.12/24\"]", "eth2]")],
        &["eth1 leaves ipmp0", "eth2 joins ipmp0"],
    );
    assert_told(
        &[(
            "[\"192.0.2.12/24\"]",
            "[\"192.0.2.13/24\", \"link-local\"]\nstandby = true\ndatapath = \"tcx\"\nconsume_replies = false",
        )],
        &[
            "eth1: standby false -> true",
            "eth1: - test address 192.0.2.12/24",
            "eth1: + test address 192.0.2.13/24",
            "eth1: + test address link-local",
            "eth1: datapath auto -> tcx",
            "eth1: consume_replies true -> false",
        ],
    );
}

#[test]
fn an_order_that_addresses_follow_is_told() {
    let data = ("\"192.0.2.50/24\", \"192.0.2.51/24\"", "\"192.0.2.51/24\", \"192.0.2.50/24\"");
    assert_told(&[data], &["group ipmp0: data_addresses in another order"]);
    let swapped = [("eth0]", "ethX]"), ("eth1]", "eth0]"), ("ethX]", "eth1]")];
    let told = changes(OLD, &edited(&swapped));
    assert_eq!(told[0], "group ipmp0: interfaces in another order");
}

#[test]
fn groups_come_and_go() {
    let second = format!(
        "{OLD}[groups.ipmp1]\ndata_addresses = [\"198.51.100.50/24\"]\n[groups.ipmp1.interfaces.eth2]\n"
    );
    let come = ["group ipmp1 added", "group ipmp1: + 198.51.100.50/24", "eth2 joins ipmp1"];
    assert_eq!(changes(OLD, &second), come);
    let gone = ["group ipmp1 removed", "group ipmp1: - 198.51.100.50/24", "eth2 leaves ipmp1"];
    assert_eq!(changes(&second, OLD), gone);
    let across = second
        .replace("interfaces.eth1", "interfaces.eth3")
        .replace("interfaces.eth2", "interfaces.eth1");
    assert_eq!(
        changes(&second, &across),
        ["eth1 leaves ipmp0", "eth3 joins ipmp0", "eth2 leaves ipmp1", "eth1 joins ipmp1",]
    );
}

/// Who relies on "no lines" must not miss a change: each single edit of the file is told.
#[test]
fn no_lines_means_no_difference() {
    let edits = [
        ("\"1s\"", "\"1.001s\""),
        (".50/24\"", ".50/25\""),
        ("\"192.0.2.1\", \"192.0.2.2\"", "\"192.0.2.2\", \"192.0.2.1\""),
        ("targets = [\"192.0.2.1\", \"192.0.2.2\"]\n", ""),
        ("routes = [{ to = \"default\", via = \"192.0.2.1\" }]\n", ""),
        ("test_addresses = [\"192.0.2.11/24\"]\n", ""),
        ("[groups.ipmp0]", "[groups.ipmp0]\nfailback = false"),
        ("failure_detection_time", "consume_replies = false\nfailure_detection_time"),
        ("failure_detection_time", "datapath = \"socket\"\nfailure_detection_time"),
        ("ipmp0", "ipmp9"),
    ];
    let old = settings(OLD);
    for edit in edits {
        let new = settings(&edited(&[edit]));
        assert_ne!(old.engine, new.engine, "{edit:?}");
        assert_ne!(diff::changes(&old, &new), [""; 0], "{edit:?}");
        assert_ne!(diff::changes(&new, &old), [""; 0], "{edit:?}");
    }
}
