//! Tables for people, and comma-separated values for programs.

use std::fmt::{self, Display};

use crate::figures::Figures;

/// In Markdown, and aligned for those who read its source.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(names: &[&str]) -> Self {
        Self { rows: vec![names.iter().map(ToString::to_string).collect()] }
    }

    /// For rows of percentiles: `what` they are of, and the unit.
    pub fn of_figures(what: &str) -> Self {
        Self::new(&[what, "count", "min", "p50", "p99", "p99.9", "max"])
    }

    /// # Panics
    /// If there are more or less values than names.
    pub fn row(&mut self, values: &[&dyn Display]) {
        assert_eq!(values.len(), self.rows[0].len(), "a value for each name");
        self.rows.push(values.iter().map(|it| it.to_string().replace('|', "\\|")).collect());
    }

    /// A row of percentiles.
    pub fn figures(&mut self, name: impl Display, of: &Figures) {
        let of_share = |share| rounded(of.quantile(share));
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(of_share);
        self.row(&[&name, &of.len(), &rounded(of.min()), &p50, &p99, &p999, &rounded(of.max())]);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

/// Four digits that count, or three behind the point.
fn rounded(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 10.0 {
        2
    } else {
        3
    };
    if value.is_nan() { "-".to_owned() } else { format!("{value:.decimals$}") }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = |text: &String| text.chars().count();
        let width = |column: usize| self.rows.iter().map(|row| letters(&row[column])).max();
        let widths: Vec<usize> = (0..self.rows[0].len()).filter_map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (text, &width))| {
                if column == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
            });
            writeln!(f, "| {} |", cells.collect::<Vec<_>>().join(" | "))?;
            if number == 0 {
                let line = |(column, width): (usize, &usize)| match column {
                    0 => "-".repeat(*width),
                    _ => "-".repeat(width.saturating_sub(1).max(1)) + ":",
                };
                let lines: Vec<String> = widths.iter().enumerate().map(line).collect();
                writeln!(f, "| {} |", lines.join(" | "))?;
            }
        }
        Ok(())
    }
}

/// Values by rows, under a line of names.
#[derive(Clone, Debug)]
pub struct Csv(String);

impl Csv {
    pub fn new(names: &str) -> Self {
        Self(format!("{names}\n"))
    }

    pub fn row(&mut self, values: &[&dyn Display]) {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.0 += &(values.join(",") + "\n");
    }
}

impl Display for Csv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_and_aligned() {
        let mut table = Table::of_figures("ms");
        table.figures("idle", &(1..=200).map(f64::from).collect());
        table.figures("none", &Figures::default());
        assert_eq!(
            table.to_string(),
            "| ms   | count |   min |   p50 |   p99 | p99.9 |   max |\n\
             | ---- | ----: | ----: | ----: | ----: | ----: | ----: |\n\
             | idle |   200 | 1.000 | 100.0 | 198.0 | 200.0 | 200.0 |\n\
             | none |     0 |     - |     - |     - |     - |     - |\n"
        );
    }
}
