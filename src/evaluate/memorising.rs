//! Whether generated images are those that the model was trained on: whose image is nearest.
//!
//! Of equally many training images and unseen ones of the same truth, each generated image has its nearest neighbour among the training
//! images with a chance of one half, unless the model keeps to what it has seen. The distance is Euclidean between the square roots of the pixels.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::compare::{CLASSES, members};
use super::resample::{class_stream, shuffled};
use super::weights::{kept, of_members};
use super::{EvaluateError, Reasons, Unavailable};
use crate::data::{Dataset, SparseImages};
use crate::numeric::{Isa, Kernel, LANES, Vector};

/// Fewest images of each of the three.
const LEAST: usize = 100;
/// Most images of each that are looked at.
const IMAGES: usize = 20_000;
/// Errors that a share may be away from one half by chance.
const SIGMAS: f64 = 3.0;
/// The first class's stream of random numbers, above those of classes and of showers.
const STREAM: u32 = 1 << 10;

/// Whose images are nearest, as in `metrics.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memorising {
    /// Per class (`all`, `signal`, `background`); `None` where it cannot be told.
    #[serde(flatten)]
    pub classes: BTreeMap<String, Option<Nearest>>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Whose images are nearest in one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Nearest {
    /// Fraction of generated images whose nearest neighbour is a training image; a tie is one half.
    pub share: f64,
    /// Its error for a model that has memorised nothing: `sqrt(sum k^2) / (2 n)`, where k of n generated images have the same nearest
    /// neighbour. The binomial error where all have different ones.
    pub error: f64,
    /// `sqrt(share (1 - share) / n)`, as if all had different nearest neighbours.
    pub binomial_error: f64,
    /// Generated images that are as far from a training image as from an unseen one.
    pub ties: usize,
    /// Generated images.
    pub generated: usize,
    /// Training images, and as many unseen ones.
    pub references: usize,
}

/// What a share says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// One half, within three errors.
    None,
    /// More: generated images are nearer to the training images.
    Some,
    /// Less: the training images are no sample of the truth.
    Unlike,
}

impl Nearest {
    /// What the share says.
    pub fn memory(&self) -> Memory {
        let away = (self.share - 0.5) / self.error.max(f64::MIN_POSITIVE);
        match away {
            away if away > SIGMAS => Memory::Some,
            away if away < -SIGMAS => Memory::Unlike,
            _ => Memory::None,
        }
    }
}

impl Memory {
    /// For readers.
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "no sign of memorising",
            Self::Some => "memorises its training images",
            Self::Unlike => {
                "nearer to the truth than to the training images, which are no sample of it"
            }
        }
    }
}

/// Compare whose images are nearest, in each class that all three hold.
///
/// # Errors
/// Training images of another size than the true ones, or too few of them for any class; labels of another number than images.
pub fn memorising(
    training: &Dataset,
    truth: &Dataset,
    generated: &Dataset,
    seed: u64,
) -> Result<Memorising, EvaluateError> {
    let sides = [training, truth, generated];
    let size = |data: &Dataset| (data.images.height(), data.images.width());
    for (side, data) in ["training", "generated"]
        .into_iter()
        .zip([training, generated])
    {
        if size(data) != size(truth) {
            return Err(EvaluateError::Unlike {
                side,
                size: size(data).into(),
                truth: size(truth).into(),
            });
        }
    }
    let count = training.images.len();
    if count < LEAST {
        return Err(EvaluateError::Untrained {
            count,
            wants: LEAST,
        });
    }
    for (side, data) in ["training", "truth", "generated"].into_iter().zip(sides) {
        let images = data.images.len();
        if let Some(labels) = data.columns.get("signal").map(Vec::len)
            && labels != images
        {
            return Err(EvaluateError::Labels {
                side,
                labels,
                images,
            });
        }
    }
    let mut found = Memorising::default();
    for (number, (name, label)) in (0..).zip(CLASSES) {
        let rows = sides.map(|data| members(data, label));
        if rows.iter().any(Vec::is_empty) {
            continue;
        }
        let whole = (rows.iter().zip(sides)).all(|(rows, data)| rows.len() == data.images.len());
        if label.is_some() && whole {
            // All images are of one class: what was found of all is what there is.
            let all = found.classes.get(CLASSES[0].0).copied().flatten();
            let why = found.reasons.get(CLASSES[0].0).cloned();
            found.reasons.extend(why.map(|why| (name.to_string(), why)));
            found.classes.insert(name.to_string(), all);
            continue;
        }
        let stream = class_stream(STREAM + number);
        let nearest = class(sides, &rows, seed, stream)
            .map_err(|why| found.reasons.insert(name.to_string(), why.to_string()));
        found.classes.insert(name.to_string(), nearest.ok());
    }
    Ok(found)
}

