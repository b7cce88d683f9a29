//! The built programs, against nobody and against a socket that answers as the daemon does.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

use crate::sample::view;

/// A directory of this test alone, empty.
fn run_dir(test: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mpathd-tools-{test}-{}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn output(program: &str, arguments: &[&str], run_dir: &Path) -> (Option<i32>, String, String) {
    let run = Command::new(program).args(arguments).env("MPATHD_RUN_DIR", run_dir).output();
    let Output { status, stdout, stderr } = run.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

const IPMPSTAT: &str = env!("CARGO_BIN_EXE_ipmpstat");
const IF_MPADM: &str = env!("CARGO_BIN_EXE_if_mpadm");

#[test]
fn nobody_there() {
    let dir = run_dir("nobody");
    let contact =
        format!("cannot contact mpathd(8) at {}/mpathd.sock -- is it running?\n", dir.display());
    let expected = (Some(1), String::new(), format!("ipmpstat: {contact}"));
    assert_eq!(output(IPMPSTAT, &["-i"], &dir), expected);
    let expected =
        (Some(1), String::new(), format!("if_mpadm: fatal: cannot offline lo: {contact}"));
    assert_eq!(output(IF_MPADM, &["-d", "lo"], &dir), expected);
    std::fs::remove_dir(&dir).unwrap();
}

#[test]
fn about_themselves() {
    let dir = run_dir("about");
    for (program, name) in [(IPMPSTAT, "ipmpstat"), (IF_MPADM, "if_mpadm")] {
        let version = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(output(program, &["--version"], &dir), (Some(0), version, String::new()));
        let (code, out, err) = output(program, &["--help"], &dir);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.starts_with(&format!("Usage: {name} ")), "{out}");
    }
    std::fs::remove_dir(&dir).unwrap();
}

/// Answers one call on each of `connections`, and gives back what was asked.
fn daemon(dir: &Path, connections: usize) -> thread::JoinHandle<Vec<Value>> {
    let listener = UnixListener::bind(dir.join("mpathd.sock")).unwrap();
    thread::spawn(move || {
        let answer = |stream: std::io::Result<std::os::unix::net::UnixStream>| {
            let mut stream = BufReader::new(stream.unwrap());
            let mut call = Vec::new();
            stream.read_until(0, &mut call).unwrap();
            call.pop();
            let call: Value = serde_json::from_slice(&call).unwrap();
            let reply = match call["method"].as_str().unwrap().rsplit('.').next() {
                Some("Snapshot") => json!({ "parameters": view() }),
                _ => json!({
                    "error": "org.mpathd.Control.NoRedundancy",
                    "parameters": { "interface": call["parameters"]["interface"] },
                }),
            };
            stream.get_mut().write_all(format!("{reply}\0").as_bytes()).unwrap();
            call
        };
        listener.incoming().take(connections).map(answer).collect()
    })
}

#[test]
fn over_the_socket() {
    let dir = run_dir("socket");
    let daemon = daemon(&dir, 2);
    let (code, out, err) = output(IPMPSTAT, &["-gPo", "group,state"], &dir);
    let groups = "itops0:ok\nacctg1:failed\nfield2:degraded\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), groups, ""));
    let (code, out, err) = output(IF_MPADM, &["-d", "net1"], &dir);
    let refused = "if_mpadm: fatal: cannot offline net1: no other functioning interfaces are in its \
                   IPMP group\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(1), "", refused));
    let calls = daemon.join().unwrap();
    assert_eq!(calls[1]["parameters"], json!({ "interface": "net1" }));
    std::fs::remove_dir_all(&dir).unwrap();
}
