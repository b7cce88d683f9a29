//! Values as texts.

use std::fmt::Display;
use std::time::Duration;

use mpathd_core::ids::Family;

/// Milliseconds for JSON.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// `0.51ms`
pub fn millis(duration: Duration) -> String {
    format!("{:.2}ms", ms(duration))
}

pub fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

pub fn or_empty(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Blank separated.
pub fn words<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    words.join(" ")
}

/// Whole seconds that are left.
pub fn remaining(span: Option<Duration>) -> String {
    span.map(|span| format!("{:.0}s", span.as_secs_f64().ceil())).unwrap_or_default()
}

pub fn families(flags: [bool; 2]) -> Vec<Family> {
    Family::ALL.into_iter().filter(|family| flags[*family as usize]).collect()
}
