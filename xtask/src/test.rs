//! `cargo xtask test`: the tests without root, then those in network namespaces, on the release binaries.
//!
//! Every root test has a namespace of its own, but RTNL, the kernel's lock for network configuration, is
//! shared by all of them: making a lab delays the daemon in another by up to 75 ms. So tests that assert
//! times lie in files named `timed_*.rs` and run alone.
//!
//! A root test that fails is run once more, alone: a shared machine can stand still for longer than a test allows for.
//! It counts as failed only if it fails again, and the summary names it in either case.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, need_root, root};
use crate::{build, ebpf};

/// More failures than this are no accident of the machine.
const MOST_RUN_AGAIN: usize = 5;

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Tally {
    passed: u32,
    failed: u32,
    /// Test programs that ended without a result line: did not build, or died.
    broken: u32,
    /// The names of the tests that failed.
    names: Vec<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.broken += other.broken;
        self.names.extend(other.names);
    }
}

impl Tally {
    /// Those that failed and have passed `again` count as passed.
    fn corrected_by(&mut self, again: &Self) -> Vec<String> {
        let (still, passed) =
            self.names.iter().cloned().partition(|name| again.names.contains(name));
        let all_ran = again.broken == 0 && again.passed + again.failed == self.failed;
        if !all_ran {
            return Vec::new();
        }
        (self.passed, self.failed) = (self.passed + again.passed, again.failed);
        self.names = still;
        passed
    }
}

pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    need_root("test")?;
    let binaries = build::binaries()?;
    let (timed, functional) = lab_tests()?;
    let lab_test = |names: &[String], threads: &str, filters: &[&str]| {
        let mut command = cargo();
        command.args(["test", "--no-fail-fast", "--package", "mpathd-tests"]);
        command.args(names.iter().flat_map(|name| ["--test", name.as_str()]));
        // The object of these binaries, wherever the target folder of the tests is.
        command.env("MPATHD_BIN_DIR", &binaries).env_remove("MPATHD_EBPF");
        command.env("MPATHD_OBJECT", ebpf::object());
        command.args(["--"]).args(filters).arg(format!("--test-threads={threads}"));
        // Those that run alone assert times: their figures are worth reading when they pass, too.
        command.args((threads == "1").then_some("--show-output"));
        tally(&mut command)
    };

    let mut all = tally(cargo().args(["test", "--no-fail-fast"]).args(filter))?;
    let mut in_lab = Tally::default();
    let filters: Vec<_> = filter.into_iter().collect();
    if !functional.is_empty() {
        in_lab += lab_test(&functional, "2", &filters)?;
    }
    if !timed.is_empty() {
        in_lab += lab_test(&timed, "1", &filters)?;
    }
    let mut second_time = Vec::new();
    if (1..=MOST_RUN_AGAIN).contains(&in_lab.names.len()) && in_lab.broken == 0 {
        println!("\nfailed, and are run again alone: {}\n", in_lab.names.join(", "));
        let mut exactly = vec!["--exact"];
        exactly.extend(in_lab.names.iter().map(String::as_str));
        let programs = [functional, timed].concat();
        let again = lab_test(&programs, "1", &exactly)?;
        second_time = in_lab.corrected_by(&again);
    }
    let lab_passed = in_lab.passed;
    all += in_lab;

    println!("\n{} passed, {} failed", all.passed, all.failed);
    if !second_time.is_empty() {
        println!("FLAKY: passed only when run again alone: {}", second_time.join(", "));
    }
    if !all.names.is_empty() {
        println!("failed: {}", all.names.join(", "));
    }
    if all.failed + all.broken > 0 {
        bail!("{} tests failed, {} test programs did not finish", all.failed, all.broken);
    }
    match filter {
        None if lab_passed == 0 => bail!("no test in network namespaces has run"),
        Some(filter) if all.passed == 0 => bail!("no test's name contains `{filter}`"),
        _ => Ok(()),
    }
}

/// The names of the root tests' programs: (timed, functional), each in alphabetical order.
fn lab_tests() -> Result<(Vec<String>, Vec<String>)> {
    let folder = root().join("tests/tests");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "rs") {
            names.extend(file.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names.into_iter().partition(|name| name.starts_with("timed_")))
}

/// Runs cargo, shows what it says as it comes, and adds up its result lines.
fn tally(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut sum = Tally::default();
    for line in BufReader::new(child.stdout.take().expect("it is piped")).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(result) = result_line(&line) {
            sum += result;
        }
        sum.names.extend(failed_test(&line));
    }
    // Where cargo fails and no test did, something did not get as far as testing.
    if !child.wait()?.success() && sum.failed == 0 {
        sum.broken += 1;
    }
    Ok(sum)
}

/// `test result: FAILED. 3 passed; 1 failed; 0 ignored; ...`
fn result_line(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |unit: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(unit)?.trim().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, ..Tally::default() })
}

/// `test hooks::a_name ... FAILED`
fn failed_test(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Tally, failed_test, result_line};

    #[test]
    fn result_lines_are_counted_and_nothing_else_is() {
        let line = "test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s";
        assert_eq!(result_line(line), Some(Tally { passed: 12, failed: 1, ..Tally::default() }));
        assert_eq!(result_line("test the_result: ok. 3 passed; 1 failed"), None);
        assert_eq!(result_line("running 3 tests"), None);
    }
    #[test]
    fn only_what_fails_twice_has_failed() {
        assert_eq!(failed_test("test a::b ... FAILED").as_deref(), Some("a::b"));
        assert_eq!(
            failed_test("  | test a::b ... FAILED"),
            None,
            "the same test, inside its namespaces"
        );
        assert_eq!(failed_test("test a::b ... ok"), None);
        let tally = |passed, failed, names: &[&str]| Tally {
            passed,
            failed,
            names: names.iter().map(|&it| it.to_owned()).collect(),
            ..Tally::default()
        };
        let mut first = tally(10, 2, &["a", "b"]);
        assert_eq!(first.corrected_by(&tally(1, 1, &["b"])), ["a"]);
        assert_eq!(first, tally(11, 1, &["b"]));
        let mut first = tally(10, 2, &["a", "b"]);
        assert_eq!(
            first.corrected_by(&tally(1, 0, &[])),
            [] as [&str; 0],
            "one of them was not found"
        );
        assert_eq!(first, tally(10, 2, &["a", "b"]));
    }
}
