//! Judging: distances, reports, classifiers.

#[path = "../support/mod.rs"]
mod support;

mod boosting;
mod classify;
mod given;
mod report;
