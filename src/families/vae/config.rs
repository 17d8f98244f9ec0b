//! The configuration of a user, as TOML: `[network]`, `[loss]`, `[perceptual]`, `[condition]`, `[train]`.

use serde::{Deserialize, Serialize};

use crate::conditions::ConditionConfig;
use crate::data::ImageSize;
use crate::family::{
    ConfigError, Document, Mistakes, Source, TrainConfig, check_conditions, factor, impossible,
    within,
};
use crate::likelihood::LikelihoodConfig;

/// A whole configuration file: the model and how to train it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which family of models it is of.
    pub model: FamilyConfig,
    /// Size of the images; taken from the data when absent.
    pub image: Option<ImageSize>,
    /// The networks.
    pub network: NetworkConfig,
    /// What is made small.
    pub loss: LossConfig,
    /// The classifier whose features images are compared by.
    pub perceptual: PerceptualConfig,
    /// The distribution of a pixel given the code, of a sparse decoder; without it the decoder gives an image, as the paper's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<LikelihoodConfig>,
    /// Per-row quantities that encoder and decoder are told.
    pub condition: ConditionConfig,
    /// Optimisation.
    pub train: TrainConfig,
}

/// `[model]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FamilyConfig {
    /// The family.
    pub family: FamilyName,
}

/// The family of a VAE's configuration: there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyName {
    /// Variational autoencoders.
    #[default]
    Vae,
}

/// The part of a configuration that a model *is*: all but `[train]`. Stored in its checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Size of the images.
    pub image: ImageSize,
    /// The networks.
    pub network: NetworkConfig,
    /// What is made small.
    pub loss: LossConfig,
    /// The classifier whose features images are compared by.
    pub perceptual: PerceptualConfig,
    /// The distribution of a pixel given the code, of a sparse decoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<LikelihoodConfig>,
    /// Per-row quantities that encoder and decoder are told.
    pub condition: ConditionConfig,
}

/// `[network]`: the paper's, arXiv:2009.04842.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Numbers of a code.
    pub latents: usize,
    /// Filters of the encoder's three convolutions; the decoder has them the other way round.
    pub filters: [usize; 3],
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latents: 12,
            filters: [32, 64, 128],
        }
    }
}

/// `[loss]`: the weights of its three terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// The networks see pixels in this unit, GeV. Above it a pixel counts as one in the Bernoulli term.
    pub unit: f64,
    /// Of the differences of a classifier's features; 0: there is no classifier.
    pub perceptual: f64,
    /// Of the Kullback-Leibler divergence of the codes from a normal distribution.
    pub divergence: f64,
    /// Of the Bernoulli cross entropy, summed over the pixels.
    pub bernoulli: f64,
    /// Pixels that are drawn below it are zeros, GeV.
    pub lower: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            unit: 100.0,
            perceptual: 1.0,
            divergence: 1.0,
            bernoulli: 1.0,
            lower: 1e-3,
        }
    }
}

/// `[perceptual]`: a classifier, trained before the autoencoder and then left as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerceptualConfig {
    /// The condition that it tells from the image; it has two values.
    pub class: String,
    /// Filters of its three convolutions; the first two are what images are compared by.
    pub filters: [usize; 3],
    /// Units of its two dense layers.
    pub units: [usize; 2],
    /// Fraction of the convolutions' numbers that are left out, by chance, while it is trained.
    pub dropout: f64,
    /// Passes over the images, at the most.
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Epochs without a better result on images held out after which it ends.
    pub patience: usize,
}

impl Default for PerceptualConfig {
    fn default() -> Self {
        Self {
            class: "signal".into(),
            filters: [32, 64, 64],
            units: [128, 64],
            dropout: 0.2,
            epochs: 50,
            batch: 100,
            learning_rate: 1e-3,
            patience: 10,
        }
    }
}

/// Most filters and units.
const MOST: usize = 1 << 12;
/// Most numbers that an image has between two layers, or under all windows of one: 64 MB.
const MOST_OF_AN_IMAGE: usize = 1 << 24;

impl Config {
    /// Read TOML and check every value.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::read(&Document::parse(&Source::new(text, &[]))?)
    }

    /// Read TOML and check every value.
    ///
    /// # Errors
    /// The mistakes: unknown keys and wrong types with their lines, values that make no sense with their keys.
    pub fn read(document: &Document) -> Result<Self, ConfigError> {
        document.read(Config::check)
    }

    /// With what follows from other keys said too, for a reader.
    pub(super) fn filled_in(&self) -> Self {
        let mut config = self.clone();
        config.train.patience = Some(self.train.patience());
        config
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        found.note(self.train.check());
        for (key, value) in [
            ("train.running_sums", self.train.running_sums),
            ("train.weight_decay", self.train.weight_decay),
        ] {
            if value != 0.0 {
                found.note(impossible(
                    key,
                    value,
                    "it is for models of the family sarm",
                ));
            }
        }
        // Sizes come with the data; any that the decoder makes shows the other mistakes now.
        let size = self.image.unwrap_or(ImageSize {
            height: 25,
            width: 25,
        });
        match self.resolve(size, self.condition.clone()) {
            Ok(model) => found.note(model.check()),
            Err(mistake) => found.note(Err(mistake)),
        };
        found.end()
    }

    /// The model's part, for images of `size` and conditions with means and scales.
    ///
    /// # Errors
    /// Where the configuration says another size.
    pub fn resolve(
        &self,
        size: ImageSize,
        condition: ConditionConfig,
    ) -> Result<ModelConfig, ConfigError> {
        if let Some(wanted) = self.image
            && wanted != size
        {
            impossible(
                "image",
                format!("{} x {}", wanted.height, wanted.width),
                format!("the data have {} x {}", size.height, size.width),
            )?;
        }
        Ok(ModelConfig {
            image: size,
            network: self.network.clone(),
            loss: self.loss.clone(),
            perceptual: self.perceptual.clone(),
            likelihood: self.likelihood.clone(),
            condition,
        })
    }
}

