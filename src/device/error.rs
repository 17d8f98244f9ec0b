//! Why a device could not do its work.

/// Why an engine could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A pixel that the likelihood gives no probability to.
    #[error("{0}")]
    OutOfRange(String),
    /// Images or conditions that are not of the model.
    #[error("{0}")]
    Mismatch(String),
    /// The device failed or is missing.
    #[error("{0}")]
    Device(String),
}
