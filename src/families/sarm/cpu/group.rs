//! A group of images on their way through the network, forward and back: one thread's share of a step.

use crate::conditions::Budget;
use crate::conditions::ConditionedImages;
use crate::conditions::total::{is_spent, spend};
use crate::families::sarm::{Left, Sarm, StageShape, StageTensor, Values};
use crate::likelihood::gate;
use crate::numeric::{Kernel, LANES, Vector, gelu_and_slope};

use super::places::Places;
use super::tile::{Packed, padded, start_from_bias};
use super::weights::{PackedStage, Weights};

/// A positive pixel of an image of the group.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Image in the group.
    pub image: u32,
    /// GeV.
    pub x: f32,
    /// Level on the grid (D+D).
    pub level: u32,
    /// What was left of the image's total before it.
    pub budget: Option<Budget>,
}

/// What one stage computes for a group. Blocks of [`LANES`] images; `[block][row][lane]`.
#[derive(Debug, Clone, Default)]
pub struct StageWork {
    /// Activations of the input layer and of each hidden layer.
    pub hidden: Vec<Vec<f32>>,
    /// Slopes of GELU there; after the backward pass the derivatives by the pre-activations.
    pub delta: Vec<Vec<f32>>,
    /// Gate logits; after the likelihood their derivatives.
    pub gates: Vec<f32>,
    /// Per pixel and image: -1 zero, 1 positive, 0 no image or nothing left of its total.
    sides: Vec<f32>,
    /// Per pixel and image: what is left before the pixel, where gates are shown it.
    pub places: Places,
    /// Activations with the units of an image side by side, `[layer][image][padded units]`.
    pub by_image: Vec<Vec<f32>>,
    /// Derivatives by the last layer's activations, from the positive pixels.
    pub last_by_image: Vec<f32>,
    /// Positive pixels, by pixel, then image.
    pub entries: Vec<Entry>,
    /// Entries of pixel i: `ends[i] .. ends[i + 1]`.
    pub ends: Vec<usize>,
    /// Mixture parameters or latents of each entry, padded; after the likelihood their derivatives.
    pub values: Vec<f32>,
    /// D+D: derivatives by the shared map and its bias, per block: `[block][level][padded values]`, bias last.
    pub levels: Vec<f32>,
}

/// Images of a group: enough blocks to use each packed panel several times from the nearest cache.
pub const GROUP: usize = 4 * LANES;

/// One thread's share of a batch.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Blocks of lanes.
    pub blocks: usize,
    /// Images, at most `blocks * LANES`.
    pub images: usize,
    /// Network inputs, `[block][condition and pixels in drawing order][lane]`.
    inputs: Vec<f32>,
    /// The same with an image's inputs side by side, `[image][padded inputs]`.
    pub inputs_by_image: Vec<f32>,
    /// Per stage.
    pub stages: Vec<StageWork>,
    /// Negative log-likelihood of each image in nats.
    pub nll: Vec<f64>,
    /// Factor on the derivatives of each image: its weight over the images of the batch.
    pub scales: Vec<f32>,
}

/// What every group of a step reads.
pub struct Shared<'a> {
    pub model: &'a Sarm,
    /// Place of each row-major pixel: (stage, place in the stage).
    pub places: &'a [(u16, u16)],
    pub weights: &'a Weights,
    pub packed: &'a [PackedStage],
    pub values: &'a Values,
}

impl Group {
    /// Room for up to `images` images of `model`.
    pub fn new(model: &Sarm, images: usize) -> Self {
        let blocks = images.div_ceil(LANES);
        let lanes = blocks * LANES;
        let inputs = model.inputs();
        let stage = |s: &StageShape| {
            let units = vec![0.0; lanes * s.units()];
            let by_image = vec![0.0; lanes * padded(s.units())];
            StageWork {
                hidden: vec![units.clone(); s.layers + 1],
                delta: vec![units; s.layers + 1],
                gates: vec![0.0; lanes * s.pixels],
                sides: vec![0.0; lanes * s.pixels],
                by_image: vec![by_image.clone(); s.layers + 1],
                last_by_image: by_image,
                levels: vec![0.0; blocks * s.levels * (padded(s.values) + 1)],
                places: Places::new(if s.left > 0 { lanes * s.pixels } else { 0 }),
                ..StageWork::default()
            }
        };
        Self {
            blocks,
            images,
            inputs: vec![0.0; lanes * inputs],
            inputs_by_image: vec![0.0; lanes * padded(inputs)],
            stages: model.stages.iter().map(stage).collect(),
            nll: vec![0.0; lanes],
            scales: vec![0.0; lanes],
        }
    }

