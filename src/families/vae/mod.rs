//! The convolutional variational autoencoder for jets (VAE; K. Dohi, arXiv:2009.04842): a code of a few normal numbers, and a
//! network that makes an image of it. It has no exact likelihood.

mod classifier;
mod config;
mod family;
mod gradients;
mod network;
mod pass;
mod sampler;
mod trainer;

pub use config::{Config, LossConfig, ModelConfig, NetworkConfig, PerceptualConfig};
pub use family::{Family, NAME};

use crate::data::SparseImages;
use network::Network;

/// A model: configuration, networks, parameters.
#[derive(Debug, Clone)]
pub struct Vae {
    /// Its configuration, means and scales of the conditions filled in.
    pub config: ModelConfig,
    network: Network,
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
        Self {
            config,
            network,
            parameters,
        }
    }

    fn pixels(&self) -> usize {
        self.config.image.pixels()
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
