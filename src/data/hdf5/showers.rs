//! The layout of the CaloChallenge's files: what is in MeV in them.

use super::attributes;
use super::growing::Growing;
use super::source::Source;
use super::table::Table;
use crate::data::calochallenge::{CaloBinning, INCIDENT, MEV, SHOWERS};
use crate::data::{DataError, ImageSize, Layout, ReadOptions, Unit};

/// The root attribute `axes`.
const AXES: &str = "showers[n, voxel]: layer by layer, angle by angle, from the inside out; a voxel is its energy in MeV";

/// Turn GeV into MeV.
pub(super) fn to_mev(values: &mut [f32]) {
    for value in values {
        *value = (f64::from(*value) * MEV) as f32;
    }
}

/// The unit of the pixels of a layout, as a file says it, where the program works with `unit`.
pub(super) fn units(layout: Layout, unit: &Unit) -> &str {
    match layout {
        Layout::CaloChallenge => "MeV",
        Layout::Dense | Layout::Sparse => unit.as_str(),
    }
}

/// What the pixels of a layout are, where it is no image.
pub(super) fn axes(layout: Layout) -> Option<&'static str> {
    (layout == Layout::CaloChallenge).then_some(AXES)
}

/// Start data set `name` of `width` MeV a row.
pub(super) fn table(file: &hdf5::File, name: &str, width: usize) -> hdf5::Result<Growing<f32>> {
    let table = Growing::table(file, name, width)?;
    attributes::write(table.set(), "units", &"MeV".into())?;
    Ok(table)
}

/// The full name of the showers of a group, `""` the root group, that is laid out as the CaloChallenge's files are.
fn in_group(source: &Source, group: &str) -> Option<String> {
    let full = |name: &str| match group {
        "" => name.to_string(),
        _ => format!("{group}/{name}"),
    };
    let holds = |name| source.has(&full(name));
    (holds(SHOWERS) && holds(INCIDENT) && !holds("image")).then(|| full(SHOWERS))
}

/// The group of the data set `name` and its name there.
fn split(name: &str) -> (&str, &str) {
    let name = name.trim_matches('/');
    name.rsplit_once('/').unwrap_or(("", name))
}

/// The full name of the showers where a file holds some as the CaloChallenge's do, in its root group or, where the images
/// are `named`, there. Their group becomes that of the images.
pub(super) fn find(source: &Source, named: Option<&str>) -> Option<String> {
    let group = match named.map(|name| (split(name), name.trim_matches('/'))) {
        None => "",
        Some(((group, SHOWERS), _)) => group,
        Some((_, name)) if source.is_group(name) => name,
        Some(_) => return None,
    };
    let found = in_group(source, group)?;
    source.settle(group);
    Some(found)
}

/// The showers `name`, their number and that of their voxels.
pub(super) fn open(source: &Source, name: &str) -> Result<(Table, usize, usize), DataError> {
    let table = source.table(name)?;
    let &[count, voxels] = table.shape.as_slice() else {
        let why = format!("its shape is {:?}", table.shape);
        return Err(source.fail(name, why, "store showers as (showers, voxels)"));
    };
    if !table.is_numeric() {
        let why = format!("it holds {}", table.type_name());
        return Err(source.fail(name, why, "store energies as floats of up to 64 bits"));
    }
    Ok((table, count, voxels))
}

/// The images that the showers `name` of `voxels` are: as the binning says or, without one, `options` or a file of our own.
pub(super) fn size(
    source: &Source,
    name: &str,
    voxels: usize,
    binning: Option<&CaloBinning>,
    options: &ReadOptions,
) -> Result<ImageSize, DataError> {
    let wrong = |why: String, suggestion| Err(source.fail(name, why, suggestion));
    if let Some(binning) = binning {
        if binning.voxels() != voxels {
            let why = format!(
                "its showers have {voxels} voxels, the binning has {} ({})",
                binning.voxels(),
                binning.describe()
            );
            return wrong(why, "choose another binning file or --particle");
        }
        return Ok(binning.image());
    }
    if let Some(shape) = options.file.shape {
        if shape.height.checked_mul(shape.width) != Some(voxels) {
            let ImageSize { height, width } = shape;
            let why = format!("its showers have {voxels} voxels, which are not {height} x {width}");
            return wrong(why, "choose another --shape");
        }
        return Ok(shape);
    }
    let own = || {
        let side = |name| attributes::read_size(source, name);
        Some((side("height")?, side("width")?))
    };
    let known = [own(), options.size];
    let fits = |(height, width): &(usize, usize)| height.checked_mul(*width) == Some(voxels);
    match known.into_iter().flatten().find(fits) {
        Some((height, width)) => Ok(ImageSize { height, width }),
        None => wrong(
            format!("its showers are rows of {voxels} voxels, and nothing says how they are cut"),
            "name the CaloChallenge's binning file with --binning, or say how a row is to be cut with --shape HEIGHTxWIDTH",
        ),
    }
}

/// The unit of data set `name` where no attribute says one: the challenge's files have none.
pub(super) fn unit(source: &Source, name: &str) -> Option<&'static str> {
    let full = source.meant(name)?;
    let (group, own) = split(&full);
    ([SHOWERS, INCIDENT].contains(&own) && in_group(source, group).is_some()).then_some("MeV")
}
