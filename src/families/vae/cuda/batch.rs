//! A batch on its way through the networks: its buffers.

use std::sync::Arc;

use half::bf16;

use super::filled::{COPIED, filled};
use crate::device::cuda::device::{Device, Memory};
use crate::families::vae::Vae;
use crate::family::EngineError;
use crate::nn::chain::{Chain, Layer};

/// What a layer gives of a batch, and derivatives by its sums. Each `[images, numbers]`.
pub(super) struct LayerBuffers {
    /// For the next layer; none of the last one of a chain.
    pub output: Option<Memory<bf16>>,
    /// For what is not a layer.
    pub numbers: Option<Memory<f32>>,
    /// None where nothing is trained.
    pub delta: Option<Memory<bf16>>,
}

impl LayerBuffers {
    /// Of the layers of a chain, for `images` images. `goes_on`: the last one's output is read by a layer; else it has numbers.
    pub fn of(
        device: &Arc<dyn Device>,
        chain: &Chain,
        images: usize,
        (trained, goes_on): (bool, bool),
    ) -> Result<Vec<Self>, EngineError> {
        let wanted = Wanted::of(chain, trained, false, goes_on);
        wanted.map(|layer| layer.buffers(device, images)).collect()
    }

    /// Bytes that these take of an image.
    pub fn bytes(chain: &Chain, trained: bool, goes_on: bool) -> usize {
        let wanted = Wanted::of(chain, trained, false, goes_on);
        wanted.map(|layer| layer.bytes()).sum()
    }
}

/// Which of a layer's buffers there are, and their numbers.
struct Wanted {
    size: usize,
    output: bool,
    numbers: bool,
    delta: bool,
}

impl Wanted {
    /// Of the layers of a chain. `numbers`: every layer has them. `goes_on`: the last one's output is read by a layer; else it has numbers.
    fn of(
        chain: &Chain,
        trained: bool,
        numbers: bool,
        goes_on: bool,
    ) -> impl Iterator<Item = Self> {
        let last = chain.0.len().saturating_sub(1);
        chain.0.iter().enumerate().map(move |(i, layer)| Self {
            size: numbers_of(layer),
            output: i < last || goes_on,
            numbers: numbers || (i == last && !goes_on),
            delta: trained,
        })
    }

    fn bytes(&self) -> usize {
        let bf16 = usize::from(self.output) + usize::from(self.delta);
        self.size * (2 * bf16 + if self.numbers { 4 } else { 0 })
    }

    fn buffers(
        &self,
        device: &Arc<dyn Device>,
        images: usize,
    ) -> Result<LayerBuffers, EngineError> {
        let size = images * self.size;
        Ok(LayerBuffers {
            output: some(self.output, || Memory::zeros(device, size))?,
            numbers: some(self.numbers, || Memory::zeros(device, size))?,
            delta: some(self.delta, || Memory::zeros(device, size))?,
        })
    }
}

fn some<T, E>(wanted: bool, of: impl FnOnce() -> Result<T, E>) -> Result<Option<T>, E> {
    wanted.then(of).transpose()
}

fn numbers_of(layer: &Layer) -> usize {
    filled(layer.output, COPIED).numbers()
}

/// Buffers of each layer of encoder, decoder, and the classifier for true images and for those that are made.
fn wanted(model: &Vae, trained: bool) -> [Vec<Wanted>; 4] {
    let network = &model.network;
    [
        Wanted::of(&network.encoder, trained, false, false).collect(),
        Wanted::of(&network.decoder, trained, false, false).collect(),
        Wanted::of(&network.features, false, true, false).collect(),
        Wanted::of(&network.features, trained, true, false).collect(),
    ]
}

/// Buffers for batches of up to `capacity` images.
pub(super) struct Batch {
    pub capacity: usize,
    /// Pixels and conditions, as the encoder reads them.
    pub input: Memory<bf16>,
    /// Pixels alone, as the classifier reads them: of true images, and of those that are made.
    pub pictures: Option<[Memory<bf16>; 2]>,
    /// Pixels, units of the loss.
    pub target: Memory<f32>,
    /// Codes and conditions, as the decoder reads them, and derivatives by them.
    pub code: Memory<bf16>,
    pub by_code: Option<Memory<f32>>,
    pub encoder: Vec<LayerBuffers>,
    pub decoder: Vec<LayerBuffers>,
    pub of_true: Vec<LayerBuffers>,
    pub of_made: Vec<LayerBuffers>,
    /// Derivatives of the perceptual term by the pixels that are made.
    pub by_picture: Option<Memory<f32>>,
    /// Parts of each image's loss, times their weights `[parts, images]`: see [`parts`].
    pub costs: Memory<f32>,
}

/// Parts of an image's loss: those of the classifier's layers, the divergence, what the pixels cost.
pub(super) fn parts(model: &Vae) -> usize {
    model.network.features.0.len() + 2
}

/// Numbers of what the encoder, the classifier and the decoder read of an image.
fn given(model: &Vae) -> [usize; 3] {
    let (network, size) = (&model.network, model.pixels());
    let read = |chain: &Chain| (chain.0.first()).map_or(0, |l| filled(l.input, COPIED).numbers());
    [
        read(&network.encoder),
        size * COPIED,
        read(&network.decoder),
    ]
}

impl Batch {
    /// Bytes that [`new`](Self::new) takes.
    pub fn bytes(model: &Vae, capacity: usize, trained: bool) -> u64 {
        let [input, picture, code] = given(model);
        let mut image = 2 * input + 4 * model.pixels() + 2 * code + 4 * parts(model);
        let compares = model.config.compares_features();
        image += if compares { 4 * picture } else { 0 };
        image += if trained { 4 * code } else { 0 };
        image += if trained && compares { 4 * picture } else { 0 };
        let layers = wanted(model, trained);
        image += layers.iter().flatten().map(Wanted::bytes).sum::<usize>();
        (image * capacity) as u64
    }

    /// Buffers for `capacity` images of `model`; with room for derivatives if it is to be `trained`.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        capacity: usize,
        trained: bool,
    ) -> Result<Self, EngineError> {
        let [input, picture, code] = given(model).map(|numbers| numbers * capacity);
        let compares = model.config.compares_features();
        let layers = wanted(model, trained).map(|list| {
            let buffers = list.iter().map(|layer| layer.buffers(device, capacity));
            buffers.collect::<Result<Vec<_>, EngineError>>()
        });
        let [encoder, decoder, of_true, of_made] = layers;
        Ok(Self {
            capacity,
            input: Memory::zeros(device, input)?,
            pictures: match compares {
                true => Some([
                    Memory::zeros(device, picture)?,
                    Memory::zeros(device, picture)?,
                ]),
                false => None,
            },
            target: Memory::zeros(device, capacity * model.pixels())?,
            code: Memory::zeros(device, code)?,
            by_code: some(trained, || Memory::zeros(device, code))?,
            encoder: encoder?,
            decoder: decoder?,
            of_true: of_true?,
            of_made: of_made?,
            by_picture: some(trained && compares, || Memory::zeros(device, picture))?,
            costs: Memory::zeros(device, capacity * parts(model))?,
        })
    }
}
