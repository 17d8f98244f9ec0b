//! One number per image and observable, computed from the pixels alone.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::geometry::{Geometry, GeometryError};
use super::subjets::Clustering;
use crate::data::SparseImages;

/// Images that one task works through: the split does not depend on the number of threads.
const CHUNK: usize = 512;

/// The observables of one image. GeV for `jet_pt`, `jet_mass`, `intensity`; nothing is ever NaN
/// or infinite (sums beyond f32 stop at its largest number).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ImageObservables {
    /// `sqrt(Px^2 + Py^2)`, `Px = sum I cos(phi)`, `Py = sum I sin(phi)`.
    pub jet_pt: f32,
    /// `asinh(Pz / jet_pt)`, `Pz = sum I sinh(eta)`; 0 without momentum.
    pub jet_eta: f32,
    /// `atan2(Py, Px)` in radians; 0 without momentum.
    pub jet_phi: f32,
    /// `sqrt(max(0, E^2 - Px^2 - Py^2 - Pz^2))`, `E = sum I cosh(eta)`.
    pub jet_mass: f32,
    /// `sum I dR / sum I` about the hottest pixel (the first, of equal ones).
    pub tau_1: f32,
    /// `sum I min dR / sum I` over the two axes of the kT-like merging.
    pub tau_2: f32,
    /// The same over three axes.
    pub tau_3: f32,
    /// `tau_2 / tau_1`; 0 where `tau_1 <= 0`.
    pub tau_21: f32,
    /// `tau_3 / tau_2`; 0 where `tau_2 <= 0`.
    pub tau_32: f32,
    /// Distance in (eta, phi) of the two axes; 0 with fewer than two nonzero pixels.
    pub delta_r: f32,
    /// Number of nonzero pixels.
    pub multiplicity: f32,
    /// Sum of all pixels.
    pub intensity: f32,
}

/// The observables of many images, one column each, in the images' order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observables {
    rows: Vec<ImageObservables>,
}

impl Observables {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All observables of each image, `[images]`.
    pub fn rows(&self) -> &[ImageObservables] {
        &self.rows
    }

    /// One observable of all images, `[images]`: `column(|o| o.jet_mass)`.
    pub fn column(&self, pick: impl Fn(&ImageObservables) -> f32) -> Vec<f32> {
        self.rows.iter().map(pick).collect()
    }

    /// The per-row data sets of the published file layout, by their names there: `jet_pt`,
    /// `jet_eta`, `jet_phi`, `jet_mass`, `jet_delta_R`, `tau_1`, `tau_2`, `tau_3`, `tau_21`,
    /// `tau_32`; each `[images]`.
    pub fn columns(&self) -> BTreeMap<String, Vec<f32>> {
        type Pick = fn(&ImageObservables) -> f32;
        let named: [(&str, Pick); 10] = [
            ("jet_pt", |o| o.jet_pt),
            ("jet_eta", |o| o.jet_eta),
            ("jet_phi", |o| o.jet_phi),
            ("jet_mass", |o| o.jet_mass),
            ("jet_delta_R", |o| o.delta_r),
            ("tau_1", |o| o.tau_1),
            ("tau_2", |o| o.tau_2),
            ("tau_3", |o| o.tau_3),
            ("tau_21", |o| o.tau_21),
            ("tau_32", |o| o.tau_32),
        ];
        (named.into_iter())
            .map(|(name, pick)| (name.to_string(), self.column(pick)))
            .collect()
    }
}

/// The observables of every image, in parallel; the result does not depend on the thread count.
///
/// # Errors
/// [`GeometryError::Mismatch`] when the images' size is not the geometry's.
pub fn observables(
    images: &SparseImages,
    geometry: &Geometry,
) -> Result<Observables, GeometryError> {
    if (images.height(), images.width()) != (geometry.height(), geometry.width()) {
        return Err(GeometryError::Mismatch {
            images_height: images.height(),
            images_width: images.width(),
            height: geometry.height(),
            width: geometry.width(),
        });
    }
    let mut rows = vec![ImageObservables::default(); images.len()];
    (rows.par_chunks_mut(CHUNK).enumerate()).for_each_init(Clustering::default, |work, part| {
        let (chunk, out) = part;
        for (i, row) in out.iter_mut().enumerate() {
            let (index, value) = images.image(chunk * CHUNK + i);
            *row = of_image(geometry, index, value, work);
        }
    });
    Ok(Observables { rows })
}

