//! What a total changes in the mixture: no pixel beyond what is left, and a probability for taking all of it.
//!
//! What is left is kept by [`conditions::total`](crate::conditions::total).

use super::mixture::SMALLEST;
use super::{Mixture, Rest, Space, Support};
use crate::conditions::Budget;

impl Support {
    /// What an image of this total may spend at first: a total below the smallest pixel, by more than rounding, is nothing.
    /// [`Mixture::within`] then never leaves less than that either. Of `None`, an image without a total, `None`.
    #[inline]
    pub fn first(&self, total: Option<Budget>) -> Option<Budget> {
        let lower = self.lower() as f32;
        total.map(|total| Budget {
            remaining: match total.remaining {
                nothing if total.is_spent() => nothing,
                less if less + total.tolerance < lower => 0.0,
                some => some.max(lower),
            },
            ..total
        })
    }
}

impl Mixture {
    /// The distribution of a pixel of an image with this much to come: no more than that, and all of it with the
    /// weight of the first component, where that is no more than the range. What is all but nothing counts as all.
    ///
    /// Where more is left than a pixel can be, all components are logistics. In linear space a pixel then has a density
    /// even if it leaves nothing but rounding behind: so it was drawn. In logarithmic space nothing below the lower end
    /// is drawn, so what a pixel leaves is nothing or no less than that. The same rules: `PixelRange` of
    /// `kernels/sarm/mixture.cu` (told by [`limit`](Self::limit)), `MixtureRange` of `kernels/common/draw.cuh`, `log_density_dc`
    /// of `docs/loglikelihood.py`; docs/formats.md#totals states them.
    #[inline(always)]
    pub fn within(&self, budget: Option<Budget>) -> Self {
        let Some(budget) = budget else {
            return *self;
        };
        let remaining = f64::from(budget.remaining);
        let beyond = remaining > self.support.upper;
        let (upper, rest) = match self.support.space {
            Space::Linear if beyond => return *self,
            Space::Linear => {
                let least = f64::from(2.0 * SMALLEST) * self.support.unit;
                (remaining.max(least), Rest::Offered(budget))
            }
            Space::Log { lower, .. } if budget.remaining < 2.0 * lower as f32 => {
                (lower, Rest::Certain(budget))
            }
            Space::Log { lower, .. } => {
                // A place less than what is left above the lower end, so that rounding takes nothing from it.
                let most = (budget.remaining - lower as f32).next_down();
                let rest = if beyond {
                    Rest::Free
                } else {
                    Rest::Offered(budget)
                };
                (f64::from(most), rest)
            }
        };
        Self {
            support: Support {
                upper: self.support.upper.min(upper),
                ..self.support
            },
            rest,
            ..*self
        }
    }

    /// What `kernels/sarm/mixture.cu` is told of a pixel of `x` GeV of an image with this much to come: what is left before it in
    /// GeV, infinite without a total, and negative where the pixel takes all of it though it need not.
    pub fn limit(&self, budget: Option<Budget>, x: f32) -> f32 {
        let remaining = budget.map_or(f32::INFINITY, |budget| budget.remaining);
        match self.within(budget).rest {
            Rest::Offered(budget) if budget.after(x).is_spent() => -remaining,
            _ => remaining,
        }
    }
}
