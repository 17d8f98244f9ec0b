//! Drawing one pixel: random numbers for sixteen images, and a value from the network's outputs; and tiles of images side
//! by side.

use rayon::prelude::*;

use crate::conditions::Budget;
use crate::conditions::total::{is_spent, spend};
use crate::data::SparseImages;
use crate::device::DeviceError;
use crate::families::sarm::{Sarm, StageTensor, Values};
use crate::family::EngineError;
use crate::likelihood::levels;
use crate::numeric::{LANES, Vector};
use crate::random;
use crate::random::{MULTIPLIERS, Purpose, ROUNDS, WEYL};

use super::tile::padded;

/// Philox for image numbers `image .. image + LANES` at one place of the order; words 0, 1 and 2.
///
/// The same numbers as [`random::words`] with [`Purpose::Draw`], lane by lane.
#[inline(always)]
pub fn words(seed: u64, image: u64, place: u32) -> [[u32; LANES]; 3] {
    let mut key = random::key(seed);
    let (mut c0, mut c1) = ([0u32; LANES], [0u32; LANES]);
    let (mut c2, mut c3) = ([place; LANES], [Purpose::Draw as u32; LANES]);
    for lane in 0..LANES {
        let n = image.wrapping_add(lane as u64);
        c0[lane] = n as u32;
        c1[lane] = (n >> 32) as u32;
    }
    for _ in 0..ROUNDS {
        for lane in 0..LANES {
            let a = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
            let b = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
            c0[lane] = (b >> 32) as u32 ^ c1[lane] ^ key[0];
            c1[lane] = b as u32;
            c2[lane] = (a >> 32) as u32 ^ c3[lane] ^ key[1];
            c3[lane] = a as u32;
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    [c0, c1, c2]
}

/// Whether the gate opens: its zero probability against the first random word, and never once nothing is left.
#[inline(always)]
pub fn opens(zero: f32, word: u32, budget: Option<Budget>) -> bool {
    random::unit(word) >= zero && !is_spent(budget)
}

/// How a positive pixel is drawn in one stage.
pub struct ValueDraw {
    values: Values,
    /// Numbers per pixel.
    count: usize,
    /// D+D: the shared map transposed, `[values][padded levels]`, and its bias.
    map: Vec<f32>,
    bias: Vec<f32>,
    levels: usize,
}

impl ValueDraw {
    /// For stage `stage` of `model`.
    pub fn new(model: &Sarm, stage: usize) -> Self {
        let shape = &model.stages[stage];
        let (count, n) = (shape.values, shape.levels);
        let stride = padded(n);
        let mut map = vec![0.0; count * stride];
        let mut bias = vec![0.0; stride];
        if n > 0 {
            let weight = model.parameter(stage, StageTensor::LevelsWeight);
            for (level, row) in weight.chunks_exact(count).enumerate() {
                for (u, w) in row.iter().enumerate() {
                    map[u * stride + level] = *w;
                }
            }
            bias[..n].copy_from_slice(model.parameter(stage, StageTensor::LevelsBias));
        }
        Self {
            values: model.values(),
            count,
            map,
            bias,
            levels: n,
        }
    }

    /// A positive pixel in GeV, at most what is left, from its outputs and two random words; `scratch` is reused.
    #[inline(always)]
    pub fn draw<V: Vector>(
        &self,
        numbers: &[f32],
        budget: &mut Option<Budget>,
        words: [u32; 2],
        scratch: &mut Vec<f32>,
    ) -> f32 {
        let (pick, place) = (random::unit(words[0]), random::unit(words[1]));
        let x = match &self.values {
            Values::Mixture(mixture) => {
                let mixture = mixture.within(*budget);
                mixture.draw(&numbers[..self.count], pick, place)
            }
            Values::Levels(grid) => {
                scratch.clear();
                scratch.extend_from_slice(&self.bias);
                for (z, row) in numbers[..self.count]
                    .iter()
                    .zip(self.map.chunks_exact(self.bias.len()))
                {
                    for (w, logit) in row.chunks_exact(LANES).zip(scratch.chunks_exact_mut(LANES)) {
                        // SAFETY: both chunks hold LANES numbers.
                        unsafe {
                            let sum = V::load(logit.as_ptr());
                            V::splat(*z)
                                .fma(V::load(w.as_ptr()), sum)
                                .store(logit.as_mut_ptr());
                        }
                    }
                }
                grid.value(levels::draw(&mut scratch[..self.levels], pick))
            }
        };
        spend(budget, x);
        x
    }
}

/// Draw `count` images in tiles side by side: `draw(start, images)` gives the nonzero pixels of each.
pub fn sample_tiles(
    pool: &rayon::ThreadPool,
    size: (usize, usize),
    count: usize,
    tile: usize,
    draw: impl Fn(usize, usize) -> Vec<Vec<(u16, f32)>> + Sync,
) -> Result<SparseImages, EngineError> {
    let drawn: Vec<Vec<Vec<(u16, f32)>>> = pool.install(|| {
        (0..count.div_ceil(tile))
            .into_par_iter()
            .map(|t| draw(t * tile, tile.min(count - t * tile)))
            .collect()
    });
    let mut images = SparseImages::new(size.0, size.1)
        .ok_or_else(|| DeviceError::Fault(format!("image size {} x {}", size.0, size.1)))?;
    for mut image in drawn.into_iter().flatten() {
        image.sort_unstable_by_key(|(pixel, _)| *pixel);
        images.push(image);
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_draw_what_single_images_draw() {
        for image in [0, 5, (1 << 32) - 3, u64::MAX - 20] {
            let lanes = words(99, image, 41);
            for (lane, n) in (image..).take(LANES).enumerate() {
                let want = random::words(99, Purpose::Draw, n, 41);
                assert_eq!(lanes.map(|word| word[lane]), want[..3]);
            }
        }
    }
}
