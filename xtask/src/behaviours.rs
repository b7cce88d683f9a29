//! `cargo xtask behaviours`: makes tests/BEHAVIOURS.md, the table of the original's behaviours with the tests that
//! prove each here, from tests/behaviours.txt and the numbers that tests name. `cargo xtask lint` checks that it is
//! up to date and that no number is without a test or a reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::root;

const LIST: &str = "tests/behaviours.txt";
const TABLE: &str = "tests/BEHAVIOURS.md";
const CASES: &str = "tests/replay";
/// Where tests are.
const CODE: [&str; 3] = ["mpathd", "mpathd-common/src", "tests"];
const HEAD: &str = "# The original's behaviours, and the tests that prove them here\n\n\
    Made by `cargo xtask behaviours` from behaviours.txt and from the tests that name a number; not to be edited. \
    `replay: NAME` is a folder of tests/replay.\n\n\
    | | behaviour of the original | proved by | here |\n|---|---|---|---|\n";

/// A behaviour of the original.
#[derive(Debug, Default, PartialEq, Eq)]
struct Behaviour {
    text: String,
    /// "departs: ..." or "absent: ...".
    note: Option<String>,
    tests: Vec<String>,
}

type Table = BTreeMap<u32, Behaviour>;

pub(crate) fn write() -> Result<()> {
    let table = gather(root())?;
    fs::write(root().join(TABLE), render(&table)).context(TABLE)?;
    let proved = table.values().filter(|it| !it.tests.is_empty()).count();
    println!("{TABLE}: {} behaviours, {proved} with tests", table.len());
    Ok(())
}

pub(crate) fn check() -> Result<()> {
    let table = gather(root())?;
    let bare: Vec<String> = table
        .iter()
        .filter(|(_, it)| it.tests.is_empty() && it.note.is_none())
        .map(|(number, it)| {
            format!("behaviour {number} ({}) has neither a test nor a reason", it.text)
        })
        .collect();
    if !bare.is_empty() {
        bail!("{}\nname its number in a test, or add a reason to {LIST}", bare.join("\n"));
    }
    if fs::read_to_string(root().join(TABLE)).ok().as_deref() != Some(&render(&table)) {
        bail!("{TABLE} is out of date: run `cargo xtask behaviours`");
    }
    Ok(())
}

fn gather(root: &Path) -> Result<Table> {
    let mut table = read_list(&fs::read_to_string(root.join(LIST)).context(LIST)?)?;
    let mut add = |numbers: Vec<u32>, test: String| -> Result<()> {
        for number in numbers {
            let row = table.get_mut(&number);
            row.with_context(|| format!("{test} names behaviour {number}, which {LIST} has not"))?
                .tests
                .push(test.clone());
        }
        Ok(())
    };
    for case in names(&root.join(CASES))? {
        add(numbers_of_name(&case), format!("replay: {case}"))?;
    }
    let mut files = Vec::new();
    for folder in CODE {
        rust_files(&root.join(folder), &mut files)?;
    }
    files.sort();
    for file in files {
        let stem = file.strip_prefix(root).unwrap_or(&file).with_extension("");
        for (test, numbers) in tests_of(&fs::read_to_string(&file)?) {
            add(numbers, format!("{}: {test}", stem.display()))?;
        }
    }
    for row in table.values_mut() {
        row.tests.sort();
        row.tests.dedup();
    }
    Ok(table)
}

fn read_list(text: &str) -> Result<Table> {
    let mut table = Table::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with("departs: ") || line.starts_with("absent: ") {
            let mut last =
                table.last_entry().with_context(|| format!("{LIST}: a reason for nothing"))?;
            last.get_mut().note = Some(line.to_owned());
            continue;
        }
        let (number, text) = line.split_once(' ').unwrap_or((line, ""));
        let number: u32 =
            number.parse().with_context(|| format!("{LIST}: no number in {line:?}"))?;
        let expected = table.len() as u32 + 1;
        if number != expected {
            bail!("{LIST}: {number} where {expected} is due");
        }
        table.insert(number, Behaviour { text: text.to_owned(), ..Behaviour::default() });
    }
    Ok(table)
}

