//! Training on the CPU: groups of images forward and back side by side, then each row of weights its
//! gradient and its Adam step.
//!
//! Both halves are shared out among threads, and neither adds numbers of different threads: an
//! image's derivatives are its own, and a weight's gradient sums over the whole batch in image order.
//! So the result is the same for any number of threads.

use std::sync::Arc;

use rayon::prelude::*;

use crate::conditions::ConditionedImages;
use crate::families::sarm::beyond;
use crate::families::sarm::{Sarm, StageTensor, Values};
use crate::family::EngineError;
use crate::family::{Trainer, TrainingState};
use crate::nn::adam::AdamRule;
use crate::nn::adam::Rates;
use crate::numeric::{Isa, Kernel, LANES, Vector};

use super::group::{GROUP, Group, Pass, Shared};
use super::tile::{Product, for_tiles, padded};
use super::weights::{Adam, PackedStage, Weights};

/// A model in training, or being scored, on the CPU.
pub struct CpuTrainer {
    isa: Isa,
    pool: Arc<rayon::ThreadPool>,
    model: Sarm,
    places: Vec<(u16, u16)>,
    values: Values,
    weights: Weights,
    /// `weights` without its numbers.
    shapes: Weights,
    packed: Vec<PackedStage>,
    groups: Vec<Group>,
    data: Arc<ConditionedImages>,
    /// How often each image counts; once, where nothing is said.
    image_weights: Option<Vec<f32>>,
}

/// Rows of one tensor whose gradient one task computes.
#[derive(Debug, Clone, Copy)]
struct Job {
    stage: usize,
    tensor: StageTensor,
}

impl CpuTrainer {
    /// Set up for `model` on `data`.
    pub fn new(
        isa: Isa,
        pool: Arc<rayon::ThreadPool>,
        model: &Sarm,
        data: Arc<ConditionedImages>,
    ) -> Self {
        let weights = Weights::new(model);
        let packed = (0..model.stages.len())
            .map(|s| PackedStage::plan(&weights, s, isa))
            .collect();
        Self {
            isa,
            pool,
            places: model.places(),
            values: model.values(),
            shapes: weights.shapes_only(),
            weights,
            packed,
            groups: Vec::new(),
            data,
            image_weights: None,
            model: model.clone(),
        }
    }

    /// Pack the weights and run `rows` through the network in groups; each group keeps what it found.
    fn pass(&mut self, rows: &[u32], scale: Option<f32>) -> Result<(), EngineError> {
        // Groups as large as pays, as small as keeps every thread busy. Their size changes no number.
        let threads = self.pool.current_num_threads();
        let size = rows
            .len()
            .div_ceil(threads)
            .next_multiple_of(LANES)
            .clamp(LANES, GROUP);
        let chunks: Vec<&[u32]> = rows.chunks(size).collect();
        let (model, isa) = (&self.model, self.isa);
        if self.groups.len() != chunks.len()
            || self
                .groups
                .iter()
                .zip(&chunks)
                .any(|(g, c)| g.blocks != c.len().div_ceil(LANES))
        {
            self.groups = chunks.iter().map(|c| Group::new(model, c.len())).collect();
        }
        let (packed, groups) = (&mut self.packed, &mut self.groups);
        let (weights, data) = (&self.weights, &self.data);
        let image_weights = self.image_weights.as_deref();
        let (places, values) = (&self.places, &self.values);
        let failure = self.pool.install(|| {
            packed
                .par_iter_mut()
                .enumerate()
                .for_each(|(s, p)| p.fill(weights, s, scale.is_some()));
            let shared = Shared {
                model,
                places,
                weights,
                packed,
                values,
            };
            groups
                .par_iter_mut()
                .zip(&chunks)
                .map(|(group, rows)| {
                    group.gather(&shared, data, rows)?;
                    if let Some(scale) = scale {
                        group.weigh(rows, scale, image_weights);
                    }
                    isa.dispatch(Pass {
                        group,
                        shared: &shared,
                        backward: scale.is_some(),
                    });
                    Ok(())
                })
                .collect::<Vec<Result<(), (usize, usize, f32)>>>()
                .into_iter()
                .find_map(Result::err)
        });
        match failure {
            None => Ok(()),
            Some((row, pixel, value)) => Err(beyond(&self.model, row, pixel, value)),
        }
    }

    fn nll_of_groups(&self) -> Vec<f64> {
        self.groups
            .iter()
            .flat_map(|g| &g.nll[..g.images])
            .copied()
            .collect()
    }

