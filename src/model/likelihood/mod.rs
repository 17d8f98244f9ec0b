//! The distribution of one pixel given those before it (paper section 4).
//!
//! p(x) = g [x = 0] + (1 - g) [x > 0] f(x): a *gate* g = sigmoid(a) for an exact zero, and a
//! distribution f of positive values, [`mixture`] for D+C and [`levels`] for D+D. Written once, for
//! any [`Real`]: the CPU engine runs it in f32, the float64 reference in f64.

pub mod levels;
pub mod mixture;

pub use levels::Grid;
pub use mixture::{Mixture, Support};

use crate::numeric::Real;

/// -ln g and its derivative by the gate's logit: the cost of a zero.
#[inline(always)]
pub fn zero<T: Real>(gate: T) -> (T, T) {
    ((-gate).softplus(), gate.sigmoid() - T::of(1.0))
}

/// -ln(1 - g) and its derivative by the gate's logit: the gate's part of the cost of a positive pixel.
#[inline(always)]
pub fn nonzero<T: Real>(gate: T) -> (T, T) {
    (gate.softplus(), gate.sigmoid())
}
