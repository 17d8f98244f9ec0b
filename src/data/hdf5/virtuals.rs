//! Virtual data sets: rows that lie in other data sets, often of other files.
//!
//! libhdf5 gives fill values where a source is missing, shorter, or open elsewhere, without a word. Here every source is
//! opened and checked like any data set, and all rows must have one.

use std::ffi::{CStr, c_char};
use std::path::Path;

use hdf5::sync::sync;
use hdf5_metno_sys::h5::hsize_t;
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::{
    H5Pget_virtual_count, H5Pget_virtual_dsetname, H5Pget_virtual_filename,
    H5Pget_virtual_srcspace, H5Pget_virtual_vspace,
};
use hdf5_metno_sys::h5s::{
    H5S_sel_type, H5Sclose, H5Sget_regular_hyperslab, H5Sget_select_type,
    H5Sget_simple_extent_ndims, H5Sis_regular_hyperslab,
};

use super::links::beside;
use super::source::Source;
use super::table::{Data, Part, Table, Type};
use crate::data::DataError;

/// Sources of a data set.
const MOST: usize = 100_000;
/// Bytes of a source's name, and its dimensions.
const MOST_NAME: usize = 1 << 16;
const MOST_AXES: usize = 32;

/// Where some values of a virtual data set come from. The binding's own list refuses the selections that h5py makes.
struct Mapping {
    file: String,
    name: String,
    to: Selected,
    from: Selected,
}

/// What a mapping takes of a data set.
enum Selected {
    All,
    /// Start, stride, count and block of each axis.
    Slab(Vec<[hsize_t; 4]>),
    Other,
}

/// The mappings of a virtual data set; `None` where libhdf5 fails or there are very many.
fn mappings(plist: &hdf5::plist::DatasetCreate) -> Option<Vec<Mapping>> {
    let id = plist.id();
    sync(|| {
        let mut count = 0;
        // SAFETY: the identifier is that of an open property list; the lock is held.
        let status = unsafe { H5Pget_virtual_count(id, &mut count) };
        if status < 0 || count > MOST {
            return None;
        }
        let text = |get: &dyn Fn(*mut c_char, usize) -> isize| {
            let size = usize::try_from(get(std::ptr::null_mut(), 0)).ok()?;
            let mut bytes = vec![0u8; size.checked_add(1).filter(|n| *n <= MOST_NAME)?];
            get(bytes.as_mut_ptr().cast(), bytes.len());
            let text = CStr::from_bytes_until_nul(&bytes).ok()?;
            Some(text.to_string_lossy().into_owned())
        };
        (0..count)
            .map(|i| {
                let file = text(&|to, n| {
                    // SAFETY: as above; `i` is below the count, and the buffer has the size that is passed.
                    unsafe { H5Pget_virtual_filename(id, i, to, n) }
                })?;
                let name = text(&|to, n| {
                    // SAFETY: as above.
                    unsafe { H5Pget_virtual_dsetname(id, i, to, n) }
                })?;
                // SAFETY: as above.
                let (to, from) = unsafe {
                    (
                        selected(H5Pget_virtual_vspace(id, i)),
                        selected(H5Pget_virtual_srcspace(id, i)),
                    )
                };
                Some(Mapping {
                    file,
                    name,
                    to,
                    from,
                })
            })
            .collect()
    })
}

/// What a data space selects; it is closed. The caller holds the library's lock.
fn selected(space: hid_t) -> Selected {
    if space < 0 {
        return Selected::Other;
    }
    // SAFETY: the space was opened by the caller; the four arrays are as long as it has axes, at the least.
    unsafe {
        let found = match H5Sget_select_type(space) {
            H5S_sel_type::H5S_SEL_ALL => Selected::All,
            H5S_sel_type::H5S_SEL_HYPERSLABS if H5Sis_regular_hyperslab(space) > 0 => {
                let axes = H5Sget_simple_extent_ndims(space);
                let mut parts = [[0 as hsize_t; MOST_AXES]; 4];
                let [start, stride, count, block] = &mut parts;
                let fits = (0..=MOST_AXES as i32).contains(&axes);
                let done = fits
                    && H5Sget_regular_hyperslab(
                        space,
                        start.as_mut_ptr(),
                        stride.as_mut_ptr(),
                        count.as_mut_ptr(),
                        block.as_mut_ptr(),
                    ) >= 0;
                match done {
                    true => Selected::Slab(
                        (0..axes as usize)
                            .map(|i| parts.map(|part| part[i]))
                            .collect(),
                    ),
                    false => Selected::Other,
                }
            }
            _ => Selected::Other,
        };
        H5Sclose(space);
        found
    }
}

/// First and number of the rows that are taken, where they are whole and follow each other.
fn rows(selected: &Selected, shape: &[usize]) -> Option<(usize, usize)> {
    match selected {
        Selected::All => Some((0, *shape.first()?)),
        Selected::Slab(axes) if axes.len() == shape.len() => {
            let spans: Option<Vec<_>> = (axes.iter().zip(shape))
                .map(|(axis, n)| span(axis, *n))
                .collect();
            let spans = spans?;
            let mut others = spans.iter().zip(shape).skip(1);
            others
                .all(|(span, n)| *span == (0, *n))
                .then_some(*spans.first()?)
        }
        _ => None,
    }
}

/// First and number of the places on an axis of `n`, where they follow each other. A count or block without end is larger.
fn span([start, stride, count, block]: &[hsize_t; 4], n: usize) -> Option<(usize, usize)> {
    let touching = stride == block || *count <= 1;
    let length = count.checked_mul(*block).filter(|_| touching)?;
    let inside = start.checked_add(length).is_some_and(|end| end <= n as u64);
    inside.then_some((*start as usize, length as usize))
}

