//! What is left of an image's total, as a pixel's gate and values are shown it.
//!
//! The units of a network see what is left in steps of several GeV: it is a sum over pixels that they add up themselves.
//! Whether a pixel is the last, or how soft it must be, depends on the logarithm of what is left, down to the smallest
//! pixel. What is left is known exactly before each pixel (it is the total less the pixels drawn, in single precision on
//! every device), so each number of a pixel gets a sum over functions of it with weights of its own, beside its sum over
//! units: the share of the mean total, then Chebyshev polynomials in the logarithm.

use super::Sarm;
use crate::numeric::{Lanes, Real};

/// Octaves below the mean total that the logarithm runs over: to what counts as nothing
/// ([`Total`](crate::conditions::Total) says what that is).
const OCTAVES: f64 = 19.0;

/// Which functions there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// How many: the share, then polynomials from the first order on.
    pub terms: usize,
    /// GeV of the mean total.
    mean: f64,
}

/// The two variables that the functions are functions of: share of the mean total, and scaled logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place<T> {
    pub share: T,
    pub logarithm: T,
}

impl Sarm {
    /// Functions of what is left, where the model has such.
    pub fn left(&self) -> Option<Left> {
        let terms = self.config.input.left;
        let total = self.total()?;
        (terms > 0).then_some(Left {
            terms,
            mean: f64::from(total.mean).max(f64::MIN_POSITIVE),
        })
    }
}

impl Left {
    /// The most functions that a model may have.
    pub const MOST: usize = 8;

    /// By which the natural logarithm of the share counts.
    pub(crate) const SLOPE: f64 = 2.0 * std::f64::consts::LOG2_E / OCTAVES;
    /// The range of the logarithm: -1 at the end of the octaves, 1 at the mean total, more above it.
    pub(crate) const RANGE: (f64, f64) = (-1.0, 1.25);

    /// One over the mean total in GeV, as kernels take it.
    pub fn inverse_mean(&self) -> f32 {
        (1.0 / self.mean) as f32
    }

    /// Where `remaining` GeV lie.
    #[inline(always)]
    pub fn place<T: Real>(&self, remaining: f32) -> Place<T> {
        let share = T::of(f64::from(remaining)) * T::of(1.0 / self.mean);
        // Nothing, or less by rounding, has a place too.
        let some = share.larger(T::of(1e-30));
        let logarithm = T::of(1.0) + some.ln() * T::of(Self::SLOPE);
        Place {
            share,
            logarithm: logarithm
                .larger(T::of(Self::RANGE.0))
                .smaller(T::of(Self::RANGE.1)),
        }
    }

    /// The functions at a place, `terms` of them.
    #[inline(always)]
    pub fn functions<T: Real>(&self, at: Place<T>) -> [T; Self::MOST] {
        chebyshev(at, T::of(1.0), T::of(2.0))
    }

    /// The same for a vector of places.
    #[inline(always)]
    pub fn functions_of<V: Lanes>(&self, at: Place<V>) -> [V; Self::MOST] {
        chebyshev(at, V::splat(1.0), V::splat(2.0))
    }
}

#[inline(always)]
fn chebyshev<T>(at: Place<T>, one: T, two: T) -> [T; Left::MOST]
where
    T: Copy + std::ops::Mul<Output = T> + std::ops::Sub<Output = T>,
{
    let mut functions = [at.share; Left::MOST];
    let (mut before, mut here) = (one, at.logarithm);
    for f in &mut functions[1..] {
        *f = here;
        (before, here) = (here, two * at.logarithm * here - before);
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_definition() {
        let left = Left {
            terms: 6,
            mean: 290.0,
        };
        for remaining in [300.0f32, 290.0, 12.0, 0.3, 2e-3, 0.0, -1e-4] {
            let place = left.place::<f64>(remaining);
            let octaves = (f64::from(remaining) / 290.0).max(1e-30).log2();
            let v = (1.0 + 2.0 * octaves / 19.0).clamp(-1.0, 1.25);
            let functions = left.functions(place);
            assert!((functions[0] - f64::from(remaining) / 290.0).abs() < 1e-12);
            for (order, f) in functions.iter().enumerate().skip(1) {
                let order = order as f64;
                let want = match v.abs() <= 1.0 {
                    true => (order * v.acos()).cos(),
                    false => (order * v.acosh()).cosh(),
                };
                assert!((f - want).abs() < 1e-9, "{remaining} GeV, order {order}");
            }
            let single = left.functions(left.place::<f32>(remaining));
            for (f, want) in single.iter().zip(functions) {
                assert!((f64::from(*f) - want).abs() < 2e-5, "{remaining} GeV");
            }
        }
    }
}
