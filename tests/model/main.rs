//! What a model is: its configuration, its network, its likelihood and its gradients.

#[path = "../support/mod.rs"]
mod support;

mod autoregressive;
mod configs;
mod golden_network;
mod gradients;
mod layer;
mod total;
mod vae;
