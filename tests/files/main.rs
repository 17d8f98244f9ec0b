//! What is read and written: data files, models, states; sound ones and damaged ones.

#[path = "../support/mod.rs"]
mod support;

mod data_files;
mod hostile_checkpoints;
mod hostile_files;
mod values;
