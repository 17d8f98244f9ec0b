//! Observables of calorimeter showers, by the definitions of the CaloChallenge (`HighLevelFeatures` of its code, commit
//! 9b41df7; arXiv 2410.21611).
//!
//! A voxel stands for its middle: half-way between its ring's radii, half-way through its angle. eta and phi are distances
//! in mm across the particle's direction, x and y of the cylinder. A layer without energy has centres and widths of 0, as in
//! the challenge, where 1e-16 MeV is added to every energy that is divided by.

use rayon::prelude::*;

use crate::data::calochallenge::MEV;
use crate::data::{CaloBinning, SparseImages};

/// MeV that the challenge adds to a layer's energy before it divides by it.
const NOTHING: f64 = 1e-16;

/// Where the voxels of a calorimeter are.
#[derive(Debug, Clone)]
pub struct Voxels {
    layers: Vec<LayerVoxels>,
    /// Layer of each voxel.
    layer: Vec<u16>,
}

#[derive(Debug, Clone)]
struct LayerVoxels {
    id: usize,
    first: usize,
    /// Radius, eta and phi of each voxel's middle, mm.
    middles: Vec<[f64; 3]>,
    /// Whether it is cut into angles: only then eta and phi say something.
    angles: bool,
}

/// What a layer of a shower is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerShower {
    /// MeV.
    pub energy: f64,
    /// Fraction of its voxels without energy.
    pub sparsity: f64,
    /// Centre of energy in r, eta and phi, mm.
    pub centre: [f64; 3],
    /// Width in r, eta and phi: the root of the mean square distance from the centre, mm.
    pub width: [f64; 3],
}

/// The observables of showers.
#[derive(Debug, Clone, PartialEq)]
pub struct Showers {
    /// Number of each layer in the detector, and whether it is cut into angles.
    pub layers: Vec<(usize, bool)>,
    /// Sum of all voxels of each shower, MeV.
    pub total: Vec<f64>,
    /// Row-major `[showers, layers]`.
    pub rows: Vec<LayerShower>,
}

impl Showers {
    /// Layer number `layer` (a place in [`layers`](Self::layers)) of every shower.
    pub fn layer(&self, layer: usize) -> impl Iterator<Item = &LayerShower> {
        self.rows.iter().skip(layer).step_by(self.layers.len())
    }
}

/// MeV of a pixel in GeV, in the precision of the challenge's files.
pub fn mev(pixel: f32) -> f64 {
    f64::from((f64::from(pixel) * MEV) as f32)
}

impl Voxels {
    /// The voxels of `binning`.
    pub fn new(binning: &CaloBinning) -> Self {
        let mut layer_of = Vec::with_capacity(binning.voxels());
        let mut layers = Vec::new();
        for (place, (layer, range)) in (binning.layers.iter().zip(binning.ranges())).enumerate() {
            layer_of.extend(std::iter::repeat_n(place as u16, range.len()));
            let edges = &layer.r_edges;
            // As numpy's linspace gives them, then half-way between two.
            let step = std::f64::consts::TAU / layer.angles as f64;
            let angle = |i: usize| match i == layer.angles {
                true => std::f64::consts::PI,
                false => i as f64 * step - std::f64::consts::PI,
            };
            let mut middles = Vec::with_capacity(range.len());
            for a in 0..layer.angles {
                let alpha = angle(a) + (angle(a + 1) - angle(a)) / 2.0;
                for ends in edges.windows(2) {
                    let r = ends[0] + (ends[1] - ends[0]) / 2.0;
                    middles.push([r, r * alpha.cos(), r * alpha.sin()]);
                }
            }
            layers.push(LayerVoxels {
                id: layer.id,
                first: range.start,
                middles,
                angles: layer.angles > 1,
            });
        }
        Self {
            layers,
            layer: layer_of,
        }
    }

    /// The observables of `showers`, whose pixels are voxels in GeV. Voxels below `least` MeV count as empty.
    ///
    /// # Panics
    /// Where the images have another number of pixels than the calorimeter has voxels.
    pub fn observe(&self, showers: &SparseImages, least: f64) -> Showers {
        assert_eq!(showers.pixels(), self.layer.len());
        let width = self.layers.len();
        let mut total = vec![0.0; showers.len()];
        let mut rows = vec![LayerShower::default(); showers.len() * width];
        (rows.par_chunks_mut(width).zip(&mut total))
            .enumerate()
            .for_each(|(i, (row, total))| *total = self.shower(showers.image(i), least, row));
        Showers {
            layers: self.layers.iter().map(|l| (l.id, l.angles)).collect(),
            total,
            rows,
        }
    }

    /// One shower's layers, and its energy.
    fn shower(&self, (index, value): (&[u16], &[f32]), least: f64, row: &mut [LayerShower]) -> f64 {
        let mut hit = vec![0usize; row.len()];
        let mut total = 0.0;
        for (at, pixel) in index.iter().zip(value) {
            let energy = mev(*pixel);
            if energy < least {
                continue;
            }
            let place = usize::from(self.layer[usize::from(*at)]);
            let layer = &self.layers[place];
            let found = &mut row[place];
            hit[place] += 1;
            found.energy += energy;
            total += energy;
            let middle = layer.middles[usize::from(*at) - layer.first];
            for (k, x) in middle.into_iter().enumerate() {
                found.centre[k] += x * energy;
                found.width[k] += x * x * energy;
            }
        }
        for ((layer, found), hit) in self.layers.iter().zip(row).zip(hit) {
            found.sparsity = 1.0 - hit as f64 / layer.middles.len() as f64;
            let energy = found.energy + NOTHING;
            for k in 0..3 {
                found.centre[k] /= energy;
                // Of very little energy rounding may leave less than nothing.
                let square = found.width[k] / energy - found.centre[k].powi(2);
                found.width[k] = square.max(0.0).sqrt();
            }
        }
        total
    }
}