    /// Let the derivatives of the images `rows` count `scale` times, times their weight where there are weights.
    pub fn weigh(&mut self, rows: &[u32], scale: f32, weights: Option<&[f32]>) {
        self.scales.fill(scale);
        if let Some(weights) = weights {
            for (to, row) in self.scales.iter_mut().zip(rows) {
                *to = scale * weights[*row as usize];
            }
        }
    }

    /// Take in the images `rows` of `data`. The error is a pixel beyond the model's range: (row, pixel, value).
    pub fn gather(
        &mut self,
        shared: &Shared,
        data: &ConditionedImages,
        rows: &[u32],
    ) -> Result<(), (usize, usize, f32)> {
        let model = shared.model;
        let conditions = model.config.condition.names.len();
        let width = model.inputs();
        let channels = model.config.input.channels();
        let stride = padded(width);
        self.images = rows.len();
        self.inputs.fill(0.0);
        self.inputs_by_image.fill(0.0);
        let mut counts: Vec<Vec<u32>> = model.stages.iter().map(|s| vec![0; s.pixels]).collect();
        for row in rows {
            for pixel in data.images.image(*row as usize).0 {
                let (s, place) = shared.places[*pixel as usize];
                counts[s as usize][place as usize] += 1;
            }
        }
        let empty = Entry {
            image: 0,
            x: 0.0,
            level: 0,
            budget: None,
        };
        for (work, count) in self.stages.iter_mut().zip(&counts) {
            work.ends.clear();
            work.ends.push(0);
            let mut end = 0;
            for c in count {
                end += *c as usize;
                work.ends.push(end);
            }
            work.entries.clear();
            work.entries.resize(end, empty);
            for (i, side) in work.sides.iter_mut().enumerate() {
                let block = i / (LANES * count.len());
                let image = block * LANES + i % LANES;
                *side = if image < rows.len() { -1.0 } else { 0.0 };
            }
        }
        let mut next: Vec<Vec<usize>> = self.stages.iter().map(|w| w.ends.clone()).collect();
        for (image, row) in rows.iter().enumerate() {
            let (block, lane) = (image / LANES, image % LANES);
            let condition = data.conditions.row(u64::from(*row));
            let mut put = |place: usize, v: f32| {
                self.inputs[(block * width + place) * LANES + lane] = v;
                self.inputs_by_image[image * stride + place] = v;
            };
            for (c, v) in condition.iter().enumerate() {
                put(c, *v);
            }
            let (pixels, values) = data.images.image(*row as usize);
            for (pixel, x) in pixels.iter().zip(values) {
                let (s, place) = shared.places[*pixel as usize];
                let (s, place) = (s as usize, place as usize);
                let mut shown = *x;
                let mut level = 0;
                let beyond = (*row as usize, *pixel as usize, *x);
                match shared.values {
                    Values::Levels(grid) => {
                        level = grid.level(*x).ok_or(beyond)?;
                        shown = grid.value(level);
                    }
                    values if values.excludes(*x).is_some() => return Err(beyond),
                    Values::Mixture(_) => {}
                }
                let column = conditions + channels.len() * (model.stages[s].earlier + place);
                for (c, channel) in channels.iter().enumerate() {
                    put(column + c, channel.apply(shown));
                }
                let work = &mut self.stages[s];
                work.sides[(block * model.stages[s].pixels + place) * LANES + lane] = 1.0;
                work.entries[next[s][place]] = Entry {
                    image: image as u32,
                    x: *x,
                    level: level as u32,
                    ..empty
                };
                next[s][place] += 1;
            }
            if let Some(budget) = shared.values.first(data.conditions.budget(u64::from(*row))) {
                self.spend(image, budget, &next, model.left());
            }
        }
        Ok(())
    }

