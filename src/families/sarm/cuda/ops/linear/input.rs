//! Backward to the input: `delta_below = (delta W) gelu'(z_below)`.
//!
//! The output layer has so many rows that a small batch makes few tiles with long sums. Those are cut
//! into slices of rows, each a block's, whose partial sums a second kernel adds up in a fixed order.

use bytemuck::{Pod, Zeroable};

use super::{
    Demand, Layer, MOST, Matrix, PROBLEMS, Tiling, aligned, images_in_range, matrix, need,
};
use crate::device::DeviceError;
use crate::device::cuda::device::{Address, Launch, Properties};
use crate::device::cuda::ops::tile::{Alike, Tile, estimate};
use crate::families::sarm::cuda::ops::mask::Mask;

/// One layer to run backward to its input.
#[derive(Debug, Clone, Copy)]
pub struct InputProblem {
    /// Shape and mask.
    pub layer: Layer,
    /// bf16 `[rows, columns]`, masked ones 0.
    pub weights: Address,
    /// Derivative of the loss by what the layer gave: bf16 `[images, rows]`.
    pub delta: Matrix,
    /// Pre-activations of the layer below: bf16 `[images, columns]`.
    pub before: Matrix,
    /// Result, the derivative by `before`: bf16 `[images, columns]`; up to three values past `columns` are written as 0.
    pub below: Matrix,
}

/// Memory for partial sums; nothing in it outlives the launches.
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    /// f32 values; may be NULL where none are needed.
    pub address: Address,
    /// How many.
    pub len: u64,
}

