//! Where a VAE's parameters lie on a device that trains it, and how a checkpoint's tensors get there and back.
//!
//! Those of the parts that are there are one arena of float32 masters, layer by layer: weights in the order of the products, then biases. Two more arenas have
//! Adam's moments. A bfloat16 copy is what products read; derivatives by a layer's input read another, in an order of their own.

use std::sync::Arc;

use half::bf16;

use super::filled::{COPIED, FilledSums};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Device, Memory};
use crate::device::cuda::ops::convolution::ConvolutionPhase;
use crate::device::cuda::ops::convolution_update::{NOWHERE, Update};
use crate::families::vae::Vae;
use crate::families::vae::network::Part;
use crate::family::cuda::Chunk;
use crate::family::{EngineError, TrainingState};
use crate::nn::chain::Layer;

/// What becomes of a gradient.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// A step of Adam.
    Step,
    /// The gradient is stored in an arena like the parameters'.
    Gradient(Address),
}

/// Derivatives by what a layer is given.
struct Back {
    sums: FilledSums,
    phases: Vec<ConvolutionPhase>,
    /// Its first number of the copy that is turned.
    first: usize,
}

/// A layer.
pub(super) struct LayerPlace {
    pub layer: Layer,
    pub sums: FilledSums,
    pub phases: Vec<ConvolutionPhase>,
    back: Option<Back>,
    /// Number of its weights' tensor; that of its biases is the next.
    tensor: usize,
    /// Its first weight in the arenas.
    pub first: usize,
    /// Its weights; its biases follow.
    pub weights: usize,
}

impl LayerPlace {
    fn new(layer: &Layer, tensor: usize, first: usize, turned: Option<usize>) -> Self {
        let sums = FilledSums::forward(layer, COPIED);
        Self {
            back: turned.map(|first| Back {
                sums: FilledSums::back(layer, COPIED),
                phases: Vec::new(),
                first,
            }),
            layer: layer.clone(),
            tensor,
            first,
            weights: sums.weights(),
            sums,
            phases: Vec::new(),
        }
    }

    /// Derivatives by what it is given, and their phases; where nobody wants them, none.
    pub fn back(&self) -> Option<(&FilledSums, &[ConvolutionPhase])> {
        self.back
            .as_ref()
            .map(|back| (&back.sums, &back.phases[..]))
    }

    /// Bytes that slices of a batch of `images` images leave of its weights, a multiple of 16.
    pub fn scratch(&self, images: usize) -> u64 {
        let sums = self.sums.over(&self.phases);
        4 * u64::from(sums.share(images as u32).slices) * sums.slice()
    }

    fn end(&self) -> usize {
        self.first + self.weights + self.sums.outputs()
    }

    /// Calls `copy(tensor, its number, arena's number)` for each number of both.
    fn for_each(&self, mut copy: impl FnMut(usize, usize, usize)) {
        for (at, element) in self.sums.elements().enumerate() {
            if let Some(element) = element {
                copy(self.tensor, self.layer.weight(element), self.first + at);
            }
        }
        for at in 0..self.sums.outputs() {
            if let Some(output) = self.sums.output(at) {
                copy(self.tensor + 1, output, self.first + self.weights + at);
            }
        }
    }

    /// Where each weight of the arena lies in the turned copy, from its first number on.
    fn turned_at(&self) -> Vec<u32> {
        let Some(back) = &self.back else {
            return vec![NOWHERE; self.weights];
        };
        let all: usize = self.layer.shape().iter().product();
        let mut places = vec![NOWHERE; all];
        for (at, element) in back.sums.elements().enumerate() {
            if let Some([place, from, to]) = element {
                places[self.layer.weight([place, to, from])] = (back.first + at) as u32;
            }
        }
        let of = |element: Option<[usize; 3]>| {
            element.map_or(NOWHERE, |at| places[self.layer.weight(at)])
        };
        self.sums.elements().map(of).collect()
    }
}

/// A part of the networks that is on the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub part: Part,
    /// Its first layer that is asked for derivatives by what it is given.
    pub back_to: usize,
    /// Parts that learn come first.
    pub learns: bool,
}

