//! Sparse autoregressive models (SARM) of detector images: learn them from Monte Carlo, generate new ones, with an exact
//! likelihood.
//!
//! Ten jets of W bosons from the model that comes with the crate, as dense images in GeV:
//!
//! ```
//! use std::path::Path;
//!
//! use sarm::run::generate::{Job, Request};
//! use sarm::run::pretrained;
//!
//! let name = Path::new("jets-w"); // or the path of a checkpoint
//! let checkpoint = pretrained::open(name)?;
//! let mut request = Request::new(10, 7); // ten images, random seed 7
//! request.conditions = pretrained::conditions(name); // W bosons; pT, mass and total are drawn
//! let drawn = Job::new(&checkpoint, &request)?.draw()?;
//! let mut image = vec![0.0f32; 25 * 25]; // row-major, GeV
//! drawn.images.dense_into(0, &mut image);
//! let sum: f32 = image.iter().sum();
//! // The pixels add up to the total that was drawn first, as jet_pt and jet_mass were.
//! assert!((sum / drawn.conditions["intensity"][0] - 1.0).abs() < 1e-3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/` shows generation, training, scoring and evaluation in under forty lines each. Training, scoring and
//! evaluation read files of a checkout there.
//!
//! ```text
//! TRAIN     data::read ──► run::train ──► family::Configuration ──► family::Model ──► Trainer; files in run::train
//! REFINE    run::Checkpoint + data::read ──► run::refine ──► Sampler, then classify::ratios, then Trainer; again
//! GENERATE  run::Checkpoint ──► run::generate::Job ──► family::Sampler ──► data::ImageWriter (journal beside it)
//! SCORE     run::Checkpoint + data::read ──► run::score ──► family::Scorer
//! EVALUATE  data::read, twice ──► physics::observables ──► evaluate ──► evaluate::report
//! ```
//!
//! | idea | its home |
//! |---|---|
//! | what the program does, for every face: training, refining, generation, scoring, journals, resuming | [`run`] |
//! | what a model family can do, as traits | [`family`]; the list of families, [`families`] |
//! | SARM: degrees, masks and tensors | [`families::sarm::shape`] |
//! | the likelihood of a pixel | [`likelihood`] |
//! | how a SARM is run | [`families::sarm::cpu`], [`families::sarm::cuda`]; the slow float64 truth, [`families::sarm::reference`] |
//! | the jet VAE | [`families::vae`] |
//! | what images are conditioned on; images that share out a total | [`conditions`], [`conditions::total`] |
//! | how conditions are distributed: what it is, learning it, drawing them | [`prior`] |
//! | the processor, and NVIDIA cards | [`device`] |
//! | files | [`data`], [`checkpoint`] |
//! | observables of an image | [`physics`] |
//! | models that come with the program | [`run::pretrained`] |
//! | generated images against truth | [`evaluate`]; classifiers, `classify` |
//! | the speed of this machine; made-up models and images for it | [`mod@bench`], [`synthetic`] |
//! | layers, Adam, schedules | [`nn`] |
//! | arithmetic and random numbers, the same bits on every machine | [`numeric`], [`random`] |
//!
//! CONTRIBUTING.md draws the layers; a test holds the imports to that picture.
//!
//! # Features
//!
//! The default, `cli`, is the whole program. A library may do with less: `hdf5` (data files; compiles libhdf5),
//! `classify` (classifiers on candle), `report` (the page of an evaluation, figures by kuva). `cuda` adds NVIDIA cards.
//! Without any, models are trained, drawn from and scored in memory.

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
pub mod likelihood;
pub mod nn;
pub mod numeric;
pub mod physics;
pub mod prior;
pub mod random;
pub mod run;
pub mod synthetic;
