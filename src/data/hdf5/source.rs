//! An HDF5 file opened with suspicion: what it declares is checked before anything is allocated for it.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use hdf5::types::TypeDescriptor;
use hdf5::{IndexType, IterationOrder, LinkType, dataset::Layout as Storage};

use super::reason;
use crate::data::DataError;

/// Elements read at once, unless a chunk holds more.
pub(super) const BLOCK: usize = 1 << 20;

/// Most bytes of data for one byte of file: deflate reaches 1032, so more cannot have been stored.
const MOST_EXPANSION: u64 = 1100;
/// Added to every bound so that small files are never refused.
const SLACK: u64 = 1 << 20;

/// An open file and the names in its root group.
pub(super) struct Source {
    pub path: PathBuf,
    /// Size on disk in bytes.
    pub bytes: u64,
    pub file: hdf5::File,
    /// What [`heap::sound_in`](super::heap::sound_in) found: it takes a pass over the file.
    pub heaps_sound: OnceCell<bool>,
    links: Vec<(String, LinkType)>,
}

/// A data set that passed the checks.
pub(super) struct Table {
    pub name: String,
    pub set: hdf5::Dataset,
    pub shape: Vec<usize>,
    /// Chunk shape, when chunked.
    pub chunk: Option<Vec<usize>>,
    /// Bytes of one element as stored.
    pub element: usize,
}

/// Files without HDF5's own locks. They protect nothing here, since a file has its name only when it
/// is complete; they fail on network file systems that have none, and a lock lives on in any child
/// process that was started meanwhile.
pub(super) fn unlocked() -> hdf5::FileBuilder {
    let mut builder = hdf5::File::with_options();
    builder.with_fapl(|access| access.file_locking(false));
    builder
}

impl Source {
    /// Open `path` for reading.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let meta = std::fs::metadata(path).map_err(|e| DataError::io("open", path, e))?;
        let unreadable = |why: String| DataError::Unreadable {
            path: path.to_path_buf(),
            why,
        };
        if !meta.is_file() {
            return Err(unreadable("it is not a regular file".into()));
        }
        // HDF5 hides the operating system's reason for a file it may not read.
        std::fs::File::open(path).map_err(|e| DataError::io("open", path, e))?;
        let file = unlocked().open(path).map_err(|e| {
            use hdf5::MinorErrorCode::NotHdf5;
            unreadable(if e.contains_minor(NotHdf5) {
                "it has no HDF5 signature".into()
            } else {
                reason(&e)
            })
        })?;
        let mut links: Vec<_> = file
            .links(IndexType::Name, IterationOrder::Native)
            .map_err(|e| unreadable(reason(&e)))?
            .into_iter()
            // Names come from the file unchecked; whatever is not UTF-8 must not travel on as a `str`.
            .map(|(name, info)| {
                (
                    String::from_utf8_lossy(name.as_bytes()).into_owned(),
                    info.link_type,
                )
            })
            .collect();
        links.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self {
            path: path.to_path_buf(),
            bytes: meta.len(),
            file,
            heaps_sound: OnceCell::new(),
            links,
        })
    }

    /// Names in the root group.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the root group has `name`.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    /// A failure on data set `name`.
    pub fn fail(&self, name: &str, why: impl Into<String>, suggestion: &'static str) -> DataError {
        DataError::DataSet {
            path: self.path.clone(),
            name: name.to_string(),
            why: why.into(),
            suggestion,
        }
    }

    /// An HDF5 failure on data set `name`.
    pub fn broken(&self, name: &str, error: &hdf5::Error) -> DataError {
        self.fail(
            name,
            reason(error),
            "check that the file is complete, with h5dump for example",
        )
    }

    /// Most bytes of data that a file of this size can hold.
    pub fn most_bytes(&self) -> u64 {
        self.bytes
            .saturating_mul(MOST_EXPANSION)
            .saturating_add(SLACK)
    }

    /// Open a data set of the root group and check that the file can hold what it declares.
    pub fn table(&self, name: &str) -> Result<Table, DataError> {
        let Some((_, link)) = self.links.iter().find(|(n, _)| n == name) else {
            let present = match self.links.len() {
                0 => "none".to_string(),
                _ => self.names().collect::<Vec<_>>().join(", "),
            };
            return Err(DataError::Missing {
                path: self.path.clone(),
                name: name.to_string(),
                present,
            });
        };
        let elsewhere = |why| {
            self.fail(
                name,
                why,
                "gather the data in one file, with h5repack for example",
            )
        };
        if *link == LinkType::External {
            return Err(elsewhere("it is a link into another file"));
        }
        let set = self.file.dataset(name).map_err(|e| self.broken(name, &e))?;
        let dtype = set.dtype().map_err(|e| self.broken(name, &e))?;
        let shape = set.space().map_err(|e| self.broken(name, &e))?.shape();
        let plist = set.create_plist().map_err(|e| self.broken(name, &e))?;
        let (storage, chunk) = (plist.layout(), plist.chunk());
        if storage == Storage::Virtual || !plist.external().is_empty() {
            return Err(elsewhere("its values are kept in other files"));
        }
        let table = Table {
            name: name.to_string(),
            set,
            shape,
            chunk,
            element: dtype.size(),
        };
        self.check_extent(&table, storage)?;
        Ok(table)
    }

    /// Refuse extents that the file is too small to hold, before memory or time is spent on them.
    fn check_extent(&self, table: &Table, storage: Storage) -> Result<(), DataError> {
        let volume = |shape: &[usize]| {
            shape
                .iter()
                .try_fold(table.element as u64, |a, n| a.checked_mul(*n as u64))
        };
        let implausible = |what: String| {
            self.fail(
                &table.name,
                format!(
                    "it declares {what}, more than a file of {} bytes holds",
                    self.bytes
                ),
                "check that the file is complete and was written to the end",
            )
        };
        let most = match storage {
            Storage::Chunked => self.most_bytes(),
            _ => self.bytes,
        };
        if volume(&table.shape).is_none_or(|bytes| bytes > most) {
            return Err(implausible(format!("shape {:?}", table.shape)));
        }
        if let Some(chunk) = &table.chunk {
            if chunk.len() != table.shape.len() || chunk.contains(&0) {
                return Err(self.fail(&table.name, "its chunks make no sense", "write it again"));
            }
            if volume(chunk).is_none_or(|bytes| bytes > most) {
                return Err(implausible(format!("chunks of {chunk:?}")));
            }
            // A stored chunk takes at least 8 bytes of index: more chunks only slow the reading down.
            let chunks = table
                .shape
                .iter()
                .zip(chunk)
                .try_fold(1u64, |a, (n, c)| a.checked_mul(n.div_ceil(*c) as u64));
            if chunks.is_none_or(|n| n > self.bytes / 8 + 1024) {
                return Err(implausible(format!("too many chunks of {chunk:?}")));
            }
            self.check_chunks(table)?;
        }
        Ok(())
    }

    /// Refuse what libhdf5 (2.2 and before) is not safe with: filters whose decoders trust their
    /// input, and chunks too short for a checksum, which it reads before their start.
    fn check_chunks(&self, table: &Table) -> Result<(), DataError> {
        use hdf5::filters::Filter as F;
        let refuse = |why: String| {
            let how = "check that the file is complete, or rewrite it with gzip, with h5repack for example";
            Err(self.fail(&table.name, why, how))
        };
        let filters = table.set.filters();
        for (at, filter) in filters.iter().enumerate() {
            let known = match filter {
                F::Deflate(_) | F::Shuffle => true,
                F::Fletcher32 => at + 1 == filters.len(),
                _ => false,
            };
            if !known {
                return refuse(format!("its filters are {filters:?}"));
            }
        }
        let least = match filters.last() {
            Some(F::Fletcher32) => 4,
            _ => 1,
        };
        let mut bad = None;
        table
            .set
            .chunks_visit(|info| {
                let end = info.addr.checked_add(info.size);
                if info.size < least || end.is_none_or(|end| end > self.bytes) {
                    bad = Some((info.size, info.addr));
                }
                i32::from(bad.is_some())
            })
            .map_err(|e| self.broken(&table.name, &e))?;
        match bad {
            None => Ok(()),
            Some((size, at)) => refuse(format!("a chunk of {size} bytes at byte {at}")),
        }
    }
}

