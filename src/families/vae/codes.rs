//! The code of an image that is drawn.

use crate::family::{Codes, EngineError, Latent};
use crate::random::{Purpose, normals, unit_f64, words};

/// Items of [`Purpose::Draw`] from here on draw numbers between bounds.
const BETWEEN: u32 = 1 << 16;
/// Where a part of the normal distribution ends that has no end: beyond lies one number in 10^15.
const FARTHEST: f64 = Latent::FARTHEST;
/// Halvings of an interval until it is as fine as single precision.
const HALVINGS: usize = 60;

/// The code of image number `image`, `latents` numbers.
pub(super) fn code(codes: &Codes, seed: u64, image: u64, latents: usize) -> Vec<f32> {
    match codes {
        Codes::Drawn(bounds) => {
            let mut code: Vec<f32> = normals(seed, Purpose::Draw, image, latents).collect();
            for bound in bounds {
                let everything = bound.low == f64::NEG_INFINITY && bound.high == f64::INFINITY;
                if let Some(number) = code.get_mut(bound.number).filter(|_| !everything) {
                    let item = BETWEEN + bound.number as u32;
                    let w = words(seed, Purpose::Draw, image, item);
                    *number = between(bound, unit_f64(w[0], w[1])) as f32;
                }
            }
            code
        }
        Codes::Line { ends, images } => {
            let steps = (images.end - images.start).saturating_sub(1).max(1);
            let part = image.saturating_sub(images.start) as f64 / steps as f64;
            let [from, to] = ends.each_ref().map(|end| end.iter().map(|v| f64::from(*v)));
            from.zip(to)
                .map(|(from, to)| (from + part * (to - from)) as f32)
                .collect()
        }
        Codes::Rows(rows) => {
            let count = (rows.len() / latents).max(1) as u64;
            let first = (image % count) as usize * latents;
            rows.get(first..first + latents)
                .unwrap_or_default()
                .to_vec()
        }
    }
}

/// Refuse codes that are not of `latents` numbers.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check(codes: &Codes, latents: usize) -> Result<(), EngineError> {
    let fits = match codes {
        Codes::Drawn(bounds) => bounds.iter().all(|bound| bound.number < latents),
        Codes::Line { ends, .. } => ends.iter().all(|end| end.len() == latents),
        Codes::Rows(rows) => !rows.is_empty() && rows.len().is_multiple_of(latents),
    };
    match fits {
        true => Ok(()),
        false => Err(EngineError::Mismatch(format!(
            "a code of this model has {latents} numbers, those given have others"
        ))),
    }
}

/// Chance of a normal number above `z`.
fn above(z: f64) -> f64 {
    0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// The normal number below which a fraction `part` of those between the bounds lies.
fn between(bound: &Latent, part: f64) -> f64 {
    if bound.low == bound.high {
        return bound.low;
    }
    // Of the two tails the one that the middle lies in: differences of chances near 1 have no digits left.
    let turn = bound.low + bound.high < 0.0;
    let (low, high) = match turn {
        true => (-bound.high, -bound.low),
        false => (bound.low, bound.high),
    };
    let part = if turn { 1.0 - part } else { part };
    let ends = [low.max(-FARTHEST), high.min(FARTHEST)];
    let wanted = above(ends[0]) + part * (above(ends[1]) - above(ends[0]));
    let [mut low, mut high] = ends;
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        match above(middle) > wanted {
            true => low = middle,
            false => high = middle,
        }
    }
    if turn { -high } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(codes: &Codes, number: usize) -> Vec<f64> {
        let mut drawn: Vec<f64> = (0..4000)
            .map(|image| f64::from(code(codes, 3, image, 5)[number]))
            .collect();
        drawn.sort_by(f64::total_cmp);
        drawn
    }

    /// Kolmogorov and Smirnov's distance from the normal distribution between two bounds.
    fn distance(drawn: &[f64], [low, high]: [f64; 2]) -> f64 {
        let all = above(low) - above(high);
        let count = drawn.len() as f64;
        let off = drawn.iter().enumerate().map(|(i, z)| {
            let below = (above(low) - above(*z)) / all;
            (below - i as f64 / count)
                .abs()
                .max((below - (i + 1) as f64 / count).abs())
        });
        off.fold(0.0, f64::max)
    }

    #[test]
    fn codes_are_normal_between_their_bounds() {
        // 1.95 / sqrt(n): one set in a thousand is farther.
        let most = 1.95 / 4000f64.sqrt();
        let whole = Codes::default();
        for number in 0..5 {
            let far = distance(&sorted(&whole, number), [-40.0, 40.0]);
            assert!(far < most, "{number}: {far}");
        }
        for [low, high] in [
            [0.75, 1.0],
            [-1.0, -0.75],
            [-0.2, 3.0],
            [4.0, f64::INFINITY],
            [f64::NEG_INFINITY, -4.0],
        ] {
            let number = 3;
            let bounds = Codes::Drawn(vec![Latent { number, low, high }]);
            let drawn = sorted(&bounds, number);
            assert!(drawn[0] >= low - 1e-6 && drawn[3999] <= high + 1e-6);
            let far = distance(&drawn, [low, high]);
            assert!(far < most, "{low} to {high}: {far}");
            // The others are what they are without bounds.
            let [a, b] = [&whole, &bounds].map(|codes| code(codes, 3, 7, 5));
            assert!(a[..3] == b[..3] && a[4] == b[4]);
        }
        let fixed = Codes::Drawn(vec![Latent {
            number: 1,
            low: 2.5,
            high: 2.5,
        }]);
        assert_eq!(code(&fixed, 3, 7, 5)[1], 2.5);
    }

    #[test]
    fn lines_and_rows_are_what_was_given() {
        let line = Codes::Line {
            ends: [vec![0.0, 1.0], vec![2.0, -1.0]],
            images: 10..15,
        };
        let codes: Vec<Vec<f32>> = (10..15).map(|image| code(&line, 3, image, 2)).collect();
        assert_eq!(
            codes.concat(),
            [0.0, 1.0, 0.5, 0.5, 1.0, 0.0, 1.5, -0.5, 2.0, -1.0]
        );
        let rows = Codes::Rows(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0].into());
        assert_eq!(code(&rows, 3, 1, 2), [3.0, 4.0]);
        assert_eq!(code(&rows, 3, 5, 2), [5.0, 6.0]);
    }
}
