//! Quantities that are compared on a grid: many values an image, or whole numbers.
//!
//! Pixels of one image hang together, so images are resampled, not pixels. To resample all pixels some hundred times would
//! take as long as all other distances. Instead, the images of a side stand in [`GROUPS`] random groups of equal size, and the
//! groups' histograms are resampled: a sum of independent images varies as they do, so that the spread of the replicas is the
//! same, known to `1 / sqrt(2 GROUPS)`.

mod binned;
mod groups;
mod part;

use rayon::prelude::*;

use binned::{Binned, Bins, chi2};
use groups::Groups;
use part::Part;

use super::distance::{Batched, Distance, Floor, JETNET, Resampling, Split};
use super::histogram::Comparison;
use super::resample::{Random, Use, moments, shuffled};
use super::separation::separation;
use super::spread::Spread;
use super::weights::at;
use super::{Sides, Unavailable};

/// Most groups of a side; even, since the truth's halves have half of them each.
const GROUPS: usize = 256;
/// Most cells of a grid.
pub(super) const CELLS: usize = 1 << 16;
/// Most cells that are resampled; some neighbours are taken as one beyond.
const RESAMPLED: usize = 512;
/// Which orders of a class's images make the groups: of truth and of generated images.
const ORDERS: Sides<u32> = Sides {
    truth: 5,
    generated: 6,
};

/// Cells of equal width; a value stands for the middle of its cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Lower edge of the first cell.
    pub(super) low: f64,
    /// Width of a cell.
    pub(super) step: f64,
    /// Number of cells, at most [`CELLS`].
    pub(super) cells: usize,
}

impl Grid {
    fn value(&self, cell: usize) -> f64 {
        self.low + (cell as f64 + 0.5) * self.step
    }

    /// How many binary digits of a cell's number are left out for resampling.
    fn shift(&self) -> u32 {
        let cells = self.cells.next_power_of_two().max(RESAMPLED);
        (cells / RESAMPLED).ilog2()
    }
}

/// A quantity of all images of a side, as cells of a grid.
pub(super) struct Values {
    /// Place of each image's first value and, last, the number of all; `None` where each image has one.
    starts: Option<Vec<usize>>,
    cells: Vec<u16>,
}

impl Values {
    /// One of each image.
    pub(super) fn single(cells: Vec<u16>) -> Self {
        Self {
            starts: None,
            cells,
        }
    }

    /// As many of each image as `lengths` say.
    pub(super) fn several(lengths: impl Iterator<Item = usize>, cells: Vec<u16>) -> Self {
        let ends = lengths.scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        });
        Self {
            starts: Some([0].into_iter().chain(ends).collect()),
            cells,
        }
    }

    fn of(&self, image: usize) -> &[u16] {
        match &self.starts {
            None => &self.cells[image..=image],
            Some(starts) => &self.cells[starts[image]..starts[image + 1]],
        }
    }
}

/// Two samples of one class in one quantity.
pub(super) struct Class<'a> {
    pub(super) grid: Grid,
    pub(super) values: &'a Sides<Values>,
    pub(super) members: &'a Sides<Vec<usize>>,
    pub(super) weights: &'a Sides<Option<Vec<f32>>>,
    /// Two halves of the true members, by their places among them.
    pub(super) halves: &'a [Vec<usize>; 2],
    pub(super) resampling: Resampling,
    /// The class's stream of random numbers, and that of the quantity.
    pub(super) streams: [u32; 2],
}

/// What was found of a quantity.
pub(super) struct Found {
    pub(super) distance: Option<Distance>,
    pub(super) spreads: Sides<Spread>,
    pub(super) histogram: Comparison,
    /// Generated from truth.
    pub(super) whole: Apart,
    /// One half of the truth from the other.
    pub(super) halves: Apart,
}

/// How far apart two samples are.
pub(super) struct Apart {
    /// Images of either.
    pub(super) images: [usize; 2],
    pub(super) jetnet: Option<Batched>,
    pub(super) separation: Option<f64>,
    /// Why a distance or a separation is absent.
    pub(super) why: [Unavailable; 2],
    pub(super) chi2: Result<f64, Unavailable>,
}

