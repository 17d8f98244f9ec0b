//! What a total changes in the mixture: no pixel beyond what is left, and a probability for taking all of it.
//!
//! What is left is kept by [`conditions::total`](crate::conditions::total).

use super::mixture::SMALLEST;
use super::{Mixture, Support};
use crate::conditions::Budget;

impl Mixture {
    /// The distribution of a pixel of an image with this much to come: no more than that, and all of it with the
    /// weight of the first component, where that is no more than the range. What is all but nothing counts as all.
    ///
    /// Where more is left than a pixel can be, all components are logistics, and a pixel has a density even if it leaves
    /// nothing but rounding behind: so it was drawn. The same rule: [`limit`](Self::limit) for `kernels/sarm/mixture.cu`,
    /// `Drawer::draw` of `kernels/sarm/sample.cu`, `log_density_dc` of `docs/loglikelihood.py`; docs/formats.md#totals states it.
    #[inline(always)]
    pub fn within(&self, budget: Option<Budget>) -> Self {
        let Some(budget) = budget else {
            return *self;
        };
        let remaining = f64::from(budget.remaining);
        if remaining > self.support.upper {
            return *self;
        }
        let least = f64::from(2.0 * SMALLEST) * self.support.unit;
        let upper = self.support.upper.min(remaining.max(least));
        Self {
            support: Support {
                upper,
                ..self.support
            },
            budget: Some(budget),
            ..*self
        }
    }

    /// What `kernels/sarm/mixture.cu` is told of a pixel of `x` GeV of an image with this much to come, GeV: 0 where it takes all
    /// that is left, infinite where what is left does not matter, and else what is left.
    pub fn limit(&self, budget: Option<Budget>, x: f32) -> f32 {
        match self.within(budget).budget {
            None => f32::INFINITY,
            Some(budget) if budget.after(x).is_spent() => 0.0,
            Some(budget) => budget.remaining,
        }
    }
}
