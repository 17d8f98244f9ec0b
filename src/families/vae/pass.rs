//! The loss of some images, and its derivatives.
//!
//! L = perceptual + divergence + Bernoulli (arXiv:2009.04842), each times its weight; x in units of `loss.unit`, p the decoder's image:
//! - perceptual: sum over the classifier's first two layers of |F(x) - F(p)|^2 / (2 C W H);
//! - divergence: 1/2 sum (e^v + m^2 - 1 - v) over the code's means m and log variances v;
//! - Bernoulli: - sum t ln q + (1 - t) ln (1 - q) over the pixels, t = min(x, 1), q = p held between 1e-7 and 1 - 1e-7, as Keras does.

use super::network::{Network, Part};
use super::{LossConfig, Vae};
use crate::family::TOGETHER;
use crate::nn::chain::Chain;

/// Images that pass the networks together: enough for wide matrix products, few enough to stay in a cache. A part of
/// [`TOGETHER`].
pub(super) const TILE: usize = 8;
const _: () = assert!(TOGETHER.is_multiple_of(TILE));
/// How near to 0 and 1 a pixel's chance comes in the Bernoulli term: Keras' epsilon.
const EDGE: f32 = 1e-7;

/// The terms of an image's loss, without their weights.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Terms {
    pub perceptual: f64,
    pub divergence: f64,
    pub bernoulli: f64,
}

impl Terms {
    /// Each of them, by name, times its weight.
    pub fn weighted(&self, weights: &LossConfig) -> [(&'static str, f64); 3] {
        [
            ("perceptual", weights.perceptual * self.perceptual),
            ("divergence", weights.divergence * self.divergence),
            ("bernoulli", weights.bernoulli * self.bernoulli),
        ]
    }

    /// Their sum, weighted.
    pub fn loss(&self, weights: &LossConfig) -> f64 {
        self.weighted(weights).iter().map(|(_, term)| term).sum()
    }

    pub fn plus(self, other: &Self) -> Self {
        Self {
            perceptual: self.perceptual + other.perceptual,
            divergence: self.divergence + other.divergence,
            bernoulli: self.bernoulli + other.bernoulli,
        }
    }
}

/// Some images and what belongs to them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tile {
    /// Pixels in units of `loss.unit`, `[images, pixels]`.
    pub pixels: Vec<f32>,
    /// What they are told, `[images, conditions]`.
    pub conditions: Vec<f32>,
    /// Normal numbers, `[images, latents]`.
    pub noise: Vec<f32>,
}

/// What the encoder finds.
pub(super) struct Codes {
    /// Means and log variances, `[images, 2 latents]`.
    pub values: Vec<f32>,
    input: Vec<f32>,
    outputs: Vec<Vec<f32>>,
}

/// Pixels and conditions as the channels of an image.
fn encoder_input(tile: &Tile, conditions: usize, pixels: usize) -> Vec<f32> {
    let mut input = Vec::with_capacity(tile.pixels.len() * (1 + conditions));
    for (image, pixels) in tile.pixels.chunks_exact(pixels).enumerate() {
        let told = &tile.conditions[image * conditions..][..conditions];
        for pixel in pixels {
            input.push(*pixel);
            input.extend_from_slice(told);
        }
    }
    input
}

/// The tensors of a part.
fn of(parameters: &[Vec<f32>], network: &Network, part: Part) -> std::ops::Range<usize> {
    debug_assert!(parameters.len() >= network.range(part).end);
    network.range(part)
}

impl Vae {
    pub(super) fn encode(&self, parameters: &[Vec<f32>], tile: &Tile) -> Codes {
        let network = &self.network;
        let input = encoder_input(tile, network.conditions, self.pixels());
        let range = of(parameters, network, Part::Encoder);
        let mut outputs = network.encoder.forward(&parameters[range], &input);
        let values = outputs.last_mut().map(|o| o.clone()).unwrap_or_default();
        Codes {
            values,
            input,
            outputs,
        }
    }

    /// What the decoder is given: codes `[images, latents]` and conditions, side by side.
    pub(super) fn decoder_input(&self, codes: &[f32], conditions: &[f32]) -> Vec<f32> {
        let (latents, told) = (self.network.latents, self.network.conditions);
        let mut input = Vec::with_capacity(codes.len() + conditions.len());
        for (image, code) in codes.chunks_exact(latents).enumerate() {
            input.extend_from_slice(code);
            input.extend_from_slice(&conditions[image * told..][..told]);
        }
        input
    }

    /// What each layer of the decoder gives; the last one the images, in units of `loss.unit`.
    pub(super) fn decode(&self, parameters: &[Vec<f32>], input: &[f32]) -> Vec<Vec<f32>> {
        let range = of(parameters, &self.network, Part::Decoder);
        self.network.decoder.forward(&parameters[range], input)
    }