    /// Say of each positive pixel of `image` what was left before it, and that all pixels are certain once nothing is.
    /// `next`: the place behind this image's entry, for each pixel.
    fn spend(&mut self, image: usize, budget: Budget, next: &[Vec<usize>], left: Option<Left>) {
        let (block, lane) = (image / LANES, image % LANES);
        let mut at = left.map(|left| left.place(budget.remaining));
        let mut budget = Some(budget);
        for (work, next) in self.stages.iter_mut().zip(next) {
            let pixels = work.ends.len() - 1;
            for (place, next) in next[..pixels].iter().enumerate() {
                let cell = (block * pixels + place) * LANES + lane;
                if let Some(at) = at {
                    work.places.set(cell, at);
                }
                let side = &mut work.sides[cell];
                let positive = *side > 0.0;
                if is_spent(budget) {
                    *side = 0.0;
                }
                if positive {
                    let entry = &mut work.entries[next - 1];
                    entry.budget = budget;
                    spend(&mut budget, entry.x);
                    let now = left.zip(budget);
                    at = now.map(|(left, budget)| left.place(budget.remaining));
                }
            }
        }
    }
}

/// Forward pass, likelihood and, with `backward`, backward pass of a group.
pub struct Pass<'a> {
    pub group: &'a mut Group,
    pub shared: &'a Shared<'a>,
    /// Otherwise likelihood only.
    pub backward: bool,
}

impl Kernel for Pass<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let group = self.group;
        group.nll.fill(0.0);
        let width = group.inputs.len() / (group.blocks * LANES);
        for s in 0..group.stages.len() {
            let mut stage = StagePass {
                shape: &self.shared.weights.stages[s],
                stage: s,
                shared: self.shared,
                blocks: group.blocks,
                work: &mut group.stages[s],
                scales: self.backward.then_some(&group.scales),
            };
            stage.forward::<V>(&group.inputs, width);
            stage.gates::<V>(&mut group.nll);
            stage.values_forward::<V>();
            stage.values_shown_what_is_left();
            stage.values_likelihood::<V>(&mut group.nll);
            if self.backward {
                stage.values_backward::<V>();
                stage.backward::<V>();
            }
        }
    }
}

/// One stage of a [`Pass`].
pub struct StagePass<'a> {
    pub shape: &'a StageShape,
    pub stage: usize,
    pub shared: &'a Shared<'a>,
    pub blocks: usize,
    pub work: &'a mut StageWork,
    /// Factors on the derivatives of each image; `None`: likelihood only.
    pub scales: Option<&'a [f32]>,
}

/// Multiply a whole packed matrix with every block, rows starting from their bias.
#[inline(always)]
fn multiply_all<V: Vector>(
    packed: &Packed,
    blocks: usize,
    b: &[f32],
    b_rows: usize,
    c: &mut [f32],
) {
    let (b_size, c_size) = (b_rows * LANES, c.len() / blocks);
    for panel in packed.panels() {
        for block in 0..blocks {
            packed.multiply::<V>(
                panel,
                &b[block * b_size..(block + 1) * b_size],
                &mut c[block * c_size..(block + 1) * c_size],
                None,
            );
        }
    }
}

/// `[row][lane]` to `[lane][padded row]`, or back, adding.
#[inline(always)]
fn transpose(rows: usize, stride: usize, by_lane: &[f32], by_image: &mut [f32]) {
    for (r, vector) in by_lane.chunks_exact(LANES).take(rows).enumerate() {
        for (lane, v) in vector.iter().enumerate() {
            by_image[lane * stride + r] = *v;
        }
    }
}

