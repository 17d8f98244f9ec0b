//! What is read and written: data files, models, states; sound ones and damaged ones.

#[path = "../support/mod.rs"]
mod support;

mod any_file;
mod data_files;
mod foreign_files;
mod hostile_checkpoints;
mod hostile_files;
mod values;
