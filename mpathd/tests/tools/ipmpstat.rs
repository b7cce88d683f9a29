//! The command line of `ipmpstat`: errors, warnings, exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

use mpathd::cli::daemon::Daemon;
use mpathd::cli::ipmpstat::{self, Setting};
use mpathd_core::time::Instant;

use crate::sample::{Absent, Idle, Lab};

/// Exit code, stdout, stderr of a command line.
pub(crate) fn ipmpstat<D: Daemon>(command_line: &str) -> (ExitCode, String, String) {
    let setting = Setting {
        run_dir: PathBuf::from("/run/mpathd"),
        hosts: PathBuf::from("/nonexistent"),
        started: Instant(5_000_000_000),
        screen: &|| 24,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = command_line.split_whitespace().map(str::to_owned);
    let code = ipmpstat::run::<D>(words, &setting, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

pub(crate) fn shown(command_line: &str) -> String {
    shown_by::<Lab>(command_line)
}

pub(crate) fn shown_by<D: Daemon>(command_line: &str) -> String {
    let (code, out, err) = ipmpstat::<D>(command_line);
    assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""), "{command_line}");
    out
}

#[track_caller]
fn fails<D: Daemon>(command_line: &str, text: &str) {
    let (code, out, err) = ipmpstat::<D>(command_line);
    assert_eq!(code, ExitCode::from(1), "{command_line}");
    assert_eq!((out.as_str(), err.as_str()), ("", text), "{command_line}");
}

/// Behaviours 145, 147.
#[test]
fn what_is_no_command_line() {
    for line in ["", "-n", "-g operand", "operand"] {
        fails::<Lab>(line, ipmpstat::args::USAGE);
    }
    for (line, text) in [
        ("-a -g", "only one output format may be specified"),
        ("-agn", "only one output format may be specified"),
        ("-g -P", "output fields must be specified in parsable mode"),
        ("-g -P -o all", "output field `all' invalid in parsable mode"),
        ("-g -P -o group,foo", "unknown output field: `foo'"),
        ("-g -P -o foo,bar", "unknown output fields: `foo,bar'"),
        ("-g -o foo", "no valid output fields"),
        ("-g --follow", "--follow goes with -e"),
        ("-g --json -o group", "--json shows every field; it goes without -o and -P"),
    ] {
        fails::<Lab>(line, &format!("ipmpstat: {text}\n"));
    }
    for (line, text) in [
        ("-x", "unknown option `-x'"),
        ("-g -:", "unknown option `-:'"),
        ("-go", "option `-o' needs a value"),
        ("-g --run-dir", "option `--run-dir' needs a value"),
        ("-g --json=1", "option `--json' takes no value"),
        ("-g --jsn", "unknown option `--jsn'"),
    ] {
        fails::<Lab>(line, &format!("ipmpstat: {text}\n{}", ipmpstat::args::USAGE));
    }
}

#[test]
fn the_same_mode_twice_is_one() {
    assert_eq!(shown("-g -g"), shown("-g"));
}

#[test]
fn about_itself() {
    let help = shown("--help");
    assert!(help.starts_with(ipmpstat::args::USAGE), "{help}");
    assert!(help.contains("  -g -o group,groupname,state,fdt,interfaces,"), "{help}");
    assert_eq!(shown("--version"), format!("ipmpstat {}\n", env!("CARGO_PKG_VERSION")));
}

/// Behaviour 151.
#[test]
fn no_daemon() {
    for mode in ["-a", "-g", "-i", "-l", "-p", "-t", "-g --json"] {
        fails::<Absent>(
            &format!("{mode} --run-dir=/tmp/x"),
            "ipmpstat: cannot contact mpathd(8) at /tmp/x/mpathd.sock -- is it running?\n",
        );
    }
}

#[test]
fn nothing_to_show_has_no_header() {
    for mode in ["-a", "-g", "-i", "-t"] {
        let (code, out, err) = ipmpstat::<Idle>(mode);
        assert_eq!((code, out.as_str(), err.as_str()), (ExitCode::SUCCESS, "", ""));
    }
}

/// Behaviour 148.
#[test]
fn nobody_probes() {
    fails::<Idle>("-p", "ipmpstat: probe-based failure detection is disabled\n");
}

/// Behaviour 146.
#[test]
fn unknown_fields_are_left_out() {
    let (code, out, err) = ipmpstat::<Lab>("-g -o group,foo");
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(err, "ipmpstat: ignoring unknown output field: `foo'\n");
    assert_eq!(out, "GROUP\nitops0\nacctg1\nfield2\n");
    let (_, _, err) = ipmpstat::<Lab>("-g -o foo,group,bar");
    assert_eq!(err, "ipmpstat: ignoring unknown output fields: `foo,bar'\n");
}

#[test]
fn options_stand_together() {
    assert_eq!(shown("-gPostate,GROUP"), "ok:itops0\nfailed:acctg1\ndegraded:field2\n");
}
