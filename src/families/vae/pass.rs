//! The loss of some images, and its derivatives.
//!
//! L = perceptual + divergence + Bernoulli (arXiv:2009.04842), each times its weight; x in units of `loss.unit`, p the decoder's image:
//! - perceptual: sum over the classifier's first two layers of |F(x) - F(p)|^2 / (2 C W H);
//! - divergence: 1/2 sum (e^v + m^2 - 1 - v) over the code's means m and log variances v;
//! - Bernoulli: - sum t ln q + (1 - t) ln (1 - q) over the pixels, t = min(x, 1), q = p held between 1e-7 and 1 - 1e-7, as Keras does.

use super::Vae;
use super::network::Part;
use super::sparse::nll;
use super::terms::Terms;
use crate::nn::chain::{Chain, Ready};

/// Images that pass the networks together: enough that weights are read for several of them, few enough to stay in a cache.
pub(super) const TILE: usize = 8;
/// How near to 0 and 1 a pixel's chance comes in the Bernoulli term: Keras' epsilon.
const EDGE: f32 = 1e-7;

/// The networks' parameters, ordered for their products.
pub(super) struct Networks {
    encoder: Vec<Ready>,
    decoder: Vec<Ready>,
    features: Vec<Ready>,
    /// Of a sparse decoder, where it draws.
    gates: Option<Ready>,
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
    /// Which part of its scales each image is seen at, where they are told their totals.
    pub parts: Vec<f64>,
}

/// What the encoder finds.
pub(super) struct Codes {
    /// Means and log variances, `[images, 2 latents]`.
    pub values: Vec<f32>,
    input: Vec<f32>,
    outputs: Vec<Vec<f32>>,
}

/// What [`Vae::forward`] found, and what its derivatives need of it.
pub(super) struct Passed {
    /// Of each image.
    pub terms: Vec<Terms>,
    codes: Codes,
    /// What the decoder was given, and what each of its layers gave.
    input: Vec<f32>,
    outputs: Vec<Vec<f32>>,
    /// What each layer of the classifier gave of the decoder's images; how far that is from what it gives of the true ones.
    features: Vec<Vec<f32>>,
    differences: Vec<(Vec<f32>, usize)>,
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

impl Vae {
    /// Order `parameters`, for derivatives too where they are wanted.
    pub(super) fn ready(&self, parameters: &[Vec<f32>], backwards: bool) -> Networks {
        let network = &self.network;
        let of = |chain: &Chain, part: Part, first: usize| {
            let first = if backwards { first } else { usize::MAX };
            chain.ready(&parameters[network.range(part)], first)
        };
        let gates = (network.gates.as_ref().filter(|_| !backwards)).and_then(|gates| {
            let [.., weights, bias] = &parameters[network.range(Part::Decoder)] else {
                return None;
            };
            let of_gates: Vec<f32> = weights.iter().step_by(bias.len()).copied().collect();
            Some(gates.ready([&of_gates, &bias[..1]], false))
        });
        Networks {
            gates,
            // What an image should have been is nobody's question.
            encoder: of(&network.encoder, Part::Encoder, 1),
            decoder: of(&network.decoder, Part::Decoder, 0),
            features: of(&network.features, Part::Features, 0),
        }
    }