/// All observables of one image, from its nonzero pixels.
fn of_image(
    geometry: &Geometry,
    index: &[u16],
    value: &[f32],
    work: &mut Clustering,
) -> ImageObservables {
    let [mut energy, mut px, mut py, mut pz, mut intensity] = [0.0f64; 5];
    let (mut hottest, mut most) = (0u16, 0.0f32);
    for (&pixel, &value) in index.iter().zip(value) {
        let [cosh, sinh, cos, sin] = geometry.trig[pixel as usize];
        let pt = f64::from(value);
        energy += pt * cosh;
        px += pt * cos;
        py += pt * sin;
        pz += pt * sinh;
        intensity += pt;
        if value > most {
            (hottest, most) = (pixel, value);
        }
    }
    let pt = px.hypot(py);
    let tau_1 = mean_distance(geometry, index, value, hottest, intensity);
    let subjets = work.run(geometry, index, value);
    ImageObservables {
        jet_pt: finite(pt),
        jet_eta: finite(if pt > 0.0 { (pz / pt).asinh() } else { 0.0 }),
        jet_phi: finite(if pt > 0.0 { py.atan2(px) } else { 0.0 }),
        jet_mass: finite((energy * energy - (pt * pt + pz * pz)).max(0.0).sqrt()),
        tau_1: finite(tau_1),
        tau_2: finite(subjets.tau_2),
        tau_3: finite(subjets.tau_3),
        tau_21: finite(ratio(subjets.tau_2, tau_1)),
        tau_32: finite(ratio(subjets.tau_3, subjets.tau_2)),
        delta_r: finite(subjets.delta_r),
        multiplicity: index.len() as f32,
        intensity: finite(intensity),
    }
}

/// `sum I dR / sum I` about one pixel; 0 for an empty image.
fn mean_distance(
    geometry: &Geometry,
    index: &[u16],
    value: &[f32],
    about: u16,
    intensity: f64,
) -> f64 {
    let width = geometry.width();
    let (row, column) = (about as usize / width, about as usize % width);
    let weighted: f64 = (index.iter().zip(value))
        .map(|(&pixel, &value)| {
            let rows = (pixel as usize / width).abs_diff(row);
            let columns = (pixel as usize % width).abs_diff(column);
            f64::from(value) * geometry.distance[rows * width + columns]
        })
        .sum();
    ratio(weighted, intensity)
}

