//! The evidence bound of a sparse decoder, and its importance-weighted version (Burda, Grosse and Salakhutdinov, arXiv:1509.00519).

use rayon::prelude::*;

use super::Vae;
use super::family::cpu;
use super::pass::{Networks, TILE, Tile};
use super::sparse::nll;
use super::total::part;
use crate::conditions::ConditionedImages;
use crate::device::Devices;
use crate::family::{Bound, Bounded, EngineError, check_images};
use crate::likelihood::Mixture;
use crate::random::{Purpose, normal, words};

/// What the codes are drawn under.
const SEED: u64 = 0;

impl Bounded for Vae {
    fn bounds(
        &self,
        devices: &Devices,
        (data, numbers): (&ConditionedImages, &[u64]),
        samples: usize,
    ) -> Result<Vec<Bound>, EngineError> {
        let cpu = cpu(devices)?;
        check_images(self, data)?;
        self.check_range(&data.images)?;
        self.check_totals(data)?;
        if !(1..=Bound::MOST_SAMPLES).contains(&samples) || numbers.len() != data.images.len() {
            return Err(EngineError::Mismatch(format!(
                "a bound takes 1 to {} codes an image, and a number of each image",
                Bound::MOST_SAMPLES
            )));
        }
        let Some(mixture) = &self.mixture else {
            return Err(EngineError::Mismatch(
                "this decoder gives no probabilities".into(),
            ));
        };
        let networks = self.ready(&self.parameters, false);
        let rows: Vec<u32> = (0..data.images.len() as u32).collect();
        Ok(cpu.pool().install(|| {
            (rows.par_chunks(TILE))
                .zip(numbers.par_chunks(TILE))
                .flat_map_iter(|(rows, numbers)| {
                    let tile = self.tile(data, rows);
                    let weights = self.log_weights(&networks, mixture, (&tile, numbers), samples);
                    let bounds = weights.chunks_exact(samples).map(Bound::of);
                    bounds.collect::<Vec<_>>()
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
        (tile, numbers): (&Tile, &[u64]),
        samples: usize,
    ) -> Vec<f64> {
        let (latents, pixels) = (self.network.latents, self.pixels());
        let codes = self.codes(networks, tile).values;
        let mut weights = vec![0.0; numbers.len() * samples];
        for sample in 0..samples {
            let mut drawn = Vec::with_capacity(numbers.len() * latents);
            for (place, (code, image)) in codes.chunks_exact(2 * latents).zip(numbers).enumerate() {
                let (means, variances) = code.split_at(latents);
                let pairs = latents.div_ceil(2) as u32;
                let first = sample as u32 * pairs;
                let noise = (first..first + pairs)
                    .flat_map(|pair| normal(words(SEED, Purpose::Bound, *image, pair)))
                    .map(|v| v as f32);
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
            let of_image = pixels * self.config.outputs();
            let pairs = (outputs.chunks_exact(of_image)).zip(tile.pixels.chunks_exact(pixels));
            for (place, (outputs, x)) in pairs.enumerate() {
                let unit = self.config.loss.unit as f32;
                let part = (self.total())
                    .map(|_| part(SEED, Purpose::Bound, numbers[place], sample as u32));
                weights[place * samples + sample] -= nll(mixture, (x, unit, part), outputs, None);
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
            // Of one code nobody knows.
            error: (squares / (count - 1.0) / count).sqrt(),
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
        assert_eq!([one.evidence, one.weighted], [-3.5, -3.5]);
        assert!(one.error.is_nan());
    }
}