/// Of these rows of training, true and generated images.
fn class(
    sides: [&Dataset; 3],
    rows: &[Vec<usize>; 3],
    seed: u64,
    stream: u32,
) -> Result<Nearest, Unavailable> {
    let mut chosen = Vec::new();
    for (which, (data, rows)) in (0..).zip(sides.into_iter().zip(rows)) {
        let weights = of_members(data, rows);
        let places = kept(rows.len(), weights.as_deref(), seed, stream, which as usize)?;
        let order = shuffled(seed, stream, which, places.len());
        let order = order.into_iter().map(|i| rows[places[i as usize]]);
        chosen.push(order.take(IMAGES).collect::<Vec<usize>>());
    }
    let counts = [0, 1, 2].map(|k| chosen[k].len());
    if counts.iter().any(|count| *count < LEAST) {
        return Err(Unavailable::FewOfThree {
            wants: LEAST,
            counts,
        });
    }
    let references = counts[0].min(counts[1]);
    let of = |k: usize, count: usize| {
        let places = chosen[k][..count].iter().copied();
        Roots::new(&sides[k].images, places)
    };
    let [training, unseen] = [of(0, references), of(1, references)];
    let generated = of(2, counts[2]);
    if [&training, &unseen, &generated].iter().any(|r| !r.finite()) {
        return Err(Unavailable::Beyond);
    }
    let pixels = sides[0].images.pixels();
    Ok(nearest(
        &training.with(&unseen),
        references,
        &generated,
        pixels,
    ))
}

/// The first `references` of `known` are training images, as many others are unseen.
fn nearest(known: &Roots, references: usize, generated: &Roots, pixels: usize) -> Nearest {
    let count = generated.len();
    let found: Vec<[Best; LANES]> = (0..count.div_ceil(LANES))
        .into_par_iter()
        .map_init(
            || Search::new(known, pixels),
            |search, block| search.block(generated, block * LANES, references),
        )
        .collect();
    let found = found.iter().flatten().take(count);
    let (mut twice, mut ties) = (0usize, 0usize);
    let mut popular = vec![0u32; known.len()];
    for best in found {
        popular[best.which] += 1;
        match best.whose {
            std::cmp::Ordering::Less => twice += 2,
            std::cmp::Ordering::Equal => {
                twice += 1;
                ties += 1;
            }
            std::cmp::Ordering::Greater => {}
        }
    }
    let n = count as f64;
    let share = twice as f64 / (2.0 * n);
    let squares: f64 = popular.iter().map(|k| f64::from(*k).powi(2)).sum();
    Nearest {
        share,
        error: squares.sqrt() / (2.0 * n),
        binomial_error: (share * (1.0 - share) / n).sqrt(),
        ties,
        generated: count,
        references,
    }
}

/// Square roots of the nonzero pixels of some images.
struct Roots {
    /// Place of each image's first pixel and, last, the number of all.
    starts: Vec<usize>,
    index: Vec<u16>,
    /// Square roots in single precision, and the pixels themselves.
    root: Vec<f32>,
    value: Vec<f32>,
    /// Squares of the lengths: sums of the pixels.
    square: Vec<f32>,
}

impl Roots {
    fn new(images: &SparseImages, places: impl Iterator<Item = usize>) -> Self {
        let mut all = Self {
            starts: vec![0],
            index: Vec::new(),
            root: Vec::new(),
            value: Vec::new(),
            square: Vec::new(),
        };
        for place in places {
            let (index, value) = images.image(place);
            all.index.extend(index);
            all.value.extend(value);
            all.root.extend(value.iter().map(|v| v.sqrt()));
            let sum: f64 = value.iter().map(|v| f64::from(*v)).sum();
            all.square.push(sum as f32);
            all.starts.push(all.index.len());
        }
        all
    }

    fn with(mut self, other: &Self) -> Self {
        let from = self.index.len();
        (self.starts).extend(other.starts.iter().skip(1).map(|start| from + start));
        self.index.extend(&other.index);
        self.root.extend(&other.root);
        self.value.extend(&other.value);
        self.square.extend(&other.square);
        self
    }

    fn len(&self) -> usize {
        self.square.len()
    }

