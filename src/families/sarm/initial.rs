//! The parameters that training starts from.

use super::config::{Channel, LikelihoodConfig, SpaceName};
use super::endings::Endings;
use super::running_sums::Ends;
use super::{Sarm, StageTensor};
use crate::data::SparseImages;
use crate::likelihood::support::bent_log;
use crate::random;
use crate::random::Purpose;

/// What the training images say about each pixel: the output biases start there, so that a fresh
/// model is already the per-pixel independent one (but for the component that stands for all that is left of a total) and
/// training goes into what connects the pixels.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Images with a zero, per pixel.
    zeros: Vec<usize>,
    /// Positive values, per pixel, ascending; at most [`Statistics::KEPT`] of them.
    positive: Vec<Vec<f32>>,
    images: usize,
    /// What sums over all pixels come to, where it was measured.
    pub(super) ends: Option<Ends>,
    /// How images end, where the model is shown what is left.
    endings: Option<Endings>,
}

impl Statistics {
    const KEPT: usize = 2048;

    /// Count over `rows` of `images`.
    pub fn of(images: &SparseImages, rows: &[u32]) -> Self {
        let mut zeros = vec![rows.len(); images.pixels()];
        let mut positive = vec![Vec::new(); images.pixels()];
        for row in rows {
            let (index, value) = images.image(*row as usize);
            for (p, v) in index.iter().zip(value) {
                zeros[*p as usize] -= 1;
                let kept: &mut Vec<f32> = &mut positive[*p as usize];
                if kept.len() < Self::KEPT {
                    kept.push(*v);
                }
            }
        }
        for kept in &mut positive {
            kept.sort_unstable_by(f32::total_cmp);
        }
        Self {
            zeros,
            positive,
            images: rows.len(),
            ends: None,
            endings: None,
        }
    }

    /// With how the images `rows` end: what weights of what is left start from.
    pub fn with_endings(self, model: &Sarm, images: &SparseImages, rows: &[u32]) -> Self {
        let zero = |pixel| self.log_odds_of_zero(pixel);
        Self {
            endings: Endings::of(model, images, rows, zero),
            ..self
        }
    }

    fn log_odds_of_zero(&self, pixel: usize) -> f64 {
        let zero = self.zero_fraction(pixel);
        (zero / (1.0 - zero)).ln()
    }

    /// With what the sums over all pixels come to in the images `rows`, given their conditions as inputs of `model`:
    /// what [running sums](Sarm::initialise) start from.
    pub fn with_ends<'a>(
        self,
        model: &Sarm,
        images: &SparseImages,
        rows: &[u32],
        condition: &dyn Fn(u32) -> &'a [f32],
    ) -> Self {
        Self {
            ends: Some(Ends::of(model, images, rows, condition)),
            ..self
        }
    }

    /// Fraction of images in which a pixel is zero, kept away from 0 and 1 as by one image more of each.
    pub fn zero_fraction(&self, pixel: usize) -> f64 {
        (self.zeros[pixel] as f64 + 0.5) / (self.images as f64 + 1.0)
    }

    /// Sum over the pixels of an average image as `channel` shows them.
    pub(super) fn total(&self, channel: &Channel) -> f64 {
        let pixels = self.positive.iter().enumerate();
        let total: f64 = pixels
            .map(|(pixel, kept)| {
                let shown: f64 = kept.iter().map(|x| f64::from(channel.apply(*x))).sum();
                (1.0 - self.zero_fraction(pixel)) * shown / kept.len().max(1) as f64
            })
            .sum();
        // For images without a positive pixel: any value, since it is never used.
        if total > 0.0 { total } else { 1.0 }
    }

    /// The value below which a fraction `q` of a pixel's positive values lie; `None` if there are none.
    pub fn quantile(&self, pixel: usize, q: f64) -> Option<f32> {
        let kept = &self.positive[pixel];
        let place = (q * kept.len() as f64) as usize;
        kept.get(place.min(kept.len().saturating_sub(1))).copied()
    }
}

