//! The incremental sampler: drawing is a forward substitution, done in blocks (design in docs/sampling.md).
//!
//! Units are sorted by degree, so a hidden unit is final as soon as the pixels below its degree are
//! drawn, and it is computed once. Pixels are taken in blocks. What finished blocks contribute to a
//! block is a matrix product with packed panels; inside the block each unit, once final, is *pushed*
//! into all that read it there. The values of a pixel are looked at only for the images whose gate
//! opened. Every sum is the chain that the full forward pass takes, so the images are the same bits.

use std::sync::Arc;

use rayon::prelude::*;

use crate::conditions::Budget;
use crate::conditions::Conditions;
use crate::data::SparseImages;
use crate::families::sarm::config::Channel;
use crate::families::sarm::{Left, Sarm, StageShape, StageTensor, Values};
use crate::family::EngineError;
use crate::family::{Sampler, SamplingPlan, Told};
use crate::numeric::{Isa, Kernel, LANES, Vector, gelu, sigmoid};

use super::draw::{ValueDraw, opens, sample_tiles, words};
use super::left::LeftTables;
use super::places::Places;
use super::tile::{Packed, padded};
use super::weights::dense_layers;

/// Pixels per block unless asked otherwise: whole tiles of every instruction set, and a triangle
/// that stays in the nearest cache.
const BLOCK: usize = 24;
/// Blocks of lanes that walk together: enough open gates per pixel to fill tiles.
const TILE_BLOCKS: usize = 8;

/// One stage, its weights laid out in the order they are used.
struct StageTables {
    shape: StageShape,
    /// Pixels of the blocks: block i is `cuts[i] .. cuts[i + 1]`.
    cuts: Vec<usize>,
    /// Input layer, hidden layers, gate: what finished blocks contribute.
    history: Vec<Packed>,
    /// Panels of `history` that belong to each block: `[layer][block]` ranges.
    panels: Vec<Vec<std::ops::Range<usize>>>,
    biases: Vec<Vec<f32>>,
    /// What a unit (for the input layer: a channel of a pixel) adds inside its block, `[layer][source]`.
    pushes: Vec<Vec<Push>>,
    /// Values of each pixel: `[unit read][padded values]`, and their biases.
    values: Vec<Vec<f32>>,
    value_bias: Vec<f32>,
    left: Option<LeftTables>,
    draw: ValueDraw,
}

/// Weights from one source to consecutive rows.
struct Push {
    first: usize,
    weights: Vec<f32>,
}

