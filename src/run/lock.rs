//! A file that only one process at a time holds; the lock goes with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A file that says that an output is being written, while it is: it goes with the value.
///
/// A killed run leaves the file, but nobody who holds it: the next one takes it over.
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// `None` when another process holds it.
    pub fn take(path: PathBuf) -> io::Result<Option<Self>> {
        let file = lock(&path)?;
        Ok(file.map(|file| Self { path, _file: file }))
    }
}

impl Drop for Lock {
    /// Still held while it goes.
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

/// Open or create `path` and lock it; another process may delete it between the two.
///
/// `None` when another process holds it. A file that nobody holds is no obstacle.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..100 {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems have no locks: better no protection than no run.
            Err(TryLockError::Error(e)) => log::warn!("cannot lock '{}' ({e})", path.display()),
        }
        if same_file(&file, path) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}
