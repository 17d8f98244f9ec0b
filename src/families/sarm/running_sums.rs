//! A start for training: units of the input layer that already sum over the pixels so far.
//!
//! Pixels of a jet add up to a total and its moments (E, Px, Py, Pz, whence mass), and what is still to come depends on
//! what has been drawn of them. A network finds such sums late: hundreds of small weights have to agree. Here every unit
//! starts with a random mixture of them. They are weights like all others: nothing of the model, the sampler or the
//! checkpoint knows of them.
//!
//! Every other unit starts with sums of the first channel and nothing else: the total is then known apart from the noise of
//! all other weights. Half of these start with what is *missing* from a moment that an image with these conditions comes to (a
//! jet's pT says its total), in steps as fine as the conditions say it: the last pixels are drawn by a few GeV that are left,
//! which a sum in units of all of it hardly shows. Units of moments that only grow are zero once nothing is missing, so that an
//! image that overshoots shows the network nothing it has not seen; those of moments of either sign bend around that point.

use super::{Sarm, StageTensor, Statistics};
use crate::data::SparseImages;
use crate::numeric::solve;
use crate::random;
use crate::random::Purpose;

/// Moments of a pixel at (x, y), both from -1 to 1 over the image.
const MOMENTS: usize = 6;
/// The part of the image, from its centre, that the moments are scaled to.
const CORE: f64 = 0.25;
/// Those that only grow with every pixel: the total, and what energy and mass add to it.
const GROWING: [usize; 2] = [0, 3];
/// One unit in so many starts with what is missing.
const MISSING_EVERY: usize = 4;
/// What such a unit takes for one, in standard deviations of what the conditions do not say.
const FINE: f64 = 3.0;
/// But never less than this part of an average image's total: finer steps make units so large that all others are noise
/// beside them.
const FINEST: f64 = 0.04;
/// Where units bend: from this much too much to as much missing, in these steps.
const BENDS: [f64; 2] = [-1.0, 4.0];
/// Images that [`Ends`] are measured on, at the most.
const MEASURED: usize = 1 << 15;
/// Which moments units start with what is missing of, and of what sign: every other one those that only grow.
const MISSING: [(usize, f64); 12] = [
    (0, 1.0),
    (4, 1.0),
    (3, 1.0),
    (4, -1.0),
    (0, 1.0),
    (1, 1.0),
    (3, 1.0),
    (5, 1.0),
    (0, 1.0),
    (1, -1.0),
    (3, 1.0),
    (2, 1.0),
];
/// What units of moments of either sign take for one, in half widths of the core of what the conditions do not say.
const CORES: f64 = 2.0;
/// But never less than this part of an average image's total.
const FINEST_SIGNED: f64 = 2e-3;
/// Where such units bend.
const EITHER_SIDE: [f64; 2] = [-1.5, 1.5];
/// Streams of random numbers apart from those of [`Sarm::initialise`].
const STREAM: u32 = 1 << 31;

/// 1, x, y, x^2 + y^2, x y and x^2 in units of [`CORE`]: the sums over pixels times these are, near the centre, the total
/// transverse momentum, its two first moments (Pz and Py), what energy and mass add in second order, and how it lies.
fn moments(pixel: usize, height: usize, width: usize) -> [f64; MOMENTS] {
    let along = |i: usize, n: usize| (2.0 * (i as f64 + 0.5) / n as f64 - 1.0) / CORE;
    let (x, y) = (along(pixel % width, width), along(pixel / width, height));
    [1.0, x, y, x * x + y * y, x * y, x * x]
}

/// What the moments of whole images come to: linear in the conditions, by least squares.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    /// Of each moment, in units of the first channel, where all conditions are at their mean.
    mean: [f64; MOMENTS],
    /// How much more for one standard deviation of each condition.
    slopes: Vec<[f64; MOMENTS]>,
    /// Standard deviation of what is left.
    left: [f64; MOMENTS],
    /// Half of the width that holds the middle two thirds of it: of distributions with long tails much less.
    core: [f64; MOMENTS],
}

