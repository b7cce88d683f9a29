//! Figures of a series, and how they are shown.

use std::fmt;

/// Measured values, in the unit that they are shown in.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest value that `share` (0 to 1) of all do not exceed. NaN if there are none.
    pub fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// From the smallest.
    pub fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, median, max) = (self.min(), self.median(), self.max());
        write!(f, "{} times: min {min:.2}, median {median:.2}, max {max:.2}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let figures: Figures = (1..=100).rev().map(f64::from).collect();
        assert_eq!((figures.min(), figures.median(), figures.max()), (1.0, 50.0, 100.0));
        assert_eq!(figures.quantile(0.99), 99.0);
        assert!(Figures::default().median().is_nan());
    }
}
