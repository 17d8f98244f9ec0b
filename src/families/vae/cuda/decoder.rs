//! The decoder's parameters on a device, in the order of its kernels' products.

use std::sync::Arc;

use half::bf16;

use super::filled::{FilledSums, filled};
use super::ops::pixels::{Drawn, Output, Pixels, SIDE};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::ops::convolution::{Convolution, ConvolutionPhase, Cut};
use crate::families::vae::Vae;
use crate::families::vae::network::Part;
use crate::family::EngineError;
use crate::nn::chain::Layer;

/// Channels of a pixel are filled up with zeros to a multiple of this: the terms of one product of the tensor cores.
const CHANNELS: usize = 16;
/// Images that pass together, as far as the choice of a cut knows: it must not depend on how many really do, for an image's bits
/// depend on it.
const TOGETHER: u32 = 512;

/// One layer but the last.
struct LayerMemory {
    sums: FilledSums,
    phases: Vec<ConvolutionPhase>,
    /// What the phases read.
    _weights: Memory<bf16>,
    bias: Memory<f32>,
    cut: Cut,
}

impl LayerMemory {
    fn new(
        device: &Arc<dyn Device>,
        layer: &Layer,
        [weights, bias]: [&[f32]; 2],
    ) -> Result<Self, EngineError> {
        let sums = FilledSums::forward(layer, CHANNELS);
        let of = |element: Option<[usize; 3]>| element.map_or(0.0, |at| weights[layer.weight(at)]);
        let values: Vec<bf16> = (sums.elements())
            .map(|element| bf16::from_f32(of(element)))
            .collect();
        let values = Memory::from(device, &values)?;
        let phases = sums.phases_at(values.address());
        let biases: Vec<f32> = (0..sums.outputs())
            .map(|place| sums.output(place).map_or(0.0, |to| bias[to]))
            .collect();
        Ok(Self {
            cut: sums.over(&phases).cut(TOGETHER),
            phases,
            _weights: values,
            bias: Memory::from(device, &biases)?,
            sums,
        })
    }

    fn convolution(&self, input: Address, output: Address) -> Convolution<'_> {
        Convolution {
            sums: self.sums.over(&self.phases),
            input,
            bias: self.bias.address(),
            addend: Address::NULL,
            seen: Address::NULL,
            output,
            numbers: Address::NULL,
            slope: self.sums.slope,
        }
    }
}

/// A model's decoder on a device.
pub(super) struct Decoder {
    layers: Vec<LayerMemory>,
    /// Of the last layer: its first channel, and the others.
    first_weights: Memory<bf16>,
    weights: Memory<bf16>,
    bias: Memory<f32>,
    output: Output,
    /// What the last layer reads.
    size: [usize; 3],
}

/// Numbers of an image that the decoder of `model` is given, and that each of its layers but the last gives.
pub(in crate::families::vae) fn numbers(model: &Vae) -> Vec<usize> {
    let layers = &model.network.decoder.0;
    let between = layers.iter().take(layers.len().saturating_sub(1));
    let sizes = (layers.first().map(|layer| layer.input)).into_iter();
    (sizes.chain(between.map(|layer| layer.output)))
        .map(|size| filled(size, CHANNELS).numbers())
        .collect()
}

/// Bytes that the parameters of `model` take on a device, about.
pub(super) fn bytes(model: &Vae) -> u64 {
    let layers = model.network.decoder.0.iter();
    let weights = layers.map(|layer| {
        let sums = FilledSums::forward(layer, CHANNELS);
        2 * sums.weights() + 4 * sums.outputs()
    });
    weights.sum::<usize>() as u64
}

impl Decoder {
    /// Send the decoder of `model` to `device`.
    ///
    /// # Errors
    /// Images that are too large for its blocks; too little memory.
    pub fn new(device: &Arc<dyn Device>, model: &Vae) -> Result<Self, EngineError> {
        let parameters = &model.parameters[model.network.range(Part::Decoder)];
        let (pairs, _) = parameters.as_chunks::<2>();
        let layers = model.network.decoder.0.iter().zip(pairs);
        let Some((last, [weights, bias])) = layers.clone().next_back() else {
            return Err(EngineError::Mismatch("the decoder has no layers".into()));
        };
        let loss = &model.config.loss;
        let output = match model.mixture {
            Some(mixture) => Output::Gate {
                mixture,
                smallest: model.lower(),
            },
            None => Output::Pixel {
                unit: loss.unit as f32,
                smallest: loss.lower as f32,
            },
        };
        let size = filled(last.input, CHANNELS);
        let (channels, up) = (last.input.channels, size.channels);
        let (size, places) = ([size.height, size.width, up], SIDE * SIDE);
        output.check(size, device.properties().shared_per_block)?;
        let of = |to: usize| {
            (0..places * up).map(move |term| {
                let (place, from) = (term / up, term % up);
                let there = from < channels && to < bias.len();
                let weight = || weights[last.weight([place, from, to])];
                bf16::from_f32(if there { weight() } else { 0.0 })
            })
        };
        let numbers_up = output.numbers_up();
        let others: Vec<bf16> = (1..=numbers_up).flat_map(of).collect();
        let mut biases = bias.clone();
        biases.resize(1 + numbers_up, 0.0);
        let count = model.network.decoder.0.len() - 1;
        let this = Self {
            layers: (layers.take(count))
                .map(|(layer, [weights, bias])| LayerMemory::new(device, layer, [weights, bias]))
                .collect::<Result<_, _>>()?,
            first_weights: Memory::from(device, &of(0).collect::<Vec<_>>())?,
            weights: Memory::from(device, &others)?,
            bias: Memory::from(device, &biases)?,
            output,
            size,
        };
        Ok(this)
    }

    /// The launches that turn what is in the first of `between` into pixels, by way of the others.
    ///
    /// # Errors
    /// A shape that the kernels do not take.
    pub fn launches(
        &self,
        between: &[Memory<bf16>],
        drawn: Drawn,
    ) -> Result<Vec<Launch>, DeviceError> {
        let mut launches = Vec::with_capacity(self.layers.len() + 1);
        for (layer, pair) in self.layers.iter().zip(between.windows(2)) {
            assert!(pair[1].len() >= drawn.images * layer.sums.numbers());
            let convolution = layer.convolution(pair[0].address(), pair[1].address());
            launches.push(convolution.launch(layer.cut, drawn.images as u32)?);
        }
        let pixels = Pixels {
            input: between.last().map_or(Address::NULL, Memory::address),
            size: self.size,
            first_weights: self.first_weights.address(),
            weights: self.weights.address(),
            bias: self.bias.address(),
            output: self.output,
            drawn,
        };
        launches.push(pixels.launch());
        Ok(launches)
    }
}
