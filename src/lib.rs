//! Sparse autoregressive models (SARM) of detector images: learn them from Monte Carlo, draw new ones.
//!
//! ```text
//! TRAIN     data::read ──► SparseImages ──► train ──► engine: Trainer ──► model::checkpoint
//! GENERATE  model::checkpoint ──► engine: Sampler ──► generate ──► data::ImageWriter (journal beside it)
//! EVALUATE  data::read, twice ──► physics::observables ──► evaluate ──► evaluate::report
//! SCORE     data::read + model::checkpoint ──► engine: score
//! ```
//!
//! Arrows between modules go one way: [`cli`] calls [`train`], [`generate`](mod@generate), [`evaluate`] and
//! [`bench`](mod@bench); these call an [`engine`]; an engine runs a [`model`] and knows nothing above it; a model
//! knows no engine. [`numeric`] and [`random`] are at the bottom: arithmetic and random numbers that are
//! the same bits on every machine.
//!
//! | idea | its home |
//! |---|---|
//! | who reads whom: degrees, masks, tensors | [`model::shape`] |
//! | the likelihood of a pixel | [`model::likelihood`] |
//! | how a model is run | [`engine`]; on the CPU, [`engine::cpu`]; the slow float64 truth, [`engine::reference`] |
//! | files | [`data`], [`model::checkpoint`] |
//! | observables of an image | [`physics`] |
//! | models that come with the program | [`pretrained`] |
//! | judging generated images | [`evaluate`]; by classifiers, [`classify`] |

pub mod bench;
pub mod checkpoint;
#[cfg(feature = "classify")]
pub mod classify;
#[cfg(feature = "cli")]
pub mod cli;
pub mod conditions;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod families;
pub mod family;
pub mod nn;
pub mod numeric;
pub mod physics;
pub mod prior;
pub mod random;
pub mod run;
pub mod synthetic;
