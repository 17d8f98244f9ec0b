//! A group of images on their way through the network, forward and back: one thread's share of a step.

use crate::engine::ConditionedImages;
use crate::model::likelihood::{gate, levels::softmax_nll};
use crate::model::{Model, StageShape, StageTensor, Values};
use crate::numeric::{Kernel, LANES, Vector, gelu_and_slope};

use super::tile::{Packed, Tile, padded, start_from_bias, tile};
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
    /// Per pixel and image: -1 zero, 1 positive, 0 no image.
    sides: Vec<f32>,
    /// Activations with the units of an image side by side, `[layer][image][padded units]`.
    pub by_image: Vec<Vec<f32>>,
    /// Derivatives by the last layer's activations, from the positive pixels.
    last_by_image: Vec<f32>,
    /// Positive pixels, by pixel, then image.
    pub entries: Vec<Entry>,
    /// Entries of pixel i: `ends[i] .. ends[i + 1]`.
    pub ends: Vec<usize>,
    /// Mixture numbers or latents of each entry, padded; after the likelihood their derivatives.
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
}

/// What every group of a step reads.
pub struct Shared<'a> {
    pub model: &'a Model,
    /// Place of each row-major pixel: (stage, place in the stage).
    pub places: &'a [(u16, u16)],
    pub weights: &'a Weights,
    pub packed: &'a [PackedStage],
    pub values: &'a Values,
}

impl Group {
    /// Room for up to `images` images of `model`.
    pub fn new(model: &Model, images: usize) -> Self {
        let blocks = images.div_ceil(LANES);
        let lanes = blocks * LANES;
        let inputs = model.config.condition.names.len() + model.pixels();
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
        }
    }

    /// Take in the images `rows` of `data`. The error is a pixel beyond the grid: (row, pixel, value).
    pub fn gather(
        &mut self,
        shared: &Shared,
        data: &ConditionedImages,
        rows: &[u32],
    ) -> Result<(), (usize, usize, f32)> {
        let model = shared.model;
        let conditions = model.config.condition.names.len();
        let width = conditions + model.pixels();
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
        for (work, count) in self.stages.iter_mut().zip(&counts) {
            work.ends.clear();
            work.ends.push(0);
            let mut end = 0;
            for c in count {
                end += *c as usize;
                work.ends.push(end);
            }
            let empty = Entry {
                image: 0,
                x: 0.0,
                level: 0,
            };
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
                if let Values::Levels(grid) = shared.values {
                    level = grid.level(*x).ok_or((*row as usize, *pixel as usize, *x))?;
                    shown = grid.value(level);
                }
                put(
                    conditions + model.stages[s].earlier + place,
                    model.config.input.apply(shown),
                );
                let work = &mut self.stages[s];
                work.sides[(block * model.stages[s].pixels + place) * LANES + lane] = 1.0;
                work.entries[next[s][place]] = Entry {
                    image: image as u32,
                    x: *x,
                    level: level as u32,
                };
                next[s][place] += 1;
            }
        }
        Ok(())
    }
}

/// Forward pass, likelihood and, with `scale` (1 / batch), backward pass of a group.
pub struct Pass<'a> {
    pub group: &'a mut Group,
    pub shared: &'a Shared<'a>,
    /// Factor on all derivatives; `None`: likelihood only.
    pub scale: Option<f32>,
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
                scale: self.scale,
            };
            stage.forward::<V>(&group.inputs, width);
            stage.gates::<V>(&mut group.nll);
            stage.values_forward::<V>();
            stage.values_likelihood::<V>(&mut group.nll);
            if self.scale.is_some() {
                stage.values_backward::<V>();
                stage.backward::<V>();
            }
        }
    }
}

