//! Files of the CaloChallenge: how a calorimeter is cut into voxels, and what its showers are called.
//!
//! Such a file holds `incident_energies` (N, 1) and `showers` (N, voxels), both in MeV; a binning file, XML, says where the
//! voxels lie. Everything else of this program is in GeV: energies are converted where a file is read or written, and
//! nowhere else.

mod binning;

pub use binning::{BinningError, CaloBinning, CaloLayer};

/// Data set of the energies of the particles that made the showers, (N, 1) in MeV; as a condition, in GeV.
pub const INCIDENT: &str = "incident_energies";
/// Data set of the showers, (N, voxels) in MeV.
pub const SHOWERS: &str = "showers";
/// MeV in a GeV.
pub const MEV: f64 = 1000.0;
