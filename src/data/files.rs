//! Several files as one data set.

use std::path::PathBuf;

use super::{DataError, Dataset, ReadOptions, read};

/// A file that images of a data set come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// How many of the data set's images come from it.
    pub images: usize,
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
                for name in all.extend(more) {
                    log::warn!(
                        "'{name}' is not used: not all of {} have it (a column counts where every file has it)",
                        joined(paths)
                    );
                }
            }
        }
    }
    Ok(all.unwrap_or_default())
}

/// Names of files in a line.
pub(crate) fn joined(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|p| format!("'{}'", p.display())).collect();
    names.join(", ")
}
