//! The host thread.

pub mod counters;
