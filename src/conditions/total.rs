//! A condition that is the sum of an image's pixels, and what is left of it while the image is drawn.
//!
//! No pixel can be larger than what is left of the total, and once nothing is left, all further pixels are zero. Both hold
//! exactly, in the likelihood and in the images that are drawn: each pixel's mixture is truncated at what is left, its
//! first component is the pixel that takes all of it, and gates after that are closed with certainty. Without this, a
//! network has to learn from a few jets in a thousand that it must not overshoot.
//!
//! An image has as many free numbers as pixels that are not zero: all but the last of these, which is what is left, and
//! the total. So the last pixel counts with a probability, the others with densities, and with the density of the total
//! that is the density of the image.
//!
//! So it is for SARMs (`likelihood/total.rs`). VAEs scale whole images to their totals instead (`families/vae/total.rs`).

use super::ConditionConfig;

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

impl ConditionConfig {
    /// The condition that is the sum of an image's `pixels`, where there is one.
    pub fn total_over(&self, pixels: usize) -> Option<Total> {
        let name = self.total.as_ref()?;
        let condition = self.names.iter().position(|n| n == name)?;
        let (mean, scale) = (*self.mean.get(condition)?, *self.scale.get(condition)?);
        Some(Total::new(condition, mean as f32, scale as f32, pixels))
    }
}

impl Total {
    /// Condition number `condition`, standardised by `mean` and `scale` in GeV, of images of `pixels`.
    pub fn new(condition: usize, mean: f32, scale: f32, pixels: usize) -> Self {
        Self {
            condition,
            mean,
            scale,
            rounding: ROUNDING * (pixels as f32 / FEW as f32).max(1.0).sqrt(),
        }
    }

    /// GeV, of one row of standardised conditions. Nobody else turns them back: [`Conditions`](super::Conditions) carry
    /// the result.
    pub(super) fn gev(&self, conditions: &[f32]) -> f32 {
        self.mean + self.scale * conditions[self.condition]
    }

    /// Whether pixels that add up to `sum` GeV can come out of a total of `gev`.
    pub fn covers(&self, sum: f32, gev: f32) -> bool {
        sum <= gev.max(0.0) * (1.0 + self.rounding) + self.error()
    }

    /// GeV by which a total may miss what was standardised.
    pub fn error(&self) -> f32 {
        STANDARDISED * (self.mean.abs() + self.scale)
    }

    /// The budget of an image of this total, before its first pixel.
    pub fn budget(&self, gev: f32) -> Budget {
        Budget {
            remaining: gev,
            tolerance: gev.max(0.0) * self.rounding + self.error(),
        }
    }
}

/// What remains of an image's total for the pixels to come, in single precision on every device: they must agree on where
/// an image ends.
///
/// An image without a total has no budget (`None`), and nothing limits its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// GeV.
    pub remaining: f32,
    /// GeV that are nothing.
    pub tolerance: f32,
}

impl Budget {
    /// Whether nothing remains: all further pixels are zero.
    #[inline(always)]
    pub fn is_spent(&self) -> bool {
        self.remaining <= self.tolerance
    }

    /// After a pixel of `x` GeV.
    #[inline(always)]
    pub fn after(&self, x: f32) -> Self {
        Self {
            remaining: self.remaining - x,
            ..*self
        }
    }
}

/// Whether an image has a budget and nothing of it remains.
#[inline(always)]
pub fn is_spent(budget: Option<Budget>) -> bool {
    budget.is_some_and(|budget| budget.is_spent())
}

/// Take a pixel of `x` GeV out of a budget, where there is one.
#[inline(always)]
pub fn spend(budget: &mut Option<Budget>, x: f32) {
    *budget = budget.map(|budget| budget.after(x));
}

#[cfg(test)]
mod tests {
    use super::super::Conditions;
    use super::*;

    #[test]
    fn an_image_ends_with_its_last_pixel() {
        for pixels in [1, 30, 625, 65_536] {
            let (mean, scale) = (0.8 * pixels as f32, 0.1 * pixels as f32);
            let total = Total::new(1, mean, scale, pixels);
            // As this sum is given to a network: in single precision, as the mean and so many scales.
            let values: Vec<f32> = (1..=pixels)
                .map(|i| -(i as f32 * 0.754_877_7).fract().max(0.01).ln())
                .collect();
            let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
            let told = ((sum - f64::from(mean)) / f64::from(scale)) as f32;
            let empty = -mean / scale;
            let conditions =
                Conditions::new(2, vec![9.0, told, 0.0, empty]).with_total(Some(total));
            let mut budget = conditions.budget(0);
            assert!(total.covers(sum as f32, conditions.total(0).unwrap()));
            // Not before what is left is nothing, seen in double precision.
            let mut to_come = sum;
            for x in &values {
                let few = 2.0 * f64::from(total.rounding) * sum;
                assert!(!is_spent(budget) || to_come < few, "{pixels}");
                assert!(pixels > FEW || !is_spent(budget), "{pixels}");
                spend(&mut budget, *x);
                to_come -= f64::from(*x);
            }
            assert!(is_spent(budget), "{pixels}: {budget:?}");
            assert!(is_spent(conditions.budget(1)));
        }
        let mut endless = Conditions::none().budget(0);
        spend(&mut endless, 1e30);
        assert!(!is_spent(endless));
    }
}
