//! Layers on a batch: forward, backward, and what becomes of the derivatives by their weights.

use super::batch::LayerBuffers;
use super::parameters::{LayerPlace, Parameters};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch, Memory};
use crate::device::cuda::ops::convolution::Convolution;
use crate::device::cuda::ops::convolution_update::{Update, UpdateLayer, update};
use crate::device::cuda::ops::convolution_weights::ConvolutionWeights;

/// Where memory lies, if there is any.
pub(super) fn address<T: bytemuck::Pod>(memory: &Option<Memory<T>>) -> Address {
    memory.as_ref().map_or(Address::NULL, Memory::address)
}

/// Layers that follow one another, their buffers, and what the first is given.
#[derive(Clone, Copy)]
pub(super) struct Stretch<'a> {
    pub layers: &'a [LayerPlace],
    pub buffers: &'a [LayerBuffers],
    /// bf16, as the first layer reads it.
    pub input: Address,
}

impl<'a> Stretch<'a> {
    /// Layer `i` alone.
    pub fn one(&self, i: usize) -> Stretch<'a> {
        Stretch {
            layers: &self.layers[i..=i],
            buffers: &self.buffers[i..=i],
            input: self.input_of(i),
        }
    }

    fn input_of(&self, i: usize) -> Address {
        match i.checked_sub(1) {
            None => self.input,
            Some(below) => address(&self.buffers[below].output),
        }
    }
}

/// A batch of `images` images.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub parameters: &'a Parameters,
    pub images: usize,
    /// Images that the cuts and slices of layers are chosen for: those that there is room for, so that a smaller batch has the same.
    pub cut_for: usize,
}

impl Run<'_> {
    fn convolution(&self, convolution: &Convolution) -> Result<Launch, DeviceError> {
        let cut = convolution.sums.cut(self.cut_for as u32);
        convolution.launch(cut, self.images as u32)
    }

    /// All layers, one after another.
    pub fn forward(&self, stretch: Stretch) -> Result<Vec<Launch>, DeviceError> {
        let each = stretch.layers.iter().zip(stretch.buffers).enumerate();
        let launches = each.map(|(i, (layer, buffers))| {
            self.convolution(&Convolution {
                sums: layer.sums.over(&layer.phases),
                input: stretch.input_of(i),
                bias: self.parameters.bias(layer),
                addend: Address::NULL,
                seen: Address::NULL,
                output: address(&buffers.output),
                numbers: address(&buffers.numbers),
                slope: layer.sums.slope,
            })
        });
        launches.collect()
    }

    /// From the derivatives by the sums of layer `i` those by the sums of the layer below, or, of the first one, those by what it is given,
    /// f32, into `to`; nothing where the layer is not asked for them. `adds`: they are added to what is there.
    pub fn back(
        &self,
        stretch: Stretch,
        i: usize,
        adds: bool,
        to: Address,
    ) -> Result<Option<Launch>, DeviceError> {
        let below = i.checked_sub(1);
        let below = below.map(|i| (&stretch.layers[i], &stretch.buffers[i]));
        self.back_into(stretch, i, adds, below, to)
    }

    fn back_into(
        &self,
        stretch: Stretch,
        i: usize,
        adds: bool,
        below: Option<(&LayerPlace, &LayerBuffers)>,
        to: Address,
    ) -> Result<Option<Launch>, DeviceError> {
        let Some((sums, phases)) = stretch.layers[i].back() else {
            return Ok(None);
        };
        let null = Address::NULL;
        let delta = below.map_or(null, |(_, buffers)| address(&buffers.delta));
        let launch = self.convolution(&Convolution {
            sums: sums.over(phases),
            input: address(&stretch.buffers[i].delta),
            bias: null,
            addend: if adds { delta } else { null },
            seen: below.map_or(null, |(_, buffers)| address(&buffers.output)),
            output: delta,
            numbers: if below.is_none() { to } else { null },
            slope: below.map_or(1.0, |(layer, _)| layer.sums.slope),
        })?;
        Ok(Some(launch))
    }

    /// From the derivatives by the sums of the first layer of `above`, which reads what the last one of `under` gives, those by the sums of
    /// that one.
    pub fn back_over(&self, under: Stretch, above: Stretch) -> Result<Option<Launch>, DeviceError> {
        let (Some(layer), Some(buffers)) = (under.layers.last(), under.buffers.last()) else {
            return Ok(None);
        };
        self.back_into(above, 0, false, Some((layer, buffers)), Address::NULL)
    }

    /// The same of all layers, from the last one down.
    pub fn all_back(
        &self,
        stretch: Stretch,
        adds: bool,
        to: Address,
    ) -> Result<Vec<Launch>, DeviceError> {
        let each = (0..stretch.layers.len()).rev();
        each.filter_map(|i| self.back(stretch, i, adds, to).transpose())
            .collect()
    }

    /// Derivatives by the weights, and what becomes of them. `partial`: as many numbers as [`Parameters::scratch`] says, where slices
    /// leave what they find.
    pub fn weights(
        &self,
        stretches: &[Stretch],
        partial: Address,
        goal: Update,
    ) -> Result<Vec<Launch>, DeviceError> {
        let (mut launches, mut layers, mut first) = (Vec::new(), Vec::new(), partial);
        for stretch in stretches {
            for (i, layer) in stretch.layers.iter().enumerate() {
                let sums = layer.sums.over(&layer.phases);
                let share = sums.share(self.cut_for as u32);
                let weights = ConvolutionWeights {
                    sums,
                    input: stretch.input_of(i),
                    delta: address(&stretch.buffers[i].delta),
                    partial: first,
                };
                launches.push(weights.launch(share, self.images as u32)?);
                let [turned, turned_at] = self.parameters.turned(layer);
                layers.push(UpdateLayer {
                    partial: first,
                    slices: share.slices,
                    first: layer.first as u64,
                    weights: layer.weights as u32,
                    biases: layer.sums.outputs() as u32,
                    phases: layer.sums.phases() as u32,
                    turned_at,
                    turned,
                });
                first = Address(first.0 + layer.scratch(self.cut_for));
            }
        }
        launches.push(update(&layers, goal)?);
        Ok(launches)
    }
}
