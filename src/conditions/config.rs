//! `[condition]` of a configuration.

use serde::{Deserialize, Serialize};

/// `[condition]`: per-row data sets, standardised to `(value - mean) / scale`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionConfig {
    /// Names of the data sets.
    pub names: Vec<String>,
    /// The one of them that is the sum of an image's pixels. It is not read but computed; no pixel is ever larger than what
    /// is left of it, and once nothing is left all pixels are zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// Their means; measured on the training data when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// Their standard deviations; measured when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<f64>,
}

impl ConditionConfig {
    /// Input of a network for condition number `i` with this `value`.
    ///
    /// # Panics
    /// Where condition `i` has no mean or no scale.
    pub fn standardise(&self, i: usize, value: f32) -> f32 {
        ((f64::from(value) - self.mean[i]) / self.scale[i]) as f32
    }

    /// Those that are read from a file.
    pub fn read(&self) -> impl Iterator<Item = &String> {
        let total = self.total.as_ref();
        self.names.iter().filter(move |name| Some(*name) != total)
    }
}
