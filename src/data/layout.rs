//! The layouts of image files, and how one is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Provenance, Unit};

/// How images are laid out in a file; docs/formats.md has every data set of each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// All pixels in `image` (images, rows, columns): what LAGAN published.
    #[default]
    Dense,
    /// Only nonzero pixels, as compressed sparse rows: `indptr`, `index`, `value`.
    Sparse,
    /// All voxels of a calorimeter in `showers` (images, voxels), MeV, beside `incident_energies` (images, 1), MeV: what the
    /// CaloChallenge's evaluation reads.
    CaloChallenge,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::Dense => "dense",
            Layout::Sparse => "sparse",
            Layout::CaloChallenge => "calochallenge",
        })
    }
}

impl std::str::FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dense" => Ok(Layout::Dense),
            "sparse" => Ok(Layout::Sparse),
            "calochallenge" => Ok(Layout::CaloChallenge),
            other => Err(format!(
                "unknown layout '{other}' (there are three); choose dense, sparse or calochallenge"
            )),
        }
    }
}

/// How to write a file of images.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Dense or sparse.
    pub layout: Layout,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Unit of the pixels.
    pub unit: Unit,
    /// Columns whose numbers 0, 1, .. stand for names.
    pub names: BTreeMap<String, Vec<String>>,
    /// Replace a file of the same name.
    pub force: bool,
    /// Root attributes.
    pub provenance: Provenance,
    /// Name to write under until the file is complete, in the same directory; replaced if it
    /// exists. A hidden name that nobody else uses by default.
    pub temporary: Option<PathBuf>,
}