    /// Gradient of the mean negative log-likelihood of `rows`, in the model's tensor order, unpadded;
    /// and that mean. For tests: a step never forms it whole.
    ///
    /// # Errors
    /// [`EngineError::Beyond`] for a pixel beyond the model's range.
    ///
    /// # Panics
    /// Where a row is not among the images.
    pub fn gradients(&mut self, rows: &[u32]) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        self.pass(rows, Some(1.0 / rows.len() as f32))?;
        let mut list: Vec<Vec<f32>> = Vec::new();
        for job in self.jobs() {
            let p = self.weights.get(job.stage, job.tensor);
            let mut all = vec![0.0; p.spec.size()];
            let columns = p.spec.columns();
            for_rows(self.isa, &p.spec, |first, rows| {
                let g = self.row_gradient(job, first, rows);
                for r in 0..rows {
                    let read = p.spec.read(first + r);
                    all[(first + r) * columns..][..read]
                        .copy_from_slice(&g[r * p.stride..][..read]);
                }
            });
            list.push(all);
        }
        Ok((self.mean(rows), list))
    }

    fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (stage, shape) in self.model.stages.iter().enumerate() {
            let mut add = |tensor| jobs.push(Job { stage, tensor });
            add(StageTensor::InputWeight);
            add(StageTensor::InputBias);
            for l in 0..shape.layers {
                add(StageTensor::HiddenWeight(l));
                add(StageTensor::HiddenBias(l));
            }
            add(StageTensor::GateWeight);
            add(StageTensor::GateBias);
            add(StageTensor::ValueWeight);
            add(StageTensor::ValueBias);
            if shape.levels > 0 {
                add(StageTensor::LevelsWeight);
                add(StageTensor::LevelsBias);
            }
            if shape.left > 0 {
                add(StageTensor::LeftWeight);
            }
        }
        jobs
    }

    /// Gradient of rows `first ..` of a tensor, padded.
    fn row_gradient(&self, job: Job, first: usize, rows: usize) -> Vec<f32> {
        gradient_of_rows(
            self.isa,
            &self.groups,
            &self.weights,
            (job.stage, job.tensor),
            first..first + rows,
        )
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Call `f(first, rows)` for the row ranges that tasks take.
pub fn for_rows(
    isa: Isa,
    spec: &crate::families::sarm::TensorSpec,
    mut f: impl FnMut(usize, usize),
) {
    let step = rows_per_task(isa, spec);
    for first in (0..spec.rows()).step_by(step) {
        f(first, step.min(spec.rows() - first));
    }
}

/// Rows that one task takes: whole tiles of a dense matrix, whole pixels of the value matrix.
fn rows_per_task(isa: Isa, spec: &crate::families::sarm::TensorSpec) -> usize {
    if spec.shape.len() == 3 {
        spec.shape[1]
    } else {
        2 * isa.tile_rows()
    }
}

/// Gradient of some rows of a tensor, padded, summed over `groups` that have been run backward.
pub fn gradient_of_rows(
    isa: Isa,
    groups: &[Group],
    weights: &Weights,
    (stage, tensor): (usize, StageTensor),
    rows: std::ops::Range<usize>,
) -> Vec<f32> {
    isa.dispatch(RowGradient {
        groups,
        weights,
        job: Job { stage, tensor },
        first: rows.start,
        rows: rows.len(),
    })
}

struct RowGradient<'a> {
    groups: &'a [Group],
    weights: &'a Weights,
    job: Job,
    first: usize,
    rows: usize,
}

