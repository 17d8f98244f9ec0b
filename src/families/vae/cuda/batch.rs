//! A batch on its way through the networks: its buffers.

use std::sync::Arc;

use half::bf16;

use super::filled::{COPIED, filled};
use super::parameters::Parameters;
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
    pub delta: Option<Memory<bf16>>,
}

/// What the buffers of a chain are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// What the last layer gives is no layer's input, but numbers.
    Top,
    /// Another chain reads what the last layer gives.
    Under,
    /// Every layer's numbers are compared, and the last one's output is no layer's input.
    Compared,
    /// The same without derivatives.
    Given,
}

impl Use {
    /// Which of output, numbers and derivatives layer `i` of so many has.
    fn wants(self, i: usize, layers: usize) -> [bool; 3] {
        let is_last = i + 1 == layers;
        match self {
            Use::Top => [!is_last, is_last, true],
            Use::Under => [true, false, true],
            Use::Compared => [!is_last, true, true],
            Use::Given => [!is_last, true, false],
        }
    }
}

impl LayerBuffers {
    /// Of the layers of a chain, for `images` images.
    pub fn of(
        device: &Arc<dyn Device>,
        chain: &Chain,
        images: usize,
        why: Use,
    ) -> Result<Vec<Self>, EngineError> {
        let layers = chain.0.iter().enumerate().map(|(i, layer)| {
            let size = images * numbers_of(layer);
            let [output, numbers, delta] = why.wants(i, chain.0.len());
            Ok(Self {
                output: some(output, || Memory::zeros(device, size))?,
                numbers: some(numbers, || Memory::zeros(device, size))?,
                delta: some(delta, || Memory::zeros(device, size))?,
            })
        });
        layers.collect()
    }

    /// Bytes that these take of an image.
    pub fn bytes(chain: &Chain, why: Use) -> usize {
        let layers = chain.0.iter().enumerate().map(|(i, layer)| {
            let bytes = why.wants(i, chain.0.len()).into_iter().zip([2, 4, 2]);
            let each: usize = bytes.filter(|(is, _)| *is).map(|(_, bytes)| bytes).sum();
            each * numbers_of(layer)
        });
        layers.sum()
    }
}

/// What slices find of the weights of what is `trained`.
pub(super) fn partial(
    device: &Arc<dyn Device>,
    trained: Option<&Parameters>,
    images: usize,
) -> Result<Option<Memory<f32>>, EngineError> {
    let bytes = trained.map(|parameters| parameters.scratch(images));
    let memory = bytes.map(|bytes| Memory::zeros(device, bytes as usize / size_of::<f32>()));
    Ok(memory.transpose()?)
}

fn some<T, E>(wanted: bool, of: impl FnOnce() -> Result<T, E>) -> Result<Option<T>, E> {
    wanted.then(of).transpose()
}

fn numbers_of(layer: &Layer) -> usize {
    filled(layer.output, COPIED).numbers()
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
    pub by_code: Memory<f32>,
    pub encoder: Vec<LayerBuffers>,
    pub decoder: Vec<LayerBuffers>,
    pub of_true: Vec<LayerBuffers>,
    pub of_made: Vec<LayerBuffers>,
    /// Derivatives of the perceptual term by the pixels that are made.
    pub by_picture: Option<Memory<f32>>,
    /// Parts of each image's loss, times their weights `[parts, images]`: see [`parts`].
    pub costs: Memory<f32>,
    /// What slices find of the weights; none where nothing is trained.
    pub partial: Option<Memory<f32>>,
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
    /// Bytes that [`new`](Self::new) takes, besides what slices find.
    pub fn bytes(model: &Vae, capacity: usize) -> u64 {
        let network = &model.network;
        let [input, picture, code] = given(model);
        let mut image = 2 * input + 4 * model.pixels() + (2 + 4) * code + 4 * parts(model);
        if model.config.compares_features() {
            image += (2 * 2 + 4) * picture;
        }
        image += LayerBuffers::bytes(&network.encoder, Use::Top);
        image += LayerBuffers::bytes(&network.decoder, Use::Top);
        image += LayerBuffers::bytes(&network.features, Use::Given);
        image += LayerBuffers::bytes(&network.features, Use::Compared);
        (image * capacity) as u64
    }

    /// Buffers for `capacity` images of `model`; `trained`: what is trained, if anything is.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        capacity: usize,
        trained: Option<&Parameters>,
    ) -> Result<Self, EngineError> {
        let network = &model.network;
        let [input, picture, code] = given(model).map(|numbers| numbers * capacity);
        let compares = model.config.compares_features();
        let layers = |chain: &Chain, why: Use| LayerBuffers::of(device, chain, capacity, why);
        let pictures = || {
            let [of_true, of_made] = [(); 2].map(|()| Memory::zeros(device, picture));
            Ok::<_, EngineError>([of_true?, of_made?])
        };
        Ok(Self {
            capacity,
            input: Memory::zeros(device, input)?,
            pictures: some(compares, pictures)?,
            target: Memory::zeros(device, capacity * model.pixels())?,
            code: Memory::zeros(device, code)?,
            by_code: Memory::zeros(device, code)?,
            encoder: layers(&network.encoder, Use::Top)?,
            decoder: layers(&network.decoder, Use::Top)?,
            of_true: layers(&network.features, Use::Given)?,
            of_made: layers(&network.features, Use::Compared)?,
            by_picture: some(compares, || Memory::zeros(device, picture))?,
            costs: Memory::zeros(device, capacity * parts(model))?,
            partial: partial(device, trained, capacity)?,
        })
    }
}
