//! Root attributes of a file: written, and read as far as they can be shown.

use std::collections::BTreeMap;
use std::str::FromStr;

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};

use super::heap::Heaps;
use super::source::Source;
use crate::data::Attribute;

/// Attributes above this many bytes are not shown.
const LARGEST: usize = 4096;

/// Write one attribute of a file or data set.
pub(super) fn write(file: &hdf5::Location, name: &str, value: &Attribute) -> hdf5::Result<()> {
    match value {
        Attribute::Text(text) => {
            // HDF5 strings end at a null byte; a command line cannot hold one anyway.
            let text = VarLenUnicode::from_str(&text.replace('\0', " "))
                .map_err(|e| hdf5::Error::from(e.to_string()))?;
            file.new_attr::<VarLenUnicode>()
                .create(name)?
                .write_scalar(&text)
        }
        Attribute::Unsigned(v) => file.new_attr::<u64>().create(name)?.write_scalar(v),
        Attribute::Integer(v) => file.new_attr::<i64>().create(name)?.write_scalar(v),
        Attribute::Real(v) => file.new_attr::<f64>().create(name)?.write_scalar(v),
    }
}

/// All root attributes that can be shown.
pub(super) fn read_all(source: &Source) -> BTreeMap<String, Attribute> {
    let Some(file) = &source.file else {
        return BTreeMap::new();
    };
    let Ok(names) = file.attr_names() else {
        return BTreeMap::new();
    };
    names
        .iter()
        // Names come from the file unchecked: only proper text is looked up.
        .filter_map(|n| std::str::from_utf8(n.as_bytes()).ok())
        .filter_map(|name| {
            let mut sound = || source.heaps.sound();
            Some((name.to_string(), read_one(file, name, &mut sound)?))
        })
        .collect()
}

/// A root attribute that is one integer and not negative.
pub(super) fn read_size(source: &Source, name: &str) -> Option<usize> {
    match read_one(source.file.as_ref()?, name, &mut || false)? {
        Attribute::Integer(n) => usize::try_from(n).ok(),
        Attribute::Unsigned(n) => usize::try_from(n).ok(),
        _ => None,
    }
}

/// A text attribute of `place`, in the file with these heaps, by the first of `names` that it has.
pub(super) fn text(place: &hdf5::Location, heaps: &Heaps, names: &[&str]) -> Option<String> {
    let sound = &mut || heaps.sound();
    (names.iter()).find_map(|name| match read_one(place, name, sound)? {
        Attribute::Text(text) => Some(text),
        _ => None,
    })
}

/// What the attribute `units` or `unit` of `place` says.
pub(super) fn unit_text(place: &hdf5::Location, heaps: &Heaps) -> Option<String> {
    text(place, heaps, &["units", "unit"])
}

/// Names that the numbers of column `name` stand for, where the file says so (a JSON list).
pub(super) fn names_of(source: &Source, name: &str) -> Option<Vec<String>> {
    let file = source.file.as_ref()?;
    let names = text(file, &source.heaps, &[&names_attribute(name)])?;
    serde_json::from_str(&names).ok()
}

/// The root attribute that [`names_of`] reads.
pub(super) fn names_attribute(column: &str) -> String {
    format!("names_of_{column}")
}

/// One attribute of a file or data set; `None` when it is missing, unreadable, or of a kind that is not shown.
///
/// `heaps_sound` says whether variable-length strings may be read.
fn read_one(
    place: &hdf5::Location,
    name: &str,
    heaps_sound: &mut dyn FnMut() -> bool,
) -> Option<Attribute> {
    use TypeDescriptor as T;
    let attr = place.attr(name).ok()?;
    let dtype = attr.dtype().ok()?;
    let elements = attr
        .space()
        .ok()?
        .shape()
        .iter()
        .try_fold(1usize, |a, n| a.checked_mul(*n))?;
    if elements == 0 || dtype.size().checked_mul(elements)? > LARGEST {
        return None;
    }
    // The bytes of a string are the file's own: they are shown only as far as they are UTF-8.
    let text = |bytes: &[u8]| Attribute::Text(String::from_utf8_lossy(bytes).into_owned());
    if dtype.size() > 8 {
        // Not described: see `types::kind`. Only strings convert to strings.
        if elements != 1 {
            return None;
        }
        if dtype.conv_to::<FixedUnicode<LARGEST>>().is_some() {
            let values = attr.read_raw::<FixedUnicode<LARGEST>>().ok()?;
            return values.first().map(|v| text(v.as_bytes()));
        }
        if dtype.conv_to::<FixedAscii<LARGEST>>().is_some() {
            let values = attr.read_raw::<FixedAscii<LARGEST>>().ok()?;
            return values.first().map(|v| text(v.as_bytes()));
        }
        return None;
    }
    let kind = dtype.to_descriptor().ok()?;
    let number = matches!(
        kind,
        T::Integer(_) | T::Unsigned(_) | T::Float(_) | T::Boolean | T::Enum(_)
    );
    if number && elements > 1 {
        let values = attr.read_raw::<f64>().ok()?;
        let words: Vec<_> = values.iter().map(f64::to_string).collect();
        return Some(Attribute::Text(words.join(", ")));
    }
    if elements != 1 {
        return None;
    }
    if matches!(kind, T::VarLenUnicode | T::VarLenAscii) && !heaps_sound() {
        return None;
    }
    match kind {
        T::Unsigned(_) | T::Boolean => {
            Some(Attribute::Unsigned(*attr.read_raw::<u64>().ok()?.first()?))
        }
        T::Integer(_) | T::Enum(_) => {
            Some(Attribute::Integer(*attr.read_raw::<i64>().ok()?.first()?))
        }
        T::Float(_) => Some(Attribute::Real(*attr.read_raw::<f64>().ok()?.first()?)),
        T::VarLenUnicode => Some(text(
            attr.read_raw::<VarLenUnicode>().ok()?.first()?.as_bytes(),
        )),
        T::VarLenAscii => Some(text(
            attr.read_raw::<VarLenAscii>().ok()?.first()?.as_bytes(),
        )),
        T::FixedUnicode(_) => Some(text(
            attr.read_raw::<FixedUnicode<8>>().ok()?.first()?.as_bytes(),
        )),
        T::FixedAscii(_) => Some(text(
            attr.read_raw::<FixedAscii<8>>().ok()?.first()?.as_bytes(),
        )),
        _ => None,
    }
}
