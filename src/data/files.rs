//! Several files as one data set.

use std::path::{Path, PathBuf};

use super::{DataError, Dataset, ReadOptions, Selection, once, read};

/// A file that images of a data set come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// How many of the data set's images come from it.
    pub images: usize,
    /// Which generated images it holds, if it says so.
    pub run: Option<Run>,
    /// Rows of images that were never written, first and last: HDF5 gives zeros for them.
    pub unwritten: Vec<[u64; 2]>,
}

/// Generated images: row r of the file is image `first + r` of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What else the images follow from: model, seed, conditions, arithmetic.
    pub of: String,
    /// Number of the file's first image.
    pub first: u64,
}

impl Dataset {
    /// The file that image `i` comes from, and its row there; `None` for images made in memory.
    pub fn place(&self, i: usize) -> Option<(&Origin, u64)> {
        let mut end = 0;
        let origin = self.origins.iter().find(|origin| {
            end += origin.images;
            i < end
        })?;
        Some((origin, *self.rows.get(i)?))
    }
}

/// The images of all files, as if they were one. A column that a file does not have is dropped from the others.
///
/// # Errors
/// As [`read`], and where images of the files differ in size.
pub fn read_all(paths: &[PathBuf], options: &ReadOptions) -> Result<Dataset, DataError> {
    let mut all: Option<Dataset> = None;
    for path in paths {
        let mut options = options.clone();
        if let Some(all) = &all {
            options.size = Some((all.images.height(), all.images.width()));
            options.limit = options.limit.map(|n| n - all.images.len());
            if options.limit == Some(0) {
                break;
            }
        }
        let more = read(path, &options)?;
        match &mut all {
            None => all = Some(more),
            Some(all) => {
                if all.about.unit != more.about.unit {
                    return Err(DataError::Units {
                        path: path.clone(),
                        unit: more.about.unit.to_string(),
                        others: all.about.unit.to_string(),
                    });
                }
                let mut more = more;
                numbers_of_names(all, &more, &options.selections, path)?;
                all.agree(&mut more)?;
                for name in all.extend(more) {
                    once::warn(format!(
                        "'{name}' is not used: not all of {} have it (a column counts where every file has it)",
                        joined(paths)
                    ));
                }
            }
        }
    }
    let all = all.unwrap_or_default();
    if let (Some(weights), Some(name)) = (&all.weights, &options.file.weights) {
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        if sum.is_nan() || sum <= 0.0 {
            return Err(DataError::Weights {
                files: joined(paths),
                name: name.clone(),
                sum,
            });
        }
    }
    Ok(all)
}

/// Refuse to select by the number of a name where files number their names differently.
fn numbers_of_names(
    all: &Dataset,
    more: &Dataset,
    selections: &[Selection],
    path: &Path,
) -> Result<(), DataError> {
    for selection in selections.iter().filter(|s| s.text.is_none()) {
        let [a, b] = [all, more].map(|data| data.about.names.get(&selection.name));
        if a != b {
            let shown =
                |names: Option<&Vec<String>>| names.map_or("numbers".to_string(), |n| n.join(", "));
            return Err(DataError::SelectedNumber {
                path: path.to_path_buf(),
                selection: selection.to_string(),
                found: shown(b),
                others: shown(a),
            });
        }
    }
    Ok(())
}

/// Names of files in a line.
pub(crate) fn joined(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|p| format!("'{}'", p.display())).collect();
    names.join(", ")
}

/// The file of `path`, and the data set that is named with it: `FILE.h5:/group/name`.
pub(crate) fn split(path: &Path) -> (PathBuf, Option<String>) {
    let whole = || (path.to_path_buf(), None);
    if path.exists() {
        return whole();
    }
    let Some(text) = path.to_str() else {
        return whole();
    };
    match text.rsplit_once(":/") {
        Some((file, name)) if !file.is_empty() && !name.is_empty() => {
            (file.into(), Some(name.to_string()))
        }
        _ => whole(),
    }
}

/// The files that are meant by `paths`: each of them, or all that its pattern (`part_*.h5`, for shells that leave patterns
/// alone) matches, in ascending order. A file of that very name is no pattern.
///
/// # Errors
/// A pattern that makes no sense or matches no file.
pub fn matching(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut all = Vec::new();
    for path in paths {
        let (file, name) = split(path);
        let pattern = (file.to_str()).filter(|t| !file.exists() && t.contains(['*', '?', '[']));
        let Some(pattern) = pattern else {
            all.push(path.clone());
            continue;
        };
        let fail = |why: String| DataError::NoMatch {
            pattern: pattern.to_string(),
            why,
        };
        let found =
            glob::glob(pattern).map_err(|e| fail(format!("it is no pattern: {}", e.msg)))?;
        let before = all.len();
        for file in found {
            let file = file.map_err(|e| {
                DataError::io("read", e.path(), std::io::Error::other(e.to_string()))
            })?;
            all.push(match &name {
                // The colon and the slash again.
                Some(name) => PathBuf::from(format!("{}:/{name}", file.display())),
                None => file,
            });
        }
        if all.len() == before {
            return Err(fail("it is a pattern that matches nothing".into()));
        }
        all[before..].sort();
    }
    Ok(all)
}