    /// Whether distances have a number; far below the end of the range.
    fn finite(&self) -> bool {
        self.square.iter().all(|s| *s < f32::MAX / 8.0)
    }

    fn image(&self, i: usize) -> std::ops::Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }

    /// Squared distance of image `i` from image `j` of `other`, in double precision.
    fn distance(&self, i: usize, other: &Self, j: usize) -> f64 {
        let root = |v: f32| f64::from(v).sqrt();
        let (mut a, mut b) = (self.image(i), other.image(j));
        let mut sum = 0.0;
        loop {
            let at = |range: &std::ops::Range<usize>, index: &[u16]| {
                (!range.is_empty()).then(|| index[range.start])
            };
            let difference = match (at(&a, &self.index), at(&b, &other.index)) {
                (None, None) => return sum,
                (Some(p), Some(q)) if p == q => {
                    let (x, y) = (self.value[a.start], other.value[b.start]);
                    (a.start, b.start) = (a.start + 1, b.start + 1);
                    root(x) - root(y)
                }
                (Some(p), q) if q.is_none_or(|q| p < q) => {
                    a.start += 1;
                    root(self.value[a.start - 1])
                }
                _ => {
                    b.start += 1;
                    root(other.value[b.start - 1])
                }
            };
            sum += difference * difference;
        }
    }
}

/// The nearest known image of a generated one.
#[derive(Debug, Clone, Copy)]
struct Best {
    which: usize,
    /// Whether the nearest training image is less far than the nearest unseen one, as far, or farther.
    whose: std::cmp::Ordering,
}

/// Finds the nearest known images of [`LANES`] generated ones at a time.
struct Search<'a> {
    known: &'a Roots,
    /// Roots of the generated images, `[pixels * LANES]`.
    block: Vec<f32>,
    /// What is left of the squared distances without the generated image's own square, `[known * LANES]`.
    scores: Vec<f32>,
    /// Most nonzero pixels and largest square of a known image.
    most: usize,
    largest: f32,
}

impl<'a> Search<'a> {
    fn new(known: &'a Roots, pixels: usize) -> Self {
        Self {
            known,
            block: vec![0.0; pixels * LANES],
            scores: vec![0.0; known.len() * LANES],
            most: (0..known.len())
                .map(|i| known.image(i).len())
                .max()
                .unwrap_or(0),
            largest: known.square.iter().fold(0.0, |most, s| most.max(*s)),
        }
    }

    /// Of the generated images from `first` on; lanes without an image find something that nobody reads.
    fn block(&mut self, generated: &Roots, first: usize, references: usize) -> [Best; LANES] {
        self.block.fill(0.0);
        let images = LANES.min(generated.len() - first);
        let mut limit = [f32::NEG_INFINITY; LANES];
        for lane in 0..images {
            for at in generated.image(first + lane) {
                let pixel = usize::from(generated.index[at]);
                self.block[pixel * LANES + lane] = generated.root[at];
            }
        }
        let least = Isa::best().dispatch(Scores {
            known: self.known,
            block: &self.block,
            scores: &mut self.scores,
        });
        for lane in 0..images {
            // Twice what rounding can do to a score: products of roots that are rounded themselves, their sum, and the squares.
            let scale = generated.square[first + lane] + self.largest;
            let slack = (self.most + 8) as f32 * f32::EPSILON * scale;
            limit[lane] = least[lane] + slack;
        }
        let mut near: [Vec<usize>; LANES] = Default::default();
        for (which, row) in self.scores.chunks_exact(LANES).enumerate() {
            if row
                .iter()
                .zip(&limit)
                .fold(false, |any, (s, l)| any | (s <= l))
            {
                for lane in (0..images).filter(|lane| row[*lane] <= limit[*lane]) {
                    near[lane].push(which);
                }
            }
        }
        std::array::from_fn(|lane| {
            if lane >= images {
                return Best {
                    which: 0,
                    whose: std::cmp::Ordering::Equal,
                };
            }
            let mut best = [(f64::INFINITY, 0); 2];
            for which in &near[lane] {
                let distance = generated.distance(first + lane, self.known, *which);
                let side = &mut best[usize::from(*which >= references)];
                if distance < side.0 {
                    *side = (distance, *which);
                }
            }
            let whose = best[0].0.total_cmp(&best[1].0);
            Best {
                which: best[usize::from(whose.is_gt())].1,
                whose,
            }
        })
    }
}

/// Scores of all known images for [`LANES`] generated ones, and the least of each lane.
struct Scores<'a> {
    known: &'a Roots,
    block: &'a [f32],
    scores: &'a mut [f32],
}

