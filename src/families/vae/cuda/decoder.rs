//! The decoder's parameters on a device, in the order of its kernels' products.

use std::sync::Arc;

use half::bf16;

use super::ops::pixels::{Drawn, Output, Pixels, SIDE};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::ops::convolution::{Convolution, ConvolutionPhase, Cut};
use crate::families::vae::Vae;
use crate::families::vae::network::Part;
use crate::family::EngineError;
use crate::nn::Size;
use crate::nn::chain::{Layer, Sums};

/// Channels of a pixel are filled up with zeros to a multiple of this: the terms of one product of the tensor cores.
const CHANNELS: usize = 16;
/// Images that pass together, as far as the choice of a cut knows: it must not depend on how many really do, for an image's bits
/// depend on it.
const TOGETHER: u32 = 512;

fn up(channels: usize) -> usize {
    channels.next_multiple_of(CHANNELS)
}

/// One layer but the last.
struct LayerMemory {
    phases: Vec<ConvolutionPhase>,
    /// What the phases read.
    _weights: Vec<Memory<bf16>>,
    bias: Memory<f32>,
    from_size: [u32; 3],
    to_size: [u32; 3],
    steps: [u32; 2],
    slope: f32,
    cut: Cut,
    /// Numbers of an image that it gives.
    numbers: usize,
}

/// A size with its channels filled up.
fn filled(size: Size) -> [usize; 3] {
    [size.height, size.width, up(size.channels)]
}

/// What a layer gives as its kernel sees it. A dense layer's outputs are the channels of one pixel.
fn to_size(layer: &Layer, sums: &Sums) -> [usize; 3] {
    let filled = filled(layer.output);
    match sums.is_dense {
        true => [1, 1, filled.iter().product()],
        false => filled,
    }
}

/// Of output number `place` of a layer whose channels are filled up, the number that it is without. `channels`: of a pixel.
fn real(place: usize, channels: usize) -> Option<usize> {
    let (pixel, channel) = (place / up(channels), place % up(channels));
    (channel < channels).then_some(pixel * channels + channel)
}

impl LayerMemory {
    fn new(
        device: &Arc<dyn Device>,
        layer: &Layer,
        [weights, bias]: [&[f32]; 2],
    ) -> Result<Self, EngineError> {
        let sums = layer.sums();
        let to_size = to_size(layer, &sums);
        let outputs = to_size[2];
        let output = |place: usize| real(place, layer.output.channels);
        let channels = up(sums.from.channels);
        let (mut phases, mut memory) = (Vec::new(), Vec::new());
        for phase in &sums.phases {
            let places: Vec<usize> = phase.places_in_window(sums.side).collect();
            let mut values = vec![bf16::ZERO; outputs * places.len() * channels];
            for (to, row) in values.chunks_exact_mut(places.len() * channels).enumerate() {
                let Some(to) = output(to) else { continue };
                for (place, row) in places.iter().zip(row.chunks_exact_mut(channels)) {
                    for (from, value) in row[..sums.from.channels].iter_mut().enumerate() {
                        *value = bf16::from_f32(weights[layer.weight([*place, from, to])]);
                    }
                }
            }
            let values = Memory::from(device, &values)?;
            phases.push(ConvolutionPhase {
                weights: values.address(),
                count: phase.count.map(|n| n as u32),
                from: phase.from.map(|n| n as i32),
                to: phase.to.map(|n| n as u32),
                places: phase.taps.each_ref().map(|taps| taps.len() as u32),
            });
            memory.push(values);
        }
        let biases: Vec<f32> = (0..outputs)
            .map(|place| output(place).map_or(0.0, |to| bias[to]))
            .collect();
        let first = sums.phases.first();
        let mut this = Self {
            phases,
            _weights: memory,
            bias: Memory::from(device, &biases)?,
            from_size: filled(sums.from).map(|n| n as u32),
            to_size: to_size.map(|n| n as u32),
            steps: first.map_or([1; 2], |p| [p.from_step as u32, p.to_step as u32]),
            slope: sums.slope,
            cut: Cut::Broad,
            numbers: to_size.iter().product(),
        };
        let layer = this.convolution(Address::NULL, Address::NULL);
        this.cut = layer.cut(TOGETHER);
        Ok(this)
    }

    fn convolution(&self, input: Address, output: Address) -> Convolution<'_> {
        Convolution {
            input,
            from_size: self.from_size,
            bias: self.bias.address(),
            output,
            to_size: self.to_size,
            steps: self.steps,
            slope: self.slope,
            phases: &self.phases,
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
    let given = layers.first().map(|layer| up(layer.input.numbers()));
    let between = layers.iter().take(layers.len().saturating_sub(1));
    given
        .into_iter()
        .chain(between.map(|layer| filled(layer.output).iter().product()))
        .collect()
}

/// Bytes that the parameters of `model` take on a device, about.
pub(super) fn bytes(model: &Vae) -> u64 {
    let layers = model.network.decoder.0.iter();
    let weights = layers.map(|layer| {
        let sums = layer.sums();
        let places: usize = (sums.phases.iter())
            .map(|phase| phase.places_in_window(sums.side).count())
            .sum();
        to_size(layer, &sums)[2] * (2 * places * up(sums.from.channels) + 4)
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
        output.check(filled(last.input), device.properties().shared_per_block)?;
        let (channels, places) = (last.input.channels, SIDE * SIDE);
        let of = |to: usize| {
            (0..places * up(channels)).map(move |term| {
                let (place, from) = (term / up(channels), term % up(channels));
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
            size: filled(last.input),
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
            assert!(pair[1].len() >= drawn.images * layer.numbers);
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
