//! The metadata that every checkpoint has, whatever its family.

use std::collections::BTreeMap;

use super::tensors::Tensors;
use super::{CheckpointError, Record};

/// What `format` says in the metadata of every file of this kind.
const FORMAT: &str = "sarm";
/// Version of the layout that this program writes.
const FORMAT_VERSION: &str = "1";
/// The family of files that do not say: they are older than families.
pub const FIRST_FAMILY: &str = "sarm";
/// What `packed` says in the metadata of a packed model.
const PACKED: &str = "bf16";

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Family of the model.
    pub family: String,
    /// Its configuration, as the family wrote it.
    pub config: String,
    /// Where it came from and how good it was.
    pub record: Record,
}

impl Header {
    /// The header of `file`.
    ///
    /// # Errors
    /// A file of something else, or of another version.
    pub fn read(file: &Tensors) -> Result<Self, CheckpointError> {
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
        let record = serde_json::from_str(file.metadata("record")?)
            .map_err(|e| file.damaged(format!("its training record does not parse: {e}")))?;
        Ok(Self {
            family: file.metadata("family").unwrap_or(FIRST_FAMILY).into(),
            config: file.metadata("config")?.into(),
            record,
        })
    }

    /// As the metadata of a file.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("format".into(), FORMAT.into()),
            ("format_version".into(), FORMAT_VERSION.into()),
            ("family".into(), self.family.clone()),
            ("config".into(), self.config.clone()),
            (
                "record".into(),
                serde_json::to_string(&self.record).unwrap_or_default(),
            ),
        ])
    }

    /// The same for a file whose weights are packed.
    pub fn packed_metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.metadata();
        metadata.insert("packed".into(), PACKED.into());
        metadata
    }
}

impl Tensors {
    /// Whether its weights are packed.
    ///
    /// # Errors
    /// In a way that this program does not know.
    pub fn packed(&self) -> Result<bool, CheckpointError> {
        match self.metadata("packed") {
            Err(_) => Ok(false),
            Ok(PACKED) => Ok(true),
            Ok(other) => Err(self.damaged(format!(
                "its weights are packed as '{other}', this program reads '{PACKED}'; use the version of sarm that wrote it"
            ))),
        }
    }
}
