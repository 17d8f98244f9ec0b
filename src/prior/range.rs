//! Cutting the range of a condition into pieces: the one a value lies in is the pixel of a model.

use serde::{Deserialize, Serialize};

/// Pieces of a [`Range`] of as many values each.
const PIECES: usize = 64;
/// How often the two outer ones are halved at the most,
const HALVINGS: usize = 20;
/// and how many values the outermost has at the least.
const LEAST_IN_TAIL: usize = 16;
const MOST_KNOTS: usize = PIECES + 1 + 2 * HALVINGS;

/// The values that a condition can take: the smallest one, which many images may have exactly, and above it pieces that
/// about as many images lie in as in any other, fewer towards the ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Name of the condition.
    pub name: String,
    /// Ascending values, at least two: where pieces begin and end.
    pub knots: Vec<f32>,
    /// Whether it takes whole numbers only; then each knot lies half above one.
    pub whole: bool,
}

impl Range {
    /// Of these values, finite and not all the same.
    pub fn of(name: &str, values: impl Iterator<Item = f32>) -> Self {
        let mut values: Vec<f32> = values.map(|v| v + 0.0).collect();
        values.sort_unstable_by(f32::total_cmp);
        // Single precision has room for half units up to 2^23.
        let whole = values
            .iter()
            .all(|v| v.fract() == 0.0 && v.abs() < (1 << 22) as f32);
        let last = values.len().saturating_sub(1);
        // A density that is uniform out to the farthest value has too wide a tail: the outer pieces are halved.
        let halvings = (1..=HALVINGS).map(|k| (last / PIECES) >> k);
        let tails: Vec<usize> = halvings.take_while(|n| *n >= LEAST_IN_TAIL).collect();
        let mut places: Vec<usize> = (0..=PIECES).map(|i| i * last / PIECES).collect();
        places.extend(tails.iter().flat_map(|n| [*n, last - n]));
        places.sort_unstable();
        let above = if whole { 0.5 } else { 0.0 };
        let mut knots: Vec<f32> = places.iter().map(|i| values[*i] + above).collect();
        knots.dedup();
        Self {
            name: name.into(),
            knots,
            whole,
        }
    }

    /// The smallest and the largest value of the condition.
    pub fn ends(&self) -> [f32; 2] {
        let above = if self.whole { 0.5 } else { 0.0 };
        [self.knots[0] - above, self.knots[self.pieces()] - above]
    }

    /// Whether it is a value that the condition can take.
    pub fn contains(&self, value: f32) -> bool {
        let [low, high] = self.ends();
        (low..=high).contains(&value) && (!self.whole || value.fract() == 0.0)
    }

    /// The same, give or take a thousandth of the range: cuts are round numbers, and no image lies on one.
    pub fn near(&self, value: f32) -> bool {
        let [low, high] = self.ends();
        let margin = 1e-3 * (high - low);
        (low - margin..=high + margin).contains(&value) && (!self.whole || value.fract() == 0.0)
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.knots.len() - 1
    }

    /// The piece that `value` lies in, the last one if it lies above all. `None`: it is the smallest one, or below.
    fn piece(&self, value: f32) -> Option<usize> {
        let below = self.knots.partition_point(|k| *k <= value);
        let smallest = value <= self.ends()[0];
        (!smallest).then(|| below.saturating_sub(1).min(self.pieces() - 1))
    }

    fn length(&self, piece: usize) -> f64 {
        f64::from(self.knots[piece + 1]) - f64::from(self.knots[piece])
    }

    /// The pixel that stands for `value`: 0 for the smallest value itself, else the number of its piece counted from 1.
    pub fn pixel(&self, value: f32) -> f32 {
        self.piece(value).map_or(0.0, |piece| (piece + 1) as f32)
    }

    /// The value that lies `along`, 0 to 1, in the piece of `pixel`.
    pub fn value(&self, pixel: f32, along: f64) -> f32 {
        let [low, high] = self.ends();
        let Some(piece) = (pixel.round() as usize).checked_sub(1) else {
            return low;
        };
        let piece = piece.min(self.pieces() - 1);
        let value = f64::from(self.knots[piece]) + along.clamp(0.0, 1.0) * self.length(piece);
        let value = if self.whole {
            value.round() + 0.0
        } else {
            value
        };
        (value as f32).clamp(low, high)
    }

