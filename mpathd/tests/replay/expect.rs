//! `expect.jsonl`: a header, then the changes in their order, one JSON object a line.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::player::changes::Change;

#[derive(Debug)]
pub struct Expectation {
    pub header: Header,
    pub changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Header {
    mpathd_expect: u32,
    /// What was before is another case's concern; ns.
    #[serde(default)]
    from: u64,
    /// How far a change may be from its time; ns.
    tolerance: u64,
}

impl Header {
    pub fn from(&self) -> Duration {
        Duration::from_nanos(self.from)
    }
}

impl Expectation {
    /// # Panics
    /// Where the file can't be read, or is not as it should be.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut lines = text.lines();
        let header = lines.next().map(serde_json::from_str::<Header>);
        let Some(Ok(header)) = header else { panic!("{}: {header:?}", path.display()) };
        assert_eq!(header.mpathd_expect, 1, "{}: format", path.display());
        let change = |line| {
            Change::read(line)
                .unwrap_or_else(|error| panic!("{}: {error} in {line}", path.display()))
        };
        Self { header, changes: lines.map(change).collect() }
    }

    /// The first difference, told with what was before it.
    pub fn compare(&self, found: &[Change]) -> Result<(), String> {
        let tolerance = Duration::from_nanos(self.header.tolerance);
        let fits = |(wanted, found): (&Change, &Change)| {
            wanted.is_like(found) && wanted.t.abs_diff(found.t) <= tolerance
        };
        let same = self.changes.iter().zip(found).take_while(|pair| fits(*pair)).count();
        if same == self.changes.len() && same == found.len() {
            return Ok(());
        }
        let mut told = String::from("as expected:\n");
        let line = |change: Option<&Change>| change.map_or("nothing".to_owned(), Change::line);
        for change in &found[same.saturating_sub(5)..same] {
            told += &format!("  {}\n", change.line());
        }
        told +=
            &format!("then expected, within {tolerance:?}:\n  {}\n", line(self.changes.get(same)));
        told += &format!("but there came:\n  {}", line(found.get(same)));
        Err(told)
    }

    /// # Panics
    /// Where the file can't be written.
    pub fn write(header: Header, changes: &[Change], path: &Path) {
        let mut text = serde_json::to_string(&header).expect("numbers can be written");
        for change in changes {
            write!(text, "\n{}", change.line()).expect("a String takes everything");
        }
        std::fs::write(path, text + "\n")
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
