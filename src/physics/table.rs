//! Many observables of many images, one column each: what a classifier that takes no images judges by.

use rayon::prelude::*;

use super::{Geometry, ImageObservables};
use crate::data::SparseImages;

/// Leading pixels that have a column.
const LEADING: usize = 10;
/// The most rings around the centre.
const RINGS: usize = 16;
/// Pixels below these are counted, in the unit of the pixels.
const BELOW: [f32; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
/// Images that one task works through.
const CHUNK: usize = 512;

/// An observable by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    /// Its key in files: `jet_pt`, `pixel_3`, `ring_5_sum` ..
    pub name: String,
    /// For readers.
    pub title: String,
    /// "GeV", which stands for the unit of the pixels, or empty for a pure number.
    pub unit: &'static str,
    /// Whether all its values are whole numbers.
    pub whole: bool,
}

/// Observables of images, all finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What the columns hold.
    pub quantities: Vec<Quantity>,
    /// `[quantities][images]`.
    pub columns: Vec<Vec<f32>>,
}

impl Table {
    /// Of the images at `rows`; `observables` are those of all `images`.
    ///
    /// The names depend on the size of the images alone. No thread count changes a value.
    pub fn of(
        images: &SparseImages,
        observables: &[ImageObservables],
        geometry: &Geometry,
        rows: &[usize],
    ) -> Self {
        let rings = Rings::of(geometry);
        let quantities = quantities(&rings);
        let width = quantities.len();
        let mut flat = vec![0.0f32; rows.len() * width];
        (flat
            .par_chunks_mut(CHUNK * width)
            .zip(rows.par_chunks(CHUNK)))
        .for_each_init(Vec::new, |sorted, (out, rows)| {
            for (out, row) in out.chunks_exact_mut(width).zip(rows) {
                let (index, value) = images.image(*row);
                let image = Image {
                    index,
                    value,
                    observables: &observables[*row],
                    geometry,
                };
                image.write(&rings, sorted, out);
            }
        });
        let columns = (0..width)
            .into_par_iter()
            .map(|k| flat.iter().skip(k).step_by(width).copied().collect())
            .collect();
        Self {
            quantities,
            columns,
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Square rings around the centre of an image.
struct Rings {
    /// `[pixels]`, the ring that a pixel belongs to.
    of: Vec<u8>,
    count: usize,
}

impl Rings {
    /// One pixel wide, or wider where an image is so large that there would be more than [`RINGS`].
    fn of(geometry: &Geometry) -> Self {
        let (height, width) = (geometry.height(), geometry.width());
        // Twice the distance from the middle, so that images of even sides have whole numbers as well.
        let away = |place: usize, side: usize| (2 * place).abs_diff(side - 1);
        let all = height.max(width).div_ceil(2);
        let count = all.min(RINGS);
        let of = (0..height * width)
            .map(|pixel| {
                let ring = away(pixel / width, height).max(away(pixel % width, width)) / 2;
                (ring * count / all) as u8
            })
            .collect();
        Self { of, count }
    }
}

fn quantities(rings: &Rings) -> Vec<Quantity> {
    let quantity = |name: String, title: String, unit, whole| Quantity {
        name,
        title,
        unit,
        whole,
    };
    let plain = |(name, title, unit): (&str, &str, &'static str)| {
        quantity(name.into(), title.into(), unit, name == "multiplicity")
    };
    let mut all: Vec<Quantity> = PLAIN
        .into_iter()
        .map(|(n, t, u, _)| plain((n, t, u)))
        .collect();
    for k in 1..=LEADING {
        let ordinal = match k {
            1 => "Largest pixel".to_string(),
            2 => "2nd largest pixel".to_string(),
            3 => "3rd largest pixel".to_string(),
            k => format!("{k}th largest pixel"),
        };
        let of_sum = format!("{ordinal} / sum");
        all.push(quantity(format!("pixel_{k}"), ordinal, "GeV", false));
        all.push(quantity(format!("pixel_{k}_fraction"), of_sum, "", false));
    }
    for k in 0..rings.count {
        let sum = format!("Sum of ring {k} around the centre");
        let count = format!("Nonzero pixels of ring {k} around the centre");
        all.push(quantity(format!("ring_{k}_sum"), sum, "GeV", false));
        all.push(quantity(format!("ring_{k}_count"), count, "", true));
    }
    for below in BELOW {
        let title = format!("Nonzero pixels below {below} GeV");
        all.push(quantity(format!("below_{below}"), title, "", true));
    }
    all.extend(MOMENTS.map(plain));
    all
}

/// Observables that have a column as they are.
type Plain = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ImageObservables) -> f32,
);
const PLAIN: [Plain; 12] = [
    ("jet_pt", "Transverse momentum", "GeV", |o| o.jet_pt),
    ("jet_eta", "Pseudorapidity of the sum", "", |o| o.jet_eta),
    ("jet_phi", "Azimuth of the sum", "", |o| o.jet_phi),
    ("jet_mass", "Mass", "GeV", |o| o.jet_mass),
    ("tau_1", "1-subjettiness", "", |o| o.tau_1),
    ("tau_2", "2-subjettiness", "", |o| o.tau_2),
    ("tau_3", "3-subjettiness", "", |o| o.tau_3),
    ("tau_21", "Subjettiness ratio 2 / 1", "", |o| o.tau_21),
    ("tau_32", "Subjettiness ratio 3 / 2", "", |o| o.tau_32),
    ("jet_delta_R", "Distance of the two axes", "", |o| o.delta_r),
    ("multiplicity", "Nonzero pixels", "", |o| o.multiplicity),
    ("intensity", "Sum of all pixels", "GeV", |o| o.intensity),
];

/// The last columns.
const MOMENTS: [(&str, &str, &str); 7] = [
    ("mean_eta", "Mean eta of the pixels, weighted by pT", ""),
    ("mean_phi", "Mean phi of the pixels, weighted by pT", ""),
    ("variance_eta", "Variance of eta, weighted by pT", ""),
    ("variance_phi", "Variance of phi, weighted by pT", ""),
    (
        "covariance",
        "Covariance of eta and phi, weighted by pT",
        "",
    ),
    ("sum_log", "Sum of ln(pixel / GeV) of nonzero pixels", ""),
    ("smallest", "Smallest nonzero pixel", "GeV"),
];

struct Image<'a> {
    index: &'a [u16],
    value: &'a [f32],
    observables: &'a ImageObservables,
    geometry: &'a Geometry,
}