impl StagePass<'_> {
    #[inline(always)]
    fn weight(&self, tensor: StageTensor) -> &super::weights::PaddedTensor {
        self.shared.weights.get(self.stage, tensor)
    }

    #[inline(always)]
    fn forward<V: Vector>(&mut self, inputs: &[f32], width: usize) {
        for layer in 0..=self.shape.layers {
            self.layer_forward::<V>(layer, inputs, width);
        }
    }

    /// Activations and slopes of the input layer (0) or of hidden layer `layer - 1`.
    #[inline(always)]
    pub fn layer_forward<V: Vector>(&mut self, layer: usize, inputs: &[f32], width: usize) {
        let units = self.shape.units();
        let stride = padded(units);
        let packed = &self.shared.packed[self.stage];
        let bias = if layer == 0 {
            StageTensor::InputBias
        } else {
            StageTensor::HiddenBias(layer - 1)
        };
        let bias = self.weight(bias).value[..units].to_vec();
        let (below, here) = self.work.hidden.split_at_mut(layer);
        let out = &mut here[0];
        for block in out.chunks_exact_mut(units * LANES) {
            start_from_bias(&bias, block);
        }
        match below.last() {
            None => multiply_all::<V>(&packed.forward[0], self.blocks, inputs, width, out),
            Some(b) => multiply_all::<V>(&packed.forward[layer], self.blocks, b, units, out),
        }
        let slopes = &mut self.work.delta[layer];
        for (h, d) in out
            .chunks_exact_mut(LANES)
            .zip(slopes.chunks_exact_mut(LANES))
        {
            // SAFETY: both chunks hold LANES numbers.
            unsafe {
                let (value, slope) = gelu_and_slope(V::load(h.as_ptr()));
                value.store(h.as_mut_ptr());
                slope.store(d.as_mut_ptr());
            }
        }
        if self.scales.is_some() || layer == self.shape.layers {
            let by_image = &mut self.work.by_image[layer];
            for (block, to) in out
                .chunks_exact(units * LANES)
                .zip(by_image.chunks_exact_mut(stride * LANES))
            {
                transpose(units, stride, block, to);
            }
        }
    }

    #[inline(always)]
    fn gates<V: Vector>(&mut self, nll: &mut [f64]) {
        let pixels = self.shape.pixels;
        let bias = self.weight(StageTensor::GateBias).value[..pixels].to_vec();
        for block in self.work.gates.chunks_exact_mut(pixels * LANES) {
            start_from_bias(&bias, block);
        }
        let packed = &self.shared.packed[self.stage].forward[self.shape.layers + 1];
        let last = &self.work.hidden[self.shape.layers];
        multiply_all::<V>(
            packed,
            self.blocks,
            last,
            self.shape.units(),
            &mut self.work.gates,
        );
        self.gates_shown_what_is_left::<V>();
        let blocks = self
            .work
            .gates
            .chunks_exact_mut(pixels * LANES)
            .zip(self.work.sides.chunks_exact(pixels * LANES));
        for (block, ((gates, sides), nll)) in blocks.zip(nll.chunks_exact_mut(LANES)).enumerate() {
            let scale = match self.scales {
                // SAFETY: the slice holds LANES numbers.
                Some(scales) => unsafe { V::load(scales[block * LANES..][..LANES].as_ptr()) },
                None => V::splat(0.0),
            };
            for (logit, side) in gates.chunks_exact_mut(LANES).zip(sides.chunks_exact(LANES)) {
                // SAFETY: both chunks hold LANES numbers.
                let cost = unsafe {
                    let (cost, slope) = gate(V::load(logit.as_ptr()), V::load(side.as_ptr()));
                    (slope * scale).store(logit.as_mut_ptr());
                    cost.to_array()
                };
                for (sum, c) in nll.iter_mut().zip(cost) {
                    *sum += f64::from(c);
                }
            }
        }
    }

    /// From the gates and the positive pixels down to the input layer's pre-activations.
    #[inline(always)]
    fn backward<V: Vector>(&mut self) {
        let units = self.shape.units();
        let stride = padded(units);
        let layers = self.shape.layers;
        let packed = &self.shared.packed[self.stage].backward;
        let work = &mut *self.work;
        // The activations have been copied by image: their place takes the derivatives.
        let last = &mut work.hidden[layers];
        for (to, from) in last
            .chunks_exact_mut(units * LANES)
            .zip(work.last_by_image.chunks_exact(stride * LANES))
        {
            for (r, vector) in to.chunks_exact_mut(LANES).enumerate() {
                for (lane, v) in vector.iter_mut().enumerate() {
                    *v = from[lane * stride + r];
                }
            }
        }
        multiply_all::<V>(
            &packed[layers],
            self.blocks,
            &work.gates,
            self.shape.pixels,
            last,
        );
        for layer in (0..=layers).rev() {
            self.layer_backward::<V>(layer);
        }
    }

    /// From the derivatives by a layer's activations to those by its pre-activations and by the
    /// activations below; layers as in [`layer_forward`](Self::layer_forward).
    #[inline(always)]
    pub fn layer_backward<V: Vector>(&mut self, layer: usize) {
        let packed = &self.shared.packed[self.stage].backward;
        let work = &mut *self.work;
        let derivatives = &work.hidden[layer];
        for (d, h) in work.delta[layer]
            .chunks_exact_mut(LANES)
            .zip(derivatives.chunks_exact(LANES))
        {
            // SAFETY: both chunks hold LANES numbers.
            unsafe { (V::load(d.as_ptr()) * V::load(h.as_ptr())).store(d.as_mut_ptr()) };
        }
        if layer > 0 {
            let below = &mut work.hidden[layer - 1];
            below.fill(0.0);
            let delta = &work.delta[layer];
            let units = self.shape.units();
            multiply_all::<V>(&packed[layer - 1], self.blocks, delta, units, below);
        }
    }
}