    /// The codes of a tile's images.
    pub(super) fn codes(&self, networks: &Networks, tile: &Tile) -> Codes {
        let network = &self.network;
        let input = encoder_input(tile, network.conditions, self.pixels());
        let outputs = network.encoder.forward(&networks.encoder, &input);
        let values = outputs.last().cloned().unwrap_or_default();
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
    pub(super) fn decode(&self, networks: &Networks, input: &[f32]) -> Vec<Vec<f32>> {
        self.network.decoder.forward(&networks.decoder, input)
    }

    /// What the decoder's layers but the last give, then the gates of all pixels: of a sparse decoder that draws.
    pub(super) fn decode_gates(&self, networks: &Networks, input: &[f32]) -> [Vec<f32>; 2] {
        let (network, last) = (&self.network, self.network.decoder.0.len() - 1);
        let mut before = (network.decoder).forward(&networks.decoder[..last], input);
        let under = before.pop().unwrap_or_default();
        let gates = match (&network.gates, &networks.gates) {
            (Some(gates), Some(ready)) => gates.forward(ready, &under),
            _ => Vec::new(),
        };
        [under, gates]
    }

    /// All that the last layer of a sparse decoder gives for `pixels` of one image, of which the layer below gives `under`.
    pub(super) fn decode_pixels(
        &self,
        networks: &Networks,
        under: &[f32],
        pixels: &[usize],
    ) -> Vec<f32> {
        match (self.network.decoder.0.last(), networks.decoder.last()) {
            (Some(layer), Some(ready)) => layer.forward_at(ready, under, pixels),
            _ => Vec::new(),
        }
    }

    /// The images of `tile` through all networks.
    pub(super) fn forward(&self, networks: &Networks, tile: &Tile) -> Passed {
        let network = &self.network;
        let (latents, pixels) = (network.latents, self.pixels());
        let codes = self.codes(networks, tile);
        let mut terms = vec![Terms::default(); codes.values.len() / (2 * latents)];
        let mut drawn = Vec::with_capacity(tile.noise.len());
        for (terms, (code, noise)) in terms
            .iter_mut()
            .zip((codes.values.chunks_exact(2 * latents)).zip(tile.noise.chunks_exact(latents)))
        {
            let (means, variances) = code.split_at(latents);
            for ((m, v), noise) in means.iter().zip(variances).zip(noise) {
                drawn.push(m + (0.5 * v).exp() * noise);
                terms.divergence += f64::from(0.5 * (v.exp() + m * m - 1.0 - v));
            }
        }
        let input = self.decoder_input(&drawn, &tile.conditions);
        let outputs = self.decode(networks, &input);
        let images = outputs.last().map_or(&[][..], Vec::as_slice);
        let unit = self.config.loss.unit as f32;
        let pairs = images
            .chunks_exact(pixels * self.config.outputs())
            .zip(tile.pixels.chunks_exact(pixels));
        for (place, (terms, (p, x))) in terms.iter_mut().zip(pairs).enumerate() {
            terms.bernoulli = match &self.mixture {
                Some(mixture) => nll(mixture, (x, unit, tile.parts.get(place).copied()), p, None),
                None => p.iter().zip(x).map(|(p, x)| cross_entropy(*p, *x)).sum(),
            };
        }
        // Without a classifier there are no layers, and no features.
        let of_true = (network.features).forward(&networks.features, &tile.pixels);
        let of_made = network.features.forward(&networks.features, images);
        let differences = differences(&network.features, [&of_true, &of_made]);
        for (of_layer, numbers) in &differences {
            for (terms, difference) in terms.iter_mut().zip(of_layer.chunks_exact(*numbers)) {
                let squares = difference.iter().map(|d| f64::from(*d) * f64::from(*d));
                terms.perceptual += squares.sum::<f64>() / (2 * numbers) as f64;
            }
        }
        Passed {
            terms,
            codes,
            input,
            outputs,
            features: of_made,
            differences,
        }
    }

    /// Write the derivatives of the sum of the images' losses, each times its number in `scales`, to `gradients`: by the tensors of encoder and
    /// decoder. The terms of the losses.
    pub(super) fn backward(
        &self,
        networks: &Networks,
        tile: &Tile,
        passed: Passed,
        scales: &[f32],
        gradients: &mut [Vec<f32>],
    ) -> Vec<Terms> {
        let (network, weights) = (&self.network, &self.config.loss);
        let (latents, pixels) = (network.latents, self.pixels());
        let images = passed.outputs.last().map_or(&[][..], Vec::as_slice);
        let mut by_image = vec![0.0; images.len()];
        if self.config.compares_features() {
            let derivatives = passed
                .differences
                .into_iter()
                .map(|(mut of_layer, numbers)| {
                    for (difference, scale) in of_layer.chunks_exact_mut(numbers).zip(scales) {
                        let scale = weights.perceptual as f32 * scale / numbers as f32;
                        difference.iter_mut().for_each(|d| *d *= scale);
                    }
                    Some(of_layer)
                });
            let through = (images, &passed.features[..]);
            let by_features = derivatives.collect();
            by_image = (network.features)
                .backward(&networks.features, through, by_features, None)
                .unwrap_or(by_image);
        }
        let numbers = pixels * self.config.outputs();
        let pairs = images
            .chunks_exact(numbers)
            .zip(tile.pixels.chunks_exact(pixels));
        let each = by_image.chunks_exact_mut(numbers).zip(pairs.zip(scales));
        for (place, (by_image, ((p, x), scale))) in each.enumerate() {
            let scale = weights.bernoulli as f32 * scale;
            if let Some(mixture) = &self.mixture {
                let x = (x, weights.unit as f32, tile.parts.get(place).copied());
                nll(mixture, x, p, Some(by_image));
                by_image.iter_mut().for_each(|d| *d *= scale);
                continue;
            }
            for (by_image, (p, x)) in by_image.iter_mut().zip(p.iter().zip(x)) {
                *by_image += scale * slope_of_cross_entropy(*p, *x);
            }
        }
        let range = network.range(Part::Decoder);
        let by_input = network.decoder.backward(
            &networks.decoder,
            (&passed.input, &passed.outputs),
            vec![None, None, None, Some(by_image)],
            Some(&mut gradients[range]),
        );
        let by_input = by_input.unwrap_or_default();
        let mut by_codes = Vec::with_capacity(passed.codes.values.len());
        let codes = passed.codes.values.chunks_exact(2 * latents);
        let by_input = by_input.chunks_exact(latents + network.conditions);
        let noise = tile.noise.chunks_exact(latents);
        for (((code, by_input), noise), scale) in codes.zip(by_input).zip(noise).zip(scales) {
            let scale = weights.divergence as f32 * scale;
            let (means, variances) = code.split_at(latents);
            by_codes.extend(by_input.iter().zip(means).map(|(d, m)| d + scale * m));
            let each = by_input.iter().zip(variances).zip(noise);
            by_codes.extend(each.map(|((d, v), noise)| {
                0.5 * (d * noise * (0.5 * v).exp() + scale * (v.exp() - 1.0))
            }));
        }
        let range = network.range(Part::Encoder);
        network.encoder.backward(
            &networks.encoder,
            (&passed.codes.input, &passed.codes.outputs),
            vec![None, None, None, Some(by_codes)],
            Some(&mut gradients[range]),
        );
        passed.terms
    }
}

/// F(p) - F(x) of each layer, and the numbers of an image's features there; of what each layer gave of x and of p.
fn differences(features: &Chain, [of_x, of_p]: [&[Vec<f32>]; 2]) -> Vec<(Vec<f32>, usize)> {
    let layers = features.0.iter().zip(of_x.iter().zip(of_p));
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
    use crate::families::vae::{Config, LossConfig, NetworkConfig, PerceptualConfig};
    use crate::likelihood::{LikelihoodConfig, SpaceName};

    /// A small model whose decoder gives pixels around 0.4, or gates and mixtures.
    fn vae(likelihood: Option<LikelihoodConfig>) -> Vae {
        let sparse = likelihood.is_some();
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
                perceptual: if sparse { 0.0 } else { 0.8 },
                divergence: 1.2,
                bernoulli: if sparse { 1.0 } else { 0.7 },
                ..LossConfig::default()
            },
            likelihood,
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
        match sparse {
            false => vae.parameters[pixels] = vec![0.4],
            true => vae.parameters[pixels]
                .iter_mut()
                .enumerate()
                .for_each(|(i, b)| *b = number(i)),
        }
        vae
    }

