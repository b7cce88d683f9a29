//! `mpathd status` (O22).

use std::path::Path;
use std::process::ExitCode;

use mpathd::cli::daemon::Daemon;
use mpathd::cli::status;
use serde_json::{Value, json};

use crate::sample::{Absent, Blind, Idle, Lab, Refused, Ungrouped};

/// Exit code, what it says, and what it complains of.
fn said<D: Daemon>(group: Option<&str>, as_json: bool) -> (ExitCode, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = status::run::<D>(Path::new("/run/mpathd"), group, as_json, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn a_line_a_group_and_the_worst_of_them() {
    let (code, out, err) = said::<Lab>(None, false);
    assert_eq!((code, err.as_str()), (ExitCode::from(4), ""), "{out}");
    assert_eq!(out, STATUS);
    let (code, out, _) = said::<Lab>(Some("field2"), false);
    assert_eq!((code, out.lines().count()), (ExitCode::from(3), 1), "{out}");
}

#[test]
fn without_groups_all_is_well() {
    let note = "mpathd: note: no group is configured\n".to_owned();
    assert_eq!(said::<Idle>(None, false), (ExitCode::SUCCESS, String::new(), note));
}

#[test]
fn interfaces_outside_of_groups_have_a_line_that_says_so() {
    let (code, out, err) = said::<Ungrouped>(None, false);
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(out, "-- ok 1 of 1 interfaces outside of groups, FDT 10s\n");
    assert_eq!(err, "mpathd: note: no group is configured\n");
}

/// It has no row, and yet all is not well.
#[test]
fn a_group_that_has_not_started() {
    let text = "group ipmp9 can't start: 192.0.2.9/24 on net0 has a lifetime\n".to_owned();
    for name in [None, Some("ipmp9")] {
        let told = (ExitCode::from(4), text.clone(), String::new());
        assert_eq!(said::<Refused>(name, false), told);
    }
    let (code, out, _) = said::<Refused>(None, true);
    assert_eq!(code, ExitCode::from(4));
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["not_started"], json!({ "ipmp9": text.trim_end() }));
    assert_eq!(said::<Refused>(Some("ipmp8"), false).0, ExitCode::from(1));
}

#[test]
fn who_cannot_be_asked() {
    let text = "mpathd: cannot contact mpathd(8) at /run/mpathd/mpathd.sock -- is it running?\n";
    assert_eq!(said::<Absent>(None, false), (ExitCode::from(1), String::new(), text.to_owned()));
    let text = "mpathd: nogroup: no such group\n".to_owned();
    assert_eq!(said::<Lab>(Some("nogroup"), true), (ExitCode::from(1), String::new(), text));
}

/// All its interfaces work, for all that anybody knows.
#[test]
fn a_group_with_an_interface_that_nothing_watches() {
    let (code, out, err) = said::<Blind>(Some("itops0"), false);
    assert_eq!((code, err.as_str()), (ExitCode::from(3), ""), "{out}");
    let line = "itops0 unwatched 2 of 2 interfaces, FDT 104ms; \
                net0 inet unwatched (none of its targets has ever answered)\n";
    assert_eq!(out, line);
    let (code, out, _) = said::<Blind>(Some("itops0"), true);
    assert_eq!(code, ExitCode::from(3));
    let told: Value = serde_json::from_str(&out).unwrap();
    let group = &told["groups"][0];
    assert_eq!((&group["state"], &group["watched"]), (&json!("ok"), &json!(false)));
    let unwatched = |name: &str| {
        let mut all = group["interfaces"].as_array().unwrap().iter();
        all.find(|it| it["name"] == name).unwrap()["unwatched"].clone()
    };
    assert_eq!(unwatched("net0"), json!({ "inet": "no-reply" }));
    assert_eq!(unwatched("net1"), json!({}));
}

#[test]
fn as_json() {
    let (code, out, _) = said::<Lab>(Some("field2"), true);
    assert_eq!(code, ExitCode::from(3));
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["note"], Value::Null);
    let group = &told["groups"][0];
    assert_eq!((&group["name"], &group["state"]), (&json!("field2"), &json!("degraded")));
    assert_eq!(group["fdt_ms"], json!(20_000.0));
    let names: Vec<_> =
        group["interfaces"].as_array().unwrap().iter().map(|i| &i["name"]).collect();
    assert_eq!(names, ["fops1", "fops2", "fops3", "fops0"]);
    let down: Vec<_> =
        group["interfaces"].as_array().unwrap().iter().map(|i| &i["families_down"]).collect();
    assert_eq!(down, [&json!([]), &json!([]), &json!(["inet6"]), &json!([])]);
}

const STATUS: &str = "\
field2 degraded 3 of 4 interfaces, FDT 20s; fops1 failed (link), fops3 inet6 failed
acctg1 failed 0 of 2 interfaces; hme1 unknown, hme0 offline
itops0 ok 2 of 2 interfaces, FDT 104ms
";