    /// What to add to the log-likelihood of a pixel to have that of a condition of `value`: a density per unit, a mass where it is
    /// the smallest value or a whole number.
    pub fn log_factor(&self, value: f32) -> f64 {
        self.piece(value).map_or(0.0, |piece| {
            // The cell of the grid's first level reaches down to 0.
            let cell: f64 = if piece == 0 { 1.5 } else { 1.0 };
            (cell / self.length(piece)).ln()
        })
    }

    /// Whether it is one: a file may say anything.
    pub(super) fn check(&self) -> bool {
        let many = (2..=MOST_KNOTS).contains(&self.knots.len());
        let ascending = self.knots.windows(2).all(|k| k[0] < k[1]);
        let finite = self.knots.iter().all(|k| k.is_finite());
        let halves = !self.whole || self.knots.iter().all(|k| k.abs().fract() == 0.5);
        many && ascending && finite && halves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_pixels_are_one_another() {
        // Even up to 250, then five times as thin.
        let values = (0..2000).map(|i| match i {
            ..1000 => 240.0 + 0.01 * i as f32,
            _ => 250.0 + 0.05 * (i - 1000) as f32,
        });
        let range = Range::of("jet_pt", values.clone());
        assert!(!range.whole && range.contains(240.0) && !range.contains(239.9));
        assert_eq!((range.pieces(), range.ends()[0]), (PIECES, 240.0));
        let mut images = [0; PIECES + 1];
        for value in values {
            let pixel = range.pixel(value);
            images[pixel as usize] += 1;
            assert!(
                value == 240.0
                    || range.value(pixel, 0.0) <= value && value <= range.value(pixel, 1.0)
            );
        }
        assert_eq!(images[0], 1, "the smallest one");
        assert!(
            images[1..].iter().all(|n| (29..=33).contains(n)),
            "{images:?}"
        );
        assert_eq!(
            [range.pixel(200.0), range.pixel(400.0)],
            [0.0, PIECES as f32]
        );
        // As many in each piece: the factor goes as the density.
        let ratio = range.log_factor(245.0) - range.log_factor(280.0);
        assert!((ratio - 5f64.ln()).abs() < 0.1, "{ratio}");
        let whole = Range::of("n_pileup", [3.0f32, 80.0, 41.0, 40.0, 41.0].into_iter());
        assert!(
            whole.whole && whole.knots == [3.5, 40.5, 41.5, 80.5] && whole.ends() == [3.0, 80.0]
        );
        let of = |value: f32| whole.pixel(value);
        assert_eq!(
            [3.0, 4.0, 40.0, 41.0, 42.0, 80.0].map(of),
            [0.0, 1.0, 1.0, 2.0, 3.0, 3.0]
        );
        assert!((1..10).all(|i| whole.value(2.0, 0.1 * f64::from(i)) == 41.0));
        assert_eq!(
            [0.001, 0.5, 0.999].map(|along| whole.value(3.0, along)),
            [42.0, 61.0, 80.0]
        );
        assert!(whole.contains(42.0) && !whole.contains(42.5) && !whole.contains(81.0));
        // Half of all have the smallest value.
        let atom = Range::of(
            "cone_40",
            (0..200).map(|i| (i as f32 - 100.0).max(0.0) + 0.5),
        );
        assert!(atom.pieces() < 40 && atom.pixel(0.5) == 0.0 && atom.value(0.0, 0.9) == 0.5);
        assert_eq!(atom.log_factor(0.5), 0.0);
    }

    /// The spread of a long tail is that of the values, not that of the farthest one.
    #[test]
    fn tails_are_no_fatter_than_the_values() {
        let n = 100_000;
        let values = (0..n).map(|i| -(((n - i) as f32 - 0.5) / n as f32).ln());
        let range = Range::of("exponential", values.clone());
        assert!((66..=MOST_KNOTS).contains(&range.knots.len()));
        let spread = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        let was: Vec<f64> = values.clone().map(f64::from).collect();
        let is: Vec<f64> = values
            .enumerate()
            .map(|(i, v)| f64::from(range.value(range.pixel(v), (i % 1000) as f64 / 1000.0)))
            .collect();
        assert!(
            (spread(&is) / spread(&was) - 1.0).abs() < 0.02,
            "{} {}",
            spread(&is),
            spread(&was)
        );
    }
}
