//! Adam (Kingma and Ba 2015): the constants that every engine's update uses.

/// Decay of the first moments.
pub(crate) const BETA_1: f32 = 0.9;
/// Decay of the second moments.
pub(crate) const BETA_2: f32 = 0.999;
/// Keeps the denominator off 0.
pub(crate) const EPSILON: f32 = 1e-8;

/// Constants of one Adam step: `value -= step_size m / (sqrt(v second_scale) + EPSILON)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamRule {
    /// Learning rate over 1 - BETA_1^t.
    pub step_size: f32,
    /// 1 over 1 - BETA_2^t.
    pub second_scale: f32,
}

impl AdamRule {
    /// Step number `step`, counted from 1.
    pub fn new(learning_rate: f32, step: u64) -> Self {
        let power = |beta: f32| 1.0 - f64::from(beta).powi(step.min(1 << 30) as i32);
        Self {
            step_size: (f64::from(learning_rate) / power(BETA_1)) as f32,
            second_scale: (1.0 / power(BETA_2)) as f32,
        }
    }
}
