//! A program without the feature `cuda`: there are no cards.

use std::sync::Arc;

use crate::device::DeviceError;
use crate::device::cuda::device::{Device, Properties};

/// Whether this program was built to use cards.
pub const BUILT: bool = false;

/// The cards of this machine, or why there are none.
///
/// # Errors
/// [`DeviceError::NotBuilt`].
pub fn cards() -> Result<Vec<Properties>, DeviceError> {
    Err(DeviceError::NotBuilt)
}

/// Card number `ordinal`, ready to work.
///
/// # Errors
/// [`DeviceError::NotBuilt`].
pub fn open(_ordinal: usize) -> Result<Arc<dyn Device>, DeviceError> {
    Err(DeviceError::NotBuilt)
}

/// The counter of a card's energy: there is none.
pub enum Energy {}

impl Energy {
    /// None: there are no cards.
    ///
    /// # Errors
    /// Always.
    pub fn of(_card: &Properties) -> Result<Self, String> {
        Err(DeviceError::NotBuilt.to_string())
    }

    /// Joules used.
    pub fn joules(&self) -> Option<f64> {
        match *self {}
    }
}