impl Kernel for Scores<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<V: Vector>(self) -> [f32; LANES] {
        let known = self.known;
        assert!(self.scores.len() == known.len() * LANES);
        let mut least = V::splat(f32::INFINITY);
        for (i, score) in self.scores.chunks_exact_mut(LANES).enumerate() {
            let pixels = known.image(i);
            let mut product = V::splat(0.0);
            for (pixel, root) in known.index[pixels.clone()].iter().zip(&known.root[pixels]) {
                let from = &self.block[usize::from(*pixel) * LANES..][..LANES];
                // SAFETY: `from` is a slice of LANES numbers.
                let roots = unsafe { V::load(from.as_ptr()) };
                product = V::splat(*root).fma(roots, product);
            }
            let found = V::splat(-2.0).fma(product, V::splat(known.square[i]));
            least = least.min(found);
            // SAFETY: `score` is a slice of LANES numbers.
            unsafe { found.store(score.as_mut_ptr()) };
        }
        least.to_array()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, unit, words};

    /// Images of a few soft pixels about the middle; every tenth is empty.
    fn images(count: usize, seed: u64) -> SparseImages {
        let mut next = 0;
        let mut random = move || {
            next += 1;
            unit(words(seed, Purpose::Synthetic, next, 0)[0])
        };
        let mut images = SparseImages::new(5, 6).unwrap();
        for i in 0..count {
            let mut dense = [0f32; 30];
            for _ in 0..if i % 10 == 0 { 0 } else { 4 } {
                dense[(random() * 30.0) as usize] = (random() * 4.0).floor();
            }
            images.push_dense(&dense);
        }
        images
    }

    fn all(images: &SparseImages) -> Roots {
        Roots::new(images, 0..images.len())
    }

    fn found(training: &SparseImages, unseen: &SparseImages, generated: &SparseImages) -> Nearest {
        let known = all(training).with(&all(unseen));
        nearest(&known, training.len(), &all(generated), 30)
    }

    /// Squared distance, pixel by pixel.
    fn apart(a: (&[u16], &[f32]), b: (&[u16], &[f32])) -> f64 {
        let dense = |(index, value): (&[u16], &[f32])| {
            let mut all = [0f64; 30];
            for (i, v) in index.iter().zip(value) {
                all[usize::from(*i)] = f64::from(*v).sqrt();
            }
            all
        };
        let (a, b) = (dense(a), dense(b));
        a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
    }

    #[test]
    fn the_nearest_is_found_as_by_looking_at_all() {
        let (training, unseen, generated) = (images(130, 1), images(130, 2), images(77, 3));
        let nearest = |image, of: &SparseImages| {
            let all = of.iter().map(|other| apart(image, other));
            all.fold(f64::INFINITY, f64::min)
        };
        let (mut wins, mut ties) = (0.0, 0);
        for image in generated.iter() {
            let (a, b) = (nearest(image, &training), nearest(image, &unseen));
            wins += if a < b { 1.0 } else { 0.0 };
            ties += usize::from(a == b);
        }
        let got = found(&training, &unseen, &generated);
        // Whole numbers: many are equally far, empty images for one.
        assert!(ties > 8 && wins > 8.0);
        assert_eq!((got.ties, got.generated, got.references), (ties, 77, 130));
        assert!((got.share - (wins + 0.5 * ties as f64) / 77.0).abs() < 1e-12);
    }

    #[test]
    fn shares_errors_and_what_they_say() {
        let (training, unseen) = (images(40, 1), images(40, 2));
        let tie = found(&training, &training, &unseen);
        assert_eq!((tie.share, tie.ties), (0.5, 40));
        // All have one neighbour: no more is known than from one image.
        let mut one = SparseImages::new(5, 6).unwrap();
        (0..9).for_each(|_| one.push([(3, 2.0)]));
        let known = |value| {
            let mut known = SparseImages::new(5, 6).unwrap();
            known.push([(3, value)]);
            known
        };
        let near = found(&known(2.5), &known(4.0), &one);
        assert_eq!(
            (near.share, near.error, near.binomial_error),
            (1.0, 0.5, 0.0)
        );
        assert_eq!(near.memory(), Memory::None);
        let share = |share| {
            Nearest {
                share,
                error: 0.01,
                ..near
            }
            .memory()
        };
        let said = [share(0.52), share(0.54), share(0.46)];
        assert_eq!(said, [Memory::None, Memory::Some, Memory::Unlike]);
    }
}
