//! Where the pixels are: centres in (eta, phi) and the tables that the observables read.

use thiserror::Error;

/// Half-width in eta and phi of the published jet images: they cover `[-1.25, 1.25]` both ways.
pub const DEFAULT_RANGE: f64 = 1.25;

/// The largest half-width that makes sense: beyond it two rows would be the same direction.
pub const MAX_RANGE: f64 = std::f64::consts::PI;

/// A geometry that cannot be, or that is not the images'.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GeometryError {
    /// No pixels, or more than indices can address.
    #[error("an image of {height} x {width} pixels cannot be handled")]
    Size {
        /// Rows asked for.
        height: usize,
        /// Columns asked for.
        width: usize,
    },
    /// The half-width is not a positive number of at most pi.
    #[error("the half-width of the image in eta and phi must be above 0 and at most pi, not {0}")]
    Range(f64),
    /// Images of another size than the geometry's.
    #[error(
        "images of {images_height} x {images_width} pixels, but a geometry of {height} x {width}"
    )]
    Mismatch {
        /// Rows of the images.
        images_height: usize,
        /// Columns of the images.
        images_width: usize,
        /// Rows of the geometry.
        height: usize,
        /// Columns of the geometry.
        width: usize,
    },
}

/// Pixel centres of an `height x width` image and tables over them.
///
/// `[-range, range]` is cut in `width` equal columns for eta and `height` equal rows for phi; a
/// pixel's direction is its centre. Eta grows with the column, phi falls with the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    height: usize,
    width: usize,
    range: f64,
    eta: Vec<f64>,
    phi: Vec<f64>,
    /// `[height * width]`: cosh(eta), sinh(eta), cos(phi), sin(phi) of each pixel.
    pub(crate) trig: Vec<[f64; 4]>,
    /// `[height * width]`, distance in (eta, phi) of two pixels by their row and column
    /// difference.
    pub(crate) distance: Vec<f64>,
}

impl Geometry {
    /// The geometry of `height x width` images that cover `[-range, range]` in eta and phi.
    ///
    /// Jets: [`DEFAULT_RANGE`]; the muon images of the literature: 0.4.
    ///
    /// # Errors
    /// No pixels, more than [`MAX_PIXELS`](crate::data::MAX_PIXELS), or a range outside
    /// `(0, MAX_RANGE]`.
    pub fn new(height: usize, width: usize, range: f64) -> Result<Self, GeometryError> {
        match height.checked_mul(width) {
            Some(pixels) if (1..=crate::data::MAX_PIXELS).contains(&pixels) => {}
            _ => return Err(GeometryError::Size { height, width }),
        }
        if !(range > 0.0 && range <= MAX_RANGE) {
            return Err(GeometryError::Range(range));
        }
        let eta = centres(width, range);
        let phi: Vec<f64> = centres(height, range).into_iter().map(|c| -c).collect();
        let trig = (phi.iter())
            .flat_map(|p| eta.iter().map(|e| [e.cosh(), e.sinh(), p.cos(), p.sin()]))
            .collect();
        let steps = (2.0 * range / width as f64, 2.0 * range / height as f64);
        let distance = (0..height)
            .flat_map(|rows| (0..width).map(move |columns| (rows, columns)))
            .map(|(rows, columns)| distance2(steps, rows as f64, columns as f64).sqrt())
            .collect();
        Ok(Self {
            height,
            width,
            range,
            eta,
            phi,
            trig,
            distance,
        })
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Distance of neighbouring pixels in eta and in phi.
    pub(crate) fn steps(&self) -> (f64, f64) {
        (
            2.0 * self.range / self.width as f64,
            2.0 * self.range / self.height as f64,
        )
    }

    /// Half-width of the image in eta and in phi.
    pub fn range(&self) -> f64 {
        self.range
    }

    /// Pseudorapidity of each column's centre, `[width]`, ascending.
    pub fn eta(&self) -> &[f64] {
        &self.eta
    }

    /// Azimuth of each row's centre in radians, `[height]`, descending.
    pub fn phi(&self) -> &[f64] {
        &self.phi
    }
}

/// Squared distance in (eta, phi) of two pixels, by the steps in eta and phi and the pixels'
/// whole-numbered row and column differences; the short way round in phi.
///
/// Equal differences give the very same number, so ties between pairs of pixels are exact.
#[inline(always)]
pub(crate) fn distance2(steps: (f64, f64), rows: f64, columns: f64) -> f64 {
    let deta = columns * steps.0;
    let turn = rows.abs() * steps.1;
    let back = 2.0 * std::f64::consts::PI - turn;
    let dphi = if turn < back { turn } else { back };
    deta * deta + dphi * dphi
}

/// Centres of `n` equal cells of `[-range, range]`, ascending; exactly symmetric about zero.
fn centres(n: usize, range: f64) -> Vec<f64> {
    (0..n)
        .map(|i| (2 * i as i64 + 1 - n as i64) as f64 * (range / n as f64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jet_pixels_are_a_tenth_apart_and_the_centre_is_zero() {
        let g = Geometry::new(25, 25, DEFAULT_RANGE).unwrap();
        assert_eq!((g.eta()[12], g.phi()[12]), (0.0, 0.0));
        for (column, eta) in g.eta().iter().enumerate() {
            assert!((eta - (-1.2 + 0.1 * column as f64)).abs() < 1e-12);
        }
        assert!((g.phi()[0] - 1.2).abs() < 1e-12 && (g.phi()[24] + 1.2).abs() < 1e-12);
        assert!((g.distance[25 * 3 + 4] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn even_and_oblong_images() {
        let g = Geometry::new(4, 2, 0.4).unwrap();
        assert_eq!(g.eta(), [-0.2, 0.2]);
        assert!((g.phi()[0] - 0.3).abs() < 1e-15 && (g.phi()[3] + 0.3).abs() < 1e-15);
        assert_eq!(g.trig.len(), 8);
    }

    #[test]
    fn azimuth_wraps() {
        let g = Geometry::new(4, 1, MAX_RANGE).unwrap();
        assert!((g.distance[3] - g.distance[1]).abs() < 1e-12);
    }

    #[test]
    fn impossible_geometries_are_errors() {
        assert!(matches!(
            Geometry::new(0, 25, 1.0),
            Err(GeometryError::Size { .. })
        ));
        assert!(Geometry::new(usize::MAX, 2, 1.0).is_err());
        assert!(Geometry::new(257, 256, 1.0).is_err());
        for range in [0.0, -1.0, f64::NAN, f64::INFINITY, 3.2] {
            assert!(matches!(
                Geometry::new(5, 5, range),
                Err(GeometryError::Range(_))
            ));
        }
    }
}
