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
    /// How it was refined after training, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refined: Option<Refined>,
    /// Version of the program.
    pub version: String,
}

/// How well trees tell truth from a model's images, drawn under the conditions of the true ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToldApart {
    /// Area under the ROC curve; absent where they found nothing.
    pub auc: Option<f64>,
    /// Its error.
    pub auc_error: Option<f64>,
}

/// A round of refining.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefinedRound {
    /// Adam's step size at its start.
    pub learning_rate: f64,
    /// How well trees told truth from images drawn before it.
    pub before: ToldApart,
    /// Mean NLL in nats of the images held out, after it; absent where none are.
    pub validation_nll: Option<f64>,
}

/// How a model was refined (`run::refine`): what a resumed refining has to go on with, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refined {
    /// File that the true images came from.
    pub data: String,
    /// Selections that were made on it, as typed.
    pub select: Vec<String>,
    /// True images trained on and held out; the record's `validation_nll` is that of these.
    pub images: [usize; 2],
    /// SHA-256 of the file of the model that it started from, in hex.
    pub model_sha256: String,
    /// CRC-32 of the images and conditions that it was refined with, those trained on first.
    pub data_checksum: u32,
    /// Rounds done, and asked for.
    pub rounds: [usize; 2],
    /// Adam's step size in the first of them.
    pub learning_rate: f64,
    /// Images of a step.
    pub batch: usize,
    /// Seed of the generated images and of the order of all.
    pub seed: u64,
    /// Half-width of the images in eta and phi, for their observables.
    pub range: f64,
    /// Mean NLL of the images held out before the first round.
    pub validation_nll_before: Option<f64>,
    /// The rounds done, the first one first.
    pub history: Vec<RefinedRound>,
    /// How well trees tell truth from images drawn after the last round; absent until they have judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<ToldApart>,
    /// Version of the program that refined it.
    pub version: String,
}
