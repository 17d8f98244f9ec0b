//! An image and its mirror image, left and right exchanged, as one (`[symmetry] mirror`).
//!
//! Jets are mirrored before they become images, so that the right half holds more than the left. That is one number over
//! all pixels, known only when the last is drawn: a network that draws pixel by pixel breaks the rule in one W jet of eight. So the
//! network learns images of both ways round, and what it draws is mirrored where the left half holds more. An image that
//! is drawn then has the density f(x) + f(mirror image of x), f being the network's: exact as before.

use std::f64::consts::LN_2;

use crate::conditions::{ConditionedImages, Conditions};
use crate::data::SparseImages;
use crate::family::{EngineError, Sampler, Trainer, TrainingState};
use crate::nn::adam::Rates;
use crate::random::{self, Purpose};

/// Nonzero pixels of the mirror image, ascending.
fn mirror_image((index, value): (&[u16], &[f32]), width: usize) -> Vec<(u16, f32)> {
    let row_of = |pixel: u16| usize::from(pixel) / width;
    // Below the number of pixels, which fits into 16 bits.
    let mirrored = |pixel: u16| ((2 * row_of(pixel) + 1) * width - 1 - usize::from(pixel)) as u16;
    let mut pixels = Vec::with_capacity(index.len());
    // Within a row the order is turned round, rows stay where they are.
    for row in index.chunk_by(|a, b| row_of(*a) == row_of(*b)) {
        let start = pixels.len();
        let of_row = row.iter().zip(&value[start..]);
        pixels.extend(of_row.map(|(pixel, x)| (mirrored(*pixel), *x)));
        pixels[start..].reverse();
    }
    pixels
}

/// What the right half holds more than the left, GeV; a column in the middle belongs to neither.
fn right_over_left((index, value): (&[u16], &[f32]), width: usize) -> f64 {
    let pixels = index.iter().zip(value);
    pixels
        .map(|(pixel, x)| {
            let column = usize::from(*pixel) % width;
            match (2 * column + 1).cmp(&width) {
                std::cmp::Ordering::Less => -f64::from(*x),
                std::cmp::Ordering::Equal => 0.0,
                std::cmp::Ordering::Greater => f64::from(*x),
            }
        })
        .sum()
}

/// That some of `images` hold more in their left half, by more than rounding.
pub(super) fn wrong_way_round(images: &SparseImages) -> Option<String> {
    let wrong = |(index, value): (&[u16], &[f32])| {
        let sum: f64 = value.iter().map(|x| f64::from(*x)).sum();
        right_over_left((index, value), images.width()) < -1e-5 * sum
    };
    let count = images.iter().filter(|image| wrong(*image)).count();
    (count > 0).then(|| {
        format!(
            "{count} of {} images hold more in their left half (with 'symmetry.mirror' no such image is drawn, and where images come both ways round their likelihood is up to ln 2 = 0.69 nats too good); it is for images that were all mirrored beforehand, set symmetry.mirror=false for others",
            images.len()
        )
    })
}

/// `data`, and the mirror images behind them, under the same conditions.
pub(super) fn both(data: &ConditionedImages) -> ConditionedImages {
    let mut images = data.images.clone();
    for image in data.images.iter() {
        images.push(mirror_image(image, data.images.width()));
    }
    let conditions = &data.conditions;
    let rows = (0..data.images.len() as u64).flat_map(|image| conditions.row(image));
    let rows: Vec<f32> = rows.copied().collect();
    ConditionedImages {
        images,
        conditions: Conditions::new(conditions.width(), rows.repeat(2))
            .with_total(conditions.rule().copied()),
    }
}

/// Rows `rows` of what [`both`] made of `images` images, each followed by that of its mirror image: the first of them are
/// of both ways round, too.
pub(super) fn both_rows(rows: &[u32], images: usize) -> Vec<u32> {
    let images = images as u32;
    rows.iter().flat_map(|row| [*row, row + images]).collect()
}

/// Whether images of what [`both`] made are their own mirror images, which then count once; on a grid, where each pixel is at its
/// level.
pub(super) fn own_mirror_images(both: &SparseImages) -> Vec<bool> {
    let images = both.len() / 2;
    let same = |image: usize| both.image(image) == both.image(images + image);
    (0..images).map(same).collect()
}

/// ln(e^a + e^b), or a where both are of one image.
fn joined(a: f64, b: f64, own: bool) -> f64 {
    if own {
        return a;
    }
    let (most, least) = (a.max(b), a.min(b));
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + (least - most).exp().ln_1p()
}

/// Log-likelihoods of images, from those of what [`both`] made of them; `own`: see [`own_mirror_images`].
pub(super) fn scores(own: &[bool], scores: &[f64]) -> Vec<f64> {
    let (images, mirrored) = scores.split_at(scores.len() / 2);
    (images.iter().zip(mirrored).zip(own))
        .map(|((a, b), own)| joined(*a, *b, *own))
        .collect()
}