impl Table {
    /// The type's name: `float32`, `uint8` ..
    pub fn type_name(&self) -> String {
        let Ok(dtype) = self.set.dtype() else {
            return "unreadable".into();
        };
        let big = match dtype.byte_order() {
            hdf5::datatype::ByteOrder::BigEndian if self.element > 1 => " big-endian",
            _ => "",
        };
        let name = match (self.small_descriptor(), self.element) {
            (Some(d), _) => d.to_string(),
            (None, 2) if dtype.conv_to::<f64>().is_some() => "float16".into(),
            (None, n) => format!("{n}-byte values"),
        };
        name + big
    }

    /// The descriptor of a type of up to 8 bytes.
    ///
    /// Wider types are never described: the binding reads enumeration members into 8 bytes whatever
    /// their width, and no number that is read here is wider.
    fn small_descriptor(&self) -> Option<TypeDescriptor> {
        if self.element > 8 {
            return None;
        }
        self.set.dtype().ok()?.to_descriptor().ok()
    }

    /// Whether the elements are numbers that convert to floats.
    pub fn is_numeric(&self) -> bool {
        use TypeDescriptor as T;
        match self.small_descriptor() {
            Some(T::Integer(_) | T::Unsigned(_) | T::Float(_) | T::Boolean | T::Enum(_)) => true,
            Some(_) => false,
            // float16 has no descriptor in the binding, yet HDF5 converts it
            None => {
                self.element == 2 && self.set.dtype().is_ok_and(|d| d.conv_to::<f64>().is_some())
            }
        }
    }

    /// Whether the elements are floats of 32 bits or fewer.
    pub fn is_single(&self) -> bool {
        use hdf5::types::FloatSize;
        match self.small_descriptor() {
            Some(TypeDescriptor::Float(size)) => size == FloatSize::U4,
            Some(_) => false,
            None => self.element == 2,
        }
    }

    /// Rows to read at once: whole chunks, and about `target` elements of `per_row` each.
    pub fn block_rows(&self, per_row: usize, target: usize) -> usize {
        let wanted = (target / per_row.max(1)).max(1);
        match self.chunk.as_ref().and_then(|c| c.first()) {
            Some(&rows) => wanted.div_ceil(rows).max(1).saturating_mul(rows),
            None => wanted,
        }
    }
}
