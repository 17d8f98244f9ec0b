//! `convolution_update`: what slices say of weights, added up, and a step of Adam; `kernels/common/convolution_update.cu`.

use bytemuck::{Pod, Zeroable};

use super::Demand;
use super::convolution::need;
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch};

/// Layers of one launch; LAYERS of `kernels/common/convolution_update.cu`.
pub const LAYERS: usize = 12;
/// A weight that no derivative is multiplied by.
pub const NOWHERE: u32 = u32::MAX;

/// A layer that learns.
#[derive(Debug, Clone, Copy)]
pub struct UpdateLayer {
    /// f32 `[slices, numbers]`, as `convolution_weights` leaves them.
    pub partial: Address,
    /// How many slices there are.
    pub slices: u32,
    /// Number of its first weight in the arenas, a multiple of 8; its biases come after its weights.
    pub first: u64,
    /// Its weights, a multiple of 8.
    pub weights: u32,
    /// Its biases, a multiple of 8.
    pub biases: u32,
    /// Phases whose biases are told apart.
    pub phases: u32,
    /// u32 `[weights]`: where each is written in `turned`, or [`NOWHERE`]; none: nobody asks for derivatives by its input.
    pub turned_at: Address,
    /// Out: bf16, the weights as derivatives by its input take them.
    pub turned: Address,
}

/// What becomes of the gradient.
#[derive(Debug, Clone, Copy)]
pub enum Update {
    /// Stored: f32, an arena.
    Store(Address),
    /// A step of Adam.
    Adam {
        /// f32: parameters.
        value: Address,
        /// f32: first and second moments.
        moments: [Address; 2],
        /// bf16: copies of the weights.
        shadow: Address,
        /// `AdamRates` of each step of the chunk.
        rates: Address,
        /// u32: which step it is.
        cursor: Address,
    },
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    partial: Address,
    turned_at: Address,
    turned: Address,
    first: u64,
    weights: u32,
    biases: u32,
    phases: u32,
    slices: u32,
    pitch: u32,
    first_block: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    value: Address,
    moments: [Address; 2],
    shadow: Address,
    gradient: Address,
    rates: Address,
    cursor: Address,
    count: u32,
    unused: u32,
    layers: [Entry; LAYERS],
}

const _: () = assert!(size_of::<Entry>() == 56 && size_of::<Params>() == 64 + 56 * LAYERS);

const THREADS: u32 = 256;
/// Numbers of a thread.
const EACH: u32 = 4;

/// The launch for `layers`.
///
/// # Errors
/// [`DeviceError::Unsupported`] for shapes or alignments that the kernel does not take.
pub fn update(layers: &[UpdateLayer], update: Update) -> Result<Launch, DeviceError> {
    need((1..=LAYERS).contains(&layers.len()), "layers", layers.len())?;
    let none = Address::NULL;
    let (gradient, value, moments, shadow, rates, cursor) = match update {
        Update::Store(arena) => (arena, none, [none; 2], none, none, none),
        Update::Adam {
            value,
            moments,
            shadow,
            rates,
            cursor,
        } => (none, value, moments, shadow, rates, cursor),
    };
    for address in [gradient, value, moments[0], moments[1], shadow] {
        need(address.0.is_multiple_of(16), "the address", address.0)?;
    }
    let mut parameter = Params {
        value,
        moments,
        shadow,
        gradient,
        rates,
        cursor,
        count: layers.len() as u32,
        unused: 0,
        layers: [Entry::zeroed(); LAYERS],
    };
    let mut blocks = 0u32;
    for (entry, layer) in parameter.layers.iter_mut().zip(layers) {
        let counts = [layer.weights, layer.biases];
        let aligned = counts.iter().all(|n| n.is_multiple_of(8) && *n < 1 << 28);
        need(
            aligned && layer.first.is_multiple_of(8),
            "weights of a layer",
            layer.weights,
        )?;
        for address in [layer.partial, layer.turned_at] {
            need(address.0.is_multiple_of(16), "the address", address.0)?;
        }
        need(
            layer.slices >= 1 && layer.phases >= 1,
            "slices",
            layer.slices,
        )?;
        *entry = Entry {
            partial: layer.partial,
            turned_at: layer.turned_at,
            turned: layer.turned,
            first: layer.first,
            weights: layer.weights,
            biases: layer.biases,
            phases: layer.phases,
            slices: layer.slices,
            pitch: layer.weights + layer.phases * layer.biases,
            first_block: blocks,
        };
        blocks += ((layer.weights + layer.biases) / EACH).div_ceil(THREADS);
    }
    Ok(Launch::new(
        "convolution_update",
        blocks,
        THREADS,
        &parameter,
    ))
}

/// What it costs at the least: slices read, parameters and moments read and written, copies written.
pub fn demand(layers: &[UpdateLayer]) -> Demand {
    let bytes = layers.iter().map(|layer| {
        let (weights, biases) = (f64::from(layer.weights), f64::from(layer.biases));
        let read = 4.0 * f64::from(layer.slices) * (weights + biases * f64::from(layer.phases));
        read + 24.0 * (weights + biases) + 8.0 * weights
    });
    Demand {
        matrix_operations: 0.0,
        bytes: bytes.sum(),
    }
}