/// Trains on images of both ways round: in each step each image is one of the two, by chance.
///
/// The likelihood of a batch is that of the images with the two ways round equally likely, as they are for a network that has
/// learnt; that of [`nll`](Trainer::nll) is exact.
pub(super) struct MirrorTrainer {
    inner: Box<dyn Trainer>,
    own: Vec<bool>,
    steps: u64,
    weights: Option<Vec<f32>>,
}

impl MirrorTrainer {
    /// `inner` trains on what [`both`] made; `own`: see [`own_mirror_images`].
    pub fn new(inner: Box<dyn Trainer>, own: Vec<bool>) -> Self {
        Self {
            inner,
            own,
            steps: 0,
            weights: None,
        }
    }

    /// By how much the likelihood of image `row` in a batch is that of two.
    fn bits(&self, row: u32) -> f64 {
        let weight = self.weights.as_ref().and_then(|w| w.get(row as usize));
        match self.is_own(row) {
            true => 0.0,
            false => LN_2 * f64::from(weight.copied().unwrap_or(1.0)),
        }
    }

    fn is_own(&self, row: u32) -> bool {
        self.own.get(row as usize).is_some_and(|own| *own)
    }
}

impl Trainer for MirrorTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        let batch = batch.max(1);
        let images = self.own.len() as u32;
        let chosen: Vec<u32> = (rows.chunks(batch).zip(self.steps..))
            .flat_map(|(rows, step)| {
                rows.iter().map(move |row| {
                    let words = random::words(step, Purpose::Mirror, u64::from(*row), 0);
                    row + images * (words[0] >> 31)
                })
            })
            .collect();
        let mut nll = self.inner.steps(&chosen, batch, rates)?;
        self.steps += nll.len() as u64;
        for (nll, rows) in nll.iter_mut().zip(rows.chunks(batch)) {
            *nll -= rows.iter().map(|row| self.bits(*row)).sum::<f64>() / rows.len() as f64;
        }
        Ok(nll)
    }

    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        let all = self.inner.nll(&both_rows(rows, self.own.len()))?;
        let (pairs, _) = all.as_chunks::<2>();
        Ok((pairs.iter().zip(rows))
            .map(|([a, b], row)| -joined(-a, -b, self.is_own(*row)))
            .collect())
    }

    fn weigh(&mut self, weights: &[f32]) -> Result<(), EngineError> {
        self.inner.weigh(&weights.repeat(2))?;
        self.weights = Some(weights.to_vec());
        Ok(())
    }

    fn state(&self) -> Result<TrainingState, EngineError> {
        self.inner.state()
    }

    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        self.inner.restore(state)?;
        self.steps = state.steps;
        Ok(())
    }
}

/// Draws images, and mirrors those whose left half holds more.
pub(super) struct MirrorSampler(pub Box<dyn Sampler>);

impl Sampler for MirrorSampler {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let drawn = self.0.sample(first, count)?;
        let width = drawn.width();
        let Some(mut images) = SparseImages::new(drawn.height(), width) else {
            return Ok(drawn);
        };
        for image in drawn.iter() {
            let as_drawn = image.0.iter().copied().zip(image.1.iter().copied());
            match right_over_left(image, width) {
                more if more > 0.0 => images.push(as_drawn),
                less if less < 0.0 => images.push(mirror_image(image, width)),
                // Of two images whose halves hold the same one stands for both, whichever is drawn.
                _ => {
                    let mirrored = mirror_image(image, width);
                    match as_drawn.clone().partial_cmp(mirrored.iter().copied()) {
                        Some(std::cmp::Ordering::Greater) => images.push(mirrored),
                        _ => images.push(as_drawn),
                    }
                }
            }
        }
        Ok(images)
    }

    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        self.0.announce(first, count)
    }

    fn preferred_count(&self) -> usize {
        self.0.preferred_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_image_turns_each_row_round() {
        let turned = |index: &[u16], width| -> Vec<u16> {
            let value: Vec<f32> = index.iter().map(|i| f32::from(*i) + 1.0).collect();
            let image = mirror_image((index, &value), width);
            let back: Vec<u16> = image.iter().map(|(pixel, _)| *pixel).collect();
            let values: Vec<f32> = image.iter().map(|(_, x)| *x).collect();
            let again = mirror_image((&back, &values), width);
            assert!(again.into_iter().eq(index.iter().copied().zip(value)));
            back
        };
        assert_eq!(turned(&[0, 2, 4, 5], 3), [0, 2, 3, 4]);
        assert_eq!(turned(&[0, 1, 6], 4), [2, 3, 5]);
        // The widest image there is.
        assert_eq!(turned(&[0, 65_000], 1 << 16), [535, 65_535]);
        // A column in the middle belongs to neither half.
        assert_eq!(right_over_left((&[0, 1, 5], &[1.0, 7.0, 2.5]), 3), 1.5);
        assert_eq!(right_over_left((&[0, 1, 3], &[1.0, 7.0, 2.5]), 2), 8.5);
    }
}