impl Scratch {
    /// None.
    pub const NONE: Scratch = Scratch {
        address: Address::NULL,
        len: 0,
    };
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    delta: Address,
    weights: Address,
    before: Address,
    below: Address,
    partial: Address,
    delta_pitch: u32,
    weights_pitch: u32,
    before_pitch: u32,
    below_pitch: u32,
    partial_pitch: u32,
    rows: u32,
    columns: u32,
    mask: Mask,
    first_block: u32,
    column_tiles: u32,
    slice: u32,
    slices: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct InputParams {
    images: u32,
    count: u32,
    problems: [Entry; PROBLEMS],
}

const _: () = assert!(size_of::<Entry>() == 96 && size_of::<InputParams>() == 8 + 16 * 96);

/// Threads in a block of the kernel that adds up slices.
const SUM_THREADS: u32 = 256;

/// Slices that the kernel can tell apart: one a lane.
const MOST_SLICES: u32 = 32;

/// Launches for `problems` on a batch of `images`, with the tile that suits the shapes and the card.
///
/// # Errors
/// [`DeviceError::Unsupported`] for a shape, pitch or alignment that the kernels do not take, or too little scratch.
pub fn backward_input(
    properties: &Properties,
    images: u32,
    scratch: Scratch,
    problems: &[InputProblem],
) -> Result<Vec<Launch>, DeviceError> {
    let tiling = choose(properties, images, problems);
    backward_input_tiled(tiling, images, scratch, problems)
}

/// f32 values of scratch that [`backward_input`] needs for these shapes; addresses are not looked at.
pub fn backward_input_scratch(
    properties: &Properties,
    images: u32,
    problems: &[InputProblem],
) -> u64 {
    scratch_of(choose(properties, images, problems), images, problems)
}

fn choose(properties: &Properties, images: u32, problems: &[InputProblem]) -> Tiling {
    let cost = |t: &Tiling| {
        let sums = 4.0 * scratch_of(*t, images, problems) as f64;
        let second = match sums > 0.0 {
            // A launch more, and its partial sums written and read through the second-level cache.
            true => 3500.0 + 2.0 * sums / (30.0 * f64::from(properties.multiprocessors.max(1))),
            false => 0.0,
        };
        estimate(
            properties.multiprocessors,
            t.tile.shape(),
            &tiles(*t, images, problems),
            4.0,
        ) + second
    };
    let all = Tile::ALL.into_iter().flat_map(|tile| {
        [1, 2, 4, 8, 16]
            .into_iter()
            .map(move |slices| Tiling { tile, slices })
    });
    all.min_by(|a, b| cost(a).total_cmp(&cost(b)))
        .unwrap_or(Tiling {
            tile: Tile::Small,
            slices: 1,
        })
}

/// Rows in a slice, the same for all problems, so that short sums stay whole; whole steps of every tile.
fn slice_rows(tiling: Tiling, problems: &[InputProblem]) -> u32 {
    let rows = problems.iter().map(|p| p.layer.rows).max().unwrap_or(1);
    let slices = tiling.slices.clamp(1, MOST_SLICES);
    rows.div_ceil(slices).next_multiple_of(64)
}

fn partial_pitch(p: &InputProblem) -> u32 {
    p.layer.columns.next_multiple_of(8)
}

/// f32 values of partial sums of one problem.
fn partial_len(images: u32, slices: u32, p: &InputProblem) -> u64 {
    match slices {
        0 | 1 => 0,
        n => u64::from(n) * u64::from(images) * u64::from(partial_pitch(p)),
    }
}

fn scratch_of(tiling: Tiling, images: u32, problems: &[InputProblem]) -> u64 {
    let slice = slice_rows(tiling, problems);
    problems
        .iter()
        .map(|p| partial_len(images, p.layer.rows.div_ceil(slice), p))
        .sum()
}

/// Column tiles that have something to add up in slice `slice` of a problem; in the last one all, for
/// their results are written even if nothing reads them.
fn column_tiles(p: &InputProblem, side: u32, slice: u32, rows_of_slice: u32, slices: u32) -> u32 {
    match slice + 1 == slices {
        true => p.layer.columns.div_ceil(side),
        false => {
            let last = (slice + 1) * rows_of_slice - 1;
            p.layer.mask.read(last, p.layer.columns).div_ceil(side)
        }
    }
}

/// The tiles of all problems, alike ones together.
fn tiles(tiling: Tiling, images: u32, problems: &[InputProblem]) -> Vec<Alike> {
    let side = tiling.tile.side();
    let slice = slice_rows(tiling, problems);
    let mut list = Vec::new();
    for p in problems {
        let rows = p.layer.rows;
        let slices = rows.div_ceil(slice);
        for s in 0..slices {
            let end = ((s + 1) * slice).min(rows);
            for j in 0..column_tiles(p, side, s, slice, slices) {
                let first = p.layer.mask.first_reader(j * side, rows).max(s * slice);
                list.push((u64::from(images.div_ceil(side)), end.saturating_sub(first)));
            }
        }
    }
    list
}

/// [`backward_input`] with a given tile and number of slices.
///
/// # Errors
/// [`DeviceError::Unsupported`] for a shape, pitch or alignment that the kernels do not take, or too little scratch.
pub fn backward_input_tiled(
    tiling: Tiling,
    images: u32,
    scratch: Scratch,
    problems: &[InputProblem],
) -> Result<Vec<Launch>, DeviceError> {
    images_in_range(images)?;
    for p in problems {
        p.layer.check()?;
        aligned("weights", p.weights)?;
        matrix("derivatives", p.delta, p.layer.rows)?;
        matrix("pre-activations", p.before, p.layer.columns)?;
        matrix("derivatives below", p.below, p.layer.columns)?;
        need(
            p.below.address != p.delta.address && p.below.address != p.weights,
            "derivatives below in the place of an operand",
            p.below.address.0,
        )?;
    }
    let wanted = scratch_of(tiling, images, problems);
    if wanted > 0 {
        aligned("scratch", scratch.address)?;
        need(scratch.len >= wanted, "values of scratch", scratch.len)?;
    }
    // Tiles with the longest sums start first, so that none is left running alone at the end.
    let mut problems = problems.to_vec();
    problems.sort_by_key(|p| std::cmp::Reverse(p.layer.rows));
    let slice = slice_rows(tiling, &problems);
    let mut partial = scratch.address.0;
    let mut launches = Vec::new();
    for chunk in problems.chunks(PROBLEMS) {
        let (products, sums) = launch(tiling.tile, images, slice, &mut partial, chunk)?;
        launches.push(products);
        launches.extend(sums);
    }
    Ok(launches)
}

/// The launch that multiplies, and the one that adds up slices if there are any.
fn launch(
    tile: Tile,
    images: u32,
    slice: u32,
    partial: &mut u64,
    problems: &[InputProblem],
) -> Result<(Launch, Option<Launch>), DeviceError> {
    let empty = InputParams {
        images,
        ..InputParams::zeroed()
    };
    let (mut products, mut sums) = (empty, empty);
    let (mut blocks, mut sum_blocks) = (0u64, 0u64);
    let image_tiles = u64::from(images.div_ceil(tile.side()));
    for p in problems {
        let slices = p.layer.rows.div_ceil(slice);
        let mut entry = Entry {
            delta: p.delta.address,
            weights: p.weights,
            before: p.before.address,
            below: p.below.address,
            partial: Address::NULL,
            delta_pitch: p.delta.pitch,
            weights_pitch: p.layer.pitch,
            before_pitch: p.before.pitch,
            below_pitch: p.below.pitch,
            partial_pitch: partial_pitch(p),
            rows: p.layer.rows,
            columns: p.layer.columns,
            mask: p.layer.mask,
            first_block: blocks as u32,
            column_tiles: p.layer.columns.div_ceil(tile.side()),
            slice,
            slices,
        };
        if slices > 1 {
            entry.partial = Address(*partial);
            *partial += 4 * partial_len(images, slices, p);
        }
        products.problems[products.count as usize] = entry;
        products.count += 1;
        let of_slice = |s| column_tiles(p, tile.side(), s, slice, slices);
        blocks += image_tiles * (0..slices).map(|s| u64::from(of_slice(s))).sum::<u64>();
        need(blocks <= u64::from(MOST), "blocks in a launch", blocks)?;
        if slices > 1 {
            sums.problems[sums.count as usize] = Entry {
                first_block: sum_blocks as u32,
                ..entry
            };
            sums.count += 1;
            let groups = u64::from(images) * u64::from(p.layer.columns.div_ceil(4));
            need(groups <= u64::from(MOST), "results of a layer", groups)?;
            sum_blocks += groups.div_ceil(u64::from(SUM_THREADS));
        }
    }
    let (multiply, add) = match tile {
        Tile::Small => ("linear_backward_input_small", "linear_sum_slices_small"),
        Tile::Medium => ("linear_backward_input_medium", "linear_sum_slices_medium"),
        Tile::Large => ("linear_backward_input_large", "linear_sum_slices_large"),
    };
    let products =
        Launch::new(multiply, blocks as u32, Tile::THREADS, &products).with_shared(tile.shared());
    let sums = (sums.count > 0).then(|| Launch::new(add, sum_blocks as u32, SUM_THREADS, &sums));
    Ok((products, sums))
}

/// What `problems` cost at the least.
pub fn backward_input_demand(images: u32, problems: &[InputProblem]) -> Demand {
    let images = f64::from(images);
    let mut demand = Demand::default();
    for p in problems {
        let (rows, columns) = (f64::from(p.layer.rows), f64::from(p.layer.columns));
        demand.matrix_operations += 2.0 * images * p.layer.unmasked();
        demand.bytes += 2.0 * p.layer.unmasked() + images * (2.0 * rows + 4.0 * columns);
    }
    demand
}
