//! Images that are told their total, of a sparse decoder: what it gives is scaled to the total.
//!
//! Pixels are independent given a code, so their sum is whatever it comes to. With a total m, an image of n nonzero pixels is x = y / s, y
//! the decoder's pixels and s their sum over m; pixels that come below the smallest of images are then zeros, and the others are scaled
//! again. Of x, n - 1 pixels are free: with dy = s^(n-1) m ds dx,
//!
//! ```text
//! p(x | z, m) = m * integral over s of  s^(n-1) p(y = s x | z)
//! ```
//!
//! s is one more number that nobody sees. Bounds draw it from q(s | x), which is uniform in ln s on [`Shape::range`]; with q's density of
//! s, 1 / (s * width), ln p(y = s x | z) + ln m + n ln s + ln width takes the place of ln p(x | z). What lies outside the range is left out, which can
//! only lower a bound. So are pixels of y that came to be zeros, and that the decoder may open no gate though the total is more than 0; of drawn
//! images the likeliest pixel then takes all. An image without nonzero pixels has no s.

use super::Vae;
use crate::conditions::{ConditionedImages, Total};
use crate::family::{End, EngineError};
use crate::likelihood::Values;
use crate::random::{Purpose, unit_f64, words};

/// How far ln s goes either way, times the root of the number of pixels: of 50 pixels 0.28, some two widths of what independent
/// pixels of jets add up to.
const SPREAD: f64 = 2.0;
/// How far it goes at the most. The decoder's mixtures end lower by this than images do.
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
    /// GeV: the total, as the image itself has it.
    sum: f64,
}

impl Shape {
    /// Of an image's pixels in units of `unit` GeV; `None` where all are 0.
    pub fn of(pixels: &[f32], unit: f32) -> Option<Self> {
        let nonzero = pixels.iter().filter(|x| **x > 0.0);
        let (nonzeros, sum) = nonzero.fold((0, 0.0), |(n, sum), x| (n + 1, sum + f64::from(*x)));
        (nonzeros > 0).then(|| Self {
            nonzeros,
            sum: sum * f64::from(unit),
        })
    }

    /// How far ln s goes either way.
    fn range(&self) -> f64 {
        (SPREAD / (self.nonzeros as f64).sqrt()).min(WIDEST)
    }

    /// ln s at a part of its range, and what ln p of the image has there beside ln p(y = s x | z).
    pub fn at(&self, part: f64) -> (f64, f64) {
        let most = self.range();
        let log_s = (2.0 * part - 1.0) * most;
        let beside = self.sum.ln() + self.nonzeros as f64 * log_s + (2.0 * most).ln();
        (log_s, beside)
    }
}

/// Scale pixels to a sum of `total` GeV. Those that come below `lower` GeV are zeros, for which the others make up; of none but such, the
/// largest takes all.
pub(super) fn bring_to(pixels: &mut Vec<(u16, f32)>, total: f32, lower: f32) {
    scale_to(pixels, total);
    let is_small = |(_, x): &(u16, f32)| *x < lower;
    if !pixels.iter().any(is_small) {
        return;
    }
    let largest = pixels.iter().map(|(_, x)| *x).fold(0.0, f32::max);
    let stays = pixels.iter().position(|(_, x)| *x == largest);
    let mut place = 0..;
    pixels.retain(|pixel| place.next() == stays || !is_small(pixel));
    scale_to(pixels, total);
}

fn scale_to(pixels: &mut [(u16, f32)], total: f32) {
    let sum: f64 = pixels.iter().map(|(_, x)| f64::from(*x)).sum();
    let factor = f64::from(total) / sum;
    for (_, x) in pixels {
        *x = (f64::from(*x) * factor) as f32;
    }
}

impl Vae {
    /// The smallest pixel of an image that is told its total, GeV; 0: it may be as small as it likes.
    pub(super) fn lower(&self) -> f32 {
        let values = self.config.likelihood.as_ref().map(Values::new);
        values.map_or(0.0, |values| values.end(End::Lower) as f32)
    }

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
    fn pixels_that_come_below_the_smallest_are_zeros() {
        let brought = |lower: f32| {
            let mut pixels = vec![(3, 2.0), (7, 6.0), (9, 0.5)];
            bring_to(&mut pixels, 17.0, lower);
            pixels
        };
        assert_eq!(brought(1.0), [(3, 4.0), (7, 12.0), (9, 1.0)]);
        assert_eq!(brought(1.1), [(3, 4.25), (7, 12.75)]);
        // The larger of two that are both too small.
        assert_eq!(brought(15.0), [(7, 17.0)]);
        assert_eq!(brought(0.0).len(), 3);
        let mut wrong = vec![(3, 2.0), (7, f32::NAN)];
        bring_to(&mut wrong, 17.0, 1.0);
        assert!(wrong.iter().all(|(_, x)| x.is_nan()), "{wrong:?}");
    }

    #[test]
    fn scales_vary_less_the_more_pixels_there_are() {
        let shape = Shape::of(&[0.0, 2.0, 0.0, 1.0, 4.0, 9.0], 0.5).unwrap();
        assert_eq!((shape.nonzeros, shape.sum), (4, 8.0));
        assert_eq!(shape.range(), 0.5);
        let (log_s, beside) = shape.at(0.75);
        assert_eq!((log_s, beside), (0.25, 8f64.ln() + 4.0 * 0.25));
        let many = Shape::of(&[1.0; 400], 1.0).unwrap();
        assert_eq!(many.range(), 0.1);
        assert!(Shape::of(&[0.0; 3], 1.0).is_none());
    }
}
