//! Safetensors files: writing them whole, reading them with suspicion.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use half::bf16;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

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

/// A named tensor to write.
pub struct Named<'a> {
    /// Name in the file.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Numbers<'a>,
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
///
/// # Errors
/// As [`write_atomically`].
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
///
/// # Errors
/// [`CheckpointError::Io`] where the temporary file beside `path` cannot be made, written, flushed or renamed; what was at
/// `path` is still there.
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
    ///
    /// # Errors
    /// [`CheckpointError::Io`] where the file cannot be read; what [`of`](Self::of) refuses.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        Self::of(path, bytes)
    }

    /// The file `bytes`; `path` is what errors call it.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] where the bytes are no safetensors file, or are cut short.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let (length, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| CheckpointError::Damaged {
                path: path.to_path_buf(),
                why: match other_kind(&bytes) {
                    Some(kind) => format!("it is {kind}, not safetensors"),
                    None => format!("{e}; it may be a truncated safetensors file"),
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
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] where there is no entry `key`.
    pub fn metadata(&self, key: &str) -> Result<&str, CheckpointError> {
        let found = self.header.metadata().as_ref().and_then(|m| m.get(key));
        found.map(String::as_str).ok_or_else(|| {
            self.damaged(format!(
                "its metadata has no '{key}', so it was not written by sarm"
            ))
        })
    }

    /// Refuse a file with a tensor in half precision, which no checkpoint has: another program saved it anew.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], with the tensor's name and type.
    pub fn check_types(&self) -> Result<(), CheckpointError> {
        let tensors = self.header.tensors();
        let halves = tensors.iter().filter(|(_, t)| t.dtype == Dtype::F16);
        match halves.min_by_key(|(name, _)| *name) {
            None => Ok(()),
            Some((name, tensor)) => Err(self.damaged(format!(
                "tensor '{name}' holds {:?}, a checkpoint holds F32, a packed one BF16 weights too; save it as float32",
                tensor.dtype
            ))),
        }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The f32 tensor `name`, which must have `shape`; every value finite.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] where the tensor is missing, of another type or shape, or holds a value that is not
    /// finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let values = self
            .numbers(name, Dtype::F32, shape)?
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        self.finite(name, values)
    }

    /// The bytes of the tensor `name`, which must be of this kind and shape.
    pub(crate) fn numbers(
        &self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<&[u8], CheckpointError> {
        let found: &TensorInfo = self
            .header
            .info(name)
            .ok_or_else(|| self.damaged(format!("tensor '{name}' is missing")))?;
        if found.dtype != dtype || found.shape != shape {
            return Err(self.damaged(format!(
                "tensor '{name}' is {:?} {:?}, its configuration asks for {dtype:?} {shape:?}",
                found.dtype, found.shape
            )));
        }
        let (from, to) = found.data_offsets;
        Ok(&self.bytes[self.start + from..self.start + to])
    }

    /// `values`, unless one of them is not finite.
    pub(crate) fn finite(&self, name: &str, values: Vec<f32>) -> Result<Vec<f32>, CheckpointError> {
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.damaged(format!("tensor '{name}' holds {} at {at}", values[at]))),
            None => Ok(values),
        }
    }
}
