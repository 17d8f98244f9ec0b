//! Pixels that a SARM gives no probability to.

use super::Sarm;
use crate::family::{End, EngineError};

/// Pixel number `pixel` of image `image` lies beyond `model`'s range.
pub(super) fn beyond(model: &Sarm, image: usize, pixel: usize, value: f32) -> EngineError {
    let width = model.config.image.width;
    let values = model.values();
    let side = values.excludes(value).unwrap_or(End::Upper);
    EngineError::Beyond {
        image,
        row: pixel / width,
        column: pixel % width,
        value,
        side,
        end: values.end(side),
    }
}