impl Sarm {
    /// Set the parameters that training starts from: weights normal with the variance that keeps a
    /// GELU layer's output in scale (He et al. 2015), outputs near zero around biases from `statistics`. With
    /// `running_sums` above 0 the input layer starts from that many times random sums over the pixels so far.
    pub fn initialise(&mut self, seed: u64, statistics: &Statistics, running_sums: f64) {
        for t in 0..self.tensors.len() {
            let spec = self.tensors[t].clone();
            let gain = match spec.tensor {
                StageTensor::InputWeight | StageTensor::HiddenWeight(_) => 2.0,
                StageTensor::LevelsWeight => 1.0,
                StageTensor::GateWeight | StageTensor::ValueWeight => 0.02,
                StageTensor::InputBias
                | StageTensor::HiddenBias(_)
                | StageTensor::GateBias
                | StageTensor::ValueBias
                | StageTensor::LevelsBias
                | StageTensor::LeftWeight => continue,
            };
            let columns = spec.columns();
            for row in 0..spec.rows() {
                let read = spec.read(row);
                let spread = (gain / read.max(1) as f64).sqrt();
                let start = row * columns;
                for pair in 0..read.div_ceil(2) {
                    let n = (start + 2 * pair) as u64;
                    let drawn = random::normal(random::words(seed, Purpose::Init, n, t as u32));
                    for (i, z) in drawn.into_iter().enumerate().take(read - 2 * pair) {
                        self.parameters[t][start + 2 * pair + i] = (spread * z) as f32;
                    }
                }
            }
        }
        for stage in 0..self.stages.len() {
            self.initialise_biases(stage, seed, statistics);
            if running_sums > 0.0 {
                self.add_running_sums(stage, seed, statistics, running_sums);
            }
        }
    }

    fn initialise_biases(&mut self, stage: usize, seed: u64, statistics: &Statistics) {
        let gate = self.index(stage, StageTensor::GateBias);
        let value = self.index(stage, StageTensor::ValueBias);
        let values = self.stages[stage].values;
        let left = self.left();
        for (place, pixel) in self.order[stage].clone().into_iter().enumerate() {
            let pixel = pixel as usize;
            self.parameters[gate][place] = statistics.log_odds_of_zero(pixel) as f32;
            let bias = &mut self.parameters[value][place * values..(place + 1) * values];
            match self.config.likelihood {
                LikelihoodConfig::Dc {
                    components,
                    unit,
                    space,
                    ..
                } => {
                    let at = |q: f64| {
                        let x = f64::from(statistics.quantile(pixel, q).unwrap_or(1.0)) / unit;
                        match space {
                            SpaceName::Linear => x,
                            SpaceName::Log => bent_log(x),
                        }
                    };
                    for k in 0..components {
                        let share = 1.0 / components as f64;
                        let (low, high) = (at(k as f64 * share), at((k + 1) as f64 * share));
                        bias[components + k] = at((k as f64 + 0.5) * share) as f32;
                        // A logistic of scale s has half its mass within 1.1 s of the mean.
                        let scale = ((high - low) / 2.2).max(1e-3);
                        bias[2 * components + k] = scale.ln() as f32;
                    }
                    if let (Some(left), Some(endings)) = (left, &statistics.endings) {
                        // Against the other components, whose logits are 0.
                        let others = (components.max(2) - 1) as f64;
                        bias[0] = (endings.takes_all[0] + others.ln()) as f32;
                        self.parameters[gate][place] += endings.stays_shut[0] as f32;
                        let index = self.index(stage, StageTensor::LeftWeight);
                        let of_pixel =
                            &mut self.parameters[index][place * (1 + values) * left.terms..];
                        // The gate's, then those of the first value.
                        let slopes = [&endings.stays_shut[1..], &endings.takes_all[1..]];
                        for (weights, slopes) in of_pixel.chunks_mut(left.terms).zip(slopes) {
                            for (weight, slope) in weights.iter_mut().zip(slopes) {
                                *weight = *slope as f32;
                            }
                        }
                    }
                }
                LikelihoodConfig::Dd { .. } => {
                    for (u, b) in bias.iter_mut().enumerate() {
                        let n = (place * values + u) as u64;
                        let z = random::normal(random::words(seed, Purpose::Init, n, value as u32));
                        *b = z[0] as f32;
                    }
                }
            }
        }
        if let LikelihoodConfig::Dd { .. } = self.config.likelihood {
            self.initialise_levels(stage, statistics);
        }
    }

    /// Biases of the levels: how often each occurs over all pixels, smoothed.
    fn initialise_levels(&mut self, stage: usize, statistics: &Statistics) {
        let super::Values::Levels(grid) = self.values() else {
            return;
        };
        let mut count = vec![0.1f64; grid.len()];
        for pixel in &self.order[stage] {
            let p = *pixel as usize;
            let kept = &statistics.positive[p];
            // `kept` may be a sample: weigh it by how often the pixel is nonzero.
            let weight =
                (statistics.images - statistics.zeros[p]) as f64 / kept.len().max(1) as f64;
            for v in kept {
                if let Some(level) = grid.level(*v) {
                    count[level] += weight;
                }
            }
        }
        let total: f64 = count.iter().sum();
        let index = self.index(stage, StageTensor::LevelsBias);
        for (bias, c) in self.parameters[index].iter_mut().zip(&count) {
            *bias = (c / total).ln() as f32;
        }
    }
}
