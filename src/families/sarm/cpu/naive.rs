//! The naive sampler: one full forward pass of a stage for every pixel, as the papers draw.
//!
//! The reference for tests and `bench`: same tiles, same chains, same random numbers, so its images
//! are those of the incremental sampler. It multiplies whole matrices, masked halves included.

use std::sync::Arc;

use crate::conditions::Conditions;
use crate::data::SparseImages;
use crate::families::sarm::{Sarm, StageTensor};
use crate::family::EngineError;
use crate::family::{Sampler, SamplingPlan, Told};
use crate::numeric::{Isa, Kernel, LANES, Vector, gelu, sigmoid};

use super::draw::{ValueDraw, opens, sample_tiles, words};
use super::left::LeftTables;
use super::tile::{Packed, padded, start_from_bias};
use super::weights::dense_layers;

/// Images that one task draws together.
const TILE: usize = 2 * LANES;

struct StageTables {
    /// Input layer, hidden layers, gate, values: whole matrices.
    matrices: Vec<(Packed, Vec<f32>)>,
    left: Option<LeftTables>,
    draw: ValueDraw,
}

/// Draws images by full forward passes.
pub struct NaiveSampler {
    isa: Isa,
    pool: Arc<rayon::ThreadPool>,
    model: Sarm,
    stages: Vec<StageTables>,
    seed: u64,
    told: Told,
}

impl NaiveSampler {
    /// Lay out `model` for drawing.
    pub(super) fn new(
        isa: Isa,
        pool: Arc<rayon::ThreadPool>,
        model: &Sarm,
        plan: &SamplingPlan,
        told: Told,
    ) -> Self {
        let stages = (0..model.stages.len())
            .map(|s| {
                let mut tensors = dense_layers(&model.stages[s]);
                tensors.push(StageTensor::ValueWeight);
                StageTables {
                    matrices: tensors
                        .into_iter()
                        .map(|tensor| {
                            let index = model.index(s, tensor);
                            let (rows, columns) =
                                (model.tensors[index].rows(), model.tensors[index].columns());
                            let weight = &model.parameters[index];
                            let mut packed =
                                Packed::plan(&[0, rows], isa.tile_rows(), |_, _| 0..columns);
                            packed.fill(weight, columns);
                            (packed, model.parameters[index + 1].clone())
                        })
                        .collect(),
                    left: LeftTables::new(model, s),
                    draw: ValueDraw::new(model, s),
                }
            })
            .collect();
        Self {
            isa,
            pool,
            model: model.clone(),
            stages,
            seed: plan.seed,
            told,
        }
    }
}

impl Sampler for NaiveSampler {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let image = self.model.config.image;
        let share = count.div_ceil(self.pool.current_num_threads());
        let tile = share.next_multiple_of(LANES).clamp(LANES, TILE);
        let size = (image.height, image.width);
        let conditions = &self.told.of(first, count)?;
        sample_tiles(&self.pool, size, count, tile, |start, images| {
            self.isa.dispatch(NaiveDrawing {
                sampler: self,
                conditions,
                first: first + start as u64,
                images,
            })
        })
    }

    fn preferred_count(&self) -> usize {
        self.pool.current_num_threads() * TILE
    }
}

struct NaiveDrawing<'a> {
    sampler: &'a NaiveSampler,
    conditions: &'a Conditions,
    first: u64,
    images: usize,
}

