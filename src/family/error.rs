//! Why a model could not be trained, drawn from or scored.

use super::model::End;
use crate::device::DeviceError;

/// Why an engine could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A pixel that the likelihood gives no probability to.
    #[error(
        "image {image}, pixel ({row}, {column}) holds {value} (the model's range {} {}); {}",
        if *side == End::Lower { "begins at" } else { "ends at" },
        side.written(*end),
        match side {
            End::Lower => "set such pixels to zero, or train with a lower likelihood.lower",
            End::Upper => "train with a higher maximum",
        }
    )]
    Beyond {
        /// Number of the image among those that were given.
        image: usize,
        /// The pixel's row.
        row: usize,
        /// Its column.
        column: usize,
        /// What it holds.
        value: f32,
        /// Which end of the model's range it lies beyond.
        side: End,
        /// The smallest or largest pixel that has a probability.
        end: f64,
    },
    /// Images or conditions that are not of the model.
    #[error("{0}")]
    Mismatch(String),
    /// The device failed or is missing.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl EngineError {
    /// Of a device that counts all images alike.
    pub(crate) fn equal_weights() -> Self {
        Self::Mismatch(
            "this device trains on images of equal weight alone; train with --device cpu".into(),
        )
    }
}
