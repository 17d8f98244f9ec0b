//! Structural similarity of two images (Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13, 600 (2004)).

use super::Unavailable;

/// Side of the window.
pub(super) const WINDOW: usize = 7;
const K1: f64 = 0.01;
const K2: f64 = 0.03;

/// SSIM of two `[height * width]` images, row-major, as scikit-image's `structural_similarity`
/// computes it by default: a uniform 7x7 window, K1 = 0.01, K2 = 0.03, sample covariances
/// (divided by 48), averaged over the windows that lie inside. The data range is the largest
/// value of either image minus the smallest.
///
/// # Errors
/// Images smaller than the window, and two images that together are one constant.
pub fn ssim(a: &[f64], b: &[f64], height: usize, width: usize) -> Result<f64, Unavailable> {
    if height < WINDOW || width < WINDOW {
        return Err(Unavailable::SmallImage {
            height,
            width,
            window: WINDOW,
        });
    }
    let both = || a.iter().chain(b).copied();
    let range = both().fold(f64::NEG_INFINITY, f64::max) - both().fold(f64::INFINITY, f64::min);
    if !(range > 0.0 && range.is_finite()) {
        return Err(Unavailable::Flat);
    }
    let (c1, c2) = ((K1 * range).powi(2), (K2 * range).powi(2));
    let n = (WINDOW * WINDOW) as f64;
    let mut sum = 0.0;
    for top in 0..=height - WINDOW {
        for left in 0..=width - WINDOW {
            let cells = || {
                (top..top + WINDOW).flat_map(move |row| {
                    (left..left + WINDOW).map(move |column| row * width + column)
                })
            };
            let mean = |image: &[f64]| cells().map(|p| image[p]).sum::<f64>() / n;
            let (mean_a, mean_b) = (mean(a), mean(b));
            let (mut var_a, mut var_b, mut both) = (0.0, 0.0, 0.0);
            for p in cells() {
                let (x, y) = (a[p] - mean_a, b[p] - mean_b);
                var_a += x * x;
                var_b += y * y;
                both += x * y;
            }
            let [var_a, var_b, both] = [var_a, var_b, both].map(|v| v / (n - 1.0));
            sum += (2.0 * mean_a * mean_b + c1) * (2.0 * both + c2)
                / ((mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2));
        }
    }
    let windows = (height - WINDOW + 1) * (width - WINDOW + 1);
    let mean = sum / windows as f64;
    // Squares of the largest numbers leave f64.
    mean.is_finite().then_some(mean).ok_or(Unavailable::Beyond)
}
