//! Encoder, decoder and classifier of the jet VAE (arXiv:2009.04842).

use super::ModelConfig;
use super::config::NetworkConfig;
use crate::family::TensorInfo;
use crate::nn::Size;
use crate::nn::chain::{Activation, Chain, Layer, Padding};

/// Keras' LeakyReLU, which the paper has.
const LEAKY: Activation = Activation::Leaky(0.3);

/// The networks of a model. All numbers are in the order of [`tensors`](Self::tensors).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Network {
    /// Image and conditions, as channels, to the means and log variances of a code.
    pub encoder: Chain,
    /// A code and conditions to an image.
    pub decoder: Chain,
    /// The gates alone of a sparse decoder's last layer.
    pub gates: Option<Layer>,
    /// An image to the features that it is compared by; without layers where there is no classifier.
    pub features: Chain,
    /// These features to the log odds of a class.
    pub head: Chain,
    /// Numbers of a code.
    pub latents: usize,
    /// Numbers that it is told besides.
    pub conditions: usize,
}

/// Parts of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Encoder,
    Decoder,
    Features,
    Head,
}

fn units(count: usize) -> Size {
    Size {
        height: 1,
        width: 1,
        channels: count,
    }
}

impl Network {
    /// The networks of a configuration that has been checked.
    pub fn new(config: &ModelConfig) -> Self {
        let NetworkConfig { latents, filters } = &config.network;
        let conditions = config.condition.names.len();
        let pixels = |channels: usize| Size {
            height: config.image.height,
            width: config.image.width,
            channels,
        };
        let same = |from: Size, filters: usize, side: usize, stride: usize| {
            Layer::convolution(from, filters, (side, stride, Padding::Same), LEAKY)
        };
        let encoder = || {
            let first = same(pixels(1 + conditions), filters[0], 3, 1)?;
            let second = same(first.output, filters[1], 3, 2)?;
            let third = same(second.output, filters[2], 3, 2)?;
            let codes = Layer::dense(third.output, units(2 * latents), Activation::None);
            Some(vec![first, second, third, codes])
        };
        let decoder = || {
            let base = Size {
                height: config.image.height.div_ceil(4),
                width: config.image.width.div_ceil(4),
                channels: filters[2],
            };
            let first = Layer::dense(units(latents + conditions), base, Activation::None);
            let second = Layer::transposed(base, filters[1], (3, 2), LEAKY)?;
            let third = Layer::transposed(second.output, filters[0], (3, 2), LEAKY)?;
            let activation = match config.likelihood {
                Some(_) => Activation::None,
                None => Activation::Relu,
            };
            let window = (4, 1, Padding::Valid);
            let pixels = Layer::convolution(third.output, config.outputs(), window, activation)?;
            Some(vec![first, second, third, pixels])
        };
        let classifier = || {
            let p = &config.perceptual;
            let first = same(pixels(1), p.filters[0], 11, 2)?;
            let second = same(first.output, p.filters[1], 5, 2)?;
            let third = same(second.output, p.filters[2], 5, 2)?;
            let fourth = Layer::dense(third.output, units(p.units[0]), LEAKY);
            let fifth = Layer::dense(fourth.output, units(p.units[1]), LEAKY);
            let odds = Layer::dense(fifth.output, units(1), Activation::None);
            Some((vec![first, second], vec![third, fourth, fifth, odds]))
        };
        let classifier = config.compares_features().then(classifier).flatten();
        let (features, head) = classifier.unwrap_or_default();
        // The sizes that are checked are those that the decoder makes: its windows fit.
        let decoder = decoder().unwrap_or_default();
        let gates = |last: &Layer| {
            Layer::convolution(last.input, 1, (4, 1, Padding::Valid), Activation::None)
        };
        let is_sparse = config.likelihood.is_some();
        Self {
            gates: (decoder.last().filter(|_| is_sparse)).and_then(gates),
            encoder: Chain(encoder().unwrap_or_default()),
            decoder: Chain(decoder),
            features: Chain(features),
            head: Chain(head),
            latents: *latents,
            conditions,
        }
    }

    /// The layers of a part.
    pub fn chain(&self, part: Part) -> &Chain {
        match part {
            Part::Encoder => &self.encoder,
            Part::Decoder => &self.decoder,
            Part::Features => &self.features,
            Part::Head => &self.head,
        }
    }

    fn parts(&self) -> [(Part, &'static str, &Chain); 4] {
        [
            (Part::Encoder, "encoder", &self.encoder),
            (Part::Decoder, "decoder", &self.decoder),
            (Part::Features, "features", &self.features),
            (Part::Head, "head", &self.head),
        ]
    }

    /// Where the tensors of a part lie among all.
    pub fn range(&self, part: Part) -> std::ops::Range<usize> {
        let mut start = 0;
        for (here, _, chain) in self.parts() {
            let end = start + 2 * chain.0.len();
            if here == part {
                return start..end;
            }
            start = end;
        }
        start..start
    }

    /// All tensors.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let parts = self.parts();
        let all = parts.iter().flat_map(|(_, name, chain)| {
            chain
                .shapes()
                .into_iter()
                .enumerate()
                .map(move |(i, shape)| TensorInfo {
                    name: format!("{name}.{}.{}", i / 2, ["weight", "bias"][i % 2]),
                    unmasked: shape.iter().product(),
                    shape,
                })
        });
        all.collect()
    }

    /// Numbers of an image between all layers, and what their products need besides.
    pub fn numbers(&self) -> usize {
        let layers = self.parts().into_iter().flat_map(|(_, _, chain)| &chain.0);
        layers
            .map(|layer| layer.output.numbers() + layer.between())
            .sum()
    }

    /// What training starts from.
    pub fn initial(&self, seed: u64) -> Vec<Vec<f32>> {
        let parts = self.parts();
        let all = parts
            .iter()
            .flat_map(|(part, _, chain)| chain.initial(seed, self.range(*part).start));
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::vae::Config;

    #[test]
    fn parameters_are_those_of_the_paper() {
        let config = Config::default();
        let size = crate::data::ImageSize {
            height: 25,
            width: 25,
        };
        // One-hot labels are two channels there, one standardised number is one here.
        let condition = crate::conditions::ConditionConfig {
            names: vec!["signal".into(), "other".into()],
            ..Default::default()
        };
        let network = Network::new(&config.resolve(size, condition).unwrap());
        let counts = |chain: &Chain| -> Vec<usize> {
            let shapes = chain.shapes();
            shapes
                .chunks(2)
                .map(|pair| pair.iter().map(|s| s.iter().product::<usize>()).sum())
                .collect()
        };
        assert_eq!(counts(&network.encoder), [896, 18_496, 73_856, 150_552]);
        assert_eq!(counts(&network.decoder), [94_080, 73_792, 18_464, 513]);
        // As Keras lists them in the authors' notebook.
        assert_eq!(counts(&network.features), [3_904, 51_264]);
        assert_eq!(counts(&network.head), [102_464, 131_200, 8_256, 65]);
        assert_eq!(network.decoder.0[3].output.numbers(), 625);
        assert_eq!(network.encoder.0[2].output.numbers(), 6272);
        let names: Vec<String> = network.tensors().into_iter().map(|t| t.name).collect();
        assert_eq!(names[network.range(Part::Decoder)][0], "decoder.0.weight");
        assert_eq!(network.range(Part::Head).end, names.len());
    }
}
