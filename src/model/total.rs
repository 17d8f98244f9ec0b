//! A condition that is the sum of an image's pixels, and what follows from knowing it.
//!
//! No pixel can be larger than what is left of the total, and once nothing is left, all further pixels are zero. Both hold
//! exactly, in the likelihood and in the images that are drawn: each pixel's mixture is truncated at what is left, its
//! first component is the pixel that takes all of it, and gates after that are closed with certainty. Without this, a
//! network has to learn from a few jets in a thousand that it must not overshoot.
//!
//! An image has as many free numbers as pixels that are not zero: all but the last of these, which is what is left, and
//! the total. So the last pixel counts with a probability, the others with densities, and with the density of the total
//! ([`Prior`](super::Prior)) that is the density of the image.

use super::Model;
use super::likelihood::{Mixture, Rest};

/// Part of the total that sums of [`FEW`] pixels in single precision may be wrong by; of more, as the root of their number.
const ROUNDING: f32 = 1.0 / (1 << 19) as f32;
/// Pixels.
const FEW: usize = 625;
/// Part of its mean and scale that a standardised total may be wrong by.
const STANDARDISED: f32 = 1.0 / (1 << 21) as f32;

/// Which condition is the total, and how it is standardised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Total {
    /// Its place among the conditions.
    pub condition: usize,
    /// GeV where the standardised condition is 0.
    pub mean: f32,
    /// GeV more where it is 1.
    pub scale: f32,
    /// Part of it that is nothing.
    rounding: f32,
}

/// What is left to draw of an image; everything where no total is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left(Option<Rest>);

impl Model {
    /// The condition that is the sum of an image's pixels, where the model has one.
    pub fn total(&self) -> Option<Total> {
        let c = &self.config.condition;
        let name = c.total.as_ref()?;
        let condition = c.names.iter().position(|n| n == name)?;
        Some(Total {
            condition,
            mean: *c.mean.get(condition)? as f32,
            scale: *c.scale.get(condition)? as f32,
            rounding: rounding(self.pixels()),
        })
    }
}

fn rounding(pixels: usize) -> f32 {
    ROUNDING * (pixels as f32 / FEW as f32).max(1.0).sqrt()
}

impl Total {
    /// GeV, of standardised conditions.
    pub fn of(&self, conditions: &[f32]) -> f32 {
        self.mean + self.scale * conditions[self.condition]
    }

    /// Whether pixels that add up to `sum` GeV can come out of `told`, as [`of`](Self::of) has it.
    pub fn covers(&self, sum: f32, told: f32) -> bool {
        sum <= told.max(0.0) * (1.0 + self.rounding) + self.error()
    }

    /// GeV by which [`of`](Self::of) may miss what was standardised.
    pub fn error(&self) -> f32 {
        STANDARDISED * (self.mean.abs() + self.scale)
    }
}

impl Left {
    /// Before the first pixel of an image with these standardised conditions.
    pub fn of(total: Option<&Total>, conditions: &[f32]) -> Self {
        Self(total.map(|total| {
            let left = total.of(conditions);
            Rest {
                left,
                tolerance: left.max(0.0) * total.rounding + total.error(),
            }
        }))
    }

    /// What is left, where that is known.
    pub fn rest(&self) -> Option<Rest> {
        self.0
    }

    /// Whether nothing is left: all further pixels are zero.
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.0.is_some_and(|rest| rest.is_none())
    }

    /// After a pixel of `x` GeV.
    #[inline(always)]
    pub fn take(&mut self, x: f32) {
        self.0 = self.0.map(|rest| rest.after(x));
    }

    /// `mixture`, of the next pixel.
    #[inline(always)]
    pub fn of_mixture(&self, mixture: &Mixture) -> Mixture {
        self.0.map_or(*mixture, |rest| mixture.out_of(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_ends_with_its_last_pixel() {
        for pixels in [1, 30, 625, 65_536] {
            let (mean, scale) = (0.8 * pixels as f32, 0.1 * pixels as f32);
            let total = Total {
                condition: 1,
                mean,
                scale,
                rounding: rounding(pixels),
            };
            // As the sum of these is told: in single precision, as the mean and so many scales.
            let values: Vec<f32> = (1..=pixels)
                .map(|i| -(i as f32 * 0.754_877_7).fract().max(0.01).ln())
                .collect();
            let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
            let told = ((sum - f64::from(mean)) / f64::from(scale)) as f32;
            let mut left = Left::of(Some(&total), &[9.0, told]);
            assert!(total.covers(sum as f32, total.of(&[9.0, told])));
            // Not before what is left is nothing, seen in double precision.
            let mut to_come = sum;
            for x in &values {
                let few = 2.0 * f64::from(rounding(pixels)) * sum;
                assert!(!left.is_none() || to_come < few, "{pixels}");
                assert!(pixels > FEW || !left.is_none(), "{pixels}");
                left.take(*x);
                to_come -= f64::from(*x);
            }
            assert!(left.is_none(), "{pixels}: {left:?}");
            let empty = -mean / scale;
            assert!(Left::of(Some(&total), &[0.0, empty]).is_none());
        }
        let mut endless = Left::of(None, &[]);
        endless.take(1e30);
        assert!(!endless.is_none());
    }
}
