//! Names inside a file, followed link by link: what stands in another file is opened like any file.

use std::collections::VecDeque;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use hdf5::sync::sync;
use hdf5_metno_sys::h5l::{
    H5L_TYPE_EXTERNAL, H5L_TYPE_HARD, H5L_TYPE_SOFT, H5L_info2_t, H5Lget_info2, H5Lget_val,
};
use hdf5_metno_sys::h5p::H5P_DEFAULT;

/// Links followed for one name: more are a circle.
const MOST_LINKS: usize = 32;
/// Bytes of a link's target.
const MOST_BYTES: usize = 1 << 16;

/// What a name in a group leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// An object.
    Hard,
    /// Another name of the same file.
    Soft(String),
    /// A name in another file.
    External { file: String, name: String },
    /// What only the program that wrote it knows.
    Other,
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// To an object of the same file, by a name without links.
    Here(String),
    /// To a name in another file.
    There { file: String, name: String },
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Nowhere {
    /// Nothing has that name.
    Missing,
    /// A link on the way is bad: why.
    Bad(String),
}

/// The link at `name`, which has no links before its last part.
pub(super) fn link(file: &hdf5::File, name: &str) -> Option<Link> {
    let c_name = CString::new(name).ok()?;
    let mut info = H5L_info2_t::default();
    // SAFETY: the identifier is that of an open file, the name ends with a null byte and `info` lives through the call;
    // `sync` holds the library's lock.
    let status =
        sync(|| unsafe { H5Lget_info2(file.id(), c_name.as_ptr(), &mut info, H5P_DEFAULT) });
    if status < 0 {
        return None;
    }
    if info.type_ == H5L_TYPE_HARD {
        return Some(Link::Hard);
    }
    if info.type_ != H5L_TYPE_SOFT && info.type_ != H5L_TYPE_EXTERNAL {
        return Some(Link::Other);
    }
    // SAFETY: of links that are not hard, the library sets the size.
    let size = unsafe { *info.u.val_size() };
    if size > MOST_BYTES {
        return Some(Link::Other);
    }
    let mut value = vec![0u8; size];
    // SAFETY: as above; the buffer has the size that is passed.
    let status = sync(|| unsafe {
        H5Lget_val(
            file.id(),
            c_name.as_ptr(),
            value.as_mut_ptr().cast(),
            size,
            H5P_DEFAULT,
        )
    });
    if status < 0 {
        return Some(Link::Other);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if info.type_ == H5L_TYPE_SOFT {
        let end = value.iter().position(|b| *b == 0).unwrap_or(size);
        return Some(Link::Soft(text(&value[..end])));
    }
    // A byte of version and flags, then two strings, each with a null byte.
    let mut strings = value.get(1..)?.split(|b| *b == 0);
    Some(match (strings.next(), strings.next()) {
        (Some(file), Some(name)) => Link::External {
            file: text(file),
            name: text(name),
        },
        _ => Link::Other,
    })
}

/// Follow `name` from the root group on, through soft links, to the end or to another file.
pub(super) fn follow(file: &hdf5::File, name: &str) -> Result<Place, Nowhere> {
    let parts = |name: &str| -> Vec<String> {
        (name.split('/').filter(|p| !p.is_empty() && *p != "."))
            .map(str::to_string)
            .collect()
    };
    let mut rest: VecDeque<String> = parts(name).into();
    let mut at = String::new();
    let mut followed = None;
    let mut count = 0;
    while let Some(part) = rest.pop_front() {
        let next = format!("{at}/{part}");
        let Some(found) = link(file, &next) else {
            return Err(match followed {
                None => Nowhere::Missing,
                Some(target) => {
                    Nowhere::Bad(format!("it is a link to '{target}', which is not there"))
                }
            });
        };
        count += usize::from(found != Link::Hard);
        if count > MOST_LINKS {
            return Err(Nowhere::Bad(
                "it is a link that leads back to itself".into(),
            ));
        }
        match found {
            Link::Hard => at = next,
            Link::Soft(target) => {
                if target.starts_with('/') {
                    at.clear();
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
                followed = Some(target);
            }
            Link::External { file, name } => {
                let rest: Vec<String> = rest.into();
                let name = [vec![name], rest].concat().join("/");
                return Ok(Place::There { file, name });
            }
            Link::Other => {
                return Err(Nowhere::Bad(
                    "it is a link of a kind that is not known".into(),
                ));
            }
        }
    }
    Ok(Place::Here(if at.is_empty() { "/".into() } else { at }))
}

/// The file that `name`, written in the file at `from`, means: as HDF5 looks for it, beside that file and then here.
pub(super) fn beside(from: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    let directory = from.parent().unwrap_or(Path::new(""));
    // The file may have been moved with its directory, also through a link of the file system.
    let real = from.canonicalize().ok();
    let real = real.as_deref().and_then(Path::parent);
    let last = name.file_name().map(|last| directory.join(last));
    let places = match name.is_absolute() {
        true => [Some(name.to_path_buf()), last, None],
        false => [
            Some(directory.join(name)),
            real.map(|r| r.join(name)),
            Some(name.to_path_buf()),
        ],
    };
    places.into_iter().flatten().find(|p| p.is_file())
}
