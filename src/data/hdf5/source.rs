//! A data file opened with suspicion: what it declares is checked before anything is allocated for it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hdf5::dataset::ChunkOpts;
use hdf5::{IndexType, IterationOrder, LocationType, dataset::Layout as Storage};

use super::chunks::Chunks;
use super::filters::{self, Filter};
use super::heap::Heaps;
use super::links::{self, Link, Nowhere, Place};
use super::properties::{fill, pipeline};
use super::reason;
use super::table::{Data, Table, Type};
use super::types::kind;
use crate::data::element::Element;
use crate::data::{DataError, numpy, slip, split};

/// Elements read at once, unless a chunk holds more.
pub(super) const BLOCK: usize = 1 << 20;

/// Files behind each other, by links and virtual data sets.
const MOST_DEPTH: usize = 8;
/// Files up to this size are looked through for heaps that make libhdf5 hang; opening a virtual data set reads them.
const LOOKED_THROUGH: u64 = 1 << 26;
/// Groups inside each other, and objects, that are looked at when images are looked for.
const MOST_GROUPS: usize = 6;
const MOST_OBJECTS: usize = 2000;

/// An open file and the names in its root group.
pub(super) struct Source {
    pub path: PathBuf,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// The file to libhdf5; `None` for arrays of numpy's.
    pub file: Option<hdf5::File>,
    /// Data set that was named with the file, after a colon.
    pub named: Option<String>,
    /// Files that led here.
    pub depth: usize,
    /// The file itself. It holds the lock for as long as this or a data set of it lives.
    pub raw: Rc<File>,
    /// Names in the root group.
    root: Vec<String>,
    /// The group of the images: what stands beside them is looked for there first.
    home: RefCell<String>,
    pub heaps: Rc<Heaps>,
}

/// Files without HDF5's own locks, which fail on network file systems that have none, and live on in any child process that
/// was started meanwhile. What is written has its name only when it is complete; what is read is locked by
/// [`Source::open`].
pub(super) fn unlocked() -> hdf5::FileBuilder {
    let mut builder = hdf5::File::with_options();
    builder.with_fapl(|access| access.file_locking(false));
    builder
}