impl StageTables {
    fn new(model: &Sarm, stage: usize, isa: Isa, block: usize) -> Self {
        let shape = model.stages[stage];
        let u = shape.units_per_pixel;
        let mut cuts: Vec<usize> = (0..shape.pixels).step_by(block.max(1)).collect();
        cuts.push(shape.pixels);
        let end_of_block = |pixel: usize| cuts[pixel / block.max(1) + 1];
        let mut history = Vec::new();
        let mut panels = Vec::new();
        let mut biases = Vec::new();
        let mut pushes = Vec::new();
        for (layer, tensor) in dense_layers(&shape).into_iter().enumerate() {
            let spec = &model.tensors[model.index(stage, tensor)];
            let weight = model.parameter(stage, tensor);
            let columns = spec.columns();
            let at = |r: usize, k: usize| weight[r * columns + k];
            let per_pixel = spec.rows() / shape.pixels;
            let row_cuts: Vec<usize> = cuts.iter().map(|c| c * per_pixel).collect();
            let mut packed = Packed::plan(&row_cuts, isa.tile_rows(), |first, _| {
                let start = cuts[first / per_pixel / block.max(1)];
                0..if layer == 0 {
                    shape.context() + shape.channels * start
                } else {
                    start * u
                }
            });
            packed.fill(weight, columns);
            panels.push(
                row_cuts
                    .windows(2)
                    .map(|ends| {
                        let place = |row| packed.panels().partition_point(|p| p.first < row);
                        place(ends[0])..place(ends[1])
                    })
                    .collect(),
            );
            history.push(packed);
            biases.push(model.parameters[model.index(stage, tensor) + 1].clone());
            pushes.push(if layer == 0 {
                (0..shape.channels * shape.pixels)
                    .map(|source| {
                        let pixel = source / shape.channels;
                        let first = (pixel + 1) * u;
                        let column = shape.context() + source;
                        let rows = first..end_of_block(pixel) * u;
                        Push {
                            first,
                            weights: rows.map(|r| at(r, column)).collect(),
                        }
                    })
                    .collect()
            } else {
                (0..shape.units())
                    .map(|unit| {
                        let degree = shape.degree(unit);
                        let first = degree * per_pixel;
                        let rows = first..end_of_block(degree) * per_pixel;
                        Push {
                            first,
                            weights: rows.map(|r| at(r, unit)).collect(),
                        }
                    })
                    .collect()
            });
        }
        let p = shape.values;
        let stride = padded(p);
        let weight = model.parameter(stage, StageTensor::ValueWeight);
        let bias = model.parameter(stage, StageTensor::ValueBias);
        let units = shape.units();
        let values = (0..shape.pixels)
            .map(|pixel| {
                let read = shape.units_read(pixel);
                let mut table = vec![0.0; read * stride];
                for v in 0..p {
                    for k in 0..read {
                        table[k * stride + v] = weight[(pixel * p + v) * units + k];
                    }
                }
                table
            })
            .collect();
        let mut value_bias = vec![0.0; shape.pixels * stride];
        for (to, from) in value_bias
            .chunks_exact_mut(stride)
            .zip(bias.chunks_exact(p))
        {
            to[..p].copy_from_slice(from);
        }
        Self {
            shape,
            cuts,
            history,
            panels,
            biases,
            pushes,
            values,
            value_bias,
            left: LeftTables::new(model, stage),
            draw: ValueDraw::new(model, stage),
        }
    }
}

/// Draws images by the blocked triangular solve.
pub struct BlockedSampler {
    isa: Isa,
    pool: Arc<rayon::ThreadPool>,
    stages: Vec<StageTables>,
    order: Vec<u16>,
    size: (usize, usize),
    channels: Vec<Channel>,
    seed: u64,
    told: Told,
    values: Values,
    left: Option<Left>,
}

impl BlockedSampler {
    /// Lay out `model` for drawing.
    pub(super) fn new(
        isa: Isa,
        pool: Arc<rayon::ThreadPool>,
        model: &Sarm,
        plan: &SamplingPlan,
        told: Told,
    ) -> Self {
        let block = plan.block.unwrap_or(BLOCK);
        Self {
            isa,
            stages: pool.install(|| {
                (0..model.stages.len())
                    .into_par_iter()
                    .map(|s| StageTables::new(model, s, isa, block))
                    .collect()
            }),
            pool,
            order: model.order.concat(),
            size: (model.config.image.height, model.config.image.width),
            channels: model.config.input.channels(),
            seed: plan.seed,
            told,
            values: model.values(),
            left: model.left(),
        }
    }
}

impl Sampler for BlockedSampler {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let share = count.div_ceil(self.pool.current_num_threads());
        let tile = share
            .next_multiple_of(LANES)
            .clamp(LANES, TILE_BLOCKS * LANES);
        let conditions = &self.told.of(first, count)?;
        sample_tiles(&self.pool, self.size, count, tile, |start, images| {
            self.isa.dispatch(Drawing {
                sampler: self,
                conditions,
                buffers: Buffers::new(self, images.div_ceil(LANES)),
                first: first + start as u64,
                images,
            })
        })
    }

    fn preferred_count(&self) -> usize {
        self.pool.current_num_threads() * TILE_BLOCKS * LANES * 8
    }
}

