//! The classifier whose features images are compared by: trained before the autoencoder, on the same images.

use std::ops::Range;

use rayon::prelude::*;

use super::Vae;
use super::gradients::summed;
use super::network::Part;
use crate::conditions::ConditionedImages;
use crate::data::SparseImages;
use crate::device::Cpu;
use crate::family::EngineError;
use crate::nn::adam::{AdamRule, Rates};
use crate::nn::chain::{Chain, Ready};
use crate::random::{self, Purpose, unit};

/// Images of a task.
const TILE: usize = 20;
/// One in so many of the images says when to stop.
const HELD: usize = 20;

/// Which of two values condition number `class` of each image has, false for the lower one; `None` where those of the images `rows` are
/// not two.
pub(super) fn classes(data: &ConditionedImages, rows: &[u32], class: usize) -> Option<Vec<bool>> {
    let value = |row: u64| data.conditions.row(row).get(class).copied();
    let mut of_rows = rows.iter().filter_map(|row| value(u64::from(*row)));
    let first = of_rows.next()?;
    let other = of_rows.find(|v| *v != first)?;
    let (low, high) = (first.min(other), first.max(other));
    (0..data.images.len() as u64)
        .map(|row| match value(row)? {
            v if v == low => Some(false),
            v if v == high => Some(true),
            _ => None,
        })
        .collect()
}

/// What each of `count` numbers of a layer is multiplied by, the first being number `first` of its batch, where a fraction `rate`
/// is left out: by chance that depends on a number's place in the batch, so that tiles change nothing.
fn kept(seed: u64, layer: usize, first: usize, count: usize, rate: f32) -> Vec<f32> {
    let mut words = [0; 4];
    (first..first + count)
        .map(|place| {
            let k = place % 4;
            if place == first || k == 0 {
                words = random::words(seed, Purpose::Dropout, place as u64 / 4, layer as u32);
            }
            if unit(words[k]) < rate {
                0.0
            } else {
                1.0 / (1.0 - rate)
            }
        })
        .collect()
}

/// Chance whose odds have this logarithm.
fn chance(log_odds: f32) -> f32 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// What a pass over some images gave.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Judged {
    pub images: usize,
    /// Sum of the cross entropies, nats.
    pub loss: f64,
    pub right: usize,
}

impl Judged {
    pub fn with(self, other: Self) -> Self {
        Self {
            images: self.images + other.images,
            loss: self.loss + other.loss,
            right: self.right + other.right,
        }
    }
}

/// A classifier in training, on whatever device.
pub(super) trait Learning {
    /// Steps of Adam on batches of `batch` of the images `rows`, the last one smaller.
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<(), EngineError>;

    /// What it makes of the images `rows`.
    fn judge(&mut self, rows: &[u32]) -> Result<Judged, EngineError>;

    /// Its tensors as they are now, into those of its model.
    fn parameters(&self, tensors: &mut [Vec<f32>]) -> Result<(), EngineError>;
}

/// A training of the classifier of `model` on the processor.
pub(super) struct Training<'a> {
    cpu: &'a Cpu,
    model: &'a Vae,
    data: &'a ConditionedImages,
    classes: &'a [bool],
    seed: u64,
    /// Features and head.
    chain: Chain,
    /// Which tensors of the model are its.
    tensors: Range<usize>,
    /// These, and their moments.
    parameters: Vec<Vec<f32>>,
    moments: [Vec<Vec<f32>>; 2],
    done: u64,
}

impl Vae {
    /// The classifier: its layers, and which tensors of the model are theirs.
    fn classifier(&self) -> (Chain, Range<usize>) {
        let network = &self.network;
        let layers = [&network.features.0[..], &network.head.0].concat();
        let tensors = network.range(Part::Features).start..network.range(Part::Head).end;
        (Chain(layers), tensors)
    }

