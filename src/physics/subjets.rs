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

use super::geometry::Geometry;

/// Working space of [`Clustering::run`], reused from image to image.
#[derive(Debug, Default)]
pub(crate) struct Clustering {
    entries: Vec<Entry>,
    /// For each entry, the best later partner.
    best: Vec<Best>,
}

/// One entry of the merging list.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    row: i32,
    column: i32,
    /// `pt / cosh(eta)`, which is what adds up.
    weight: f64,
    /// Squared transverse momentum.
    pt2: f64,
}

/// The entry's measure to its best later partner, and that partner's position.
#[derive(Debug, Clone, Copy)]
struct Best {
    measure: f64,
    partner: usize,
}

const NOBODY: Best = Best {
    measure: f64::INFINITY,
    partner: usize::MAX,
};

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

impl Clustering {
    /// Merge the pixels of one image down to three and then to two axes.
    ///
    /// Every entry remembers its best later partner, so that a merging costs one pass over the
    /// entries and a rescan of the few whose partner went away: O(n^2) an image in practice.
    pub(crate) fn run(&mut self, geometry: &Geometry, index: &[u16], value: &[f32]) -> Subjets {
        let width = geometry.width();
        self.entries.clear();
        self.entries
            .extend(index.iter().zip(value).map(|(&pixel, &pt)| {
                let (pixel, pt) = (pixel as usize, f64::from(pt));
                Entry {
                    row: (pixel / width) as i32,
                    column: (pixel % width) as i32,
                    weight: pt / geometry.trig[pixel][0],
                    pt2: pt * pt,
                }
            }));
        self.best.clear();
        self.best.resize(self.entries.len(), NOBODY);
        for i in 0..self.entries.len() {
            self.best[i] = self.scan(geometry, i);
        }
        while self.entries.len() > 3 {
            self.merge(geometry);
        }
        let tau_3 = self.spread(geometry, index, value);
        if self.entries.len() > 2 {
            self.merge(geometry);
        }
        Subjets {
            tau_2: self.spread(geometry, index, value),
            tau_3,
            delta_r: match self.entries.as_slice() {
                [a, b] => geometry.distance[offset(width, a, b)],
                _ => 0.0,
            },
        }
    }

    /// Merge the best pair of the list; needs at least two entries.
    fn merge(&mut self, geometry: &Geometry) {
        let mut a = 0;
        for (i, best) in self.best.iter().enumerate() {
            if best.measure < self.best[a].measure {
                a = i;
            }
        }
        // Measures may all be infinite when a momentum squared overflows: then any pair will do.
        let b = match self.best[a].partner {
            usize::MAX => 1,
            partner => partner,
        };
        let (first, second) = (self.entries[a], self.entries[b]);
        let winner = if first.weight > second.weight {
            first
        } else {
            second
        };
        let weight = first.weight + second.weight;
        let pixel = winner.row as usize * geometry.width() + winner.column as usize;
        let pt = weight * geometry.trig[pixel][0];
        self.entries[a] = Entry {
            weight,
            pt2: pt * pt,
            ..winner
        };
        self.entries.remove(b);
        self.best.remove(b);

        // Entries before `b` only can have had `a` or `b` as a partner, and `a` comes before `b`.
        for i in 0..self.entries.len() {
            let Best { measure, partner } = self.best[i];
            if i < a {
                let new = measure_of(geometry, &self.entries[i], &self.entries[a]);
                // Partners before `a` were all worse than `measure`, so `a` wins a tie with
                // any partner but an earlier one.
                if new < measure || (new == measure && a <= partner) {
                    self.best[i] = Best {
                        measure: new,
                        partner: a,
                    };
                } else if partner == a || partner == b {
                    self.best[i] = self.scan(geometry, i);
                } else if partner > b && partner != usize::MAX {
                    self.best[i].partner -= 1;
                }
            } else if i == a || partner == b {
                self.best[i] = self.scan(geometry, i);
            } else if partner > b && partner != usize::MAX {
                self.best[i].partner -= 1;
            }
        }
    }

