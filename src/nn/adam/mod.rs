//! Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019): the update of everything that learns on
//! the processor, and the constants of a card's.

#[cfg(feature = "classify")]
pub(crate) mod candle;

/// Decay of the first moments.
pub const BETA_1: f32 = 0.9;
/// Decay of the second moments.
pub const BETA_2: f32 = 0.999;
/// Keeps the denominator off 0.
pub const EPSILON: f32 = 1e-8;

/// How far a step goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Adam's step size.
    pub learning_rate: f32,
    /// Times the learning rate: the fraction of themselves that the weights which decay lose in a step. Which
    /// do, each family says.
    pub weight_decay: f32,
}

impl From<f32> for Rates {
    /// A learning rate without decay.
    fn from(learning_rate: f32) -> Self {
        Self {
            learning_rate,
            weight_decay: 0.0,
        }
    }
}

/// Constants of one step: `value = keep value - step_size m / (sqrt(v second_scale) + EPSILON)`.
#[derive(Debug, Clone, Copy)]
pub struct AdamRule {
    /// Learning rate over 1 - BETA_1^t.
    pub step_size: f32,
    /// 1 over 1 - BETA_2^t.
    pub second_scale: f32,
    /// 1 - learning rate x weight decay for weights that decay; all others keep all of their value.
    pub keep: f32,
}

impl AdamRule {
    /// Step number `step`, counted from 1.
    pub fn new(rates: Rates, step: u64) -> Self {
        let power = |beta: f32| 1.0 - f64::from(beta).powi(step.min(1 << 30) as i32);
        let learning_rate = f64::from(rates.learning_rate);
        Self {
            step_size: (learning_rate / power(BETA_1)) as f32,
            second_scale: (1.0 / power(BETA_2)) as f32,
            keep: (1.0 - learning_rate * f64::from(rates.weight_decay)) as f32,
        }
    }

    /// One step of parameters and their moments down `gradient`; all are of one length. The twin on a card, of one parameter:
    /// `adam` of `kernels/common/adam.cuh`. Written so that a caller's instruction set takes many at a time, with the same bits.
    ///
    /// # Panics
    /// Where `value`, `first` or `second` is shorter than `gradient`.
    #[inline(always)]
    pub fn step(self, value: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
        let n = gradient.len();
        let (value, first, second) = (&mut value[..n], &mut first[..n], &mut second[..n]);
        for i in 0..n {
            let g = gradient[i];
            let m = BETA_1 * first[i] + (1.0 - BETA_1) * g;
            let v = BETA_2 * second[i] + (1.0 - BETA_2) * g * g;
            first[i] = m;
            second[i] = v;
            value[i] = self.keep * value[i]
                - self.step_size * m / ((v * self.second_scale).sqrt() + EPSILON);
        }
    }

    /// Its constants as a card's kernels read them: `AdamRates` of `kernels/common/adam.cuh`.
    pub fn constants(self) -> [f32; 3] {
        [self.step_size, self.second_scale, self.keep]
    }

    /// The rule for parameters that do not decay.
    pub fn without_decay(self) -> Self {
        Self { keep: 1.0, ..self }
    }
}
