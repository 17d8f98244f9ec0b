//! Mean and width of a sample.

use serde::{Deserialize, Serialize};

use super::weights::Sample;

/// Mean and standard deviation of a sample, with their errors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// `sum w x / sum w`
    pub mean: f64,
    /// `sqrt(sum w^2 (x - mean)^2) / sum w`, which is `std / sqrt(n)` where all weigh 1.
    pub mean_error: f64,
    /// Of the values: divided by the sum of the weights. `None` where negative weights make its square negative.
    pub std: Option<f64>,
    /// `sqrt(sum w^2 ((x - mean)^2 - std^2)^2) / sum w / (2 std)`; with the fourth moment about the mean
    /// `sqrt((m4 - std^4) / n) / (2 std)` where all weigh 1: right for any shape, `std / sqrt(2n)` for a normal one.
    pub std_error: Option<f64>,
}

impl Spread {
    /// All 0 of nothing. The weights must add up to more than 0.
    pub(super) fn of(sample: Sample<'_>) -> Self {
        let sum =
            |of: &dyn Fn(f64, f64) -> f64| -> f64 { sample.pairs().map(|(x, w)| of(x, w)).sum() };
        let total = match sum(&|_, w| w) {
            total if total > 0.0 => total,
            _ => 1.0,
        };
        let mean = sum(&|x, w| w * x) / total;
        let variance = sum(&|x, w| w * (x - mean).powi(2)) / total;
        let std = (variance >= 0.0).then(|| variance.sqrt());
        let squares = sum(&|x, w| (w * (x - mean)).powi(2)) / total;
        let mean_error = squares.sqrt() / total.sqrt();
        let std_error = std.map(|std| {
            let spread = match sample.weights {
                None => sum(&|x, _| (x - mean).powi(4)) / total - variance * variance,
                Some(_) => sum(&|x, w| (w * ((x - mean).powi(2) - variance)).powi(2)) / total,
            };
            if std > 0.0 {
                (spread.max(0.0) / total).sqrt() / (2.0 * std)
            } else {
                0.0
            }
        });
        Self {
            mean,
            mean_error,
            std,
            std_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_two_is_two_events() {
        let plain = Spread::of([1.0f32, 2.0, 2.0, 4.0].as_slice().into());
        let weighted = Spread::of(Sample {
            values: &[1.0, 2.0, 4.0],
            weights: Some(&[1.0, 2.0, 1.0]),
        });
        assert_eq!((plain.mean, plain.std), (weighted.mean, weighted.std));
        assert_eq!((plain.mean, plain.std), (2.25, Some(1.1875f64.sqrt())));
        // Two events tell more than one that counts twice.
        assert!(plain.mean_error < weighted.mean_error);
        let opposed = Spread::of(Sample {
            values: &[0.0, 1.0, 5.0],
            weights: Some(&[2.0, 2.0, -1.0]),
        });
        assert_eq!((opposed.mean, opposed.std), (-1.0, None));
    }
}
