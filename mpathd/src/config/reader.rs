//! Single values of the file: each either comes out located and typed, or leaves an error behind.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml_edit::{Item, Key, TableLike, Value};

use super::error::{ConfigError, Problem};
use super::origin::key_path;
use super::raw::{At, Located};
use super::source::Source;
use super::{Realtime, duration};

/// A value that decides by its name: the texts of a choice with what they mean.
pub(super) struct Choices<T: 'static> {
    pub names: &'static [(&'static str, T)],
    /// The same as a text.
    pub allowed: &'static str,
}

/// One `key = value` of a table, or one table in it.
pub(super) struct Entry<'t> {
    pub name: &'t str,
    /// Names of the tables around it and its own.
    pub path: Vec<&'t str>,
    pub item: &'t Item,
    key: Option<&'t Key>,
}

pub(super) struct Reader<'t> {
    pub source: Source<'t>,
    pub errors: Vec<ConfigError>,
}

/// All entries of a table whose path is `path`, in the order of the file.
pub(super) fn entries<'t>(
    table: &'t dyn TableLike,
    path: &[&'t str],
) -> impl Iterator<Item = Entry<'t>> {
    table.iter().map(move |(name, item)| {
        let path = path.iter().copied().chain([name]).collect();
        Entry { name, path, item, key: table.key(name) }
    })
}

impl Entry<'_> {
    pub(super) fn dotted(&self) -> String {
        key_path(self.path.iter().copied())
    }

    fn key_span(&self) -> Range<usize> {
        self.key.and_then(Key::span).or_else(|| self.item.span()).unwrap_or(0..0)
    }
}

impl Reader<'_> {
    /// Place of the key itself, for what is wrong with the name or the whole table.
    pub(super) fn at_key(&self, entry: &Entry<'_>) -> At {
        let found = entry.item.as_value().and_then(Value::span).map(|s| self.source.excerpt(s));
        At { place: self.source.place(entry.key_span().start), key: entry.dotted(), found }
    }

    /// Place of the value.
    pub(super) fn at(&self, entry: &Entry<'_>) -> At {
        match entry.item.as_value() {
            Some(value) => self.at_value(entry, value),
            None => self.at_key(entry),
        }
    }

    /// Place of a value within the list that `entry` is.
    pub(super) fn at_value(&self, entry: &Entry<'_>, value: &Value) -> At {
        let span = value.span().unwrap_or_else(|| entry.key_span());
        At {
            place: self.source.place(span.start),
            key: entry.dotted(),
            found: Some(self.source.excerpt(span)),
        }
    }

    pub(super) fn reject(&mut self, at: &At, problem: Problem) {
        self.errors.push(at.error(problem));
    }

    fn keep<T>(&mut self, at: At, result: Result<T, Problem>) -> Option<Located<T>> {
        match result {
            Ok(value) => Some(Located { value, at }),
            Err(problem) => {
                self.reject(&at, problem);
                None
            }
        }
    }

    /// The table that `entry` has to be.
    pub(super) fn table<'d>(
        &mut self,
        entry: &Entry<'d>,
        want: &'static str,
    ) -> Option<&'d dyn TableLike> {
        let table = entry.item.as_table_like();
        if table.is_none() {
            let at = self.at(entry);
            self.reject(&at, Problem::Expected(want));
        }
        table
    }

    pub(super) fn boolean(&mut self, entry: &Entry<'_>) -> Option<Located<bool>> {
        let result = entry.item.as_bool().ok_or(Problem::Expected("true or false"));
        self.keep(self.at(entry), result)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        entry: &Entry<'_>,
        choices: &Choices<T>,
    ) -> Option<Located<T>> {
        let text = entry.item.as_str();
        let chosen = choices.names.iter().find(|(name, _)| Some(*name) == text);
        let result = chosen.map(|(_, value)| *value).ok_or(Problem::Allowed(choices.allowed));
        self.keep(self.at(entry), result)
    }

    pub(super) fn duration(
        &mut self,
        entry: &Entry<'_>,
        range: &RangeInclusive<Duration>,
    ) -> Option<Located<Duration>> {
        let at = self.at(entry);
        let result = match entry.item.as_value() {
            Some(Value::String(text)) => duration::parse(text.value(), range),
            Some(Value::Integer(_) | Value::Float(_)) => {
                Err(Problem::DurationWithoutUnit(at.found.clone().unwrap_or_default()))
            }
            _ => Err(Problem::Duration),
        };
        self.keep(at, result)
    }

    /// A whole number that 32 bits hold and `accept` takes.
    pub(super) fn number(
        &mut self,
        entry: &Entry<'_>,
        accept: impl Fn(u32) -> bool,
        problem: Problem,
    ) -> Option<Located<u32>> {
        let number = entry.item.as_integer().and_then(|n| u32::try_from(n).ok());
        let result = number.filter(|n| accept(*n)).ok_or(problem);
        self.keep(self.at(entry), result)
    }

    pub(super) fn realtime(&mut self, entry: &Entry<'_>) -> Option<Located<Realtime>> {
        const ALLOWED: Problem =
            Problem::Allowed("\"auto\", \"deadline\", or a number from 0 (ordinary) to 99");
        let priority = entry.item.as_integer().and_then(|n| u8::try_from(n).ok());
        let result = match (entry.item.as_str(), priority) {
            (Some("auto"), _) => Ok(Realtime::Auto),
            (Some("deadline"), _) => Ok(Realtime::Deadline),
            (_, Some(priority @ 0..=99)) => Ok(Realtime::Fixed(priority)),
            _ => Err(ALLOWED),
        };
        self.keep(self.at(entry), result)
    }

    /// Below mpathd's own threads, and those of interrupts.
    pub(super) fn receive_priority(&mut self, entry: &Entry<'_>) -> Option<Located<u32>> {
        const ALLOWED: Problem = Problem::Allowed("a number from 0 (left as it is) to 49");
        self.number(entry, |priority| priority <= 49, ALLOWED)
    }

    /// One text, taken apart by `parse`.
    pub(super) fn text<T>(
        &mut self,
        entry: &Entry<'_>,
        want: &'static str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Option<Located<T>> {
        let result = entry.item.as_str().ok_or(Problem::Expected(want)).and_then(parse);
        self.keep(self.at(entry), result)
    }

    /// A list of texts, each taken apart by `parse`; bad ones are left out.
    pub(super) fn texts<T>(
        &mut self,
        entry: &Entry<'_>,
        want: &'static str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Vec<Located<T>> {
        let Some(list) = entry.item.as_array() else {
            let at = self.at(entry);
            self.reject(&at, Problem::Expected(want));
            return Vec::new();
        };
        let one = |value: &Value| {
            let result = value.as_str().ok_or(Problem::Expected(want)).and_then(&parse);
            self.keep(self.at_value(entry, value), result)
        };
        list.iter().filter_map(one).collect()
    }

    /// A key that `known` does not hold.
    pub(super) fn unknown(&mut self, entry: &Entry<'_>, known: &'static [&'static str]) {
        let name = entry.name.to_ascii_lowercase();
        let likeness = |key: &&&str| (strsim::jaro_winkler(key, &name) * 1e6) as u32;
        let nearest = known.iter().max_by_key(likeness).copied().unwrap_or_default();
        let at = self.at_key(entry);
        self.reject(&at, Problem::UnknownKey { nearest, known: known.join(", ") });
    }
}
