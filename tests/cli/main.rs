//! The program as its users meet it: through its binary.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod calochallenge;
mod conditions;
mod digests;
mod full_disk;
mod interrupts;
mod kills;
mod packed;
mod usage;
mod values;
mod verbs;
#[cfg(target_os = "linux")]
mod weight;