impl Kernel for NaiveDrawing<'_> {
    type Output = Vec<Vec<(u16, f32)>>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Self::Output {
        let model = &self.sampler.model;
        let blocks = self.images.div_ceil(LANES);
        let width = model.inputs();
        let channels = model.config.input.channels();
        let mut inputs = vec![0.0f32; blocks * width * LANES];
        let mut drawn = vec![Vec::new(); self.images];
        let mut budgets = vec![None; self.images];
        let range = model.values();
        for image in 0..self.images {
            let number = self.first + image as u64;
            let condition = self.conditions.row(number);
            budgets[image] = range.first(self.conditions.budget(number));
            for (c, v) in condition.iter().enumerate() {
                inputs[(image / LANES * width + c) * LANES + image % LANES] = *v;
            }
        }
        let mut scratch = Vec::new();
        for (s, tables) in self.sampler.stages.iter().enumerate() {
            let shape = &model.stages[s];
            for pixel in 0..shape.pixels {
                let place = shape.earlier + pixel;
                let [gates, values] = self.forward::<V>(s, &inputs, width, blocks);
                for (image, (drawn, budget)) in drawn.iter_mut().zip(&mut budgets).enumerate() {
                    let (block, lane) = (image / LANES, image % LANES);
                    let number = self.first + image as u64;
                    let w = words(self.sampler.seed, number, place as u32);
                    let mut logit = gates[(block * shape.pixels + pixel) * LANES + lane];
                    if let (Some(left), Some(tables), Some(budget)) =
                        (model.left(), &tables.left, *budget)
                    {
                        logit = tables.gate(pixel, left.place(budget.remaining), logit);
                    }
                    if !opens(sigmoid(logit), w[0][0], *budget) {
                        continue;
                    }
                    let p = shape.values;
                    let mut numbers: Vec<f32> = (0..p)
                        .map(|v| values[(block * shape.pixels * p + pixel * p + v) * LANES + lane])
                        .collect();
                    if let Some(tables) = &tables.left {
                        numbers.resize(padded(p), 0.0);
                        tables.values::<V>(pixel, *budget, &mut numbers);
                    }
                    let x =
                        tables
                            .draw
                            .draw::<V>(&numbers, budget, [w[1][0], w[2][0]], &mut scratch);
                    drawn.push((model.order[s][pixel], x));
                    for (c, channel) in channels.iter().enumerate() {
                        let column = shape.conditions + channels.len() * place + c;
                        inputs[(block * width + column) * LANES + lane] = channel.apply(x);
                    }
                }
            }
        }
        drawn
    }
}

impl NaiveDrawing<'_> {
    /// All gates and values of a stage, `[block][row][lane]`.
    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        s: usize,
        inputs: &[f32],
        width: usize,
        blocks: usize,
    ) -> [Vec<f32>; 2] {
        let shape = &self.sampler.model.stages[s];
        let units = shape.units();
        let matrices = &self.sampler.stages[s].matrices;
        let mut h = Vec::new();
        for (layer, matrix) in matrices.iter().enumerate().take(shape.layers + 1) {
            h = if layer == 0 {
                linear::<V>(matrix, inputs, width, units, blocks)
            } else {
                linear::<V>(matrix, &h, units, units, blocks)
            };
            for v in h.chunks_exact_mut(LANES) {
                // SAFETY: the chunk holds LANES numbers.
                unsafe { gelu(V::load(v.as_ptr())).store(v.as_mut_ptr()) };
            }
        }
        let (gate, value) = (&matrices[shape.layers + 1], &matrices[shape.layers + 2]);
        [
            linear::<V>(gate, &h, units, shape.pixels, blocks),
            linear::<V>(value, &h, units, shape.pixels * shape.values, blocks),
        ]
    }
}

/// A whole matrix and its bias on every block of lanes.
#[inline(always)]
fn linear<V: Vector>(
    (packed, bias): &(Packed, Vec<f32>),
    b: &[f32],
    b_rows: usize,
    rows: usize,
    blocks: usize,
) -> Vec<f32> {
    let mut c = vec![0.0f32; blocks * rows * LANES];
    for block in c.chunks_exact_mut(rows * LANES) {
        start_from_bias(bias, block);
    }
    for panel in packed.panels() {
        for block in 0..blocks {
            packed.multiply::<V>(
                panel,
                &b[block * b_rows * LANES..(block + 1) * b_rows * LANES],
                &mut c[block * rows * LANES..(block + 1) * rows * LANES],
                None,
            );
        }
    }
    c
}
