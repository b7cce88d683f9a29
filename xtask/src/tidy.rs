//! House rules that no lint of the compiler knows: length of files, unfinished work, ignored tests, sleeps in
//! tests, and paths of the machine that something was written on.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::root;

const MAX_LINES: usize = 600;
/// Written in two halves, so that this file keeps its own rules.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("FIX", "ME"),
    concat!("#[ig", "nore"),
];
const SLEEP: &str = concat!("thread::", "sleep");
const TEXT: &[&str] =
    &["rs", "toml", "md", "sh", "service", "conf", "yml", "yaml", "jsonl", "json", "txt"];

pub(crate) fn run() -> Result<()> {
    let root = root();
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let machine = machine_paths(root);
    let mut found = Vec::new();
    for file in &files {
        // A file that is not text has no lines to judge.
        let Ok(text) = fs::read_to_string(file) else { continue };
        let name = file.strip_prefix(root).unwrap_or(file);
        found.extend(judge(name, &text, &machine));
    }
    if !found.is_empty() {
        bail!("{} findings\n{}", found.len(), found.join("\n"));
    }
    Ok(())
}

fn judge(name: &Path, text: &str, machine: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let is_rust = name.extension().is_some_and(|extension| extension == "rs");
    let lines = text.lines().count();
    if is_rust && lines > MAX_LINES {
        found.push(format!("{}: {lines} lines, at most {MAX_LINES}", name.display()));
    }
    for (index, line) in text.lines().enumerate() {
        let mut note = |what: &str| found.push(format!("{}:{}: {what}", name.display(), index + 1));
        if is_rust && UNFINISHED.iter().any(|word| line.contains(word)) {
            note("unfinished or ignored");
        }
        if name.starts_with("tests/tests") && line.contains(SLEEP) {
            note("sleeps for luck: wait for a condition with a limit (mpathd_tests::wait_for)");
        }
        if machine.iter().any(|path| line.contains(path)) {
            note("a path of this machine");
        }
    }
    found
}

/// The folder of this checkout and the first folder above it, where that is not one that every system has.
fn machine_paths(checkout: &Path) -> Vec<String> {
    const COMMON: &[&str] =
        &["home", "root", "usr", "opt", "srv", "tmp", "var", "build", "src", "mnt", "run"];
    let mut paths = vec![checkout.display().to_string()];
    if let Some(Component::Normal(first)) = checkout.components().nth(1) {
        let first = first.to_string_lossy();
        if !COMMON.contains(&first.as_ref()) {
            paths.push(format!("/{first}/"));
        }
    }
    paths
}

/// Text files of the repository; not what is hidden (but `.cargo` and `.ci` are) nor what is built.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let hidden = name.starts_with('.') && ![".cargo", ".ci", ".gitignore"].contains(&&*name);
        if hidden || name == "target" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_none_or(|it| TEXT.iter().any(|known| it == *known)) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{MAX_LINES, SLEEP, UNFINISHED, judge, machine_paths};

    #[test]
    fn each_rule_finds_its_breach() {
        for word in UNFINISHED {
            assert_eq!(
                judge(Path::new("a.rs"), &format!("x\n{word}\n"), &[]),
                ["a.rs:2: unfinished or ignored"]
            );
            assert!(judge(Path::new("a.md"), word, &[]).is_empty(), "prose may name it");
        }
        assert_eq!(judge(Path::new("tests/tests/a.rs"), SLEEP, &[]).len(), 1);
        assert!(judge(Path::new("tests/src/clock.rs"), SLEEP, &[]).is_empty());
        assert_eq!(judge(Path::new("a.rs"), &"\n".repeat(MAX_LINES + 1), &[]).len(), 1);
        assert!(judge(Path::new("a.rs"), &"\n".repeat(MAX_LINES), &[]).is_empty());
        assert_eq!(
            judge(Path::new("README.md"), "see /build-host/x", &["/build-host/".to_owned()]).len(),
            1
        );
    }

    #[test]
    fn a_checkout_in_a_folder_that_all_systems_have_names_only_itself() {
        assert_eq!(machine_paths(Path::new("/home/me/mpathd")), ["/home/me/mpathd"]);
        assert_eq!(machine_paths(Path::new("/odd/mpathd")), ["/odd/mpathd", "/odd/"]);
    }
}