impl Source {
    /// Open `path` for reading; a data set may be named with it, `FILE.h5:/group/name`.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_nested(path, 0)
    }

    /// Open a file that another one leads to.
    pub fn open_nested(path: &Path, depth: usize) -> Result<Self, DataError> {
        let (path, named) = split(path);
        let meta = std::fs::metadata(&path).map_err(|e| DataError::io("open", &path, e))?;
        let unreadable = |why: String| DataError::Unreadable {
            path: path.clone(),
            why,
        };
        if !meta.is_file() {
            return Err(unreadable("it is not a regular file".into()));
        }
        if depth > MOST_DEPTH {
            return Err(unreadable("files lead to each other without end".into()));
        }
        // HDF5 hides the operating system's reason for a file it may not read.
        let raw = File::open(&path).map_err(|e| DataError::io("open", &path, e))?;
        // A lock of our own, which no child process inherits. Where there are no locks, nothing is known of writers.
        if let Err(TryLockError::WouldBlock) = raw.try_lock_shared() {
            return Err(DataError::Busy {
                path: path.clone(),
                why: "another process is writing it",
                suggestion: "wait until it is closed",
            });
        }
        let raw = Rc::new(raw);
        let mut start = Vec::new();
        (raw.as_ref().take(16).read_to_end(&mut start))
            .map_err(|e| DataError::io("read", &path, e))?;
        let mut source = Self {
            bytes: meta.len(),
            path: path.clone(),
            file: None,
            named,
            depth,
            raw,
            root: Vec::new(),
            home: RefCell::new(String::new()),
            heaps: Rc::new(Heaps::none()),
        };
        if numpy::is_numpy(&start, &path) {
            source.root = numpy::names(&source.raw).map_err(|e| DataError::io("read", &path, e))?;
            return Ok(source);
        }
        let file = unlocked().open(&path).map_err(|e| {
            use hdf5::MinorErrorCode::NotHdf5;
            let why = reason(&e);
            if e.contains_minor(NotHdf5) {
                unreadable("it has no HDF5 signature".into())
            } else if why.contains("already open for") {
                // The mark of a writer in the superblock, which libraries since 1.10 set with `libver='latest'`.
                DataError::Busy {
                    path: path.clone(),
                    why: "it is marked as open for writing",
                    suggestion: "wait until its writer has closed it; if that was killed, 'h5clear -s' of the HDF5 tools removes the mark, and rows may be missing",
                }
            } else {
                unreadable(why)
            }
        })?;
        source.heaps = Rc::new(Heaps::of(&path, &file));
        if source.bytes <= LOOKED_THROUGH && !source.heaps.sound() {
            return Err(unreadable("a heap of it is damaged".into()));
        }
        source.root = listed(&file).map_err(|e| unreadable(reason(&e)))?;
        source.file = Some(file);
        Ok(source)
    }

    /// Say in which group the images are.
    pub fn settle(&self, group: &str) {
        *self.home.borrow_mut() = group.trim_matches('/').to_string();
    }

    /// The full name of what `name` means: beside the images, or from the root group on. `None` if there is nothing.
    pub fn meant(&self, name: &str) -> Option<String> {
        let home = self.home.borrow();
        let beside = (!home.is_empty()).then(|| format!("{home}/{name}"));
        let mut names = beside.into_iter().chain([name.to_string()]);
        names.find(|full| match &self.file {
            Some(file) => match links::follow(file, full) {
                Err(Nowhere::Missing) => false,
                // A link that leads nowhere is there, and is told so; what stands below it need not be.
                Ok(Place::There { file: other, name })
                    if full
                        .rsplit_once('/')
                        .is_some_and(|(group, _)| leaves(file, group)) =>
                {
                    self.linked(&other).is_some_and(|source| source.has(&name))
                }
                _ => true,
            },
            None => self.root.iter().any(|n| n == full),
        })
    }

    /// Whether there is a data set `name`, beside the images or from the root group on.
    pub fn has(&self, name: &str) -> bool {
        self.meant(name).is_some()
    }

    /// Names of what stands in the group of the images, as it is found by [`table`](Self::table).
    pub fn beside(&self) -> Vec<String> {
        let home = self.home.borrow();
        match home.is_empty() {
            true => self.root.clone(),
            false => self.inside(&home),
        }
    }

    /// Names in the group that `name` leads to.
    fn inside(&self, name: &str) -> Vec<String> {
        let Some(file) = &self.file else {
            return Vec::new();
        };
        match links::follow(file, name) {
            Ok(Place::Here(name)) => {
                (file.group(&name).and_then(|g| listed(&g))).unwrap_or_default()
            }
            Ok(Place::There { file, name }) => {
                (self.linked(&file)).map_or_else(Vec::new, |source| source.inside(&name))
            }
            Err(_) => Vec::new(),
        }
    }

    /// The file that a link of this one names, where it can be opened.
    fn linked(&self, file: &str) -> Option<Source> {
        Source::open_nested(&links::beside(&self.path, file)?, self.depth + 1).ok()
    }

    /// Whether `name` is a group.
    pub fn is_group(&self, name: &str) -> bool {
        let Some(file) = &self.file else {
            return false;
        };
        match links::follow(file, name) {
            Ok(Place::Here(name)) => {
                matches!(file.loc_type_by_name(&name), Ok(LocationType::Group))
            }
            Ok(Place::There { file, name }) => {
                (self.linked(&file)).is_some_and(|source| source.is_group(&name))
            }
            _ => false,
        }
    }

    /// Full names of all data sets, as far as they are looked for, those behind links too; of a group that a link leads to,
    /// those that stand in it where it is another file's: those of this file are found where they are.
    pub fn all(&self) -> Vec<String> {
        let Some(file) = &self.file else {
            return self.root.clone();
        };
        let mut found = Vec::new();
        let mut groups = vec![(String::new(), 0)];
        let mut looked = 0;
        while let Some((group, depth)) = groups.pop() {
            let names = match group.is_empty() {
                true => self.root.clone(),
                false => (file.group(&group).and_then(|g| listed(&g))).unwrap_or_default(),
            };
            for name in names {
                looked += 1;
                if looked > MOST_OBJECTS {
                    break;
                }
                let full = match group.is_empty() {
                    true => name,
                    false => format!("{group}/{name}"),
                };
                match links::link(file, &full) {
                    Some(Link::Hard) => match file.loc_type_by_name(&full) {
                        Ok(LocationType::Group) if depth < MOST_GROUPS => {
                            groups.push((full, depth + 1));
                        }
                        Ok(LocationType::Dataset) => found.push(full),
                        _ => {}
                    },
                    Some(_) if !self.is_group(&full) => found.push(full),
                    Some(Link::External { .. }) => {
                        let names = self.inside(&full).into_iter().take(MOST_OBJECTS);
                        let names = names.map(|name| format!("{full}/{name}"));
                        found.extend(names.filter(|name| !self.is_group(name)));
                    }
                    _ => {}
                }
            }
        }
        found.sort();
        found
    }

    /// What the link `name` leads to, for people; `None` for an object that is there itself.
    pub fn target(&self, name: &str) -> Option<String> {
        match links::link(self.file.as_ref()?, name)? {
            Link::Hard => None,
            Link::Soft(target) => Some(format!("link to '{target}'")),
            Link::External { file, name } => Some(format!("link to '{name}' of '{file}'")),
            Link::Other => Some("link of a kind that is not known".into()),
        }
    }

    /// A failure on data set `name`.
    pub fn fail(
        &self,
        name: &str,
        why: impl Into<String>,
        suggestion: impl Into<Cow<'static, str>>,
    ) -> DataError {
        DataError::DataSet {
            path: self.path.clone(),
            name: name.to_string(),
            why: why.into(),
            suggestion: suggestion.into(),
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

    /// That there is no data set `name`.
    pub fn missing(&self, name: &str) -> DataError {
        let all = self.all();
        let near: Vec<_> = (all.iter())
            .filter(|other| near(name, other.rsplit('/').next().unwrap_or(other)))
            .map(|n| format!("'{n}'"))
            .collect();
        DataError::Missing {
            path: self.path.clone(),
            name: name.to_string(),
            present: match all.is_empty() {
                true => "none".to_string(),
                false => all.join(", "),
            },
            suggestion: match near.is_empty() {
                true => "check the name".into(),
                false => format!("check the name, near to it are {}", near.join(", ")),
            },
        }
    }

    /// Open a data set, which may stand in the group of the images or be named from the root group on, and check that the
    /// file can hold what it declares.
    pub fn table(&self, name: &str) -> Result<Table, DataError> {
        let Some(full) = self.meant(name) else {
            return Err(self.missing(name));
        };
        let Some(file) = &self.file else {
            return self.array(name);
        };
        match links::follow(file, &full) {
            Ok(Place::Here(object)) => self.object(file, name, &full, &object),
            Ok(Place::There { file, name: inside }) => {
                let Some(path) = links::beside(&self.path, &file) else {
                    return Err(self.fail(
                        name,
                        format!("it is a link to '{inside}' of '{file}', which is not there"),
                        "put that file beside this one",
                    ));
                };
                let mut table = Source::open_nested(&path, self.depth + 1)?.table(&inside)?;
                table.from = Some(format!("link to '{inside}' of '{}'", path.display()));
                table.name = name.to_string();
                Ok(table)
            }
            Err(Nowhere::Missing) => Err(self.missing(name)),
            Err(Nowhere::Bad(why)) => {
                Err(self.fail(name, why, "mend the link, or name what it should lead to"))
            }
        }
    }

    /// An array of numpy's.
    fn array(&self, name: &str) -> Result<Table, DataError> {
        let found =
            numpy::open(&self.raw, name).map_err(|e| DataError::io("read", &self.path, e))?;
        let Some(array) = found else {
            return Err(self.missing(name));
        };
        let flat = (array.flat).map_err(|r| self.fail(name, r.why, r.suggestion))?;
        Ok(Table {
            name: name.to_string(),
            path: self.path.clone(),
            bytes: self.bytes,
            shape: flat.shape.clone(),
            chunk: None,
            element: flat.element.bytes,
            kind: Type::plain(flat.element),
            filters: match array.deflated {
                true => vec![Filter {
                    id: filters::DEFLATE,
                    values: Vec::new(),
                }],
                false => Vec::new(),
            },
            stored: array.stored,
            from: None,
            set: None,
            heaps: self.heaps.clone(),
            data: Data::Flat(flat),
        })
    }

    /// A data set of this file, by a name without links.
    fn object(
        &self,
        file: &hdf5::File,
        name: &str,
        full: &str,
        object: &str,
    ) -> Result<Table, DataError> {
        let set = file.dataset(object).map_err(|e| self.broken(name, &e))?;
        let dtype = set.dtype().map_err(|e| self.broken(name, &e))?;
        let shape = set.space().map_err(|e| self.broken(name, &e))?.shape();
        let plist = set.create_plist().map_err(|e| self.broken(name, &e))?;
        let (storage, chunk) = (plist.layout(), plist.chunk());
        let kind = kind(&dtype);
        let mut table = Table {
            name: name.to_string(),
            path: self.path.clone(),
            bytes: self.bytes,
            shape,
            chunk,
            element: dtype.size(),
            kind,
            filters: pipeline(&plist),
            stored: set.storage_size(),
            from: self.target(full),
            data: Data::Library(set.clone()),
            set: Some(set),
            heaps: self.heaps.clone(),
        };
        if storage == Storage::Virtual {
            self.virtual_rows(&mut table, full, &plist)?;
            return Ok(table);
        }
        let external = plist.get_external().map_err(|e| self.broken(name, &e))?;
        if !external.is_empty() {
            self.raw_data(&mut table, external)?;
            return Ok(table);
        }
        self.check_extent(&table, storage)?;
        if let (Storage::Chunked, Some(set), Some(chunk)) = (storage, &table.set, &table.chunk) {
            let index = self.chunk_index(&table, set, chunk)?;
            let opts = plist.chunk_opts();
            let ours = opts.is_none_or(|o: ChunkOpts| o.is_empty());
            // Texts are rows of bytes.
            let bytes = match table.kind.text {
                Some(text) if !text.variable => Some(Element::BYTE),
                _ => None,
            };
            let last = bytes.map(|_| table.element);
            match table.kind.plain.or(bytes) {
                Some(element) if ours => {
                    table.data = Data::Chunks(Chunks {
                        file: self.raw.clone(),
                        shape: table.shape.iter().copied().chain(last).collect(),
                        chunk: chunk.iter().copied().chain(last).collect(),
                        element,
                        filters: table.filters.clone(),
                        fill: fill(&plist, &dtype),
                        index,
                        last: RefCell::new(None),
                    });
                }
                // libhdf5 has only these.
                _ if table.filters.iter().all(|f| f.id <= filters::FLETCHER32) => {}
                _ => {
                    return Err(self.fail(
                        name,
                        format!("it holds packed {}", table.kind.name),
                        "write it again as integers or as floats of up to 64 bits",
                    ));
                }
            }
        }
        Ok(table)
    }
}

/// Whether `name` leads into another file.
fn leaves(file: &hdf5::File, name: &str) -> bool {
    matches!(links::follow(file, name), Ok(Place::There { .. }))
}

/// Names in a group, ascending.
fn listed(group: &hdf5::Group) -> hdf5::Result<Vec<String>> {
    let mut names: Vec<String> = group
        .links(IndexType::Name, IterationOrder::Native)?
        .into_iter()
        // Names come from the file unchecked; whatever is not UTF-8 must not travel on as a `str`.
        .map(|(name, _)| String::from_utf8_lossy(name.as_bytes()).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Whether somebody who typed `name` may have meant `other`.
fn near(name: &str, other: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let (a, b) = (name.to_lowercase(), other.to_lowercase());
    let part = a.len().min(b.len()) >= 3 && (a.contains(&b) || b.contains(&a));
    part || slip(&a, &b).is_some()
}
