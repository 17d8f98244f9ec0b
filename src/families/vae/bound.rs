//! The evidence bound of a sparse decoder, and its importance-weighted version (Burda, Grosse and Salakhutdinov, arXiv:1509.00519).

use rayon::prelude::*;

use super::Vae;
use super::family::cpu;
use super::pass::{Networks, TILE, Tile};
use super::sparse::nll;
use crate::conditions::ConditionedImages;
use crate::device::Devices;
use crate::family::{Bound, Bounded, EngineError, check_images};
use crate::likelihood::Mixture;
use crate::random::{Purpose, normals};

impl Bounded for Vae {
    fn bounds(
        &self,
        devices: &Devices,
        data: &ConditionedImages,
        samples: usize,
        seed: u64,
    ) -> Result<Vec<Bound>, EngineError> {
        let cpu = cpu(devices)?;
        check_images(self, data)?;
        self.check_range(&data.images)?;
        let Some(mixture) = &self.mixture else {
            return Err(EngineError::Mismatch(
                "this decoder gives no probabilities".into(),
            ));
        };
        let networks = self.ready(&self.parameters, false);
        let rows: Vec<u32> = (0..data.images.len() as u32).collect();
        Ok(cpu.pool().install(|| {
            (rows.par_chunks(TILE))
                .flat_map_iter(|rows| {
                    let told = rows
                        .iter()
                        .flat_map(|row| data.conditions.row(u64::from(*row)));
                    let tile = Tile {
                        pixels: self.dense(&data.images, rows),
                        conditions: told.copied().collect(),
                        noise: Vec::new(),
                    };
                    let weights =
                        self.log_weights(&networks, mixture, (&tile, rows), samples, seed);
                    weights
                        .chunks_exact(samples)
                        .map(Bound::of)
                        .collect::<Vec<_>>()
                })
                .collect()
        }))
    }
}

impl Vae {
    /// ln w of `samples` codes of each image of a tile: ln p(x | z) + ln p(z) - ln q(z | x).
    fn log_weights(
        &self,
        networks: &Networks,
        mixture: &Mixture,
        (tile, rows): (&Tile, &[u32]),
        samples: usize,
        seed: u64,
    ) -> Vec<f64> {
        let (latents, pixels) = (self.network.latents, self.pixels());
        let codes = self.codes(networks, tile).values;
        let mut weights = vec![0.0; rows.len() * samples];
        for sample in 0..samples {
            let mut drawn = Vec::with_capacity(rows.len() * latents);
            for (place, (code, row)) in codes.chunks_exact(2 * latents).zip(rows).enumerate() {
                let (means, variances) = code.split_at(latents);
                let number = u64::from(*row) * samples as u64 + sample as u64;
                let noise = normals(seed, Purpose::Bound, number, latents);
                let weight = &mut weights[place * samples + sample];
                for ((m, v), noise) in means.iter().zip(variances).zip(noise) {
                    let z = m + (0.5 * v).exp() * noise;
                    drawn.push(z);
                    *weight += 0.5 * f64::from(noise * noise + v - z * z);
                }
            }
            let input = self.decoder_input(&drawn, &tile.conditions);
            let outputs = self.decode(networks, &input);
            let outputs = outputs.last().map_or(&[][..], Vec::as_slice);
            let numbers = pixels * self.config.outputs();
            let pairs = (outputs.chunks_exact(numbers)).zip(tile.pixels.chunks_exact(pixels));
            for (place, (outputs, x)) in pairs.enumerate() {
                let unit = self.config.loss.unit as f32;
                weights[place * samples + sample] -= nll(mixture, (x, unit), outputs, None);
            }
        }
        weights
    }
}

impl Bound {
    /// Of logarithms of weights, at least one.
    fn of(log_weights: &[f64]) -> Self {
        let count = log_weights.len() as f64;
        let largest = log_weights.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let weights = log_weights.iter().map(|w| (w - largest).exp());
        let mean = weights.clone().sum::<f64>() / count;
        let squares: f64 = weights.map(|w| (w / mean - 1.0).powi(2)).sum();
        Self {
            evidence: log_weights.iter().sum::<f64>() / count,
            weighted: largest + mean.ln(),
            error: (squares / (count - 1.0).max(1.0) / count).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_means_of_weights() {
        let bound = Bound::of(&[-800.0, -800.0 + 3f64.ln()]);
        assert!((bound.evidence - (-800.0 + 0.5 * 3f64.ln())).abs() < 1e-12);
        assert!((bound.weighted - (-800.0 + 2f64.ln())).abs() < 1e-12);
        // Weights 1 and 3: mean 2, standard deviation sqrt(2), of the mean 1; relative 1/2.
        assert!((bound.error - 0.5).abs() < 1e-12);
        let one = Bound::of(&[-3.5]);
        assert_eq!([one.evidence, one.weighted, one.error], [-3.5, -3.5, 0.0]);
    }
}