impl Ends {
    /// Of the images `rows`, whose conditions enter `model` as `condition` says.
    pub fn of<'a>(
        model: &Sarm,
        images: &SparseImages,
        rows: &[u32],
        condition: &dyn Fn(u32) -> &'a [f32],
    ) -> Self {
        let (height, width) = (images.height(), images.width());
        let channel = model.config.input.channels()[0];
        let of_pixel: Vec<_> = (0..height * width)
            .map(|p| moments(p, height, width))
            .collect();
        let rows = &rows[..rows.len().min(MEASURED)];
        let known = |row: u32| {
            let conditions = condition(row).iter().map(|v| f64::from(*v));
            std::iter::once(1.0).chain(conditions)
        };
        let sums = |row: u32| {
            let (pixels, values) = images.image(row as usize);
            let mut sums = [0.0; MOMENTS];
            for (p, x) in pixels.iter().zip(values) {
                let shown = f64::from(channel.apply(*x));
                for (sum, moment) in sums.iter_mut().zip(of_pixel[usize::from(*p)]) {
                    *sum += moment * shown;
                }
            }
            sums
        };
        // The normal equations of 1 and the conditions, a row each, their right sides behind.
        let unknowns = 1 + model.config.condition.names.len();
        let mut equations = vec![vec![0.0; unknowns + MOMENTS]; unknowns];
        for row in rows {
            let all: Vec<f64> = known(*row).chain(sums(*row)).collect();
            for (equation, a) in equations.iter_mut().zip(&all) {
                for (e, b) in equation.iter_mut().zip(&all) {
                    *e += a * b;
                }
            }
        }
        // Conditions may hang together, or not vary at all.
        for (i, equation) in equations.iter_mut().enumerate() {
            equation[i] += 1e-6 * rows.len() as f64;
        }
        let solved = solve::<MOMENTS>(equations);
        let mut squares = [0.0; MOMENTS];
        let mut all_left: [Vec<f64>; MOMENTS] = Default::default();
        for row in rows {
            let mut left = sums(*row);
            for (a, by) in known(*row).zip(&solved) {
                left.iter_mut().zip(by).for_each(|(l, b)| *l -= a * b);
            }
            squares.iter_mut().zip(left).for_each(|(s, l)| *s += l * l);
            all_left
                .iter_mut()
                .zip(left)
                .for_each(|(all, l)| all.push(l));
        }
        Self {
            mean: solved[0],
            slopes: solved[1..].to_vec(),
            left: squares.map(|s| (s / rows.len().max(1) as f64).sqrt()),
            core: all_left.map(|mut all| {
                all.sort_unstable_by(f64::total_cmp);
                let at = |part: usize| all.get(part * all.len() / 6).copied().unwrap_or(0.0);
                (at(5) - at(1)) / 2.0
            }),
        }
    }
}

impl Sarm {
    /// Add `strength` times random sums over the pixels that each unit reads: moments of the first channel and totals of
    /// the others, each in units of the average image's total. The bends of the units are spread over the range of the
    /// totals. Even units lose what weights they had, and have moments alone; every fourth one, where
    /// [`Ends`] were measured, starts with what is missing from one of the moments (`MISSING`) instead.
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
            let word = random::words(seed, Purpose::Init, unit as u64, STREAM + bias as u32)[0];
            let bend = f64::from(random::unit(word));
            if let Some(ends) = &statistics.ends
                && unit % MISSING_EVERY == 0
            {
                let (moment, sign) = MISSING[unit / MISSING_EVERY % MISSING.len()];
                let grows = GROWING.contains(&moment);
                let unit_of_it = match grows {
                    true => (FINE * ends.left[moment]).max(FINEST * totals[0]),
                    false => sign * (CORES * ends.core[moment]).max(FINEST_SIGNED * totals[0]),
                };
                row.fill(0.0);
                for (weight, by) in row.iter_mut().zip(&ends.slopes) {
                    *weight = (by[moment] / unit_of_it) as f32;
                }
                let pixels = row[shape.conditions..].chunks_exact_mut(shape.channels);
                for (shown, moments) in pixels.zip(&moments) {
                    shown[0] = (-moments[moment] / unit_of_it) as f32;
                }
                let range = if grows { BENDS } else { EITHER_SIDE };
                let bend = range[0] + (range[1] - range[0]) * bend;
                self.parameters[bias][unit] = (ends.mean[moment] / unit_of_it - bend) as f32;
                continue;
            }
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
            let conditions = row[..shape.conditions].iter_mut();
            for (weight, by) in conditions.zip(statistics.ends.iter().flat_map(|e| &e.slopes)) {
                let end: f64 = mixture.iter().zip(by).map(|(z, b)| z * b).sum();
                *weight -= (strength * end / totals[0]) as f32;
            }
            let steepness: f64 = mixture[0] + mixture[MOMENTS..][..others].iter().sum::<f64>();
            self.parameters[bias][unit] -= (strength * steepness * bend) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ends;
    use crate::data::SparseImages;
    use crate::families::sarm::{Config, Sarm, StageTensor, Statistics};

