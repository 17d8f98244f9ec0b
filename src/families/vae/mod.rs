//! The convolutional variational autoencoder for jets (VAE; K. Dohi, arXiv:2009.04842): a code of a few normal numbers, and a
//! network that makes an image of it. It has no exact likelihood.

mod bound;
mod classifier;
mod codes;
mod config;
pub mod cuda;
mod family;
mod gradients;
mod network;
mod pass;
mod sampler;
mod sparse;
mod terms;
mod total;
mod trainer;

pub use config::{Config, LossConfig, ModelConfig, NetworkConfig, PerceptualConfig};
pub use family::{Family, NAME};

use crate::conditions::{ConditionConfig, ConditionedImages};
use crate::data::{ImageSize, SparseImages};
use crate::family::ConfigError;
use crate::likelihood::{LikelihoodConfig, Mixture, SpaceName, Values};
use crate::nn::chain::Chain;
use network::Network;
use pass::Tile;

/// Fraction of nonzero pixels of jets, for what measures speed.
const OCCUPANCY: f64 = 0.1;

/// A model: configuration, networks, parameters.
#[derive(Debug, Clone)]
pub struct Vae {
    /// Its configuration, means and scales of the conditions filled in.
    pub config: ModelConfig,
    network: Network,
    /// The distribution of a nonzero pixel, of a sparse decoder; before images are scaled to their totals, where they are told them.
    mixture: Option<Mixture>,
    parameters: Vec<Vec<f32>>,
}

impl Vae {
    /// The model of a configuration that has been checked; all parameters are 0.
    fn new(config: ModelConfig) -> Self {
        let network = Network::new(&config);
        let parameters = network
            .tensors()
            .iter()
            .map(|t| vec![0.0; t.size()])
            .collect();
        let mut likelihood = config.likelihood.clone();
        if let (Some(LikelihoodConfig::Dc { lower, .. }), Some(_)) =
            (&mut likelihood, &config.condition.total)
        {
            // Room for the smallest pixel at every scale.
            *lower = lower.map(|lower| lower * (-total::WIDEST).exp());
        }
        let mixture = match likelihood.as_ref().map(Values::new) {
            Some(Values::Mixture(mixture)) => Some(mixture),
            // Levels are refused where the configuration is checked.
            Some(Values::Levels(_)) | None => None,
        };
        Self {
            config,
            network,
            mixture,
            parameters,
        }
    }

    /// A model of `config` for images of `size` with random parameters, those of the classifier too, whose conditions are standardised as
    /// they are: what measures speed.
    ///
    /// # Errors
    /// A size that no decoder makes.
    pub fn untrained(config: &Config, size: ImageSize, seed: u64) -> Result<Self, ConfigError> {
        let names = config.condition.names.len();
        let conditions = ConditionConfig {
            mean: vec![0.0; names],
            scale: vec![1.0; names],
            ..config.condition.clone()
        };
        let mut config = config.resolve(size, conditions)?;
        if let Some(LikelihoodConfig::Dc {
            space: SpaceName::Log,
            lower,
            ..
        }) = &mut config.likelihood
        {
            lower.get_or_insert(1e-6);
        }
        config.check()?;
        let mut model = Self::new(config);
        model.parameters = model.network.initial(seed);
        if model.mixture.is_some() {
            let last = model.network.range(network::Part::Decoder).end - 1;
            model.parameters[last][0] = ((1.0 - OCCUPANCY) / OCCUPANCY).ln() as f32;
        }
        Ok(model)
    }

    /// Bytes of an image that a card writes and reads again between the decoder's layers.
    pub fn bytes_between_layers_on_card(&self) -> u64 {
        4 * cuda::numbers(self).iter().sum::<usize>() as u64
    }

    /// Multiply-adds of an image: drawn, of a sparse decoder with a tenth of its pixels, and in training.
    pub fn multiply_adds(&self) -> [f64; 2] {
        let of = |chain: &Chain| chain.multiply_adds() as f64;
        let network = &self.network;
        let [encoder, decoder, features] =
            [&network.encoder, &network.decoder, &network.features].map(of);
        let first = |chain: &Chain| chain.0.first().map_or(0.0, |l| l.multiply_adds() as f64);
        // Forward, to the weights, to the input, which the encoder's is not asked for. Features: of two images, one of them back.
        let training = 3.0 * (encoder + decoder + features) - first(&network.encoder);
        let drawing = match (&network.gates, network.decoder.0.last()) {
            (Some(gates), Some(last)) => {
                let last = last.multiply_adds() as f64;
                decoder - (1.0 - OCCUPANCY) * last + gates.multiply_adds() as f64
            }
            _ => decoder,
        };
        [drawing, training]
    }

    /// Parameters that learn with the images: those of encoder and decoder.
    pub fn learning(&self) -> usize {
        let learns = self.network.range(network::Part::Features).start;
        self.parameters[..learns].iter().map(Vec::len).sum()
    }

    fn pixels(&self) -> usize {
        self.config.image.pixels()
    }

    /// The images `rows` and what they are told, without noise.
    fn tile(&self, data: &ConditionedImages, rows: &[u32]) -> Tile {
        let told = rows
            .iter()
            .flat_map(|row| data.conditions.row(u64::from(*row)));
        Tile {
            pixels: self.dense(&data.images, rows),
            conditions: told.copied().collect(),
            noise: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The images `rows` in units of `loss.unit`, `[images, pixels]`.
    fn dense(&self, images: &SparseImages, rows: &[u32]) -> Vec<f32> {
        let pixels = self.pixels();
        let unit = self.config.loss.unit as f32;
        let mut dense = vec![0.0; rows.len() * pixels];
        for (row, image) in rows.iter().zip(dense.chunks_exact_mut(pixels)) {
            let (index, value) = images.image(*row as usize);
            for (pixel, x) in index.iter().zip(value) {
                image[usize::from(*pixel)] = x / unit;
            }
        }
        dense
    }
}
