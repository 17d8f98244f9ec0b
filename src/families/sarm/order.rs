//! The order in which pixels are drawn, and its cut into stages.

use super::config::{ModelConfig, OrderConfig, OrderKind};
use crate::data::ImageSize;
use crate::random;
use crate::random::Purpose;

/// Row-major pixel indices of the whole image in drawing order.
///
/// The spiral is the original software's: clockwise from the top-left corner inwards, then reversed.
/// On 25 x 25 it starts (12,12) (12,11) (13,11) (13,12) .. and ends (0,2) (0,1) (0,0).
fn way(size: ImageSize, order: &OrderConfig) -> Vec<u16> {
    let ImageSize { height, width } = size;
    let pixels = height * width;
    match order.kind {
        OrderKind::Rows => (0..pixels).map(|i| i as u16).collect(),
        OrderKind::Columns => (0..pixels)
            .map(|i| (i % height * width + i / height) as u16)
            .collect(),
        OrderKind::Random => random::permutation(order.seed, Purpose::Order, 0, pixels)
            .into_iter()
            .map(|i| i as u16)
            .collect(),
        OrderKind::ReverseSpiral => inward_spiral(size),
        OrderKind::Spiral => {
            let mut way = inward_spiral(size);
            way.reverse();
            way
        }
    }
}

fn inward_spiral(size: ImageSize) -> Vec<u16> {
    let ImageSize { height, width } = size;
    let mut way = Vec::with_capacity(height * width);
    // Half-open bounds of what is left.
    let (mut top, mut bottom, mut left, mut right) = (0, height, 0, width);
    while top < bottom && left < right {
        way.extend((left..right).map(|c| top * width + c));
        top += 1;
        way.extend((top..bottom).map(|r| r * width + right - 1));
        right -= 1;
        if top < bottom {
            bottom -= 1;
            way.extend((left..right).rev().map(|c| bottom * width + c));
        }
        if left < right {
            way.extend((top..bottom).rev().map(|r| r * width + left));
            left += 1;
        }
    }
    way.into_iter().map(|i| i as u16).collect()
}

/// Whether a pixel lies in the centred square of side `square`.
///
/// On sides of the other parity the square leans down and left, as the spiral's first pixels do.
fn in_square(size: ImageSize, square: usize, pixel: u16) -> bool {
    let (row, column) = (pixel as usize / size.width, pixel as usize % size.width);
    let top = (size.height - square).div_ceil(2);
    let left = (size.width - square) / 2;
    (top..top + square).contains(&row) && (left..left + square).contains(&column)
}

/// Pixels of each stage in drawing order, row-major indices.
///
/// `config` has passed [`ModelConfig::check`]: squares grow and fit.
pub fn stages(config: &ModelConfig) -> Vec<Vec<u16>> {
    let size = config.image;
    let mut left = way(size, &config.order);
    config
        .stage
        .iter()
        .map(|stage| match stage.square {
            None => std::mem::take(&mut left),
            Some(square) => {
                let (inside, outside) = left
                    .iter()
                    .partition::<Vec<u16>, _>(|p| in_square(size, square, **p));
                left = outside;
                inside
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: usize, width: usize) -> ImageSize {
        ImageSize { height, width }
    }

    #[test]
    fn spiral_of_jets_is_the_original() {
        let spiral = way(size(25, 25), &OrderConfig::default());
        let start: Vec<_> = spiral[..10].iter().map(|p| (p / 25, p % 25)).collect();
        assert_eq!(
            start,
            [
                (12, 12),
                (12, 11),
                (13, 11),
                (13, 12),
                (13, 13),
                (12, 13),
                (11, 13),
                (11, 12),
                (11, 11),
                (11, 10)
            ]
        );
        assert_eq!(spiral[622..], [2, 1, 0]);
    }

    #[test]
    fn every_order_visits_every_pixel_once() {
        for kind in [
            OrderKind::Spiral,
            OrderKind::ReverseSpiral,
            OrderKind::Rows,
            OrderKind::Columns,
            OrderKind::Random,
        ] {
            for (h, w) in [(1, 1), (1, 7), (7, 1), (2, 2), (5, 8), (8, 5), (32, 32)] {
                let mut way = way(size(h, w), &OrderConfig { kind, seed: 5 });
                way.sort_unstable();
                assert!(
                    way.iter().copied().eq(0..(h * w) as u16),
                    "{kind:?} {h} {w}"
                );
            }
        }
    }

    #[test]
    fn first_pixels_of_the_spiral_fill_the_centred_squares() {
        for side in [25, 32] {
            let spiral = way(size(side, side), &OrderConfig::default());
            for square in 1..=side {
                assert!(
                    spiral[..square * square].iter().all(|p| in_square(
                        size(side, side),
                        square,
                        *p
                    )),
                    "{side} {square}"
                );
            }
        }
    }
}
