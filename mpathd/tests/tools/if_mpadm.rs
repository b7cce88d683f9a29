//! `if_mpadm` (behaviour file 6).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mpathd::cli::daemon::Daemon;
use mpathd::cli::if_mpadm;

use crate::sample::{Absent, Lab};

/// What it says; `None` when it is done.
fn said<D: Daemon>(command_line: &str) -> Option<String> {
    let (mut sink, mut err) = (std::io::sink(), Vec::new());
    let words = command_line.split_whitespace().map(str::to_owned);
    // The only device of this host is "lo".
    let devices = Path::new("/sys/class/net");
    let code =
        if_mpadm::run::<D>(words, PathBuf::from("/run/mpathd"), devices, &mut sink, &mut err);
    let text = String::from_utf8(err).unwrap();
    assert_eq!(code == ExitCode::SUCCESS, text.is_empty(), "{command_line}: {text}");
    (code != ExitCode::SUCCESS).then_some(text)
}

#[test]
fn done() {
    for line in ["-d net0", "-dnet0", "-r hme0", "-d net0 more operands", "-d net1 -r hme0"] {
        assert_eq!(said::<Lab>(line), None);
    }
}

#[test]
fn usage() {
    for line in ["", "net0", "-d", "-x net0", "--run-dir /tmp"] {
        let usage = "Usage: if_mpadm [-d | -r] <interface>\n";
        assert_eq!(said::<Lab>(line).as_deref(), Some(usage), "{line}");
    }
}

/// Behaviours 123, 125, 126.
#[test]
fn refused() {
    for (line, text) in [
        ("-d net1", "cannot offline net1: no other functioning interfaces are in its IPMP group"),
        ("-d hme0", "interface hme0 is already offline"),
        ("-r net0", "interface net0 is not offline"),
        ("-r net1", "cannot undo-offline net1: permission denied (group mpathd)"),
        ("-d lo", "cannot offline lo: not a physical interface or not in an IPMP group"),
        ("-d gone0", "cannot get interface flags on gone0: No such device"),
        (
            "-d a-name-that-is-too-long",
            "cannot get interface flags on a-name-that-is-too-long: No such device",
        ),
    ] {
        assert_eq!(said::<Lab>(line), Some(format!("if_mpadm: fatal: {text}\n")));
    }
}

/// Behaviour 130.
#[test]
fn no_daemon() {
    let text = "if_mpadm: fatal: cannot offline net0: cannot contact mpathd(8) at \
                /tmp/x/mpathd.sock -- is it running?\n";
    assert_eq!(said::<Absent>("--run-dir /tmp/x -d net0").as_deref(), Some(text));
}
