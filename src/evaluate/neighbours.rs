//! Precision, recall, density and coverage: who has whom among the nearest neighbours.
//!
//! Precision and recall by Kynkäänniemi et al. (arXiv 1904.06991), density and coverage by Naeem
//! et al. (arXiv 2002.09797), whose definitions and strict inequalities these are.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Unavailable;
use super::features::Points;
use crate::numeric::{Isa, Kernel, LANES, Vector};

/// Neighbours that a radius reaches to.
const K: usize = 5;
/// Fewest events on either side.
pub const MIN_EVENTS: usize = 100;
/// Most events of either side that are looked at.
pub(super) const EVENTS: usize = 10_000;

/// How well generated points and true ones fill each other's neighbourhoods.
///
/// A point's neighbourhood is the open ball up to its 5th nearest neighbour of its own side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Neighbours {
    /// Fraction of generated points in the neighbourhood of any true one.
    pub precision: f64,
    /// Fraction of true points in the neighbourhood of any generated one.
    pub recall: f64,
    /// True neighbourhoods that a generated point lies in, divided by 5, on average: 1 for truth.
    pub density: f64,
    /// Fraction of true neighbourhoods that hold a generated point.
    pub coverage: f64,
    /// Neighbours that a radius reaches to.
    pub k: usize,
    /// Events of either side.
    pub count: usize,
}

/// Of two samples of more than 5 points; each dimension is moved and scaled so that the truth has mean 0
/// and standard deviation 1.
pub(super) fn neighbours(truth: &Points, generated: &Points) -> Result<Neighbours, Unavailable> {
    let (n, m) = (truth.len(), generated.len());
    let [truth, generated] = truth
        .rescaled(generated, &truth.standard_scale()?)
        .map(|side| Columns::new(&side));
    let (true_radii, generated_radii) = (truth.radii(), generated.radii());
    let part = |rows: std::ops::Range<usize>| {
        let mut found = Found {
            inside: vec![0; m],
            recalled: 0,
            covered: 0,
        };
        let mut row = vec![0.0; generated.padded];
        for i in rows {
            generated.distances(&truth, i, &mut row);
            let (mut recalled, mut least) = (false, f32::INFINITY);
            let counts = found.inside.iter_mut().zip(&generated_radii);
            for (distance, (inside, radius)) in row.iter().zip(counts) {
                *inside += u32::from(*distance < true_radii[i]);
                recalled |= distance < radius;
                least = least.min(*distance);
            }
            found.recalled += usize::from(recalled);
            found.covered += usize::from(least < true_radii[i]);
        }
        found
    };
    let parts: Vec<Found> = tasks(n).into_par_iter().map(part).collect();
    let mut inside = vec![0u32; m];
    for part in &parts {
        for (sum, count) in inside.iter_mut().zip(&part.inside) {
            *sum += count;
        }
    }
    let hit = inside.iter().filter(|c| **c > 0).count();
    let sum: u64 = inside.iter().map(|c| u64::from(*c)).sum();
    let of = |count: usize, all: usize| count as f64 / all as f64;
    Ok(Neighbours {
        precision: of(hit, m),
        recall: of(parts.iter().map(|p| p.recalled).sum(), n),
        density: sum as f64 / (K * m) as f64,
        coverage: of(parts.iter().map(|p| p.covered).sum(), n),
        k: K,
        count: n.min(m),
    })
}

/// What a range of true points found.
struct Found {
    /// In how many of their neighbourhoods each generated point lies.
    inside: Vec<u32>,
    /// How many of them lie in a generated neighbourhood.
    recalled: usize,
    /// How many of their neighbourhoods hold a generated point.
    covered: usize,
}

fn tasks(n: usize) -> Vec<std::ops::Range<usize>> {
    const ROWS: usize = 250;
    (0..n)
        .step_by(ROWS)
        .map(|from| from..n.min(from + ROWS))
        .collect()
}

/// Points by dimension, in f32, with room for whole vectors.
struct Columns {
    count: usize,
    padded: usize,
    dimensions: usize,
    /// `[dimensions * padded]`; what is beyond the points is far away from all of them.
    values: Vec<f32>,
}

/// Squares of nine differences of such numbers are finite in f32.
const FAR: f32 = 1e18;

impl Columns {
    fn new(points: &Points) -> Self {
        let (count, dimensions) = (points.len(), points.dimensions());
        let padded = count.next_multiple_of(LANES);
        let mut values = vec![FAR; dimensions * padded];
        for i in 0..count {
            for (k, v) in points.row(i).iter().enumerate() {
                values[k * padded + i] = (*v as f32).clamp(-FAR, FAR);
            }
        }
        Self {
            count,
            padded,
            dimensions,
            values,
        }
    }

    /// Squared distances of point `i` of `other` to all points, `[padded]`.
    fn distances(&self, other: &Self, i: usize, out: &mut [f32]) {
        let point: Vec<f32> = (0..self.dimensions)
            .map(|k| other.values[k * other.padded + i])
            .collect();
        Isa::best().dispatch(Distances {
            columns: self,
            point: &point,
            out,
        });
    }

    /// Squared distance of each point to its `K`th nearest neighbour.
    fn radii(&self) -> Vec<f32> {
        let part = |rows: std::ops::Range<usize>| -> Vec<f32> {
            let mut row = vec![0.0; self.padded];
            rows.map(|i| {
                self.distances(self, i, &mut row);
                row[i] = f32::INFINITY;
                smallest(&row[..self.count])
            })
            .collect()
        };
        tasks(self.count)
            .into_par_iter()
            .flat_map_iter(part)
            .collect()
    }
}

/// The `K`th smallest number.
fn smallest(values: &[f32]) -> f32 {
    let mut best = [f32::INFINITY; K];
    // Most numbers are no candidates: whole chunks are passed over.
    for chunk in values.chunks(4 * LANES) {
        let worst = best[K - 1];
        if !chunk.iter().fold(false, |any, v| any | (*v < worst)) {
            continue;
        }
        for value in chunk {
            if *value < best[K - 1] {
                let place = best.partition_point(|b| b <= value);
                best[place..].rotate_right(1);
                best[place] = *value;
            }
        }
    }
    best[K - 1]
}

/// [`Columns::distances`] for any instruction set. Differences are squared as they are: the same
/// bits everywhere, and no digits lost between near points, as they are in `x^2 + y^2 - 2xy`.
struct Distances<'a> {
    columns: &'a Columns,
    point: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let padded = self.columns.padded;
        assert!(self.out.len() == padded && padded.is_multiple_of(LANES));
        assert!(self.columns.values.len() == padded * self.point.len());
        for at in (0..padded).step_by(LANES) {
            let mut sum = V::splat(0.0);
            for (k, x) in self.point.iter().enumerate() {
                // SAFETY: `at + LANES <= padded`, and there are `padded` numbers for each of
                // the point's dimensions: both were asserted above.
                let y = unsafe { V::load(self.columns.values.as_ptr().add(k * padded + at)) };
                let difference = V::splat(*x) - y;
                sum = sum + difference * difference;
            }
            // SAFETY: `out` holds `padded` numbers, and `at + LANES <= padded`.
            unsafe { sum.store(self.out.as_mut_ptr().add(at)) };
        }
    }
}