    /// The loss of each image of `tile`; with `gradients`, the derivatives of the sum of the images' losses, each times its number
    /// in `scales`, are added to them.
    pub(super) fn losses(
        &self,
        parameters: &[Vec<f32>],
        tile: &Tile,
        gradients: Option<(&mut [Vec<f32>], &[f32])>,
    ) -> Vec<Terms> {
        let (network, weights) = (&self.network, &self.config.loss);
        let (latents, pixels) = (network.latents, self.pixels());
        let codes = self.encode(parameters, tile);
        let mut terms = vec![Terms::default(); codes.values.len() / (2 * latents)];
        let mut drawn = Vec::with_capacity(tile.noise.len());
        for (image, (code, noise)) in (codes.values.chunks_exact(2 * latents))
            .zip(tile.noise.chunks_exact(latents))
            .enumerate()
        {
            let (means, variances) = code.split_at(latents);
            for ((m, v), noise) in means.iter().zip(variances).zip(noise) {
                drawn.push(m + (0.5 * v).exp() * noise);
                terms[image].divergence += f64::from(0.5 * (v.exp() + m * m - 1.0 - v));
            }
        }
        let input = self.decoder_input(&drawn, &tile.conditions);
        let outputs = self.decode(parameters, &input);
        let images = outputs.last().map_or(&[][..], Vec::as_slice);
        for (image, (p, x)) in (images.chunks_exact(pixels))
            .zip(tile.pixels.chunks_exact(pixels))
            .enumerate()
        {
            terms[image].bernoulli = p.iter().zip(x).map(|(p, x)| cross_entropy(*p, *x)).sum();
        }
        let features = of(parameters, network, Part::Features);
        let features = &parameters[features];
        let seen = [tile.pixels.as_slice(), images].map(|x| network.features.forward(features, x));
        let differences = differences(&network.features, &seen);
        for (of_layer, numbers) in &differences {
            for (terms, difference) in terms.iter_mut().zip(of_layer.chunks_exact(*numbers)) {
                let sum: f64 = difference
                    .iter()
                    .map(|d| f64::from(*d) * f64::from(*d))
                    .sum();
                terms.perceptual += sum / (2 * numbers) as f64;
            }
        }
        let Some((gradients, scales)) = gradients else {
            return terms;
        };

        let scale_of = |weight: f64, image: usize| weight as f32 * scales[image];
        let mut by_image = vec![0.0; images.len()];
        if self.config.compares_features() {
            let derivatives = differences.into_iter().map(|(mut of_layer, numbers)| {
                for (image, difference) in of_layer.chunks_exact_mut(numbers).enumerate() {
                    let scale = scale_of(weights.perceptual, image) / numbers as f32;
                    difference.iter_mut().for_each(|d| *d *= scale);
                }
                Some(of_layer)
            });
            let derivatives = derivatives.collect();
            let passed = (images, &seen[1][..]);
            by_image = (network.features).backward(features, passed, derivatives, None, true);
        }
        for (image, (by_image, (p, x))) in (by_image.chunks_exact_mut(pixels))
            .zip(
                images
                    .chunks_exact(pixels)
                    .zip(tile.pixels.chunks_exact(pixels)),
            )
            .enumerate()
        {
            let scale = scale_of(weights.bernoulli, image);
            for (by_image, (p, x)) in by_image.iter_mut().zip(p.iter().zip(x)) {
                *by_image += scale * slope_of_cross_entropy(*p, *x);
            }
        }
        let range = of(parameters, network, Part::Decoder);
        let by_input = network.decoder.backward(
            &parameters[range.clone()],
            (&input, &outputs),
            vec![None, None, None, Some(by_image)],
            Some(&mut gradients[range]),
            true,
        );
        let mut by_codes = Vec::with_capacity(codes.values.len());
        for (image, (code, noise)) in (codes.values.chunks_exact(2 * latents))
            .zip(tile.noise.chunks_exact(latents))
            .enumerate()
        {
            let scale = scale_of(weights.divergence, image);
            let (means, variances) = code.split_at(latents);
            let by_drawn = &by_input[image * (latents + network.conditions)..][..latents];
            by_codes.extend(by_drawn.iter().zip(means).map(|(d, m)| d + scale * m));
            by_codes.extend(
                (by_drawn.iter().zip(variances).zip(noise)).map(|((d, v), noise)| {
                    0.5 * (d * noise * (0.5 * v).exp() + scale * (v.exp() - 1.0))
                }),
            );
        }
        let range = of(parameters, network, Part::Encoder);
        network.encoder.backward(
            &parameters[range.clone()],
            (&codes.input, &codes.outputs),
            vec![None, None, None, Some(by_codes)],
            Some(&mut gradients[range]),
            false,
        );
        terms
    }
}

/// F(p) - F(x) of each layer, and the numbers of an image's features there.
fn differences(features: &Chain, seen: &[Vec<Vec<f32>>; 2]) -> Vec<(Vec<f32>, usize)> {
    let layers = features.0.iter().zip(seen[0].iter().zip(&seen[1]));
    layers
        .map(|(layer, (of_x, of_p))| {
            let difference = of_p.iter().zip(of_x).map(|(p, x)| p - x);
            (difference.collect(), layer.output.numbers())
        })
        .collect()
}

