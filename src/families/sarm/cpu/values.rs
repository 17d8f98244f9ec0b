//! The outputs of positive pixels, forward and backward: only these are computed, image by image.

use crate::families::sarm::{StageTensor, Values};
use crate::likelihood::Grid;
use crate::likelihood::levels::softmax_nll;
use crate::numeric::{LANES, Vector};

use super::group::StagePass;
use super::tile::{Product, for_tiles, padded};

impl StagePass<'_> {
    /// Mixture parameters or latents of every entry: dot products with the image's last layer.
    #[inline(always)]
    pub fn values_forward<V: Vector>(&mut self) {
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
    pub fn values_likelihood<V: Vector>(&mut self, nll: &mut [f64]) {
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
                    let mixture = mixture.within(entry.budget);
                    match self.scales {
                        None => *sum += f64::from(mixture.nll(entry.x, values)),
                        Some(scales) => {
                            let scale = scales[entry.image as usize];
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
    fn levels_likelihood<V: Vector>(&mut self, grid: &Grid, nll: &mut [f64]) {
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
                for_tiles::<V>(Product {
                    rows: chunk.len(),
                    columns: n_stride,
                    a: &latents,
                    a_part: 0,
                    a_row: u_stride,
                    a_k: 1,
                    b: transposed,
                    b_part: 0,
                    b_k: n_stride,
                    c: &mut logits,
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
                let Some(scales) = self.scales else {
                    continue;
                };
                for (row, e) in logits.chunks_exact_mut(n_stride).zip(chunk) {
                    let scale = scales[work.entries[*e].image as usize];
                    for v in row {
                        *v *= scale;
                    }
                }
                derivatives.fill(0.0);
                // dz[e] += sum_n dlogits[e, n] map[n]
                for_tiles::<V>(Product {
                    rows: chunk.len(),
                    columns: u_stride,
                    a: &logits,
                    a_part: 0,
                    a_row: n_stride,
                    a_k: 1,
                    b: &map.value,
                    b_part: 0,
                    b_k: u_stride,
                    c: &mut derivatives,
                    c_row: u_stride,
                    parts: 1,
                    depth: n,
                });
                // dmap[n] += sum_e dlogits[e, n] z[e]
                for_tiles::<V>(Product {
                    rows: n,
                    columns: u_stride,
                    a: &logits,
                    a_part: 0,
                    a_row: 1,
                    a_k: n_stride,
                    b: &latents,
                    b_part: 0,
                    b_k: u_stride,
                    c: map_sums,
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
    pub fn values_backward<V: Vector>(&mut self) {
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
}
