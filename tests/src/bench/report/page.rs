//! `performance.md`: an introduction, and a part for each section between marks, so that each is renewed alone.

use std::fs;
use std::path::PathBuf;

use crate::bench::SECTIONS;

const INTRODUCTION: &str = "\
# Performance

Made by `cargo xtask bench`; `cargo xtask bench SECTION` renews one part. Host, switch, targets and clients are
network namespaces of one machine, joined by veth pairs: what its CPUs do for the switch and the targets, and
what the machine itself is late by, is in all figures. Stalls are seen by a SCHED_FIFO 90 thread on each CPU
that wants to run every millisecond; they are told beside the figures, and never taken off them.
";

#[derive(Debug)]
pub(super) struct Page(PathBuf);

impl Page {
    pub(super) fn of(file: PathBuf) -> Self {
        Self(file)
    }

    /// # Panics
    /// If it cannot be written.
    pub(super) fn renew(&self, section: &str, text: &str) {
        // The first section ever has no page to find.
        let old = fs::read_to_string(&self.0).unwrap_or_default();
        fs::write(&self.0, renewed(&old, section, text))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", self.0.display()));
    }
}

/// The page with this part instead of its old one, and all parts in the order of the sections.
fn renewed(old: &str, section: &str, text: &str) -> String {
    let names = SECTIONS.iter().map(|it| it.name);
    let parts = names.filter_map(|name| {
        let part = if name == section { Some(text) } else { part(old, name) };
        Some(format!("\n{}\n{}\n{}\n", begin(name), part?.trim_end(), end(name)))
    });
    INTRODUCTION.to_owned() + &parts.collect::<String>()
}

fn part<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&(begin(name) + "\n"))?;
    Some(rest.split_once(&end(name))?.0)
}

fn begin(name: &str) -> String {
    format!("<!-- {name} -->")
}

fn end(name: &str) -> String {
    format!("<!-- end of {name} -->")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_renews_its_own_part_only_and_the_order_is_fixed() {
        let [first, second] = [SECTIONS[0].name, SECTIONS[1].name];
        let page = renewed("", second, "two");
        let page = renewed(&page, first, "one\n\n");
        assert!(page.find("one").unwrap() < page.find("two").unwrap(), "{page}");
        assert_eq!(renewed(&page, second, "two"), page);
        assert_eq!(part(&renewed(&page, first, "1"), first), Some("1\n"));
        assert_eq!(part(&renewed(&page, first, "1"), second), Some("two\n"));
    }
}