fn cross_entropy(p: f32, x: f32) -> f64 {
    let (q, t) = (p.clamp(EDGE, 1.0 - EDGE), x.min(1.0));
    match t > 0.0 {
        true => f64::from(-t * q.ln() - (1.0 - t) * (-q).ln_1p()),
        false => f64::from(-(-q).ln_1p()),
    }
}

/// By p: 0 where it is held.
fn slope_of_cross_entropy(p: f32, x: f32) -> f32 {
    match (EDGE..=1.0 - EDGE).contains(&p) {
        true => (p - x.min(1.0)) / (p * (1.0 - p)),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::ConditionConfig;
    use crate::data::ImageSize;
    use crate::families::vae::{Config, NetworkConfig, PerceptualConfig};

    /// A small model whose decoder gives pixels around 0.4.
    fn vae() -> Vae {
        let config = Config {
            network: NetworkConfig {
                latents: 3,
                filters: [2, 3, 2],
            },
            perceptual: PerceptualConfig {
                filters: [2, 3, 2],
                units: [3, 2],
                ..PerceptualConfig::default()
            },
            loss: LossConfig {
                perceptual: 0.8,
                divergence: 1.2,
                bernoulli: 0.7,
                ..LossConfig::default()
            },
            ..Config::default()
        };
        let condition = ConditionConfig {
            names: vec!["signal".into()],
            ..ConditionConfig::default()
        };
        let size = ImageSize {
            height: 9,
            width: 5,
        };
        let mut vae = Vae::new(config.resolve(size, condition).unwrap());
        vae.config.check().unwrap();
        vae.parameters = vae.network.initial(3);
        let pixels = vae.network.range(Part::Decoder).end - 1;
        vae.parameters[pixels] = vec![0.4];
        vae
    }

    fn number(i: usize) -> f32 {
        ((i * 7919 + 13) % 101) as f32 / 101.0
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let vae = vae();
        let (images, pixels) = (3, vae.pixels());
        let mut tile = Tile {
            pixels: (0..images * pixels)
                .map(|i| if i % 3 == 0 { 0.0 } else { 0.8 * number(i) })
                .collect(),
            conditions: vec![1.0, -1.0, 1.0],
            noise: (0..images * 3).map(|i| 2.0 * number(i + 7) - 1.0).collect(),
        };
        // Above the unit.
        tile.pixels[4] = 1.7;
        let scales = [0.5, 1.0, 0.25];
        let loss = |parameters: &[Vec<f32>]| -> f64 {
            let terms = vae.losses(parameters, &tile, None);
            let each = terms.iter().zip(scales);
            each.map(|(t, s)| f64::from(s) * t.loss(&vae.config.loss))
                .sum()
        };
        let learns = vae.network.range(Part::Features).start;
        let mut gradients: Vec<Vec<f32>> = (vae.parameters[..learns].iter())
            .map(|p| vec![0.0; p.len()])
            .collect();
        vae.losses(&vae.parameters, &tile, Some((&mut gradients, &scales)));
        for (tensor, gradient) in gradients.iter().enumerate() {
            // Along the derivative itself, and along signs that have nothing to do with it.
            let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            assert!(norm > 0.05, "tensor {tensor}: {norm}");
            let along: Vec<f32> = gradient.iter().map(|g| g / norm).collect();
            let size = (gradient.len() as f32).sqrt();
            let across: Vec<f32> = (0..gradient.len())
                .map(|i| if number(i) > 0.5 { 1.0 } else { -1.0 } / size)
                .collect();
            for direction in [along, across] {
                const H: f32 = 1e-3;
                let at = |h: f32| {
                    let mut moved = vae.parameters.clone();
                    let each = moved[tensor].iter_mut().zip(&direction);
                    each.for_each(|(p, d)| *p += h * d);
                    loss(&moved)
                };
                let found = (at(H) - at(-H)) / (2.0 * f64::from(H));
                let want: f64 = (gradient.iter().zip(&direction))
                    .map(|(g, d)| f64::from(g * d))
                    .sum();
                let error = (found - want).abs();
                assert!(
                    error < 0.02 * f64::from(norm) + 1e-3,
                    "tensor {tensor}: {found} {want}"
                );
            }
        }
    }

    #[test]
    fn pixels_beyond_0_and_1_have_a_loss() {
        assert_eq!(cross_entropy(0.0, 0.0), f64::from(-(-EDGE).ln_1p()));
        assert!((cross_entropy(0.0, 0.5) - 0.5 * 16.118).abs() < 1e-3);
        // Brighter than the unit is as bright as the unit.
        assert_eq!(cross_entropy(0.7, 2.5), cross_entropy(0.7, 1.0));
        assert!(cross_entropy(3.0, 2.5) < 1e-6);
        assert_eq!(slope_of_cross_entropy(3.0, 2.5), 0.0);
        assert_eq!(slope_of_cross_entropy(0.0, 0.5), 0.0);
        assert!((slope_of_cross_entropy(0.5, 0.25) - 1.0).abs() < 1e-6);
    }
}