/// What training a VAE takes.
pub(super) const AUTOENCODER: [Wanted; 3] = [
    Wanted {
        part: Part::Encoder,
        back_to: 1,
        learns: true,
    },
    Wanted {
        part: Part::Decoder,
        back_to: 0,
        learns: true,
    },
    Wanted {
        part: Part::Features,
        back_to: 0,
        learns: false,
    },
];

/// What training its classifier takes.
pub(super) const CLASSIFIER: [Wanted; 2] = [
    Wanted {
        part: Part::Features,
        back_to: 1,
        learns: true,
    },
    Wanted {
        part: Part::Head,
        back_to: 0,
        learns: true,
    },
];

/// Parameters of some parts of a model on a device.
pub(super) struct Parameters {
    parts: Vec<(Wanted, Vec<LayerPlace>)>,
    values: Memory<f32>,
    moments: [Memory<f32>; 2],
    shadow: Memory<bf16>,
    turned: Memory<bf16>,
    turned_at: Memory<u32>,
    /// Turned places, kept for setting parameters.
    places: Vec<u32>,
}

/// Layers of parts, and numbers of the arenas and of the turned copy.
fn lay_out(model: &Vae, parts: &[Wanted]) -> (Vec<(Wanted, Vec<LayerPlace>)>, [usize; 2]) {
    let (mut first, mut turned) = (0, 0);
    let parts = parts.iter().map(|wanted| {
        let tensor = model.network.range(wanted.part).start;
        let layers = model.network.chain(wanted.part).0.iter().enumerate();
        let layers = layers.map(|(i, layer)| {
            let back = (i >= wanted.back_to).then_some(turned);
            let place = LayerPlace::new(layer, tensor + 2 * i, first, back);
            first = place.end();
            if let Some(back) = &place.back {
                turned += back.sums.weights();
            }
            place
        });
        (*wanted, layers.collect())
    });
    let parts = parts.collect();
    (parts, [first, turned])
}

