//! Forward: `y = x W^T + bias`, for a hidden layer with its GELU.

use bytemuck::{Pod, Zeroable};

use super::{Demand, Layer, MOST, Matrix, PROBLEMS, aligned, images_in_range, matrix, need, pitch};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch, Properties};
use crate::device::cuda::ops::tile::{Alike, Tile, estimate};
use crate::families::sarm::cuda::ops::mask::Mask;

/// Where a forward layer's results go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardResult {
    /// A hidden layer. Both bf16 `[images, rows]`; up to three values past `rows` are written as 0.
    Hidden {
        /// Pre-activations z, which backward wants; may be NULL.
        before: Address,
        /// GELU(z).
        after: Address,
        /// Pitch of both.
        pitch: u32,
    },
    /// The output layer: z as f32 `[images, rows]`; up to three values past `rows` are written as 0.
    Numbers(Matrix),
}

/// One layer to run forward.
#[derive(Debug, Clone, Copy)]
pub struct ForwardProblem {
    /// Shape and mask.
    pub layer: Layer,
    /// bf16 `[rows, columns]`, masked ones 0.
    pub weights: Address,
    /// f32 `[rows]`.
    pub bias: Address,
    /// bf16 `[images, columns]`.
    pub input: Matrix,
    /// Where the results go.
    pub result: ForwardResult,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    input: Address,
    weights: Address,
    bias: Address,
    before: Address,
    after: Address,
    numbers: Address,
    input_pitch: u32,
    weights_pitch: u32,
    result_pitch: u32,
    rows: u32,
    columns: u32,
    mask: Mask,
    first_block: u32,
    row_tiles: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ForwardParams {
    images: u32,
    count: u32,
    problems: [Entry; PROBLEMS],
}

const _: () = assert!(size_of::<Entry>() == 88 && size_of::<ForwardParams>() == 8 + 16 * 88);

/// Launches for `problems` on a batch of `images`, with the tile that suits the shapes and the card.
///
/// # Errors
/// [`DeviceError::Unsupported`] for a shape, pitch or alignment that the kernels do not take.
pub fn forward(
    properties: &Properties,
    images: u32,
    problems: &[ForwardProblem],
) -> Result<Vec<Launch>, DeviceError> {
    let best = Tile::ALL.into_iter().min_by(|a, b| {
        let of = |tile: &Tile| {
            estimate(
                properties.multiprocessors,
                tile.shape(),
                &tiles(*tile, images, problems),
                4.0,
            )
        };
        of(a).total_cmp(&of(b))
    });
    forward_tiled(best.unwrap_or(Tile::Small), images, problems)
}

/// The tiles of all problems, alike ones together.
fn tiles(tile: Tile, images: u32, problems: &[ForwardProblem]) -> Vec<Alike> {
    let side = tile.side();
    let mut list = Vec::new();
    for p in problems {
        for last in (0..p.layer.rows.div_ceil(side)).map(|i| (i + 1).saturating_mul(side) - 1) {
            let read = p
                .layer
                .mask
                .read(last.min(p.layer.rows - 1), p.layer.columns);
            list.push((u64::from(images.div_ceil(side)), read));
        }
    }
    list
}

/// [`forward`] with a given tile.
///
/// # Errors
/// [`DeviceError::Unsupported`] for a shape, pitch or alignment that the kernels do not take.
pub fn forward_tiled(
    tile: Tile,
    images: u32,
    problems: &[ForwardProblem],
) -> Result<Vec<Launch>, DeviceError> {
    images_in_range(images)?;
    for p in problems {
        check(p)?;
    }
    // Tiles with the longest sums start first, so that none is left running alone at the end.
    let mut problems = problems.to_vec();
    problems
        .sort_by_key(|p| std::cmp::Reverse(p.layer.mask.read(p.layer.rows - 1, p.layer.columns)));
    let kernel = match tile {
        Tile::Small => "linear_forward_small",
        Tile::Medium => "linear_forward_medium",
        Tile::Large => "linear_forward_large",
    };
    problems
        .chunks(PROBLEMS)
        .map(|chunk| {
            let mut parameter = ForwardParams {
                images,
                count: chunk.len() as u32,
                ..ForwardParams::zeroed()
            };
            let mut blocks = 0u64;
            for (entry, p) in parameter.problems.iter_mut().zip(chunk) {
                let row_tiles = p.layer.rows.div_ceil(tile.side());
                *entry = entry_of(p, blocks as u32, row_tiles);
                blocks += u64::from(row_tiles) * u64::from(images.div_ceil(tile.side()));
                need(blocks <= u64::from(MOST), "blocks in a launch", blocks)?;
            }
            Ok(
                Launch::new(kernel, blocks as u32, Tile::THREADS, &parameter)
                    .with_shared(tile.shared()),
            )
        })
        .collect()
}

fn check(p: &ForwardProblem) -> Result<(), DeviceError> {
    p.layer.check()?;
    aligned("weights", p.weights)?;
    aligned("biases", p.bias)?;
    matrix("inputs", p.input, p.layer.columns)?;
    match p.result {
        ForwardResult::Numbers(numbers) => matrix("outputs", numbers, p.layer.rows),
        ForwardResult::Hidden {
            before,
            after,
            pitch: found,
        } => {
            if before != Address::NULL {
                aligned("pre-activations", before)?;
            }
            aligned("activations", after)?;
            pitch("activations", found, p.layer.rows)
        }
    }
}

fn entry_of(p: &ForwardProblem, first_block: u32, row_tiles: u32) -> Entry {
    let (before, after, numbers, result_pitch) = match p.result {
        ForwardResult::Hidden {
            before,
            after,
            pitch,
        } => (before, after, Address::NULL, pitch),
        ForwardResult::Numbers(m) => (Address::NULL, Address::NULL, m.address, m.pitch),
    };
    Entry {
        input: p.input.address,
        weights: p.weights,
        bias: p.bias,
        before,
        after,
        numbers,
        input_pitch: p.input.pitch,
        weights_pitch: p.layer.pitch,
        result_pitch,
        rows: p.layer.rows,
        columns: p.layer.columns,
        mask: p.layer.mask,
        first_block,
        row_tiles,
    }
}

/// What `problems` cost at the least.
pub fn forward_demand(images: u32, problems: &[ForwardProblem]) -> Demand {
    let images = f64::from(images);
    let mut demand = Demand::default();
    for p in problems {
        let (rows, columns) = (f64::from(p.layer.rows), f64::from(p.layer.columns));
        let result = match p.result {
            ForwardResult::Hidden { before, .. } if before == Address::NULL => 2.0,
            ForwardResult::Hidden { .. } | ForwardResult::Numbers(_) => 4.0,
        };
        demand.matrix_operations += 2.0 * images * p.layer.unmasked();
        demand.bytes += 2.0 * p.layer.unmasked() + 4.0 * rows;
        demand.bytes += images * (2.0 * columns + result * rows);
    }
    demand
}
