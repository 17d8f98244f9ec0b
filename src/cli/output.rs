//! Outputs: refused before any work is done where they cannot be written, their directories made when they are.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Refuse an output file that exists, or that could not be written when the work is done. Nothing is left behind.
pub(super) fn check(path: &Path, force: bool) -> anyhow::Result<()> {
    if (path.as_os_str().to_string_lossy()).ends_with(std::path::is_separator) {
        anyhow::bail!("'{}' names a directory; name a file", path.display());
    }
    match path.symlink_metadata() {
        Ok(there) if !(there.is_file() || there.is_symlink()) => anyhow::bail!(
            "'{}' exists and is not a file (it is never replaced); choose another name",
            path.display()
        ),
        Ok(_) if !force => anyhow::bail!(
            "'{}' exists (nothing was written); choose another name or pass --force",
            path.display()
        ),
        _ => {}
    }
    probe(path)
}

/// Refuse an output whose directory, or the nearest above it that exists, takes no new file.
pub(super) fn probe(path: &Path) -> anyhow::Result<()> {
    let mut directory = parent(path);
    while directory.symlink_metadata().is_err() {
        directory = parent(&directory);
    }
    if !directory.is_dir() {
        anyhow::bail!(
            "cannot write '{}' ('{}' is not a directory); choose another name",
            path.display(),
            directory.display()
        );
    }
    // A name that no run and no other process has.
    let file = directory.join(format!(".sarm-{}.probe", std::process::id()));
    let made = std::fs::File::create(&file);
    std::fs::remove_file(&file).ok();
    if let Err(error) = made {
        anyhow::bail!(
            "cannot write '{}' (no file can be made in '{}': {error}); choose another place",
            path.display(),
            directory.display()
        );
    }
    Ok(())
}

/// Make the directories that lead to `path`.
pub(super) fn make_parents(path: &Path) -> anyhow::Result<()> {
    let directory = parent(path);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create '{}'", directory.display()))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        // The root has no parent, and is there.
        None => path.into(),
        Some(_) => ".".into(),
    }
}
