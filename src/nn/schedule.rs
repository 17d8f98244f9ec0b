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
