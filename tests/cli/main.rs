//! The program as its users meet it: through its binary.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod calochallenge;
mod compare;
mod conditions;
mod digests;
mod full_disk;
mod inputs;
mod interrupts;
mod kills;
mod packed;
mod plot;
mod refine;
mod training;
mod usage;
mod vae;
mod values;
mod verbs;
#[cfg(target_os = "linux")]
mod weight;
