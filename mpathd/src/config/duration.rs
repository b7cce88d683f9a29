//! Durations: strings with a unit, for a bare 10 was seconds in one file of the original and
//! milliseconds in the other (review O9).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Problem;

/// Bounds of `failure_detection_time`; below, five probes no longer fit between timer and scheduler.
pub const FDT_MIN: Duration = Duration::from_millis(5);
pub const FDT_MAX: Duration = Duration::from_hours(1);
/// Upper bound of `quiet_period`; the lower one is zero.
pub const QUIET_MAX: Duration = Duration::from_hours(1);

const UNITS: [(&str, f64); 4] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// A duration as it is written in the file, within `range`.
///
/// # Errors
/// A text that is no duration, lacks its unit, or lies outside.
pub(super) fn parse(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, Problem> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || number.starts_with('.') || number.ends_with('.') {
        return Err(Problem::Duration);
    }
    let count: f64 = number.parse().map_err(|_| Problem::Duration)?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(Problem::DurationWithoutUnit(number.to_owned()));
    }
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(Problem::Duration)?;
    let out_of_range =
        Problem::DurationRange { min: bound(range.start()), max: bound(range.end()) };
    match Duration::try_from_secs_f64(count * seconds) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        _ => Err(out_of_range),
    }
}

/// The bounds are few, so their texts stand here.
fn bound(duration: &Duration) -> &'static str {
    match *duration {
        FDT_MIN => "5ms",
        FDT_MAX => "1h",
        _ => "0s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fdt(text: &str) -> Result<Duration, Problem> {
        parse(text, &(FDT_MIN..=FDT_MAX))
    }

    /// Behaviours 4, 5.
    #[test]
    fn units_and_fractions() {
        assert_eq!(fdt("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(fdt("10 ms"), Ok(Duration::from_millis(10)));
        assert_eq!(fdt("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(fdt("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(fdt("1h"), Ok(FDT_MAX));
        assert_eq!(fdt("5ms"), Ok(FDT_MIN));
    }

    #[test]
    fn what_is_no_duration() {
        for text in ["", "s", "ms", ".5s", "5.s", "-1s", "1 day", "1.2.3s", "10S", "٣s", "1e9s"] {
            assert_eq!(fdt(text), Err(Problem::Duration), "{text}");
        }
        assert_eq!(fdt("10"), Err(Problem::DurationWithoutUnit("10".into())));
        let range = Err(Problem::DurationRange { min: "5ms", max: "1h" });
        for text in ["4.9ms", "0s", "61m", "99999999999999999999999999999999h"] {
            assert_eq!(fdt(text), range, "{text}");
        }
    }
}
