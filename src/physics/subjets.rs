//! N-subjettiness axes: kT-like pairwise merging of pixels, and distances to the axes.
//!
//! Convention (that of the published jet images' analysis code, arXiv 1701.05927):
//!
//! - the list starts as the nonzero pixels in row-major order, each with transverse momentum
//!   `pt = I` and a weight `e = pt / cosh(eta)`;
//! - the pair with the smallest `min(pt_i, pt_j)^2 dR_ij^2` merges; of equal pairs the one that
//!   comes first by (smaller list position, larger list position);
//! - winner takes all: the merged entry lies where the one with the larger `e` lay (equal: the
//!   later one), its weight is `e = e_i + e_j`, its momentum `pt = e cosh(eta)`; it takes
//!   the earlier position in the list, the later one is deleted;
//! - the merging stops at N entries: their places are the axes.
//!
//! So every axis is a pixel centre, and all distances come from one table.
//!
//! On a pixel grid equal distances abound. Here they are equal to the bit and the order above
//! decides; code that subtracts rounded coordinates lets rounding decide, and may differ in a jet.

use super::geometry::{Geometry, distance2};

/// Working space of [`Clustering::run`], reused from image to image.
#[derive(Debug, Default)]
pub(crate) struct Clustering {
    list: List,
    /// For each entry the place of the nearest other one (the first of equals), and its squared
    /// distance.
    nearest: Vec<u32>,
    distance2: Vec<f64>,
    /// `pt^2` times `distance2`.
    measure: Vec<f64>,
    /// Squared distances of one entry to all.
    row: Vec<f64>,
    /// The pixels as they were, for the distances to the axes.
    pixels: List,
}

/// Entries of the merging list, one array a quantity so that the loops over them vectorise.
#[derive(Debug, Default, Clone, PartialEq)]
struct List {
    /// Row and column in the image, whole numbers.
    row: Vec<f64>,
    column: Vec<f64>,
    /// `pt / cosh(eta)`, which is what adds up.
    weight: Vec<f64>,
    /// Squared transverse momentum.
    pt2: Vec<f64>,
}

/// In [`Clustering::nearest`]: the neighbour's place is empty now.
const LOST: u32 = u32::MAX;

/// What the merging of one image gives; 0 where there are too few pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Subjets {
    /// `sum I min_k dR_k / sum I` over the two axes.
    pub tau_2: f64,
    /// The same over three axes.
    pub tau_3: f64,
    /// Distance of the two axes in (eta, phi).
    pub delta_r: f64,
}

impl List {
    fn len(&self) -> usize {
        self.row.len()
    }

    /// Make this the nonzero pixels of an image.
    fn fill(&mut self, geometry: &Geometry, index: &[u16], value: &[f32]) {
        let Self {
            row,
            column,
            weight,
            pt2,
        } = self;
        for array in [&mut *row, &mut *column, &mut *weight, &mut *pt2] {
            array.clear();
        }
        for (&pixel, &pt) in index.iter().zip(value) {
            let (pixel, pt) = (pixel as usize, f64::from(pt));
            row.push((pixel / geometry.width()) as f64);
            column.push((pixel % geometry.width()) as f64);
            weight.push(pt / geometry.trig[pixel][0]);
            pt2.push(pt * pt);
        }
    }

    /// Entry `a < b` becomes the merger of both, at the place of the heavier; `b` goes.
    /// Says whether the place was that of `b`.
    fn merge(&mut self, geometry: &Geometry, a: usize, b: usize) -> bool {
        let winner = if self.weight[a] > self.weight[b] {
            a
        } else {
            b
        };
        self.row[a] = self.row[winner];
        self.column[a] = self.column[winner];
        self.weight[a] += self.weight[b];
        let pixel = self.row[a] as usize * geometry.width() + self.column[a] as usize;
        let pt = self.weight[a] * geometry.trig[pixel][0];
        self.pt2[a] = pt * pt;
        let Self {
            row,
            column,
            weight,
            pt2,
        } = self;
        for array in [row, column, weight, pt2] {
            array.remove(b);
        }
        winner == b
    }

    /// Squared distance of entry `i` to every entry; infinite to itself.
    fn distances2(&self, geometry: &Geometry, i: usize, out: &mut Vec<f64>) {
        let steps = geometry.steps();
        let (row, column) = (self.row[i], self.column[i]);
        out.clear();
        out.extend(
            (self.row.iter().zip(&self.column)).map(|(r, c)| distance2(steps, r - row, c - column)),
        );
        out[i] = f64::INFINITY;
    }
}

