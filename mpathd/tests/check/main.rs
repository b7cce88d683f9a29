//! `mpathd check`: the effective configuration and the warnings.

mod plan;
mod warnings;

use std::path::Path;

use mpathd::config::{self, Settings};

pub(crate) fn settings(toml: &str) -> Settings {
    config::parse(toml.as_bytes(), Path::new("lan.toml")).unwrap_or_else(|e| panic!("{e}"))
}
