//! Models that come with the program: `sarm generate --model jets-w` needs no file.
//!
//! They are packed checkpoints in `models/`, made by `scripts/pretrain` and built in, deflated by `build.rs`.

use std::io::Read;
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::checkpoint::Checkpoint;
use super::conditions::{Given, GivenError, Source};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::tensors::Tensors;
use crate::data::Selection;
use crate::physics::DEFAULT_RANGE;

/// A model of the program's own.
#[derive(Debug, Clone, Copy)]
pub struct Pretrained {
    /// What `--model` calls it.
    pub name: &'static str,
    /// Conditions that it is drawn under, unless told otherwise.
    pub given: &'static [(&'static str, f32)],
    /// Half-width of its images in eta and phi.
    pub range: f64,
    deflated: &'static [u8],
}

const JETS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jets.deflated"));
const MUONS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/muons.deflated"));

/// All of them: jets of W bosons, and of quarks and gluons; what lies around prompt muons, and those of bottom decays.
pub const MODELS: &[Pretrained] = &[
    Pretrained {
        name: "jets-w",
        given: &[("signal", 1.0)],
        range: DEFAULT_RANGE,
        deflated: JETS,
    },
    Pretrained {
        name: "jets-qcd",
        given: &[("signal", 0.0)],
        range: DEFAULT_RANGE,
        deflated: JETS,
    },
    Pretrained {
        name: "muons-iso",
        given: &[("signal", 1.0)],
        range: 0.4,
        deflated: MUONS,
    },
    Pretrained {
        name: "muons-bb",
        given: &[("signal", 0.0)],
        range: 0.4,
        deflated: MUONS,
    },
];

/// The model that `path` names: one of [`MODELS`], unless there is a file of that name.
pub fn named(path: &Path) -> Option<&'static Pretrained> {
    let found = MODELS.iter().find(|m| path.as_os_str() == m.name)?;
    (!path.exists()).then_some(found)
}

/// Half-width in eta and phi of the images of the model that `path` names; of a file, that of the published jets.
pub fn range(path: &Path) -> f64 {
    named(path).map_or(DEFAULT_RANGE, |own| own.range)
}

/// Why there is no model of a name.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that is there and no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No such file, and no shipped model of that name.
    #[error("{error}; models that come with sarm: {names}")]
    Missing {
        /// What the system said.
        error: CheckpointError,
        /// The models there are.
        names: String,
    },
}

/// The checkpoint at `path`, or the model of that name that comes with the program.
///
/// # Errors
/// See [`OpenError`].
pub fn open(path: &Path) -> Result<Checkpoint, OpenError> {
    if let Some(model) = named(path) {
        return Ok(model.checkpoint()?);
    }
    Checkpoint::read(path).map_err(|error| match path.exists() {
        true => error.into(),
        false => {
            let names: Vec<_> = MODELS.iter().map(|m| m.name).collect();
            let names = names.join(", ");
            OpenError::Missing { error, names }
        }
    })
}

/// The conditions that the name `path` stands for: a shipped model's class, nothing for a file.
pub fn conditions(path: &Path) -> Source {
    Source::Given(own(path).collect())
}

fn own(path: &Path) -> impl Iterator<Item = Given> + use<> {
    let given = named(path).map_or(&[][..], |own| own.given);
    given.iter().map(|(name, value)| Given {
        name: (*name).into(),
        value: *value,
    })
}

/// `list`, and the conditions that the name `path` stands for.
///
/// # Errors
/// [`GivenError::Own`] where the two differ.
pub fn given(path: &Path, list: &[Given]) -> Result<Vec<Given>, GivenError> {
    let mut list = list.to_vec();
    for own in own(path) {
        match list.iter().find(|g| g.name == own.name) {
            Some(g) if g.value != own.value => {
                return Err(GivenError::Own {
                    model: path.display().to_string(),
                    name: own.name,
                    value: own.value,
                    given: g.value,
                });
            }
            Some(_) => {}
            None => list.push(own),
        }
    }
    Ok(list)
}

impl Pretrained {
    /// The rows of a data file that it stands for: those of its class.
    pub fn selections(&self) -> impl Iterator<Item = Selection> + use<> {
        self.given.iter().map(|(name, value)| Selection {
            name: (*name).into(),
            low: f64::from(*value),
            high: f64::from(*value),
            text: None,
        })
    }

    /// The model.
    ///
    /// # Errors
    /// Never, unless the program is damaged.
    pub fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        let path = Path::new(self.name);
        let bytes = inflated(self.deflated).map_err(|source| CheckpointError::Io {
            action: "read",
            path: path.into(),
            source,
        })?;
        Checkpoint::of(&Tensors::of(path, bytes)?)
    }
}

/// The bytes of a checkpoint that `build.rs` has deflated: those of even places, then those of odd places.
fn inflated(deflated: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut planes = Vec::new();
    DeflateDecoder::new(deflated).read_to_end(&mut planes)?;
    let (even, odd) = planes.split_at(planes.len().div_ceil(2));
    let mut bytes = vec![0; planes.len()];
    for (to, from) in bytes.chunks_mut(2).zip(even) {
        to[0] = *from;
    }
    for (to, from) in bytes.chunks_exact_mut(2).zip(odd) {
        to[1] = *from;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_the_file() {
        for (name, deflated) in [("jets", JETS), ("muons", MUONS)] {
            let file = format!("{}/models/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
            assert!(inflated(deflated).unwrap() == std::fs::read(file).unwrap());
            assert!(inflated(&deflated[..deflated.len() / 2]).is_err());
        }
    }

    #[test]
    fn all_are_whole_trained_and_conditioned_as_they_say() {
        for model in MODELS {
            let checkpoint = model.checkpoint().unwrap();
            assert!(checkpoint.record.validation_nll.is_some(), "{}", model.name);
            let names = &checkpoint.model.conditions().names;
            let mut given = model.given.iter().map(|g| g.0);
            assert!(given.all(|g| names.iter().any(|n| n == g)));
            assert!(model.given.len() == names.len() || checkpoint.prior.is_some());
        }
    }
}
