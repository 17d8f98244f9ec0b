//! A model on disk: safetensors with the configuration as metadata (docs/formats.md).

use std::collections::BTreeMap;
use std::path::Path;

use half::bf16;
use safetensors::tensor::Dtype;
use sha2::{Digest, Sha256};

use super::packing::{pack, unpack};
use super::{ModelConfig, Sarm, TensorSpec};
use crate::checkpoint::tensors::{Named, Numbers, Tensors, write_tensors};
use crate::checkpoint::{CheckpointError, Record};
use crate::family::ConfigError;
use crate::prior::Prior;

/// What `format` says in the metadata of every file of this kind.
const FORMAT: &str = "sarm";
/// Version of the layout that this program writes.
const FORMAT_VERSION: &str = "1";
/// The metadata entry that describes [`Sarm::prior`], and what its tensors' names start with.
const PRIOR: &str = "prior";
/// What `packed` says in the metadata of a packed model.
const PACKED: &str = "bf16";

/// A checkpoint read from disk.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The model.
    pub model: Sarm,
    /// Where it came from.
    pub record: Record,
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
}

/// Name in a checkpoint of a tensor of density number `density` of the prior.
fn prior_name(density: usize, spec: &TensorSpec) -> String {
    format!("{PRIOR}.{density}.{}", spec.name)
}

/// What only a model's files have.
impl Tensors {
    /// Whether its weights are packed.
    fn packed(&self) -> Result<bool, CheckpointError> {
        match self.metadata("packed") {
            Err(_) => Ok(false),
            Ok(PACKED) => Ok(true),
            Ok(other) => Err(self.damaged(format!(
                "its weights are packed as '{other}', this program reads '{PACKED}'; use the version of sarm that wrote it"
            ))),
        }
    }

    /// A tensor like `spec`, under `name`. Its masked weights must be 0, as every engine relies on.
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

    /// The distribution of `model`'s conditions, if the file has one.
    fn prior(&self, model: &Sarm) -> Result<Option<Prior>, CheckpointError> {
        let Ok(header) = self.metadata(PRIOR) else {
            return Ok(None);
        };
        let wrong = |why| self.damaged(format!("its distribution of the conditions: {why}"));
        let mut prior = Prior::from_header(header, &model.config.condition.names).map_err(wrong)?;
        for (i, density) in prior.densities.iter_mut().enumerate() {
            let model = &mut density.model;
            for (spec, values) in model.tensors.iter().zip(&mut model.parameters) {
                let name = prior_name(i, spec);
                *values = self.tensor(&name, &spec.shape)?;
                if spec.row_beyond_mask(values).is_some() {
                    return Err(
                        self.damaged(format!("tensor '{name}' has a masked weight that is not 0"))
                    );
                }
            }
        }
        Ok(Some(prior))
    }
}

impl Sarm {
    /// Write the model to `path`.
    pub fn save(&self, path: &Path, record: &Record) -> Result<(), CheckpointError> {
        let tensors: Vec<Named> = self
            .tensors
            .iter()
            .zip(&self.parameters)
            .map(|(spec, values)| Named {
                name: spec.name.clone(),
                shape: spec.shape.clone(),
                values: Numbers::F32(values),
            })
            .chain(self.named_prior())
            .collect();
        write_tensors(path, &tensors, self.whole_metadata(record))
    }

    /// The tensors of its prior. They are never packed: they are few.
    fn named_prior(&self) -> impl Iterator<Item = Named<'_>> {
        let densities = self
            .prior
            .iter()
            .flat_map(|p| p.densities.iter().enumerate());
        densities.flat_map(|(i, density)| {
            let tensors = density.model.tensors.iter().zip(&density.model.parameters);
            tensors.map(move |(spec, values)| Named {
                name: prior_name(i, spec),
                shape: spec.shape.clone(),
                values: Numbers::F32(values),
            })
        })
    }

    /// Write the model to `path` with packed weights: some four times smaller, weights rounded to bfloat16. Biases stay
    /// as they are.
    pub fn save_packed(&self, path: &Path, record: &Record) -> Result<(), CheckpointError> {
        let tensors: Vec<Named> = self
            .tensors
            .iter()
            .zip(&self.parameters)
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
            .chain(self.named_prior())
            .collect();
        let mut metadata = self.whole_metadata(record);
        metadata.insert("packed".into(), PACKED.into());
        write_tensors(path, &tensors, metadata)
    }

    /// The metadata of a checkpoint of this model, its prior's left out.
    pub fn metadata(&self, record: &Record) -> BTreeMap<String, String> {
        let json = |v: Result<String, serde_json::Error>| v.unwrap_or_default();
        BTreeMap::from([
            ("format".into(), FORMAT.into()),
            ("format_version".into(), FORMAT_VERSION.into()),
            ("config".into(), json(serde_json::to_string(&self.config))),
            ("record".into(), json(serde_json::to_string(record))),
        ])
    }

    fn whole_metadata(&self, record: &Record) -> BTreeMap<String, String> {
        let mut metadata = self.metadata(record);
        if let Some(prior) = &self.prior {
            metadata.insert(PRIOR.into(), prior.header().unwrap_or_default());
        }
        metadata
    }

    /// A model without its parameters from a file's metadata.
    pub fn from_metadata(file: &Tensors) -> Result<(Sarm, Record), CheckpointError> {
        let format = file.metadata("format")?;
        if format != FORMAT {
            return Err(file.damaged(format!(
                "its format is '{format}', not '{FORMAT}', so it was not written by sarm"
            )));
        }
        let version = file.metadata("format_version")?;
        if version != FORMAT_VERSION {
            return Err(file.damaged(format!(
                "format version {version}, this program reads {FORMAT_VERSION}; use the version of sarm that wrote it"
            )));
        }
        let config: ModelConfig = serde_json::from_str(file.metadata("config")?)
            .map_err(|e| file.damaged(format!("its configuration does not parse: {e}")))?;
        config
            .check()
            .and_then(|()| config.check_complete())
            .map_err(|e: ConfigError| file.damaged(format!("its configuration: {e}")))?;
        let record = serde_json::from_str(file.metadata("record")?)
            .map_err(|e| file.damaged(format!("its training record does not parse: {e}")))?;
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
        let model = Sarm::new(config).map_err(|e| file.damaged(e.to_string()))?;
        Ok((model, record))
    }
}

impl Checkpoint {
    /// Read a checkpoint.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        Self::of(Tensors::read(path)?)
    }

    /// The checkpoint in a file's tensors.
    pub fn of(file: Tensors) -> Result<Self, CheckpointError> {
        let (mut model, record) = Sarm::from_metadata(&file)?;
        if file.metadata("progress").is_ok() {
            return Err(
                file.damaged("it is a training state; its model is model.safetensors beside it")
            );
        }
        for (spec, values) in model.tensors.iter().zip(&mut model.parameters) {
            *values = file.masked(&spec.name, spec)?;
        }
        model.prior = file.prior(&model)?;
        let sha256 = Sha256::digest(file.bytes())
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Ok(Self {
            model,
            record,
            sha256,
        })
    }
}