/// `a / b`, and 0 where `b <= 0`.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// As f32, without infinities: what a table may hold.
fn finite(x: f64) -> f32 {
    (x as f32).clamp(f32::MIN, f32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jets(images: &[&[(u16, f32)]]) -> (SparseImages, Geometry) {
        let mut sparse = SparseImages::new(25, 25).unwrap();
        for image in images {
            sparse.push(image.iter().copied());
        }
        (sparse, Geometry::new(25, 25, 1.25).unwrap())
    }

    #[test]
    fn an_empty_image_is_all_zeros() {
        let (images, geometry) = jets(&[&[]]);
        let got = observables(&images, &geometry).unwrap();
        assert_eq!(got.rows(), [ImageObservables::default()]);
    }

    #[test]
    fn one_pixel_is_massless() {
        // Row 2 (phi = 1.0), column 20 (eta = 0.8).
        let (images, geometry) = jets(&[&[(2 * 25 + 20, 50.0)]]);
        let o = observables(&images, &geometry).unwrap().rows()[0];
        assert!((o.jet_pt - 50.0).abs() < 1e-4 && o.jet_mass < 1e-2);
        assert!((o.jet_eta - 0.8).abs() < 1e-6 && (o.jet_phi - 1.0).abs() < 1e-6);
        assert_eq!(
            (o.tau_1, o.tau_21, o.tau_32, o.delta_r),
            (0.0, 0.0, 0.0, 0.0)
        );
        assert_eq!((o.multiplicity, o.intensity), (1.0, 50.0));
    }

    #[test]
    fn two_pixels_follow_the_two_body_formula() {
        // m^2 = 2 pt1 pt2 (cosh(d eta) - cos(d phi)); 0.3 apart in eta, 0.4 in phi.
        let (images, geometry) = jets(&[&[(12 * 25 + 12, 200.0), (16 * 25 + 15, 80.0)]]);
        let o = observables(&images, &geometry).unwrap().rows()[0];
        let mass = (2.0 * 200.0 * 80.0 * (0.3f64.cosh() - 0.4f64.cos())).sqrt();
        assert!((f64::from(o.jet_mass) - mass).abs() < 1e-4 * mass);
        let pt = (200.0f64.powi(2) + 80.0f64.powi(2) + 2.0 * 200.0 * 80.0 * 0.4f64.cos()).sqrt();
        assert!((f64::from(o.jet_pt) - pt).abs() < 1e-4 * pt);
        assert!((o.tau_1 - 80.0 * 0.5 / 280.0).abs() < 1e-6);
        assert!((o.delta_r - 0.5).abs() < 1e-6);
        assert_eq!((o.tau_2, o.tau_21), (0.0, 0.0));
    }

    #[test]
    fn three_pixels_by_hand() {
        // Hottest at (12,12); 30 GeV one column right; 60 GeV eight rows down.
        let (images, geometry) = jets(&[&[
            (12 * 25 + 12, 100.0),
            (12 * 25 + 13, 30.0),
            (20 * 25 + 12, 60.0),
        ]]);
        let o = observables(&images, &geometry).unwrap().rows()[0];
        let (tau_1, tau_2) = ((30.0 * 0.1 + 60.0 * 0.8) / 190.0, 30.0 * 0.1 / 190.0);
        assert!((o.tau_1 - tau_1).abs() < 1e-6 && (o.tau_2 - tau_2).abs() < 1e-6);
        assert!((o.tau_21 - tau_2 / tau_1).abs() < 1e-6 && o.tau_3 == 0.0 && o.tau_32 == 0.0);
        assert!((o.delta_r - 0.8).abs() < 1e-6);
        let sums = (0..3).map(|k| ([12, 13, 12][k], [12, 12, 20][k], [100.0, 30.0, 60.0][k]));
        let [mut e, mut x, mut y, mut z] = [0.0f64; 4];
        for (column, row, pt) in sums {
            let (eta, phi) = (0.1 * (column as f64 - 12.0), -0.1 * (row as f64 - 12.0));
            e += pt * eta.cosh();
            x += pt * phi.cos();
            y += pt * phi.sin();
            z += pt * eta.sinh();
        }
        assert!((f64::from(o.jet_mass) - (e * e - x * x - y * y - z * z).sqrt()).abs() < 1e-3);
        assert!((f64::from(o.jet_phi) - y.atan2(x)).abs() < 1e-6 && o.jet_phi < 0.0);
    }

    #[test]
    fn other_sizes_are_an_error_and_huge_pixels_stay_finite() {
        let (images, _) = jets(&[&[]]);
        let other = Geometry::new(25, 24, 1.25).unwrap();
        assert!(matches!(
            observables(&images, &other),
            Err(GeometryError::Mismatch { .. })
        ));
        let huge: Vec<(u16, f32)> = (0..625).map(|p| (p, f32::MAX)).collect();
        let (images, geometry) = jets(&[&huge]);
        for (name, column) in observables(&images, &geometry).unwrap().columns() {
            assert!(column[0].is_finite(), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Powers of two scale every sum exactly, so the merging must take the same decisions.
        #[test]
        fn scaling_scales_momenta_and_keeps_angles(
            pixels in proptest::collection::btree_map(0u16..625, 0.01f32..200.0, 1..80),
            power in -6i32..6,
        ) {
            let factor = 2f32.powi(power);
            let image: Vec<_> = pixels.into_iter().collect();
            let scaled: Vec<_> = image.iter().map(|(p, v)| (*p, v * factor)).collect();
            let (images, geometry) = jets(&[&image, &scaled]);
            let got = observables(&images, &geometry).unwrap();
            let (a, b) = (got.rows()[0], got.rows()[1]);
            prop_assert_eq!(a.jet_pt * factor, b.jet_pt);
            prop_assert_eq!(a.jet_mass * factor, b.jet_mass);
            prop_assert_eq!(a.intensity * factor, b.intensity);
            prop_assert_eq!((a.tau_1, a.tau_2, a.tau_3, a.tau_21, a.tau_32, a.delta_r),
                (b.tau_1, b.tau_2, b.tau_3, b.tau_21, b.tau_32, b.delta_r));
            prop_assert_eq!((a.jet_eta, a.jet_phi, a.multiplicity),
                (b.jet_eta, b.jet_phi, b.multiplicity));
            // Nothing can be nearer to two axes than to those and a third one.
            prop_assert!(a.tau_1 >= 0.0 && a.tau_2 >= 0.0 && a.tau_3 >= 0.0);
            prop_assert!(a.jet_mass >= 0.0 && a.jet_pt <= a.intensity * 1.000001);
        }
    }

    #[test]
    fn columns_do_not_depend_on_the_number_of_threads() {
        let mut images = SparseImages::new(25, 25).unwrap();
        for i in 0..2000u32 {
            let pixels = (0..625u32).filter(|p| (p * 7 + i * 13) % 11 == 0);
            images.push(pixels.map(|p| (p as u16, 1.0 + ((p * i) % 97) as f32)));
        }
        let geometry = Geometry::new(25, 25, 1.25).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap()
                .install(|| observables(&images, &geometry).unwrap())
        };
        assert_eq!(run(1), run(3));
    }
}
