//! Judging: distances, reports, classifiers.

#[path = "../support/mod.rs"]
mod support;

mod classify;
mod given;
mod report;
mod soft;