impl Source {
    /// Find the rows of `table`, an opened virtual data set that is called `name` in full.
    ///
    /// # Errors
    /// A source that is missing or does not pass its checks, rows without a source, and mappings that are not of whole rows.
    pub(super) fn virtual_rows(
        &self,
        table: &mut Table,
        name: &str,
        plist: &hdf5::plist::DatasetCreate,
    ) -> Result<(), DataError> {
        let source = self;
        let (shape, kind) = (table.shape.as_slice(), &table.kind);
        let Some(mappings) = mappings(plist) else {
            return Err(self.fail(
                name,
                "its sources cannot be told",
                "check that the file is complete, with h5dump for example",
            ));
        };
        let gather = "write it as a data set of its own, with h5repack -l CONTI for example where no source is missing, or name \
                  its source files instead";
        let refuse = |why: String| source.fail(name, why, gather);
        let mut parts = Vec::new();
        let mut bytes = 0u64;
        // Mappings often share a source.
        let mut last = None;
        for mapping in mappings {
            let (file, inside) = (&mapping.file, &mapping.name);
            if file.contains('%') || inside.contains('%') {
                return Err(refuse(format!(
                    "its sources are named by a pattern, '{file}' '{inside}'"
                )));
            }
            let path = match file.as_str() {
                "." => source.path.clone(),
                _ => beside(&source.path, file).ok_or_else(|| missing(source, name, file))?,
            };
            if path == source.path && inside.trim_matches('/') == name.trim_matches('/') {
                return Err(refuse("it is its own source".into()));
            }
            if last.as_ref().is_none_or(|t: &Table| !t.is(&path, inside)) {
                let table = Source::open_nested(&path, source.depth + 1)?.table(inside)?;
                if matches!(table.data, Data::Parts(_)) {
                    return Err(refuse(format!(
                        "its source '{inside}' of '{}' is virtual as well",
                        path.display()
                    )));
                }
                if last.as_ref().is_none_or(|t| t.path != table.path) {
                    bytes = bytes.saturating_add(table.bytes);
                }
                last = Some(table);
            }
            let Some(other) = &last else { continue };
            // A source without the axis of the rows is one row.
            let one = other.shape.len() + 1 == shape.len();
            let to = rows(&mapping.to, shape);
            let from = rows(&mapping.from, &other.shape);
            let (Some((to, count)), Some((from, taken))) = (to, from) else {
                return Err(refuse(format!(
                    "its sources are not runs of whole rows, '{inside}' of '{}' with the shape {:?}",
                    path.display(),
                    other.shape
                )));
            };
            let (of_row, per_row) = match one {
                true => (
                    other.shape.as_slice(),
                    other.shape.first().copied().unwrap_or(1),
                ),
                false => (other.shape.get(1..).unwrap_or_default(), 1),
            };
            if count.checked_mul(per_row) != Some(taken) || Some(of_row) != shape.get(1..) {
                return Err(refuse(format!(
                    "its {count} rows of {:?} come from {taken} of {:?}, '{inside}' of '{}'",
                    shape.get(1..).unwrap_or_default(),
                    other.shape,
                    path.display()
                )));
            }
            if !alike(&other.kind, kind) {
                return Err(refuse(format!(
                    "it holds {} and its source '{inside}' of '{}' {}",
                    kind.name,
                    path.display(),
                    other.kind.name
                )));
            }
            if count > 0 {
                parts.push(Part {
                    path,
                    name: inside.clone(),
                    to,
                    from,
                    count,
                    per_row,
                });
            }
        }
        parts.sort_by_key(|p| p.to);
        let mut end = 0;
        for part in &parts {
            if part.to != end {
                let why = match part.to > end {
                    true => format!("rows {end} to {} have no source", part.to - 1),
                    false => format!("row {} has two sources", part.to),
                };
                return Err(refuse(why));
            }
            end += part.count;
        }
        let all = shape.first().copied().unwrap_or(0);
        if end != all {
            return Err(refuse(format!(
                "rows {end} to {} have no source",
                all.saturating_sub(1)
            )));
        }
        table.bytes = bytes;
        table.from = Some(described(&parts, &self.path));
        table.data = Data::Parts(parts);
        Ok(())
    }
}

/// Whether values of a source are what the virtual data set says, after its own conversion.
fn alike(source: &Type, own: &Type) -> bool {
    let float = |t: &Type| {
        t.plain
            .filter(|e| e.kind == crate::data::element::Kind::Float)
    };
    match (source.plain, own.plain) {
        (Some(a), Some(b)) => {
            (a.kind, a.bytes) == (b.kind, b.bytes)
                || matches!((float(source), float(own)), (Some(_), Some(f)) if f.bytes >= 4)
        }
        _ => source.name == own.name,
    }
}

fn missing(source: &Source, name: &str, file: &str) -> DataError {
    source.fail(
        name,
        format!("its source '{file}' is not there"),
        "put that file beside this one, or name the files that are there instead",
    )
}

/// A line about the sources.
fn described(parts: &[Part], path: &Path) -> String {
    let name = |p: &Part| match p.path == path {
        true => format!("'{}'", p.name),
        false => format!("'{}' of '{}'", p.name, p.path.display()),
    };
    match parts {
        [] => "virtual, without sources".into(),
        [one] => format!("virtual, rows of {}", name(one)),
        [first, .., last] => format!(
            "virtual, rows of {} to {} ({})",
            name(first),
            name(last),
            parts.len()
        ),
    }
}
