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
    /// Offsets at which lines begin.
    lines: Vec<usize>,
    /// Offsets of bytes that begin no character; none in a file of ASCII.
    continuations: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(super) fn new(file: Arc<Path>, text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        let inner = text.bytes().enumerate().filter(|(_, byte)| byte & 0xc0 == 0x80);
        let continuations = inner.map(|(at, _)| at).collect();
        Self { file, text, lines, continuations }
    }

    /// The place of a byte offset; the start of the file if it lies outside.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = if self.text.is_char_boundary(offset) { offset } else { 0 };
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|nth| self.lines.get(nth)).copied();
        let start = start.unwrap_or_default();
        let inner = |end| self.continuations.partition_point(|at| *at < end);
        let column = (offset - start) - (inner(offset) - inner(start)) + 1;
        Place { file: self.file.clone(), line, column }
    }

    /// What stands at `span`, on one line.
    pub(super) fn excerpt(&self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().take(SHOWN + 1));
            if line.chars().count() > SHOWN {
                return line.chars().take(SHOWN - 3).chain("...".chars()).collect();
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new(Path::new("test").into(), "a = \"\u{fc}\" # x\nb\n");
        let place = |offset| {
            let place = source.place(offset);
            (place.line, place.column)
        };
        assert_eq!((place(0), place(4), place(5)), ((1, 1), (1, 5), (1, 6)));
        assert_eq!((place(7), source.text.as_bytes()[7]), ((1, 7), b'"'));
        assert_eq!((place(12), place(13), place(14)), ((1, 12), (2, 1), (2, 2)));
        assert_eq!((place(6), place(99)), ((1, 1), (1, 1)), "inside a character, and outside");
    }

    #[test]
    fn an_excerpt_is_cut_and_on_one_line() {
        let source = Source::new(Path::new("test").into(), "[1,\n  2]");
        assert_eq!(source.excerpt(0..8), "[1, 2]");
        let long = "x".repeat(61);
        let source = Source::new(Path::new("test").into(), &long);
        assert_eq!(source.excerpt(0..60), "x".repeat(60));
        assert_eq!(source.excerpt(0..61), format!("{}...", "x".repeat(57)));
    }
}