impl Class<'_> {
    pub(super) fn compare(&self) -> Found {
        let Sides { truth, generated } = self.members;
        let part = |places: &[usize]| -> Vec<usize> { places.iter().map(|k| truth[*k]).collect() };
        let halves = self.halves.each_ref().map(|half| {
            let weights = at(self.weights.truth.as_deref(), half);
            (part(half), weights)
        });
        let side = |values, members, weights| Part::new(self.grid, values, members, weights);
        let sides = Sides {
            truth: side(&self.values.truth, truth, self.weights.truth.as_deref()),
            generated: side(
                &self.values.generated,
                generated,
                self.weights.generated.as_deref(),
            ),
        };
        let halves = (halves.each_ref())
            .map(|(members, weights)| side(&self.values.truth, members, weights.as_deref()));
        let bins = Bins::new(&sides, self.grid);
        let filled = sides.map(|part| part.binned(&bins));
        let half_filled = halves.each_ref().map(|part| part.binned(&bins));
        let half_groups = halves.each_ref().map(|part| {
            let order = self.order(ORDERS.truth, part.members.len());
            Groups::new(part, &order, GROUPS / 2)
        });
        let groups = Sides {
            truth: half_groups[0].with(&half_groups[1]),
            generated: Groups::new(
                &sides.generated,
                &self.order(ORDERS.generated, generated.len()),
                GROUPS,
            ),
        };
        let jetnet = |a, b, usage| self.jetnet(a, b, usage);
        Found {
            distance: self.distance(&sides, &groups),
            spreads: sides.map(Part::spread),
            whole: Apart::new(
                [&sides.truth, &sides.generated],
                [&filled.truth, &filled.generated],
                jetnet(&groups.truth, &groups.generated, Use::Jetnet),
            ),
            halves: Apart::new(
                halves.each_ref(),
                half_filled.each_ref(),
                jetnet(&half_groups[0], &half_groups[1], Use::JetnetHalves),
            ),
            histogram: Comparison {
                truth: filled.truth.histogram,
                generated: filled.generated.histogram,
            },
        }
    }

    fn order(&self, which: u32, images: usize) -> Vec<u32> {
        shuffled(self.resampling.seed, self.streams[0], which, images)
    }

    fn distance(&self, sides: &Sides<Part<'_>>, groups: &Sides<Groups>) -> Option<Distance> {
        let w1 = w1(&sides.truth.sums, &sides.generated.sums, self.grid.step)?;
        let enough = sides.truth.members.len().min(sides.generated.members.len()) >= 2;
        let Resampling {
            bootstrap, splits, ..
        } = self.resampling;
        let error = (enough && bootstrap >= 2).then(|| {
            let drawn = [groups.truth.count, groups.generated.count];
            let (a, b) = (&groups.truth, &groups.generated);
            self.drawn(a, b, drawn, bootstrap, Use::Error)
        });
        Some(Distance {
            w1,
            error: error.filter(|e| e.len() >= 2).map(|e| moments(&e).1),
            floor: (enough && splits >= 1)
                .then(|| self.floor(sides, &groups.truth))
                .flatten(),
        })
    }

    /// W1 of `replicas` pairs of samples of so many groups, drawn with replacement; those whose weights do not add up to more
    /// than 0 are left out.
    fn drawn(
        &self,
        a: &Groups,
        b: &Groups,
        sizes: [usize; 2],
        replicas: usize,
        usage: Use,
    ) -> Vec<f64> {
        let found: Vec<Option<f64>> = (0..replicas)
            .into_par_iter()
            .map(|replica| {
                let seed = self.resampling.seed;
                let mut random = Random::new(seed, self.streams[1], usage, replica);
                let mut draw = |of: &Groups, size: usize| {
                    let mut counts = vec![0u32; of.count];
                    for _ in 0..size {
                        counts[random.below(of.count)] += 1;
                    }
                    of.sum(&counts)
                };
                let (a, b) = (draw(a, sizes[0]), draw(b, sizes[1]));
                w1(&a, &b, self.width())
            })
            .collect();
        found.into_iter().flatten().collect()
    }

    /// Width of what is resampled.
    fn width(&self) -> f64 {
        self.grid.step * f64::from(1u32 << self.grid.shift())
    }

    /// As the floor of an observable, of groups instead of images.
    fn floor(&self, sides: &Sides<Part<'_>>, truth: &Groups) -> Option<Floor> {
        let effective = [&sides.truth, &sides.generated].map(Part::effective);
        let (images, count) = (truth.images, truth.count);
        let wanted = Split::new(images, effective).sizes[1];
        let share = |groups: usize| (images * groups) as f64 / count as f64;
        let groups = (wanted as f64 / share(1)).round() as usize;
        let groups = groups.clamp(1, (count / 2).max(1));
        let second = (share(groups).round() as usize).clamp(1, images - 1);
        let split = Split::of([images - second, second], effective);
        let found: Vec<Option<f64>> = (0..self.resampling.splits)
            .into_par_iter()
            .map(|replica| {
                let seed = self.resampling.seed;
                let mut random = Random::new(seed, self.streams[1], Use::Floor, replica);
                // The first places of a shuffle are a random subset.
                let mut order: Vec<usize> = (0..count).collect();
                let mut chosen = [vec![1u32; count], vec![0u32; count]];
                for k in 0..groups {
                    order.swap(k, k + random.below(count - k));
                    chosen[0][order[k]] = 0;
                    chosen[1][order[k]] = 1;
                }
                let [a, b] = chosen.map(|counts| truth.sum(&counts));
                Some(split.scale * w1(&a, &b, self.width())?)
            })
            .collect();
        let found: Vec<f64> = found.into_iter().flatten().collect();
        split.floor(&found)
    }

    /// W1 as JetNet reports it; as many groups as hold JetNet's number of images.
    fn jetnet(&self, a: &Groups, b: &Groups, usage: Use) -> Option<Batched> {
        if a.images.min(b.images) < 2 {
            return None;
        }
        let (batches, batch) = JETNET;
        let sizes = [a, b].map(|side| {
            let groups = batch as f64 * side.count as f64 / side.images as f64;
            (groups.round() as usize).max(1)
        });
        Batched::of(&self.drawn(a, b, sizes, batches, usage))
    }
}