impl Kernel for RowGradient<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Vec<f32> {
        let p = self.weights.get(self.job.stage, self.job.tensor);
        let mut sums = vec![0.0f32; self.rows * p.stride];
        let shape = &self.weights.stages[self.job.stage];
        match self.job.tensor {
            StageTensor::InputWeight => self.dense::<V>(&mut sums, shape.units(), |group| {
                let delta = &group.stages[self.job.stage].delta[0];
                let inputs = &group.inputs_by_image;
                (delta, inputs, inputs.len() / (group.blocks * LANES))
            }),
            StageTensor::HiddenWeight(l) => self.dense::<V>(&mut sums, shape.units(), |group| {
                let work = &group.stages[self.job.stage];
                (&work.delta[l + 1], &work.by_image[l], padded(shape.units()))
            }),
            StageTensor::GateWeight => self.dense::<V>(&mut sums, shape.pixels, |group| {
                let work = &group.stages[self.job.stage];
                let last = &work.by_image[shape.layers];
                (&work.gates, last, padded(shape.units()))
            }),
            StageTensor::InputBias => self.bias::<V>(&mut sums, |w| &w.delta[0]),
            StageTensor::HiddenBias(l) => self.bias::<V>(&mut sums, |w| &w.delta[l + 1]),
            StageTensor::GateBias => self.bias::<V>(&mut sums, |w| &w.gates),
            StageTensor::ValueWeight => self.value::<V>(&mut sums),
            StageTensor::ValueBias => {
                let stride = padded(shape.values);
                for group in self.groups {
                    let work = &group.stages[self.job.stage];
                    for row in 0..self.rows {
                        let pixel = self.first + row;
                        let out = &mut sums[row * p.stride..][..shape.values];
                        for e in work.ends[pixel]..work.ends[pixel + 1] {
                            for (o, d) in out.iter_mut().zip(&work.values[e * stride..]) {
                                *o += d;
                            }
                        }
                    }
                }
            }
            StageTensor::LeftWeight => {
                if let Some(left) = self.weights.left {
                    let pixel = self.first / (1 + shape.values);
                    let stage = self.job.stage;
                    super::left::gradient::<V>(left, shape, stage, pixel, self.groups, &mut sums);
                }
            }
            StageTensor::LevelsWeight | StageTensor::LevelsBias => {
                let (n, stride) = (shape.levels, padded(shape.values));
                let is_bias = self.job.tensor == StageTensor::LevelsBias;
                for group in self.groups {
                    let levels = &group.stages[self.job.stage].levels;
                    for block in levels.chunks_exact(n * (stride + 1)) {
                        let (map, bias) = block.split_at(n * stride);
                        let from = if is_bias {
                            bias
                        } else {
                            &map[self.first * stride..]
                        };
                        for (o, d) in sums.iter_mut().zip(from) {
                            *o += d;
                        }
                    }
                }
            }
        }
        sums
    }
}

impl RowGradient<'_> {
    /// `sums[row, column] = sum over images of delta[row] input[column]`.
    #[inline(always)]
    fn dense<V: Vector>(
        &self,
        sums: &mut [f32],
        delta_rows: usize,
        operands: impl Fn(&Group) -> (&Vec<f32>, &Vec<f32>, usize),
    ) {
        let p = self.weights.get(self.job.stage, self.job.tensor);
        let read = p.spec.read(self.first + self.rows - 1);
        for group in self.groups {
            let (delta, inputs, stride) = operands(group);
            for_tiles::<V>(Product {
                rows: self.rows,
                columns: padded(read),
                a: &delta[self.first * LANES..],
                a_part: delta_rows * LANES,
                a_row: LANES,
                a_k: 1,
                b: inputs,
                b_part: LANES * stride,
                b_k: stride,
                c: sums,
                c_row: p.stride,
                parts: group.blocks,
                depth: LANES,
            });
        }
    }

    /// `sums[row] = sum over images of delta[row]`; biases are one row of the tensor.
    #[inline(always)]
    fn bias<V: Vector>(
        &self,
        sums: &mut [f32],
        delta: impl Fn(&super::group::StageWork) -> &Vec<f32>,
    ) {
        let rows = self
            .weights
            .get(self.job.stage, self.job.tensor)
            .spec
            .columns();
        for (row, out) in sums.iter_mut().enumerate().take(rows) {
            let mut sum = V::splat(0.0);
            for group in self.groups {
                for block in delta(&group.stages[self.job.stage]).chunks_exact(rows * LANES) {
                    // SAFETY: the slice holds LANES numbers.
                    sum = sum + unsafe { V::load(block[row * LANES..][..LANES].as_ptr()) };
                }
            }
            *out = sum.sum();
        }
    }

    /// The value matrix of one pixel: only images in which it is positive count.
    #[inline(always)]
    fn value<V: Vector>(&self, sums: &mut [f32]) {
        const ROWS: usize = 5;
        let shape = &self.weights.stages[self.job.stage];
        let p = self.weights.get(self.job.stage, self.job.tensor);
        let (values, stride) = (shape.values, padded(shape.values));
        let pixel = self.first / values;
        let units_stride = padded(shape.units());
        let mut entries: Vec<(&[f32], &[f32])> = Vec::new();
        for group in self.groups {
            let work = &group.stages[self.job.stage];
            for e in work.ends[pixel]..work.ends[pixel + 1] {
                let image = work.entries[e].image as usize;
                entries.push((
                    &work.values[e * stride..(e + 1) * stride],
                    &work.by_image[shape.layers][image * units_stride..(image + 1) * units_stride],
                ));
            }
        }
        for column in (0..padded(shape.units_read(pixel))).step_by(LANES) {
            for first in (0..self.rows).step_by(ROWS) {
                let count = ROWS.min(self.rows - first);
                let mut acc = [V::splat(0.0); ROWS];
                for (d, h) in &entries {
                    // SAFETY: `h` is padded to whole vectors and `column` is below its length.
                    let h = unsafe { V::load(h[column..][..LANES].as_ptr()) };
                    for (r, a) in acc.iter_mut().enumerate() {
                        *a = V::splat(d[(first + r).min(values - 1)]).fma(h, *a);
                    }
                }
                for (r, a) in acc.iter().enumerate().take(count) {
                    let to = &mut sums[(first + r) * p.stride + column..][..LANES];
                    // SAFETY: `to` holds LANES numbers.
                    unsafe { a.store(to.as_mut_ptr()) };
                }
            }
        }
    }
}