    /// The best later partner of entry `i`: smallest measure, then smallest position.
    fn scan(&self, geometry: &Geometry, i: usize) -> Best {
        let mut best = NOBODY;
        let me = self.entries[i];
        for (j, other) in self.entries.iter().enumerate().skip(i + 1) {
            let measure = measure_of(geometry, &me, other);
            if measure < best.measure {
                best = Best {
                    measure,
                    partner: j,
                };
            }
        }
        best
    }

    /// `sum I min_k dR_k / sum I` of the image's pixels to the entries that are left.
    fn spread(&self, geometry: &Geometry, index: &[u16], value: &[f32]) -> f64 {
        let width = geometry.width();
        let (mut weighted, mut sum) = (0.0, 0.0);
        for (&pixel, &value) in index.iter().zip(value) {
            let (row, column) = ((pixel as usize / width) as i32, (pixel as usize % width) as i32);
            let nearest = (self.entries.iter())
                .map(|axis| {
                    let rows = (row - axis.row).unsigned_abs() as usize;
                    let columns = (column - axis.column).unsigned_abs() as usize;
                    geometry.distance[rows * width + columns]
                })
                .fold(f64::INFINITY, f64::min);
            weighted += f64::from(value) * nearest;
            sum += f64::from(value);
        }
        if sum > 0.0 { weighted / sum } else { 0.0 }
    }
}

/// `min(pt_a, pt_b)^2 dR_ab^2`.
#[inline]
fn measure_of(geometry: &Geometry, a: &Entry, b: &Entry) -> f64 {
    a.pt2.min(b.pt2) * geometry.distance2[offset(geometry.width(), a, b)]
}

/// Place of the pair's row and column difference in the distance tables.
#[inline]
fn offset(width: usize, a: &Entry, b: &Entry) -> usize {
    let rows = (a.row - b.row).unsigned_abs() as usize;
    let columns = (a.column - b.column).unsigned_abs() as usize;
    rows * width + columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The convention word by word: all pairs looked at in every step, O(n^3).
    fn brute_force(geometry: &Geometry, index: &[u16], value: &[f32], axes: usize) -> Vec<Entry> {
        let width = geometry.width();
        let cosh = |e: &Entry| geometry.eta()[e.column as usize].cosh();
        let mut list: Vec<Entry> = (index.iter().zip(value))
            .map(|(&p, &v)| {
                let (row, column) = ((p as usize / width) as i32, (p as usize % width) as i32);
                let pt = f64::from(v);
                let weight = pt / geometry.eta()[column as usize].cosh();
                let pt2 = pt * pt;
                Entry {
                    row,
                    column,
                    weight,
                    pt2,
                }
            })
            .collect();
        while list.len() > axes {
            let mut pair = (0, 1);
            let mut least = f64::INFINITY;
            for i in 0..list.len() {
                for j in i + 1..list.len() {
                    let measure = measure_of(geometry, &list[i], &list[j]);
                    if measure < least {
                        (least, pair) = (measure, (i, j));
                    }
                }
            }
            let (a, b) = (list[pair.0], list[pair.1]);
            let mut merged = if a.weight > b.weight { a } else { b };
            merged.weight = a.weight + b.weight;
            merged.pt2 = (merged.weight * cosh(&merged)).powi(2);
            list[pair.0] = merged;
            list.remove(pair.1);
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
            prop_assert_eq!(&clustering.entries, &brute_force(&geometry, &index, &value, 2));
            let mut by_hand = Clustering { entries: brute_force(&geometry, &index, &value, 3), best: vec![] };
            prop_assert_eq!(got.tau_3, by_hand.spread(&geometry, &index, &value));
            by_hand.entries = brute_force(&geometry, &index, &value, 2);
            prop_assert_eq!(got.tau_2, by_hand.spread(&geometry, &index, &value));
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
