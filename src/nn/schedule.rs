//! Step sizes over the epochs.

use serde::{Deserialize, Serialize};

/// How Adam's step size falls over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Halved every `halve_every` epochs; the paper's.
    #[default]
    Halving,
    /// Along half a cosine, from `learning_rate` in the first epoch towards 0 after the last.
    Cosine,
}

impl Schedule {
    /// The part of the first step size that is left in epoch `epoch`, counted from 0, of `epochs`; `halve_every` is for
    /// [`Halving`](Self::Halving), 0: never.
    pub fn factor(self, epoch: usize, epochs: usize, halve_every: usize) -> f64 {
        match self {
            Self::Halving => {
                let halvings = epoch.checked_div(halve_every).unwrap_or(0);
                0.5f64.powi(halvings.min(1000) as i32)
            }
            Self::Cosine => {
                let done = epoch as f64 / epochs.max(1) as f64;
                // The last epoch is no standstill, were there only one.
                (0.5 + 0.5 * (std::f64::consts::PI * done.min(1.0)).cos()).max(1e-3)
            }
        }
    }
}