impl Image<'_> {
    /// All columns of this image in the order of [`quantities`].
    fn write(&self, rings: &Rings, sorted: &mut Vec<f32>, out: &mut [f32]) {
        let total = f64::from(self.observables.intensity);
        let of_sum = |x: f64| if total > 0.0 { x / total } else { 0.0 };
        let (plain, out) = out.split_at_mut(PLAIN.len());
        for (out, (.., pick)) in plain.iter_mut().zip(PLAIN) {
            *out = pick(self.observables);
        }
        let (leading, out) = out.split_at_mut(2 * LEADING);
        sorted.clear();
        sorted.extend_from_slice(self.value);
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        for (pair, value) in leading.chunks_exact_mut(2).zip(sorted.iter()) {
            pair[0] = *value;
            pair[1] = of_sum(f64::from(*value)) as f32;
        }
        let (around, out) = out.split_at_mut(2 * rings.count);
        let mut sums = [[0.0f64; 2]; RINGS];
        for (pixel, value) in self.index.iter().zip(self.value) {
            let ring = &mut sums[usize::from(rings.of[usize::from(*pixel)])];
            ring[0] += f64::from(*value);
            ring[1] += 1.0;
        }
        for (pair, sum) in around.chunks_exact_mut(2).zip(sums) {
            pair[0] = sum[0].min(f64::from(f32::MAX)) as f32;
            pair[1] = sum[1] as f32;
        }
        let (below, moments) = out.split_at_mut(BELOW.len());
        // From the largest to the smallest: what is left of the list lies below.
        for (out, limit) in below.iter_mut().zip(BELOW) {
            *out = (sorted.len() - sorted.partition_point(|v| *v >= limit)) as f32;
        }
        moments.copy_from_slice(&self.moments(total, sorted.last().copied()));
    }

    /// Weighted means, variances and the covariance, then what stands behind them in [`MOMENTS`].
    fn moments(&self, total: f64, smallest: Option<f32>) -> [f32; MOMENTS.len()] {
        let (eta, phi) = (self.geometry.eta(), self.geometry.phi());
        let width = self.geometry.width();
        let pixels = || {
            (self.index.iter().zip(self.value)).map(|(pixel, value)| {
                let pixel = usize::from(*pixel);
                (eta[pixel % width], phi[pixel / width], f64::from(*value))
            })
        };
        if total <= 0.0 {
            return [0.0; MOMENTS.len()];
        }
        let mut mean = [0.0; 2];
        let mut logarithms = 0.0;
        for (eta, phi, value) in pixels() {
            mean[0] += eta * value / total;
            mean[1] += phi * value / total;
            logarithms += value.ln();
        }
        let mut second = [0.0; 3];
        for (eta, phi, value) in pixels() {
            let (eta, phi) = (eta - mean[0], phi - mean[1]);
            second[0] += eta * eta * value / total;
            second[1] += phi * phi * value / total;
            second[2] += eta * phi * value / total;
        }
        let smallest = f64::from(smallest.unwrap_or(0.0));
        let [a, b] = mean;
        let [c, d, e] = second;
        [a, b, c, d, e, logarithms, smallest].map(|x| x as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::physics::observables;

    fn table(height: usize, width: usize, images: &[&[(u16, f32)]]) -> Table {
        let mut sparse = SparseImages::new(height, width).unwrap();
        for image in images {
            sparse.push(image.iter().copied());
        }
        let geometry = Geometry::new(height, width, 1.25).unwrap();
        let found = observables(&sparse, &geometry).unwrap();
        let rows: Vec<usize> = (0..images.len()).collect();
        Table::of(&sparse, found.rows(), &geometry, &rows)
    }

    fn value(table: &Table, name: &str, row: usize) -> f32 {
        let column = (table.quantities.iter()).position(|q| q.name == name);
        table.columns[column.unwrap_or_else(|| panic!("no {name}"))][row]
    }

    #[test]
    fn two_pixels_by_hand() {
        // The centre, 30 GeV; a pixel two columns right and five rows down, 10 GeV.
        let image = [(12 * 25 + 12, 30.0), (17 * 25 + 14, 10.0)];
        let table = table(25, 25, &[&[], &image]);
        for (name, expected) in [
            ("intensity", 40.0),
            ("multiplicity", 2.0),
            ("pixel_1", 30.0),
            ("pixel_1_fraction", 0.75),
            ("pixel_2", 10.0),
            ("pixel_3", 0.0),
            ("ring_0_sum", 30.0),
            ("ring_0_count", 1.0),
            ("ring_5_sum", 10.0),
            ("ring_5_count", 1.0),
            ("ring_4_sum", 0.0),
            ("below_3", 0.0),
            ("mean_eta", 0.05),
            ("mean_phi", -0.125),
            // p (1 - p) d^2 of two points.
            ("variance_eta", 0.1875 * 0.04),
            ("variance_phi", 0.1875 * 0.25),
            ("covariance", -0.1875 * 0.1),
            ("sum_log", 300f32.ln()),
            ("smallest", 10.0),
        ] {
            let found = value(&table, name, 1);
            assert!((found - expected).abs() < 1e-5, "{name}: {found}");
        }
        assert!(table.columns.iter().all(|column| column[0] == 0.0));
    }

    #[test]
    fn pixels_below_limits_are_counted() {
        let image = [
            (0, 0.0005),
            (1, 0.001),
            (2, 0.02),
            (3, 0.5),
            (4, 2.0),
            (5, 9.0),
        ];
        let table = table(4, 6, &[&image]);
        let counts: Vec<f32> = (BELOW.iter())
            .map(|below| value(&table, &format!("below_{below}"), 0))
            .collect();
        assert_eq!(counts, [1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn rings_fit_images_of_any_size() {
        for (height, width) in [(1, 1), (4, 6), (25, 25), (3, 200), (64, 64)] {
            let geometry = Geometry::new(height, width, 1.25).unwrap();
            let rings = Rings::of(&geometry);
            let used: std::collections::BTreeSet<u8> = rings.of.iter().copied().collect();
            assert!(rings.count <= RINGS && used.iter().all(|r| usize::from(*r) < rings.count));
            assert_eq!(used.last().map(|r| usize::from(*r) + 1), Some(rings.count));
            // A thin image has no pixel farther away in its short direction, but all rings in the long one.
            assert_eq!(used.len(), rings.count, "{height} x {width}");
            assert_eq!(table(height, width, &[&[(0, 1.0)]]).len(), 1);
        }
    }

    #[test]
    fn nothing_depends_on_threads_and_huge_pixels_stay_finite() {
        let mut images: Vec<Vec<(u16, f32)>> = (0..1500u32)
            .map(|i| (0..40).map(move |k| ((i * 7 + k * 13) as u16 % 625, 0.1 + (i % 9) as f32)))
            .map(|pixels| {
                let by_place: std::collections::BTreeMap<u16, f32> = pixels.collect();
                by_place.into_iter().collect()
            })
            .collect();
        images.push((0..625).map(|p| (p, f32::MAX)).collect());
        let images: Vec<&[(u16, f32)]> = images.iter().map(Vec::as_slice).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| table(25, 25, &images))
        };
        let found = run(1);
        assert_eq!(found, run(3));
        assert!(found.columns.iter().flatten().all(|v| v.is_finite()));
        let names: std::collections::BTreeSet<_> =
            found.quantities.iter().map(|q| &q.name).collect();
        assert_eq!(names.len(), found.columns.len());
    }
}
