//! Where a model came from and how good it was.

use serde::{Deserialize, Serialize};

use crate::data::{CaloBinning, Unit};

/// Where a model came from and how good it was: kept beside it, shown by `sarm info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// File that the images came from.
    pub data: String,
    /// Selections that were made on it, as typed.
    pub select: Vec<String>,
    /// Per-row quantities that had one single value in the training data, `signal` above all.
    pub constants: std::collections::BTreeMap<String, f32>,
    /// Unit of the pixels; GeV in files that say nothing.
    #[serde(skip_serializing_if = "Unit::is_gev")]
    pub unit: Unit,
    /// Conditions and labels that the training data held as names: the names, in the order of the numbers 0, 1, .. that the
    /// model knows them by.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub names: std::collections::BTreeMap<String, Vec<String>>,
    /// Pixels of the data file were multiplied by this, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Pixels below this were set to zero, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// How a calorimeter's showers are cut into the images, where a binning file said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binning: Option<CaloBinning>,
    /// Images trained on and held out.
    pub images: [usize; 2],
    /// Epochs behind these parameters.
    pub epochs: usize,
    /// Mean negative log-likelihood in nats per image over the last epoch's steps.
    pub train_nll: Option<f64>,
    /// The same on the held-out images.
    pub validation_nll: Option<f64>,
    /// Version of the program.
    pub version: String,
}
