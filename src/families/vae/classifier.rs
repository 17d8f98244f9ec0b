//! The classifier whose features images are compared by: trained before the autoencoder, on the same images.

use rayon::prelude::*;

use super::Vae;
use super::network::Part;
use crate::conditions::ConditionedImages;
use crate::device::Cpu;
use crate::nn::adam::{AdamRule, Rates};
use crate::random::{self, Purpose, unit};

/// Images of a task.
const TILE: usize = 20;
/// More than the layers of the classifier.
const LAYERS: u32 = 8;
/// One in so many of the images says when to stop.
const HELD: usize = 20;

/// Which of two values condition number `class` of each image has, false for the lower one; `None` where there are not two.
pub(super) fn classes(data: &ConditionedImages, class: usize) -> Option<Vec<bool>> {
    let value = |row: usize| data.conditions.row(row as u64).get(class).copied();
    let values: Vec<f32> = (0..data.images.len()).map(value).collect::<Option<_>>()?;
    let (low, high) = (values.iter()).fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| {
        (low.min(*v), high.max(*v))
    });
    let two = low < high && values.iter().all(|v| *v == low || *v == high);
    two.then(|| values.iter().map(|v| *v == high).collect())
}

/// Numbers that are left out: each has a place in its batch, so that tiles change nothing.
struct Dropped {
    seed: u64,
    item: u32,
    /// Place of the first.
    first: u64,
}

impl Dropped {
    /// What each of `count` numbers is multiplied by, where a fraction `rate` is left out.
    fn kept(&self, count: usize, rate: f32) -> Vec<f32> {
        let mut words = [0; 4];
        (self.first..self.first + count as u64)
            .enumerate()
            .map(|(i, place)| {
                let k = (place % 4) as usize;
                if i == 0 || k == 0 {
                    words = random::words(self.seed, Purpose::Vae, place / 4, self.item);
                }
                if unit(words[k]) < rate {
                    0.0
                } else {
                    1.0 / (1.0 - rate)
                }
            })
            .collect()
    }
}

/// What a pass over some images gave.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    images: usize,
    loss: f64,
    right: usize,
}

impl Judged {
    fn with(self, other: Self) -> Self {
        Self {
            images: self.images + other.images,
            loss: self.loss + other.loss,
            right: self.right + other.right,
        }
    }
}

/// A training of the classifier of `model`.
struct Training<'a> {
    cpu: &'a Cpu,
    model: &'a Vae,
    data: &'a ConditionedImages,
    classes: &'a [bool],
    seed: u64,
    /// Tensors of features and head.
    parameters: Vec<Vec<f32>>,
}

impl Vae {
    /// Train the classifier on the images `rows` of `data`, `classes` being those of all images; `say` is told of each epoch.
    pub(super) fn train_classifier(
        &mut self,
        cpu: &Cpu,
        (data, rows, classes): (&ConditionedImages, &[u32], &[bool]),
        seed: u64,
        say: &mut dyn FnMut(&str),
    ) {
        let settings = self.config.perceptual.clone();
        let range = self.network.range(Part::Features).start..self.network.range(Part::Head).end;
        let (held, trained): (Vec<u32>, Vec<u32>) = (rows.iter().enumerate())
            .map(|(place, row)| (place % HELD == HELD - 1, *row))
            .fold(
                (Vec::new(), Vec::new()),
                |(mut held, mut trained), (is_held, row)| {
                    if is_held {
                        held.push(row)
                    } else {
                        trained.push(row)
                    }
                    (held, trained)
                },
            );
        let mut training = Training {
            cpu,
            model: self,
            data,
            classes,
            seed,
            parameters: self.parameters[range.clone()].to_vec(),
        };
        let zeros: Vec<Vec<f32>> = training
            .parameters
            .iter()
            .map(|p| vec![0.0; p.len()])
            .collect();
        let (mut first, mut second) = (zeros.clone(), zeros.clone());
        let mut best = (f64::INFINITY, 0, training.parameters.clone());
        let mut step = 0u64;
        for epoch in 0..settings.epochs {
            let order = random::permutation(seed, Purpose::Vae, epoch as u32, trained.len());
            let mut over_epoch = Judged::default();
            for batch in order.chunks(settings.batch) {
                step += 1;
                let rows: Vec<u32> = batch.iter().map(|place| trained[*place as usize]).collect();
                let mut gradients = zeros.clone();
                over_epoch = over_epoch.with(training.pass(&rows, Some((step, &mut gradients))));
                let rule = AdamRule::new(Rates::from(settings.learning_rate as f32), step);
                for (i, gradient) in gradients.iter().enumerate() {
                    let (first, second) = (&mut first[i], &mut second[i]);
                    rule.step(&mut training.parameters[i], first, second, gradient);
                }
            }
            // Without images held out the last epoch is the best.
            let judged = match held.is_empty() {
                true => over_epoch,
                false => training.pass(&held, None),
            };
            let mean = judged.loss / judged.images.max(1) as f64;
            let is_best = held.is_empty() || mean < best.0;
            if is_best {
                best = (mean, epoch, training.parameters.clone());
            }
            say(&format!(
                "classifier, epoch {:>3}/{}: cross entropy {mean:.4}, {:.1} % right",
                epoch + 1,
                settings.epochs,
                100.0 * judged.right as f64 / judged.images.max(1) as f64
            ));
            if !mean.is_finite() || epoch - best.1 >= settings.patience.max(1) {
                break;
            }
        }
        self.parameters[range].clone_from_slice(&best.2);
    }
}

