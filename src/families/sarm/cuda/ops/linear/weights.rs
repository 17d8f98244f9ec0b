//! Backward to the weights: `dW = delta^T x` and the bias's `db = sum delta`, then Adam in the same kernel.

use bytemuck::{Pod, Zeroable};

use super::{Demand, Layer, MOST, Matrix, PROBLEMS, aligned, images_in_range, matrix, need};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch, Properties};
use crate::device::cuda::ops::tile::{Alike, Tile, estimate};
use crate::families::sarm::cuda::ops::mask::Mask;

/// One layer whose weights and bias to learn, which lie in arenas that all layers share.
#[derive(Debug, Clone, Copy)]
pub struct WeightsProblem {
    /// Shape and mask.
    pub layer: Layer,
    /// Derivative of the loss by what the layer gave: bf16 `[images, rows]`.
    pub delta: Matrix,
    /// What the layer read: bf16 `[images, columns]`.
    pub input: Matrix,
    /// Where `[rows, pitch]` weights begin in each arena, elements, a multiple of 8.
    pub weights: u64,
    /// Where `[rows]` biases begin in each arena, elements, a multiple of 4.
    pub bias: u64,
    /// Whether weight decay applies to the weights; never to biases.
    pub decays: bool,
}

/// Adam's arenas: parameters and moments with the same offsets in each.
#[derive(Debug, Clone, Copy)]
pub struct AdamArenas {
    /// f32 parameters.
    pub value: Address,
    /// f32 first moments.
    pub first: Address,
    /// f32 second moments.
    pub second: Address,
    /// bf16 copies of the weights, for the other kernels; biases have none.
    pub shadow: Address,
    /// Constants of each step of the chunk: f32 `[steps, 3]`: step size, scale of the second moment,
    /// what decaying weights keep.
    pub rates: Address,
    /// u32: which step of the chunk this is.
    pub cursor: Address,
}

