//! Colour scales, as a few anchor colours with straight lines between them.

use super::canvas::Rgb;

/// Perceptually even, dark blue to yellow (matplotlib's viridis).
pub(super) const VIRIDIS: [Rgb; 10] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 73, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [110, 206, 88],
    [181, 222, 43],
    [253, 231, 37],
];

/// Perceptually even, from dark violet over red to pale yellow (the upper part of matplotlib's
/// inferno): on a dark ground.
pub(super) const INFERNO: [Rgb; 9] = [
    [50, 18, 90],
    [87, 16, 110],
    [120, 28, 109],
    [165, 44, 96],
    [207, 68, 70],
    [237, 105, 37],
    [251, 155, 6],
    [247, 209, 61],
    [252, 255, 164],
];

/// The colour of a pixel on a dark ground, from 0, empty, to 1, the brightest: red, green, blue.
pub fn brightness(part: f64) -> Rgb {
    match part > 0.0 {
        true => pick(&INFERNO, part),
        false => DARK,
    }
}

/// Behind images, and empty pixels.
pub(super) const DARK: Rgb = [17, 13, 30];

/// Blue below, white at, red above zero (ColorBrewer's RdBu).
pub(super) const DIVERGING: [Rgb; 7] = [
    [33, 102, 172],
    [103, 169, 207],
    [209, 229, 240],
    [247, 247, 247],
    [253, 219, 199],
    [239, 138, 98],
    [178, 24, 43],
];

/// The colour at `part` of the scale, 0 to 1.
pub(super) fn pick(scale: &[Rgb], part: f64) -> Rgb {
    let last = scale.len().saturating_sub(1);
    let place = part.clamp(0.0, 1.0) * last as f64;
    let below = (place.floor() as usize).min(last.saturating_sub(1));
    let share = place - below as f64;
    let (Some(a), Some(b)) = (scale.get(below), scale.get((below + 1).min(last))) else {
        return [128; 3];
    };
    std::array::from_fn(|k| (f64::from(a[k]) * (1.0 - share) + f64::from(b[k]) * share) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_nonsense() {
        assert_eq!(pick(&VIRIDIS, 0.0), VIRIDIS[0]);
        assert_eq!(pick(&VIRIDIS, 1.0), VIRIDIS[9]);
        assert_eq!(pick(&DIVERGING, 0.5), DIVERGING[3]);
        for part in [f64::NAN, -3.0, 7.0, f64::INFINITY] {
            pick(&INFERNO, part);
        }
        assert_eq!(pick(&[], 0.3), [128; 3]);
    }
}
