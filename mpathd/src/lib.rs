//! The edges of mpathd: configuration, the three threads (design 3) and the tools. What is decided
//! is decided in `mpathd-core`.

mod announcement;
pub mod cli;
pub mod config;
pub mod cpu;
pub mod daemon;
pub mod descriptors;
pub mod fast;
pub mod host;
pub mod messages;
pub mod private_file;
pub mod queue;
pub mod shared;
pub mod slow;
mod stock;
