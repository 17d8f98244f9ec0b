//! How layers lie on a device: the channels of a pixel are filled up with zeros, and weights lie in the order of the products.

use half::bf16;

use crate::device::cuda::device::Address;
use crate::device::cuda::ops::convolution::{ConvolutionPhase, Sums};
use crate::nn::Size;
use crate::nn::chain::{Layer, LayerSums, Phase};

/// Channels that one copy to shared memory takes: what they are filled up to where nothing wants more.
pub(super) const COPIED: usize = 8;

/// A size whose channels are filled up to a multiple of `unit`.
pub(super) fn filled(size: Size, unit: usize) -> Size {
    Size {
        channels: size.channels.next_multiple_of(unit),
        ..size
    }
}

/// What a layer adds up, or its derivatives, over channels that are filled up.
#[derive(Debug, Clone)]
pub(super) struct FilledSums {
    /// What is read and what is given, as the network has them.
    from: Size,
    to: Size,
    unit: usize,
    side: usize,
    is_dense: bool,
    phases: Vec<Phase>,
    /// What negative sums are multiplied by.
    pub slope: f32,
}

impl FilledSums {
    fn new(sums: LayerSums, from: Size, to: Size, unit: usize) -> Self {
        Self {
            from,
            to,
            unit,
            side: sums.side,
            is_dense: sums.is_dense,
            phases: sums.phases,
            slope: sums.slope,
        }
    }

    /// Of a layer.
    pub fn forward(layer: &Layer, unit: usize) -> Self {
        Self::new(layer.sums(), layer.input, layer.output, unit)
    }

    /// Of its derivatives by what it is given.
    pub fn back(layer: &Layer, unit: usize) -> Self {
        Self::new(layer.sums_back(), layer.output, layer.input, unit)
    }

    /// A size as the kernels see it: the numbers of an image are the channels of one pixel of a dense layer.
    fn seen(&self, size: Size) -> [u32; 3] {
        let filled = filled(size, self.unit);
        let seen = match self.is_dense {
            true => [1, 1, filled.numbers()],
            false => [filled.height, filled.width, filled.channels],
        };
        seen.map(|n| n as u32)
    }

    /// Numbers of an image that it gives.
    pub fn numbers(&self) -> usize {
        filled(self.to, self.unit).numbers()
    }

    /// Channels of the kernel's output: each has a bias.
    pub fn outputs(&self) -> usize {
        self.seen(self.to)[2] as usize
    }

    /// Which of the network's numbers each of these is.
    pub fn output(&self, place: usize) -> Option<usize> {
        self.real(place, self.to.channels)
    }

    /// Of a number of pixels whose channels are filled up, the number that it is without; there are `channels` of a pixel.
    fn real(&self, place: usize, channels: usize) -> Option<usize> {
        let up = channels.next_multiple_of(self.unit);
        let (pixel, channel) = (place / up, place % up);
        (channel < channels).then_some(pixel * channels + channel)
    }

    /// Phases that lie one after another.
    pub fn phases(&self) -> usize {
        self.phases.len()
    }

    /// Weights of all phases, zeros among them.
    pub fn weights(&self) -> usize {
        let per_place = self.outputs() * self.seen(self.from)[2] as usize;
        let places = |phase: &Phase| phase.taps[0].len() * phase.taps[1].len();
        per_place * self.phases.iter().map(places).sum::<usize>()
    }

    /// Place in the window, channel of what is read, channel of what is given, of each weight in the order of the products: phase by
    /// phase `[outputs, places, channels]`. `None` for zeros.
    pub fn elements(&self) -> impl Iterator<Item = Option<[usize; 3]>> {
        let (outputs, channels) = (self.outputs(), self.seen(self.from)[2] as usize);
        self.phases.iter().flat_map(move |phase| {
            let places: Vec<usize> = phase.places_in_window(self.side).collect();
            let each = places.len() * channels;
            (0..outputs * each).map(move |i| {
                let (to, place, from) = (i / each, i % each / channels, i % channels);
                let from = self.real(from, self.from.channels)?;
                Some([places[place], from, self.output(to)?])
            })
        })
    }

    /// The phases of weights, bf16, that begin at `weights`.
    pub fn phases_at(&self, weights: Address) -> Vec<ConvolutionPhase> {
        let per_place = self.outputs() * self.seen(self.from)[2] as usize;
        let mut next = weights;
        let phases = self.phases.iter().map(|phase| {
            let here = next;
            let places = phase.taps.each_ref().map(|taps| taps.len() as u32);
            let weights = per_place * (places[0] * places[1]) as usize;
            next = Address(next.0 + (weights * size_of::<bf16>()) as u64);
            ConvolutionPhase {
                weights: here,
                count: phase.count.map(|n| n as u32),
                from: phase.from.map(|n| n as i32),
                to: phase.to.map(|n| n as u32),
                places,
            }
        });
        phases.collect()
    }

    /// The same as the kernels take it.
    pub fn over<'a>(&self, phases: &'a [ConvolutionPhase]) -> Sums<'a> {
        let first = self.phases.first();
        Sums {
            from_size: self.seen(self.from),
            to_size: self.seen(self.to),
            steps: first.map_or([1; 2], |p| [p.from_step as u32, p.to_step as u32]),
            phases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::chain::{Activation, Padding};

    /// Every weight of the network is one of the products', forwards and backwards.
    #[test]
    fn every_weight_is_in_the_products_once() {
        let input = Size {
            height: 5,
            width: 6,
            channels: 3,
        };
        let relu = Activation::Relu;
        let first = Layer::convolution(input, 9, (3, 2, Padding::Same), relu).unwrap();
        let second = Layer::transposed(first.output, 5, (3, 2), relu).unwrap();
        let units = Size {
            height: 2,
            width: 1,
            channels: 7,
        };
        let third = Layer::dense(second.output, units, relu);
        for layer in [first, second, third] {
            for back in [false, true] {
                let sums = match back {
                    false => FilledSums::forward(&layer, 8),
                    true => FilledSums::back(&layer, 8),
                };
                let mut found: Vec<usize> = (sums.elements().flatten())
                    .map(|[place, from, to]| {
                        layer.weight(if back {
                            [place, to, from]
                        } else {
                            [place, from, to]
                        })
                    })
                    .collect();
                found.sort_unstable();
                let all: usize = layer.shape().iter().product();
                assert_eq!(found, (0..all).collect::<Vec<_>>(), "{back}: {layer:?}");
                let phases = sums.phases_at(Address(0));
                assert_eq!(sums.over(&phases).weights() as usize, sums.weights());
            }
        }
    }
}