    /// Chance of each image to be of the class that is told from the other, of a model with a classifier.
    pub(super) fn answers(&self, cpu: &Cpu, images: &SparseImages) -> Vec<f32> {
        let (chain, tensors) = self.classifier();
        let ready = chain.ready(&self.parameters[tensors], usize::MAX);
        let rows: Vec<u32> = (0..images.len() as u32).collect();
        let odds: Vec<Vec<f32>> = cpu.pool().install(|| {
            (rows.par_chunks(TILE))
                .map(|rows| chain.forward(&ready, &self.dense(images, rows)))
                .map(|mut outputs| outputs.pop().unwrap_or_default())
                .collect()
        });
        odds.concat().into_iter().map(chance).collect()
    }

    /// Let the classifier learn from the images `rows`; `say` is told of each epoch. All tensors, with its best ones.
    ///
    /// # Errors
    /// A cross entropy that is no number; a device that fails.
    pub(super) fn with_classifier(
        &self,
        learning: &mut dyn Learning,
        rows: &[u32],
        seed: u64,
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let settings = &self.config.perceptual;
        // By chance, whatever the order of the images.
        let order = random::permutation(seed, Purpose::Classifier, u32::MAX, rows.len());
        let of = |places: &[u32]| places.iter().map(|place| rows[*place as usize]).collect();
        let (held, trained) = order.split_at(rows.len() / HELD);
        let [held, trained]: [Vec<u32>; 2] = [of(held), of(trained)];
        let mut now = self.parameters.clone();
        let mut best = (f64::INFINITY, 0, now.clone());
        let rates = Rates::from(settings.learning_rate as f32);
        for epoch in 0..settings.epochs {
            let order = random::permutation(seed, Purpose::Classifier, epoch as u32, trained.len());
            let order: Vec<u32> = order.iter().map(|place| trained[*place as usize]).collect();
            learning.steps(&order, settings.batch, rates)?;
            learning.parameters(&mut now)?;
            // Without images held out the last epoch is the best.
            let judged = learning.judge(if held.is_empty() { &trained } else { &held })?;
            let mean = judged.loss / judged.images.max(1) as f64;
            if !mean.is_finite() {
                return Err(EngineError::Mismatch(format!(
                    "the classifier was lost in epoch {} (its cross entropy is no number); lower perceptual.learning_rate, it is {}",
                    epoch + 1,
                    settings.learning_rate
                )));
            }
            if held.is_empty() || mean < best.0 {
                best = (mean, epoch, now.clone());
            }
            say(&format!(
                "classifier, epoch {:>3}/{}: cross entropy {mean:.4}, {:.1} % right",
                epoch + 1,
                settings.epochs,
                100.0 * judged.right as f64 / judged.images.max(1) as f64
            ));
            if epoch - best.1 >= settings.patience.max(1) {
                break;
            }
        }
        Ok(best.2)
    }
}

impl<'a> Training<'a> {
    /// Of the classifier of `model` on the images of `data`, whose classes are `classes`.
    pub fn new(
        cpu: &'a Cpu,
        model: &'a Vae,
        (data, classes): (&'a ConditionedImages, &'a [bool]),
        seed: u64,
    ) -> Self {
        let (chain, tensors) = model.classifier();
        let parameters = model.parameters[tensors.clone()].to_vec();
        let zeros: Vec<Vec<f32>> = parameters.iter().map(|p| vec![0.0; p.len()]).collect();
        Self {
            cpu,
            model,
            data,
            classes,
            seed,
            chain,
            tensors,
            parameters,
            moments: [zeros.clone(), zeros],
            done: 0,
        }
    }
}

impl Learning for Training<'_> {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<(), EngineError> {
        for rows in rows.chunks(batch) {
            self.done += 1;
            let (_, gradients) = self.pass(rows, Some(self.done));
            let rule = AdamRule::new(rates, self.done);
            let [first, second] = &mut self.moments;
            for (i, gradient) in gradients.iter().enumerate() {
                rule.step(
                    &mut self.parameters[i],
                    &mut first[i],
                    &mut second[i],
                    gradient,
                );
            }
        }
        Ok(())
    }

    fn judge(&mut self, rows: &[u32]) -> Result<Judged, EngineError> {
        Ok(self.pass(rows, None).0)
    }

    fn parameters(&self, tensors: &mut [Vec<f32>]) -> Result<(), EngineError> {
        tensors[self.tensors.clone()].clone_from_slice(&self.parameters);
        Ok(())
    }
}

