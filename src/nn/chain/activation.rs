//! What a layer does to the sums that it makes.

use crate::numeric::Lanes;

/// What becomes of a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// Negative ones are multiplied by this, more than 0 and less than 1.
    Leaky(f32),
    /// Negative ones become 0.
    Relu,
}

impl Activation {
    /// Of one number, or of several side by side.
    #[inline(always)]
    pub fn of<V: Lanes>(self, sum: V) -> V {
        match self {
            Activation::None => sum,
            Activation::Leaky(slope) => sum.max(sum * V::splat(slope)),
            // The second operand is what `max` gives where one is no number: that must not become a zero.
            Activation::Relu => V::splat(0.0).max(sum),
        }
    }

    /// What negative sums are multiplied by.
    pub fn slope(self) -> f32 {
        match self {
            Activation::None => 1.0,
            Activation::Leaky(slope) => slope,
            Activation::Relu => 0.0,
        }
    }

    /// Turn derivatives by `values`, which the layer gave, into those by its sums. At 0 they are those of a negative sum.
    pub fn turn(self, derivatives: &mut [f32], values: &[f32]) {
        if self == Activation::None {
            return;
        }
        let slope = self.slope();
        for (derivative, value) in derivatives.iter_mut().zip(values) {
            *derivative *= if *value > 0.0 { 1.0 } else { slope };
        }
    }
}
