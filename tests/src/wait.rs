//! Waiting for a condition, with a limit.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);

/// Polls until `check` gives `Ok`, and returns what it gave. `Err` is the state as it is now: the last one is
/// printed when `limit` has passed.
///
/// # Panics
/// When `limit` has passed.
#[track_caller]
pub fn wait_for<T, S: Debug>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> Result<T, S>,
) -> T {
    let begun = Instant::now();
    loop {
        match check() {
            Ok(value) => return value,
            Err(state) if begun.elapsed() >= limit => {
                panic!("no {what} within {limit:?}; last seen: {state:#?}");
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
