//! What is not Rust: the scripts that users start, and the simulation without Pythia.

#[path = "../support/mod.rs"]
mod support;

mod anomaly;
mod gpu_check;
mod latents;
mod papers;
mod power;
mod simulate;
mod study;
