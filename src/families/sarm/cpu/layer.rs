//! One masked layer by itself, on one thread: what training does in it, to be timed and tested.

use super::group::{Group, Shared, StagePass};
use super::trainer::{for_rows, gradient_of_rows};
use super::weights::{PackedStage, Weights};
use crate::families::sarm::{Sarm, StageTensor, Values};
use crate::numeric::{Isa, Kernel, LANES, Vector};

/// A masked hidden layer of a model with room for some images, run by the code that trains it.
#[derive(Clone)]
pub struct MaskedLayer {
    isa: Isa,
    model: Sarm,
    values: Values,
    places: Vec<(u16, u16)>,
    weights: Weights,
    packed: Vec<PackedStage>,
    group: Group,
    stage: usize,
    layer: usize,
}

impl MaskedLayer {
    /// Hidden layer `layer` of stage `stage` of `model`, for `images` images.
    pub fn new(isa: Isa, model: &Sarm, stage: usize, layer: usize, images: usize) -> Self {
        let weights = Weights::new(model);
        let mut packed: Vec<_> = (0..model.stages.len())
            .map(|s| PackedStage::plan(&weights, s, isa))
            .collect();
        (0..packed.len()).for_each(|s| packed[s].fill(&weights, s, true));
        Self {
            isa,
            values: model.values(),
            places: model.places(),
            weights,
            packed,
            group: Group::new(model, images),
            model: model.clone(),
            stage,
            layer,
        }
    }

    /// Multiply-adds of one image's forward pass: the unmasked weights.
    pub fn unmasked(&self) -> usize {
        let tensor = StageTensor::HiddenWeight(self.layer);
        self.model.tensors[self.model.index(self.stage, tensor)].unmasked()
    }

    /// Numbers of each image and unit `f(image, unit)`: what [`forward`](Self::forward) reads.
    pub fn set_inputs(&mut self, f: impl Fn(usize, usize) -> f32) {
        self.set(self.layer, &f);
        let units = self.model.stages[self.stage].units();
        let by_image = &mut self.group.stages[self.stage].by_image[self.layer];
        let stride = super::tile::padded(units);
        for (place, v) in by_image.iter_mut().enumerate() {
            if place % stride < units {
                *v = f(place / stride, place % stride);
            }
        }
    }

    /// Derivatives by each image's outputs: what [`backward`](Self::backward) reads, and uses up.
    pub fn set_derivatives(&mut self, f: impl Fn(usize, usize) -> f32) {
        self.set(self.layer + 1, f);
    }

    fn set(&mut self, layer: usize, f: impl Fn(usize, usize) -> f32) {
        let units = self.model.stages[self.stage].units();
        let numbers = &mut self.group.stages[self.stage].hidden[layer];
        for (place, v) in numbers.iter_mut().enumerate() {
            let (block, row) = (place / (units * LANES), place / LANES % units);
            *v = f(block * LANES + place % LANES, row);
        }
    }

    /// Outputs, or after [`backward`](Self::backward) the derivatives by the inputs: `[units]` of one image.
    pub fn row(&self, outputs: bool, image: usize) -> Vec<f32> {
        let units = self.model.stages[self.stage].units();
        let hidden = &self.group.stages[self.stage].hidden[self.layer + usize::from(outputs)];
        let start = image / LANES * units * LANES + image % LANES;
        let row = hidden[start..].iter().step_by(LANES);
        row.take(units).copied().collect()
    }

    /// `gelu(weight inputs + bias)` and its slopes, for all images.
    pub fn forward(&mut self) {
        self.run(false);
    }

    /// After [`forward`](Self::forward): derivatives by the inputs; gives those by the weights,
    /// summed over the images, `[units, units]`, masked ones 0.
    pub fn backward(&mut self) -> Vec<f32> {
        self.run(true);
        let tensor = StageTensor::HiddenWeight(self.layer);
        let p = self.weights.get(self.stage, tensor);
        let units = p.spec.columns();
        let mut all = vec![0.0; p.spec.size()];
        let groups = std::slice::from_ref(&self.group);
        for_rows(self.isa, &p.spec, |first, rows| {
            let part = gradient_of_rows(
                self.isa,
                groups,
                &self.weights,
                (self.stage, tensor),
                first..first + rows,
            );
            for r in first..first + rows {
                let read = p.spec.read(r);
                let from = &part[(r - first) * p.stride..][..read];
                all[r * units..][..read].copy_from_slice(from);
            }
        });
        all
    }

    fn run(&mut self, backward: bool) {
        let shared = Shared {
            model: &self.model,
            places: &self.places,
            weights: &self.weights,
            packed: &self.packed,
            values: &self.values,
        };
        self.isa.dispatch(Run {
            layer: self.layer + 1,
            backward,
            pass: StagePass {
                shape: &self.model.stages[self.stage],
                stage: self.stage,
                shared: &shared,
                blocks: self.group.blocks,
                work: &mut self.group.stages[self.stage],
                scales: Some(&self.group.scales),
            },
        });
    }
}

struct Run<'a> {
    pass: StagePass<'a>,
    layer: usize,
    backward: bool,
}

impl Kernel for Run<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        if self.backward {
            self.pass.layer_backward::<V>(self.layer);
        } else {
            self.pass.layer_forward::<V>(self.layer, &[], 0);
        }
    }
}