/// [`Pass`] in one stage.
pub struct StagePass<'a> {
    pub shape: &'a StageShape,
    pub stage: usize,
    pub shared: &'a Shared<'a>,
    pub blocks: usize,
    pub work: &'a mut StageWork,
    pub scale: Option<f32>,
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
    fn weight(&self, tensor: StageTensor) -> &super::weights::Parameter {
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
        if self.scale.is_some() || layer == self.shape.layers {
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
        let scale = V::splat(self.scale.unwrap_or(0.0));
        let blocks = self
            .work
            .gates
            .chunks_exact_mut(pixels * LANES)
            .zip(self.work.sides.chunks_exact(pixels * LANES));
        for ((gates, sides), nll) in blocks.zip(nll.chunks_exact_mut(LANES)) {
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

    /// Mixture numbers or latents of every entry: dot products with the image's last layer.
    #[inline(always)]
    fn values_forward<V: Vector>(&mut self) {
        let p = self.shape.values;
        let stride = padded(p);
        let units_stride = padded(self.shape.units());
        self.work.values.clear();
        self.work
            .values
            .resize(self.work.entries.len() * stride, 0.0);
        let weight = self
            .shared
            .weights
            .get(self.stage, StageTensor::ValueWeight);
        let bias = self.shared.weights.get(self.stage, StageTensor::ValueBias);
        let by_image = &self.work.by_image[self.shape.layers];
        for pixel in 0..self.shape.pixels {
            let range = self.work.ends[pixel]..self.work.ends[pixel + 1];
            let vectors = padded(self.shape.units_read(pixel)) / LANES;
            let biases = bias.row(pixel);
            for pair in range.clone().step_by(2) {
                let second = (pair + 1).min(range.end - 1);
                let image = |e: usize| {
                    let start = self.work.entries[e].image as usize * units_stride;
                    &by_image[start..start + units_stride]
                };
                let (h0, h1) = (image(pair), image(second));
                let mut v = 0;
                while v < p {
                    let count = 3.min(p - v);
                    let rows: [&[f32]; 3] =
                        std::array::from_fn(|i| weight.row(pixel * p + (v + i).min(p - 1)));
                    let mut sums = [[V::splat(0.0); 2]; 3];
                    for k in 0..vectors {
                        // SAFETY: rows and images are padded to whole vectors, and `vectors` counts
                        // those that the pixel reads, at most all of them.
                        unsafe {
                            let a = V::load(h0.as_ptr().add(k * LANES));
                            let b = V::load(h1.as_ptr().add(k * LANES));
                            for (row, sum) in rows.iter().zip(&mut sums) {
                                let w = V::load(row.as_ptr().add(k * LANES));
                                sum[0] = w.fma(a, sum[0]);
                                sum[1] = w.fma(b, sum[1]);
                            }
                        }
                    }
                    for (i, sum) in sums.iter().enumerate().take(count) {
                        self.work.values[pair * stride + v + i] = biases[v + i] + sum[0].sum();
                        self.work.values[second * stride + v + i] = biases[v + i] + sum[1].sum();
                    }
                    v += count;
                }
                // An odd last entry is its own pair: both sums are the same numbers.
            }
        }
    }

    /// Costs of the positive pixels' values; `values` become derivatives.
    #[inline(always)]
    fn values_likelihood<V: Vector>(&mut self, nll: &mut [f64]) {
        match self.shared.values {
            Values::Mixture(mixture) => {
                let p = self.shape.values;
                let stride = padded(p);
                let mut gradient = vec![0.0; p];
                for (entry, values) in self
                    .work
                    .entries
                    .iter()
                    .zip(self.work.values.chunks_exact_mut(stride))
                {
                    let values = &mut values[..p];
                    let sum = &mut nll[entry.image as usize];
                    match self.scale {
                        None => *sum += f64::from(mixture.nll(entry.x, values)),
                        Some(scale) => {
                            let cost = mixture.nll_and_gradient(entry.x, values, &mut gradient);
                            *sum += f64::from(cost);
                            for (v, g) in values.iter_mut().zip(&gradient) {
                                *v = scale * g;
                            }
                        }
                    }
                }
            }
            Values::Levels(grid) => self.levels_likelihood::<V>(grid, nll),
        }
    }

    /// D+D: latents through the shared map, softmax, and back, a block of images at a time.
    #[inline(always)]
    fn levels_likelihood<V: Vector>(
        &mut self,
        grid: &crate::model::likelihood::Grid,
        nll: &mut [f64],
    ) {
        const CHUNK: usize = 48;
        let (u, n) = (self.shape.values, self.shape.levels);
        let (u_stride, n_stride) = (padded(u), padded(n));
        let map = self
            .shared
            .weights
            .get(self.stage, StageTensor::LevelsWeight);
        let bias = self.shared.weights.get(self.stage, StageTensor::LevelsBias);
        let transposed = &self.shared.packed[self.stage].levels;
        let work = &mut *self.work;
        work.levels.fill(0.0);
        let mut logits = vec![0.0f32; CHUNK * n_stride];
        let mut latents = vec![0.0f32; CHUNK * u_stride];
        let mut derivatives = vec![0.0f32; CHUNK * u_stride];
        let block_size = n * (u_stride + 1);
        for block in 0..self.blocks {
            let mine: Vec<usize> = (0..work.entries.len())
                .filter(|e| work.entries[*e].image as usize / LANES == block)
                .collect();
            let sums = &mut work.levels[block * block_size..(block + 1) * block_size];
            let (map_sums, bias_sums) = sums.split_at_mut(n * u_stride);
            for chunk in mine.chunks(CHUNK) {
                for (i, e) in chunk.iter().enumerate() {
                    latents[i * u_stride..(i + 1) * u_stride]
                        .copy_from_slice(&work.values[e * u_stride..(e + 1) * u_stride]);
                    logits[i * n_stride..(i + 1) * n_stride].copy_from_slice(bias.row(0));
                }
                // logits[e] += sum_u z[e, u] map[u]
                for_tiles::<V>(chunk.len(), n_stride, |first, column| Tile {
                    a: latents[first * u_stride..].as_ptr(),
                    a_part: 0,
                    a_row: u_stride,
                    a_k: 1,
                    b: transposed[column..].as_ptr(),
                    b_part: 0,
                    b_k: n_stride,
                    c: logits[first * n_stride + column..].as_mut_ptr(),
                    c_row: n_stride,
                    parts: 1,
                    depth: u,
                });
                for (i, e) in chunk.iter().enumerate() {
                    let entry = work.entries[*e];
                    let level = entry.level as usize;
                    let row = &mut logits[i * n_stride..(i + 1) * n_stride];
                    let cost = softmax_nll(&mut row[..n], level);
                    nll[entry.image as usize] += f64::from(cost) + grid.log_width(level);
                    row[n..].fill(0.0);
                }
                let Some(scale) = self.scale else {
                    continue;
                };
                for v in &mut logits[..chunk.len() * n_stride] {
                    *v *= scale;
                }
                derivatives.fill(0.0);
                // dz[e] += sum_n dlogits[e, n] map[n]
                for_tiles::<V>(chunk.len(), u_stride, |first, column| Tile {
                    a: logits[first * n_stride..].as_ptr(),
                    a_part: 0,
                    a_row: n_stride,
                    a_k: 1,
                    b: map.value[column..].as_ptr(),
                    b_part: 0,
                    b_k: u_stride,
                    c: derivatives[first * u_stride + column..].as_mut_ptr(),
                    c_row: u_stride,
                    parts: 1,
                    depth: n,
                });
                // dmap[n] += sum_e dlogits[e, n] z[e]
                for_tiles::<V>(n, u_stride, |first, column| Tile {
                    a: logits[first..].as_ptr(),
                    a_part: 0,
                    a_row: 1,
                    a_k: n_stride,
                    b: latents[column..].as_ptr(),
                    b_part: 0,
                    b_k: u_stride,
                    c: map_sums[first * u_stride + column..].as_mut_ptr(),
                    c_row: u_stride,
                    parts: 1,
                    depth: chunk.len(),
                });
                for (i, e) in chunk.iter().enumerate() {
                    let row = &logits[i * n_stride..i * n_stride + n];
                    for (sum, d) in bias_sums.iter_mut().zip(row) {
                        *sum += d;
                    }
                    work.values[e * u_stride..(e + 1) * u_stride]
                        .copy_from_slice(&derivatives[i * u_stride..(i + 1) * u_stride]);
                }
            }
        }
    }

    /// Derivatives by the last layer's activations: `sum_v d[v] w[v]`.
    #[inline(always)]
    fn values_backward<V: Vector>(&mut self) {
        let p = self.shape.values;
        let stride = padded(p);
        let units_stride = padded(self.shape.units());
        let weight = self
            .shared
            .weights
            .get(self.stage, StageTensor::ValueWeight);
        let work = &mut *self.work;
        work.last_by_image.fill(0.0);
        for pixel in 0..self.shape.pixels {
            let range = work.ends[pixel]..work.ends[pixel + 1];
            let vectors = padded(self.shape.units_read(pixel)) / LANES;
            let mut e = range.start;
            while e < range.end {
                let count = 4.min(range.end - e);
                let starts: [usize; 4] = std::array::from_fn(|i| {
                    work.entries[e + i.min(count - 1)].image as usize * units_stride
                });
                let derivatives: [&[f32]; 4] = std::array::from_fn(|i| {
                    let e = e + i.min(count - 1);
                    &work.values[e * stride..(e + 1) * stride]
                });
                for k in 0..vectors {
                    let mut sums = [V::splat(0.0); 4];
                    for v in 0..p {
                        let row = weight.row(pixel * p + v);
                        // SAFETY: rows are padded to whole vectors and `vectors` counts those read.
                        let w = unsafe { V::load(row.as_ptr().add(k * LANES)) };
                        for (d, sum) in derivatives.iter().zip(&mut sums) {
                            *sum = V::splat(d[v]).fma(w, *sum);
                        }
                    }
                    for (start, sum) in starts.iter().zip(&sums).take(count) {
                        let to = &mut work.last_by_image[start + k * LANES..][..LANES];
                        // SAFETY: `to` holds LANES numbers. Entries of one pixel are of distinct images.
                        unsafe { (V::load(to.as_ptr()) + *sum).store(to.as_mut_ptr()) };
                    }
                }
                e += count;
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

/// Run tiles over `rows` rows and `columns` (whole vectors) columns of sums.
#[inline(always)]
pub fn for_tiles<V: Vector>(rows: usize, columns: usize, mut at: impl FnMut(usize, usize) -> Tile) {
    for first in (0..rows).step_by(V::TILE_ROWS) {
        for column in (0..columns).step_by(LANES) {
            // SAFETY: the callers' operands hold `rows` rows of padded width; their tiles index inside.
            unsafe { tile::<V>(V::TILE_ROWS.min(rows - first), at(first, column)) };
        }
    }
}