/// Buffers of one tile; `[block][row][lane]`.
struct Buffers {
    blocks: usize,
    /// Condition and pixels in drawing order.
    inputs: Vec<f32>,
    /// Rows of `inputs` that are not 0 in every lane, ascending, of each block.
    shown: Vec<Vec<u32>>,
    /// Pre-activations, then activations, of the input layer and each hidden layer.
    hidden: Vec<Vec<f32>>,
    gates: Vec<f32>,
    /// Of each image's total.
    budgets: Vec<Option<Budget>>,
    /// What is left of it, as gates are shown it.
    places: Places,
}

impl Buffers {
    fn new(sampler: &BlockedSampler, blocks: usize) -> Self {
        let lanes = blocks * LANES;
        let most = |f: fn(&StageShape) -> usize| {
            sampler
                .stages
                .iter()
                .map(|s| f(&s.shape))
                .max()
                .unwrap_or(0)
        };
        let conditions = sampler.stages.first().map_or(0, |s| s.shape.conditions);
        Self {
            blocks,
            inputs: vec![0.0; lanes * (conditions + sampler.channels.len() * sampler.order.len())],
            shown: vec![(0..conditions as u32).collect(); blocks],
            hidden: vec![vec![0.0; lanes * most(StageShape::units)]; most(|s| s.layers) + 1],
            gates: vec![0.0; lanes * most(|s| s.pixels)],
            budgets: vec![None; lanes],
            places: Places::new(lanes),
        }
    }
}

/// An image whose gate opened at the current pixel.
#[derive(Clone, Copy)]
struct Open {
    block: usize,
    lane: usize,
    words: [u32; 2],
}

struct Drawing<'a> {
    sampler: &'a BlockedSampler,
    conditions: &'a Conditions,
    buffers: Buffers,
    first: u64,
    images: usize,
}

impl Kernel for Drawing<'_> {
    type Output = Vec<Vec<(u16, f32)>>;

    #[inline(always)]
    fn run<V: Vector>(mut self) -> Self::Output {
        let mut drawn = vec![Vec::new(); self.images];
        let sampler = self.sampler;
        let width = self.buffers.inputs.len() / (self.buffers.blocks * LANES);
        for image in 0..self.images {
            let number = self.first + image as u64;
            let condition = self.conditions.row(number);
            self.buffers.budgets[image] = sampler.values.first(self.conditions.budget(number));
            if let (Some(left), Some(budget)) = (sampler.left, self.buffers.budgets[image]) {
                self.buffers.places.set(image, left.place(budget.remaining));
            }
            for (c, v) in condition.iter().enumerate() {
                let block = image / LANES;
                self.buffers.inputs[(block * width + c) * LANES + image % LANES] = *v;
            }
        }
        for tables in &sampler.stages {
            for block in 0..tables.cuts.len() - 1 {
                self.history::<V>(tables, block, width);
                for pixel in tables.cuts[block]..tables.cuts[block + 1] {
                    self.pixel::<V>(tables, pixel, width, &mut drawn);
                }
            }
        }
        drawn
    }
}