    /// Images of 1 to 3 at one pixel, which the condition says, and an 8 that comes and goes at another.
    #[test]
    fn units_start_with_what_is_missing() {
        let config = "stage = [{units_per_pixel = 4, layers = 0}]\n[input]\nunit = 2.0\n\
            [condition]\nnames = ['a', 'b']\nmean = [0.0, 0.0]\nscale = [1.0, 1.0]";
        let size = crate::data::ImageSize {
            height: 3,
            width: 3,
        };
        let resolved = Config::parse(config).unwrap().resolve(size).unwrap();
        let mut model = Sarm::new(resolved).unwrap();
        let mut images = SparseImages::new(3, 3).unwrap();
        let mut conditions = Vec::new();
        for i in 0..600u32 {
            let level = (i % 3) as f32 - 1.0;
            conditions.push([level, 0.0]);
            let often = (i / 3 % 2 == 0).then_some((8, 8.0));
            images.push([(4, 2.0 + level)].into_iter().chain(often));
        }
        let rows: Vec<u32> = (0..600).collect();
        let ends = Ends::of(&model, &images, &rows, &|row| &conditions[row as usize]);
        // Totals in units of 2: 3 on average, 1/2 more for a level more, and 2 up or down.
        let close = |a: f64, b: f64| (a - b).abs() < 1e-4;
        assert!(
            close(ends.mean[0], 3.0) && close(ends.left[0], 2.0),
            "{ends:?}"
        );
        assert!(
            close(ends.slopes[0][0], 0.5) && close(ends.slopes[1][0], 0.0),
            "{ends:?}"
        );
        let mut statistics = Statistics::of(&images, &rows);
        statistics.ends = Some(ends);
        model.add_running_sums(0, 7, &statistics, 2.0);
        let shape = model.stages[0];
        let weight = model.parameter(0, StageTensor::InputWeight);
        // One that waits for the total, seen from the last pixel: 1 for each 6 that are missing.
        let unit = 8 * 4;
        let row = &weight[unit * shape.inputs()..][..shape.inputs()];
        let shows = |level: f32, total: f32| {
            let bias = model.parameter(0, StageTensor::InputBias)[unit];
            f64::from(bias + row[0] * level + row[2] * total)
        };
        assert!(row[2..10].iter().all(|w| *w == row[2]) && row[10] == 0.0);
        assert!(close(shows(0.0, 1.0) - shows(0.0, 3.0), 2.0 / 6.0));
        assert!(close(shows(1.0, 3.5), shows(-1.0, 2.5)));
        assert!((-4.0..=1.0).contains(&shows(0.0, 3.0)));
    }

    /// Without the other weights a unit's pre-activation is its mixture of sums over the pixels below its degree.
    #[test]
    fn units_sum_what_they_read() {
        let config = "stage = [{square = 1, layers = 0}, {units_per_pixel = 2, layers = 0}]\n\
            [input]\nunit = 10.0\nalso = [{transform = 'log1p'}]\n[condition]\nnames = ['a']\nmean = [0.0]\nscale = [1.0]";
        let config = Config::parse(config).unwrap();
        let size = crate::data::ImageSize {
            height: 3,
            width: 3,
        };
        let mut model = Sarm::new(config.resolve(size).unwrap()).unwrap();
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