/// What to do with the gradient.
#[derive(Debug, Clone, Copy)]
pub enum Update {
    /// A step of Adam.
    Adam(AdamArenas),
    /// Store it in this f32 arena. Where a weight is masked, 0 is written or nothing: let the arena begin as zeros.
    Store(Address),
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    delta: Address,
    input: Address,
    weights: u64,
    bias: u64,
    delta_pitch: u32,
    input_pitch: u32,
    pitch: u32,
    rows: u32,
    columns: u32,
    mask: Mask,
    first_block: u32,
    row_tiles: u32,
    decays: u32,
    unused: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct WeightsParams {
    value: Address,
    first: Address,
    second: Address,
    shadow: Address,
    gradient: Address,
    rates: Address,
    cursor: Address,
    images: u32,
    count: u32,
    problems: [Entry; PROBLEMS],
}

const _: () = assert!(size_of::<Entry>() == 80 && size_of::<WeightsParams>() == 64 + 16 * 80);

/// Bytes that Adam reads and writes for a weight: three f32 each way and the bf16 copy.
pub const ADAM_BYTES: f64 = 26.0;

/// Launches for `problems` on a batch of `images`, with the tile that suits the shapes and the card.
///
/// # Errors
/// [`DeviceError::Unsupported`] for a shape, pitch or alignment that the kernels do not take.
pub fn backward_weights(
    properties: &Properties,
    images: u32,
    update: Update,
    problems: &[WeightsProblem],
) -> Result<Vec<Launch>, DeviceError> {
    let best = Tile::ALL.into_iter().min_by(|a, b| {
        let of = |tile: &Tile| {
            let tiles: Alike = (blocks(*tile, problems), images);
            estimate(
                properties.multiprocessors,
                tile.shape(),
                &[tiles],
                ADAM_BYTES,
            )
        };
        of(a).total_cmp(&of(b))
    });
    backward_weights_tiled(best.unwrap_or(Tile::Medium), images, update, problems)
}

/// Tiles of all problems that hold a weight which is not masked, or a bias: those of the first column.
fn blocks(tile: Tile, problems: &[WeightsProblem]) -> u64 {
    problems.iter().map(|p| blocks_of(tile, p)).sum()
}

fn blocks_of(tile: Tile, p: &WeightsProblem) -> u64 {
    let (side, rows) = (tile.side(), p.layer.rows);
    let row_tiles = rows.div_ceil(side);
    let columns = 1..p.layer.columns.div_ceil(side);
    let beyond_first = columns.map(|j| match p.layer.mask.first_reader(j * side, rows) {
        first if first < rows => u64::from(row_tiles - first / side),
        _ => 0,
    });
    u64::from(row_tiles) + beyond_first.sum::<u64>()
}

/// [`backward_weights`] with a given tile.
///
/// # Errors
/// [`DeviceError::Unsupported`] for a shape, pitch or alignment that the kernels do not take.
pub fn backward_weights_tiled(
    tile: Tile,
    images: u32,
    update: Update,
    problems: &[WeightsProblem],
) -> Result<Vec<Launch>, DeviceError> {
    images_in_range(images)?;
    let mut parameter = WeightsParams {
        images,
        ..WeightsParams::zeroed()
    };
    match update {
        Update::Store(gradient) => {
            aligned("gradients", gradient)?;
            parameter.gradient = gradient;
        }
        Update::Adam(arenas) => {
            aligned("parameters", arenas.value)?;
            aligned("first moments", arenas.first)?;
            aligned("second moments", arenas.second)?;
            aligned("bf16 weights", arenas.shadow)?;
            let AdamArenas { rates, cursor, .. } = arenas;
            need(
                rates != Address::NULL && rates.0.is_multiple_of(4),
                "address of rates",
                rates.0,
            )?;
            need(
                cursor != Address::NULL && cursor.0.is_multiple_of(4),
                "address of a cursor",
                cursor.0,
            )?;
            parameter.value = arenas.value;
            parameter.first = arenas.first;
            parameter.second = arenas.second;
            parameter.shadow = arenas.shadow;
            parameter.rates = rates;
            parameter.cursor = cursor;
        }
    }
    for p in problems {
        p.layer.check()?;
        matrix("derivatives", p.delta, p.layer.rows)?;
        matrix("inputs", p.input, p.layer.columns)?;
        need(p.weights.is_multiple_of(8), "offset of weights", p.weights)?;
        need(p.bias.is_multiple_of(4), "offset of biases", p.bias)?;
    }
    let kernel = match tile {
        Tile::Small => "linear_backward_weights_small",
        Tile::Medium => "linear_backward_weights_medium",
        Tile::Large => "linear_backward_weights_large",
    };
    problems
        .chunks(PROBLEMS)
        .map(|chunk| {
            let mut parameter = parameter;
            parameter.count = chunk.len() as u32;
            let mut total = 0u64;
            for (entry, p) in parameter.problems.iter_mut().zip(chunk) {
                *entry = Entry {
                    delta: p.delta.address,
                    input: p.input.address,
                    weights: p.weights,
                    bias: p.bias,
                    delta_pitch: p.delta.pitch,
                    input_pitch: p.input.pitch,
                    pitch: p.layer.pitch,
                    rows: p.layer.rows,
                    columns: p.layer.columns,
                    mask: p.layer.mask,
                    first_block: total as u32,
                    row_tiles: p.layer.rows.div_ceil(tile.side()),
                    decays: u32::from(p.decays),
                    unused: 0,
                };
                total += blocks_of(tile, p);
                need(total <= u64::from(MOST), "blocks in a launch", total)?;
            }
            Ok(Launch::new(kernel, total as u32, Tile::THREADS, &parameter)
                .with_shared(tile.shared()))
        })
        .collect()
}

/// What `problems` cost at the least.
pub fn backward_weights_demand(images: u32, update: Update, problems: &[WeightsProblem]) -> Demand {
    let images = f64::from(images);
    let (weight, bias) = match update {
        Update::Adam(_) => (ADAM_BYTES, 24.0),
        Update::Store(_) => (4.0, 4.0),
    };
    let mut demand = Demand::default();
    for p in problems {
        let (rows, columns) = (f64::from(p.layer.rows), f64::from(p.layer.columns));
        demand.matrix_operations += 2.0 * images * p.layer.unmasked();
        demand.bytes += weight * p.layer.unmasked() + bias * rows;
        demand.bytes += 2.0 * images * (rows + columns);
    }
    demand
}
