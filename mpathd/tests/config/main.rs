//! Configuration files: what they mean, and the full text of every error.

mod addresses;
mod any_input;
mod drop_ins;
mod keys;
mod limits;
mod meaning;
mod reload;
mod rules;
mod size;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use mpathd::config;

/// A file that is wrong. Both texts begin and end with a line end, so that they stand on their own.
#[derive(Clone)]
struct Case {
    name: &'static str,
    toml: &'static str,
    errors: &'static str,
}

fn errors_of(bytes: &[u8]) -> String {
    match config::parse(bytes, Path::new("mpathd.toml")) {
        Ok(settings) => format!("no error: {settings:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// Behaviours 2, 3, 6, 7, 8: no value is guessed or corrected.
#[test]
fn every_error_says_where_what_and_how() {
    let mut wrong = String::new();
    for case in [keys::CASES, addresses::CASES, rules::CASES].concat() {
        let got = format!("\n{}\n", errors_of(case.toml.as_bytes()));
        if got != case.errors {
            writeln!(wrong, "{}: got {got}expected {}", case.name, case.errors).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Behaviours 4, 5: the bounds of the failure detection time are allowed themselves.
#[test]
fn the_least_and_the_greatest_time_are_accepted() {
    for (text, time) in [("5ms", Duration::from_millis(5)), ("1h", Duration::from_hours(1))] {
        let toml = format!("failure_detection_time = \"{text}\"\n[groups.g.interfaces.eth0]\n");
        let settings = config::parse(toml.as_bytes(), Path::new("mpathd.toml")).unwrap();
        assert_eq!(settings.engine.groups[0].fdt, time);
    }
    for text in ["4ms", "61m"] {
        let toml = format!("failure_detection_time = \"{text}\"\n");
        assert!(errors_of(toml.as_bytes()).ends_with("5ms to 1h is allowed"), "{text}");
    }
}

#[test]
fn a_group_has_a_limit() {
    let mut toml = String::from("[groups.g.interfaces]\n");
    (0..33).for_each(|n| writeln!(toml, "eth{n} = {{}}").unwrap());
    let expected = "mpathd.toml:1:9: groups.g: 33 interfaces; a group has 32 at most: \
                    make two groups of it";
    assert_eq!(errors_of(toml.as_bytes()), expected);
}

#[test]
fn all_groups_together_have_a_limit() {
    let mut toml = String::new();
    for n in 0..10_000 {
        writeln!(toml, "[groups.g{n}.interfaces.eth{n}]").unwrap();
    }
    let expected = "mpathd.toml:205:25: groups.g204.interfaces.eth204: 10000 interfaces in all; one \
                    mpathd watches 204 at most: run a second one in another network namespace";
    assert_eq!(errors_of(toml.as_bytes()), expected);
}

#[test]
fn long_values_are_cut_and_stand_on_one_line() {
    let toml = format!("datapath = [\n{}]\n", "  \"x\",\n".repeat(40));
    let expected = format!(
        "mpathd.toml:1:12: datapath = [ {}...: allowed: \"auto\", \"xdp\", \"xdp-generic\", \"tcx\", \
         \"socket\"",
        "\"x\", ".repeat(11)
    );
    assert_eq!(errors_of(toml.as_bytes()), expected);
}

#[test]
fn columns_count_characters() {
    let toml = "failback = true # ä\n[groups.\"grüße\"]\n";
    let expected = "mpathd.toml:2:9: groups.\"grüße\": a group needs an interface: add a table \
                    [groups.\"grüße\".interfaces.NAME], which may be empty, for each";
    assert_eq!(errors_of(toml.as_bytes()), expected);
}

#[test]
fn bytes_that_are_no_text() {
    assert_eq!(errors_of(b"failback = true\n# \xff\n"), "mpathd.toml:2:3: not a text in UTF-8");
}

#[test]
fn a_file_that_cannot_be_read() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let errors = config::load(Path::new(folder)).unwrap_err();
    let expected = format!("{folder}:1:1: cannot be read: Is a directory (os error 21)");
    assert_eq!(errors.to_string(), expected);
}
