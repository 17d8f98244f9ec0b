//! A model on disk: safetensors with the configuration as metadata (docs/formats.md).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use half::bf16;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::packing::{pack, unpack};
use super::{ConfigError, Model, ModelConfig, Prior, TensorSpec};

/// What `format` says in the metadata of every file of this kind.
const FORMAT: &str = "sarm";
/// Version of the layout that this program writes.
const FORMAT_VERSION: &str = "1";
/// The metadata entry that describes [`Model::prior`], and what its tensors' names start with.
const PRIOR: &str = "prior";
/// What `packed` says in the metadata of a packed model.
const PACKED: &str = "bf16";

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system said no.
    #[error("cannot {action} '{}' ({source})", path.display())]
    Io {
        /// read, write, rename
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Not a checkpoint, or a damaged one.
    #[error("'{}' is not a usable checkpoint ({why})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Where a model came from and how good it was: kept beside it, shown by `sarm info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// File that the images came from.
    pub data: String,
    /// Selections that were made on it, as typed.
    pub select: Vec<String>,
    /// Per-row quantities that had one single value in the training data, `signal` above all.
    pub constants: std::collections::BTreeMap<String, f32>,
    /// Images trained on and held out.
    pub images: [usize; 2],
    /// Epochs behind these parameters.
    pub epochs: usize,
    /// Mean negative log-likelihood in nats per image over the last epoch's steps.
    pub train_nll: Option<f64>,
    /// The same on the held-out images.
    pub validation_nll: Option<f64>,
    /// Version of the program.
    pub version: String,
}

/// A checkpoint read from disk.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The model.
    pub model: Model,
    /// Where it came from.
    pub record: Record,
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
}

/// A named tensor to write.
pub struct Named<'a> {
    /// Name in the file.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Numbers<'a>,
}

/// Name in a checkpoint of a tensor of density number `density` of the prior.
fn prior_name(density: usize, spec: &TensorSpec) -> String {
    format!("{PRIOR}.{density}.{}", spec.name)
}

/// Numbers of a tensor to write.
pub enum Numbers<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// Packed.
    Bf16(Vec<bf16>),
}

impl Numbers<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Numbers::F32(_) => Dtype::F32,
            Numbers::Bf16(_) => Dtype::BF16,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Numbers::F32(values) => 4 * values.len(),
            Numbers::Bf16(values) => 2 * values.len(),
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Numbers::F32(values) => to.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Numbers::Bf16(values) => to.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        }
    }
}

/// Write tensors and metadata: to a temporary name, flushed, renamed.
///
/// The header is put together here: the safetensors crate keeps metadata in a hash map and so writes
/// its keys in another order every time, and the same model must be the same file.
pub fn write_tensors(
    path: &Path,
    tensors: &[Named],
    metadata: BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut end = 0;
    for t in tensors {
        let start = end;
        end += t.values.bytes();
        header.insert(
            t.name.clone(),
            serde_json::json!({"dtype": t.values.dtype(), "shape": t.shape, "data_offsets": [start, end]}),
        );
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    // Tensors start on a multiple of 8, as the format recommends.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut content = Vec::with_capacity(8 + header.len() + end);
    content.extend((header.len() as u64).to_le_bytes());
    content.extend(header);
    for t in tensors {
        t.values.write(&mut content);
    }
    write_atomically(path, &content)
}

/// Put `content` at `path` so that a reader sees the old file or the whole new one, after a power cut too.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), CheckpointError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let io = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| CheckpointError::Io {
            action,
            path,
            source,
        }
    };
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let renamed = written
        .map_err(io("write", path))
        .and_then(|()| std::fs::rename(&temporary, path).map_err(io("rename", path)));
    if renamed.is_err() {
        // Best effort: the error that matters is the one being reported.
        let _ = std::fs::remove_file(&temporary);
    } else {
        sync_directory_of(path);
    }
    renamed
}

/// Make the name of `path` survive a power cut. Best effort: not every file system can, and the file is whole.
#[cfg(unix)]
fn sync_directory_of(path: &Path) {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let directory = std::fs::File::open(parent.unwrap_or(Path::new(".")));
    directory.and_then(|d| d.sync_all()).ok();
}