impl ModelConfig {
    /// Check every value.
    ///
    /// # Errors
    /// Those that make no sense, named with their keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        found.note(check_conditions(&self.condition));
        if let (Some(total), None) = (&self.condition.total, &self.likelihood) {
            found.note(impossible(
                "condition.total",
                total,
                "pixels of a plain decoder add up to no number that is known before; leave it out or give [likelihood]",
            ));
        }
        let side = |length: usize| length % 4 == 1 && (5..=253).contains(&length);
        let size = self.image;
        if !side(size.height) || !side(size.width) {
            found.note(impossible(
                "image",
                format!("{} x {}", size.height, size.width),
                "the decoder makes images whose sides are one more than a multiple of 4, from 5 to 253, as 25; pad or crop them, or train a SARM",
            ));
        }
        found.note(within("network.latents", self.network.latents, 1, MOST));
        let filters = [
            ("network.filters", self.network.filters),
            ("perceptual.filters", self.perceptual.filters),
        ];
        for (key, filters) in filters {
            for (i, filters) in filters.into_iter().enumerate() {
                found.note(within(&format!("{key}[{i}]"), filters, 1, MOST));
            }
        }
        for (i, units) in self.perceptual.units.into_iter().enumerate() {
            found.note(within(&format!("perceptual.units[{i}]"), units, 1, MOST));
        }
        found.note(factor("loss.unit", self.loss.unit));
        let weights = [
            ("loss.perceptual", self.loss.perceptual),
            ("loss.divergence", self.loss.divergence),
            ("loss.bernoulli", self.loss.bernoulli),
            ("loss.lower", self.loss.lower),
        ];
        for (key, weight) in weights {
            if !(0.0..=1e9).contains(&weight) {
                found.note(impossible(key, weight, "it must be 0 to 1e9"));
            }
        }
        found.note(self.check_likelihood());
        if self.loss.perceptual == 0.0 && self.loss.bernoulli == 0.0 {
            found.note(impossible(
                "loss.bernoulli",
                0,
                "with 'loss.perceptual' 0 too, nothing says what an image should be",
            ));
        }
        // Bounds from here on need all of those above.
        if found.len() == 0 {
            let pixels = (size.height + 3) * (size.width + 3);
            let conditions = 1 + self.condition.names.len();
            let [first, second, third] = self.network.filters;
            let widest = [
                (
                    "network.filters",
                    pixels * (9 * first.max(conditions)).max(16 * self.outputs()),
                ),
                ("network.filters", pixels / 4 * 9 * first.max(second)),
                ("network.filters", pixels / 16 * 9 * second.max(third)),
                (
                    "perceptual.filters",
                    pixels / 16 * 25 * self.perceptual.filters[0],
                ),
                (
                    "perceptual.filters",
                    pixels / 64 * 25 * self.perceptual.filters[1],
                ),
            ];
            for (key, numbers) in widest {
                if numbers > MOST_OF_AN_IMAGE {
                    found.note(impossible(
                        key,
                        format!("{numbers} numbers of an image in one layer"),
                        format!("at most {MOST_OF_AN_IMAGE} are allowed; take fewer filters"),
                    ));
                    break;
                }
            }
        }
        if self.compares_features() {
            let p = &self.perceptual;
            if !self.condition.names.contains(&p.class) {
                found.note(impossible(
                    "perceptual.class",
                    format!("'{}'", p.class),
                    "it must be one of condition.names; or set loss.perceptual to 0",
                ));
            }
            if !(0.0..0.95).contains(&p.dropout) {
                found.note(impossible(
                    "perceptual.dropout",
                    p.dropout,
                    "it must be 0 to 0.95",
                ));
            }
            found.note(within("perceptual.epochs", p.epochs, 1, 1_000_000));
            found.note(within("perceptual.batch", p.batch, 1, 1 << 20));
            found.note(factor("perceptual.learning_rate", p.learning_rate));
        }
        found.end()
    }

    fn check_likelihood(&self) -> Result<(), ConfigError> {
        let Some(likelihood) = &self.likelihood else {
            return Ok(());
        };
        let mut found = Mistakes::default();
        found.note(likelihood.check());
        if let LikelihoodConfig::Dd { .. } = likelihood {
            found.note(impossible(
                "likelihood.kind",
                "'dd'",
                "a VAE's pixels are 'dc': zero, or a mixture of logistics",
            ));
        }
        if let (
            LikelihoodConfig::Dc {
                upper: Some(upper), ..
            },
            Some(total),
        ) = (likelihood, &self.condition.total)
        {
            found.note(impossible(
                "likelihood.upper",
                upper,
                format!("images are scaled to the total '{total}', beyond any upper end; leave one of them out"),
            ));
        }
        // A probability of every image leaves nothing to weigh.
        for (key, value, wanted) in [
            ("loss.perceptual", self.loss.perceptual, 0.0),
            ("loss.bernoulli", self.loss.bernoulli, 1.0),
        ] {
            if value != wanted {
                found.note(impossible(
                    key,
                    value,
                    format!("with [likelihood] the decoder gives probabilities, no image to compare; set it to {wanted}"),
                ));
            }
        }
        found.end()
    }

    /// Numbers that the decoder gives for a pixel.
    pub fn outputs(&self) -> usize {
        (self.likelihood.as_ref()).map_or(1, |likelihood| 1 + likelihood.values())
    }

    /// Whether there is a classifier.
    pub fn compares_features(&self) -> bool {
        self.loss.perceptual > 0.0
    }
}
