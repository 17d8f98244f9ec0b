//! What runs on a card, on an emulation of one; kernels, the engine, its sampler, the driver's wrapper.
//!
//! With feature `cuda` also what only that build has: the driver on an imitation of NVIDIA's, the kernels' budget.
//! With `SARM_TEST_DEVICE=cuda` besides, kernels, engine and sampler run on the machine's card.

#[path = "../support/mod.rs"]
mod support;

mod devices;
#[cfg(feature = "cuda")]
mod driver;
mod emulation;
mod sampled;

mod beside;
#[cfg(feature = "cuda")]
mod budget;
mod device;
mod engine;
#[cfg(feature = "cuda")]
mod imitation;
mod kernels;
mod sampler;
mod vae;
mod vae_training;
