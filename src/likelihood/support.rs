//! The values that a pixel of a mixture can take, and the variable that its logistics are distributions of.

use crate::numeric::Real;

/// The least width of a range of logarithms.
pub(crate) const NARROWEST: f64 = 1e-4;

/// The variable that the logistics of a mixture are distributions of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Space {
    /// y = x / unit, from 0 on; the paper's.
    Linear,
    /// y = ln(e^(x / unit) - 1), from that of the lower end on: ln(x / unit) well below the unit, where pixels are then
    /// log-logistic, and x / unit well above it, where they keep the exponential tail of a logistic. (With the logarithm
    /// alone, hard pixels have the tail of a power law, and images end with one that takes the energy of others.)
    Log {
        /// The smallest pixel, GeV.
        lower: f64,
        /// y of it.
        floor: f64,
    },
}

impl Space {
    /// Logarithmic below `unit`, from `lower` on; both in GeV.
    pub fn log(unit: f64, lower: f64) -> Self {
        Space::Log {
            lower,
            floor: bent_log(lower / unit),
        }
    }
}

/// ln(1 - e^-r) for r > 0: what the logarithm bends by.
#[inline(always)]
fn log_of_missing<T: Real>(r: T) -> T {
    (-((-r).exp_m1())).ln()
}

/// ln(e^r - 1) for r > 0, without overflow or cancellation.
#[inline(always)]
pub(crate) fn bent_log<T: Real>(r: T) -> T {
    r + log_of_missing(r)
}

/// ln(1 + e^y), the inverse of [`bent_log`], as precise where it is small as where it is large.
#[inline(always)]
fn bent_exp<T: Real>(y: T) -> T {
    let (zero, one) = (T::of(0.0), T::of(1.0));
    let small = (y.smaller(-y)).exp();
    let sum = one + small;
    // What rounding took from the sum is made good: ln(1 + e) = e ln(s) / (s - 1) for s near 1 + e.
    let excess = sum - one;
    let log = if excess > zero {
        small * (sum.ln() / excess)
    } else {
        small
    };
    y.larger(zero) + log
}

/// The values that a positive pixel can take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Support {
    /// GeV per unit of mu and s; with [`Space::Log`] where logarithmic turns into linear.
    pub unit: f64,
    /// Largest pixel in GeV, infinite when there is no upper truncation.
    pub upper: f64,
    /// What y, the variable of the logistics, is of a pixel x.
    pub space: Space,
}

/// The values that a pixel can take, as `MixtureRange` of `kernels/common/draw.cuh` takes them.
#[derive(Debug, Clone, Copy, Default)]
pub struct MixtureRange {
    /// GeV of one unit of the mixture.
    pub unit: f32,
    /// The smallest pixel in logarithmic space, GeV; else 0.
    pub lower: f32,
    /// The largest y.
    pub upper: f32,
    /// GeV, the largest pixel.
    pub largest: f32,
    /// y where a mean of 0 lies.
    pub origin: f32,
}

impl Support {
    /// The same for a card.
    pub fn range(&self) -> MixtureRange {
        let unit = self.unit as f32;
        let (lower, upper) = match self.space {
            Space::Linear => (0.0, self.upper as f32 / unit),
            Space::Log { lower, .. } => (lower as f32, self.end()),
        };
        MixtureRange {
            unit,
            lower,
            upper,
            largest: self.largest(),
            origin: self.origin() as f32,
        }
    }

    /// The largest pixel in GeV as a finite f32 that is no larger: what is left of a total is compared with it, and in
    /// logarithmic space nothing larger is drawn.
    pub fn largest(&self) -> f32 {
        let nearest = (self.upper as f32).min(f32::MAX);
        match f64::from(nearest) > self.upper {
            true => nearest.next_down(),
            false => nearest,
        }
    }

    /// The smallest pixel in GeV; 0 where a pixel may be as small as it likes.
    pub fn lower(&self) -> f64 {
        match self.space {
            Space::Linear => 0.0,
            Space::Log { lower, .. } => lower,
        }
    }

    /// y of a pixel of `x` GeV.
    #[inline(always)]
    pub fn variable<T: Real>(&self, x: T) -> T {
        match self.space {
            Space::Linear => x * T::of(1.0 / self.unit),
            Space::Log { floor, .. } => bent_log(x * T::of(1.0 / self.unit)) - T::of(floor),
        }
    }

    /// The pixel in GeV at `y`.
    #[inline(always)]
    pub fn pixel<T: Real>(&self, y: T) -> T {
        match self.space {
            Space::Linear => y * T::of(self.unit),
            Space::Log { floor, .. } => bent_exp(y + T::of(floor)) * T::of(self.unit),
        }
    }

    /// y of the largest pixel; the smallest is at 0.
    #[inline(always)]
    pub fn end<T: Real>(&self) -> T {
        match self.space {
            Space::Linear => T::of(self.upper / self.unit),
            Space::Log { .. } if self.upper == f64::INFINITY => T::of(f64::INFINITY),
            // Where two pixels of the lower end are all that is left, the range is not quite a point.
            Space::Log { .. } => self.variable(T::of(self.upper)).larger(T::of(NARROWEST)),
        }
    }

    /// y where a mean of 0 lies.
    #[inline(always)]
    pub fn origin(&self) -> f64 {
        match self.space {
            Space::Linear => 0.0,
            Space::Log { floor, .. } => -floor,
        }
    }

    /// ln of dx / dy in GeV at `x`, what a density of y is divided by.
    #[inline(always)]
    pub(super) fn log_slope<T: Real>(&self, x: T) -> T {
        match self.space {
            Space::Linear => T::of(self.unit.ln()),
            Space::Log { .. } => T::of(self.unit.ln()) + log_of_missing(x * T::of(1.0 / self.unit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bent_logarithm_is_its_definition_and_has_an_inverse() {
        for r in [1e-9f64, 3e-4, 0.2, 1.0, 7.0, 30.0, 300.0] {
            let y = bent_log(r);
            // Below and above, what it goes over into.
            let near = if r < 1.0 { r.ln() + r / 2.0 } else { r };
            assert!(
                (y - near).abs() < 0.1 * r.min(1.0).powi(2) + (-r).exp() * 1.5,
                "{r}: {y}"
            );
            assert!((bent_exp(y) - r).abs() < 1e-12 * r, "{r}");
            let single = bent_log(r as f32);
            assert!(
                (f64::from(single) - y).abs() < 1e-6 * (1.0 + y.abs()),
                "{r}"
            );
            let back = f64::from(bent_exp(single));
            assert!((back - r).abs() < 4e-7 * r * (2.0 + y.abs()), "{r}: {back}");
        }
    }
}
