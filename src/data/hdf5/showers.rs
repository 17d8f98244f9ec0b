//! The layout of the CaloChallenge's files: what is in MeV in them.

use super::attributes;
use super::growing::Growing;
use crate::data::Layout;
use crate::data::calochallenge::MEV;

/// The root attribute `axes`.
const AXES: &str = "showers[n, voxel]: layer by layer, angle by angle, from the inside out; a voxel is its energy in MeV";

/// Turn GeV into MeV.
pub(super) fn to_mev(values: &mut [f32]) {
    for value in values {
        *value = (f64::from(*value) * MEV) as f32;
    }
}

/// The unit of the pixels of a layout, as a file says it.
pub(super) fn units(layout: Layout) -> &'static str {
    match layout {
        Layout::CaloChallenge => "MeV",
        Layout::Dense | Layout::Sparse => "GeV",
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
