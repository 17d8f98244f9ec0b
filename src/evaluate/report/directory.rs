//! A directory that appears whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ReportError;

fn io(path: &Path) -> impl FnOnce(io::Error) -> ReportError {
    let path = path.to_path_buf();
    move |source| ReportError::Io { path, source }
}

/// Make one directory.
pub(super) fn make(path: &Path) -> Result<(), ReportError> {
    fs::create_dir(path).map_err(io(path))
}

/// Write one file and push it to the disk.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let write = || {
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(io(path))
}

/// The directory's real place, when a report may go there.
pub(super) fn check(directory: &Path, force: bool) -> Result<PathBuf, ReportError> {
    let place = match fs::symlink_metadata(directory) {
        Ok(_) => fs::canonicalize(directory).map_err(io(directory))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => directory.to_path_buf(),
        Err(error) => return Err(io(directory)(error)),
    };
    if place.file_name().is_none() || (place.exists() && !place.is_dir()) {
        return Err(ReportError::Name(directory.to_path_buf()));
    }
    if place.is_dir() {
        let mut entries = fs::read_dir(&place).map_err(io(&place))?;
        if entries.next().is_some() {
            if !force {
                return Err(ReportError::Exists(directory.to_path_buf()));
            }
            if !place.join("metrics.json").is_file() {
                return Err(ReportError::NotAReport(directory.to_path_buf()));
            }
        }
    }
    Ok(place)
}

/// A hidden name beside `place`.
fn beside(place: &Path, role: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{role}-{}", std::process::id()));
    place.with_file_name(name)
}

/// Let `fill` write into a new directory, then give it the name `directory`.
pub(super) fn write(
    directory: &Path,
    force: bool,
    fill: impl FnOnce(&Path) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    let place = check(directory, force)?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(io(parent))?;
    }
    let (fresh, old) = (beside(&place, "new"), beside(&place, "old"));
    // A killed process of the same number may have left its own behind.
    let _ = fs::remove_dir_all(&fresh);
    let _ = fs::remove_dir_all(&old);
    make(&fresh)?;
    let swap = || -> Result<(), ReportError> {
        fill(&fresh)?;
        // Looked at again: drawing takes time, and someone may have written there meanwhile.
        check(directory, force)?;
        let replaced = place.is_dir();
        if replaced {
            fs::rename(&place, &old).map_err(io(&place))?;
        }
        fs::rename(&fresh, &place).map_err(|error| {
            if replaced {
                let _ = fs::rename(&old, &place);
            }
            io(&place)(error)
        })
    };
    let done = swap();
    let _ = fs::remove_dir_all(if done.is_ok() { &old } else { &fresh });
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(root: &Path) -> Result<(), ReportError> {
        put(&root.join("metrics.json"), b"{}")
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = (fs::read_dir(directory).unwrap())
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn appears_whole_is_refused_and_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let report = home.path().join("a/b/report");
        write(&report, false, fill).unwrap();
        assert!(matches!(
            write(&report, false, fill),
            Err(ReportError::Exists(_))
        ));
        fs::write(report.join("stale.svg"), "x").unwrap();
        write(&report, true, fill).unwrap();
        assert_eq!(names(&report), ["metrics.json"]);
        assert_eq!(names(report.parent().unwrap()), ["report"]);
    }

    #[test]
    fn force_spares_what_is_no_report() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(
            write(home.path(), true, fill),
            Err(ReportError::NotAReport(_))
        ));
        assert_eq!(names(home.path()), ["thesis.tex"]);
        assert!(matches!(
            check(&home.path().join("thesis.tex"), true),
            Err(ReportError::Name(_))
        ));
        assert!(check(Path::new("/"), true).is_err());
    }

    #[test]
    fn a_failure_leaves_nothing_and_keeps_the_old() {
        let home = tempfile::tempdir().unwrap();
        let report = home.path().join("report");
        let fail = |root: &Path| {
            put(&root.join("half"), b"x")?;
            Err(ReportError::Name(root.to_path_buf()))
        };
        assert!(write(&report, false, fail).is_err());
        assert!(names(home.path()).is_empty());
        fs::create_dir(&report).unwrap();
        write(&report, false, fill).unwrap();
        assert!(write(&report, true, fail).is_err());
        assert_eq!(names(&report), ["metrics.json"]);
        assert_eq!(names(home.path()), ["report"]);
    }
}
