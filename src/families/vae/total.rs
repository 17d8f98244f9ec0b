//! Images that are told their total, of a sparse decoder: what it gives is scaled to the total.
//!
//! Pixels are independent given a code, so their sum is whatever it comes to. With a total m, an image of n nonzero pixels is x = y / s, y
//! the decoder's pixels and s their sum over m. Of x, n - 1 pixels are free: with dy = s^(n-1) m ds dx,
//!
//! ```text
//! p(x | z, m) = m * integral over s of  s^(n-1) p(y = s x | z)
//! ```
//!
//! s is one more number that nobody sees. Bounds draw it from q(s | x), which is uniform in ln s on [`Shape::range`]; with q's density of
//! s, 1 / (s * width), ln p(y = s x | z) + ln m + n ln s + ln width takes the place of ln p(x | z). What lies outside the range is left out, which can
//! only lower a bound. An image without nonzero pixels has no s. Likewise left out is that the decoder may open no gate though the total is
//! more than 0; of drawn images the likeliest pixel then takes all.

use super::Vae;
use crate::conditions::{ConditionedImages, Total};
use crate::family::EngineError;
use crate::random::{Purpose, unit_f64, words};

/// How far ln s goes either way, times the root of the number of pixels: of 50 pixels 0.28, some two widths of what independent
/// pixels of jets add up to.
const SPREAD: f64 = 2.0;
/// How far it goes at the most. A mixture that is given no lower end has one that leaves room for the smallest pixel at this scale.
pub(super) const WIDEST: f64 = 0.5;
/// Items of a counter from here on draw scales.
const SCALES: u32 = 1 << 31;

/// Number `item` of place `n` of a purpose: which part of the range of ln s an image is seen at, from 0 to 1.
pub(super) fn part(seed: u64, purpose: Purpose, n: u64, item: u32) -> f64 {
    let w = words(seed, purpose, n, SCALES + item);
    unit_f64(w[0], w[1])
}

/// What the scale of an image depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    nonzeros: usize,
    /// GeV.
    smallest: f64,
    /// GeV: the total, as the image itself has it.
    sum: f64,
}

impl Shape {
    /// Of an image's pixels in units of `unit` GeV; `None` where all are 0.
    pub fn of(pixels: &[f32], unit: f32) -> Option<Self> {
        let nonzero = pixels.iter().filter(|x| **x > 0.0);
        let of_unit = |x: f64| x * f64::from(unit);
        let (nonzeros, smallest, sum) =
            nonzero.fold((0, f64::INFINITY, 0.0), |(n, least, sum), x| {
                let x = f64::from(*x);
                (n + 1, least.min(x), sum + x)
            });
        (nonzeros > 0).then(|| Self {
            nonzeros,
            smallest: of_unit(smallest),
            sum: of_unit(sum),
        })
    }

    /// Ends of ln s: no pixel comes below `lower` GeV, the least of the decoder's.
    pub fn range(&self, lower: f64) -> [f64; 2] {
        let most = (SPREAD / (self.nonzeros as f64).sqrt()).min(WIDEST);
        let least = match lower > 0.0 {
            true => (lower / self.smallest).ln().max(-most).min(0.0),
            false => -most,
        };
        [least, most]
    }

    /// ln s at a part of its range, and what ln p of the image has there beside ln p(y = s x | z).
    pub fn at(&self, lower: f64, part: f64) -> (f64, f64) {
        let [least, most] = self.range(lower);
        let log_s = least + part * (most - least);
        let beside = self.sum.ln() + self.nonzeros as f64 * log_s + (most - least).ln();
        (log_s, beside)
    }
}

/// Scale pixels to a sum of `total` GeV.
pub(super) fn scale_to(pixels: &mut [(u16, f32)], total: f32) {
    let sum: f64 = pixels.iter().map(|(_, x)| f64::from(*x)).sum();
    let factor = f64::from(total) / sum;
    for (_, x) in pixels {
        *x = (f64::from(*x) * factor) as f32;
    }
}

impl Vae {
    /// The condition that is the sum of an image's pixels, where there is one.
    pub(super) fn total(&self) -> Option<Total> {
        self.config.condition.total_over(self.pixels())
    }

    /// Refuse images whose pixels add up to less than they are told: scaled images cannot.
    pub(super) fn check_totals(&self, data: &ConditionedImages) -> Result<(), EngineError> {
        let Some(total) = self.total() else {
            return Ok(());
        };
        for (row, sum) in data.images.totals().into_iter().enumerate() {
            let told = data.conditions.total(row as u64).unwrap_or(0.0);
            if !total.covers(told, sum) {
                return Err(EngineError::Mismatch(format!(
                    "the pixels of image {row} add up to {sum} (it is told {told}); it must be their sum"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_scaled_to_their_total() {
        let mut pixels = vec![(3, 2.0), (7, 6.0), (9, 0.5)];
        scale_to(&mut pixels, 17.0);
        assert_eq!(pixels, [(3, 4.0), (7, 12.0), (9, 1.0)]);
    }

    #[test]
    fn scales_keep_pixels_in_range() {
        let shape = Shape::of(&[0.0, 2.0, 0.0, 1.0, 4.0, 9.0], 0.5).unwrap();
        assert_eq!((shape.nonzeros, shape.smallest, shape.sum), (4, 0.5, 8.0));
        assert_eq!(shape.range(0.0), [-0.5, 0.5]);
        assert_eq!(shape.range(0.1), [-0.5, 0.5]);
        assert_eq!(shape.range(0.45)[0], (0.9f64).ln());
        assert_eq!(shape.range(0.5), [0.0, 0.5]);
        // A rounding below the lower end.
        assert_eq!(shape.range(0.5 + 1e-9), [0.0, 0.5]);
        let many = Shape::of(&[1.0; 400], 1.0).unwrap();
        assert_eq!(many.range(0.0), [-0.1, 0.1]);
        assert!(Shape::of(&[0.0; 3], 1.0).is_none());
    }
}
