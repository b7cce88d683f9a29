//! What a section has to show: text, tables, claims, plots, raw data. Printed as it comes; put into the page when the
//! section ends, also by a panic.

mod conditions;
mod page;
mod plot;
mod table;

use std::fmt::{Display, Write as _};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use plot::Plot;
pub use table::{Csv, Table};

use super::{Plan, Section};
use conditions::Conditions;
use page::Page;

/// A section on its way.
#[derive(Debug)]
pub struct Report {
    part: Arc<Mutex<Part>>,
    /// Of plots and raw data.
    folder: PathBuf,
    section: &'static str,
}

/// What the page will have of it.
#[derive(Debug)]
struct Part {
    section: Section,
    page: Page,
    conditions: Conditions,
    claims: Table,
    all_kept: bool,
    body: String,
}

impl Report {
    pub(super) fn open(section: &Section, plan: &Plan) -> Self {
        let folder = plan.folder().join("performance");
        fs::create_dir_all(&folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        println!("\n## {}", section.title);
        let part = Part {
            section: *section,
            page: Page::of(plan.folder().join("performance.md")),
            conditions: Conditions::at_start(plan),
            claims: Table::new(&["claim", "measured", "kept"]),
            all_kept: true,
            body: String::new(),
        };
        let report = Self { part: Arc::new(Mutex::new(part)), folder, section: section.name };
        report.write_when_panicking();
        report
    }

    /// A paragraph, in Markdown.
    pub fn text(&mut self, text: impl Display) {
        self.add(&format!("\n{text}\n"));
    }

    /// The name of what follows, within the section.
    pub fn heading(&mut self, text: impl Display) {
        self.add(&format!("\n### {text}\n"));
    }

    pub fn table(&mut self, table: &Table) {
        self.add(&format!("\n{table}"));
    }

    /// What must hold, and how it came out. One that was not kept fails the section, which goes on.
    pub fn claim(&mut self, claim: impl Display, measured: impl Display, kept: bool) {
        let word = if kept { "yes" } else { "**no**" };
        println!("claim: {claim}: {measured}: {}", word.trim_matches('*'));
        let mut part = self.part.lock().expect("no other thread writes");
        part.claims.row(&[&claim, &measured, &word]);
        part.all_kept &= kept;
    }

    /// Raw data, into `SECTION-NAME.csv`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn csv(&mut self, name: &str, csv: &Csv) {
        let file = self.write(&format!("{name}.csv"), &csv.to_string());
        self.add(&format!("\nRaw data: [{file}](performance/{file})\n"));
    }

    /// Shown from `SECTION-NAME.svg`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn plot(&mut self, name: &str, plot: &Plot) {
        let file = self.write(&format!("{name}.svg"), &plot.to_svg());
        self.add(&format!("\n![{}](performance/{file})\n", plot.title()));
    }

    pub(super) fn close(self) -> bool {
        // The hook has it, too.
        drop(std::panic::take_hook());
        let part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        part.write(None);
        part.all_kept
    }

    fn write(&self, name: &str, text: &str) -> String {
        let name = format!("{}-{name}", self.section);
        let file = self.folder.join(&name);
        fs::write(&file, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
        name
    }

    fn add(&mut self, markdown: &str) {
        print!("{markdown}");
        self.part.lock().expect("no other thread writes").body += markdown;
    }

    /// In a release build a panic of any thread is the end of the process.
    fn write_when_panicking(&self) {
        let part = Arc::clone(&self.part);
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            default(info);
            // Whoever panics while it writes has it locked.
            if let Ok(part) = part.try_lock() {
                part.write(Some(&info.to_string()));
            }
        }));
    }
}

impl Part {
    fn write(&self, failure: Option<&str>) {
        let mut text = format!("## {}\n\n{}\n", self.section.title, self.conditions.to_the_end());
        if let Some(failure) = failure {
            // What was seen last may be a whole log.
            let failure: String = failure.chars().take(500).collect();
            write!(text, "\n**This section failed:**\n\n```\n{failure}\n```\n").expect("memory");
        }
        if !self.claims.is_empty() {
            write!(text, "\n{}", self.claims).expect("memory");
        }
        text += &self.body;
        self.page.renew(self.section.name, &text);
    }
}