impl Parameters {
    /// Those of `parts` of `model`, with Adam's moments, which are 0.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        parts: &[Wanted],
    ) -> Result<Self, EngineError> {
        let (parts, [size, turned]) = lay_out(model, parts);
        let layers = parts.iter().flat_map(|(_, layers)| layers);
        let places: Vec<u32> = layers
            .flat_map(|layer| {
                let mut places = layer.turned_at();
                places.resize(layer.end() - layer.first, NOWHERE);
                places
            })
            .collect();
        let mut this = Self {
            values: Memory::zeros(device, size)?,
            moments: [Memory::zeros(device, size)?, Memory::zeros(device, size)?],
            shadow: Memory::zeros(device, size)?,
            turned: Memory::zeros(device, turned)?,
            turned_at: Memory::from(device, &places)?,
            places,
            parts,
        };
        let (shadow, turned) = (&this.shadow, &this.turned);
        for place in this.parts.iter_mut().flat_map(|(_, layers)| layers) {
            place.phases = place.sums.phases_at(shadow.at(place.first));
            if let Some(back) = &mut place.back {
                back.phases = back.sums.phases_at(turned.at(back.first));
            }
        }
        this.set(&model.parameters)?;
        Ok(this)
    }

    /// Bytes that [`new`](Self::new) takes.
    pub fn bytes(model: &Vae, parts: &[Wanted]) -> u64 {
        let (_, [size, turned]) = lay_out(model, parts);
        ((4 * 4 + 2) * size + 2 * turned) as u64
    }

    /// The layers of a part; none where it is not there.
    pub fn part(&self, part: Part) -> &[LayerPlace] {
        let found = self.parts.iter().find(|(wanted, _)| wanted.part == part);
        found.map_or(&[], |(_, layers)| layers)
    }

    fn layers(&self) -> impl Iterator<Item = &LayerPlace> {
        self.parts.iter().flat_map(|(_, layers)| layers)
    }

    /// Those that learn.
    fn learning(&self) -> impl Iterator<Item = &LayerPlace> {
        let parts = self.parts.iter().filter(|(wanted, _)| wanted.learns);
        parts.flat_map(|(_, layers)| layers)
    }

    fn pack(&self, tensors: &[Vec<f32>]) -> Vec<f32> {
        let mut arena = vec![0.0; self.values.len()];
        for layer in self.layers() {
            layer.for_each(|tensor, from, to| arena[to] = tensors[tensor][from]);
        }
        arena
    }

    /// The tensors of `arena` that learn, into `tensors`.
    pub fn unpack(&self, arena: &[f32], tensors: &mut [Vec<f32>]) {
        for layer in self.learning() {
            layer.for_each(|tensor, to, from| tensors[tensor][to] = arena[from]);
        }
    }

    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<(), DeviceError> {
        let arena = self.pack(tensors);
        self.values.write(0, &arena)?;
        let copies: Vec<bf16> = arena.iter().map(|v| bf16::from_f32(*v)).collect();
        self.shadow.write(0, &copies)?;
        let mut turned = vec![bf16::ZERO; self.turned.len()];
        for (at, copy) in self.places.iter().zip(copies) {
            if *at != NOWHERE {
                turned[*at as usize] = copy;
            }
        }
        self.turned.write(0, &turned)
    }

    /// Take over a checkpoint's parameters and moments, which must be `model`'s.
    pub fn restore(&mut self, model: &Vae, state: &TrainingState) -> Result<(), EngineError> {
        state.check(model.parameters.iter().map(Vec::len))?;
        self.set(&state.parameters)?;
        let lists = [&state.first_moments, &state.second_moments];
        for (i, list) in lists.into_iter().enumerate() {
            let arena = self.pack(list);
            self.moments[i].write(0, &arena)?;
        }
        Ok(())
    }

    /// Parameters and moments as a checkpoint holds them; what does not learn is `model`'s, its moments 0.
    pub fn state(&self, model: &Vae, steps: u64) -> Result<TrainingState, EngineError> {
        let zeros = || -> Vec<Vec<f32>> {
            (model.parameters.iter())
                .map(|p| vec![0.0; p.len()])
                .collect()
        };
        let list = |memory: &Memory<f32>, mut tensors: Vec<Vec<f32>>| {
            self.unpack(&memory.to_vec()?, &mut tensors);
            Ok::<_, DeviceError>(tensors)
        };
        Ok(TrainingState {
            parameters: list(&self.values, model.parameters.clone())?,
            first_moments: list(&self.moments[0], zeros())?,
            second_moments: list(&self.moments[1], zeros())?,
            steps,
        })
    }

    /// Numbers of the arenas that learn.
    pub fn learning_size(&self) -> usize {
        self.learning().last().map_or(0, LayerPlace::end)
    }

    /// The tensors that learn as they are now, in those of a model.
    pub fn values(&self, tensors: &mut [Vec<f32>]) -> Result<(), DeviceError> {
        self.unpack(&self.values.to_vec()?, tensors);
        Ok(())
    }

    /// Bytes that slices of a batch of `images` images leave of all weights that learn.
    pub fn scratch(&self, images: usize) -> u64 {
        self.learning().map(|layer| layer.scratch(images)).sum()
    }

    /// Where a layer's biases lie.
    pub fn bias(&self, layer: &LayerPlace) -> Address {
        self.values.at(layer.first + layer.weights)
    }

    /// What becomes of a gradient of the chunk's step.
    pub fn update(&self, goal: Goal, chunk: &Chunk) -> Update {
        match goal {
            Goal::Gradient(arena) => Update::Store(arena),
            Goal::Step => Update::Adam {
                value: self.values.address(),
                moments: self.moments.each_ref().map(Memory::address),
                shadow: self.shadow.address(),
                rates: chunk.rates.address(),
                cursor: chunk.cursor.address(),
            },
        }
    }

    /// The turned copy, and where each weight of a layer lies in it; none where nobody reads it.
    pub fn turned(&self, layer: &LayerPlace) -> [Address; 2] {
        match layer.back {
            Some(_) => [self.turned.address(), self.turned_at.at(layer.first)],
            None => [Address::NULL; 2],
        }
    }
}
