//! Columns of text (behaviour file 7.2): for people at fixed widths, for programs with colons.

use std::io::{self, Write};

/// Default columns end here.
const SCREEN_WIDTH: usize = 80;
/// A longer value is cut.
const VALUE_MAX: usize = 1023;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// Up to the next column, the blank included.
    pub width: usize,
}

pub const fn column(name: &'static str, width: usize) -> Column {
    Column { name, width }
}

/// Values of all columns of a mode, in their order; an empty one is told as such.
pub type Row = Vec<String>;

/// Which columns, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// With their position in a [`Row`].
    chosen: Vec<(usize, Column)>,
    parseable: bool,
    /// Names after -o that are no column; told, but no reason to give up.
    pub ignored: Vec<String>,
}

/// Why there is no layout. The texts are the original's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("output fields must be specified in parsable mode")]
    Unspecified,
    #[error("output field `all' invalid in parsable mode")]
    AllParseable,
    #[error("no valid output fields")]
    NoneValid,
    #[error("unknown output {}", fields(.0))]
    Unknown(Vec<String>),
}

/// ``field: `x'`` or ``fields: `x,y'``.
pub fn fields(names: &[String]) -> String {
    let plural = if names.len() > 1 { "s" } else { "" };
    format!("field{plural}: `{}'", names.join(","))
}

impl Layout {
    /// `wanted` is the list after -o.
    ///
    /// # Errors
    /// Where it and -P do not go together, or nothing is left to show.
    pub fn new(all: &[Column], wanted: Option<&str>, parseable: bool) -> Result<Self, FieldError> {
        let every = all.iter().copied().enumerate();
        let mut ignored = Vec::new();
        let chosen = match wanted {
            None if parseable => return Err(FieldError::Unspecified),
            None => {
                let mut used = 0;
                let fits = |(_, column): &(usize, Column)| {
                    used += column.width;
                    used <= SCREEN_WIDTH
                };
                every.take_while(fits).collect()
            }
            Some(list) if list.eq_ignore_ascii_case("all") => {
                if parseable {
                    return Err(FieldError::AllParseable);
                }
                every.collect()
            }
            Some(list) => {
                let mut chosen = Vec::new();
                for name in list.split(',') {
                    match every.clone().find(|(_, c)| c.name.eq_ignore_ascii_case(name)) {
                        Some(column) => chosen.push(column),
                        None => ignored.push(name.to_owned()),
                    }
                }
                chosen
            }
        };
        if parseable && !ignored.is_empty() {
            return Err(FieldError::Unknown(ignored));
        }
        if chosen.is_empty() {
            return Err(FieldError::NoneValid);
        }
        Ok(Self { chosen, parseable, ignored })
    }

    fn header(&self) -> String {
        padded(self.chosen.iter().map(|(_, column)| (column.name, column.width)))
    }

    fn line(&self, row: &Row) -> String {
        let value = |index: usize| row.get(index).map_or("", |value| cut(value));
        if !self.parseable {
            let shown = |index| Some(value(index)).filter(|v| !v.is_empty()).unwrap_or("--");
            return padded(self.chosen.iter().map(|(index, column)| (shown(*index), column.width)));
        }
        if let [(index, _)] = self.chosen[..] {
            return value(index).to_owned();
        }
        let values: Vec<String> = self.chosen.iter().map(|(i, _)| escaped(value(*i))).collect();
        values.join(":")
    }
}

/// Writes rows, and above each screenful the header; above none there is none.
pub struct Printer<'a> {
    layout: Layout,
    out: &'a mut dyn Write,
    /// Lines of the terminal, asked anew each time, for windows change.
    screen: &'a dyn Fn() -> usize,
    lines: usize,
}

impl<'a> Printer<'a> {
    pub fn new(layout: Layout, out: &'a mut dyn Write, screen: &'a dyn Fn() -> usize) -> Self {
        Self { layout, out, screen, lines: 0 }
    }

    /// # Errors
    /// Those of the output.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        if !self.layout.parseable && self.lines.is_multiple_of((self.screen)().max(2)) {
            writeln!(self.out, "{}", self.layout.header())?;
            self.lines += 1;
        }
        self.lines += 1;
        writeln!(self.out, "{}", self.layout.line(row))?;
        self.out.flush()
    }
}

/// A value that does not fit is printed whole with one blank; the columns after it give up padding,
/// but for one blank, until the line is back in step.
fn padded<'a>(cells: impl Iterator<Item = (&'a str, usize)>) -> String {
    let mut cells = cells.peekable();
    let mut line = String::new();
    let mut overflow = 0;
    while let Some((value, width)) = cells.next() {
        line.push_str(value);
        if cells.peek().is_none() {
            break;
        }
        let len = value.chars().count();
        let blanks = if len >= width {
            overflow += len + 1 - width;
            1
        } else {
            let given_up = overflow.min(width - len - 1);
            overflow -= given_up;
            width - len - given_up
        };
        line.extend(std::iter::repeat_n(' ', blanks));
    }
    line
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(':', "\\:")
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_MAX)]
}