impl Drawing<'_> {
    /// Start the rows of a block from their biases and what finished blocks contribute.
    #[inline(always)]
    fn history<V: Vector>(&mut self, tables: &StageTables, block: usize, width: usize) {
        let units = tables.shape.units();
        let layers = tables.shape.layers;
        let buffers = &mut self.buffers;
        for (layer, packed) in tables.history.iter().enumerate() {
            let panels = &packed.panels()[tables.panels[layer][block].clone()];
            let bias = &tables.biases[layer];
            for lanes in 0..buffers.blocks {
                let (below, here) = buffers.hidden.split_at_mut(layer.min(layers + 1));
                let (b, rows_b) = if layer == 0 {
                    (&buffers.inputs, width)
                } else {
                    (&below[layer - 1], units)
                };
                let (c, rows_c) = match here.first_mut() {
                    Some(hidden) if layer <= layers => (hidden, units),
                    _ => (&mut buffers.gates, tables.shape.pixels),
                };
                // Nine pixels in ten are 0, and adding their products changes no sum (but the sign of a 0).
                let terms = (layer == 0).then(|| &buffers.shown[lanes][..]);
                let b = &b[lanes * rows_b * LANES..(lanes + 1) * rows_b * LANES];
                let c = &mut c[lanes * rows_c * LANES..(lanes + 1) * rows_c * LANES];
                for panel in panels {
                    let rows = panel.first..panel.first + panel.rows;
                    super::tile::start_from_bias(&bias[rows.clone()], &mut c[rows.start * LANES..]);
                    packed.multiply::<V>(panel, b, c, terms);
                }
            }
        }
    }

    /// Finish the units of one degree, draw its pixel, and push both into the rest of the block.
    #[inline(always)]
    fn pixel<V: Vector>(
        &mut self,
        tables: &StageTables,
        pixel: usize,
        width: usize,
        drawn: &mut [Vec<(u16, f32)>],
    ) {
        let shape = &tables.shape;
        let (units, u) = (shape.units(), shape.units_per_pixel);
        let buffers = &mut self.buffers;
        for layer in 0..=shape.layers {
            let (here, above) = buffers.hidden.split_at_mut(layer + 1);
            let hidden = &mut here[layer];
            let last = layer == shape.layers;
            let (target, target_rows) = match above.first_mut() {
                Some(next) if !last => (next, units),
                _ => (&mut buffers.gates, shape.pixels),
            };
            for lanes in 0..buffers.blocks {
                let hidden = &mut hidden[lanes * units * LANES..(lanes + 1) * units * LANES];
                let target =
                    &mut target[lanes * target_rows * LANES..(lanes + 1) * target_rows * LANES];
                for unit in pixel * u..(pixel + 1) * u {
                    let h = &mut hidden[unit * LANES..(unit + 1) * LANES];
                    // SAFETY: `h` holds LANES numbers.
                    let value = unsafe {
                        let value = gelu(V::load(h.as_ptr()));
                        value.store(h.as_mut_ptr());
                        value
                    };
                    push::<V>(&tables.pushes[layer + 1][unit], value, target);
                }
            }
        }
        let place = shape.earlier + pixel;
        let mut open: Vec<Open> = Vec::with_capacity(buffers.blocks * LANES);
        for lanes in 0..buffers.blocks {
            let start = (lanes * shape.pixels + pixel) * LANES;
            let gate = &buffers.gates[start..start + LANES];
            // SAFETY: `gate` holds LANES numbers.
            let mut gate = unsafe { V::load(gate.as_ptr()) };
            if let Some(left) = &tables.left {
                gate = left.gate(pixel, buffers.places.at(lanes * LANES), gate);
            }
            let zero = sigmoid(gate).to_array();
            let image = self.first + (lanes * LANES) as u64;
            let words = words(self.sampler.seed, image, place as u32);
            for lane in 0..LANES.min(self.images - lanes * LANES) {
                let budget = buffers.budgets[lanes * LANES + lane];
                if opens(zero[lane], words[0][lane], budget) {
                    open.push(Open {
                        block: lanes,
                        lane,
                        words: [words[1][lane], words[2][lane]],
                    });
                }
            }
        }
        let column = (shape.conditions + shape.channels * place) * LANES;
        let mut touched = [false; TILE_BLOCKS];
        let mut scratch = Vec::new();
        let hidden = &buffers.hidden[shape.layers];
        let stride = padded(shape.values);
        let mut numbers = vec![0.0f32; ENTRIES * stride];
        for group in open.chunks(ENTRIES) {
            tables.values_of::<V>(pixel, hidden, group, &mut numbers);
            for (o, numbers) in group.iter().zip(numbers.chunks_exact_mut(stride)) {
                let image = o.block * LANES + o.lane;
                let budget = &mut buffers.budgets[image];
                if let Some(left) = &tables.left {
                    left.values::<V>(pixel, *budget, numbers);
                }
                let x = tables
                    .draw
                    .draw::<V>(numbers, budget, o.words, &mut scratch);
                drawn[image].push((self.sampler.order[place], x));
                let inputs = &mut buffers.inputs[o.block * width * LANES + column + o.lane..];
                for (to, channel) in inputs.iter_mut().step_by(LANES).zip(&self.sampler.channels) {
                    *to = channel.apply(x);
                }
                if let (Some(left), Some(budget)) = (self.sampler.left, *budget) {
                    buffers.places.set(image, left.place(budget.remaining));
                }
                touched[o.block] = true;
            }
        }
        // A block of lanes without an open gate adds zero to all: left out.
        for lanes in (0..buffers.blocks).filter(|b| touched[*b]) {
            let rows = shape.conditions + shape.channels * place;
            buffers.shown[lanes].extend(rows as u32..(rows + shape.channels) as u32);
            let shown = &buffers.inputs[lanes * width * LANES + column..];
            let target = &mut buffers.hidden[0][lanes * units * LANES..(lanes + 1) * units * LANES];
            let pushes = &tables.pushes[0][pixel * shape.channels..(pixel + 1) * shape.channels];
            for (x, weights) in shown.chunks_exact(LANES).zip(pushes) {
                // SAFETY: `x` holds LANES numbers.
                let x = unsafe { V::load(x.as_ptr()) };
                push::<V>(weights, x, target);
            }
        }
    }
}

