//! A start for training: units of the input layer that already sum over the pixels so far.
//!
//! Pixels of a jet add up to a total and its moments (E, Px, Py, Pz, whence mass), and what is still to come depends on
//! what has been drawn of them. A network finds such sums late: hundreds of small weights have to agree. Here every unit
//! starts with a random mixture of them. They are weights like all others: nothing of the model, the sampler or the
//! checkpoint knows of them.
//!
//! Every other unit starts with sums of the first channel and nothing else: the total is then known apart from the noise of
//! all other weights.

use super::{Model, StageTensor, Statistics};
use crate::random::{self, Purpose};

/// Moments of a pixel at (x, y), both from -1 to 1 over the image.
const MOMENTS: usize = 5;
/// The part of the image, from its centre, that the moments are scaled to.
const CORE: f64 = 0.25;
/// Streams of random numbers apart from those of [`Model::initialise`].
const STREAM: u32 = 1 << 31;

/// 1, x, y, x^2 + y^2 and x y in units of [`CORE`]: the sums over pixels times these are, near the centre, the total
/// transverse momentum, its two first moments (Pz and Py), and what energy and mass add in second order.
fn moments(pixel: usize, height: usize, width: usize) -> [f64; MOMENTS] {
    let along = |i: usize, n: usize| (2.0 * (i as f64 + 0.5) / n as f64 - 1.0) / CORE;
    let (x, y) = (along(pixel % width, width), along(pixel / width, height));
    [1.0, x, y, x * x + y * y, x * y]
}

impl Model {
    /// Add `strength` times random sums over the pixels that each unit reads: moments of the first channel and totals of
    /// the others, each in units of the average image's total. The bends of the units are spread over the range of the
    /// totals. Even units lose what weights they had, and have moments alone.
    pub(super) fn add_running_sums(
        &mut self,
        stage: usize,
        seed: u64,
        statistics: &Statistics,
        strength: f64,
    ) {
        let shape = self.stages[stage];
        let (height, width) = (self.config.image.height, self.config.image.width);
        let channels = self.config.input.channels();
        let totals: Vec<f64> = channels.iter().map(|c| statistics.total(c)).collect();
        let numbers = MOMENTS + channels.len() - 1;
        let order = self.order.iter().flatten();
        let moments: Vec<_> = order
            .map(|p| moments(usize::from(*p), height, width))
            .collect();
        let weight = self.index(stage, StageTensor::InputWeight);
        let bias = self.index(stage, StageTensor::InputBias);
        let columns = shape.inputs();
        for unit in 0..shape.units() {
            let words = |draw: usize| {
                let counter = (unit * numbers.div_ceil(2) + draw) as u64;
                random::words(seed, Purpose::Init, counter, STREAM + weight as u32)
            };
            let mixture: Vec<f64> = (0..numbers.div_ceil(2))
                .flat_map(|draw| random::normal(words(draw)).map(f64::from))
                .collect();
            let row = &mut self.parameters[weight][unit * columns..][..shape.inputs_read(unit)];
            let alone = unit % 2 == 0;
            if alone {
                row[shape.conditions..].fill(0.0);
            }
            let others = if alone { 0 } else { channels.len() - 1 };
            let pixels = row[shape.conditions..].chunks_exact_mut(shape.channels);
            for (shown, moments) in pixels.zip(&moments) {
                let sum: f64 = mixture.iter().zip(moments).map(|(z, m)| z * m).sum();
                shown[0] += (strength * sum / totals[0]) as f32;
                for (c, weight) in shown.iter_mut().enumerate().skip(1).take(others) {
                    *weight += (strength * mixture[MOMENTS + c - 1] / totals[c]) as f32;
                }
            }
            let word = random::words(seed, Purpose::Init, unit as u64, STREAM + bias as u32)[0];
            let bend = f64::from(random::unit(word));
            let steepness: f64 = mixture[0] + mixture[MOMENTS..][..others].iter().sum::<f64>();
            self.parameters[bias][unit] -= (strength * steepness * bend) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::data::SparseImages;
    use crate::model::{Config, Model, StageTensor, Statistics};

    /// Without the other weights a unit's pre-activation is its mixture of sums over the pixels below its degree.
    #[test]
    fn units_sum_what_they_read() {
        let config = "stage = [{square = 1, layers = 0}, {units_per_pixel = 2, layers = 0}]\n\
            [input]\nunit = 10.0\nalso = [{transform = 'log1p'}]\n[condition]\nnames = ['a']\nmean = [0.0]\nscale = [1.0]";
        let config = Config::parse(config).unwrap();
        let size = crate::model::config::ImageSize {
            height: 3,
            width: 3,
        };
        let mut model = Model::new(config.resolve(size).unwrap()).unwrap();
        let mut images = SparseImages::new(3, 3).unwrap();
        images.push_dense(&[0.0, 4.0, 0.0, 2.0, 30.0, 0.0, 0.0, 0.0, 4.0]);
        let statistics = Statistics::of(&images, &[0]);
        model.add_running_sums(1, 7, &statistics, 2.0);
        let shape = model.stages[1];
        let weight = model.parameter(1, StageTensor::InputWeight);
        for unit in 0..shape.units() {
            let row = &weight[unit * shape.inputs()..][..shape.inputs()];
            let read = shape.inputs_read(unit);
            assert_eq!(row[0], 0.0, "the condition is no pixel");
            assert!(row[read..].iter().all(|w| *w == 0.0), "masked");
            // Of the second channel all pixels count alike; of the first the centre has no moment but the total.
            let other = |w: f32| w == row[2] && (w == 0.0) == (unit % 2 == 0);
            assert!(row[2..read].iter().step_by(2).all(|w| other(*w)));
            assert!(row[3..read].iter().step_by(2).all(|w| *w != row[1]));
            // The average image's totals: 40 GeV in units of 10, and the logarithms.
            let logarithms = [4.0f32, 2.0, 30.0, 4.0].map(f32::ln_1p).iter().sum::<f32>();
            let slope = row[1] * 4.0 + row[2] * logarithms;
            let bend = -model.parameter(1, StageTensor::InputBias)[unit];
            assert!(
                (-1e-2..1.01).contains(&(bend / slope)),
                "bends lie within the range"
            );
        }
        assert!(
            model
                .parameter(0, StageTensor::InputWeight)
                .iter()
                .all(|w| *w == 0.0)
        );
    }
}