    fn number(i: usize) -> f32 {
        ((i * 7919 + 13) % 101) as f32 / 101.0
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        derivatives_agree(&vae(None), Vec::new());
        let sparse = vae(Some(LikelihoodConfig::Dc {
            components: 2,
            space: SpaceName::Log,
            unit: 30.0,
            lower: Some(0.01),
            upper: None,
        }));
        derivatives_agree(&sparse, Vec::new());
        derivatives_agree(&sparse, vec![0.2, 0.9, 0.5]);
    }

    fn derivatives_agree(vae: &Vae, parts: Vec<f64>) {
        let (images, pixels) = (3, vae.pixels());
        let mut tile = Tile {
            pixels: (0..images * pixels)
                .map(|i| if i % 3 == 0 { 0.0 } else { 0.8 * number(i) })
                .collect(),
            conditions: vec![1.0, -1.0, 1.0],
            noise: (0..images * 3).map(|i| 2.0 * number(i + 7) - 1.0).collect(),
            parts,
        };
        // Above the unit.
        tile.pixels[4] = 1.7;
        let scales = [0.5, 1.0, 0.25];
        let loss = |parameters: &[Vec<f32>]| -> f64 {
            let terms = vae.forward(&vae.ready(parameters, false), &tile).terms;
            let each = terms.iter().zip(scales);
            each.map(|(t, s)| f64::from(s) * t.loss(&vae.config.loss))
                .sum()
        };
        let learns = vae.network.range(Part::Features).start;
        let mut gradients: Vec<Vec<f32>> = (vae.parameters[..learns].iter())
            .map(|p| vec![0.0; p.len()])
            .collect();
        let networks = vae.ready(&vae.parameters, true);
        let passed = vae.forward(&networks, &tile);
        vae.backward(&networks, &tile, passed, &scales, &mut gradients);
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
