//! `[train]` of a configuration.

use serde::{Deserialize, Serialize};

use super::{ConfigError, Mistakes, impossible, positive, within};
use crate::nn::schedule::Schedule;

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Epochs after which the step size is halved, again and again; 0: never.
    pub halve_every: usize,
    /// Times the step size: the fraction of themselves that hidden and output weights lose in a step (AdamW); 0: none.
    pub weight_decay: f64,
    /// Strength of the sums over the pixels so far that the units of the input layer start from; 0: the paper's start,
    /// none. See [`Model::initialise`](super::Model::initialise).
    pub running_sums: f64,
    /// Seed of the initial parameters, the split and the shuffles.
    pub seed: u64,
    /// Fraction of the images held out for validation.
    pub validation: f64,
    /// A column of the data: images for which it holds the same number, of one event for example, are held out together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Stop after this many epochs without a better validation NLL; 0: never. Absent: see [`patience`](Self::patience()).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
}

/// Epochs without a better validation NLL after which training ends where nothing else is said: longer than the ups and downs
/// from epoch to epoch, and still a small part of a long run that learns by heart.
pub const PATIENCE: usize = 10;

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 128,
            learning_rate: 3e-4,
            schedule: Schedule::Halving,
            halve_every: 50,
            weight_decay: 0.0,
            running_sums: 0.0,
            seed: 1,
            validation: 0.05,
            group: None,
            patience: None,
        }
    }
}

impl TrainConfig {
    /// Step size in epoch `epoch`, counted from 0.
    pub fn learning_rate_at(&self, epoch: usize) -> f32 {
        let factor = (self.schedule).factor(epoch, self.epochs, self.halve_every);
        (self.learning_rate * factor) as f32
    }

    /// Epochs without a better validation NLL after which training ends, 0: never. Where nothing is said, `PATIENCE` if
    /// images are held out.
    pub fn patience(&self) -> usize {
        let held = self.validation > 0.0;
        self.patience.unwrap_or(if held { PATIENCE } else { 0 })
    }
}

impl TrainConfig {
    /// Check every value.
    ///
    /// # Errors
    /// Those that make no sense, named with their keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        found.note(within("train.batch", self.batch, 1, 1 << 20));
        found.note(within("train.epochs", self.epochs, 1, 1_000_000));
        found.note(positive("train.learning_rate", self.learning_rate));
        let lost = self.learning_rate * self.weight_decay;
        if !(self.weight_decay >= 0.0 && (lost < 1.0 || self.learning_rate.is_nan())) {
            found.note(impossible(
                "train.weight_decay",
                self.weight_decay,
                "it must be 0 or more, and less than 1 over 'train.learning_rate'",
            ));
        }
        if !(0.0..=1e3).contains(&self.running_sums) {
            found.note(impossible(
                "train.running_sums",
                self.running_sums,
                "it must be 0 to 1000",
            ));
        }
        if !(0.0..0.9).contains(&self.validation) {
            found.note(impossible(
                "train.validation",
                self.validation,
                "it must be 0 to 0.9",
            ));
        }
        if self.validation == 0.0 && self.patience() > 0 {
            found.note(impossible(
                "train.patience",
                self.patience(),
                "early stopping needs 'train.validation' above 0",
            ));
        }
        found.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_halves() {
        let t = TrainConfig::default();
        assert_eq!(t.learning_rate_at(49), 3e-4);
        assert_eq!(t.learning_rate_at(50), 1.5e-4);
        assert_eq!(t.learning_rate_at(100), 0.75e-4);
    }
}
