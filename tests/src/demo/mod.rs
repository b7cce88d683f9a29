//! The demo, which `tests/src/bin/demo.rs` runs: `scene` is the lab with the daemon and its users, `instruments`
//! observe it from outside, `verdict` judges, `paper`, `strip` and `picture` draw, `story` puts it together.

pub mod ending;
pub mod instruments;
pub mod paper;
mod picture;
pub mod scene;
pub mod story;
mod strip;
pub mod verdict;