/// W1 of two histograms in one binning; `None` where one does not add up to more than 0.
fn w1(a: &[f64], b: &[f64], width: f64) -> Option<f64> {
    let (n, m): (f64, f64) = (a.iter().sum(), b.iter().sum());
    if !(n > 0.0 && m > 0.0) {
        return None;
    }
    let (mut difference, mut sum) = (0.0f64, 0.0f64);
    for (x, y) in a.iter().zip(b) {
        difference += x / n - y / m;
        sum += difference.abs();
    }
    Some(sum * width)
}

impl Apart {
    fn new(parts: [&Part<'_>; 2], binned: [&Binned; 2], jetnet: Option<Batched>) -> Self {
        let images = parts.map(|part| part.members.len());
        let few = images[0].min(images[1]) < 2;
        let empty = parts.map(|part| part.counts.iter().all(|c| *c == 0));
        let [a, b] = binned.map(|b| &b.histogram);
        let why = |other| match few {
            true => Unavailable::few(2, images[0], images[1]),
            false if empty.contains(&true) => Unavailable::NoPixels,
            false => other,
        };
        let unable = match a.negative() || b.negative() {
            true => Unavailable::NegativeBin,
            false => Unavailable::Cancelled,
        };
        let chi2 = match few {
            true => Err(why(Unavailable::Cancelled)),
            false => chi2(binned[0], binned[1]),
        };
        Self {
            images,
            jetnet,
            separation: (!few).then(|| separation(a, b)).flatten(),
            why: [why(Unavailable::Cancelled), why(unable)],
            chi2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::distance;
    use crate::evaluate::resample::{class_stream, halves};
    use crate::evaluate::weights::Sample;

    /// Whole numbers of some width about 20.
    fn numbers(count: usize, shift: usize, seed: u64) -> Vec<u16> {
        let mut random = Random::new(seed, 9, Use::Error, 0);
        (0..count)
            .map(|_| ((0..6).map(|_| random.below(8)).sum::<usize>() + shift) as u16)
            .collect()
    }

    /// Truth and generated images, each number as often in its image as `copies` say.
    fn compare(values: &Sides<Vec<u16>>, copies: usize, weights: Sides<Option<Vec<f32>>>) -> Found {
        let members = values.map(|v| (0..v.len()).collect::<Vec<usize>>());
        let several = values.map(|v| {
            let cells = v.iter().flat_map(|c| std::iter::repeat_n(*c, copies));
            Values::several(v.iter().map(|_| copies), cells.collect())
        });
        let resampling = Resampling::default();
        Class {
            grid: Grid {
                low: -0.5,
                step: 1.0,
                cells: 60,
            },
            values: &several,
            members: &members,
            weights: &weights,
            halves: &halves(0, class_stream(0), members.truth.len()),
            resampling,
            streams: [class_stream(0), 7],
        }
        .compare()
    }

    fn sides(truth: usize, generated: usize, shift: usize) -> Sides<Vec<u16>> {
        Sides {
            truth: numbers(truth, 0, 1),
            generated: numbers(generated, shift, 2),
        }
    }

    fn floats(values: &[u16]) -> Vec<f32> {
        values.iter().map(|v| f32::from(*v)).collect()
    }

    #[test]
    fn groups_say_what_events_say() {
        let values = sides(3000, 1500, 1);
        let found = compare(&values, 1, Sides::default());
        let (a, b) = (floats(&values.truth), floats(&values.generated));
        let (got, want) = (
            found.distance.unwrap(),
            distance::distance(&a, &b, &Resampling::default(), 0).unwrap(),
        );
        assert!((got.w1 - want.w1).abs() < 1e-9);
        let near = |got: f64, want: f64, within: f64, what| {
            assert!((got / want - 1.0).abs() < within, "{what}: {got}, {want}");
        };
        // 200 replicas know a spread to 5 %, 256 groups to 4.4 %, each on either side of the ratio: below 4 of them.
        near(got.error.unwrap(), want.error.unwrap(), 0.3, "error");
        let (got, want) = (got.floor.unwrap(), want.floor.unwrap());
        // 50 splits whose distances spread by half of their mean.
        near(got.mean, want.mean, 0.4, "floor");
        near(got.scale, want.scale, 0.01, "scale");
        let (got, want) = (
            found.whole.jetnet.unwrap(),
            distance::jetnet(a.as_slice().into(), b.as_slice().into(), 0, 0, Use::Jetnet).unwrap(),
        );
        near(got.mean, want.mean, 0.03, "JetNet");
        let (got, want) = (found.spreads.truth, Spread::of(Sample::from(a.as_slice())));
        near(got.mean, want.mean, 1e-9, "mean");
        near(got.mean_error, want.mean_error, 1e-9, "error of the mean");
        near(got.std.unwrap(), want.std.unwrap(), 1e-9, "width");
        near(
            got.std_error.unwrap(),
            want.std_error.unwrap(),
            1e-9,
            "error of the width",
        );
    }

    #[test]
    fn pixels_of_one_image_are_no_more_than_the_image() {
        let values = sides(900, 700, 0);
        let [one, ten] = [1, 10].map(|copies| compare(&values, copies, Sides::default()));
        let numbers = |found: &Found| {
            let d = found.distance.unwrap();
            let floor = d.floor.unwrap();
            let spread = found.spreads.generated;
            [
                d.w1,
                d.error.unwrap(),
                floor.mean,
                floor.std,
                spread.mean_error,
                spread.std_error.unwrap(),
                found.whole.separation.unwrap(),
                found.whole.chi2.clone().unwrap(),
                found.halves.chi2.clone().unwrap(),
            ]
        };
        for (k, (a, b)) in numbers(&one).into_iter().zip(numbers(&ten)).enumerate() {
            // Bins with fewer values than 20 are left out of the chi-square: ten copies have some more.
            let within = if k < 7 { 1e-9 } else { 0.5 };
            assert!((a / b - 1.0).abs() < within, "{k}: {a}, {b}");
        }
        let bin = 20;
        let [one, ten] = [&one, &ten].map(|f| &f.histogram.truth);
        assert_eq!(one.counts[bin] * 10, ten.counts[bin]);
        let (a, b) = (one.density(bin), ten.density(bin));
        assert!((a.0 / b.0 - 1.0).abs() < 1e-9 && (a.1 / b.1 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_chi_square_is_one_for_truth_and_more_for_others() {
        let chi2 = |shift, copies| {
            let found = compare(&sides(4000, 4000, shift), copies, Sides::default());
            [found.whole.chi2.unwrap(), found.halves.chi2.unwrap()]
        };
        for copies in [1, 3] {
            for near in chi2(0, copies) {
                // Some 30 bins: 1 +- 0.26.
                assert!((near - 1.0).abs() < 0.9, "{near}");
            }
            // Half a width apart: 600 for all bins together.
            assert!(chi2(3, copies)[0] > 10.0);
        }
        let flat = Sides {
            truth: vec![5; 50],
            generated: vec![5; 40],
        };
        let found = compare(&flat, 2, Sides::default());
        let why = found.whole.chi2.unwrap_err().to_string();
        assert!(why.contains("20 pixels"), "{why}");
    }

    #[test]
    fn a_weight_of_two_is_two_images() {
        let values = sides(300, 400, 1);
        let weights: Vec<f32> = (0..300).map(|i| 1.0 + (i % 2) as f32).collect();
        let weighted = Sides {
            truth: Some(weights.clone()),
            generated: None,
        };
        let twice = (values.truth.iter().zip(&weights))
            .flat_map(|(v, w)| std::iter::repeat_n(*v, *w as usize));
        let repeated = Sides {
            truth: twice.collect(),
            generated: values.generated.clone(),
        };
        let (a, b) = (
            compare(&values, 1, weighted),
            compare(&repeated, 1, Sides::default()),
        );
        let numbers = |found: &Found| {
            let spread = found.spreads.truth;
            [found.distance.unwrap().w1, spread.mean, spread.std.unwrap()]
        };
        for (a, b) in numbers(&a).into_iter().zip(numbers(&b)) {
            assert!((a / b - 1.0).abs() < 1e-9, "{a}, {b}");
        }
        // Two images tell more than one that counts twice.
        assert!(a.spreads.truth.mean_error > b.spreads.truth.mean_error);
        let cancelled = Sides {
            truth: Some([1.0, -1.0].repeat(150)),
            generated: None,
        };
        let found = compare(&values, 1, cancelled);
        assert!(found.distance.is_none() && found.whole.jetnet.is_none());
        assert_eq!(found.whole.chi2, Err(Unavailable::Cancelled));
    }
}
