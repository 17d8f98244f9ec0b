//! A SARM in a checkpoint (docs/formats.md): its tensors, whole or packed, checked against its masks.

use half::bf16;
use safetensors::tensor::Dtype;

use super::packing::{pack, unpack};
use super::{ModelConfig, Sarm, TensorSpec};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::tensors::{Named, Numbers, Tensors};
use crate::family::ConfigError;

impl Tensors {
    /// A tensor like `spec`, under `name`. Its masked weights must be 0, as every engine relies on.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] where the tensor is missing, of another type or shape, holds a value that is not
    /// finite, or is not 0 where it is masked.
    pub fn masked(&self, name: &str, spec: &TensorSpec) -> Result<Vec<f32>, CheckpointError> {
        if spec.is_weight() && self.packed()? {
            let bytes = self.numbers(name, Dtype::BF16, &[spec.unmasked()])?;
            let numbers: Vec<bf16> = (bytes.chunks_exact(2))
                .map(|b| bf16::from_le_bytes([b[0], b[1]]))
                .collect();
            let values = unpack(spec, &numbers)
                .ok_or_else(|| self.damaged(format!("tensor '{name}' was cut short")))?;
            return self.finite(name, values);
        }
        let values = self.tensor(name, &spec.shape)?;
        match spec.row_beyond_mask(&values) {
            None => Ok(values),
            Some(row) => Err(self.damaged(format!(
                "tensor '{name}' has a masked weight that is not 0 in row {row}"
            ))),
        }
    }
}

impl Sarm {
    /// The model whose configuration, JSON, is in `file`; all parameters are 0.
    ///
    /// # Errors
    /// A configuration that makes no sense, or has more parameters than the file can hold.
    pub fn from_config(config: &str, file: &Tensors) -> Result<Self, CheckpointError> {
        let config: ModelConfig = serde_json::from_str(config)
            .map_err(|e| file.damaged(format!("its configuration does not parse: {e}")))?;
        config
            .check()
            .and_then(|()| config.check_complete())
            .map_err(|e: ConfigError| file.damaged(format!("its configuration: {e}")))?;
        // The parameters of a hostile configuration may not fit in memory: ask the file first.
        let expected = config.parameters();
        // Packed numbers have two bytes, and little more than half of them may be masked.
        let most = match file.packed()? {
            true => 3 * (file.bytes().len() as u64 / 2),
            false => file.bytes().len() as u64 / 4,
        };
        if expected > most {
            return Err(file.damaged(format!(
                "its configuration has {expected} parameters, more than the file can hold"
            )));
        }
        Sarm::new(config).map_err(|e| file.damaged(e.to_string()))
    }

    /// Its tensors in `file`, where their names have `prefix` before them.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, not finite, or not zero where it is masked.
    pub fn tensors_of(
        &self,
        file: &Tensors,
        prefix: &str,
    ) -> Result<Vec<Vec<f32>>, CheckpointError> {
        (self.tensors.iter())
            .map(|spec| file.masked(&format!("{prefix}{}", spec.name), spec))
            .collect()
    }

    /// Its tensors packed: some four times smaller, weights rounded to bfloat16. Biases stay as they are.
    pub fn packed_tensors(&self) -> Vec<Named<'_>> {
        (self.tensors.iter().zip(&self.parameters))
            .map(|(spec, values)| match spec.is_weight() {
                true => Named {
                    name: spec.name.clone(),
                    shape: vec![spec.unmasked()],
                    values: Numbers::Bf16(pack(spec, values)),
                },
                false => Named {
                    name: spec.name.clone(),
                    shape: spec.shape.clone(),
                    values: Numbers::F32(values),
                },
            })
            .collect()
    }
}
