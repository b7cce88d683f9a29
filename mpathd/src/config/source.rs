//! The text of a file: from byte offsets to lines and columns, and values as they are written.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::error::Place;

/// Longer values are cut in error messages.
const SHOWN: usize = 60;

pub(super) struct Source<'t> {
    pub file: Arc<Path>,
    pub text: &'t str,
}

impl Source<'_> {
    /// The place of a byte offset; the start of the file if it lies outside.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// What stands at `span`, on one line.
    pub(super) fn excerpt(&self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        if line.chars().count() <= SHOWN {
            return line;
        }
        line.chars().take(SHOWN - 3).chain("...".chars()).collect()
    }
}