/// `target[first + r] += weights[r] source`.
#[inline(always)]
fn push<V: Vector>(push: &Push, source: V, target: &mut [f32]) {
    let target = &mut target[push.first * LANES..(push.first + push.weights.len()) * LANES];
    for (w, row) in push.weights.iter().zip(target.chunks_exact_mut(LANES)) {
        // SAFETY: `row` holds LANES numbers.
        unsafe {
            let sum = V::load(row.as_ptr());
            V::splat(*w).fma(source, sum).store(row.as_mut_ptr());
        }
    }
}

/// Images whose values are computed together: their sums fill the registers.
const ENTRIES: usize = 6;

impl StageTables {
    /// Values of a pixel for up to [`ENTRIES`] images, `[image][padded values]`.
    #[inline(always)]
    fn values_of<V: Vector>(&self, pixel: usize, hidden: &[f32], open: &[Open], out: &mut [f32]) {
        match open.len() {
            1 => self.values_of_count::<V, 1>(pixel, hidden, open, out),
            2 => self.values_of_count::<V, 2>(pixel, hidden, open, out),
            3 => self.values_of_count::<V, 3>(pixel, hidden, open, out),
            4 => self.values_of_count::<V, 4>(pixel, hidden, open, out),
            5 => self.values_of_count::<V, 5>(pixel, hidden, open, out),
            _ => self.values_of_count::<V, ENTRIES>(pixel, hidden, open, out),
        }
    }

    #[inline(always)]
    fn values_of_count<V: Vector, const M: usize>(
        &self,
        pixel: usize,
        hidden: &[f32],
        open: &[Open],
        out: &mut [f32],
    ) {
        let stride = padded(self.shape.values);
        let units = self.shape.units();
        let read = self.shape.units_read(pixel);
        let table = &self.values[pixel];
        let bias = &self.value_bias[pixel * stride..(pixel + 1) * stride];
        let rows: [&[f32]; M] = std::array::from_fn(|i| {
            let start = open[i].block * units * LANES + open[i].lane;
            &hidden[start..start + (read - 1) * LANES + 1]
        });
        assert!(table.len() == read * stride && out.len() >= M * stride);
        for strip in (0..stride).step_by(LANES) {
            // SAFETY: a row of the table and the bias hold `stride` numbers, a whole number of
            // vectors; `rows` end at the last unit read; `out` holds M rows of `stride`.
            unsafe {
                let mut sums = [V::load(bias.as_ptr().add(strip)); M];
                for k in 0..read {
                    let w = V::load(table.as_ptr().add(k * stride + strip));
                    for (row, sum) in rows.iter().zip(&mut sums) {
                        *sum = V::splat(*row.get_unchecked(k * LANES)).fma(w, *sum);
                    }
                }
                for (i, sum) in sums.iter().enumerate() {
                    sum.store(out.as_mut_ptr().add(i * stride + strip));
                }
            }
        }
    }
}
