//! What a SARM *is*: configuration, pixel order, degrees, parameters, checkpoint. Knows no engine.
/// placeholder until the next commit
#[derive(Debug, Clone)]
pub struct Model;
