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

#[cfg(test)]
mod tests {
    use crate::data::ImageSize;
    use crate::families::vae::cuda::filled::{COPIED, FilledSums};
    use crate::families::vae::{Config, Vae};
    use crate::nn::chain::Chain;

    /// Microseconds of a step's products on an H100, by the estimate that tiles are chosen by.
    fn microseconds(model: &Vae, images: u32) -> f64 {
        const MEGAHERTZ: f64 = 1755.0;
        let nowhere = crate::device::cuda::device::Address::NULL;
        let product = |sums: &FilledSums| {
            let phases = sums.phases_at(nowhere);
            let sums = sums.over(&phases);
            sums.cycles(sums.cut(images), images)
        };
        let weights = |sums: &FilledSums| {
            let phases = sums.phases_at(nowhere);
            let sums = sums.over(&phases);
            sums.cycles_of_weights(sums.share(images), images)
        };
        let network = &model.network;
        // Times forward, first layer that is gone back through, whether it learns.
        let chain = |chain: &Chain, forward: f64, back_to: usize, learns: bool| -> f64 {
            let each = chain.0.iter().enumerate().map(|(i, layer)| {
                let sums = FilledSums::forward(layer, COPIED);
                let back = FilledSums::back(layer, COPIED);
                forward * product(&sums)
                    + if i >= back_to { product(&back) } else { 0.0 }
                    + if learns { weights(&sums) } else { 0.0 }
            });
            each.sum()
        };
        let cycles = chain(&network.encoder, 1.0, 1, true)
            + chain(&network.decoder, 1.0, 0, true)
            + chain(&network.features, 2.0, 0, false);
        cycles / MEGAHERTZ
    }

    /// The bounds of docs/kernels.md, "Bounds of a VAE's step": `cargo test --lib bounds_of_a_step -- --nocapture` prints them.
    #[test]
    fn bounds_of_a_step_are_those_of_the_page() {
        let size = ImageSize {
            height: 25,
            width: 25,
        };
        let model = |text: &str| Vae::untrained(&Config::parse(text).unwrap(), size, 1).unwrap();
        let plain = model(include_str!("../../../../configs/paper/vae.toml"));
        let sparse = model(include_str!("../../../../configs/jets-sparse-vae.toml"));
        for (images, said) in [
            (128, [270.0, 190.0]),
            (1024, [1500.0, 1000.0]),
            (8192, [11_100.0, 7600.0]),
        ] {
            for (model, said) in [&plain, &sparse].into_iter().zip(said) {
                let found = microseconds(model, images);
                println!(
                    "{images} images: {found:.0} us, {:.2} M images/s",
                    f64::from(images) / found
                );
                assert!(
                    (found / said - 1.0f64).abs() < 0.03,
                    "{images}: {found}, {said} on the page"
                );
            }
        }
    }
}
