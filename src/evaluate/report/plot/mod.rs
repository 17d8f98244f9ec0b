//! Figures of the report. Everything is drawn through `canvas.rs`, the only file that uses the plotting
//! crate.

mod axis;
mod canvas;
mod colour;
mod curve;
mod extrapolation;
mod histogram;
mod maps;
mod roc;
mod samples;

pub use canvas::Figure;
pub use curve::training_curve;
pub use extrapolation::extrapolation;
pub use histogram::{HistogramPlot, histogram_page};
pub use maps::{Scale, map_page, signed_map};
pub use roc::roc_curves;
pub use samples::{sample_page, sample_page_in};