/// The tests of a source file that name a behaviour, by their own name or in the comment above.
fn tests_of(source: &str) -> Vec<(String, Vec<u32>)> {
    let mut found = Vec::new();
    let (mut comment, mut is_test) = (String::new(), false);
    for line in source.lines().map(str::trim_start) {
        if let Some(text) = line.strip_prefix("//") {
            comment.push_str(text.trim_start_matches('/'));
        } else if line.starts_with("#[") {
            is_test |= line.contains("test");
        } else {
            if is_test && let Some(name) = function_name(line) {
                let mut numbers = numbers_of_name(name);
                numbers.extend(numbers_of_text(&comment));
                found.push((name.to_owned(), numbers));
            }
            (comment, is_test) = (String::new(), false);
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

/// `behaviour_12_13_...`.
fn numbers_of_name(name: &str) -> Vec<u32> {
    let rest = name.strip_prefix("behaviours_").or_else(|| name.strip_prefix("behaviour_"));
    rest.into_iter().flat_map(|rest| rest.split('_')).map_while(|part| part.parse().ok()).collect()
}

/// "behaviour 12", "behaviours 12, 14 and 20 to 22".
fn numbers_of_text(text: &str) -> Vec<u32> {
    let text = text.to_lowercase();
    let mut numbers = Vec::new();
    for after in text.split("behaviour").skip(1) {
        let after = after.strip_prefix('s').unwrap_or(after).trim_start();
        let mut range = false;
        for word in after.split([' ', ',']).filter(|word| !word.is_empty()) {
            let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
            match digits.parse::<u32>() {
                Ok(last) if range => {
                    let first = numbers.last().map_or(last, |it| it + 1);
                    numbers.extend(first..=last);
                    range = false;
                }
                Ok(number) => numbers.push(number),
                Err(_) if word == "to" && !numbers.is_empty() => range = true,
                Err(_) if word == "and" => {}
                Err(_) => break,
            }
            if word != digits && word != "to" && word != "and" {
                break;
            }
        }
    }
    numbers
}

fn render(table: &Table) -> String {
    let mut text = HEAD.to_owned();
    for (number, row) in table {
        let tests = row.tests.join("<br>");
        let note = row.note.as_deref().unwrap_or("as the original");
        writeln!(text, "| {number} | {} | {tests} | {note} |", row.text)
            .expect("a string takes all");
    }
    text
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for name in names(folder)? {
        let path = folder.join(&name);
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_names_and_comments() {
        assert_eq!(numbers_of_name("behaviour_57_a_silent_path"), [57]);
        assert_eq!(numbers_of_name("behaviours_12_13_stop"), [12, 13]);
        assert_eq!(numbers_of_name("a_silent_path"), []);
        assert_eq!(numbers_of_text("Behaviour 72: as it was."), [72]);
        assert_eq!(numbers_of_text("(behaviours 1, 3 and 5 to 7). Two more"), [1, 3, 5, 6, 7]);
        assert_eq!(numbers_of_text("(behaviour file 8.6), 100 ms"), []);
        assert_eq!(numbers_of_text("behaviour 12, three times in 60 s"), [12]);
    }

    #[test]
    fn only_tests_count() {
        let source = "/// Behaviour 1.\nfn helper() {\n/// Behaviour 2.\n#[test]\nfn two() {\n}\n#[test]\nfn behaviour_3_x() {";
        let found = tests_of(source);
        assert_eq!(found, [("two".to_owned(), vec![2]), ("behaviour_3_x".to_owned(), vec![3])]);
    }

    #[test]
    fn a_reason_belongs_to_the_line_above() {
        let table = read_list("# head\n1 one\ndeparts: why\n2 two\n").expect("it is well-formed");
        assert_eq!(table[&1].note.as_deref(), Some("departs: why"));
        assert_eq!(table[&2].note, None);
        assert!(read_list("2 two").is_err());
    }
}
