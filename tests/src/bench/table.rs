//! Tables for people, and comma-separated values for programs.

use std::fmt::Write as _;
use std::path::Path;

use crate::figures::Figures;

/// A line of percentiles.
pub(super) fn line(name: &str, figures: &Figures) {
    println!(
        "  {name:<34} {:>6} {:>9.3} {:>9.3} {:>9.3}",
        figures.len(),
        figures.median(),
        figures.quantile(0.99),
        figures.max()
    );
}

/// The words over such lines.
pub(super) fn head(what: &str, unit: &str) {
    println!("\n{what}");
    println!("  {unit:<34} {:>6} {:>9} {:>9} {:>9}", "count", "p50", "p99", "max");
}

/// Values by rows, under a line of names.
pub(super) struct Csv(String);

impl Csv {
    pub(super) fn new(names: &str) -> Self {
        Self(format!("{names}\n"))
    }

    pub(super) fn row(&mut self, values: &[&dyn std::fmt::Display]) {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        writeln!(self.0, "{}", values.join(",")).expect("memory can be written");
    }

    /// # Panics
    /// If the file cannot be written.
    pub(super) fn write(self, folder: &Path, name: &str) {
        let file = folder.join(name);
        std::fs::write(&file, self.0)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
    }
}