impl Training<'_> {
    /// Cross entropy of the images `rows`; in step number `step` with the derivatives of its mean, numbers being left out by chance.
    fn pass(&self, rows: &[u32], step: Option<u64>) -> (Judged, Vec<Vec<f32>>) {
        let first = if step.is_some() { 1 } else { usize::MAX };
        let ready = self.chain.ready(&self.parameters, first);
        let like = match step {
            Some(_) => &self.parameters[..],
            None => &[],
        };
        let tiles = rows.len().div_ceil(TILE);
        let (judged, gradients) = summed(self.cpu, tiles, like, |number, gradients| {
            let first = number * TILE;
            let of_tile = &rows[first..rows.len().min(first + TILE)];
            self.tile(
                &ready,
                of_tile,
                step.map(|step| (step, first, rows.len())),
                gradients,
            )
        });
        (
            judged.into_iter().fold(Judged::default(), Judged::with),
            gradients,
        )
    }

    /// `learns`: number of the step, place of the first image in its batch, images of the batch.
    fn tile(
        &self,
        ready: &[Ready],
        rows: &[u32],
        learns: Option<(u64, usize, usize)>,
        gradients: &mut [Vec<f32>],
    ) -> Judged {
        let layers = &self.chain.0;
        let convolutions = self.model.network.features.0.len() + 1;
        let rate = self.model.config.perceptual.dropout as f32;
        let mut inputs = vec![self.model.dense(&self.data.images, rows)];
        let mut outputs = Vec::with_capacity(layers.len());
        let mut masks = Vec::with_capacity(convolutions);
        for (i, layer) in layers.iter().enumerate() {
            let y = layer.forward(&ready[i], &inputs[i]);
            let mut next = y.clone();
            if let Some((step, first, _)) = learns
                && i < convolutions
                && rate > 0.0
            {
                let first = first * layer.output.numbers();
                let kept = kept(self.seed ^ step.rotate_left(32), i, first, y.len(), rate);
                next.iter_mut().zip(&kept).for_each(|(y, kept)| *y *= kept);
                masks.push(kept);
            }
            outputs.push(y);
            inputs.push(next);
        }
        let odds = outputs.last().map_or(&[][..], Vec::as_slice);
        let mut judged = Judged {
            images: rows.len(),
            ..Judged::default()
        };
        let mut by_odds = Vec::with_capacity(odds.len());
        for (row, odds) in rows.iter().zip(odds) {
            let is = self.classes[*row as usize];
            let signed = if is { -odds } else { *odds };
            // ln(1 + e^signed), without overflow.
            judged.loss += f64::from(signed.max(0.0) + (-signed.abs()).exp().ln_1p());
            judged.right += usize::from((*odds > 0.0) == is);
            by_odds.push(chance(*odds) - if is { 1.0 } else { 0.0 });
        }
        let Some((_, _, count)) = learns else {
            return judged;
        };
        by_odds.iter_mut().for_each(|d| *d /= count as f32);
        let mut dy = by_odds;
        for (i, layer) in layers.iter().enumerate().rev() {
            if let Some(kept) = masks.get(i) {
                dy.iter_mut().zip(kept).for_each(|(dy, kept)| *dy *= kept);
            }
            let (weights, bias) = gradients[2 * i..2 * i + 2].split_at_mut(1);
            let wanted = Some([weights[0].as_mut_slice(), bias[0].as_mut_slice()]);
            let through = (&inputs[i][..], &outputs[i][..]);
            dy = (layer.backward(&ready[i], through, dy, wanted)).unwrap_or_default();
        }
        judged
    }
}
