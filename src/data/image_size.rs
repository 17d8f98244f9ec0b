//! The size of an image.

use serde::{Deserialize, Serialize};

/// Size of an image in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageSize {
    /// Pixels in an image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}