#[cfg(not(unix))]
fn sync_directory_of(_: &Path) {}

/// A file's tensors and metadata, checked as far as safetensors goes.
pub struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Metadata,
    /// Where the tensors' bytes start.
    start: usize,
}

/// What `bytes` are when they are plainly no safetensors file.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89HDF\r\n\x1a\n") {
        return Some("an HDF5 file");
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = |c: char| !c.is_control() || c.is_ascii_whitespace();
    (!text.is_empty() && text.chars().all(plain)).then_some("a text file")
}

impl Tensors {
    /// Read `path`.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        Self::of(path, bytes)
    }

    /// The file `bytes`; `path` is what errors call it.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let (length, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| CheckpointError::Damaged {
                path: path.to_path_buf(),
                why: match other_kind(&bytes) {
                    Some(kind) => format!("it is {kind}, not safetensors"),
                    None => format!("{e}; is it a truncated safetensors file?"),
                },
            })?;
        Ok(Self {
            path: path.to_path_buf(),
            bytes,
            header,
            start: 8 + length,
        })
    }

    /// An error about this file.
    pub fn damaged(&self, why: impl Into<String>) -> CheckpointError {
        CheckpointError::Damaged {
            path: self.path.clone(),
            why: why.into(),
        }
    }

    /// A metadata entry.
    pub fn metadata(&self, key: &str) -> Result<&str, CheckpointError> {
        let found = self.header.metadata().as_ref().and_then(|m| m.get(key));
        found.map(String::as_str).ok_or_else(|| {
            self.damaged(format!(
                "no `{key}` in its metadata; was it written by sarm?"
            ))
        })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

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
                .ok_or_else(|| self.damaged(format!("tensor `{name}` was cut short")))?;
            return self.finite(name, values);
        }
        let values = self.tensor(name, &spec.shape)?;
        match spec.row_beyond_mask(&values) {
            None => Ok(values),
            Some(row) => Err(self.damaged(format!(
                "tensor `{name}` has a masked weight that is not 0 in row {row}"
            ))),
        }
    }

    /// The f32 tensor `name`, which must have `shape`; every number finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let values = self
            .numbers(name, Dtype::F32, shape)?
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        self.finite(name, values)
    }

    /// The distribution of `model`'s conditions, if the file has one.
    fn prior(&self, model: &Model) -> Result<Option<Prior>, CheckpointError> {
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
                        self.damaged(format!("tensor `{name}` has a masked weight that is not 0"))
                    );
                }
            }
        }
        Ok(Some(prior))
    }

    /// The bytes of the tensor `name`, which must be of this kind and shape.
    fn numbers(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&[u8], CheckpointError> {
        let found: &TensorInfo = self
            .header
            .info(name)
            .ok_or_else(|| self.damaged(format!("tensor `{name}` is missing")))?;
        if found.dtype != dtype || found.shape != shape {
            return Err(self.damaged(format!(
                "tensor `{name}` is {:?} {:?}, its configuration asks for {dtype:?} {shape:?}",
                found.dtype, found.shape
            )));
        }
        let (from, to) = found.data_offsets;
        Ok(&self.bytes[self.start + from..self.start + to])
    }

    fn finite(&self, name: &str, values: Vec<f32>) -> Result<Vec<f32>, CheckpointError> {
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.damaged(format!("tensor `{name}` holds {} at {at}", values[at]))),
            None => Ok(values),
        }
    }
}

impl Model {
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
    pub fn from_metadata(file: &Tensors) -> Result<(Model, Record), CheckpointError> {
        let format = file.metadata("format")?;
        if format != FORMAT {
            return Err(file.damaged(format!(
                "its format is '{format}', not '{FORMAT}'; was it written by sarm?"
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
            true => 3 * (file.bytes.len() as u64 / 2),
            false => file.bytes.len() as u64 / 4,
        };
        if expected > most {
            return Err(file.damaged(format!(
                "its configuration has {expected} parameters, more than the file can hold"
            )));
        }
        let model = Model::new(config).map_err(|e| file.damaged(e.to_string()))?;
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
        let (mut model, record) = Model::from_metadata(&file)?;
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
