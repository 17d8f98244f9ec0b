//! The distribution of one pixel given those before it (paper section 4).
//!
//! `p(x) = g [x = 0] + (1 - g) [x > 0] f(x)`: a *gate* g = sigmoid(a) for an exact zero, and a
//! distribution f of positive values, [`mixture`] for D+C and [`levels`] for D+D. Written once, for
//! any [`Real`](crate::numeric::Real): the CPU engine runs it in f32, the float64 reference in f64.

mod config;
pub mod levels;
pub mod mixture;
pub mod support;
mod total;
mod values;

pub use config::{LikelihoodConfig, SpaceName};
pub use levels::Grid;
pub use mixture::{Mixture, Rest};
pub use support::{MixtureRange, Space, Support};
pub use values::Values;

use crate::numeric::Elementary;

/// Below this fraction of the heaviest one's mass a component or level adds nothing to an f32 sum: never drawn.
pub(crate) const LEAST: f32 = 1e-9;

/// Cost in nats of the gate with logit `gate`, and its derivative by the logit.
///
/// `side` is -1 for a zero (cost -ln g) and 1 for a positive pixel (cost -ln(1 - g)): both are
/// softplus(side a). A side of 0 costs nothing and has derivative 0: a place without a pixel, or one that is certain.
#[inline(always)]
pub fn gate<T: Elementary>(gate: T, side: T) -> (T, T) {
    let signed = side * gate;
    (side * side * signed.softplus(), side * signed.sigmoid())
}