impl Clustering {
    /// Merge the pixels of one image down to three and then to two axes.
    ///
    /// The smallest `min(pt_i, pt_j)^2 dR_ij^2` of all pairs is the smallest over `i` of
    /// `pt_i^2` times the squared distance to the nearest neighbour (as in FastJet,
    /// hep-ph/0512210), so that a place is all that an entry must remember. A merging moves no
    /// other entry and takes one place away: only those whose neighbour was there look again.
    pub(crate) fn run(&mut self, geometry: &Geometry, index: &[u16], value: &[f32]) -> Subjets {
        self.list.fill(geometry, index, value);
        self.pixels.clone_from(&self.list);
        let n = self.list.len();
        self.nearest.clear();
        self.nearest.resize(n, 0);
        self.distance2.clear();
        self.distance2.resize(n, f64::INFINITY);
        self.measure.clear();
        self.measure.resize(n, f64::INFINITY);
        if n > 2 {
            for i in 0..n {
                self.look_around(geometry, i);
            }
        }
        while self.list.len() > 3 {
            self.merge(geometry);
        }
        let tau_3 = self.spread(geometry, value);
        if self.list.len() > 2 {
            self.merge(geometry);
        }
        Subjets {
            tau_2: self.spread(geometry, value),
            tau_3,
            delta_r: match (self.list.row.as_slice(), self.list.column.as_slice()) {
                ([r0, r1], [c0, c1]) => distance(geometry, r0 - r1, c0 - c1),
                _ => 0.0,
            },
        }
    }

    /// Find the nearest neighbour of entry `i`.
    fn look_around(&mut self, geometry: &Geometry, i: usize) {
        self.list.distances2(geometry, i, &mut self.row);
        let (nearest, distance2) = first_smallest(&self.row);
        self.nearest[i] = nearest as u32;
        self.distance2[i] = distance2;
        self.measure[i] = self.list.pt2[i] * distance2;
    }

    /// The pair with the smallest measure, of equal ones the first by position; needs two entries.
    ///
    /// The neighbours of its softer entry that are equally near give equal measures (one softer
    /// still would give a smaller one), and the entry remembers the first of them.
    fn best_pair(&self) -> (usize, usize) {
        let pair = |i: usize| {
            let j = self.nearest[i] as usize;
            (i.min(j), i.max(j))
        };
        let (mut best, mut least) = (pair(0), self.measure[0]);
        for (i, measure) in self.measure.iter().enumerate().skip(1) {
            if *measure <= least {
                best = if *measure < least {
                    pair(i)
                } else {
                    best.min(pair(i))
                };
                least = *measure;
            }
        }
        best
    }

    /// Merge the best pair of the list, which has at least two entries.
    fn merge(&mut self, geometry: &Geometry) {
        let (a, b) = self.best_pair();
        let moved = self.list.merge(geometry, a, b);
        self.nearest.remove(b);
        self.distance2.remove(b);
        self.measure.remove(b);
        let (kept, gone) = (a as u32, b as u32);
        if moved {
            // What was nearest to `b`, or as near to it as to a later one, now is to `a`.
            self.list.distances2(geometry, a, &mut self.row);
            for i in 0..self.list.len() {
                if self.row[i] == self.distance2[i] {
                    self.nearest[i] = if self.nearest[i] == gone {
                        kept
                    } else {
                        self.nearest[i].min(kept)
                    };
                } else if self.nearest[i] == kept {
                    self.nearest[i] = LOST;
                }
            }
        }
        for i in 0..self.list.len() {
            let nearest = self.nearest[i];
            if nearest == LOST || nearest == gone || i == a {
                self.look_around(geometry, i);
            } else if nearest > gone {
                self.nearest[i] = nearest - 1;
            }
        }
    }

    /// `sum I min_k dR_k / sum I` of the image's pixels to the entries that are left.
    fn spread(&self, geometry: &Geometry, value: &[f32]) -> f64 {
        let (mut weighted, mut sum) = (0.0, 0.0);
        for ((row, column), value) in self.pixels.row.iter().zip(&self.pixels.column).zip(value) {
            let mut nearest = f64::INFINITY;
            for (r, c) in self.list.row.iter().zip(&self.list.column) {
                nearest = nearest.min(distance(geometry, row - r, column - c));
            }
            weighted += f64::from(*value) * nearest;
            sum += f64::from(*value);
        }
        if sum > 0.0 { weighted / sum } else { 0.0 }
    }
}

