//! Images on disk and in memory: HDF5 in and out, selections, the sparse block that everything works on.

mod images;

pub use images::{MAX_PIXELS, SparseImages};

use std::collections::BTreeMap;

/// Images with the per-row quantities that were read beside them.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// The images, in file order.
    pub images: SparseImages,
    /// Per-row data sets by name (`signal`, `jet_pt` ..), each as long as `images`.
    pub columns: BTreeMap<String, Vec<f32>>,
    /// Row of each image in its file, for messages that name it.
    pub rows: Vec<u64>,
}
