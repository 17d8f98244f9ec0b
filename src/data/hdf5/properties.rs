//! What a data set's creation properties say, where the binding does not tell it safely.

use hdf5::plist::DatasetCreate;
use hdf5::sync::sync;
use hdf5_metno_sys::h5p::{H5Pget_fill_value, H5Pget_filter2, H5Pget_nfilters};
use hdf5_metno_sys::h5z::H5Z_FILTER_ERROR;

use super::filters::Filter;

/// The filters of a data set. The binding's own list panics where a file declares more parameters than it expects.
pub(super) fn pipeline(plist: &DatasetCreate) -> Vec<Filter> {
    sync(|| {
        // SAFETY: the identifier is that of an open property list, and the lock is held.
        let count = unsafe { H5Pget_nfilters(plist.id()) };
        (0..count.max(0))
            .map(|at| {
                let mut values = [0u32; 32];
                let (mut flags, mut n) = (0, values.len());
                // SAFETY: as above; at most `n` values are written to the array of that size, and no name.
                let id = unsafe {
                    H5Pget_filter2(
                        plist.id(),
                        at as u32,
                        &mut flags,
                        &mut n,
                        values.as_mut_ptr(),
                        0,
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                    )
                };
                Filter {
                    id: if id == H5Z_FILTER_ERROR { -1 } else { id },
                    values: values[..n.min(values.len())].to_vec(),
                }
            })
            .collect()
    })
}

/// The value of what was never written, as it is stored; zeros where none is set.
pub(super) fn fill(plist: &DatasetCreate, dtype: &hdf5::Datatype) -> Vec<u8> {
    let mut bytes = vec![0; dtype.size()];
    // SAFETY: both identifiers are open, and the buffer has the size of the type that the value is converted to.
    let status =
        sync(|| unsafe { H5Pget_fill_value(plist.id(), dtype.id(), bytes.as_mut_ptr().cast()) });
    if status < 0 {
        bytes.fill(0);
    }
    bytes
}
