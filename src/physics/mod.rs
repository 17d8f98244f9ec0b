//! Observables of an image: four-momentum sums, N-subjettiness, counts.
//!
//! A pixel of intensity `I` GeV stands for a massless particle of transverse momentum `I` at the
//! pixel's centre ([`Geometry`]). All conventions are those of the public jet-image data set of
//! de Oliveira, Paganini and Nachman (arXiv 1701.05927), which later work on sparse jet images
//! uses unchanged; `docs/metrics.md` spells them out.

pub mod calorimeter;
mod geometry;
mod observables;
mod subjets;
mod table;

pub use geometry::{DEFAULT_RANGE, Geometry, GeometryError, MAX_RANGE};
pub use observables::{ImageObservables, Observables, observables};
pub use table::{Quantity, Table};