impl CpuTrainer {
    /// One Adam step on `rows`: their mean NLL before it.
    fn one_step(&mut self, rows: &[u32], rates: Rates) -> Result<f64, EngineError> {
        self.pass(rows, Some(1.0 / rows.len() as f32))?;
        self.weights.steps += 1;
        let rule = AdamRule::new(rates, self.weights.steps);
        let isa = self.isa;
        // Gradients read deltas and activations alone, so the weights can move as soon as theirs is known.
        let mut list = std::mem::take(&mut self.weights.list);
        let (groups, jobs, shapes) = (&self.groups, self.jobs(), &self.shapes);
        self.pool.install(|| {
            list.par_iter_mut().zip(jobs).for_each(|(p, job)| {
                let step = rows_per_task(isa, &p.spec);
                let (spec, stride) = (&p.spec, p.stride);
                let rule = match spec.decays() {
                    true => rule,
                    false => rule.without_decay(),
                };
                p.value
                    .par_chunks_mut(step * stride)
                    .zip(p.first.par_chunks_mut(step * stride))
                    .zip(p.second.par_chunks_mut(step * stride))
                    .enumerate()
                    .for_each(|(i, ((value, first), second))| {
                        let start = i * step;
                        let rows = value.len() / stride;
                        let gradient = isa.dispatch(RowGradient {
                            groups,
                            weights: shapes,
                            job,
                            first: start,
                            rows,
                        });
                        for r in 0..rows {
                            let at = r * stride..r * stride + spec.read(start + r);
                            isa.dispatch(Adam {
                                value: &mut value[at.clone()],
                                first: &mut first[at.clone()],
                                second: &mut second[at.clone()],
                                gradient: &gradient[at],
                                rule,
                            });
                        }
                    });
            });
        });
        self.weights.list = list;
        Ok(self.mean(rows))
    }

    /// Mean of what the last pass over `rows` found, each image counted by its weight.
    fn mean(&self, rows: &[u32]) -> f64 {
        let mut nll = self.nll_of_groups();
        if let Some(weights) = &self.image_weights {
            for (nll, row) in nll.iter_mut().zip(rows) {
                *nll *= f64::from(weights[*row as usize]);
            }
        }
        mean(&nll)
    }
}

impl Trainer for CpuTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        rows.chunks(batch.max(1))
            .map(|rows| self.one_step(rows, rates))
            .collect()
    }

    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        let mut all = Vec::with_capacity(rows.len());
        // Bounded buffers whatever the number of rows.
        let chunk = 4 * GROUP * self.pool.current_num_threads();
        for rows in rows.chunks(chunk) {
            self.pass(rows, None)?;
            all.extend(self.nll_of_groups());
        }
        Ok(all)
    }

    fn weigh(&mut self, weights: &[f32]) -> Result<(), EngineError> {
        let images = self.data.images.len();
        if weights.len() != images {
            return Err(EngineError::Mismatch(format!(
                "{} weights do not go with {images} images",
                weights.len()
            )));
        }
        self.image_weights = Some(weights.to_vec());
        Ok(())
    }

    fn state(&self) -> Result<TrainingState, EngineError> {
        Ok(self.weights.state())
    }

    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        self.weights.restore(state)
    }
}