impl Training<'_> {
    /// Cross entropy of the images `rows`; with a step's number and gradients, these are those of the mean, numbers being left out by
    /// chance.
    fn pass(&self, rows: &[u32], learns: Option<(u64, &mut Vec<Vec<f32>>)>) -> Judged {
        let count = rows.len();
        let step = learns.as_ref().map(|(step, _)| *step);
        let parts: Vec<(Judged, Vec<Vec<f32>>)> = self.cpu.pool().install(|| {
            (rows.par_chunks(TILE).enumerate())
                .map(|(tile, rows)| self.tile(rows, step.map(|step| (step, tile * TILE, count))))
                .collect()
        });
        let mut judged = Judged::default();
        let mut gradients = learns.map(|(_, gradients)| gradients);
        for (of_part, found) in parts {
            judged = judged.with(of_part);
            if let Some(gradients) = &mut gradients {
                for (to, from) in gradients.iter_mut().zip(&found) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            }
        }
        judged
    }

    /// `learns`: number of the step, place of the first image in its batch, images of the batch.
    fn tile(&self, rows: &[u32], learns: Option<(u64, usize, usize)>) -> (Judged, Vec<Vec<f32>>) {
        let network = &self.model.network;
        let layers: Vec<_> = network.features.0.iter().chain(&network.head.0).collect();
        let convolutions = network.features.0.len() + 1;
        let rate = self.model.config.perceptual.dropout as f32;
        let mut inputs = vec![self.model.dense(&self.data.images, rows)];
        let mut outputs = Vec::with_capacity(layers.len());
        let mut masks = Vec::with_capacity(convolutions);
        for (i, layer) in layers.iter().enumerate() {
            let tensors = [&self.parameters[2 * i][..], &self.parameters[2 * i + 1]];
            let y = layer.forward(tensors, &inputs[i]);
            let mut next = y.clone();
            if let Some((step, first, _)) = learns
                && i < convolutions
                && rate > 0.0
            {
                let drawn = Dropped {
                    seed: self.seed,
                    item: u32::MAX - (step as u32 * LAYERS + i as u32),
                    first: (first * layer.output.numbers()) as u64,
                };
                let kept = drawn.kept(y.len(), rate);
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
            let chance = 1.0 / (1.0 + (-odds).exp());
            by_odds.push(chance - if is { 1.0 } else { 0.0 });
        }
        let Some((_, _, count)) = learns else {
            return (judged, Vec::new());
        };
        by_odds.iter_mut().for_each(|d| *d /= count as f32);
        let mut gradients: Vec<Vec<f32>> =
            self.parameters.iter().map(|p| vec![0.0; p.len()]).collect();
        let mut dy = by_odds;
        for (i, layer) in layers.iter().enumerate().rev() {
            if let Some(kept) = masks.get(i) {
                dy.iter_mut().zip(kept).for_each(|(dy, kept)| *dy *= kept);
            }
            let (weights, bias) = gradients[2 * i..2 * i + 2].split_at_mut(1);
            let wanted = Some([weights[0].as_mut_slice(), bias[0].as_mut_slice()]);
            dy = layer.backward(
                &self.parameters[2 * i],
                (&inputs[i], &outputs[i]),
                dy,
                wanted,
                i > 0,
            );
        }
        (judged, gradients)
    }
}
