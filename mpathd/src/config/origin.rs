//! Where a value comes from, for `mpathd check`.

use std::collections::BTreeMap;
use std::fmt;

use super::error::Place;

/// Places of all values that were written, by dotted path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Place>);

/// Of one effective value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    Default,
    Written(&'a Place),
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Written(place) => write!(f, "{}:{}", place.file.display(), place.line),
        }
    }
}

impl Origins {
    /// The first element of a list stands for it.
    pub(super) fn note(&mut self, key: String, place: Place) {
        self.0.entry(key).or_insert(place);
    }

    /// Of the first of `paths` that was written, the most special one first.
    pub fn of(&self, paths: &[String]) -> Origin<'_> {
        paths.iter().find_map(|path| self.0.get(path)).map_or(Origin::Default, Origin::Written)
    }
}

/// Dotted path of a key as it is written in the file: names that TOML does not take bare are quoted.
pub fn key_path<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let parts: Vec<String> = parts.into_iter().map(quoted).collect();
    parts.join(".")
}

/// `name`, in quotes if it is not a bare key of TOML.
fn quoted(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::key_path;

    #[test]
    fn names_that_are_not_bare_are_quoted() {
        let path = key_path(["groups", "g", "interfaces", "eth0.100"]);
        assert_eq!(path, "groups.g.interfaces.\"eth0.100\"");
        assert_eq!(key_path(["groups", ""]), "groups.\"\"");
    }
}
