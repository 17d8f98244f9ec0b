//! A whole model on disk: parameters, how its conditions are distributed, where it came from.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::checkpoint::tensors::{Named, Numbers, Tensors, write_tensors};
use crate::checkpoint::{CheckpointError, Header, Record};
use crate::families;
use crate::family::Model;
use crate::prior::Prior;
use crate::run::identity::hex;

/// A checkpoint read from disk.
#[derive(Debug)]
pub struct Checkpoint {
    /// The model.
    pub model: Box<dyn Model>,
    /// How its conditions are distributed: those that are not given are drawn from it. `None` in a model that has none
    /// or was not trained here.
    pub prior: Option<Prior>,
    /// Where it came from.
    pub record: Record,
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
}

/// `values` under the names of `model`'s tensors with `prefix` before them, to write.
pub(super) fn named<'a>(model: &dyn Model, prefix: &str, values: &'a [Vec<f32>]) -> Vec<Named<'a>> {
    (model.tensors().into_iter().zip(values))
        .map(|(tensor, values)| Named {
            name: format!("{prefix}{}", tensor.name),
            shape: tensor.shape,
            values: Numbers::F32(values),
        })
        .collect()
}

/// The header of a file of `model`.
pub(super) fn header(model: &dyn Model, record: &Record) -> Header {
    Header {
        family: model.family().into(),
        config: model.config_json(),
        record: record.clone(),
    }
}

fn write<'a>(
    path: &Path,
    mut tensors: Vec<Named<'a>>,
    prior: Option<&'a Prior>,
    mut metadata: BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    if let Some(prior) = prior {
        tensors.extend(prior.tensors());
        prior.describe(&mut metadata);
    }
    write_tensors(path, &tensors, metadata)
}

/// Write `model` to `path`.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save(
    path: &Path,
    model: &dyn Model,
    prior: Option<&Prior>,
    record: &Record,
) -> Result<(), CheckpointError> {
    let tensors = named(model, "", model.parameters());
    write(path, tensors, prior, header(model, record).metadata())
}

/// Write `model` to `path`, packed: see [`Model::packed`].
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_packed(
    path: &Path,
    model: &dyn Model,
    prior: Option<&Prior>,
    record: &Record,
) -> Result<(), CheckpointError> {
    let metadata = header(model, record).packed_metadata();
    write(path, model.packed(), prior, metadata)
}

impl Checkpoint {
    /// Read a checkpoint.
    ///
    /// # Errors
    /// A file that cannot be read, or is no checkpoint.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        Self::of(&Tensors::read(path)?)
    }

    /// The checkpoint in a file's tensors.
    ///
    /// # Errors
    /// A file that is no checkpoint.
    pub fn of(file: &Tensors) -> Result<Self, CheckpointError> {
        let header = Header::read(file)?;
        file.check_types()?;
        let mut model = families::model(&header, file)?;
        if file.metadata("progress").is_ok() {
            return Err(
                file.damaged("it is a training state; its model is model.safetensors beside it")
            );
        }
        let parameters = model.read(file, "")?;
        model.set_parameters(parameters);
        let prior = Prior::read(file, &model.conditions().names)?;
        let sha256 = hex(&Sha256::digest(file.bytes()).into());
        Ok(Self {
            model,
            prior,
            record: header.record,
            sha256,
        })
    }
}