/// Distance of two pixels by their whole-numbered row and column differences.
fn distance(geometry: &Geometry, rows: f64, columns: f64) -> f64 {
    geometry.distance[rows.abs() as usize * geometry.width() + columns.abs() as usize]
}

/// Place and value of the smallest number, the first of equal ones.
fn first_smallest(values: &[f64]) -> (usize, f64) {
    let (mut place, mut least) = (0, f64::INFINITY);
    for (i, v) in values.iter().enumerate() {
        if *v < least {
            (place, least) = (i, *v);
        }
    }
    (place, least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The convention word by word: all pairs looked at in every step, O(n^3).
    fn brute_force(geometry: &Geometry, index: &[u16], value: &[f32], axes: usize) -> List {
        let mut list = List::default();
        list.fill(geometry, index, value);
        while list.len() > axes {
            let (mut first, mut second, mut least) = (0, 1, f64::INFINITY);
            for i in 0..list.len() {
                for j in i + 1..list.len() {
                    let rows = list.row[i] - list.row[j];
                    let columns = list.column[i] - list.column[j];
                    let measure =
                        list.pt2[i].min(list.pt2[j]) * distance2(geometry.steps(), rows, columns);
                    if measure < least {
                        (least, first, second) = (measure, i, j);
                    }
                }
            }
            list.merge(geometry, first, second);
        }
        list
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// Few distinct intensities, so that ties are everywhere.
        #[test]
        fn fast_merging_is_the_brute_force_one(
            seed in any::<u64>(), fill in 1usize..90, levels in 1u64..2000,
        ) {
            let geometry = Geometry::new(11, 13, 0.9).unwrap();
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state >> 33
            };
            let mut index: Vec<u16> = (0..fill).map(|_| (next() % 143) as u16).collect();
            index.sort_unstable();
            index.dedup();
            let value: Vec<f32> = index.iter().map(|_| 0.5 + (next() % levels) as f32).collect();
            let mut clustering = Clustering::default();
            let got = clustering.run(&geometry, &index, &value);
            clustering.list = brute_force(&geometry, &index, &value, 3);
            prop_assert_eq!(got.tau_3, clustering.spread(&geometry, &value));
            let axes = brute_force(&geometry, &index, &value, 2);
            clustering.run(&geometry, &index, &value);
            prop_assert_eq!(&clustering.list, &axes);
            prop_assert_eq!(got.tau_2, clustering.spread(&geometry, &value));
        }
    }

    #[test]
    fn two_groups_by_hand() {
        // Row 0: 10 at column 0, 1 at column 1; row 0: 5 at column 8, 2 at column 10.
        let g = Geometry::new(11, 11, 1.1).unwrap();
        let got = Clustering::default().run(&g, &[0, 1, 8, 10], &[10.0, 1.0, 5.0, 2.0]);
        // Axes at columns 0 and 8: 1 GeV at 0.2, 2 GeV at 0.4, of 18 GeV.
        assert!((got.tau_2 - (0.2 + 0.8) / 18.0).abs() < 1e-12);
        // Three axes: the two nearest (columns 0 and 1) merge first.
        assert!((got.tau_3 - 0.2 / 18.0).abs() < 1e-12);
        assert!((got.delta_r - 1.6).abs() < 1e-12);
    }

    #[test]
    fn few_pixels_and_huge_values() {
        let g = Geometry::new(5, 5, 1.25).unwrap();
        let mut c = Clustering::default();
        assert_eq!(c.run(&g, &[], &[]), Subjets::default());
        assert_eq!(c.run(&g, &[7], &[3.0]), Subjets::default());
        let two = c.run(&g, &[6, 7], &[3.0, 1.0]);
        assert_eq!((two.tau_2, two.tau_3), (0.0, 0.0));
        assert!((two.delta_r - 0.5).abs() < 1e-12);
        let huge = c.run(&g, &[0, 1, 2, 3, 4], &[f32::MAX; 5]);
        assert!(huge.tau_2.is_finite() && huge.tau_3.is_finite());
    }
}
